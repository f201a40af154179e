// `POST /v1/sync/fork`: a copied or restored file gets a replica id of its own and goes on behind what both copies share
// (protocol §7.6). The other copy keeps the old id and its token.

import SyncProtocol

struct Fork {
    let context: SyncContext
    let connection: PostgresConnection
    /// Kept with the feed entries that are written.
    var requestID: String?

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ request: ForkRequest, token: AccessToken) throws -> EnrollmentReply {
        let reply = try connection.transaction(.readWrite, tenant: token.tenant, requestID: requestID) { _ in
            let reply = try fork(request, token: token)
            context.step(.forkWritten)
            return reply
        }
        context.step(.forkCommitted)
        context.announce(token.tenant)
        context.step(.forkAnnounced)
        return reply
    }

    private func fork(_ request: ForkRequest, token: AccessToken) throws -> EnrollmentReply {
        let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
        let shared = try Authentication.replica(of: principal)
        // What was never processed here cannot be shared with anyone.
        guard request.counter <= shared.acknowledged else {
            throw ErrorReply(
                .badRequest, "counter: the shared replica has processed counters up to \(shared.acknowledged)",
                details: ["acknowledged": .integer(shared.acknowledged)])
        }
        context.step(.forkAsked)
        let common = request.commonID(tenant: token.tenant, member: principal.member)
        if let common, let (token, base) = try join(common, request, principal) {
            return answer(common, token, base: base, principal, replication: shared.replication)
        }
        let isFree = try common.map { try !isKnown($0, tenant: token.tenant) } ?? false
        let new = NewReplica(
            id: isFree ? common : nil, isLost: false, member: principal.member, label: request.label, platform: request.platform,
            replication: shared.replication,
            acknowledged: request.counter, restrictedSince: shared.restrictedSince)
        let (replica, newToken) = try new.register(context, token.tenant, connection)
        return answer(replica, newToken, base: request.counter, principal, replication: shared.replication)
    }

    private func answer(
        _ replica: Identifier, _ token: AccessToken, base: Int64, _ principal: Principal, replication: String
    ) -> EnrollmentReply {
        EnrollmentReply(
            token: token.text, tenant: principal.tenant, member: principal.member, replica: replica, role: principal.role,
            replication: replication, serverMilliseconds: context.now(), schemaVersion: context.schema.version,
            identity: context.cursorSeal.seal(
                SealedIdentity(tenant: principal.tenant, member: principal.member, replica: replica, base: base)))
    }

    /// Another copy of the file has parted from the past with the same set: both are copies of one file again, under one id, each with
    /// a token, and are told apart where they differ. Under the lock of all writers. nil: there is no such replica, or not any more.
    private func join(
        _ replica: Identifier, _ request: ForkRequest, _ principal: Principal
    ) throws -> (token: AccessToken, base: Int64)? {
        _ = try connection.run(TenantHead.lock(principal.tenant))
        let found = try connection.run(
            """
            SELECT 1 FROM tideline.replica r JOIN public.replica p ON p.tenant = r.tenant AND p.id = r.id \
            WHERE r.tenant = $1::uuid AND r.id = $2::uuid AND r.member = $3::uuid AND r.revoked_at IS NULL AND p.deleted_at IS NULL \
            AND p.status <> 'revoked'
            """, .identifier(principal.tenant), .identifier(replica), .identifier(principal.member))
        guard !found.isEmpty else { return nil }
        let tokens = try connection.run(
            "SELECT count(*) FROM tideline.token WHERE tenant = $1::uuid AND replica = $2::uuid AND revoked_at IS NULL",
            .identifier(principal.tenant), .identifier(replica))
        guard (tokens.integer(0, 0) ?? 0) < Int64(Limits.copiesPerReplica) else {
            throw ErrorReply.limitReached(
                "copies_per_replica", max: Limits.copiesPerReplica, field: "first", retryAfterSeconds: 3600,
                "\(Limits.copiesPerReplica) copies of this file share replica \(replica.text); revoke it (sync-server replica revoke) "
                    + "and enrol the copies that are used again")
        }
        let token = try AccessToken.make(tenant: principal.tenant, on: connection)
        try connection.run(
            token.store(
                member: principal.member, replica: replica, kind: .replica, label: request.label, nowMilliseconds: context.now()))
        return (token, request.counter)
    }

    private func isKnown(_ replica: Identifier, tenant: Identifier) throws -> Bool {
        try !connection.run(
            """
            SELECT 1 WHERE EXISTS (SELECT FROM tideline.replica r WHERE r.tenant = $1::uuid AND r.id = $2::uuid) \
            OR EXISTS (SELECT FROM public.replica p WHERE p.tenant = $1::uuid AND p.id = $2::uuid) \
            OR EXISTS (SELECT FROM tideline.change_set s WHERE s.tenant = $1::uuid AND s.replica = $2::uuid)
            """, .identifier(tenant), .identifier(replica)
        ).isEmpty
    }
}
