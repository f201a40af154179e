// `POST /v1/enroll`: a one-time code becomes a replica with a token, in one transaction (protocol §7.1).

import Foundation
import SyncProtocol

struct Enroll {
    let context: SyncContext
    let connection: PostgresConnection
    /// Kept with the feed entries that are written.
    var requestID: String?

    /// Throws `code_invalid`, `code_expired`, `code_used`, `forbidden`, `validation_failed`.
    func run(_ request: EnrollmentRequest) throws -> EnrollmentReply {
        guard let code = EnrollmentCode(request.code) else { throw Enroll.invalid }
        let reply = try connection.transaction(.readWrite, prelude: prelude) { connection in
            let found = try connection.run("SELECT tideline.enrollment_tenant($1::bytea)", .bytes(code.hash))
            guard !found.isEmpty, let tenant = found.identifier(0, 0) else { throw Enroll.invalid }
            _ = try connection.run(TenantSession.enter(tenant))
            return try enroll(request, code: code, tenant: tenant)
        }
        context.step(.enrolCommitted)
        context.announce(reply.tenant)
        context.step(.enrolAnnounced)
        return reply
    }

    private var prelude: [PostgresStatement] {
        [TenantSession.enterWithoutTenant] + (requestID.map { [TenantSession.name(request: $0)] } ?? [])
    }

    private static let invalid = ErrorReply(.codeInvalid, "there is no such enrolment code")

    private func enroll(_ request: EnrollmentRequest, code: EnrollmentCode, tenant: Identifier) throws -> EnrollmentReply {
        let now = context.now()
        let row = try connection.run(
            """
            SELECT c.member, c.replication, c.expires_at, c.used_at, m.status, m.role, m.deleted_at, c.attempt, c.replica \
            FROM tideline.enrollment_code c LEFT JOIN public.member m ON m.tenant = c.tenant AND m.id = c.member \
            WHERE c.tenant = $1::uuid AND c.hash = $2::bytea FOR UPDATE OF c
            """, .identifier(tenant), .bytes(code.hash))
        guard !row.isEmpty, let member = row.identifier(0, 0), let replication = row.text(0, 1), let expiry = row.integer(0, 2) else {
            throw Enroll.invalid
        }
        let isSpent = !row.isNull(0, 3)
        // Whoever made the replica with it may ask once more.
        let isRepeated = isSpent && request.attempt.map(Enroll.hash) == row.text(0, 7)
        guard !isSpent || isRepeated && !row.isNull(0, 7) else { throw Enroll.used }
        guard expiry > now else { throw ErrorReply(.codeExpired, "this enrolment code has expired; ask for another one") }
        guard row.isNull(0, 6), let status = row.text(0, 4), status != "disabled", let role = row.text(0, 5).flatMap(Role.init(rawValue:))
        else { throw ErrorReply(.forbidden, "this member is disabled") }
        let former = try request.continues.map { try context.cursorSeal.identity($0.identity) }
        try former?.check(tenant: tenant, member: member)
        // What is known of an id is looked at, and the id taken, under the lock of all writers.
        _ = try connection.run(TenantHead.lock(tenant))
        context.step(.enrolLocked)

        let (replica, token, base): (Identifier, AccessToken, Int64)
        if isRepeated {
            guard let made = row.identifier(0, 8) else { throw Enroll.used }
            (replica, base) = (made, former.map { $0.replica == made ? $0.base : request.continues?.counter ?? 0 } ?? 0)
            token = try tokenAgain(for: replica, member: member, label: request.label, base: base, tenant: tenant)
        } else {
            var changes: [Change] = []
            if status == "invited" {
                changes.append(Change("member", member, .transition(name: "accept", observed: "invited", arguments: JSONObject())))
            }
            var new = NewReplica(
                member: member, label: request.label, platform: request.platform, replication: replication, acknowledged: 0,
                restrictedSince: role.seesRestricted ? 0 : nil)
            if let former { try continuing(former, counter: request.continues?.counter ?? 0, tenant: tenant, as: &new) }
            base = new.acknowledged
            (replica, token) = try new.register(context, tenant, connection, along: changes)
        }
        _ = try connection.run(
            """
            UPDATE tideline.enrollment_code SET used_at = $3, replica = $4::uuid, attempt = $5 WHERE tenant = $1::uuid AND hash = $2::bytea
            """, .identifier(tenant), .bytes(code.hash), .integer(now), .identifier(replica),
            .optional(request.attempt.map(Enroll.hash)))
        context.step(.codeSpent)
        return EnrollmentReply(
            token: token.text, tenant: tenant, member: member, replica: replica, role: role, replication: replication,
            serverMilliseconds: now, schemaVersion: context.schema.version,
            identity: context.cursorSeal.seal(SealedIdentity(tenant: tenant, member: member, replica: replica, base: base)))
    }

    private static let used = ErrorReply(.codeUsed, "this enrolment code was used already; ask for another one")

    private static func hash(_ attempt: String) -> String {
        Hex.encode(SHA256.hash(Array("tideline attempt \(attempt.lowercased())".utf8)))
    }

    // MARK: Files that were enrolled before

    /// An id that this server does not know was lost by a restore, and is the file's again: the statement shows whose it is, and what
    /// the journal holds can come back under it. One that it knows may be in use by a copy of the file, or be revoked: the file gets a
    /// new id behind its last counter, and brings what it sealed under the old one as a courier (protocol §7.2).
    private func continuing(_ former: SealedIdentity, counter: Int64, tenant: Identifier, as new: inout NewReplica) throws {
        let known = try connection.run(
            """
            SELECT r.restricted_since FROM (SELECT $2::uuid AS id) f \
            LEFT JOIN tideline.replica r ON r.tenant = $1::uuid AND r.id = f.id \
            WHERE r.id IS NOT NULL OR EXISTS (SELECT FROM public.replica p WHERE p.tenant = $1::uuid AND p.id = f.id) \
            OR EXISTS (SELECT FROM tideline.change_set s WHERE s.tenant = $1::uuid AND s.replica = f.id)
            """, .identifier(tenant), .identifier(former.replica))
        if known.isEmpty {
            (new.id, new.acknowledged) = (former.replica, former.base)
            // Since when it had restricted fields went down with its row; from now on is the safe side.
            new.restrictedSince = nil
        } else {
            new.acknowledged = counter
            new.restrictedSince = known.integer(0, 0)
        }
    }

    /// The answer got lost: only a hash of its token is kept, so another one takes its place. Once the replica has done anything, the
    /// answer had arrived.
    private func tokenAgain(
        for replica: Identifier, member: Identifier, label: String, base: Int64, tenant: Identifier
    ) throws -> AccessToken {
        let untouched = try connection.run(
            """
            SELECT 1 FROM tideline.replica r JOIN public.replica p ON p.tenant = r.tenant AND p.id = r.id \
            WHERE r.tenant = $1::uuid AND r.id = $2::uuid AND r.revoked_at IS NULL AND p.deleted_at IS NULL AND p.status <> 'revoked' \
            AND NOT EXISTS (SELECT FROM tideline.change_set s WHERE s.tenant = r.tenant AND s.replica = r.id) \
            AND NOT EXISTS (SELECT FROM tideline.deferred_set s WHERE s.tenant = r.tenant AND s.replica = r.id)
            """, .identifier(tenant), .identifier(replica))
        guard !untouched.isEmpty else { throw Enroll.used }
        let now = context.now()
        let token = try AccessToken.make(tenant: tenant, on: connection)
        try connection.batch([
            PostgresStatement(
                "DELETE FROM tideline.token WHERE tenant = $1::uuid AND replica = $2::uuid", [.identifier(tenant), .identifier(replica)]),
            // The file may have gone on since it asked first.
            PostgresStatement(
                "UPDATE tideline.replica SET acknowledged = $3 WHERE tenant = $1::uuid AND id = $2::uuid",
                [.identifier(tenant), .identifier(replica), .integer(base)]),
            token.store(member: member, replica: replica, kind: .replica, label: label, nowMilliseconds: now),
        ])
        return token
    }
}

/// Counts failed enrolments by peer, so that codes cannot be tried out. Per process: a guess has a chance of one in 2^80 anyway.
/// @unchecked Sendable: the counts are only touched under the lock.
final class EnrollmentLimit: @unchecked Sendable {
    static let failuresPerMinute = 10
    static let peersMax = 10_000
    private let lock = NSLock()
    /// Peers that are remembered now.
    var peerCount: Int { lock.withLock { failures.count } }
    private var failures: [String: (minute: Int64, count: Int)] = [:]

    /// Throws `too_many_requests` while a peer has failed too often in this minute.
    func check(_ peer: String, nowMilliseconds: Int64) throws(ErrorReply) {
        let isBlocked = lock.withLock {
            failures[peer].map { $0.minute == nowMilliseconds / 60_000 && $0.count >= EnrollmentLimit.failuresPerMinute } ?? false
        }
        if isBlocked {
            throw ErrorReply(.tooManyRequests, "too many failed enrolments; try again in a minute", details: ["retry_after": 60])
        }
    }

    func noteFailure(_ peer: String, nowMilliseconds: Int64) {
        let minute = nowMilliseconds / 60_000
        lock.withLock {
            if failures.count >= EnrollmentLimit.peersMax { failures = failures.filter { $0.value.minute == minute } }
            // Whoever fails from that many addresses at once is let off: memory is dearer than a guess.
            if failures.count >= EnrollmentLimit.peersMax { failures = [:] }
            let count = failures[peer].map { $0.minute == minute ? $0.count : 0 } ?? 0
            failures[peer] = (minute, count + 1)
        }
    }
}
