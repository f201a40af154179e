// The only way several tasks and threads share one connection: in turn, on a queue of its own.

import Dispatch

/// One gate to a connection. What is passed in runs alone, in the order of arrival, and off the cooperative pool: SQLite blocks
/// on the disk and on other processes' locks, and a blocked pool thread would stall every task of the program.
// @unchecked Sendable: the connection is not, but it is reached only inside blocks of the serial queue, so one thread at a time
// uses it and each block happens before the next. When the last reference goes, no block is left that could hold the connection.
final class SQLiteGate: @unchecked Sendable {
    /// Stops whatever the connection is doing.
    let interruption: SQLiteInterruption

    private let queue: DispatchQueue
    private let connection: SQLiteConnection

    private init(queue: DispatchQueue, connection: SQLiteConnection) {
        self.queue = queue
        self.connection = connection
        interruption = connection.interruption
    }

    /// Opens the connection on the gate's queue, suspending the caller meanwhile.
    static func open(_ connect: @escaping @Sendable () throws -> SQLiteConnection) async throws -> SQLiteGate {
        let queue = Self.makeQueue()
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { SQLiteGate(queue: queue, connection: try connect()) })
            }
        }
    }

    /// Opens the connection on the gate's queue, blocking the calling thread; for command-line use.
    static func openBlocking(_ connect: @Sendable () throws -> SQLiteConnection) throws -> SQLiteGate {
        let queue = Self.makeQueue()
        return try queue.sync { SQLiteGate(queue: queue, connection: try connect()) }
    }

    /// Runs `body` with the connection when its turn comes. Cancelling the task does not stop it: use `interruption`.
    func run<R: Sendable>(_ body: @escaping @Sendable (SQLiteConnection) throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(with: Result { try body(self.connection) })
            }
        }
    }

    /// The same for threads that may block. Must not be called from inside a `body`, which would wait for itself.
    func runBlocking<R: Sendable>(_ body: @Sendable (SQLiteConnection) throws -> R) throws -> R {
        dispatchPrecondition(condition: .notOnQueue(queue))
        return try queue.sync { try body(connection) }
    }

    /// Closes the connection after everything that was passed in before; later calls fail with a `SQLiteError`. Returns the SQL
    /// of statements still in use, which is a programmer's error.
    @discardableResult
    func close() async -> [String] {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: self.connection.close()) }
        }
    }

    private static func makeQueue() -> DispatchQueue {
        DispatchQueue(label: "tideline.sqlite", qos: .userInitiated)
    }
}
