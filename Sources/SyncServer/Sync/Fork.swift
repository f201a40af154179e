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
            try fork(request, token: token)
        }
        context.announce(token.tenant)
        return reply
    }

    private func fork(_ request: ForkRequest, token: AccessToken) throws -> EnrollmentReply {
        let now = context.now()
        let principal = try Authentication.principal(of: token, nowMilliseconds: now, on: connection)
        let shared = try Authentication.replica(of: principal)
        // What was never processed here cannot be shared with anyone.
        guard request.counter <= shared.acknowledged else {
            throw ErrorReply(
                .badRequest, "counter: the shared replica has processed counters up to \(shared.acknowledged)",
                details: ["acknowledged": .integer(shared.acknowledged)])
        }
        let new = NewReplica(
            member: principal.member, label: request.label, platform: request.platform, replication: shared.replication,
            acknowledged: request.counter, restrictedSince: shared.restrictedSince)
        let (replica, newToken) = try new.register(context, token.tenant, connection)
        return EnrollmentReply(
            token: newToken.text, tenant: token.tenant, member: principal.member, replica: replica, role: principal.role,
            replication: shared.replication, serverMilliseconds: now, schemaVersion: context.schema.version,
            identity: context.cursorSeal.seal(
                SealedIdentity(tenant: token.tenant, member: principal.member, replica: replica, base: request.counter)))
    }
}
