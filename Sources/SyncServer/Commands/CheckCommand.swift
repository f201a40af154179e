// `check`: is this database fit to serve from, in words an operator can act on.

import Foundation
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
        let findings: [Finding]
        do {
            let connection = try database.connectAsOwner()
            defer { connection.close() }
            findings = try look(connection) + [disk(configuration)].compactMap { $0 }
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
        if isMigrated { findings += try consumers(connection) }
        return findings
    }

    /// Minutes behind after which a consumer is worth a look.
    private static let lagMinutesMax: Int64 = 15

    private static func consumers(_ connection: PostgresConnection) throws -> [Finding] {
        let found = try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) {
            try $0.run("SELECT tenant, name, status, lag, oldest_at, dead, failures, kind FROM tideline.outbox_status(10000)")
        }
        let now = WallClock.milliseconds()
        var bad: [Finding] = []
        for row in found.rows {
            let minutes = found.integer(row, 4).map { max(0, now - $0) / 60_000 } ?? 0
            let dead = found.integer(row, 5) ?? 0
            let failures = found.integer(row, 6) ?? 0
            var words: [String] = []
            if found.text(row, 2) == "disabled" { words.append("disabled, because its endpoint said it is gone") }
            if failures > 0 { words.append("its endpoint failed \(failures) \(failures == 1 ? "time" : "times") in a row") }
            if minutes >= lagMinutesMax { words.append("\(found.integer(row, 3) ?? 0) entries and \(minutes) minutes behind") }
            if dead > 0 { words.append("\(dead) dead \(dead == 1 ? "letter" : "letters")") }
            // A pause is somebody's wish; how far it has fallen behind meanwhile is worth saying.
            guard !words.isEmpty else { continue }
            if found.text(row, 2) == "paused" { words.insert("paused", at: 0) }
            let name = "consumer \(found.text(row, 1) ?? "") of \(found.text(row, 0) ?? "")"
            bad.append(Finding(name: name, isGood: false, words: words.joined(separator: ", ") + "; see sync-server consumer show"))
        }
        if bad.isEmpty {
            let count = found.rowCount
            return [Finding(name: "consumers", isGood: true, words: count == 0 ? "none" : "all \(count) keep up")]
        }
        return bad
    }

    /// Below this share of the data directory's file system Postgres is about to stop.
    private static let diskShareMin = 0.1

    /// nil when the database is elsewhere.
    private static func disk(_ configuration: Configuration) -> Finding? {
        guard configuration.databaseURL == nil else { return nil }
        var space = statvfs()
        guard statvfs(configuration.dataDirectory, &space) == 0, space.f_blocks > 0 else {
            return Finding(name: "disk", isGood: false, words: "\(configuration.dataDirectory) cannot be looked at")
        }
        let share = Double(space.f_bavail) / Double(space.f_blocks)
        let percent = Int(share * 100)
        return Finding(
            name: "disk", isGood: share >= diskShareMin,
            words: "\(percent) % free\(share >= diskShareMin ? "" : "; Postgres stops when it is full")")
    }
}
