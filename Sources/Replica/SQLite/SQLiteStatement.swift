// A compiled statement: bind, step, read the row. SQLiteConnection lends it out and takes it back clean.

import CSQLite

/// A statement on loan from `SQLiteConnection.withStatement`; must not be kept beyond that call.
///
/// Parameters count from 1 as in SQL (`?1`), columns from 0 as in SQLite.
final class SQLiteStatement {
    let sql: String

    /// True when running it cannot change the database file.
    let isReadOnly: Bool

    let parameterCount: Int

    /// Tables of the main database that its program, triggers included, is able to write.
    var writableTables: Set<String>

    // Kept by the statement cache.
    var isLent = false
    var lastUse: UInt64 = 0

    private let pointer: OpaquePointer
    // The connection owns its statements and outlives them; a strong reference back would be a cycle.
    private unowned let connection: SQLiteConnection
    private var isRunning = false
    private var mark = SQLiteChangeTracker.Mark()

    init(sql: String, pointer: OpaquePointer, connection: SQLiteConnection, writableTables: Set<String>) {
        self.sql = sql
        self.pointer = pointer
        self.connection = connection
        self.writableTables = writableTables
        isReadOnly = sqlite3_stmt_readonly(pointer) != 0
        parameterCount = Int(sqlite3_bind_parameter_count(pointer))
    }

    deinit {
        sqlite3_finalize(pointer)
    }

    // MARK: Running

    /// Runs to the next row. After `false` the statement has been reset and can be bound again at once; its bindings are kept.
    func step() throws(SQLiteError) -> Bool {
        if !isRunning {
            try connection.willRun(self)
            mark = connection.tracker.mark(connection)
            isRunning = true
        }
        let result = sqlite3_step(pointer)
        if result == SQLITE_ROW { return true }
        isRunning = false
        if result == SQLITE_DONE {
            sqlite3_reset(pointer)
            connection.didRun(self, since: mark, error: nil)
            return false
        }
        let error = connection.error(result, operation: "run", sql: sql)
        sqlite3_reset(pointer)
        connection.didRun(self, since: mark, error: error)
        throw error
    }

    /// Runs to the end, ignoring rows.
    func run() throws(SQLiteError) {
        while try step() {}
    }

    /// The row that `step` has just announced.
    var row: SQLiteRow { SQLiteRow(statement: pointer) }

    /// Abandons the remaining rows. Bindings are kept.
    func reset() {
        guard isRunning else { return }
        isRunning = false
        sqlite3_reset(pointer)
        connection.didRun(self, since: mark, error: nil)
    }

    /// Sets every parameter to NULL, which also ends SQLite's use of borrowed buffers.
    func clearBindings() {
        sqlite3_clear_bindings(pointer)
    }

    // MARK: Binding

    func bind(_ index: Int, _ value: Int) throws(SQLiteError) {
        try bind(index, Int64(value))
    }

    func bind(_ index: Int, _ value: Int64) throws(SQLiteError) {
        try check(sqlite3_bind_int64(pointer, parameter(index), value))
    }

    func bind(_ index: Int, _ value: Int64?) throws(SQLiteError) {
        if let value { try bind(index, value) } else { try bindNull(index) }
    }

    func bind(_ index: Int, _ value: Double) throws(SQLiteError) {
        try check(sqlite3_bind_double(pointer, parameter(index), value))
    }

    func bind(_ index: Int, _ value: Bool) throws(SQLiteError) {
        try bind(index, value ? 1 as Int64 : 0)
    }

    func bind(_ index: Int, _ value: String) throws(SQLiteError) {
        var value = value
        try check(value.withUTF8 { csqlite_bind_text_copied(pointer, parameter(index), $0.baseAddress, UInt64($0.count)) })
    }

    func bind(_ index: Int, _ value: String?) throws(SQLiteError) {
        if let value { try bind(index, value) } else { try bindNull(index) }
    }

    func bind(_ index: Int, _ value: [UInt8]) throws(SQLiteError) {
        try check(value.withUnsafeBytes { csqlite_bind_blob_copied(pointer, parameter(index), $0.baseAddress, UInt64($0.count)) })
    }

    func bind(_ index: Int, _ value: SQLiteValue) throws(SQLiteError) {
        switch value {
        case .null: try bindNull(index)
        case .integer(let value): try bind(index, value)
        case .real(let value): try bind(index, value)
        case .text(let value): try bind(index, value)
        case .blob(let value): try bind(index, value)
        }
    }

    /// Binds text from valid UTF-8 bytes without making a `String`; SQLite copies them.
    func bind(_ index: Int, utf8: UnsafeBufferPointer<UInt8>) throws(SQLiteError) {
        try check(csqlite_bind_text_copied(pointer, parameter(index), utf8.baseAddress, UInt64(utf8.count)))
    }

    /// Binds text from valid UTF-8 bytes without any copy. The bytes must stay valid until the statement has run and the
    /// parameter is bound again or cleared.
    func bind(_ index: Int, borrowedUTF8 utf8: UnsafeBufferPointer<UInt8>) throws(SQLiteError) {
        try check(csqlite_bind_text_borrowed(pointer, parameter(index), utf8.baseAddress, UInt64(utf8.count)))
    }

    func bindNull(_ index: Int) throws(SQLiteError) {
        try check(sqlite3_bind_null(pointer, parameter(index)))
    }

    /// Binds all parameters in order; the counts must agree.
    func bind(_ values: [SQLiteValue]) throws(SQLiteError) {
        guard values.count == parameterCount else {
            let message = "the statement takes \(parameterCount) values and was given \(values.count)"
            throw SQLiteError(code: SQLITE_RANGE, message: message, operation: "bind", sql: sql)
        }
        for (offset, value) in values.enumerated() {
            try bind(offset + 1, value)
        }
    }

    /// The index of a named parameter, its prefix (`:`, `@` or `$`) included; nil when the statement has none of that name.
    func parameterIndex(_ name: String) -> Int? {
        let index = sqlite3_bind_parameter_index(pointer, name)
        return index == 0 ? nil : Int(index)
    }

    // An index that no Int32 can hold is out of range for SQLite as well, and 0 is always refused.
    private func parameter(_ index: Int) -> Int32 {
        Int32(exactly: index) ?? 0
    }

    private func check(_ result: Int32) throws(SQLiteError) {
        if result != SQLITE_OK { throw connection.error(result, operation: "bind", sql: sql) }
    }
}
