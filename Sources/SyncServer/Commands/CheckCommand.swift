// `check`: is this database fit to serve from, in words an operator can act on.

import Foundation
import SyncProtocol

enum CheckCommand {
    static func run(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        try arguments.finish()
        let database = try Database(configuration, mayShare: true, log: { _ in })
        defer { database.stop() }
        let findings: [CheckFinding]
        do {
            let connection = try database.connectAsOwner()
            defer { connection.close() }
            findings = try look(connection, configuration.storageQuota) + [disk(configuration)].compactMap { $0 }
        } catch let error as PostgresError where error.isConnectionLost {
            let json: JSONValue = [
                "ok": false, "checks": [["name": "database", "ok": false, "message": .string("not reachable: \(error.message)")]],
            ]
            if console.isJSON { console.show(json, "") } else { console.say("BAD  database: not reachable: \(error.message)") }
            return .unreachable
        }
        let isGood = findings.allSatisfy(\.isGood)
        let json: JSONValue = [
            "ok": .bool(isGood),
            "checks": .array(findings.map { ["name": .string($0.name), "ok": .bool($0.isGood), "message": .string($0.words)] }),
        ]
        console.show(json, findings.map { "\($0.isGood ? "ok  " : "BAD ") \($0.name): \($0.words)" }.joined(separator: "\n"))
        return isGood ? .done : .refused
    }

    private static func look(_ connection: PostgresConnection, _ quota: StorageQuota) throws -> [CheckFinding] {
        var findings = [CheckFinding(name: "database", isGood: true, words: "reachable")]
        findings.append(.version(connection.serverVersion / 10_000))
        let isMigrated = try Migration(.tideline).isCurrent(connection)
        findings.append(.migrated(isMigrated))
        let crypto = try connection.run("SELECT 1 FROM pg_extension WHERE extname = 'pgcrypto'")
        findings.append(.pgcrypto(isThere: !crypto.isEmpty))
        if isMigrated {
            let open = try connection.run(
                """
                SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind IN ('r','p') AND n.nspname || '.' || c.relname = ANY($1) \
                AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY 1
                """, .textArray(EngineTables.guarded.map { "tideline.\($0)" } + Schema.tideline.entities.map { "public.\($0.name)" }))
            let names = open.rows.compactMap { open.text($0, 0) }
            findings.append(.rowLevelSecurity(notForcedOn: names))
            let role = try connection.run("SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = '\(TenantSession.runtimeRole)'")
            findings.append(.runtimeRole(isBound: !role.isEmpty && role.bool(0, 0) == false))
        }
        let clock = try connection.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        findings.append(.clock(milliseconds: (clock.integer(0, 0) ?? 0) - WallClock.milliseconds()))
        if isMigrated {
            findings += try storage(connection, quota)
            findings += try consumers(connection)
        }
        return findings
    }

    private static func storage(_ connection: PostgresConnection, _ quota: StorageQuota) throws -> [CheckFinding] {
        guard let most = quota.bytesMax else { return [] }
        let found = try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) {
            try $0.run("SELECT tenant, stored FROM tideline.storage_status($1, 1000)", .integer(most / 100 * CheckFinding.storageShareMax))
        }
        let full = found.rows.compactMap { CheckFinding.storage(of: found.text($0, 0) ?? "", stored: found.integer($0, 1) ?? 0, of: most) }
        return full.isEmpty ? [.storageSuffices] : full
    }

    private static func consumers(_ connection: PostgresConnection) throws -> [CheckFinding] {
        let found = try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) {
            try $0.run("SELECT tenant, name, status, lag, oldest_at, dead, failures, kind FROM tideline.outbox_status(10000)")
        }
        let now = WallClock.milliseconds()
        let bad = found.rows.compactMap { row in
            CheckFinding.consumer(
                found.text(row, 1) ?? "", of: found.text(row, 0) ?? "", status: found.text(row, 2) ?? "", lag: found.integer(row, 3) ?? 0,
                minutesBehind: found.integer(row, 4).map { max(0, now - $0) / 60_000 } ?? 0, dead: found.integer(row, 5) ?? 0,
                failures: found.integer(row, 6) ?? 0)
        }
        return bad.isEmpty ? [.consumersKeepUp(found.rowCount)] : bad
    }

    /// nil when the database is elsewhere.
    private static func disk(_ configuration: Configuration) -> CheckFinding? {
        guard configuration.databaseURL == nil else { return nil }
        var space = statvfs()
        guard statvfs(configuration.dataDirectory, &space) == 0, space.f_blocks > 0 else {
            return .disk(share: nil, of: configuration.dataDirectory)
        }
        return .disk(share: Double(space.f_bavail) / Double(space.f_blocks), of: configuration.dataDirectory)
    }
}
