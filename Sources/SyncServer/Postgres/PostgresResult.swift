// What one statement answered: rows in text format, read in place from libpq's memory and freed with this object.

import CPostgres

/// Rows and columns count from 0; an index outside is a programmer error. Not Sendable: it belongs to the thread of its connection.
final class PostgresResult {
    private let handle: OpaquePointer
    let rowCount: Int
    let columnCount: Int

    /// Takes ownership of the `PGresult`.
    init(taking handle: OpaquePointer) {
        self.handle = handle
        rowCount = Int(PQntuples(handle))
        columnCount = Int(PQnfields(handle))
    }

    deinit { PQclear(handle) }

    var rows: Range<Int> { 0..<rowCount }
    var isEmpty: Bool { rowCount == 0 }

    /// For example `INSERT 0 3`, `SELECT 12`, `COMMIT`.
    var commandTag: String { PQcmdStatus(handle).map { String(cString: $0) } ?? "" }

    /// Rows inserted, updated, deleted, merged or selected; 0 for other commands.
    var affectedRows: Int { PQcmdTuples(handle).flatMap { Int(String(cString: $0)) } ?? 0 }

    var columnNames: [String] {
        (0..<columnCount).map { PQfname(handle, Int32($0)).map { String(cString: $0) } ?? "" }
    }

    /// The first column of that name.
    func column(named name: String) -> Int? { columnNames.firstIndex(of: name) }

    func isNull(_ row: Int, _ column: Int) -> Bool {
        check(row, column)
        return PQgetisnull(handle, Int32(row), Int32(column)) != 0
    }

    /// The value's UTF-8 text without a copy; nil for NULL. The buffer is valid during `body` only.
    func withUTF8<R>(_ row: Int, _ column: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> R) rethrows -> R? {
        guard !isNull(row, column), let value = PQgetvalue(handle, Int32(row), Int32(column)) else { return nil }
        let count = Int(PQgetlength(handle, Int32(row), Int32(column)))
        let start = UnsafeRawPointer(value).assumingMemoryBound(to: UInt8.self)
        return try body(UnsafeBufferPointer(start: start, count: count))
    }

    func text(_ row: Int, _ column: Int) -> String? {
        withUTF8(row, column) { String(decoding: $0, as: UTF8.self) }
    }

    /// The text as bytes, for JSON that is parsed or passed on as bytes.
    func utf8(_ row: Int, _ column: Int) -> [UInt8]? {
        withUTF8(row, column) { Array($0) }
    }

    /// nil for NULL, and for text that is not an integer of 64 bits.
    func integer(_ row: Int, _ column: Int) -> Int64? {
        withUTF8(row, column) { PostgresResult.parseInteger($0) } ?? nil
    }

    func bool(_ row: Int, _ column: Int) -> Bool? {
        withUTF8(row, column) { text in
            guard text.count == 1 else { return nil }
            return text[0] == UInt8(ascii: "t") ? true : text[0] == UInt8(ascii: "f") ? false : nil
        } ?? nil
    }

    /// A `bytea`, decoded; nil for NULL and for text that is no `bytea`.
    func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
        withUTF8(row, column) { PostgresResult.decodeBytes($0) } ?? nil
    }

    /// A one-dimensional array; elements may be NULL.
    func optionalTextArray(_ row: Int, _ column: Int) -> [String?]? {
        (withUTF8(row, column) { PostgresArray.parse($0) } ?? nil)?
            .map { $0.map { String(decoding: $0, as: UTF8.self) } }
    }

    /// A one-dimensional array without NULLs; nil if it has one.
    func textArray(_ row: Int, _ column: Int) -> [String]? {
        guard let elements = optionalTextArray(row, column) else { return nil }
        let texts = elements.compactMap { $0 }
        return texts.count == elements.count ? texts : nil
    }

    /// A one-dimensional array without NULLs; nil if it has one or an element is no integer.
    func integerArray(_ row: Int, _ column: Int) -> [Int64]? {
        guard let elements = withUTF8(row, column, { PostgresArray.parse($0) }) ?? nil else { return nil }
        let integers = elements.compactMap { $0.flatMap { $0.withUnsafeBufferPointer(PostgresResult.parseInteger) } }
        return integers.count == elements.count ? integers : nil
    }

    private func check(_ row: Int, _ column: Int) {
        precondition(row >= 0 && row < rowCount, "row \(row) of \(rowCount)")
        precondition(column >= 0 && column < columnCount, "column \(column) of \(columnCount)")
    }

    private static func parseInteger(_ text: UnsafeBufferPointer<UInt8>) -> Int64? {
        var index = 0
        let isNegative = text.first == UInt8(ascii: "-")
        if isNegative { index = 1 }
        guard index < text.count else { return nil }
        // Summed downwards, because the most negative integer has no positive twin.
        var value: Int64 = 0
        while index < text.count {
            let digit = text[index]
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            let (product, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflowedAgain) = product.subtractingReportingOverflow(Int64(digit - UInt8(ascii: "0")))
            if overflowed || overflowedAgain { return nil }
            value = sum
            index += 1
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    private static func decodeBytes(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard text.count >= 2, text[0] == UInt8(ascii: "\\"), text[1] == UInt8(ascii: "x") else {
            // A server set to bytea_output = escape.
            var count = 0
            guard let decoded = PQunescapeBytea(text.baseAddress, &count) else { return nil }
            defer { PQfreemem(decoded) }
            return Array(UnsafeBufferPointer(start: decoded, count: count))
        }
        guard text.count % 2 == 0 else { return nil }
        let count = (text.count - 2) / 2
        var isValid = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            for index in 0..<count {
                let high = nibble(text[2 + 2 * index])
                let low = nibble(text[3 + 2 * index])
                if high > 15 || low > 15 { isValid = false }
                buffer[index] = high << 4 | low & 15
            }
            initialized = count
        }
        return isValid ? bytes : nil
    }

    private static func nibble(_ character: UInt8) -> UInt8 {
        switch character {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return character - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return character - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return character - UInt8(ascii: "A") + 10
        default: return 255
        }
    }
}
