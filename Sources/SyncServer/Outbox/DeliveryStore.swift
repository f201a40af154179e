// A consumer's deliveries as a table: what of the feed was looked through and is not delivered. Two short transactions a
// batch: `claim` takes some under a lease, `settle` writes what became of them; between them no lock is held.

import SyncProtocol

/// Deliveries taken by one dispatcher, for a while.
struct ClaimedBatch: Sendable {
    struct Item: Sendable {
        var event: OutboxEvent?
        /// Why there is no event.
        var problem: String?
        var position: Int64
        var record: Identifier
        /// Attempts made before.
        var attempts: Int64
    }

    var tenant: Identifier
    var consumer: Consumer
    /// The current one first.
    var secrets: [WebhookSecret]
    var lease: Identifier
    var leaseUntil: Int64
    var items: [Item]
    /// Failed batches in a row before this one.
    var failures: Int64
    /// Another dispatcher may find work of the same consumer now.
    var leavesMore: Bool
}

/// What became of one delivery of a batch.
struct SettledDelivery: Sendable {
    var position: Int64
    var attempts: Int64
    var verdict: DeliveryVerdict
    var result: AttemptResult
    var atMilliseconds: Int64
    var durationMilliseconds: Int64
    /// Of this attempt.
    var requestID: String
    /// Of the request that caused the event.
    var eventRequestID: String?
}

struct DeliveryStore {
    let tenant: Identifier
    let connection: PostgresConnection

    /// Open deliveries of one consumer; at more it does not look further into the feed.
    static let openMax: Int64 = 1_000
    /// Feed entries looked through at a time.
    static let pageMax: Int64 = 2_000
    /// Deliveries a lease is for: so many at first, and more while an endpoint takes them quickly. Claiming and settling cost the same
    /// for few and for many.
    static let batchFirst = 20
    static let batchMax = 100
    /// Bytes of the changes in a batch of a built-in consumer, which is told all of them; a batch has one entry at least.
    static let builtinBytesMax: Int64 = 16 << 20

    // MARK: Claiming

    /// nil: nothing to do now, or somebody else is at it. Runs inside a transaction that sees the tenant.
    /// - Parameters:
    ///   - limit: Deliveries to take at most.
    ///   - withheld: Entities whose entries never leave the server.
    ///   - handlers: Of built-in consumers that this process has.
    ///   - builtinBytesMax: Of a batch for one of those.
    func claim(
        _ name: String, lease: Identifier, leaseMilliseconds: Int64, nowMilliseconds now: Int64, limit: Int = DeliveryStore.batchFirst,
        withheld: [String], handlers: [String] = [], builtinBytesMax: Int64 = DeliveryStore.builtinBytesMax
    ) throws -> ClaimedBatch? {
        let opening = try connection.batch([
            PostgresStatement(
                """
                SELECT kind, kinds, url, ordered_by, max_attempts, concurrency, rate_per_minute, includes_restricted, secret, \
                previous_secret, previous_secret_until, position, failures, rate_minute, rate_used, handler \
                FROM tideline.consumer WHERE tenant = $1::uuid AND name = $2 \
                AND (kind = 'webhook' OR kind = 'builtin' AND handler = ANY($4::text[])) AND status = 'active' AND blocked_until <= $3 \
                FOR UPDATE SKIP LOCKED
                """, [.identifier(tenant), .text(name), .integer(now), .textArray(handlers)]),
            TenantHead.read(tenant),
        ])
        let row = opening[0]
        guard !row.isEmpty, let head = TenantHead(opening[1]), let kind = row.text(0, 0).flatMap(Consumer.Kind.init(rawValue:)),
            let kinds = row.textArray(0, 1), let ordering = row.text(0, 3).flatMap(Consumer.Ordering.init(rawValue:)),
            let attemptsMax = row.integer(0, 4),
            let concurrency = row.integer(0, 5), let position = row.integer(0, 11)
        else { return nil }
        let consumer = Consumer(
            stored: name, kind: kind, filter: EventFilter(stored: kinds), url: try row.text(0, 2).map { try WebhookURL(checking: $0) },
            handler: row.text(0, 15), orderedBy: ordering, attemptsMax: attemptsMax, concurrency: concurrency,
            ratePerMinute: row.integer(0, 6),
            includesRestricted: row.bool(0, 7) ?? false)
        let isRotating = (row.integer(0, 10) ?? 0) > now
        let secrets = [row.text(0, 8), isRotating ? row.text(0, 9) : nil].compactMap { $0.flatMap { WebhookSecret($0) } }
        guard kind == .builtin || !secrets.isEmpty else { return nil }

        // The locks of rows are taken now, so what is read from here on is what holds until commit.
        let (open, isLookedThrough) = try look(consumer, position: position, head: head.position.position, withheld: withheld)
        let leases = Set(open.filter { $0.open.leasedUntil > now }.compactMap(\.lease))
        let minute = now / 60_000
        let used = row.integer(0, 13) == minute ? row.integer(0, 14) ?? 0 : 0
        let allowance = consumer.ratePerMinute.map { max(0, $0 - used) } ?? Int64(limit)
        var selection = DeliverySelection.choose(
            open.map(\.open), orderedBy: ordering, nowMilliseconds: now, limit: min(limit, Int(allowance)),
            takers: max(1, Int(concurrency) - leases.count))
        var blockedUntil: Int64 = 0
        if leases.count >= concurrency {
            // Whoever holds a lease looks again when it has settled; if it never does, the lease ends.
            let ends = open.map(\.open.leasedUntil).filter { $0 > now }.min()
            selection = DeliverySelection(positions: [], nextAt: ends)
        } else if allowance == 0, selection.nextAt != nil {
            blockedUntil = (minute + 1) * 60_000
        }
        if kind == .builtin, selection.positions.count > 1 {
            // What comes behind stays as it is, for the next batch.
            let fitting = OutboxEvent.countFitting(
                try connection.run(OutboxEvent.sizes(at: selection.positions, tenant: tenant)), selection.positions,
                bytesMax: builtinBytesMax)
            if fitting < selection.positions.count {
                selection.positions.removeLast(selection.positions.count - fitting)
                selection.nextAt = now
            }
        }
        let looksFurther = !isLookedThrough && Int64(open.count) < DeliveryStore.openMax
        let hasMore = looksFurther || selection.nextAt.map { $0 <= now } ?? false
        let until = now + leaseMilliseconds
        // If this dispatcher dies, the end of its lease is when there is something to do again.
        if !selection.positions.isEmpty { selection.nextAt = min(selection.nextAt ?? until, until) }
        var statements = [
            PostgresStatement(
                """
                UPDATE tideline.consumer SET due_at = $3, open_count = $4, blocked_until = greatest(blocked_until, $5), \
                rate_minute = $6, rate_used = $7, last_attempt_at = CASE WHEN $8 THEN $9 ELSE last_attempt_at END \
                WHERE tenant = $1::uuid AND name = $2
                """,
                [
                    .identifier(tenant), .text(name), .optional(selection.nextAt), .integer(Int64(open.count)), .integer(blockedUntil),
                    .integer(minute), .integer(used + Int64(selection.positions.count)), .bool(!selection.positions.isEmpty), .integer(now),
                ])
        ]
        guard !selection.positions.isEmpty else {
            try connection.batch(statements)
            return hasMore && leases.count < concurrency && blockedUntil == 0
                ? ClaimedBatch(
                    tenant: tenant, consumer: consumer, secrets: secrets, lease: lease, leaseUntil: now, items: [],
                    failures: row.integer(0, 12) ?? 0, leavesMore: true) : nil
        }
        statements.append(
            PostgresStatement(
                """
                UPDATE tideline.delivery SET lease = $4::uuid, lease_until = $5 \
                WHERE tenant = $1::uuid AND consumer = $2 AND position = ANY($3::bigint[])
                """, [.identifier(tenant), .text(name), .integerArray(selection.positions), .identifier(lease), .integer(until)]))
        statements.append(
            OutboxEvent.read(
                at: selection.positions, tenant: tenant, includesRestricted: consumer.includesRestricted,
                changes: kind == .builtin ? .all : .thatFit))
        let found = try connection.batch(statements)[2]
        let events = read(found)
        let attempts = Dictionary(uniqueKeysWithValues: open.map { ($0.open.position, ($0.attempts, $0.open.record)) })
        let items = selection.positions.map { position in
            let (made, record) = attempts[position] ?? (0, .zero)
            let event = events[position]
            return ClaimedBatch.Item(
                event: event?.event, problem: event.map(\.problem) ?? "the feed has no entry at this position", position: position,
                record: record, attempts: made)
        }
        return ClaimedBatch(
            tenant: tenant, consumer: consumer, secrets: secrets, lease: lease, leaseUntil: until, items: items,
            failures: row.integer(0, 12) ?? 0, leavesMore: hasMore && Int64(leases.count) + 1 < concurrency)
    }

    private struct OpenRow {
        var open: DeliverySelection.Open
        var attempts: Int64
        var lease: Identifier?
    }

    /// Looks further into the feed if there is room, and returns what is open then.
    private func look(
        _ consumer: Consumer, position: Int64, head: Int64, withheld: [String]
    ) throws -> (open: [OpenRow], isLookedThrough: Bool) {
        let select = PostgresStatement(
            """
            SELECT position, record, coalesce(next_attempt_at, 0), coalesce(lease_until, 0), attempts, lease FROM tideline.delivery \
            WHERE tenant = $1::uuid AND consumer = $2 AND status = 'open' ORDER BY position
            """, [.identifier(tenant), .text(consumer.name)])
        func rows(_ result: PostgresResult) -> [OpenRow] {
            result.rows.compactMap { row in
                guard let position = result.integer(row, 0), let due = result.integer(row, 2), let leased = result.integer(row, 3) else {
                    return nil
                }
                return OpenRow(
                    open: .init(position: position, record: result.identifier(row, 1) ?? .zero, dueAt: due, leasedUntil: leased),
                    attempts: result.integer(row, 4) ?? 0, lease: result.identifier(row, 5))
            }
        }
        var open = rows(try connection.run(select))
        let room = DeliveryStore.openMax - Int64(open.count)
        guard position < head else { return (open, true) }
        guard room > 0 else { return (open, false) }
        // Not more matching entries than there is room for: the page ends at the one that fills it.
        let results = try connection.batch([
            PostgresStatement(
                """
                WITH page AS (SELECT position, epoch, kind, record, at, \
                (kind = ANY($4::text[]) OR kind LIKE ANY($5::text[])) AND entity <> ALL($6::text[]) AS matches \
                FROM tideline.feed WHERE tenant = $1::uuid AND position > $3 ORDER BY position LIMIT $7), \
                counted AS (SELECT *, count(*) FILTER (WHERE matches) OVER (ORDER BY position) AS sum FROM page), \
                taken AS (SELECT * FROM counted WHERE sum <= $8), \
                added AS (INSERT INTO tideline.delivery (tenant, consumer, position, epoch, status, record, kind, at) \
                SELECT $1::uuid, $2, position, epoch, 'open', record, kind, at FROM taken WHERE matches \
                ON CONFLICT (tenant, consumer, position) DO NOTHING) \
                UPDATE tideline.consumer c SET position = t.position, epoch = t.epoch \
                FROM (SELECT position, epoch FROM taken ORDER BY position DESC LIMIT 1) t \
                WHERE c.tenant = $1::uuid AND c.name = $2 RETURNING c.position
                """,
                [
                    .identifier(tenant), .text(consumer.name), .integer(position), .textArray(consumer.filter.kinds),
                    .textArray(consumer.filter.prefixes.map { DeliveryStore.likePattern($0) }), .textArray(withheld),
                    .integer(DeliveryStore.pageMax), .integer(room),
                ]),
            select,
        ])
        open = rows(results[1])
        let reached = results[0].isEmpty ? position : results[0].integer(0, 0) ?? position
        return (open, reached >= head)
    }

    /// A beginning as a pattern of LIKE.
    static func likePattern(_ prefix: String) -> String {
        prefix.replacing("\\", with: "\\\\").replacing("_", with: "\\_").replacing("%", with: "\\%") + "%"
    }

    private func read(_ result: PostgresResult) -> [Int64: (event: OutboxEvent?, problem: String?)] {
        var events: [Int64: (event: OutboxEvent?, problem: String?)] = [:]
        for row in result.rows {
            guard let position = result.integer(row, 0) else { continue }
            do {
                events[position] = (try OutboxEvent(result, row: row, tenant: tenant), nil)
            } catch {
                events[position] = (nil, "the entry's changes cannot be read: \(error)")
            }
        }
        return events
    }

    /// Whether a delivery is still the batch's to do, and stays so until commit. Locks the consumer and the delivery.
    func isHeld(_ position: Int64, of batch: ClaimedBatch) throws -> Bool {
        let found = try connection.batch([
            PostgresStatement(
                "SELECT 1 FROM tideline.consumer WHERE tenant = $1::uuid AND name = $2 AND status = 'active' FOR UPDATE",
                [.identifier(tenant), .text(batch.consumer.name)]),
            PostgresStatement(
                """
                SELECT 1 FROM tideline.delivery WHERE tenant = $1::uuid AND consumer = $2 AND position = $3 AND status = 'open' \
                AND lease = $4::uuid FOR UPDATE
                """, [.identifier(tenant), .text(batch.consumer.name), .integer(position), .identifier(batch.lease)]),
        ])
        return found.allSatisfy { !$0.isEmpty }
    }

    // MARK: Settling

    /// Writes what became of a batch; only what still carries its lease is touched. Runs inside a transaction that sees the tenant.
    /// True: the consumer was disabled because of its many dead letters.
    /// - Parameters:
    ///   - untried: Positions of the batch that were not tried.
    ///   - failures: Failed batches in a row, this one included.
    ///   - blockedUntil: Nothing of the consumer is tried before; 0: no block.
    @discardableResult
    func settle(
        _ batch: ClaimedBatch, _ settled: [SettledDelivery], untried: [Int64], failures: Int64, blockedUntil: Int64,
        nowMilliseconds now: Int64
    ) throws -> Bool {
        let name = batch.consumer.name
        let key: [PostgresValue] = [.identifier(tenant), .text(name)]
        let delivered = settled.filter { $0.verdict == .delivered }.map(\.position)
        let others = settled.filter { $0.verdict != .delivered }
        var isGone = false
        var next: [Int64] = []
        for one in others {
            switch one.verdict {
            case .retry(let at): next.append(at)
            case .gone:
                isGone = true
                next.append(0)
            case .dead, .delivered: next.append(0)
            }
        }
        var statements = [
            // The consumer first, as everyone who changes one does: no two can wait for each other.
            PostgresStatement(
                """
                UPDATE tideline.consumer SET failures = $3, blocked_until = greatest(blocked_until, $4), due_at = 0, \
                last_success_at = CASE WHEN $5 THEN $6 ELSE last_success_at END, \
                status = CASE WHEN $7 AND status = 'active' THEN 'disabled' ELSE status END, \
                disabled_at = CASE WHEN $7 AND status = 'active' THEN $6 ELSE disabled_at END, \
                reason = CASE WHEN $7 AND status = 'active' THEN 'the endpoint answered 410 Gone' ELSE reason END \
                WHERE tenant = $1::uuid AND name = $2
                """,
                key + [.integer(failures), .integer(blockedUntil), .bool(!delivered.isEmpty), .integer(now), .bool(isGone)])
        ]
        if !delivered.isEmpty {
            statements.append(
                PostgresStatement(
                    "DELETE FROM tideline.delivery WHERE tenant = $1::uuid AND consumer = $2 AND position = ANY($3::bigint[]) AND lease = $4::uuid",
                    key + [.integerArray(delivered), .identifier(batch.lease)]))
        }
        if !others.isEmpty {
            statements.append(
                PostgresStatement(
                    """
                    UPDATE tideline.delivery d SET attempts = r.attempts, next_attempt_at = r.next, last_error = r.error, \
                    last_status = r.code, lease = NULL, lease_until = NULL, status = CASE WHEN r.dead THEN 'dead' ELSE 'open' END, \
                    died_at = CASE WHEN r.dead THEN $9::bigint END \
                    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $10::boolean[]) \
                    AS r(position, attempts, next, error, code, dead) \
                    WHERE d.tenant = $1::uuid AND d.consumer = $2 AND d.position = r.position AND d.lease = $8::uuid
                    """,
                    key + [
                        .integerArray(others.map(\.position)), .integerArray(others.map(\.attempts)), .integerArray(next),
                        .optionalTextArray(others.map { $0.result.message.map { String($0.prefix(500)) } }),
                        .optionalIntegerArray(others.map { $0.result.status.map(Int64.init) }), .identifier(batch.lease), .integer(now),
                        .textArray(others.map { $0.verdict == .dead ? "t" : "f" }),
                    ]))
        }
        if !untried.isEmpty {
            statements.append(
                PostgresStatement(
                    """
                    UPDATE tideline.delivery SET lease = NULL, lease_until = NULL \
                    WHERE tenant = $1::uuid AND consumer = $2 AND position = ANY($3::bigint[]) AND lease = $4::uuid
                    """, key + [.integerArray(untried), .identifier(batch.lease)]))
        }
        if !settled.isEmpty {
            statements.append(
                PostgresStatement(
                    """
                    INSERT INTO tideline.delivery_attempt (tenant, consumer, position, attempt, at, duration_ms, result, status, error, request_id) \
                    SELECT $1::uuid, $2, r.position, r.attempt, r.at, r.duration, r.result, r.code, r.error, r.request \
                    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], $10::text[]) \
                    AS r(position, attempt, at, duration, result, code, error, request) \
                    WHERE EXISTS (SELECT FROM tideline.consumer WHERE tenant = $1::uuid AND name = $2) ON CONFLICT DO NOTHING
                    """,
                    key + [
                        .integerArray(settled.map(\.position)), .integerArray(settled.map(\.attempts)),
                        .integerArray(settled.map(\.atMilliseconds)), .integerArray(settled.map(\.durationMilliseconds)),
                        .textArray(settled.map(\.result.word)), .optionalIntegerArray(settled.map { $0.result.status.map(Int64.init) }),
                        .optionalTextArray(settled.map { $0.result.message.map { String($0.prefix(500)) } }),
                        .textArray(settled.map(\.requestID)),
                    ]))
        }
        try connection.batch(statements)
        guard others.contains(where: { $0.verdict == .dead }) else { return false }
        let disabled = try connection.run(
            PostgresStatement(
                """
                UPDATE tideline.consumer SET status = 'disabled', disabled_at = $3, reason = $4 \
                WHERE tenant = $1::uuid AND name = $2 AND status = 'active' AND $5 <= (SELECT count(*) FROM tideline.delivery d \
                WHERE d.tenant = $1::uuid AND d.consumer = $2 AND d.status = 'dead')
                """, key + [.integer(now), .text(DeadLetters.fullReason), .integer(DeadLetters.perConsumerMax)]))
        return disabled.affectedRows > 0
    }
}
