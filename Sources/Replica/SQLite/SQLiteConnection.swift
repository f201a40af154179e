// The replica's only way into SQLite. One connection, one thread at a time: SQLiteGate sees to that.

import CSQLite
import Foundation

/// A connection to one database file. Not Sendable: share it through `SQLiteGate`.
///
/// Foreign keys are off, temporary data stays in memory, and SQL that could damage the file is refused where SQLite can.
final class SQLiteConnection {
    static let cachedStatementsMax = 128

    let mode: SQLiteOpenMode
    let busyTimeoutMilliseconds: Int
    let interruption: SQLiteInterruption
    let tracker = SQLiteChangeTracker()

    /// Nil once closed.
    private(set) var database: OpaquePointer?
    private var cache = SQLiteStatementCache(capacity: cachedStatementsMax)

    // Kept by SQLiteConnection+Transaction.
    var scope = TransactionScope.none
    var savepointDepth = 0
    var rollbackCause: SQLiteError?
    /// Runs at the end of every write transaction that has changed rows, as part of it, with the tables that it changed.
    var beforeCommit: ((Set<String>) throws -> Void)?

    enum TransactionScope { case none, write, read }

    /// Opens the database and proves that it is one. With `journalMode` nil the file keeps the mode that it has.
    init(
        path: String,
        mode: SQLiteOpenMode,
        journalMode: SQLiteJournalMode? = nil,
        synchronous: SQLiteSynchronous = .full,
        busyTimeoutMilliseconds: Int = 5000
    ) throws(SQLiteError) {
        let database = try Self.open(path: path, mode: mode)
        self.database = database
        self.mode = mode
        self.busyTimeoutMilliseconds = busyTimeoutMilliseconds
        interruption = SQLiteInterruption(database: database)
        tracker.attach(to: database)
        do {
            try configure(path: path, journalMode: journalMode, synchronous: synchronous)
        } catch {
            close()
            throw error
        }
    }

    deinit {
        close()
    }

    /// Closes the database; returns the SQL of statements that were still in use, which is a programmer's error. Calling it
    /// again does nothing.
    @discardableResult
    func close() -> [String] {
        guard let database else { return [] }
        cache.removeAll()
        var leaked: [String] = []
        var statement = sqlite3_next_stmt(database, nil)
        while let current = statement {
            leaked.append(sqlite3_sql(current).map { String(cString: $0) } ?? "")
            statement = sqlite3_next_stmt(database, current)
        }
        interruption.detach()
        // The hooks point at the tracker, which may be freed before a leaked statement lets go of the database.
        sqlite3_update_hook(database, nil, nil)
        sqlite3_rollback_hook(database, nil, nil)
        sqlite3_set_authorizer(database, nil, nil)
        self.database = nil
        // The "v2" waits for leaked statements instead of leaving them dangling.
        sqlite3_close_v2(database)
        return leaked
    }

    /// The handle for calls that need one, in particular where SQLite itself would crash without.
    func requireOpen(_ operation: String) throws(SQLiteError) -> OpaquePointer {
        guard let database else {
            throw SQLiteError(code: SQLITE_MISUSE, message: "the connection is closed", operation: operation)
        }
        return database
    }

    // MARK: State

    /// Rows changed by the latest INSERT, UPDATE or DELETE, without those changed by its triggers.
    var changes: Int64 { database.map { csqlite_changes($0) } ?? 0 }

    /// Rows changed since the connection was opened, by triggers too.
    var totalChanges: Int64 { database.map { csqlite_total_changes($0) } ?? 0 }

    var lastInsertRowID: Int64 { database.map { sqlite3_last_insert_rowid($0) } ?? 0 }

    /// True between BEGIN and COMMIT or ROLLBACK; an error such as a full disk may end a transaction by itself.
    var isInTransaction: Bool { database.map { sqlite3_get_autocommit($0) == 0 } ?? false }

    var cachedStatementCount: Int { cache.count }

    /// Calls `body` after each commit on this connection that changed rows, with the names of the tables. It runs on the
    /// connection's thread and must not use the connection. Replaces the previous one; nil ends it. Commits of other
    /// connections do not show here: compare `dataVersion`.
    func onCommit(_ body: ((Set<String>) -> Void)?) {
        tracker.onCommit = body
    }

    // MARK: Statements

    /// Lends a compiled statement: the fast path for running one statement many times.
    func withStatement<R>(_ sql: String, _ body: (SQLiteStatement) throws -> R) throws -> R {
        let statement = try borrow(sql)
        defer { giveBack(statement) }
        return try body(statement)
    }

    func borrow(_ sql: String) throws(SQLiteError) -> SQLiteStatement {
        if let statement = cache.borrow(sql) { return statement }
        let statement = try compileOne(sql)
        statement.isLent = true
        return statement
    }

    func giveBack(_ statement: SQLiteStatement) {
        statement.reset()
        statement.clearBindings()
        if database != nil { cache.giveBack(statement) }
    }

    /// Runs any number of statements that take no values. They are not cached. Those before a failing one stay done.
    func script(_ sql: String) throws(SQLiteError) {
        var rest = sql[...]
        while let (statement, tail) = try compileFirst(rest) {
            try statement.run()
            rest = tail
        }
    }

    func compileOne(_ sql: String) throws(SQLiteError) -> SQLiteStatement {
        guard let (statement, tail) = try compileFirst(sql[...]) else {
            throw SQLiteError(code: SQLITE_MISUSE, message: "there is no statement in the text", operation: "prepare", sql: sql)
        }
        // What follows may be blank or a comment, nothing more: a second statement would silently not run.
        if !tail.isEmpty, try compileFirst(tail) != nil {
            throw SQLiteError(code: SQLITE_MISUSE, message: "there is more than one statement", operation: "prepare", sql: sql)
        }
        return statement
    }

    /// Compiles the first statement of `sql`, and returns it with the text behind it. Nil when only blanks and comments are left.
    private func compileFirst(_ sql: Substring) throws(SQLiteError) -> (SQLiteStatement, Substring)? {
        let database = try requireOpen("prepare")
        // SQLite reads up to the first NUL and would silently ignore what follows it.
        guard !sql.utf8.contains(0) else {
            throw SQLiteError(code: SQLITE_MISUSE, message: "the text contains a NUL character", operation: "prepare")
        }
        var text = String(sql)
        var pointer: OpaquePointer?
        var used = 0
        _ = tracker.takeCompiledTables()
        let result = text.withUTF8 { bytes -> Int32 in
            bytes.withMemoryRebound(to: CChar.self) { bytes -> Int32 in
                guard let start = bytes.baseAddress else { return SQLITE_OK }
                var tail: UnsafePointer<CChar>?
                let result = sqlite3_prepare_v2(database, start, Int32(clamping: bytes.count), &pointer, &tail)
                used = tail.map { $0 - start } ?? bytes.count
                return result
            }
        }
        guard result == SQLITE_OK else { throw error(result, operation: "prepare", sql: text) }
        guard let pointer else { return nil }
        let end = text.utf8.index(text.startIndex, offsetBy: used)
        let statement = SQLiteStatement(
            sql: String(text[..<end]), pointer: pointer, connection: self, writableTables: tracker.takeCompiledTables())
        return (statement, text[end...])
    }

    // MARK: Called by statements

    /// Refuses statements that would escape the transaction in which the caller believes to be.
    func willRun(_ statement: SQLiteStatement) throws(SQLiteError) {
        switch scope {
        case .none:
            break
        case .write:
            // After a rollback behind the caller's back each further statement would commit on its own.
            if !isInTransaction { throw endedTransactionError() }
        case .read:
            // A write would turn the snapshot into a deferred write transaction, which fails at random under contention.
            if !statement.isReadOnly {
                throw SQLiteError(
                    code: SQLITE_READONLY, message: "a read transaction cannot write", operation: "run", sql: statement.sql)
            }
        }
    }

    func didRun(_ statement: SQLiteStatement, since mark: SQLiteChangeTracker.Mark, error: SQLiteError?) {
        tracker.statementEnded(statement, since: mark, totalChanges: totalChanges)
        if isInTransaction { return }
        if let error {
            if scope == .write, rollbackCause == nil { rollbackCause = error }
            tracker.restore([])
        } else {
            tracker.committed()
        }
    }

    func error(_ code: Int32, operation: String, sql: String? = nil) -> SQLiteError {
        SQLiteError(database: database, code: code, operation: operation, sql: sql)
    }
}
