// The disk under Postgres full or broken: requests are refused for the time being, nothing is stored in part or held against what
// was pushed, replicas keep everything pending, and all goes on by itself when the disk does.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct ServerDiskTests {
        private static let count = 400

        /// A folder with programs that start Postgres' own ones on that disk.
        private func programs(with disk: FailingDisk, in folder: URL) throws -> String {
            let programs = folder.appendingPathComponent("bin")
            try FileManager.default.createDirectory(at: programs, withIntermediateDirectories: true)
            let exports = try disk.environment.map { "export \($0.key)='\($0.value)'\n" }.joined()
            for name in ["initdb", "postgres"] {
                let file = programs.appendingPathComponent(name)
                let real = try Cluster.binaries.get() + "/" + name
                try "#!/bin/sh\n\(exports)exec \(real) \"$@\"\n".write(to: file, atomically: true, encoding: .utf8)
                chmod(file.path, 0o755)
            }
            return programs.path
        }

        private func imported(_ person: Person, _ prefix: String, in folder: URL) async throws {
            let file = folder.appendingPathComponent("\(prefix).csv")
            let lines = (0..<Self.count).map { "\(prefix) \($0),a;b,\(String(repeating: "n", count: 200))\n" }
            try ("name,tags,notes\n" + lines.joined()).write(to: file, atomically: true, encoding: .utf8)
            try await person.json("import", "client", file.path)
        }

        /// Postgres may take seconds to give up over a disk that is good again by then; a supervisor starts it whenever it has ended.
        private func comesBack(_ place: Workplace, _ server: Server) async throws -> Bool {
            try await until {
                if !place.cluster.isRunning { try await offPool { try place.cluster.start() } }
                return try await server.get("/readyz").status == 200
            }
        }

        @Test(arguments: [(ENOSPC, false), (ENOSPC, true), (EIO, false)])
        func tablesThatCannotGrow_refuseForTheTimeBeing(error: Int32, halves: Bool) async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            try await olivia.syncUntilQuiet()
            let before = try await place.number("SELECT count(*) FROM tideline.feed")
            try await imported(olivia, "Full", in: place.folder)
            place.cluster.disk.fail([.write, .grow], on: "/data/base/", with: error, halves: halves)
            // Often enough for a replica to blame a set, were it told that the set is at fault.
            for _ in 0..<3 {
                let sync = try await olivia.run(["sync"])
                #expect(sync.code == 3, "\(sync)")
                #expect(try await olivia.pending() == Int64(Self.count))
                #expect(try await olivia.problems() == 0)
            }
            #expect(place.cluster.disk.hits > 0)
            #expect(try await server.get("/healthz").status == 200)
            place.cluster.disk.heal()
            try await offPool { try place.cluster.start() }
            #expect(try await place.number("SELECT count(*) FROM tideline.feed") == before, "half of a push was stored")
            #expect(try await until { try await server.get("/readyz").status == 200 })
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'Full %'") == Self.count)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// What fails on the log of Postgres: it ends itself rather than go on, and whoever supervises it starts it again.
        enum LogFault: String, CaseIterable, Sendable {
            case full, broken, unsynced

            var calls: FailingDisk.Calls { self == .unsynced ? [.sync] : [.write, .grow] }
            var error: Int32 { self == .full ? ENOSPC : EIO }
        }

        @Test(arguments: LogFault.allCases)
        func logThatCannotBeWritten_endsPostgres_butNothingCommittedIsLost(fault: LogFault) async throws {
            let place = try await Workplace(fault == .unsynced ? ["fsync=on", "wal_sync_method=fdatasync"] : [])
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            try await olivia.syncUntilQuiet()
            _ = try await olivia.add("client", "name=Before")
            try await olivia.syncUntilQuiet()
            place.cluster.disk.fail(fault.calls, on: "/data/pg_wal/", with: fault.error)
            try await imported(olivia, "Log", in: place.folder)
            let sync = try await olivia.run(["sync"])
            #expect(sync.code == 3, "\(sync)")
            #expect(try await olivia.pending() == Int64(Self.count))
            #expect(try await olivia.problems() == 0)
            #expect(place.cluster.disk.hits > 0)
            let down = try await until { try await server.get("/readyz").status == 503 }
            #expect(down)
            place.cluster.disk.heal()
            #expect(try await comesBack(place, server))
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(try await olivia.count(ofClient: "Before") == 1)
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'Log %'") == Self.count)
            #expect(await server.end(SIGTERM) == 0)
        }

        @Test func tablesThatCannotBeRead_refuseForTheTimeBeing() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            try await olivia.syncUntilQuiet()
            try await imported(olivia, "First", in: place.folder)
            try await olivia.syncUntilQuiet()
            // Nothing is in memory any more.
            try await offPool {
                place.cluster.stop(SIGINT)
                try place.cluster.start()
            }
            #expect(try await until { try await server.get("/readyz").status == 200 })
            _ = try await olivia.add("client", "name=Second")
            place.cluster.disk.fail([.read], on: "/data/base/", with: EIO)
            for _ in 0..<3 {
                #expect(try await olivia.run(["sync"]).code == 3)
                #expect(try await olivia.pending() == 1)
                #expect(try await olivia.problems() == 0)
            }
            #expect(place.cluster.disk.hits > 0)
            place.cluster.disk.heal()
            #expect(try await until { try await server.get("/readyz").status == 200 })
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(try await olivia.count(ofClient: "Second") == 1)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// The server's own cluster: nobody but the server starts it again.
        @Test func privateCluster_comesBackByItself_whenThereIsRoom() async throws {
            let folder = try Programs.temporaryFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let disk = try FailingDisk(in: folder)
            let data = ["--data-dir", folder.appendingPathComponent("server").path]
            // The server gives its Postgres an environment of its own choice, so the programs bring the failing disk along.
            let server = try await Server.started(
                data + ["--workers", "2"], environment: ["TIDELINE_POSTGRES_BIN": try programs(with: disk, in: folder)])
            let tenant = try await Tenant.made(data)
            let olivia = try await Person("olivia", in: folder, server: server.address, code: tenant.ownerCode)
            try await olivia.syncUntilQuiet()
            try await imported(olivia, "Own", in: folder)
            disk.fail([.write, .grow], on: "/server/postgres/pg_wal/", with: ENOSPC)
            #expect(try await olivia.run(["sync"]).code == 3)
            #expect(disk.hits > 0)
            #expect(try await until { try await server.get("/readyz").status == 503 })
            #expect(try await olivia.pending() == Int64(Self.count))
            disk.heal()
            #expect(try await until { try await server.get("/readyz").status == 200 })
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(await server.end(SIGTERM) == 0)
        }
    }
}
