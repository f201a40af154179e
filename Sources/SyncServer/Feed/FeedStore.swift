// The feed as a table: timeline and outbox in one, one row per accepted change.

import SyncProtocol

enum FeedStore {
    /// Position 0: before everything, in every history.
    static let startFingerprint = "start"

    /// The fingerprint takes in a random number, so that two histories that reuse a position differ there.
    static func append(_ entries: [FeedEntry], tenant: Identifier) -> PostgresStatement? {
        guard !entries.isEmpty else { return nil }
        var writer = JSONWriter(reservingCapacity: entries.count * 700)
        writer.beginArray()
        for entry in entries { write(entry, to: &writer) }
        writer.endArray()
        return PostgresStatement(insert, [.identifier(tenant), .utf8(writer.bytes)])
    }

    private static let insert = """
        WITH r AS MATERIALIZED (SELECT * FROM jsonb_to_recordset($2::jsonb) AS r(position bigint, epoch bigint, at bigint, \
        actor_kind text, actor uuid, replica uuid, counter bigint, entity text, record uuid, operation text, kind text, category text, \
        level text, changes jsonb, restricted_changes jsonb, anchors text[], scope_keys text[], cause bigint, depth bigint, \
        operation_at bigint)), \
        anchor AS (INSERT INTO tideline.feed_anchor (tenant, anchor, position) SELECT $1::uuid, a.anchor, r.position FROM r \
        CROSS JOIN LATERAL unnest(r.anchors) a(anchor) WHERE a.anchor <> r.entity || ':' || r.record) \
        INSERT INTO tideline.feed (tenant, position, epoch, at, actor_kind, actor, replica, counter, entity, record, operation, kind, \
        category, level, changes, restricted_changes, anchors, scope_keys, cause, depth, operation_at, fingerprint) \
        SELECT $1::uuid, r.position, r.epoch, r.at, r.actor_kind, r.actor, r.replica, r.counter, r.entity, r.record, r.operation, r.kind, \
        r.category, r.level, r.changes, r.restricted_changes, r.anchors, r.scope_keys, r.cause, r.depth, r.operation_at, \
        left(encode(sha256(convert_to(concat_ws('/', r.epoch, r.position, r.at, r.entity, r.record, r.kind), 'UTF8') \
        || tideline.random_bytes(16)), 'hex'), 16) \
        FROM r
        """

    private static func write(_ entry: FeedEntry, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.key("position")
        writer.integer(entry.position.position)
        writer.key("epoch")
        writer.integer(entry.position.epoch)
        writer.key("at")
        writer.integer(entry.atMilliseconds)
        writer.key("actor_kind")
        writer.string(entry.author.kind.rawValue)
        if let member = entry.author.member {
            writer.key("actor")
            writer.string(member.text)
        }
        if let dot = entry.dot {
            writer.key("replica")
            writer.string(dot.replica.text)
            writer.key("counter")
            writer.integer(dot.counter)
        }
        writer.key("entity")
        writer.string(entry.key.entity)
        writer.key("record")
        writer.string(entry.key.id.text)
        writer.key("operation")
        writer.string(entry.operation.rawValue)
        writer.key("kind")
        writer.string(entry.kind)
        writer.key("category")
        writer.string(entry.category)
        writer.key("level")
        writer.string(entry.isMajor ? "major" : "minor")
        writer.key("changes")
        writer.value(.object(entry.changes))
        writer.key("restricted_changes")
        writer.value(.object(entry.restrictedChanges))
        writer.key("anchors")
        writer.value(.array(entry.anchors.map { .string($0) }))
        writer.key("scope_keys")
        writer.value(.array(entry.scopeKeys.map { .string($0) }))
        if let cause = entry.cause {
            writer.key("cause")
            writer.integer(cause)
        }
        writer.key("depth")
        writer.integer(entry.depth)
        writer.key("operation_at")
        writer.integer(entry.operationMilliseconds)
        writer.endObject()
    }

    // MARK: Fingerprints

    static func fingerprints(at positions: [Int64], tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT k.position, r.fingerprint FROM unnest($2::bigint[]) k(position) CROSS JOIN LATERAL \
            (SELECT f.fingerprint FROM tideline.feed f WHERE f.tenant = $1::uuid AND f.position = k.position OFFSET 0) r
            """,
            [.identifier(tenant), .integerArray(positions)])
    }

    static func readFingerprints(_ result: PostgresResult) -> [Int64: String] {
        var found: [Int64: String] = [0: startFingerprint]
        for row in result.rows {
            if let position = result.integer(row, 0), let fingerprint = result.text(row, 1) { found[position] = fingerprint }
        }
        return found
    }
}
