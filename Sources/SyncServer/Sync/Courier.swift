// A copy of a file holds sets that another replica sealed. It may bring them as that one's courier: under their own dots, so that
// whoever comes first decides and nothing counts twice (protocol §7.2, decision 0019).

import SyncProtocol

struct Courier {
    let context: SyncContext
    let connection: PostgresConnection

    /// The replica whose sets are brought, which belongs to the member that asks. Its being revoked is no obstacle: a live replica of
    /// the same member asks, and may write whatever these sets say in its own name. Inside the push's transaction.
    /// Throws `bad_request` or `forbidden`, with `field`.
    func author(_ identity: String, _ principal: Principal) throws -> ReplicaRegistration {
        let author = try context.cursorSeal.identity(identity)
        try author.check(tenant: principal.tenant, member: principal.member)
        // Couriers of one author, and the author enrolling again, come one after another.
        _ = try connection.run(TenantHead.lock(principal.tenant))
        if let found = try registration(of: author) { return found }
        // It was enrolled after the backup: its lane begins anew. Nobody can ask as this replica before its own file enrols again.
        let known = try connection.run(
            "SELECT 1 FROM public.replica WHERE tenant = $1::uuid AND id = $2::uuid", .identifier(principal.tenant),
            .identifier(author.replica))
        guard known.isEmpty else { throw Authentication.unauthorized }
        let lost = NewReplica(
            id: author.replica, member: author.member, label: "lost with the backup", platform: "",
            replication: principal.replica?.replication ?? "full", acknowledged: author.base, restrictedSince: nil)
        _ = try lost.create(context, principal.tenant, connection)
        guard let created = try registration(of: author) else {
            throw ErrorReply(.internal, "the replica \(author.replica.text) could not be put back")
        }
        return created
    }

    private func registration(of author: SealedIdentity) throws -> ReplicaRegistration? {
        let row = try connection.run(
            """
            SELECT replication, acknowledged, last_stamp_ms, last_stamp_logical, last_epoch, last_seen_at, restricted_since, member \
            FROM tideline.replica WHERE tenant = $1::uuid AND id = $2::uuid
            """, .identifier(author.tenant), .identifier(author.replica))
        guard !row.isEmpty, row.identifier(0, 7) == author.member else { return nil }
        return ReplicaRegistration(
            id: author.replica, replication: row.text(0, 0) ?? "full", acknowledged: row.integer(0, 1) ?? 0,
            lastTimestamp: HybridTimestamp(milliseconds: row.integer(0, 2) ?? 0, logical: row.integer(0, 3) ?? 0),
            lastEpoch: row.integer(0, 4) ?? 0, lastSeenMilliseconds: row.integer(0, 5) ?? 0, restrictedSince: row.integer(0, 6))
    }
}
