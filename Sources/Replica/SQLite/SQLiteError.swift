// What every call into SQLite reports when it fails: the C result codes are translated here, once, at the boundary.

import CSQLite

/// A failed call into SQLite. It carries the SQL text but never the values bound to it, so it is safe to log.
public struct SQLiteError: Error, Sendable, Equatable {
    /// SQLite's extended result code, for example 2067.
    public let code: Int32

    /// What SQLite, a trigger's `RAISE` or a registered function said.
    public let message: String

    /// The step that failed: open, configure, prepare, bind, run, transaction, function, backup or close.
    public let operation: String

    /// The statement, with placeholders instead of values.
    public let sql: String?

    init(code: Int32, message: String, operation: String, sql: String? = nil) {
        self.code = code
        self.message = message
        self.operation = operation
        self.sql = sql
    }

    /// Reads the message of the most recent failure on `database`; must be called before anything else uses it.
    init(database: OpaquePointer?, code: Int32, operation: String, sql: String? = nil) {
        // After an API misuse the connection's message may describe an older failure; the static text is then the honest one.
        let isFresh = database.map { sqlite3_errcode($0) & 0xff == code & 0xff } ?? false
        let text = isFresh ? sqlite3_errmsg(database) : sqlite3_errstr(code)
        self.init(code: code, message: text.map { String(cString: $0) } ?? "unknown error", operation: operation, sql: sql)
    }

    /// The low eight bits of `code`: the family of the error.
    public var primaryCode: Int32 { code & 0xff }

    /// Another connection holds the lock; the busy timeout has already passed.
    public var isBusy: Bool { primaryCode == SQLITE_BUSY || primaryCode == SQLITE_LOCKED }

    /// The same call may succeed later without anything else being done.
    public var isRetryable: Bool { isBusy || primaryCode == SQLITE_PROTOCOL }

    /// The disk, or the page limit of the database, is exhausted.
    public var isFull: Bool { primaryCode == SQLITE_FULL }

    /// The file is damaged, or is not a SQLite database at all.
    public var isCorrupt: Bool { primaryCode == SQLITE_CORRUPT || primaryCode == SQLITE_NOTADB }

    /// A constraint refused the statement, `RAISE` in a trigger included.
    public var isConstraint: Bool { primaryCode == SQLITE_CONSTRAINT }

    /// A write was tried where only reading is possible.
    public var isReadOnly: Bool { primaryCode == SQLITE_READONLY }

    /// The statement was stopped by `SQLiteInterruption.interrupt()`.
    public var isInterrupted: Bool { primaryCode == SQLITE_INTERRUPT }
}

extension SQLiteError: CustomStringConvertible {
    public var description: String {
        let statement = sql.map { " [\($0)]" } ?? ""
        return "\(name) (\(code)) on \(operation): \(message)\(statement)"
    }
}
