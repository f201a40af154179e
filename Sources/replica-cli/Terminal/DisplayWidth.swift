// How much room text takes on a terminal, and text that cannot play tricks with one.

import Foundation

enum DisplayWidth {
    /// Columns on a terminal: East Asian wide characters and emoji take two, combining marks none.
    static func of(_ text: String) -> Int {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
        return text.reduce(0) { $0 + of($1) }
    }

    static func of(_ character: Character) -> Int {
        let scalars = character.unicodeScalars
        guard let first = scalars.first else { return 0 }
        if first.value < 0x80, scalars.count == 1 { return 1 }
        switch first.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: break
        }
        // U+FE0F asks for the picture, which is wide.
        if first.properties.isEmojiPresentation || scalars.contains("\u{FE0F}") { return 2 }
        return wide.contains { $0.contains(first.value) } ? 2 : 1
    }

    /// At most `width` columns, `…` in place of the rest.
    static func shortened(_ text: String, to width: Int) -> String {
        guard of(text) > width else { return text }
        guard width > 0 else { return "" }
        var short = ""
        var used = 0
        for character in text {
            let size = of(character)
            if used + size > width - 1 { break }
            short.append(character)
            used += size
        }
        return short + "…"
    }

    static func padded(_ text: String, to width: Int, right: Bool = false) -> String {
        let padding = String(repeating: " ", count: max(0, width - of(text)))
        return right ? padding + text : text + padding
    }

    /// Lines of at most `width` columns, broken between words where there are any; what follows keeps the indentation.
    static func wrapped(_ text: String, to width: Int) -> [String] {
        var lines: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let indentation = String(line.prefix { $0 == " " })
            var current = indentation
            var isEmpty = true
            for word in line.dropFirst(indentation.count).split(separator: " ", omittingEmptySubsequences: false) {
                let candidate = isEmpty ? current + word : current + " " + word
                if isEmpty || of(candidate) <= width {
                    current = candidate
                } else {
                    lines.append(current)
                    current = indentation + word
                }
                isEmpty = false
            }
            lines.append(current)
        }
        return lines
    }

    /// What other people typed, without control characters and direction marks, which could make a terminal do or show
    /// something else than what is there.
    static func harmless(_ text: String, keepingLines: Bool = false) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return text }
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x0A where keepingLines: result.append(scalar)
            case 0x09, 0x0A, 0x0D, 0x2028, 0x2029: result.append(" ")
            case 0x00..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069: result.append("\u{FFFD}")
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    /// Blocks that are wide or full-width (Unicode Standard Annex 11), emoji aside.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2329...0x232A, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
        0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6,
        0x16FE0...0x18CFF, 0x1B000...0x1B2FF, 0x1F200...0x1F265, 0x20000...0x3FFFD,
    ]
}
