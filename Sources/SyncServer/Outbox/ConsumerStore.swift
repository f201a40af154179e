// The registry of consumers as a table. Every call runs inside a transaction that sees the tenant.

import SyncProtocol

/// A consumer with its state.
struct RegisteredConsumer: Sendable {
    var consumer: Consumer
    var status: Consumer.Status
    /// Why it is paused or disabled.
    var reason: String?
    /// Looked through up to here.
    var cursor: FeedPosition
    /// Everything up to here is delivered, acknowledged or dead.
    var done: Int64
    var head: FeedPosition
    var openCount: Int64
    var deadCount: Int64
    /// Failed batches in a row.
    var failures: Int64
    var blockedUntil: Int64
    var lastAttemptAt: Int64?
    var lastSuccessAt: Int64?
    var createdAt: Int64
    /// Of the first entry that is not done.
    var oldestAt: Int64?
    /// Until then the previous secret signs too.
    var previousSecretUntil: Int64?

    /// Entries of this epoch that are not done.
    var lag: Int64 { max(0, head.position - max(done, head.epoch * FeedPosition.epochStride - 1)) }
}

struct ConsumerStore {
    let tenant: Identifier
    let connection: PostgresConnection

    /// Each reads the feed on its own; who has more than this to tell puts a queue behind one of them.
    static let perTenantMax: Int64 = 100
    /// How long the secret before the last rotation still signs.
    static let graceMilliseconds: Int64 = 24 * 3_600_000

    static func notFound(_ name: String) -> ErrorReply { ErrorReply(.notFound, "there is no consumer \(name)") }

    private static let columns = """
        c.name, c.kind, c.kinds, c.url, c.ordered_by, c.max_attempts, c.concurrency, c.rate_per_minute, c.includes_restricted, \
        c.status, c.reason, c.epoch, c.position, c.failures, c.blocked_until, c.last_attempt_at, c.last_success_at, c.created_at, \
        c.previous_secret_until, h.epoch, h.position, d.open, d.dead, d.done, f.at, c.handler
        """

    /// All, or one by name, in name order.
    func read(_ name: String? = nil) throws -> [RegisteredConsumer] {
        let result = try connection.run(
            PostgresStatement(
                """
                SELECT \(ConsumerStore.columns) FROM tideline.consumer c JOIN tideline.tenant_head h ON h.tenant = c.tenant \
                CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE status = 'open') AS open, count(*) FILTER (WHERE status = 'dead') AS dead, \
                coalesce(min(position) FILTER (WHERE status = 'open') - 1, c.position) AS done \
                FROM tideline.delivery WHERE tenant = c.tenant AND consumer = c.name) d \
                LEFT JOIN LATERAL (SELECT at FROM tideline.feed WHERE tenant = c.tenant AND position > d.done ORDER BY position LIMIT 1) f \
                ON true WHERE c.tenant = $1::uuid AND ($2::text IS NULL OR c.name = $2) ORDER BY c.name
                """, [.identifier(tenant), .optional(name)]))
        return try result.rows.map { try registered(result, $0) }
    }

    /// Throws `not_found`.
    func require(_ name: String) throws -> RegisteredConsumer {
        guard let one = try read(name).first else { throw ConsumerStore.notFound(name) }
        return one
    }

    private func registered(_ result: PostgresResult, _ row: Int) throws -> RegisteredConsumer {
        guard let name = result.text(row, 0), let kind = result.text(row, 1).flatMap(Consumer.Kind.init(rawValue:)),
            let kinds = result.textArray(row, 2), let ordering = result.text(row, 4).flatMap(Consumer.Ordering.init(rawValue:)),
            let attempts = result.integer(row, 5), let concurrency = result.integer(row, 6), let restricted = result.bool(row, 8),
            let status = result.text(row, 9).flatMap(Consumer.Status.init(rawValue:)), let epoch = result.integer(row, 11),
            let position = result.integer(row, 12), let headEpoch = result.integer(row, 19), let headPosition = result.integer(row, 20)
        else { throw ErrorReply(.internal, "a consumer's row cannot be read") }
        let consumer = Consumer(
            stored: name, kind: kind, filter: EventFilter(stored: kinds), url: try result.text(row, 3).map { try WebhookURL(checking: $0) },
            handler: result.text(row, 25), orderedBy: ordering, attemptsMax: attempts, concurrency: concurrency,
            ratePerMinute: result.integer(row, 7),
            includesRestricted: restricted)
        return RegisteredConsumer(
            consumer: consumer, status: status, reason: result.text(row, 10), cursor: FeedPosition(epoch: epoch, position: position),
            done: result.integer(row, 23) ?? position, head: FeedPosition(epoch: headEpoch, position: headPosition),
            openCount: result.integer(row, 21) ?? 0, deadCount: result.integer(row, 22) ?? 0, failures: result.integer(row, 13) ?? 0,
            blockedUntil: result.integer(row, 14) ?? 0, lastAttemptAt: result.integer(row, 15), lastSuccessAt: result.integer(row, 16),
            createdAt: result.integer(row, 17) ?? 0, oldestAt: result.integer(row, 24), previousSecretUntil: result.integer(row, 18))
    }

    // MARK: Changing

    /// Returns the secret of a webhook, which is shown this once. Throws `conflict` for a name in use.
    func add(_ consumer: Consumer, from start: StartPosition, nowMilliseconds now: Int64) throws -> WebhookSecret? {
        let position = try resolve(start)
        let secret = consumer.kind == .webhook ? try WebhookSecret.make(on: connection) : nil
        // One after another, so that two that count at once do not both find room for the last one.
        _ = try connection.run(TenantHead.lock(tenant))
        let count = try connection.run("SELECT count(*) FROM tideline.consumer WHERE tenant = $1::uuid", .identifier(tenant))
        guard (count.integer(0, 0) ?? 0) < ConsumerStore.perTenantMax else {
            throw Consumer.conflict("name", "a tenant has at most \(ConsumerStore.perTenantMax) consumers")
        }
        let added = try connection.run(
            PostgresStatement(
                """
                INSERT INTO tideline.consumer (tenant, name, epoch, position, kind, kinds, url, secret, max_attempts, ordered_by, \
                concurrency, rate_per_minute, includes_restricted, created_at, handler) \
                SELECT $1::uuid, $2, epoch, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM tideline.tenant_head \
                WHERE tenant = $1::uuid ON CONFLICT DO NOTHING
                """,
                [
                    .identifier(tenant), .text(consumer.name), .integer(position), .text(consumer.kind.rawValue),
                    .textArray(consumer.filter.patterns), .optional(consumer.url?.text), .optional(secret?.text),
                    .integer(consumer.attemptsMax), .text(consumer.orderedBy.rawValue), .integer(consumer.concurrency),
                    .optional(consumer.ratePerMinute), .bool(consumer.includesRestricted), .integer(now), .optional(consumer.handler),
                ]))
        guard added.affectedRows == 1 else { throw Consumer.conflict("name", "there is a consumer \(consumer.name) already") }
        return secret
    }

    /// The position after which to begin. Throws `conflict` for one beyond head, `not_found` without a tenant.
    private func resolve(_ start: StartPosition) throws -> Int64 {
        guard let head = TenantHead(try connection.run(TenantHead.read(tenant))) else {
            throw ErrorReply(.notFound, "there is no such tenant")
        }
        switch start {
        case .now: return head.position.position
        case .beginning: return 0
        case .after(let position):
            guard position <= head.position.position else {
                throw Consumer.conflict("from", "the feed ends at position \(head.position.position)")
            }
            return position
        case .since(let time):
            // Times of entries never fall by much, and nobody is told less than asked for: the first one that is young enough.
            let found = try connection.run(
                "SELECT min(position) - 1 FROM tideline.feed WHERE tenant = $1::uuid AND at >= $2", .identifier(tenant), .integer(time))
            return found.integer(0, 0) ?? head.position.position
        }
    }

    func pause(_ name: String, reason: String?) throws {
        try change(
            name, "status = 'paused', reason = $3", [.optional(reason)])
    }

    /// Also brings back one that was disabled; what failed is tried at once.
    func resume(_ name: String) throws {
        try change(name, "status = 'active', reason = NULL, disabled_at = NULL, failures = 0, blocked_until = 0, due_at = 0", [])
        try connection.run(
            "UPDATE tideline.delivery SET next_attempt_at = 0 WHERE tenant = $1::uuid AND consumer = $2 AND status = 'open'",
            .identifier(tenant), .text(name))
    }

    /// Moves the cursor; open and dead deliveries beyond it are read from the feed again. Returns the new position.
    func replay(_ name: String, from start: StartPosition) throws -> Int64 {
        let position = try resolve(start)
        // The row's lock keeps a dispatcher from taking deliveries in between.
        try change(
            name, "position = $3, blocked_until = 0, failures = 0, due_at = 0", [.integer(position)])
        try connection.run(
            "DELETE FROM tideline.delivery WHERE tenant = $1::uuid AND consumer = $2 AND position > $3", .identifier(tenant), .text(name),
            .integer(position))
        // Skipping forward leaves nothing open behind either.
        if start == .now {
            try connection.run(
                "DELETE FROM tideline.delivery WHERE tenant = $1::uuid AND consumer = $2 AND status = 'open'", .identifier(tenant),
                .text(name))
        }
        return position
    }

    /// The old secret signs too for a day, so that receivers can change over.
    func rotateSecret(_ name: String, nowMilliseconds now: Int64) throws -> WebhookSecret {
        guard try require(name).consumer.kind == .webhook else {
            throw Consumer.conflict("name", "\(name) is no webhook; it has no secret")
        }
        let secret = try WebhookSecret.make(on: connection)
        try change(
            name, "previous_secret = secret, previous_secret_until = $4, secret = $3",
            [.text(secret.text), .integer(now + ConsumerStore.graceMilliseconds)])
        return secret
    }

    func remove(_ name: String) throws {
        try requireAffected(
            name,
            try connection.run("DELETE FROM tideline.consumer WHERE tenant = $1::uuid AND name = $2", .identifier(tenant), .text(name)))
        for table in ["delivery", "delivery_attempt"] {
            try connection.run("DELETE FROM tideline.\(table) WHERE tenant = $1::uuid AND consumer = $2", .identifier(tenant), .text(name))
        }
    }

    private func change(_ name: String, _ assignments: String, _ values: [PostgresValue]) throws {
        try requireAffected(
            name,
            try connection.run(
                PostgresStatement(
                    "UPDATE tideline.consumer SET \(assignments) WHERE tenant = $1::uuid AND name = $2",
                    [.identifier(tenant), .text(name)] + values)))
    }

    private func requireAffected(_ name: String, _ result: PostgresResult) throws {
        if result.affectedRows == 0 { throw ConsumerStore.notFound(name) }
    }
}
