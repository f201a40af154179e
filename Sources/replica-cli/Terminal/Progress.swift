// A line on standard error while long work runs, only when somebody is watching.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

struct Progress: Sendable {
    let isShown: Bool
    private let title: String
    private let columns: Int
    private var lastDrawn = ""

    init(_ title: String, terminal: Terminal) {
        self.title = title
        isShown = isatty(STDERR_FILENO) == 1 && !terminal.isJSON && ProcessInfo.processInfo.environment["TERM"] != "dumb"
        var size = winsize()
        columns = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    /// A bar, once the share is known.
    mutating func update(_ done: Int, of total: Int) {
        guard total > 0 else { return }
        let percent = min(100, done * 100 / total)
        let room = min(30, columns - DisplayWidth.of(title) - 10)
        guard room >= 10 else { return draw("\(title) \(percent)%") }
        let filled = percent * room / 100
        draw("\(title) [\(String(repeating: "#", count: filled))\(String(repeating: ".", count: room - filled))] \(percent)%")
    }

    /// Words, where nobody knows how much there is.
    mutating func say(_ words: String) { draw("\(title): \(words)") }

    mutating func finish() {
        if !lastDrawn.isEmpty { write("\r\u{1B}[K") }
        lastDrawn = ""
    }

    private mutating func draw(_ text: String) {
        let short = DisplayWidth.shortened(text, to: columns - 1)
        guard isShown, short != lastDrawn else { return }
        lastDrawn = short
        write("\r\u{1B}[K" + short)
    }

    private func write(_ text: String) { Output.write(text, to: STDERR_FILENO) }
}
