// kill -9 at any moment, of the replica, the server and its Postgres: nothing is lost, nothing takes effect twice.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite(.serialized) struct KillTests {
    /// Rows for a CSV import; enough that pushes and pulls take a while.
    private func csv(_ count: Int, in folder: URL) throws -> String {
        let lines = (0..<count).map { "Client \($0),t\($0 % 7);all" }
        let file = folder.appendingPathComponent("clients.csv")
        try ("name,tags\n" + lines.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
        return file.path
    }

    @Test func replicaKilled_inPushPullAndApply_losesAndDoublesNothing() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            try await olivia.json("sync")
            let count = 1500
            let imported = try await olivia.json("import", "client", try csv(count, in: company.folder))
            #expect(imported["created"] == .integer(Int64(count)))
            for worker in [olivia, marcus] {
                var kills = 0
                // Twelve times, and on as long as the kills come too late.
                for round in 0..<200 where round < 12 || kills < 3 {
                    let sync = try RunningProgram("replica", ["--db", worker.file, "sync"])
                    let delay = UInt64.random(in: 5...(round % 2 == 0 ? 900 : 90), using: &random)
                    _ = try await sync.wait(seconds: Double(delay) / 1000) { !$0.isRunning }
                    if sync.isRunning { kills += 1 }
                    sync.signal(SIGKILL)
                    _ = await sync.finish()
                    #expect(try await worker.integrity().contains("\"ok\""))
                }
                #expect(kills >= 3, "the kills must hit running syncs")
                try await worker.json("sync", codes: [0])
            }
            for worker in [olivia, marcus] {
                #expect(try await worker.json("list", "client", "--limit", "1")["total"] == .integer(Int64(count)))
                #expect(try await worker.json("pending")["total"] == 0)
                #expect(try await worker.json("problems")["total"] == 0)
                #expect(try await worker.isIdentical())
            }
        }
    }

    @Test func serverKilled_duringSyncs_answersTheSameAgain() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            let count = 1500
            _ = try await olivia.json("import", "client", try csv(count, in: company.folder))
            for round in 0..<5 {
                let sync = try RunningProgram("replica", ["--db", olivia.file, "sync"])
                _ = try await sync.wait(seconds: Double.random(in: 0.05...0.8, using: &random)) { !$0.isRunning }
                if round == 3, let postmaster = try await company.postmaster() {
                    // Postgres itself, under a living server.
                    kill(postmaster, SIGKILL)
                    _ = await sync.finish()
                    let isBack = try await poll { try await olivia.run("sync").code == 0 }
                    #expect(isBack, "the server brings its Postgres back")
                    continue
                }
                await company.killServer()
                let finished = await sync.finish()
                #expect([0, 3].contains(finished.code), "\(finished.errors)")
                try await company.start()
            }
            try await olivia.json("sync")
            #expect(try await olivia.json("list", "client", "--limit", "1")["total"] == .integer(Int64(count)))
            #expect(try await olivia.json("pending")["total"] == 0)
            #expect(try await olivia.isIdentical())
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            try await marcus.json("sync")
            #expect(try await marcus.isIdentical())
            #expect(await company.stop() == 0)
        }
    }

    /// Asks until it holds, for at most half a minute.
    private func poll(_ condition: () async throws -> Bool) async throws -> Bool {
        let deadline = Date().addingTimeInterval(30)
        while Date() < deadline {
            if try await condition() { return true }
            try await Task.sleep(nanoseconds: 200_000_000)
        }
        return false
    }
}
