// Lets another thread interrupt the statement a connection is running, without touching the connection.

import CPostgres
import Foundation

/// @unchecked Sendable: the only mutable state is a `PGcancel`, a snapshot made for exactly this use, and a lock guards it.
final class PostgresCancellation: @unchecked Sendable {
    private let lock = NSLock()
    private var handle: OpaquePointer?

    deinit { PQfreeCancel(handle) }

    /// Points at the session of a new connection, or at none.
    func attach(_ connection: OpaquePointer?) {
        lock.lock()
        defer { lock.unlock() }
        PQfreeCancel(handle)
        handle = connection.flatMap { PQgetCancel($0) }
    }

    /// Asks the server to cancel what the session is doing now; blocks for one short connection. The statement then fails with
    /// 57014. Returns false if there was no session or it could not be reached. A late request may hit the session's next statement.
    @discardableResult
    func cancel() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard let handle else { return false }
        var message = [CChar](repeating: 0, count: 256)
        return PQcancel(handle, &message, Int32(message.count)) != 0
    }
}
