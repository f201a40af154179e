// `check`: is this database fit to serve from, in words an operator can act on.

import SyncProtocol

enum CheckCommand {
    private struct Finding {
        let name: String
        let isGood: Bool
        let words: String
    }

    static func run(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        try arguments.finish()
        let database = try Database(configuration, mayShare: true, log: { _ in })
        defer { database.stop() }
        let connection = try database.connectAsOwner()
        defer { connection.close() }
        let findings = try look(connection)
        let isGood = findings.allSatisfy(\.isGood)
        let json: JSONValue = [
            "ok": .bool(isGood),
            "checks": .array(findings.map { ["name": .string($0.name), "ok": .bool($0.isGood), "message": .string($0.words)] }),
        ]
        console.show(json, findings.map { "\($0.isGood ? "ok  " : "BAD ") \($0.name): \($0.words)" }.joined(separator: "\n"))
        return isGood ? .done : .refused
    }

    private static func look(_ connection: PostgresConnection) throws -> [Finding] {
        var findings = [Finding(name: "database", isGood: true, words: "reachable")]
        let version = connection.serverVersion / 10_000
        findings.append(
            Finding(
                name: "version", isGood: version >= 14,
                words: version >= 14 ? "Postgres \(version)" : "Postgres \(version) is too old; 14 or newer is needed"))
        let isMigrated = try Migration(.tideline).isCurrent(connection)
        findings.append(
            Finding(
                name: "migrated", isGood: isMigrated,
                words: isMigrated ? "at schema \(Schema.currentVersion)" : "not at this build's schema; run sync-server migrate"))
        let crypto = try connection.run("SELECT 1 FROM pg_extension WHERE extname = 'pgcrypto'")
        findings.append(
            Finding(name: "pgcrypto", isGood: !crypto.isEmpty, words: crypto.isEmpty ? "missing; CREATE EXTENSION pgcrypto" : "installed"))
        if isMigrated {
            let open = try connection.run(
                """
                SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind IN ('r','p') AND n.nspname || '.' || c.relname = ANY($1) \
                AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY 1
                """, .textArray(EngineTables.guarded.map { "tideline.\($0)" } + Schema.tideline.entities.map { "public.\($0.name)" }))
            let names = open.rows.compactMap { open.text($0, 0) }
            findings.append(
                Finding(
                    name: "row level security", isGood: names.isEmpty,
                    words: names.isEmpty
                        ? "forced on every table" : "not forced on \(names.joined(separator: ", ")); run sync-server migrate"))
            let role = try connection.run("SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = '\(TenantSession.runtimeRole)'")
            let bypasses = role.isEmpty || role.bool(0, 0) != false
            findings.append(
                Finding(
                    name: "runtime role", isGood: !bypasses,
                    words: bypasses
                        ? "\(TenantSession.runtimeRole) is missing or bypasses row level security" : "bound by row level security"))
        }
        let clock = try connection.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        let skew = abs((clock.integer(0, 0) ?? 0) - WallClock.milliseconds())
        findings.append(
            Finding(
                name: "clock", isGood: skew < 5_000,
                words: skew < 5_000 ? "agrees with the database's" : "\(skew / 1000) s away from the database's; use NTP"))
        return findings
    }
}
