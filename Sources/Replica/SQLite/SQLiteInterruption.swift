// The one thing another thread may do to a connection: ask it to stop.

import CSQLite
import Foundation

/// Stops the statement that a connection is running, from any thread.
// @unchecked Sendable: the handle is only read or cleared under the lock, and SQLite allows sqlite3_interrupt from any thread
// as long as the connection is open, which the lock guarantees.
final class SQLiteInterruption: @unchecked Sendable {
    private let lock = NSLock()
    private var database: OpaquePointer?

    init(database: OpaquePointer) {
        self.database = database
    }

    /// Makes running statements fail with `isInterrupted`; a write transaction under way is rolled back. Does nothing when
    /// nothing runs or the connection is closed.
    func interrupt() {
        lock.withLock {
            if let database { sqlite3_interrupt(database) }
        }
    }

    /// After this returns no interrupt can reach the connection, so that it may be freed.
    func detach() {
        lock.withLock { database = nil }
    }
}
