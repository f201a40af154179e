// Postgres stopped, killed, or replaced by another host: servers stay, say so, and come back by themselves.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct PostgresRestartTests {
        @Test(arguments: [SIGINT, SIGQUIT, SIGKILL])
        func postgresThatEnds_isToldByTheServers_andUsedAgain(signal: Int32) async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let replica = try await RawReplica(at: server, code: place.tenant.ownerCode)
            let olivia = try await Person(
                "olivia", in: place.folder, server: server.address, code: try await place.tenant.code(for: "vera"))
            try await olivia.syncUntilQuiet()
            #expect(try await replica.send(replica.push(1, name: "One"), port: server.port).status == 200)
            let cursor = try await replica.cursor(port: server.port)
            async let waiting = replica.pull(cursor: cursor, waitMilliseconds: 50_000, port: server.port)

            try await offPool { place.cluster.stop(signal) }
            _ = try await olivia.add("client", "name=Meanwhile")
            for _ in 0..<3 {
                let pushed = try await replica.send(replica.push(2, name: "Two"), port: server.port)
                #expect(pushed.status == 503 && pushed.headers["retry-after"] != nil && pushed.errorCode == "unavailable", "\(pushed)")
                let ready = try await server.get("/readyz")
                #expect(ready.status == 503 && ready.headers["retry-after"] != nil)
                #expect(try await server.get("/healthz").status == 200)
                #expect(try await server.get("/metrics").text.contains("tideline_database_up 0"))
                let sync = try await olivia.run(["sync"])
                #expect(sync.code == 3, "\(sync)")
            }
            #expect(try await olivia.pending() == 1)

            try await offPool { try place.cluster.start() }
            #expect(try await until { try await server.get("/readyz").status == 200 })
            #expect(try await until { try await replica.send(replica.push(2, name: "Two"), port: server.port).status == 200 })
            // Who had waited all the time hears of it too, or is told to ask again.
            let heard = try await waiting
            #expect([200, 503].contains(heard.status), "\(heard.text)")
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(try await place.number("SELECT count(*) FROM client WHERE name IN ('One', 'Two', 'Meanwhile')") == 3)
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// A backend that dies takes all others with it: Postgres starts anew by itself.
        @Test func backendThatIsKilled_costsNoRequestMoreThanATryAgain() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let replica = try await RawReplica(at: server, code: place.tenant.ownerCode)
            for counter in Int64(1)...4 {
                for backend in try await offPool({ try place.cluster.backends() }).prefix(1) { kill(backend, SIGKILL) }
                let body = replica.push(counter, name: "B \(counter)")
                var statuses: Set<Int> = []
                let isTaken = try await until {
                    let status = try await replica.send(body, port: server.port).status
                    statuses.insert(status)
                    return status == 200
                }
                #expect(isTaken && statuses.isSubset(of: [200, 503]), "\(statuses)")
            }
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'B %'") == 4)
            #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE kind = 'client.created'") == 4)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// Two hosts in the URL, as with a standby that takes over: the first is gone when the server starts, and in the end it is the other way round.
        @Test func severalHosts_theOneThatAnswersIsUsed() async throws {
            let place = try await Workplace()
            let gates = try (0..<2).map { number in
                let gate = place.folder.appendingPathComponent("gate\(number)")
                try FileManager.default.createDirectory(at: gate, withIntermediateDirectories: true)
                return gate.path
            }
            func open(_ gate: String) throws -> FaultProxy {
                unlink(gate + "/.s.PGSQL.5432")
                return try FaultProxy(listening: .unix(gate + "/.s.PGSQL.5432"), to: [.unix(place.cluster.socket)], seed: 1, percent: 0)
            }
            let url =
                "postgresql://\(Cluster.superuser)@/tideline?host=\(gates[0]),\(gates[1])&port=5432,5432&target_session_attrs=read-write"
            let second = try open(gates[1])
            let server = try await Server.started(["--database-url", url, "--workers", "2", "--webhook-threads", "0"])
            let replica = try await RawReplica(at: server, code: place.tenant.ownerCode)
            #expect(try await replica.send(replica.push(1, name: "Second"), port: server.port).status == 200)
            let first = try open(gates[0])
            second.close()
            unlink(gates[1] + "/.s.PGSQL.5432")
            #expect(try await until { try await replica.send(replica.push(2, name: "First"), port: server.port).status == 200 })
            #expect(first.connectionsAccepted > 0)
            #expect(try await place.number("SELECT count(*) FROM client WHERE name IN ('First', 'Second')") == 2)
            #expect(await server.end(SIGTERM) == 0)
            first.close()
        }
    }
}
