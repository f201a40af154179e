// A copy of a database that is in use. Copying the file itself is not safe: half of the data may still be in its journal.

import CSQLite
import Foundation

extension SQLiteConnection {
    /// Writes a consistent copy to `path`, which must not exist. The file appears there only when it is complete.
    func backup(to path: String) throws(SQLiteError) {
        let source = try requireOpen("backup")
        guard !FileManager.default.fileExists(atPath: path) else {
            throw SQLiteError(code: SQLITE_CANTOPEN, message: "\(path) already exists", operation: "backup")
        }
        let unfinished = "\(path).\(UUID().uuidString).partial"
        do {
            try copyPages(of: source, to: unfinished)
        } catch {
            Self.remove(unfinished)
            throw error
        }
        do {
            // Refuses to replace a file that has appeared in the meantime.
            try FileManager.default.moveItem(atPath: unfinished, toPath: path)
        } catch {
            Self.remove(unfinished)
            throw SQLiteError(code: SQLITE_CANTOPEN, message: "cannot create \(path): \(error)", operation: "backup")
        }
    }

    private func copyPages(of source: OpaquePointer, to path: String) throws(SQLiteError) {
        let target = try SQLiteConnection(path: path, mode: .readWriteCreate, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
        defer { target.close() }
        guard let backup = sqlite3_backup_init(target.database, "main", source, "main") else {
            throw target.error(sqlite3_extended_errcode(target.database), operation: "backup")
        }
        // All pages in one step: the copy is of one moment, and no writer can make it begin again and again.
        let deadline = DispatchTime.now() + .milliseconds(busyTimeoutMilliseconds)
        var result = sqlite3_backup_step(backup, -1)
        while result & 0xff == SQLITE_BUSY || result & 0xff == SQLITE_LOCKED, DispatchTime.now() < deadline {
            Thread.sleep(forTimeInterval: 0.005)
            result = sqlite3_backup_step(backup, -1)
        }
        sqlite3_backup_finish(backup)
        guard result == SQLITE_DONE else { throw target.error(result, operation: "backup") }
    }

    private static func remove(_ path: String) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + suffix)
        }
    }
}
