// What a pull consumer does: read events after its cursor, and say how far it got. Runs inside a transaction that sees the
// tenant. Reading takes nothing: until it is acknowledged an event is handed out again, to whoever asks.

import SyncProtocol

struct PulledEvents {
    let tenant: Identifier
    let connection: PostgresConnection
    let withheld: [String]

    static let limitDefault: Int64 = 100
    static let limitMax: Int64 = 1_000
    /// Milliseconds a request may wait for news.
    static let waitMax = 55_000
    /// Entries looked through for one page.
    private static let scanMax: Int64 = 5_000

    /// Bytes of events on a page; it ends before the event that would be too many.
    static let bytesMax = 8 << 20

    struct Page {
        var events: [JSONValue]
        /// To be acknowledged when the events are done with; it may lie beyond the last of them.
        var position: Int64
        var epoch: Int64
        /// Of the entry at the position: after a restore another one may stand there. Nil when there is none, as at the beginning.
        var fingerprint: String?
        var hasMore: Bool

        var json: JSONValue {
            [
                "data": .array(events), "position": .integer(position), "epoch": .integer(epoch),
                "fingerprint": fingerprint.map { .string($0) } ?? .null, "has_more": .bool(hasMore),
            ]
        }
    }

    /// Throws `conflict` for a webhook and for a consumer that is not active.
    func page(_ registered: RegisteredConsumer, limit: Int64) throws -> Page {
        let consumer = registered.consumer
        try PulledEvents.require(registered)
        let cursor = registered.cursor.position
        let result = try connection.run(
            PostgresStatement(
                """
                WITH page AS MATERIALIZED (SELECT position, epoch, fingerprint, \
                (kind = ANY($3::text[]) OR kind LIKE ANY($4::text[])) AND entity <> ALL($5::text[]) AS matches \
                FROM tideline.feed WHERE tenant = $1::uuid AND position > $2 ORDER BY position LIMIT $6), \
                counted AS (SELECT *, count(*) FILTER (WHERE matches) OVER (ORDER BY position) AS sum FROM page), \
                taken AS (SELECT * FROM counted WHERE sum <= $7) \
                SELECT t.position, t.epoch, t.matches, t.fingerprint FROM taken t ORDER BY t.position
                """,
                [
                    .identifier(tenant), .integer(cursor), .textArray(consumer.filter.kinds),
                    .textArray(consumer.filter.prefixes.map(DeliveryStore.likePattern)), .textArray(withheld),
                    .integer(PulledEvents.scanMax), .integer(limit),
                ]))
        let matching = result.rows.filter { result.bool($0, 2) == true }.compactMap { result.integer($0, 0) }
        let last = result.rowCount - 1
        var reached = last < 0 ? cursor : result.integer(last, 0) ?? cursor
        var epoch = last < 0 ? registered.cursor.epoch : result.integer(last, 1) ?? registered.cursor.epoch
        // With nothing to read, too: acknowledged after a restore, the position may lie beyond what the consumer is told then.
        var fingerprint = last < 0 ? try self.fingerprint(at: cursor) : result.text(last, 3)
        var events: [JSONValue] = []
        if !matching.isEmpty {
            let read = OutboxEvent.read(at: matching, tenant: tenant, includesRestricted: consumer.includesRestricted)
            let found = try connection.run(
                PostgresStatement(
                    CappedRows.sql(read.sql, counting: ["changes", "restricted_changes"], upTo: String(PulledEvents.bytesMax)),
                    read.parameters))
            var bytes = 0
            for row in found.rows {
                guard let event = try OutboxEvent(found, row: row, tenant: tenant) else { continue }
                let capped = event.capped
                bytes += capped.bytes.count
                guard bytes <= PulledEvents.bytesMax || events.isEmpty else { break }
                events.append(capped.json)
                // Where the page ends if no more fits; otherwise it may end beyond its last event.
                if events.count < matching.count {
                    (reached, epoch, fingerprint) = (event.position.position, event.position.epoch, event.fingerprint)
                } else {
                    reached = result.integer(last, 0) ?? cursor
                    (epoch, fingerprint) = (result.integer(last, 1) ?? registered.cursor.epoch, result.text(last, 3))
                }
            }
        }
        return Page(
            events: events, position: reached, epoch: epoch, fingerprint: fingerprint, hasMore: reached < registered.head.position)
    }

    private func fingerprint(at position: Int64) throws -> String? {
        let found = try connection.run(
            "SELECT fingerprint FROM tideline.feed WHERE tenant = $1::uuid AND position = $2", .identifier(tenant), .integer(position))
        return found.isEmpty ? nil : found.text(0, 0)
    }

    /// Moves the cursor forward; a position it has passed already changes nothing. Returns where it stands.
    /// - Parameters:
    ///   - epoch: Of the event at the position, if the consumer says so: after a restore positions it heard of may be others.
    ///   - fingerprint: Of that entry. Until somebody notices a restore, the epoch alone does not tell the two histories apart.
    func acknowledge(_ registered: RegisteredConsumer, position: Int64, epoch: Int64?, fingerprint: String?) throws -> FeedPosition {
        try PulledEvents.require(registered)
        let name = registered.consumer.name
        guard position >= 0, position <= registered.head.position else {
            throw Consumer.conflict("position", "the feed ends at position \(registered.head.position)")
        }
        let found = try connection.run(
            "SELECT epoch, fingerprint FROM tideline.feed WHERE tenant = $1::uuid AND position = $2", .identifier(tenant),
            .integer(position))
        let isOtherEpoch = !found.isEmpty && epoch.map { found.integer(0, 0) != $0 } ?? false
        // An entry that was read and is not there any more belongs to a lost history, too.
        let isOtherEntry = fingerprint.map { found.isEmpty || found.text(0, 1) != $0 } ?? false
        if isOtherEpoch || isOtherEntry {
            throw ErrorReply(
                .newEpoch, "the server was restored from a backup; what was read before is not what stands at this position",
                details: ["epoch": .integer(registered.head.epoch)])
        }
        let updated = try connection.run(
            PostgresStatement(
                """
                UPDATE tideline.consumer SET position = greatest(position, $3), \
                epoch = CASE WHEN $3 > position THEN coalesce($4, epoch) ELSE epoch END \
                WHERE tenant = $1::uuid AND name = $2 RETURNING epoch, position
                """,
                [.identifier(tenant), .text(name), .integer(position), .optional(found.isEmpty ? nil : found.integer(0, 0))]))
        guard !updated.isEmpty, let epoch = updated.integer(0, 0), let now = updated.integer(0, 1) else {
            throw ConsumerStore.notFound(name)
        }
        return FeedPosition(epoch: epoch, position: now)
    }

    private static func require(_ registered: RegisteredConsumer) throws {
        let name = registered.consumer.name
        switch registered.consumer.kind {
        case .pull: break
        case .webhook: throw Consumer.conflict("name", "\(name) is a webhook; events are sent to it")
        case .builtin: throw Consumer.conflict("name", "\(name) is part of the server, which tells it itself")
        }
        guard registered.status == .active else { throw Consumer.conflict("name", "\(name) is \(registered.status.rawValue)") }
    }
}
