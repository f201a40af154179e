// What was given up: kept with its last error until a person replays or discards it. The entry itself is in the feed.

import SyncProtocol

struct DeadLetter: Sendable {
    var event: OutboxEvent
    var attempts: Int64
    var lastStatus: Int64?
    var lastError: String?
    var diedAt: Int64

    /// - Parameter isWhole: With the event as it was sent.
    func json(isWhole: Bool) -> JSONValue {
        var object: JSONObject = [
            "position": .integer(event.position.position), "id": .string(event.id), "kind": .string(event.kind),
            "entity": .string(event.entity), "record": .string(event.record.text),
            "at": .string(Instant.iso(fromMilliseconds: event.atMilliseconds)), "attempts": .integer(attempts),
            "died_at": .string(Instant.iso(fromMilliseconds: diedAt)), "error": .string(lastError ?? ""),
        ]
        if let lastStatus { object["status"] = .integer(lastStatus) }
        if isWhole { object["event"] = event.json() }
        return .object(object)
    }
}

/// Every call runs inside a transaction that sees the tenant.
struct DeadLetters {
    let tenant: Identifier
    let connection: PostgresConnection
    let consumer: Consumer

    static let pageMax: Int64 = 500
    /// Kept of one consumer; with as many it is disabled, and reads no further until somebody has looked. Its events stay in the feed.
    static let perConsumerMax: Int64 = 10_000
    static let fullReason = "\(perConsumerMax) dead letters are kept; replay or discard them, then resume the consumer"

    /// Oldest first, without their changes. - Parameter position: Only the one there, with them.
    func read(position: Int64? = nil, after: Int64 = -1, limit: Int64 = DeadLetters.pageMax) throws -> [DeadLetter] {
        let columns = OutboxEvent.columns(
            "f", includesRestricted: consumer.includesRestricted, changes: position == nil ? .none : .all)
        let result = try connection.run(
            PostgresStatement(
                """
                SELECT \(columns), \
                d.attempts, d.last_status, d.last_error, coalesce(d.died_at, 0) FROM tideline.delivery d \
                JOIN tideline.feed f ON f.tenant = d.tenant AND f.position = d.position \
                WHERE d.tenant = $1::uuid AND d.consumer = $2 AND d.status = 'dead' AND ($3::bigint IS NULL OR d.position = $3) \
                AND d.position > $4 ORDER BY d.position LIMIT $5
                """, [.identifier(tenant), .text(consumer.name), .optional(position), .integer(after), .integer(limit)]))
        return try result.rows.compactMap { row in
            guard let event = try OutboxEvent(result, row: row, tenant: tenant) else { return nil }
            return DeadLetter(
                event: event, attempts: result.integer(row, 21) ?? 0, lastStatus: result.integer(row, 22),
                lastError: result.text(row, 23), diedAt: result.integer(row, 24) ?? 0)
        }
    }

    func require(_ position: Int64) throws -> DeadLetter {
        guard let one = try read(position: position).first else { throw DeadLetters.notFound(position) }
        return one
    }

    /// Tried again from the first attempt. - Parameter position: nil: all. Returns how many. Throws `not_found`.
    func replay(_ position: Int64?) throws -> Int64 {
        // The consumer before its deliveries, as everyone locks them.
        try connection.run(
            "UPDATE tideline.consumer SET due_at = 0 WHERE tenant = $1::uuid AND name = $2", .identifier(tenant), .text(consumer.name))
        return try affected(
            position,
            """
            UPDATE tideline.delivery SET status = 'open', attempts = 0, next_attempt_at = 0, died_at = NULL, lease = NULL, lease_until = NULL
            """)
    }

    /// Never delivered then. - Parameter position: nil: all. Returns how many. Throws `not_found`.
    func discard(_ position: Int64?) throws -> Int64 { try affected(position, "DELETE FROM tideline.delivery") }

    private func affected(_ position: Int64?, _ statement: String) throws -> Int64 {
        let result = try connection.run(
            PostgresStatement(
                """
                \(statement) WHERE tenant = $1::uuid AND consumer = $2 AND status = 'dead' AND ($3::bigint IS NULL OR position = $3)
                """, [.identifier(tenant), .text(consumer.name), .optional(position)]))
        if let position, result.affectedRows == 0 { throw DeadLetters.notFound(position) }
        return Int64(result.affectedRows)
    }

    private static func notFound(_ position: Int64) -> ErrorReply {
        ErrorReply(.notFound, "there is no dead letter at position \(position)")
    }
}

/// The log of attempts. Every call runs inside a transaction that sees the tenant.
enum AttemptLog {
    static let days: Int64 = 7
    /// A consumer's newest attempts that are kept.
    static let perConsumerMax: Int64 = 10_000

    /// Newest first.
    static func read(tenant: Identifier, consumer: String, limit: Int64, on connection: PostgresConnection) throws -> [JSONValue] {
        let result = try connection.run(
            """
            SELECT a.position, a.attempt, a.at, a.duration_ms, a.result, a.status, a.error, a.request_id, (SELECT f.request_id \
            FROM tideline.feed f WHERE f.tenant = a.tenant AND f.position = a.position) FROM tideline.delivery_attempt a \
            WHERE a.tenant = $1::uuid AND a.consumer = $2 ORDER BY a.at DESC, a.position DESC LIMIT $3
            """, .identifier(tenant), .text(consumer), .integer(limit))
        return result.rows.map { row in
            var object: JSONObject = [
                "position": .integer(result.integer(row, 0) ?? 0), "attempt": .integer(result.integer(row, 1) ?? 0),
                "at": .string(Instant.iso(fromMilliseconds: result.integer(row, 2) ?? 0)),
                "duration_ms": .integer(result.integer(row, 3) ?? 0), "result": .string(result.text(row, 4) ?? ""),
            ]
            if let status = result.integer(row, 5) { object["status"] = .integer(status) }
            if let error = result.text(row, 6) { object["error"] = .string(error) }
            if let request = result.text(row, 7) { object["request_id"] = .string(request) }
            if let request = result.text(row, 8) { object["event_request_id"] = .string(request) }
            return .object(object)
        }
    }

    /// Returns how many were removed. Where each consumer's log ends is worked out first, once a consumer and not once an attempt.
    static func prune(tenant: Identifier, nowMilliseconds now: Int64, on connection: PostgresConnection) throws -> Int {
        let results = try connection.batch([
            PostgresStatement(
                "DELETE FROM tideline.delivery_attempt WHERE tenant = $1::uuid AND at < $2",
                [.identifier(tenant), .integer(now - days * 86_400_000)]),
            PostgresStatement(
                """
                WITH oldest AS MATERIALIZED (SELECT c.name, (SELECT at FROM tideline.delivery_attempt \
                WHERE tenant = c.tenant AND consumer = c.name ORDER BY at DESC OFFSET $2 LIMIT 1) AS at \
                FROM tideline.consumer c WHERE c.tenant = $1::uuid) \
                DELETE FROM tideline.delivery_attempt a USING oldest o \
                WHERE a.tenant = $1::uuid AND a.consumer = o.name AND a.at <= o.at
                """, [.identifier(tenant), .integer(perConsumerMax)]),
        ])
        return results.reduce(0) { $0 + $1.affectedRows }
    }
}
