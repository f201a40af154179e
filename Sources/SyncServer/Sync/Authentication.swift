// Who asks: token → member and replica, within the token's tenant. Step 1 of push and pull (protocol §7).

import SyncProtocol

/// A replica as the engine keeps it.
struct ReplicaRegistration: Sendable {
    var id: Identifier
    var replication: String
    /// Highest processed counter.
    var acknowledged: Int64
    /// Of its last processed set.
    var lastTimestamp: HybridTimestamp
    /// Epoch of its last push.
    var lastEpoch: Int64
    var lastSeenMilliseconds: Int64
    /// The head from which on it gets restricted fields; nil: it does not, or was not asked since it does.
    var restrictedSince: Int64?
}

struct Principal: Sendable {
    var tenant: Identifier
    var member: Identifier
    var role: Role
    var replica: ReplicaRegistration?
}

enum Authentication {
    /// The principal of a token, inside a transaction of the token's tenant.
    /// Throws `unauthorized`, `forbidden` (disabled member) or `replica_revoked`.
    static func principal(of token: AccessToken, nowMilliseconds: Int64, on connection: PostgresConnection) throws -> Principal {
        let result = try connection.run(PostgresStatement(query, [.identifier(token.tenant), .bytes(token.hash)]))
        guard !result.isEmpty, let member = result.identifier(0, 0) else { throw unauthorized }
        if let expiry = result.integer(0, 3), expiry <= nowMilliseconds { throw ErrorReply(.unauthorized, "this token has expired") }
        let isReplica = result.text(0, 1) == AccessToken.Kind.replica.rawValue
        if !result.isNull(0, 2) {
            throw isReplica ? revoked : ErrorReply(.unauthorized, "this token was revoked")
        }
        guard result.isNull(0, 5), let status = result.text(0, 4), status != "disabled",
            let role = result.text(0, 6).flatMap(Role.init(rawValue:))
        else { throw ErrorReply(.forbidden, "this member is disabled") }
        var replica: ReplicaRegistration?
        if isReplica {
            guard let id = result.identifier(0, 7), let replication = result.text(0, 8), let acknowledged = result.integer(0, 9),
                let milliseconds = result.integer(0, 10), let logical = result.integer(0, 11), let epoch = result.integer(0, 12)
            else { throw unauthorized }
            guard result.isNull(0, 14), result.text(0, 15) != "revoked", result.isNull(0, 16) else { throw revoked }
            replica = ReplicaRegistration(
                id: id, replication: replication, acknowledged: acknowledged,
                lastTimestamp: HybridTimestamp(milliseconds: milliseconds, logical: logical), lastEpoch: epoch,
                lastSeenMilliseconds: result.integer(0, 13) ?? 0, restrictedSince: result.integer(0, 17))
        }
        return Principal(tenant: token.tenant, member: member, role: role, replica: replica)
    }

    /// Both the engine's row and the record that people see can say that a replica is revoked.
    private static let query = """
        SELECT t.member, t.kind, t.revoked_at, t.expires_at, m.status, m.deleted_at, m.role, \
        r.id, r.replication, r.acknowledged, r.last_stamp_ms, r.last_stamp_logical, r.last_epoch, r.last_seen_at, r.revoked_at, \
        p.status, p.deleted_at, r.restricted_since \
        FROM tideline.token t \
        LEFT JOIN public.member m ON m.tenant = t.tenant AND m.id = t.member \
        LEFT JOIN tideline.replica r ON r.tenant = t.tenant AND r.id = t.replica \
        LEFT JOIN public.replica p ON p.tenant = t.tenant AND p.id = t.replica \
        WHERE t.tenant = $1::uuid AND t.hash = $2::bytea
        """

    static let unauthorized = ErrorReply(.unauthorized, "send a valid token as Authorization: Bearer")
    private static let revoked = ErrorReply(
        .replicaRevoked, "this replica was shut out; a new enrolment code makes the same file good again")

    /// What a request says, judged only once it is clear who says it: others get `unauthorized` or `forbidden`, whatever they sent.
    /// Costs a look at the token only when the request is wrong.
    static func first<Message>(
        _ token: AccessToken, isReplica: Bool = false, context: SyncContext, connection: @autoclosure () throws -> PostgresConnection,
        _ body: () throws -> Message
    ) throws -> Message {
        do { return try body() } catch let error as ErrorReply {
            let now = context.now()
            try connection().transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
                let principal = try principal(of: token, nowMilliseconds: now, on: connection)
                if isReplica { _ = try replica(of: principal) }
            }
            throw error
        }
    }

    /// Sync endpoints are for replicas only.
    static func replica(of principal: Principal) throws -> ReplicaRegistration {
        guard let replica = principal.replica else { throw ErrorReply(.forbidden, "this token does not belong to a replica") }
        return replica
    }
}
