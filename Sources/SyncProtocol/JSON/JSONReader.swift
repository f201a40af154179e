// Pull reader: the caller asks for what it expects and gets it without a tree in between. Used by the hot paths,
// which read an envelope and keep the rest as validated raw slices.

public enum JSONKind: String, Hashable, Sendable {
    case null, bool, number, string, array, object
}

/// Reads one JSON text from the front. Exists only inside `read`, because it borrows the caller's bytes.
///
/// Objects: `beginObject()`, then `nextKey()` until it returns nil. Arrays: `beginArray()`, then `nextElement()` until it
/// returns false. A value that was announced by either and not read is skipped (and validated) by the next call.
/// Errors in the text are `JSONError`; a reader that has thrown must not be used further.
public struct JSONReader {
    private struct Container {
        var isObject: Bool
        var isFirst = true
        var firstKey: Int
        /// Where the announced value starts; reading moves away from it.
        var valueStart = -1
        var table: JSONKeyTable?
    }

    private var scanner: JSONScanner
    private var open: ContiguousArray<Container> = []

    private init(_ buffer: UnsafeBufferPointer<UInt8>, origin: Int, limits: JSONLimits) throws(JSONError) {
        scanner = try JSONScanner(buffer, origin: origin, limits: limits)
    }

    // MARK: Entry

    /// Runs `body` on the text and then checks that nothing but white space follows what it read.
    public static func read<R>(
        _ bytes: [UInt8], limits: JSONLimits = .default, _ body: (inout JSONReader) throws -> R
    ) throws -> R {
        try bytes.withUnsafeBufferPointer { try read($0, origin: 0, limits: limits, body) }
    }

    /// Offsets and ranges are indices of the slice.
    public static func read<R>(
        _ bytes: ArraySlice<UInt8>, limits: JSONLimits = .default, _ body: (inout JSONReader) throws -> R
    ) throws -> R {
        let origin = bytes.startIndex
        return try bytes.withUnsafeBufferPointer { try read($0, origin: origin, limits: limits, body) }
    }

    public static func read<R>(
        _ bytes: UnsafeBufferPointer<UInt8>, limits: JSONLimits = .default, _ body: (inout JSONReader) throws -> R
    ) throws -> R {
        try read(bytes, origin: 0, limits: limits, body)
    }

    private static func read<R>(
        _ buffer: UnsafeBufferPointer<UInt8>, origin: Int, limits: JSONLimits, _ body: (inout JSONReader) throws -> R
    ) throws -> R {
        var reader = try JSONReader(buffer, origin: origin, limits: limits)
        let result = try body(&reader)
        try reader.scanner.expectEnd()
        return result
    }

    // MARK: Position

    /// Where reading stands, as an index of what was passed to `read`.
    public var offset: Int { scanner.origin + scanner.position }

    public mutating func peekKind() throws(JSONError) -> JSONKind {
        switch scanner.peek() {
        case 0x22: .string
        case 0x7B: .object
        case 0x5B: .array
        case 0x2D, 0x30...0x39: .number
        case 0x74, 0x66: .bool
        case 0x6E: .null
        default: throw scanner.unexpected(at: scanner.position, expected: "not a JSON value")
        }
    }

    // MARK: Containers

    public mutating func beginObject() throws(JSONError) { try begin(0x7B, "expected an object") }

    /// The next key of the innermost object, unescaped; `nil` when the object has ended (its end is consumed).
    public mutating func nextKey() throws(JSONError) -> String? {
        guard let token = try nextKeyToken() else { return nil }
        return scanner.string(token)
    }

    public mutating func beginArray() throws(JSONError) { try begin(0x5B, "expected an array") }

    /// True when an element stands next; false when the innermost array has ended (its end is consumed).
    public mutating func nextElement() throws(JSONError) -> Bool {
        let innermost = open.count - 1
        precondition(innermost >= 0 && !open[innermost].isObject, "nextElement() outside of an array")
        if open[innermost].isFirst {
            open[innermost].isFirst = false
            if scanner.peek() == 0x5D {
                scanner.position += 1
                open.removeLast()
                return false
            }
        } else {
            if scanner.position == open[innermost].valueStart { try scanner.skipValue(depth: open.count) }
            guard try scanner.scanSeparator(close: 0x5D) else {
                open.removeLast()
                return false
            }
            _ = scanner.peek()
        }
        open[innermost].valueStart = scanner.position
        return true
    }

    private mutating func begin(_ bracket: UInt8, _ expected: StaticString) throws(JSONError) {
        guard scanner.peek() == bracket else { throw try mismatch(expected) }
        try scanner.checkDepth(open.count + 1)
        scanner.position += 1
        open.append(Container(isObject: bracket == 0x7B, firstKey: scanner.keys.count))
    }

    private mutating func nextKeyToken() throws(JSONError) -> JSONStringToken? {
        let innermost = open.count - 1
        precondition(innermost >= 0 && open[innermost].isObject, "nextKey() outside of an object")
        let firstKey = open[innermost].firstKey
        var hasMore: Bool
        if open[innermost].isFirst {
            open[innermost].isFirst = false
            hasMore = scanner.peek() != 0x7D
            if !hasMore { scanner.position += 1 }
        } else {
            if scanner.position == open[innermost].valueStart { try scanner.skipValue(depth: open.count) }
            hasMore = try scanner.scanSeparator(close: 0x7D)
        }
        guard hasMore else {
            scanner.keys.removeKeys(since: firstKey)
            open.removeLast()
            return nil
        }
        let token = try scanner.scanKey(since: firstKey, table: &open[innermost].table)
        _ = scanner.peek()
        open[innermost].valueStart = scanner.position
        return token
    }

    // MARK: Values

    public mutating func readNull() throws(JSONError) {
        guard scanner.peek() == 0x6E else { throw try mismatch("expected null") }
        try scanner.scanLiteral("null")
    }

    /// Consumes a null and returns true, or returns false and consumes nothing.
    public mutating func readIfNull() throws(JSONError) -> Bool {
        guard scanner.peek() == 0x6E else { return false }
        try scanner.scanLiteral("null")
        return true
    }

    public mutating func readBool() throws(JSONError) -> Bool {
        switch scanner.peek() {
        case 0x74:
            try scanner.scanLiteral("true")
            return true
        case 0x66:
            try scanner.scanLiteral("false")
            return false
        default: throw try mismatch("expected true or false")
        }
    }

    /// A number written as an integer. `1.0`, `1e2` and `-0` are `unexpected_type`.
    public mutating func readInteger() throws(JSONError) -> Int64 {
        let byte = scanner.peek()
        guard byte == 0x2D || byte &- 0x30 < 10 else { throw try mismatch("expected an integer") }
        let token = try scanner.scanNumber()
        guard let integer = token.integer else {
            throw scanner.failure(.unexpectedType, at: token.start, "expected an integer")
        }
        return integer
    }

    public mutating func readString() throws(JSONError) -> String {
        guard scanner.peek() == 0x22 else { throw try mismatch("expected a string") }
        return scanner.string(try scanner.scanString())
    }

    /// Lends the unescaped UTF-8 of a string: the input itself when it holds no escape. Valid only inside `body`.
    public mutating func readStringBytes<R>(_ body: (UnsafeBufferPointer<UInt8>) throws -> R) throws -> R {
        guard scanner.peek() == 0x22 else { throw try mismatch("expected a string") }
        let token = try scanner.scanString()
        guard token.hasEscape else { return try body(scanner.slice(token.start..<token.end)) }
        var decoded: [UInt8] = []
        decoded.reserveCapacity(token.end - token.start)
        JSONScanner.unescape(token, of: scanner.bytes, into: &decoded)
        return try decoded.withUnsafeBufferPointer(body)
    }

    public mutating func readValue() throws(JSONError) -> JSONValue {
        try scanner.readTree(depth: open.count)
    }

    /// Validates one value in full, duplicate keys included, and returns where its text lies: indices of what was passed
    /// to `read`.
    public mutating func skipValue() throws(JSONError) -> Range<Int> {
        _ = scanner.peek()
        let start = offset
        try scanner.skipValue(depth: open.count)
        return start..<offset
    }

    /// The error for a value of another kind; text that is no value at all is a syntax error instead.
    private mutating func mismatch(_ expected: StaticString) throws(JSONError) -> JSONError {
        _ = try peekKind()
        return scanner.failure(.unexpectedType, at: scanner.position, expected)
    }
}
