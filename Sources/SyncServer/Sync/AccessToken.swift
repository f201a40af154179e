// Bearer tokens: `tdl_<tenant, 32 hex digits>_<43 characters of secret>`. They carry their tenant, so that one is looked up
// inside it, and only their hash is stored.

import SyncProtocol

struct AccessToken: Sendable {
    enum Kind: String, Sendable {
        /// Of one replica.
        case replica
        /// Of a member, for REST.
        case api
    }

    /// Tokens for REST that one member may have and that still work: one for each program, and what rotation leaves.
    static let perMemberMax = 100
    /// How long one for REST is kept after its end or revocation; nobody is told the difference.
    static let rememberedMilliseconds: Int64 = 90 * 86_400_000

    let tenant: Identifier
    let text: String

    /// SHA-256 of the whole text.
    var hash: [UInt8] { SHA256.hash(Array(text.utf8)) }

    /// nil unless the text has exactly the form above.
    init?(_ text: String) {
        guard text.utf8.count == 80, text.hasPrefix("tdl_") else { return nil }
        let parts = text.split(separator: "_", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1].utf8.count == 32, parts[2].utf8.count == 43, Base64URL.decode(String(parts[2]))?.count == 32,
            let bytes = Hex.decode(String(parts[1])), bytes.count == 16
        else { return nil }
        tenant = Identifier(
            high: bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }, low: bytes[8...].reduce(0) { $0 << 8 | UInt64($1) })
        self.text = text
    }

    /// - Parameter secret: 32 random bytes.
    init(tenant: Identifier, secret: [UInt8]) {
        precondition(secret.count == 32, "the secret of a token has 32 bytes")
        self.tenant = tenant
        text = "tdl_\(Hex.encode(tenant.bytes))_\(Base64URL.encode(secret))"
    }

    /// Of `Authorization: Bearer …`.
    init?(authorization: String?) {
        guard let authorization, authorization.utf8.count < 200 else { return nil }
        let parts = authorization.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        self.init(String(parts[1]))
    }

    /// The statement that stores it. `expiresAt` nil: until revoked.
    func store(
        member: Identifier, replica: Identifier?, kind: Kind, label: String?, nowMilliseconds: Int64, expiresAt: Int64? = nil
    ) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO tideline.token (tenant, hash, member, replica, kind, label, created_at, expires_at) \
            VALUES ($1::uuid, $2::bytea, $3::uuid, $4::uuid, $5, $6, $7, $8)
            """,
            [
                .identifier(tenant), .bytes(hash), .identifier(member), .optional(replica), .text(kind.rawValue), .optional(label),
                .integer(nowMilliseconds), .optional(expiresAt),
            ])
    }

    /// A secret from the database's generator.
    static func make(tenant: Identifier, on connection: PostgresConnection) throws -> AccessToken {
        let result = try connection.run("SELECT tideline.random_bytes(32)")
        guard let secret = result.bytes(0, 0), secret.count == 32 else {
            throw ErrorReply(.internal, "the database made no random bytes")
        }
        return AccessToken(tenant: tenant, secret: secret)
    }

    /// Makes and stores one for REST, inside a transaction of the tenant. Throws `limit_reached` for a member with as many as may be.
    static func issue(
        tenant: Identifier, member: Identifier, label: String?, nowMilliseconds now: Int64, expiresAt: Int64?,
        on connection: PostgresConnection
    ) throws -> AccessToken {
        _ = try connection.run(TenantHead.lock(tenant))
        let live = try connection.run(
            """
            SELECT count(*) FROM tideline.token WHERE tenant = $1::uuid AND member = $2::uuid AND kind = 'api' AND revoked_at IS NULL \
            AND (expires_at IS NULL OR expires_at > $3)
            """, .identifier(tenant), .identifier(member), .integer(now))
        guard (live.integer(0, 0) ?? 0) < Int64(perMemberMax) else {
            throw ErrorReply.limitReached(
                "tokens_per_member", max: perMemberMax, field: "member", retryAfterSeconds: 3600,
                "this member has \(perMemberMax) tokens that still work; revoke those that are not used any more: "
                    + "sync-server token revoke TOKEN, or token revoke --tenant ID --member ID for all of them")
        }
        let token = try make(tenant: tenant, on: connection)
        _ = try connection.run(
            token.store(member: member, replica: nil, kind: .api, label: label, nowMilliseconds: now, expiresAt: expiresAt))
        return token
    }

    /// Forgets tokens for REST that stopped working long ago. Those of replicas stay: a file is told that it was revoked.
    static func prune(tenant: Identifier, nowMilliseconds: Int64, on connection: PostgresConnection) throws {
        _ = try connection.run(
            "DELETE FROM tideline.token WHERE tenant = $1::uuid AND kind = 'api' AND least(expires_at, revoked_at) < $2",
            .identifier(tenant), .integer(nowMilliseconds - rememberedMilliseconds))
    }
}
