// Every text field passes here before it is stored or compared, on both sides, so that equal texts have equal bytes.

import Foundation

public enum TextNormalization {
    /// NFC, without Unicode white space at either end; empty if nothing of it can be seen.
    public static func singleLine(_ text: String) -> String {
        let composed = canonical(text)
        if isBlank(composed) { return "" }
        guard hasWhiteSpaceAtEnds(composed) else { return composed }
        let scalars = composed.unicodeScalars
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { return "" }
        return String(scalars[first...last])
    }

    /// NFC, lines ended by LF only, without Unicode white space at the end; empty if nothing of it can be seen. Indentation at the start is kept.
    public static func multiLine(_ text: String) -> String {
        let composed = withLineFeeds(canonical(text))
        if isBlank(composed) { return "" }
        let scalars = composed.unicodeScalars
        guard scalars.last?.properties.isWhitespace == true else { return composed }
        guard let last = scalars.lastIndex(where: { !$0.properties.isWhitespace }) else { return "" }
        return String(scalars[...last])
    }

    /// Length as the schema counts it: Unicode scalars, not bytes and not what a person sees as one character.
    public static func scalarCount(_ text: String) -> Int {
        let fast = text.utf8.withContiguousStorageIfAvailable { bytes in
            // In valid UTF-8 every scalar has exactly one byte that is not a continuation.
            var count = 0
            for byte in bytes where byte & 0xC0 != 0x80 { count &+= 1 }
            return count
        }
        return fast ?? text.unicodeScalars.count
    }

    /// Whether a person sees nothing of the text: white space, controls, and what Unicode says is not to be shown, such as zero-width
    /// spaces and joiners, the soft hyphen and the byte order mark. Among visible characters these mean something and stay.
    public static func isBlank(_ text: String) -> Bool { text.unicodeScalars.allSatisfy(isInvisible) }

    /// All such scalars of the basic plane but NUL, in order: for engines that have no property to ask.
    public static let invisibleScalars: [UInt32] = (1...0xFFFF).filter { Unicode.Scalar($0).map(isInvisible) ?? false }

    public static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        // The first letter of nearly every text.
        if (0x21...0x7E).contains(scalar.value) { return false }
        let properties = scalar.properties
        return properties.isWhitespace || properties.isDefaultIgnorableCodePoint || properties.generalCategory == .control
    }

    // MARK: Private

    private static func canonical(_ text: String) -> String {
        // Below U+0300 (lead byte CC) nothing composes or reorders: the text is NFC already.
        let isComposed = text.utf8.withContiguousStorageIfAvailable { bytes in bytes.allSatisfy { $0 < 0xCC } }
        return isComposed == true ? text : text.precomposedStringWithCanonicalMapping
    }

    private static func hasWhiteSpaceAtEnds(_ text: String) -> Bool {
        let scalars = text.unicodeScalars
        guard let first = scalars.first, let last = scalars.last else { return false }
        return first.properties.isWhitespace || last.properties.isWhitespace
    }

    private static func withLineFeeds(_ text: String) -> String {
        guard text.utf8.contains(0x0D) else { return text }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var follows = false
        for byte in text.utf8 {
            if byte == 0x0D {
                bytes.append(0x0A)
            } else if byte != 0x0A || !follows {
                bytes.append(byte)
            }
            follows = byte == 0x0D
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
