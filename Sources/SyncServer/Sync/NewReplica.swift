// What enrolling and forking have in common: a replica comes into being.

import SyncProtocol

/// A replica about to be: its record that people see, the engine's row, and its token.
struct NewReplica {
    /// nil: a new one.
    var id: Identifier?
    /// The id was given out by this server once, and it has lost it since.
    var isLost = true
    var member: Identifier
    var label: String
    var platform: String
    var replication: String
    /// Its first set has the counter behind this one.
    var acknowledged: Int64
    /// From which head on its file has restricted fields; nil: it has none, or that is not known any more.
    var restrictedSince: Int64?

    /// Inside a transaction of the tenant; whoever opened it announces. Throws `limit_reached` for a member who has as many as may be, and
    /// for a tenant that stores as much as it may.
    func register(
        _ context: SyncContext, _ tenant: Identifier, _ connection: PostgresConnection, along changes: [Change] = []
    ) throws -> (replica: Identifier, token: AccessToken) {
        guard let head = TenantHead(try connection.run(TenantHead.lock(tenant))) else { throw Authentication.unauthorized }
        try context.storageQuota.requireRoom(beside: head.storedBytes, field: "replica")
        try requireRoom(tenant, connection)
        let replica = try create(context, tenant, connection, along: changes)
        context.step(.replicaMade)
        let token = try AccessToken.make(tenant: tenant, on: connection)
        try connection.run(token.store(member: member, replica: replica, kind: .replica, label: label, nowMilliseconds: context.now()))
        context.step(.tokenMade)
        return (replica, token)
    }

    /// Anybody with a token can fork again and again. (What a courier puts back, the server itself has given out once.)
    private func requireRoom(_ tenant: Identifier, _ connection: PostgresConnection) throws {
        let count = try connection.run(
            """
            SELECT count(*) FROM tideline.replica r JOIN public.replica p ON p.tenant = r.tenant AND p.id = r.id \
            WHERE r.tenant = $1::uuid AND r.member = $2::uuid AND r.revoked_at IS NULL AND p.deleted_at IS NULL AND p.status <> 'revoked'
            """, .identifier(tenant), .identifier(member))
        guard (count.integer(0, 0) ?? 0) >= Int64(Limits.replicasPerMember) else { return }
        throw ErrorReply.limitReached(
            "replicas_per_member", max: Limits.replicasPerMember, field: "member", retryAfterSeconds: 3600,
            "this member has \(Limits.replicasPerMember) replicas; revoke those that are not used any more "
                + "(sync-server replica list, sync-server replica revoke), then try again")
    }

    /// Without a token: nobody can ask as this replica.
    func create(
        _ context: SyncContext, _ tenant: Identifier, _ connection: PostgresConnection, along changes: [Change] = []
    ) throws -> Identifier {
        let now = context.now()
        let replica = id ?? context.identifiers.next(milliseconds: now)
        var fields: JSONObject = ["member": .string(member.text), "label": .string(label), "replication": .string(replication)]
        if !platform.isEmpty { fields["platform"] = .string(platform) }
        try ServerWrite(context: context, tenant: tenant, connection: connection)
            .writeInTransaction([Change("replica", replica, .create(fields: fields))] + changes, author: .system).requireAccepted()
        // One that comes back was there in an earlier epoch: its first push may begin where its file does.
        try connection.run(
            PostgresStatement(
                """
                WITH head AS (UPDATE tideline.tenant_head SET stored_bytes = stored_bytes + $10 WHERE tenant = $1::uuid RETURNING epoch) \
                INSERT INTO tideline.replica (tenant, id, member, label, replication, acknowledged, last_epoch, last_seen_at, created_at, \
                restricted_since) \
                SELECT $1::uuid, $2::uuid, $3::uuid, $4, $5, $7, epoch - $9, $6, $6, $8 FROM head
                """,
                [
                    .identifier(tenant), .identifier(replica), .identifier(member), .text(label), .text(replication), .integer(now),
                    .integer(acknowledged), .optional(restrictedSince), .integer(id != nil && isLost ? 1 : 0),
                    .integer(StorageQuota.replicaBytes),
                ]))
        return replica
    }
}
