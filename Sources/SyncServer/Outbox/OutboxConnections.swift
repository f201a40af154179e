// A few database sessions that many sender threads share: they need one only before and after an attempt, never during it.

import Foundation

/// @unchecked Sendable: everything mutable is only touched under the condition; a session is used by the one thread that took it.
final class OutboxConnections: @unchecked Sendable {
    private let countMax: Int
    private let metrics: Metrics
    private let connect: @Sendable () throws -> PostgresConnection
    private let condition = NSCondition()
    private var idle: [PostgresConnection] = []
    private var inUse = 0

    init(countMax: Int, metrics: Metrics, connect: @escaping @Sendable () throws -> PostgresConnection) {
        self.countMax = countMax
        self.metrics = metrics
        self.connect = connect
    }

    /// Waits for a free session. Throws what `body` throws, or a ``PostgresError``.
    func use<R>(_ body: (PostgresConnection) throws -> R) throws -> R {
        let kept = take()
        var session: PostgresConnection?
        defer { give(session) }
        let open: PostgresConnection
        if let kept, kept.isHealthy { open = kept } else { open = try connect() }
        session = open
        return try body(open)
    }

    func close() {
        condition.lock()
        for session in idle { session.close() }
        idle.removeAll()
        condition.unlock()
    }

    private func take() -> PostgresConnection? {
        condition.lock()
        defer { condition.unlock() }
        while inUse >= countMax { condition.wait() }
        inUse += 1
        metrics.outboxConnectionTaken()
        return idle.popLast()
    }

    private func give(_ session: PostgresConnection?) {
        condition.lock()
        inUse -= 1
        metrics.outboxConnectionGiven()
        if let session, session.isHealthy { idle.append(session) }
        condition.signal()
        condition.unlock()
    }
}
