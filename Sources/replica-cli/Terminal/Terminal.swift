// What is printed and how wide: tables that fit the window, colour only on a terminal, progress on long work.

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
    let isInteractive: Bool
    let usesColour: Bool
    let width: Int

    init(json: Bool) {
        isJSON = json
        isInteractive = isatty(STDOUT_FILENO) == 1
        let environment = ProcessInfo.processInfo.environment
        usesColour = isInteractive && !json && environment["NO_COLOR"] == nil && environment["TERM"] != "dumb"
        var size = winsize()
        let known = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        width = known ? Int(size.ws_col) : environment["COLUMNS"].flatMap(Int.init) ?? (isInteractive ? 80 : 200)
    }

    func line(_ text: String = "") { write(text + "\n", to: STDOUT_FILENO) }
    func json(_ value: JSONValue) { line(value.canonicalText) }
    func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    func styled(_ text: String, _ style: Style) -> String { usesColour ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text }

    /// Standard output may be a closed pipe (`| head`): then there is nobody left to tell.
    private func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return }
            bytes = bytes.dropFirst(written)
        }
    }

    /// Columns as wide as they need to be, the widest shortened until the table fits.
    func table(_ headers: [String], _ rows: [[String]], alignRight: Set<Int> = []) {
        var widths = headers.map(Self.displayWidth)
        for row in rows { for (index, cell) in row.enumerated() { widths[index] = max(widths[index], Self.displayWidth(cell)) } }
        let gaps = 2 * (headers.count - 1)
        while widths.reduce(gaps, +) > width, let widest = widths.indices.max(by: { widths[$0] < widths[$1] }), widths[widest] > 8 {
            widths[widest] -= 1
        }
        func formatted(_ cells: [String]) -> String {
            var text = ""
            for (index, cell) in cells.enumerated() {
                let short = Self.shortened(cell, to: widths[index])
                let padding = String(repeating: " ", count: max(0, widths[index] - Self.displayWidth(short)))
                text += alignRight.contains(index) ? padding + short : index == cells.count - 1 ? short : short + padding
                if index < cells.count - 1 { text += "  " }
            }
            return text
        }
        line(styled(formatted(headers), .bold))
        for row in rows { line(formatted(row)) }
    }

    static func shortened(_ text: String, to width: Int) -> String {
        let flat = text.contains(where: \.isNewline) ? text.split(whereSeparator: \.isNewline).joined(separator: " ") : text
        guard displayWidth(flat) > width else { return flat }
        var short = ""
        var used = 0
        for character in flat {
            let size = displayWidth(String(character))
            if used + size > width - 1 { break }
            short.append(character)
            used += size
        }
        return short + "…"
    }

    /// Columns on a terminal: wide East Asian characters and emoji take two.
    static func displayWidth(_ text: String) -> Int {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
        return text.reduce(0) { total, character in
            guard let scalar = character.unicodeScalars.first else { return total }
            let isWide =
                switch scalar.value {
                case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6,
                    0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD:
                    true
                default: false
                }
            return total + (isWide ? 2 : 1)
        }
    }
}

private func systemWrite(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
    write(descriptor, buffer, count)
}

/// A bar on standard error while long work runs, only when somebody is watching.
struct Progress {
    private let isShown: Bool
    private let title: String
    private var lastDrawn = -1

    init(_ title: String, terminal: Terminal) {
        self.title = title
        isShown = isatty(STDERR_FILENO) == 1 && !terminal.isJSON
    }

    mutating func update(_ done: Int, of total: Int) {
        guard isShown, total > 0 else { return }
        let percent = min(100, done * 100 / total)
        guard percent != lastDrawn else { return }
        lastDrawn = percent
        let filled = percent * 30 / 100
        FileHandle.standardError.write(
            Data("\r\(title) [\(String(repeating: "#", count: filled))\(String(repeating: ".", count: 30 - filled))] \(percent)%".utf8))
    }

    func finish() {
        if isShown, lastDrawn >= 0 { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
    }
}
