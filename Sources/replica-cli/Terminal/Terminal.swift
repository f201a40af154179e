// What is printed, where, and how wide the window is: colour only on a terminal, long output through a pager.

import Foundation
import SyncProtocol

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Where output goes. Values for people and JSON never mix: JSON mode prints one document and nothing else on standard output.
struct Terminal: Sendable {
    let isJSON: Bool
    /// Somebody is looking at standard output.
    let isInteractive: Bool
    let usesColour: Bool
    /// Columns of the window, or `COLUMNS`; nil where lines may be as long as they need to be.
    let width: Int?
    private let output: Output

    /// - Parameter pages: what does not fit the window goes through `$PAGER`.
    init(json: Bool, pages: Bool = false) {
        isJSON = json
        isInteractive = isatty(STDOUT_FILENO) == 1
        let environment = ProcessInfo.processInfo.environment
        usesColour = isInteractive && !json && environment["NO_COLOR"]?.isEmpty ?? true && environment["TERM"] != "dumb"
        var size = winsize()
        let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        let given = environment["COLUMNS"].flatMap(Int.init).flatMap { (20...10_000).contains($0) ? $0 : nil }
        width = given ?? (isInteractive ? (isKnown ? max(20, Int(size.ws_col)) : 80) : nil)
        let pager = pages && isInteractive && !json && environment["TERM"] != "dumb" ? Pager(environment) : nil
        output = Output(pager: pager, rows: isKnown ? Int(size.ws_row) : 24, columns: width ?? 80)
    }

    func line(_ text: String = "") { output.write(text + "\n") }
    /// Part of a line.
    func text(_ text: String) { output.write(text) }
    func json(_ value: JSONValue) { line(value.canonicalText) }

    /// To standard error, after what was printed before it.
    func note(_ text: String) {
        output.flush()
        let lines = width.map { isatty(STDERR_FILENO) == 1 ? DisplayWidth.wrapped(text, to: $0) : [text] } ?? [text]
        Output.write(lines.joined(separator: "\n") + "\n", to: STDERR_FILENO)
    }

    /// Nobody reads any more (`| head`): long work that only prints may end.
    var isClosed: Bool { output.isClosed }

    /// Everything printed so far is written now.
    func flush() { output.flush() }

    /// Shows what is left, through the pager if it is long. Returns why not all could be written; a closed pipe is no reason.
    func finish() -> String? { output.finish() }

    enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    func styled(_ text: String, _ style: Style) -> String {
        usesColour && !text.isEmpty ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// Standard output, collected into few writes.
// @unchecked Sendable: everything is touched under the lock.
final class Output: @unchecked Sendable {
    private static let bufferBytes = 32 << 10

    private let lock = NSLock()
    private let pager: Pager?
    private let rows: Int
    private let columns: Int
    private var text = ""
    private var failure: Int32 = 0

    init(pager: Pager?, rows: Int, columns: Int) {
        self.pager = pager
        self.rows = rows
        self.columns = columns
    }

    var isClosed: Bool { lock.withLock { failure != 0 } }

    func write(_ more: String) {
        lock.withLock {
            text += more
            if pager == nil, text.utf8.count >= Self.bufferBytes { writeOut() }
        }
    }

    func flush() { lock.withLock { writeOut() } }

    func finish() -> String? {
        lock.withLock {
            if let pager, lineCount > rows - 1, pager.show(text) { text = "" }
            writeOut()
            return failure == 0 || failure == EPIPE ? nil : String(cString: strerror(failure))
        }
    }

    /// Lines on the screen, long ones counted as often as they wrap.
    private var lineCount: Int {
        text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().reduce(0) { total, line in
            total + max(1, (DisplayWidth.of(Self.withoutStyles(line)) + columns - 1) / max(1, columns))
        }
    }

    private static func withoutStyles(_ line: Substring) -> String {
        guard line.utf8.contains(0x1B) else { return String(line) }
        var isStyle = false
        return String(
            line.filter { character in
                if character == "\u{1B}" { isStyle = true }
                defer { if isStyle, character == "m" { isStyle = false } }
                return !isStyle
            })
    }

    private func writeOut() {
        if failure == 0, !text.isEmpty { failure = Self.write(text, to: STDOUT_FILENO) }
        text = ""
    }

    /// Zero, or the error number.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32) -> Int32 {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let written = bytes.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent) }
            if written < 0, errno == EINTR { continue }
            if written < 0, errno == EAGAIN {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, -1)
                continue
            }
            guard written > 0 else { return errno }
            sent += written
        }
        return 0
    }
}

private func systemWrite(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int { write(descriptor, buffer, count) }
