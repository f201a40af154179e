// Consumers of the real server, without HTTP: the registry, pulled events and acknowledgements as the routes ask for them, and one look
// of a dispatcher at a built-in consumer, whose process may die at any step.

import Foundation
import SyncProtocol

@testable import Replica
@testable import SyncServer

extension PostgresServer {
    public func addConsumer(_ request: JSONValue) throws {
        try answer {
            let (consumer, start) = try Consumer.received(request, schema: schema, builtins: context.builtins)
            let now = context.now()
            try inTenant { _ = try ConsumerStore(tenant: tenant, connection: $0).add(consumer, from: start, nowMilliseconds: now) }
        }
    }

    public func events(for name: String, limit: Int64) throws -> ConsumerPage {
        try answer {
            let page = try inTenant { connection in
                try pulled(connection).page(try ConsumerStore(tenant: tenant, connection: connection).require(name), limit: limit)
            }
            return ConsumerPage(
                events: page.events.compactMap(ConsumerEvent.init), position: page.position, epoch: page.epoch,
                fingerprint: page.fingerprint, hasMore: page.hasMore)
        }
    }

    public func acknowledge(_ name: String, position: Int64, epoch: Int64?, fingerprint: String?) throws -> FeedPosition {
        try answer {
            try inTenant { connection in
                try pulled(connection).acknowledge(
                    try ConsumerStore(tenant: tenant, connection: connection).require(name), position: position, epoch: epoch,
                    fingerprint: fingerprint)
            }
        }
    }

    private func inTenant<R>(_ body: (PostgresConnection) throws -> R) throws -> R {
        try connection.transaction(.readWrite, tenant: tenant, body)
    }

    private func pulled(_ connection: PostgresConnection) -> PulledEvents {
        PulledEvents(tenant: tenant, connection: connection, withheld: withheld)
    }

    private var withheld: [String] { schema.entities.filter { $0.access == .secret }.map(\.name) }

    // MARK: Built in

    private static let leaseMilliseconds: Int64 = 90_000

    /// The session of the process that may die.
    // @unchecked Sendable: used by one thread, under the server's lock.
    private final class Process: @unchecked Sendable {
        var pid: Int64?
        var isDead = false
        var entries = 0
    }

    /// What a dead process had taken is nobody's until its lease ends.
    public func runBuiltin(_ name: String, dyingAt death: BuiltinDeath?) -> Bool {
        administer { connection in
            let lease = context.identifiers.next(milliseconds: context.now())
            let claimed = try inTenant { connection in
                try DeliveryStore(tenant: tenant, connection: connection).claim(
                    name, lease: lease, leaseMilliseconds: Self.leaseMilliseconds, nowMilliseconds: context.now(), withheld: withheld,
                    handlers: context.builtins.map(\.name))
            }
            if let batch = claimed, !batch.items.isEmpty,
                let builtin = context.builtins.first(where: { $0.name == batch.consumer.handler })
            {
                try run(batch, builtin, dyingAt: death, killer: connection)
            }
            return try inTenant { try ConsumerStore(tenant: tenant, connection: $0).require(name).lag == 0 }
        }
    }

    private func run(_ batch: ClaimedBatch, _ builtin: BuiltinConsumer, dyingAt death: BuiltinDeath?, killer: PostgresConnection) throws {
        let process = Process()
        let url = url
        let sessions = OutboxConnections(countMax: 1, metrics: Metrics()) {
            let session = try PostgresConnection(PostgresConfiguration(url: url))
            process.pid = try session.run("SELECT pg_backend_pid()::bigint").integer(0, 0)
            return session
        }
        defer { sessions.close() }
        let run = BuiltinRun(
            batch: batch, builtin: builtin, context: context, connections: sessions, schedule: RetrySchedule(),
            isStopping: { process.isDead },
            step: { reached in
                if reached == .taken { process.entries += 1 }
                guard let death, !process.isDead, process.entries == death.entry, "\(reached)" == death.step.rawValue else { return }
                process.isDead = true
                // Whatever it still says is not heard.
                guard let pid = process.pid else { return }
                do { try killer.run("SELECT pg_terminate_backend($1::int, 10000)", .integer(pid)) } catch {
                    preconditionFailure("the session could not be ended: \(error)")
                }
            })
        let report = run.run()
        guard !process.isDead else { return }
        _ = try inTenant { connection in
            try DeliveryStore(tenant: tenant, connection: connection).settle(
                batch, report.settled, untried: report.untried, failures: report.failures,
                blockedUntil: report.blockedUntil, nowMilliseconds: context.now())
        }
    }
}
