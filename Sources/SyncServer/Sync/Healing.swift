// Devices heal the server: after a restore replicas offer again what the backup does not have. A set that builds on one which
// has not come back yet is deferred for a while instead of being decided out of turn (protocol §7.4).

import SyncProtocol

/// What a push needs to know about sets that wait, read under the head's lock.
struct Healing {
    /// Sets may be deferred: the replica says that it is healing, and the restore is not long ago.
    private let isOpen: Bool
    /// The pushing replica's own waiting sets by counter.
    let own: [Int64: (hash: String, ids: Set<Identifier>)]
    private let others: Set<Dot>
    /// Highest processed counters of other replicas that can still push.
    private let acknowledged: [Identifier: Int64]

    /// When the present epoch began, if it did after a restore.
    static func epochStart(_ tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT f.at FROM tideline.tenant_head h JOIN tideline.feed f \
            ON f.tenant = h.tenant AND f.position = h.epoch * \(FeedPosition.epochStride) \
            WHERE h.tenant = $1::uuid AND h.epoch > 0
            """, [.identifier(tenant)])
    }

    static func waiting(of replicas: [Identifier], tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            "SELECT replica, counter, hash, ids FROM tideline.deferred_set WHERE tenant = $1::uuid AND replica = ANY($2::uuid[])",
            [.identifier(tenant), .textArray(replicas.map(\.text))])
    }

    init(
        epochStart: PostgresResult, waiting: PostgresResult, replica: Identifier, acknowledged: [Identifier: Int64], isHealing: Bool,
        nowMilliseconds: Int64
    ) {
        let began = epochStart.isEmpty ? nil : epochStart.integer(0, 0)
        isOpen = isHealing && began.map { nowMilliseconds - $0 < Limits.healingMilliseconds } ?? false
        var own: [Int64: (hash: String, ids: Set<Identifier>)] = [:]
        var others: Set<Dot> = []
        for row in waiting.rows {
            guard let id = waiting.identifier(row, 0), let counter = waiting.integer(row, 1) else { continue }
            if id == replica {
                own[counter] = (waiting.text(row, 2) ?? "", Set((waiting.textArray(row, 3) ?? []).compactMap { Identifier($0) }))
            } else {
                others.insert(Dot(replica: id, counter: counter))
            }
        }
        self.own = own
        self.others = others
        self.acknowledged = acknowledged
    }

    /// Those of the sets that are still to come; nil: this one cannot wait. A replica that the server does not know, or that was
    /// revoked, brings nothing back.
    func waitsFor(_ seen: [SeenSet]) -> [Dot]? {
        guard isOpen else { return nil }
        return seen.map(\.dot).filter { dot in
            guard let last = acknowledged[dot.replica] else { return false }
            return dot.counter > last || others.contains(dot)
        }
    }

    /// Whether the set comes back from before the restore: it is not asked again what its author could see.
    func isOfLostHistory(_ set: ChangeSet, epoch: Int64) -> Bool { isOpen && set.clock.feed.epoch < epoch }

    /// Records that the replica's waiting sets name; what is offered again now is decided anew.
    func heldRecords(except offered: [Int64]) -> Set<Identifier> {
        own.filter { !offered.contains($0.key) }.values.reduce(into: []) { $0.formUnion($1.ids) }
    }

    // MARK: Writing

    struct Waiting {
        var counter: Int64
        var hash: String
        var ids: [Identifier]
    }

    static func store(_ sets: [Waiting], replica: Identifier, tenant: Identifier, nowMilliseconds: Int64) -> PostgresStatement? {
        guard !sets.isEmpty else { return nil }
        return PostgresStatement(
            """
            INSERT INTO tideline.deferred_set (tenant, replica, counter, hash, ids, deferred_at) \
            SELECT $1::uuid, $2::uuid, c, h, i::uuid[], $6 FROM unnest($3::bigint[], $4::text[], $5::text[]) AS r(c, h, i) \
            ON CONFLICT (tenant, replica, counter) DO NOTHING
            """,
            [
                .identifier(tenant), .identifier(replica), .integerArray(sets.map(\.counter)), .textArray(sets.map(\.hash)),
                .textArray(sets.map { "{\($0.ids.map(\.text).joined(separator: ","))}" }), .integer(nowMilliseconds),
            ])
    }

    /// Throws `limit_reached` if more would wait than may; `fits` says how many sets of the push can be taken. Nothing is decided out of turn
    /// to make room: the sets stay where they are, and are offered again.
    /// - Parameters:
    ///   - new: Counters of sets that are to wait and did not before, in order.
    static func requireRoom(
        for new: [Waiting], of offered: [Int64], replica: Identifier, tenant: Identifier, limits: WaitingLimits,
        on connection: PostgresConnection
    ) throws {
        guard !new.isEmpty else { return }
        let waiting = try connection.run(
            """
            SELECT count(*) FILTER (WHERE replica = $2::uuid), count(*), coalesce(sum(cardinality(ids)), 0)::bigint \
            FROM tideline.deferred_set WHERE tenant = $1::uuid
            """, .identifier(tenant), .identifier(replica))
        var own = Int(waiting.integer(0, 0) ?? 0)
        var all = Int(waiting.integer(0, 1) ?? 0)
        var records = Int(waiting.integer(0, 2) ?? 0)
        for set in new {
            (own, all, records) = (own + 1, all + 1, records + set.ids.count)
            guard let exceeded = limits.exceeded(own: own, all: all, records: records) else { continue }
            throw exceeded.refusal(fits: offered.prefix { $0 < set.counter }.count)
        }
    }

    static func settle(_ counters: [Int64], replica: Identifier, tenant: Identifier) -> PostgresStatement? {
        guard !counters.isEmpty else { return nil }
        return PostgresStatement(
            "DELETE FROM tideline.deferred_set WHERE tenant = $1::uuid AND replica = $2::uuid AND counter = ANY($3::bigint[])",
            [.identifier(tenant), .identifier(replica), .integerArray(counters)])
    }
}
