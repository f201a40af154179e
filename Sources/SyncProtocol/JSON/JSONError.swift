// What the JSON reader refuses, and the limits it reads under. Every byte that arrives from a socket, a file or a person
// passes here first, so the codes are stable: they travel to clients as part of error replies.

/// Why a text was refused as JSON. Never retryable: the same bytes fail the same way.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        case syntax
        case depth
        case duplicateKey = "duplicate_key"
        case invalidUTF8 = "invalid_utf8"
        case loneSurrogate = "lone_surrogate"
        case nulCharacter = "nul_character"
        case integerOverflow = "integer_overflow"
        case unexpectedType = "unexpected_type"
        case trailingData = "trailing_data"
        case tooLarge = "too_large"
        case truncated
    }

    public var code: Code
    /// Byte index into the collection that was passed in (for an `ArraySlice`, an index of that slice).
    public var offset: Int
    public var message: String

    public init(code: Code, offset: Int, message: String) {
        self.code = code
        self.offset = offset
        self.message = message
    }

    public var isRetryable: Bool { false }

    public var description: String { "\(code.rawValue) at byte \(offset): \(message)" }
}

/// Bounds on what is read.
public struct JSONLimits: Hashable, Sendable {
    /// Containers that may be open at once.
    public var maximumDepth: Int
    /// Length of the whole text in bytes.
    public var maximumBytes: Int

    public init(maximumDepth: Int = 64, maximumBytes: Int = .max) {
        self.maximumDepth = maximumDepth
        self.maximumBytes = maximumBytes
    }

    public static let `default` = JSONLimits()
}
