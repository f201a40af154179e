// Learns which tables a transaction changes, so that views can be refreshed after its commit.

import CSQLite
import Foundation

/// Collects table names while a transaction runs and hands them on once it has committed.
///
/// SQLite's update hook names the table of every changed row, but is silent for tables WITHOUT ROWID and for `DELETE` without
/// `WHERE`. Its calls are therefore compared with the number of rows changed: when rows are missing, every table that the
/// statement's program is able to write counts as changed. The answer is never too small, and exact for ordinary tables.
final class SQLiteChangeTracker {
    /// Called on the connection's thread after each commit that changed rows. It must not use the connection.
    var onCommit: ((Set<String>) -> Void)?

    /// Tables changed in the transaction that is open.
    private(set) var changedTables: Set<String> = []

    /// Tables that statements compiled since the last call of `takeCompiledTables` are able to write.
    private var compiledTables: Set<String> = []

    /// Statements may change rows of tables that do not begin so, and nothing else: no schema, no settings. Triggers may all.
    var protectedPrefix: String?

    /// Tables that statements compiled since then read; nil while nobody asks.
    private var readTables: Set<String>?

    private var reportedRows: Int64 = 0
    // The table of the previous row, so that a million rows of one table do not make a million strings.
    private var previousTable: UnsafeMutablePointer<CChar>?

    /// The counters before a statement runs.
    struct Mark {
        var changedRows: Int64 = 0
        var reportedRows: Int64 = 0
    }

    deinit {
        free(previousTable)
    }

    /// Installs the hooks. The tracker must live as long as the database handle.
    func attach(to database: OpaquePointer) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        sqlite3_update_hook(
            database,
            { context, _, database, table, _ in
                guard let context, let database, let table else { return }
                Unmanaged<SQLiteChangeTracker>.fromOpaque(context).takeUnretainedValue().rowChanged(database, table)
            },
            context
        )
        sqlite3_rollback_hook(
            database,
            { context in
                guard let context else { return }
                Unmanaged<SQLiteChangeTracker>.fromOpaque(context).takeUnretainedValue().restore([])
            },
            context
        )
        sqlite3_set_authorizer(
            database,
            { context, action, table, _, database, trigger in
                if let context, trigger == nil,
                    Unmanaged<SQLiteChangeTracker>.fromOpaque(context).takeUnretainedValue().isRefused(action, table)
                {
                    return SQLITE_DENY
                }
                if action == SQLITE_READ {
                    if let context, let table {
                        Unmanaged<SQLiteChangeTracker>.fromOpaque(context).takeUnretainedValue().read(table)
                    }
                } else if let context, let table, action == SQLITE_INSERT || action == SQLITE_UPDATE || action == SQLITE_DELETE {
                    Unmanaged<SQLiteChangeTracker>.fromOpaque(context).takeUnretainedValue().compiled(database, table)
                }
                return SQLITE_OK
            },
            context
        )
    }

    func mark(_ connection: SQLiteConnection) -> Mark {
        Mark(changedRows: connection.totalChanges, reportedRows: reportedRows)
    }

    /// Tables written by what was compiled just now. A statement is also compiled anew while running, after a schema change.
    func takeCompiledTables() -> Set<String> {
        guard !compiledTables.isEmpty else { return [] }
        defer { compiledTables = [] }
        return compiledTables
    }

    /// The tables that what `compile` compiles will read.
    func tablesRead<E: Error>(by compile: () throws(E) -> Void) throws(E) -> Set<String> {
        readTables = []
        defer { readTables = nil }
        try compile()
        return readTables ?? []
    }

    /// Accounts for the rows that the update hook did not report.
    func statementEnded(_ statement: SQLiteStatement, since mark: Mark, totalChanges: Int64) {
        if !compiledTables.isEmpty { statement.writableTables.formUnion(takeCompiledTables()) }
        guard !statement.writableTables.isEmpty else { return }
        if totalChanges - mark.changedRows > reportedRows - mark.reportedRows {
            changedTables.formUnion(statement.writableTables)
        }
    }

    /// The transaction is durable: hands its tables on and begins anew.
    func committed() {
        guard !changedTables.isEmpty else { return }
        let tables = changedTables
        restore([])
        onCommit?(tables)
    }

    /// Goes back to what was known earlier: at the start of a savepoint, or nothing after a rollback.
    func restore(_ tables: Set<String>) {
        changedTables = tables
        free(previousTable)
        previousTable = nil
    }

    private func rowChanged(_ database: UnsafePointer<CChar>, _ table: UnsafePointer<CChar>) {
        reportedRows += 1
        if let previousTable, strcmp(previousTable, table) == 0 { return }
        guard strcmp(database, "temp") != 0 else { return }
        changedTables.insert(String(cString: table))
        free(previousTable)
        previousTable = strdup(table)
    }

    private func isRefused(_ action: Int32, _ table: UnsafePointer<CChar>?) -> Bool {
        guard let protectedPrefix else { return false }
        switch action {
        case SQLITE_INSERT, SQLITE_UPDATE, SQLITE_DELETE:
            return table.map { strncmp($0, protectedPrefix, protectedPrefix.utf8.count) == 0 || strncmp($0, "sqlite_", 7) == 0 } ?? true
        case SQLITE_READ, SQLITE_SELECT, SQLITE_FUNCTION, SQLITE_TRANSACTION, SQLITE_SAVEPOINT, SQLITE_RECURSIVE: return false
        default: return true
        }
    }

    private func read(_ table: UnsafePointer<CChar>) {
        guard readTables != nil else { return }
        readTables?.insert(String(cString: table))
    }

    private func compiled(_ database: UnsafePointer<CChar>?, _ table: UnsafePointer<CChar>) {
        if let database, strcmp(database, "temp") == 0 { return }
        // SQLite's own catalogue: reported for every CREATE and DROP.
        guard strncmp(table, "sqlite_", 7) != 0 else { return }
        compiledTables.insert(String(cString: table))
    }
}
