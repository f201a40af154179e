// Work by the clock, each on a thread and a connection of its own so that requests never wait for it.

import Foundation
import SyncProtocol

/// Runs a task again and again until stopped; a failure is logged and the next turn tries again.
/// @unchecked Sendable: the flag is only touched under the lock; `thread` is set in `init` and never changes.
final class RepeatingTask: @unchecked Sendable {
    private let wakePipe = WakePipe()
    private let lock = NSLock()
    private var isStopped = false
    private var thread: DedicatedThread?

    init(
        _ name: String, everySeconds seconds: Double, database: Database, log: @escaping @Sendable (LogEntry) -> Void,
        _ body: @escaping @Sendable (PostgresConnection) throws -> Void
    ) {
        thread = DedicatedThread(name) { [self] in
            var connection: PostgresConnection?
            while !stopped {
                wakePipe.wait(timeoutSeconds: seconds)
                if stopped { break }
                do {
                    let session: PostgresConnection
                    if let open = connection, open.isHealthy { session = open } else { session = try database.connect(name: name) }
                    connection = session
                    try body(session)
                } catch {
                    connection = nil
                    log(.init(.warning, "timer_failed", ["timer": .string(name), "error": .string("\(error)")]))
                }
            }
            connection?.close()
        }
    }

    /// Waits for a turn that is under way.
    func stop() {
        lock.withLock { isStopped = true }
        wakePipe.wake()
        thread?.join()
    }

    private var stopped: Bool { lock.withLock { isStopped } }
}

/// @unchecked Sendable: `maintenance` is set by `start`, before anyone else sees it.
final class Timers: @unchecked Sendable {
    private let database: Database
    private let context: SyncContext
    private let log: @Sendable (LogEntry) -> Void
    private var maintenance: RepeatingTask?

    init(database: Database, context: SyncContext, log: @escaping @Sendable (LogEntry) -> Void) {
        self.database = database
        self.context = context
        self.log = log
    }

    func start() {
        maintenance = RepeatingTask(
            "tideline.maintenance", everySeconds: database.configuration.maintenanceSeconds, database: database, log: log
        ) { [context, log] connection in
            let pruned = try Maintenance(context: context, connection: connection).run()
            if pruned > 0 { log(.init(.info, "tombstones_pruned", ["count": .integer(Int64(pruned))])) }
        }
    }

    func stop() { maintenance?.stop() }
}
