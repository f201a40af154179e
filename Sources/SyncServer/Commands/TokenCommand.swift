// `token create`, `token revoke`: tokens of members for the REST interface. Shown once, stored as a hash.

import SyncProtocol

enum TokenCommand {
    static func create(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        let memberText = try arguments.required("--member")
        let label = try arguments.value("--label")
        let days = try arguments.value("--days").map { text -> Int64 in
            guard let days = Int64(text), (1...36_500).contains(days) else { throw UsageError("--days is a number from 1 to 36500") }
            return days
        }
        let expires = try arguments.value("--expires").map { text -> Int64 in
            let time = Instant.milliseconds(fromISO8601: text) ?? CalendarDate.days(fromISO: text).map { $0 * 86_400_000 }
            guard let time else { throw UsageError("--expires is a date or a time, such as 2026-12-31 or 2026-12-31T18:00:00Z") }
            return time
        }
        guard days == nil || expires == nil else { throw UsageError("--days and --expires say the same; give one of them") }
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            let member = try administration.identifier(memberText, "--member")
            let now = administration.context.now()
            let expiry = expires ?? days.map { now + $0 * 86_400_000 }
            if let expiry, expiry <= now { throw UsageError("--expires is in the past") }
            let token = try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
                let found = try connection.run(
                    "SELECT 1 FROM public.member WHERE tenant = $1::uuid AND id = $2::uuid AND deleted_at IS NULL AND status <> 'disabled'",
                    .identifier(tenant), .identifier(member))
                guard !found.isEmpty else { throw ErrorReply(.notFound, "there is no active member \(member.text)") }
                let token = try AccessToken.issue(
                    tenant: tenant, member: member, label: label, nowMilliseconds: now, expiresAt: expiry, on: connection)
                administration.context.step(.commandStored)
                return token
            }
            administration.context.step(.commandCommitted)
            console.show(["token": .string(token.text)], token.text)
            return .done
        }
    }

    /// One token, by itself; or every token for the API that a member has, with `--tenant` and `--member`, when nobody knows them any more.
    static func revoke(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, memberText) = (try arguments.value("--tenant"), try arguments.value("--member"))
        let text = try arguments.value("--token") ?? arguments.word()
        try arguments.finish()
        if text == nil, let tenantText, let memberText {
            return try Administration.run(configuration) { administration in
                let tenant = try administration.identifier(tenantText, "--tenant")
                let member = try administration.identifier(memberText, "--member")
                let count = try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
                    let found = try connection.run(
                        "SELECT 1 FROM public.member WHERE tenant = $1::uuid AND id = $2::uuid", .identifier(tenant), .identifier(member))
                    guard !found.isEmpty else { throw ErrorReply(.notFound, "there is no member \(member.text)") }
                    return try connection.run(
                        """
                        UPDATE tideline.token SET revoked_at = $3 \
                        WHERE tenant = $1::uuid AND member = $2::uuid AND kind = 'api' AND revoked_at IS NULL
                        """, .identifier(tenant), .identifier(member), .integer(administration.context.now())
                    ).affectedRows
                }
                console.show(["revoked": true, "tokens": .integer(Int64(count))], "revoked \(count) \(count == 1 ? "token" : "tokens")")
                return .done
            }
        }
        guard let text, tenantText == nil, memberText == nil, let token = AccessToken(text) else {
            throw UsageError("token revoke needs the token, or --tenant and --member for all of a member's")
        }
        return try Administration.run(configuration) { administration in
            let updated = try administration.connection.transaction(.readWrite, tenant: token.tenant) { connection in
                let updated = try connection.run(
                    "UPDATE tideline.token SET revoked_at = coalesce(revoked_at, $3) WHERE tenant = $1::uuid AND hash = $2::bytea",
                    .identifier(token.tenant), .bytes(token.hash), .integer(administration.context.now())
                ).affectedRows
                administration.context.step(.commandStored)
                return updated
            }
            administration.context.step(.commandCommitted)
            guard updated == 1 else { throw ErrorReply(.notFound, "there is no such token") }
            console.show(["revoked": true, "tokens": 1], "revoked")
            return .done
        }
    }
}
