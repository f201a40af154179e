// Opening a file: what is set on every connection, and how a file that is no database is told apart.

import CSQLite
import Foundation

extension SQLiteConnection {
    static func open(path: String, mode: SQLiteOpenMode) throws(SQLiteError) -> OpaquePointer {
        if mode != .memory, path.isEmpty || path.utf8.contains(0) {
            throw SQLiteError(code: SQLITE_CANTOPEN, message: "the path is empty or contains a NUL character", operation: "open")
        }
        // SQLite gives a meaning to some names (":memory:", "file:…?…"); for us every name is a file.
        let isSpecial = path.hasPrefix(":") || path.hasPrefix("file:")
        let name = mode == .memory ? ":memory:" : isSpecial ? "./\(path)" : path
        var database: OpaquePointer?
        // No mutex: SQLiteGate already admits one thread at a time.
        let result = sqlite3_open_v2(name, &database, mode.flags | SQLITE_OPEN_NOMUTEX, nil)
        guard result == SQLITE_OK, let database else {
            let reason = SQLiteError(database: database, code: result, operation: "open")
            let code = database.map { sqlite3_extended_errcode($0) } ?? result
            sqlite3_close_v2(database)
            throw SQLiteError(code: code, message: "cannot open \(path): \(reason.message)", operation: "open")
        }
        return database
    }

    func configure(path: String, journalMode: SQLiteJournalMode?, synchronous: SQLiteSynchronous) throws(SQLiteError) {
        guard let database else { return }
        sqlite3_extended_result_codes(database, 1)
        sqlite3_busy_timeout(database, Int32(clamping: busyTimeoutMilliseconds))
        let result = csqlite_set_defensive(database)
        guard result == SQLITE_OK else { throw error(result, operation: "configure") }
        try requireDatabase(path: path)
        try script("PRAGMA foreign_keys = off; PRAGMA temp_store = memory; PRAGMA synchronous = \(synchronous.rawValue)")
        if let journalMode, mode == .readWriteCreate || mode == .readWrite {
            try setJournalMode(journalMode)
        }
    }

    /// Triggers of the file do not run for what this connection writes.
    func disableTriggers() throws(SQLiteError) {
        let result = csqlite_disable_triggers(try requireOpen("configure"))
        guard result == SQLITE_OK else { throw error(result, operation: "configure") }
    }

    // Opening reads nothing: a text file, say, is only found out by the first read.
    private func requireDatabase(path: String) throws(SQLiteError) {
        do {
            try script("PRAGMA schema_version")
        } catch {
            switch error.primaryCode {
            case SQLITE_NOTADB:
                throw SQLiteError(code: error.code, message: "\(path) is not a SQLite database", operation: "open")
            default:
                throw SQLiteError(code: error.code, message: "cannot open \(path): \(error.message)", operation: "open")
            }
        }
    }

    /// Sets the mode if the file is not in it yet. SQLite does not always wait for other connections here as it does for
    /// statements, so the wait is ours.
    private func setJournalMode(_ wanted: SQLiteJournalMode) throws(SQLiteError) {
        let deadline = DispatchTime.now() + .milliseconds(busyTimeoutMilliseconds)
        while true {
            do throws(SQLiteError) {
                if try readText("PRAGMA journal_mode") == wanted.rawValue { return }
                let reached = try readText("PRAGMA journal_mode = \(wanted.rawValue)")
                if reached == wanted.rawValue { return }
                let message = "the journal mode stays \(reached ?? "unknown") instead of \(wanted.rawValue)"
                throw SQLiteError(code: SQLITE_ERROR, message: message, operation: "configure")
            } catch {
                guard error.isBusy, DispatchTime.now() < deadline else { throw error }
                Thread.sleep(forTimeInterval: 0.005)
            }
        }
    }

    private func readText(_ sql: String) throws(SQLiteError) -> String? {
        let statement = try borrow(sql)
        defer { giveBack(statement) }
        return try statement.step() ? statement.row.optionalText(0) : nil
    }
}
