// Several sets may be one: copies of a file that parted seal anew, each under an id of its own, what all of them hold. What such a set
// was sealed as first tells; the one that is decided first takes effect, and the others get its answer (protocol §4.1, decision 0023).

import SyncProtocol

/// What a push needs to know about sets that were decided under another id, read under the head's lock. Looked at are sets of the
/// same member only: what others say about their sets is no word about these.
struct SameSets {
    struct Decided {
        var dot: Dot
        var outcome: Outcome
    }

    /// By counter: the outcome of the same set, which another replica of the member has brought.
    private let decided: [Int64: Decided]
    /// By lane and counter: under which dots sets of that lane were decided before.
    private var twins: [Identifier: [Int64: Identifier]] = [:]

    /// One probe of a key a set, whatever Postgres knows of the tables. Nearly all sets are their own first ones and nobody has ever
    /// sealed them anew, so that `resealed_set`, which knows of the others only, has nothing.
    static func find(_ sets: [PushRequest.Received], member: Identifier, tenant: Identifier) -> PostgresStatement {
        let sets = sets.compactMap { received -> (counter: Int64, hash: String, author: String?)? in
            guard case .set(let set) = received.content else { return nil }
            return (set.dot.counter, set.origin?.hash ?? received.hash, set.origin?.replica.text)
        }
        return PostgresStatement(
            """
            SELECT k.counter, f.replica, s.outcome \
            FROM unnest($3::bigint[], $4::text[], $5::text[]) k(counter, hash, author) CROSS JOIN LATERAL ( \
            SELECT d.first_replica AS replica FROM tideline.resealed_set d \
            WHERE d.tenant = $1::uuid AND d.member = $2::uuid AND d.origin = k.hash AND d.counter = k.counter \
            UNION ALL SELECT o.replica FROM tideline.change_set o \
            WHERE o.tenant = $1::uuid AND o.replica = k.author::uuid AND o.counter = k.counter AND o.hash = k.hash \
            AND EXISTS (SELECT FROM tideline.replica r WHERE r.tenant = $1::uuid AND r.id = k.author::uuid AND r.member = $2::uuid) \
            LIMIT 1) f CROSS JOIN LATERAL (SELECT o.outcome FROM tideline.change_set o \
            WHERE o.tenant = $1::uuid AND o.replica = f.replica AND o.counter = k.counter AND o.status <> 'withdrawn' OFFSET 0) s
            """,
            [
                .identifier(tenant), .identifier(member), .integerArray(sets.map(\.counter)), .textArray(sets.map(\.hash)),
                .optionalTextArray(sets.map(\.author)),
            ])
    }

    /// Of a lane, the newest: more are left out, and count as not known.
    static let twinsMax: Int64 = 1_000
    /// Of all lanes that one push names, the newest again.
    static let twinsOfAPushMax: Int64 = 20_000

    static func twins(of lanes: [Identifier], tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT t.replica, t.counter, t.first_replica FROM unnest($2::uuid[]) WITH ORDINALITY l(replica, place) CROSS JOIN LATERAL ( \
            SELECT replica, counter, first_replica, row_number() OVER (ORDER BY d.counter DESC) AS age FROM tideline.resealed_set d WHERE d.tenant = $1::uuid AND d.replica = l.replica \
            AND d.first_replica <> d.replica ORDER BY d.counter DESC LIMIT \(twinsMax)) t ORDER BY t.age, l.place LIMIT \(twinsOfAPushMax)
            """, [.identifier(tenant), .textArray(lanes.map(\.text))])
    }

    init(decided: PostgresResult, twins: PostgresResult) throws {
        var found: [Int64: Decided] = [:]
        for row in decided.rows {
            guard let counter = decided.integer(row, 0), let replica = decided.identifier(row, 1), let bytes = decided.utf8(row, 2),
                var outcome = Outcome(json: try JSONValue(parsing: bytes))
            else { continue }
            let dot = Dot(replica: replica, counter: counter)
            outcome.duplicateOf = dot
            found[counter] = Decided(dot: dot, outcome: outcome)
        }
        self.decided = found
        for row in twins.rows {
            guard let replica = twins.identifier(row, 0), let counter = twins.integer(row, 1), let first = twins.identifier(row, 2) else {
                continue
            }
            self.twins[replica, default: [:]][counter] = first
        }
    }

    /// The answer to a set that was decided under another dot.
    func outcome(of set: ChangeSet) -> Outcome? { decided[set.dot.counter]?.outcome }

    /// From now on clocks with that lane have seen what the set was decided as.
    mutating func note(_ outcome: Outcome, for dot: Dot) {
        if let first = outcome.duplicateOf { twins[dot.replica, default: [:]][dot.counter] = first.replica }
    }

    /// Under which dots sets that a clock has seen were decided.
    func twins(of clock: VectorClock) -> Set<Dot> {
        guard !twins.isEmpty else { return [] }
        var dots: Set<Dot> = []
        for (lane, last) in clock.replicas {
            for (counter, first) in twins[lane] ?? [:] where counter <= last { dots.insert(Dot(replica: first, counter: counter)) }
        }
        return dots
    }

    // MARK: Writing

    /// A set that was sealed anew, or that turned out to be the same as one that was.
    struct Resealed {
        var counter: Int64
        /// Of what it was sealed as first.
        var origin: String
        var firstReplica: Identifier
    }

    static func store(_ sets: [Resealed], replica: Identifier, member: Identifier, tenant: Identifier) -> PostgresStatement? {
        guard !sets.isEmpty else { return nil }
        return PostgresStatement(
            """
            INSERT INTO tideline.resealed_set (tenant, member, origin, counter, replica, first_replica) \
            SELECT $1::uuid, $2::uuid, o, c, $3::uuid, f::uuid FROM unnest($4::bigint[], $5::text[], $6::text[]) AS r(c, o, f)
            """,
            [
                .identifier(tenant), .identifier(member), .identifier(replica), .integerArray(sets.map(\.counter)),
                .textArray(sets.map(\.origin)), .textArray(sets.map(\.firstReplica.text)),
            ])
    }
}
