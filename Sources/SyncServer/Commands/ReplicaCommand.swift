// `replica list`, `replica revoke`: the enrolled copies of a tenant's data.

import SyncProtocol

enum ReplicaCommand {
    static func list(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            try administration.requireTenant(tenant)
            let replicas = try administration.connection.transaction(.readOnlySnapshot, tenant: tenant) { connection in
                let result = try connection.run(
                    """
                    SELECT r.id, r.member, m.name, r.label, r.replication, r.acknowledged, r.last_seen_at, r.revoked_at \
                    FROM tideline.replica r LEFT JOIN public.member m ON m.tenant = r.tenant AND m.id = r.member \
                    WHERE r.tenant = $1::uuid ORDER BY r.created_at, r.id
                    """, .identifier(tenant))
                return result.rows.map { row -> JSONObject in
                    var object: JSONObject = ["acknowledged": .integer(result.integer(row, 5) ?? 0)]
                    for (name, column) in [("replica", 0), ("member", 1), ("name", 2), ("label", 3), ("replication", 4)] {
                        object[name] = .string(result.text(row, column) ?? "")
                    }
                    for (name, column) in [("last_seen_at", 6), ("revoked_at", 7)] {
                        object[name] = result.integer(row, column).map { .integer($0) } ?? .null
                    }
                    return object
                }
            }
            let lines = replicas.map { one in
                let seen = one["last_seen_at"]?.integerValue.map { Instant.iso(fromMilliseconds: $0) } ?? "never"
                let state = one["revoked_at"]?.isNull == false ? "revoked" : "active"
                return [
                    one["replica"]?.stringValue, one["name"]?.stringValue, one["label"]?.stringValue, one["replication"]?.stringValue,
                    state, seen,
                ].compactMap { $0 }.joined(separator: "  ")
            }
            console.show(
                ["data": .array(replicas.map { .object($0) }), "total": .integer(Int64(replicas.count))], lines.joined(separator: "\n"))
            return .done
        }
    }

    /// Its token stops working at once; what it has not pushed stays in its file.
    static func revoke(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        let replicaText = try arguments.value("--replica") ?? arguments.word() ?? ""
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            let replica = try administration.identifier(replicaText, "the replica")
            let now = administration.context.now()
            try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
                _ = try connection.run(TenantHead.lock(tenant))
                let updated = try connection.run(
                    "UPDATE tideline.replica SET revoked_at = coalesce(revoked_at, $3) WHERE tenant = $1::uuid AND id = $2::uuid",
                    .identifier(tenant), .identifier(replica), .integer(now))
                guard updated.affectedRows == 1 else { throw ErrorReply(.notFound, "there is no replica \(replica.text)") }
                administration.context.step(.commandWritten)
                try connection.run(
                    "UPDATE tideline.token SET revoked_at = coalesce(revoked_at, $3) WHERE tenant = $1::uuid AND replica = $2::uuid",
                    .identifier(tenant), .identifier(replica), .integer(now))
                let status = try connection.run(
                    "SELECT status FROM public.replica WHERE tenant = $1::uuid AND id = $2::uuid AND deleted_at IS NULL",
                    .identifier(tenant),
                    .identifier(replica))
                if !status.isEmpty, status.text(0, 0) == "active" {
                    try administration.write(tenant).writeInTransaction(
                        [Change("replica", replica, .transition(name: "revoke", observed: "active", arguments: JSONObject()))],
                        author: .system
                    ).requireAccepted()
                }
                administration.context.step(.commandStored)
            }
            administration.context.step(.commandCommitted)
            administration.context.announce(tenant)
            console.show(["revoked": .string(replica.text)], "revoked \(replica.text)")
            return .done
        }
    }
}
