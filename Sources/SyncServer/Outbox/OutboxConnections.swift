// A few database sessions that many sender threads share: they need one only before and after an attempt, never during it.

import Foundation
import SyncProtocol

/// A tenant may take one more while it has no more than are free, as with threads (``SenderTurns``): its built-in consumers wait for its own
/// head's lock with a session in hand.
/// @unchecked Sendable: everything mutable is only touched under the condition; a session is used by the one thread that took it.
final class OutboxConnections: @unchecked Sendable {
    private let countMax: Int
    private let metrics: Metrics
    private let connect: @Sendable () throws -> PostgresConnection
    private let condition = NSCondition()
    private var idle: [PostgresConnection] = []
    private var inUse = 0
    private var inUseByTenant: [Identifier: Int] = [:]

    init(countMax: Int, metrics: Metrics, connect: @escaping @Sendable () throws -> PostgresConnection) {
        self.countMax = countMax
        self.metrics = metrics
        self.connect = connect
    }

    /// Waits for a free session. Throws what `body` throws, or a ``PostgresError``.
    func use<R>(for tenant: Identifier, _ body: (PostgresConnection) throws -> R) throws -> R {
        let kept = take(tenant)
        var session: PostgresConnection?
        defer { give(session, tenant) }
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

    private func take(_ tenant: Identifier) -> PostgresConnection? {
        condition.lock()
        defer { condition.unlock() }
        while inUse >= countMax || inUseByTenant[tenant] ?? 0 > countMax - inUse { condition.wait() }
        inUse += 1
        inUseByTenant[tenant, default: 0] += 1
        metrics.outboxConnectionTaken()
        return idle.popLast()
    }

    private func give(_ session: PostgresConnection?, _ tenant: Identifier) {
        condition.lock()
        inUse -= 1
        let left = (inUseByTenant[tenant] ?? 1) - 1
        inUseByTenant[tenant] = left > 0 ? left : nil
        metrics.outboxConnectionGiven()
        if let session, session.isHealthy { idle.append(session) }
        // Who waits may wait for a free one or for the share of its tenant.
        condition.broadcast()
        condition.unlock()
    }
}
