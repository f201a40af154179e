// The current row of a running statement. It reads straight from SQLite's memory and is gone with the next step.

import CSQLite

/// One row, read by column index starting at 0. Not copyable, so that it cannot outlive the step that produced it.
///
/// Types convert as SQLite converts them: `integer` of a text is the number the text begins with, of NULL it is 0.
struct SQLiteRow: ~Copyable {
    private let statement: OpaquePointer

    init(statement: OpaquePointer) {
        self.statement = statement
    }

    var columnCount: Int { Int(sqlite3_column_count(statement)) }

    /// The column's name: its alias when it has one.
    func name(_ index: Int) -> String {
        sqlite3_column_name(statement, column(index)).map { String(cString: $0) } ?? ""
    }

    func isNull(_ index: Int) -> Bool {
        sqlite3_column_type(statement, column(index)) == SQLITE_NULL
    }

    func integer(_ index: Int) -> Int64 {
        sqlite3_column_int64(statement, column(index))
    }

    func optionalInteger(_ index: Int) -> Int64? {
        isNull(index) ? nil : integer(index)
    }

    func real(_ index: Int) -> Double {
        sqlite3_column_double(statement, column(index))
    }

    /// True for every number but 0, as in SQL.
    func boolean(_ index: Int) -> Bool {
        integer(index) != 0
    }

    /// The whole text, embedded NUL characters included. Bytes that are not UTF-8 are replaced by U+FFFD.
    func text(_ index: Int) -> String {
        withUTF8(index) { String(decoding: $0, as: UTF8.self) }
    }

    func optionalText(_ index: Int) -> String? {
        isNull(index) ? nil : text(index)
    }

    func blob(_ index: Int) -> [UInt8] {
        withBlob(index) { Array($0) }
    }

    func optionalBlob(_ index: Int) -> [UInt8]? {
        isNull(index) ? nil : blob(index)
    }

    func value(_ index: Int) -> SQLiteValue {
        switch sqlite3_column_type(statement, column(index)) {
        case SQLITE_INTEGER: .integer(integer(index))
        case SQLITE_FLOAT: .real(real(index))
        case SQLITE_TEXT: .text(text(index))
        case SQLITE_BLOB: .blob(blob(index))
        default: .null
        }
    }

    /// All columns in order.
    func values() -> [SQLiteValue] {
        (0..<columnCount).map { value($0) }
    }

    /// The text's bytes without making a `String`; valid inside `body` only. NULL gives an empty buffer.
    func withUTF8<R>(_ index: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> R) rethrows -> R {
        // The order matters: asking for the text converts the value, and only then is the byte count that of the text.
        let start = sqlite3_column_text(statement, column(index))
        let count = Int(sqlite3_column_bytes(statement, column(index)))
        return try body(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count))
    }

    /// The blob's bytes without copying; valid inside `body` only. NULL gives an empty buffer.
    func withBlob<R>(_ index: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> R) rethrows -> R {
        let start = sqlite3_column_blob(statement, column(index))?.assumingMemoryBound(to: UInt8.self)
        let count = Int(sqlite3_column_bytes(statement, column(index)))
        return try body(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count))
    }

    private func column(_ index: Int) -> Int32 {
        assert(index >= 0 && index < columnCount, "column \(index) of \(columnCount)")
        return Int32(truncatingIfNeeded: index)
    }
}
