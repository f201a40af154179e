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
        context.announce(reply.tenant)
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
            SELECT c.member, c.replication, c.expires_at, c.used_at, m.status, m.role, m.deleted_at FROM tideline.enrollment_code c \
            LEFT JOIN public.member m ON m.tenant = c.tenant AND m.id = c.member \
            WHERE c.tenant = $1::uuid AND c.hash = $2::bytea FOR UPDATE OF c
            """, .identifier(tenant), .bytes(code.hash))
        guard !row.isEmpty, let member = row.identifier(0, 0), let replication = row.text(0, 1), let expiry = row.integer(0, 2) else {
            throw Enroll.invalid
        }
        guard row.isNull(0, 3) else { throw ErrorReply(.codeUsed, "this enrolment code was used already; ask for another one") }
        guard expiry > now else { throw ErrorReply(.codeExpired, "this enrolment code has expired; ask for another one") }
        guard row.isNull(0, 6), let status = row.text(0, 4), status != "disabled", let role = row.text(0, 5).flatMap(Role.init(rawValue:))
        else { throw ErrorReply(.forbidden, "this member is disabled") }

        var changes: [Change] = []
        if status == "invited" {
            changes.append(Change("member", member, .transition(name: "accept", observed: "invited", arguments: JSONObject())))
        }
        let new = NewReplica(
            member: member, label: request.label, platform: request.platform, replication: replication, acknowledged: 0,
            restrictedSince: role.seesRestricted ? 0 : nil)
        let (replica, token) = try new.register(context, tenant, connection, along: changes)
        _ = try connection.run(
            "UPDATE tideline.enrollment_code SET used_at = $3 WHERE tenant = $1::uuid AND hash = $2::bytea", .identifier(tenant),
            .bytes(code.hash), .integer(now))
        return EnrollmentReply(
            token: token.text, tenant: tenant, member: member, replica: replica, role: role, replication: replication,
            serverMilliseconds: now, schemaVersion: context.schema.version)
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
