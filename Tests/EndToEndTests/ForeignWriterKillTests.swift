// The sqlite3 shell and the replica command in one file at once, killed at any moment while a sync runs beside them: no commit
// that was reported is lost, none takes effect twice, the file stays sound. This is the evidence of decision 0004.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite(.serialized) struct ForeignWriterKillTests {
    private static let rounds = 25
    /// Of each kind of writer, at least; a machine on which the kills keep missing gets more rounds.
    private static let killsMin = 4
    private static let roundsMax = 300

    @Test func writersKilledAtAnyMoment_loseNoReportedCommit() async throws {
        let seed = SeededRandom.fresh().seed
        print("seed \(seed)")
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            async let shellOne = reported("shell one", seed: seed &+ 1) { name in
                ("/usr/bin/env", ["sqlite3", "-cmd", ".timeout 20000", olivia.file, "INSERT INTO client (name) VALUES ('\(name)');"])
            }
            async let shellTwo = reported("shell two", seed: seed &+ 2) { name in
                ("/usr/bin/env", ["sqlite3", "-cmd", ".timeout 20000", olivia.file, "INSERT INTO client (name) VALUES ('\(name)');"])
            }
            async let command = reported("command", seed: seed &+ 3) { name in
                ("replica", ["--db", olivia.file, "add", "client", "name=\(name)"])
            }
            async let syncs = reported("sync", seed: seed &+ 4) { _ in ("replica", ["--db", olivia.file, "sync"]) }
            let names = try await shellOne.names + shellTwo.names + command.names
            let kills = try await shellOne.kills + shellTwo.kills + command.kills + syncs.kills
            #expect(kills >= 4 * Self.killsMin, "the kills must hit running writers")
            #expect(names.count > 10, "some writers must get through")
            #expect(try await olivia.integrity().contains("\"ok\""))

            try await olivia.json("sync")
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            try await marcus.json("sync")
            for worker in [olivia, marcus] {
                try await worker.json("sync")
                let found = try await worker.json("sql", "SELECT name, count(*) AS n FROM client GROUP BY name")
                var counts: [String: Int64] = [:]
                for row in found["data"]?.arrayValue ?? [] { counts[row["name"]?.stringValue ?? ""] = row["n"]?.integerValue }
                for name in names { #expect(counts[name] == 1, "\(name)") }
                // What was killed may or may not have been committed, but never twice.
                #expect(counts.values.allSatisfy { $0 == 1 })
                #expect(try await worker.isIdentical())
            }
            #expect(try await olivia.json("problems")["total"] == 0)
        }
    }

    /// Runs a program again and again, killing it after a random while; returns the names it said it had committed.
    private func reported(
        _ label: String, seed: UInt64, _ program: @Sendable (String) -> (String, [String])
    ) async throws -> (names: [String], kills: Int) {
        var random = SeededRandom(seed: seed)
        var names: [String] = []
        var kills = 0
        for round in 0..<Self.roundsMax where round < Self.rounds || kills < Self.killsMin {
            let name = "\(label) \(round)"
            let (path, arguments) = program(name)
            let process = try path.hasPrefix("/") ? RunningProgram(path: path, arguments) : RunningProgram(path, arguments)
            // Some get as long as they need.
            let isLeftAlone = UInt64.random(in: 0..<3, using: &random) == 0
            let seconds = isLeftAlone ? 60 : Double(UInt64.random(in: 0...120, using: &random)) / 1000
            _ = try await process.wait(seconds: seconds) { !$0.isRunning }
            if process.isRunning { kills += 1 }
            process.signal(SIGKILL)
            if await process.finish().code == 0 { names.append(name) }
        }
        return (names, kills)
    }
}
