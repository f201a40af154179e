// Stored verdicts by dot: what makes a push safe to repeat for ever.

import SyncProtocol

enum Outcomes {
    struct Stored: Sendable {
        var counter: Int64
        /// Content hash of the set, lower-case hex.
        var hash: String
        var status: Outcome.Status
        /// Exactly what was and will be answered.
        var bytes: [UInt8]
        /// Of a rejected set: the records it would have created.
        var createdIDs: [Identifier]
    }

    /// Of the outcomes told together; the one that passes it is the last.
    static let toldBytesMax: Int64 = 32 << 20

    /// Outcomes with more bytes than may be told together; which those are, the caller must not have to guess.
    struct TooMany: Error {}

    /// One probe of the index a counter, whatever Postgres knows of the table: with `= ANY` it may read all that the replica ever sent.
    /// Outcomes behind the one with which they pass ``toldBytesMax`` are found without what they say.
    static func find(_ counters: [Int64], replica: Identifier, tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT counter, hash, status, CASE WHEN sum - octet_length(outcome) <= $4::bigint THEN outcome END FROM \
            (SELECT r.*, sum(octet_length(outcome)) OVER (ROWS UNBOUNDED PRECEDING) AS sum FROM unnest($3::bigint[]) k(counter) \
            CROSS JOIN LATERAL (SELECT counter, hash, status, outcome FROM tideline.change_set s \
            WHERE s.tenant = $1::uuid AND s.replica = $2::uuid AND s.counter = k.counter OFFSET 0) r) r
            """,
            [.identifier(tenant), .identifier(replica), .integerArray(counters), .integer(toldBytesMax)])
    }

    static func read(_ result: PostgresResult) throws(TooMany) -> [Int64: Stored] {
        var found: [Int64: Stored] = [:]
        for row in result.rows {
            if result.isNull(row, 3) { throw TooMany() }
            guard let counter = result.integer(row, 0), let hash = result.text(row, 1),
                let status = result.text(row, 2).flatMap(Outcome.Status.init(rawValue:)), let bytes = result.utf8(row, 3)
            else { continue }
            found[counter] = Stored(counter: counter, hash: hash, status: status, bytes: bytes, createdIDs: [])
        }
        return found
    }

    static func store(_ outcomes: [Stored], replica: Identifier, tenant: Identifier, nowMilliseconds: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO tideline.change_set (tenant, replica, counter, hash, status, outcome, received_at, created_ids) \
            SELECT $1::uuid, $2::uuid, c, h, s, o, $7, i::uuid[] \
            FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $8::text[]) AS r(c, h, s, o, i)
            """,
            [
                .identifier(tenant), .identifier(replica), .integerArray(outcomes.map(\.counter)), .textArray(outcomes.map(\.hash)),
                .textArray(outcomes.map(\.status.rawValue)), .utf8Array(outcomes.map(\.bytes)), .integer(nowMilliseconds),
                .optionalTextArray(
                    outcomes.map { $0.createdIDs.isEmpty ? nil : "{\($0.createdIDs.map(\.text).joined(separator: ","))}" }),
            ])
    }

    /// Outcomes of a replica after a counter, oldest first, at most the newest `count`, and of those the newest with ``toldBytesMax``.
    static func after(_ counter: Int64, replica: Identifier, tenant: Identifier, count: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT counter, outcome, hash FROM (SELECT counter, outcome, hash, \
            sum(octet_length(outcome)) OVER (ORDER BY counter DESC) - octet_length(outcome) AS newer FROM (SELECT counter, outcome, hash \
            FROM tideline.change_set WHERE tenant = $1::uuid AND replica = $2::uuid AND counter > $3 ORDER BY counter DESC LIMIT $4) n) told \
            WHERE newer <= $5 ORDER BY counter
            """,
            [.identifier(tenant), .identifier(replica), .integer(counter), .integer(count), .integer(toldBytesMax)])
    }
}
