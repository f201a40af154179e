// `tenant create`, `member add`, `code create`: who may enrol, and the one-time codes they do it with.

import SyncProtocol

enum TenantCommand {
    static let replications = ["full", "field", "sales", "readonly"]

    static func create(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let owner = try person(try arguments.required("--owner"))
        let currency = try arguments.value("--currency") ?? "USD"
        let timeZone = try arguments.value("--timezone") ?? "UTC"
        guard let name = arguments.word() else { throw UsageError("tenant create needs a NAME") }
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let (tenant, member) = (administration.newIdentifier(), administration.newIdentifier())
            let code = try invite(member, with: "full", to: tenant, administration) { connection in
                _ = try connection.run(TenantHead.create(tenant, nowMilliseconds: administration.context.now()))
                return [
                    Change(
                        "tenant", tenant,
                        .create(fields: ["name": .string(name), "base_currency": .string(currency), "timezone": .string(timeZone)])),
                    Change(
                        "member", member,
                        .create(fields: ["name": .string(owner.name), "email": .string(owner.email), "role": "owner"])),
                ]
            }
            show(console, tenant: tenant, member: member, code: code)
            return .done
        }
    }

    static func addMember(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        let name = try arguments.required("--name")
        let email = try arguments.required("--email")
        let role = try arguments.required("--role")
        let replication = try replication(&arguments, role: role)
        // Of somebody whom a restored server has lost, and whose file knows the id.
        let idText = try arguments.value("--id")
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            try administration.requireTenant(tenant)
            let member = try idText.map { try administration.identifier($0, "--id") } ?? administration.newIdentifier()
            let code = try invite(member, with: replication, to: tenant, administration) { _ in
                [Change("member", member, .create(fields: ["name": .string(name), "email": .string(email), "role": .string(role)]))]
            }
            show(console, tenant: nil, member: member, code: code)
            return .done
        }
    }

    /// Makes a member, by the changes that `prepare` returns, and a code to enrol with, in one transaction.
    private static func invite(
        _ member: Identifier, with replication: String, to tenant: Identifier, _ administration: Administration,
        _ prepare: (PostgresConnection) throws -> [Change]
    ) throws -> EnrollmentCode {
        let code = try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
            try administration.write(tenant).writeInTransaction(try prepare(connection), author: .system).requireAccepted()
            administration.context.step(.commandWritten)
            let code = try EnrollmentCode.issue(
                tenant: tenant, member: member, replication: replication, nowMilliseconds: administration.context.now(), on: connection)
            administration.context.step(.commandStored)
            return code
        }
        administration.context.step(.commandCommitted)
        administration.context.announce(tenant)
        return code
    }

    /// Another code for a member, for another machine or because the first one expired.
    static func createCode(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        let memberText = try arguments.required("--member")
        let chosen = try arguments.value("--replication")
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            let member = try administration.identifier(memberText, "--member")
            try administration.requireTenant(tenant)
            let now = administration.context.now()
            let code = try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
                let found = try connection.run(
                    "SELECT role FROM public.member WHERE tenant = $1::uuid AND id = $2::uuid AND deleted_at IS NULL", .identifier(tenant),
                    .identifier(member))
                guard !found.isEmpty, let role = found.text(0, 0) else { throw ErrorReply(.notFound, "there is no member \(member.text)") }
                let replication = try check(chosen ?? standardReplication(role))
                let code = try EnrollmentCode.issue(
                    tenant: tenant, member: member, replication: replication, nowMilliseconds: now, on: connection)
                administration.context.step(.commandStored)
                return code
            }
            administration.context.step(.commandCommitted)
            show(console, tenant: nil, member: member, code: code)
            return .done
        }
    }

    // MARK: Words

    private static func show(_ console: Console, tenant: Identifier?, member: Identifier, code: EnrollmentCode) {
        var object: JSONObject = ["member": .string(member.text), "code": .string(code.text)]
        if let tenant { object["tenant"] = .string(tenant.text) }
        let lines = (tenant.map { ["tenant  \($0.text)"] } ?? []) + ["member  \(member.text)", "code    \(code.text)"]
        console.show(.object(object), lines.joined(separator: "\n"))
        if !console.isJSON { console.say("Enrol within 72 hours: replica enroll URL \(code.text)") }
    }

    /// `NAME <EMAIL>`.
    static func person(_ text: String) throws -> (name: String, email: String) {
        guard let open = text.lastIndex(of: "<"), text.last == ">" else { throw UsageError("--owner is \"NAME <EMAIL>\"") }
        let name = text[..<open].split(separator: " ").joined(separator: " ")
        let email = String(text[text.index(after: open)...].dropLast())
        guard !name.isEmpty, !email.isEmpty else { throw UsageError("--owner is \"NAME <EMAIL>\"") }
        return (name, email)
    }

    private static func replication(_ arguments: inout Arguments, role: String) throws -> String {
        guard Role(rawValue: role) != nil else {
            throw UsageError("--role is one of \(Role.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return try check(try arguments.value("--replication") ?? standardReplication(role))
    }

    private static func check(_ replication: String) throws -> String {
        guard replications.contains(replication) else {
            throw UsageError("--replication is one of \(replications.joined(separator: ", "))")
        }
        return replication
    }

    private static func standardReplication(_ role: String) -> String {
        switch role {
        case "viewer": "readonly"
        case "field": "field"
        default: "full"
        }
    }
}
