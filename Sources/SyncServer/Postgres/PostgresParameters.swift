// From values to what libpq takes: one byte arena for a statement's parameters, and pointers into it for the length of one call.

import Foundation

struct PostgresParameters {
    private var arena: [UInt8] = []
    private var offsets: [Int] = []
    private var lengths: [Int32] = []
    private var formats: [Int32] = []

    /// A server takes at most 65,535 parameters a statement.
    static let countMax = 65_535

    init(_ values: [PostgresValue]) {
        offsets.reserveCapacity(values.count)
        arena.reserveCapacity(values.reduce(0) { $0 + PostgresParameters.sizeEstimate($1) })
        for value in values { append(value) }
    }

    var count: Int32 { Int32(offsets.count) }
    var byteCount: Int { arena.count }

    private mutating func append(_ value: PostgresValue) {
        let start = arena.count
        var isBinary = false
        switch value {
        case .null:
            offsets.append(-1)
            lengths.append(0)
            formats.append(0)
            return
        case .text(let text): arena.append(contentsOf: text.utf8)
        case .utf8(let bytes): arena.append(contentsOf: bytes)
        case .bytes(let bytes):
            arena.append(contentsOf: bytes)
            isBinary = true
        case .integer(let integer): arena.append(contentsOf: String(integer).utf8)
        case .bool(let bool): arena.append(UInt8(ascii: bool ? "t" : "f"))
        case .textArray(let texts): PostgresArray.append(texts.lazy.map { Optional($0.utf8) }, to: &arena)
        case .integerArray(let integers): PostgresArray.append(integers.lazy.map { Optional($0) }, to: &arena)
        case .optionalTextArray(let texts): PostgresArray.append(texts.lazy.map { $0?.utf8 }, to: &arena)
        case .optionalIntegerArray(let integers): PostgresArray.append(integers, to: &arena)
        case .utf8Array(let elements): PostgresArray.append(elements, to: &arena)
        }
        offsets.append(start)
        lengths.append(Int32(truncatingIfNeeded: arena.count - start))
        formats.append(isBinary ? 1 : 0)
        // Text parameters are C strings to libpq.
        arena.append(0)
    }

    /// Calls `body` with (values, lengths, formats); the pointers are valid during the call only.
    func withPointers<R>(
        _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> R
    ) -> R {
        if offsets.isEmpty { return body(nil, nil, nil) }
        return arena.withUnsafeBytes { arena in
            let pointers: [UnsafePointer<CChar>?] = offsets.map { offset in
                offset < 0 ? nil : arena.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self)
            }
            return pointers.withUnsafeBufferPointer { pointers in
                lengths.withUnsafeBufferPointer { lengths in
                    formats.withUnsafeBufferPointer { formats in
                        body(pointers.baseAddress, lengths.baseAddress, formats.baseAddress)
                    }
                }
            }
        }
    }

    private static func sizeEstimate(_ value: PostgresValue) -> Int {
        switch value {
        case .text(let text): return text.utf8.count + 1
        case .utf8(let bytes), .bytes(let bytes): return bytes.count + 1
        default: return 24
        }
    }

    /// Why a statement cannot be sent at all, checked before the first byte of its batch leaves: libpq would cut text at U+0000 silently.
    static func refusal(_ statement: PostgresStatement) -> (sqlState: String, message: String)? {
        if containsZero(statement.sql.utf8) { return ("22021", "the SQL text contains U+0000") }
        if statement.parameters.count > countMax { return ("54023", "more than \(countMax) parameters") }
        for value in statement.parameters {
            let holdsZero: Bool
            switch value {
            case .null, .bytes, .integer, .bool, .integerArray, .optionalIntegerArray: holdsZero = false
            case .text(let text): holdsZero = containsZero(text.utf8)
            case .utf8(let bytes): holdsZero = containsZero(bytes)
            case .textArray(let texts): holdsZero = texts.contains { containsZero($0.utf8) }
            case .optionalTextArray(let texts): holdsZero = texts.contains { $0.map { containsZero($0.utf8) } ?? false }
            case .utf8Array(let elements): holdsZero = elements.contains { $0.map { containsZero($0) } ?? false }
            }
            if holdsZero { return ("22021", "a text parameter contains U+0000, which Postgres cannot store") }
            if case .bytes(let bytes) = value, bytes.count > 1 << 30 { return ("54000", "a parameter is larger than 1 GiB") }
        }
        return nil
    }

    private static func containsZero(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.withContiguousStorageIfAvailable { buffer in
            guard let base = buffer.baseAddress else { return false }
            return memchr(base, 0, buffer.count) != nil
        } ?? bytes.contains(0)
    }
}
