// Everything through pgbouncer in transaction mode, set up as docs/operations.md says.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct PoolerTests {
        /// A server whose requests go through the pooler; only LISTEN and migrations go past it.
        private func server(_ place: Workplace, _ pooler: Pooler, _ options: [String] = []) async throws -> Server {
            let url = place.cluster.url(socketFolder: pooler.socketFolder, port: 6432)
            return try await Server.started(
                ["--database-url", url, "--workers", "3"] + options,
                environment: [
                    "TIDELINE_PREPARED_STATEMENTS": "off", "TIDELINE_LISTEN_DATABASE_URL": place.cluster.url(),
                    "TIDELINE_OWNER_DATABASE_URL": place.cluster.url(),
                ])
        }

        @Test func transactionPooler_carriesPushPullWatchAndWebhooks() async throws {
            let place = try await Workplace()
            // Fewer sessions than there are threads that want one: they change hands all the time.
            let pooler = try Pooler(to: place.cluster, size: 2)
            try await offPool { try pooler.start() }
            let receiver = try WebhookReceiver()
            let servers = [
                try await server(place, pooler, ["--webhook-allow", "127.0.0.1"]),
                try await server(place, pooler, ["--webhook-threads", "0"]),
            ]
            _ = try await Tenant.admin(
                ["consumer", "add", "--tenant", place.tenant.id, "hook", "--url", receiver.url, "--kinds", "client.created"],
                place.database)
            let olivia = try await Person("olivia", in: place.folder, server: servers[0].address, code: place.tenant.ownerCode)
            let marcus = try await Person(
                "marcus", in: place.folder, server: servers[1].address, code: try await place.tenant.code(for: "marcus"))
            for person in [olivia, marcus] { try await person.syncUntilQuiet() }
            let watch = try marcus.start(["sync", "--watch"])
            // A second tenant at the same sessions: what one transaction set must not be there in the next.
            let other = try await Tenant.made(place.database)
            let stranger = try await RawReplica(at: servers[0], code: other.ownerCode)
            let names = (0..<8).map { "Pooled \($0)" }
            async let strange: Void = {
                for counter in Int64(1)...40 {
                    let reply = try await stranger.send(
                        stranger.push(counter, name: "Other \(counter)"), port: servers[Int(counter % 2)].port)
                    #expect(reply.status == 200, "\(reply.text)")
                }
            }()
            for name in names {
                _ = try await olivia.add("client", "name=\(name)")
                try await olivia.json("sync")
            }
            try await strange
            // Somebody who watches another server gets it all.
            #expect(try await until { try await marcus.count(ofClient: names.last ?? "") == 1 })
            watch.signal(SIGTERM)
            _ = await watch.finish()
            // The pooler ends and comes back; the servers have to open new sessions.
            try await offPool {
                pooler.end(SIGKILL)
                try pooler.start()
            }
            #expect(try await until { try await servers[0].get("/readyz").status == 200 })
            _ = try await marcus.add("client", "name=After")
            try await marcus.syncUntilQuiet()
            try await olivia.syncUntilQuiet()
            for person in [olivia, marcus] {
                #expect(try await person.isIdentical())
                let found = try await person.clientNames()
                for name in names + ["After"] { #expect(found[name] == 1, "\(person.name): \(name)") }
                #expect(found.count == names.count + 1, "none of another company")
            }
            #expect(try await place.number("SELECT count(*) FROM client WHERE tenant = '\(other.id)'") == 40)
            let delivered = try await offPool {
                receiver.wait {
                    Set($0.compactMap { String(decoding: $0.body, as: UTF8.self).contains("client.created") ? $0.id : nil }).count >= 9
                }
            }
            #expect(delivered)
            for server in servers { #expect(await server.end(SIGTERM) == 0) }
            receiver.stop()
        }

        /// Migrations go past the pooler, so that a server may come to the point where it needs it before there is one.
        @Test func serverThatStartsBeforeItsPooler_waitsForIt() async throws {
            let place = try await Workplace()
            let pooler = try Pooler(to: place.cluster, size: 2)
            let url = place.cluster.url(socketFolder: pooler.socketFolder, port: 6432)
            let server = Server(
                ["--database-url", url, "--workers", "2", "--webhook-threads", "0"],
                environment: ["TIDELINE_PREPARED_STATEMENTS": "off", "TIDELINE_OWNER_DATABASE_URL": place.cluster.url()])
            async let starting: Void = server.startOnce()
            let isWaiting = try await until { !server.lines("database_unreachable").isEmpty || !server.isRunning && !server.log.isEmpty }
            #expect(isWaiting && !server.lines("database_unreachable").isEmpty, "\(server.log)")
            try await offPool { try pooler.start() }
            try await starting
            #expect(try await server.get("/readyz").status == 200)
            _ = try await RawReplica(at: server, code: place.tenant.ownerCode)
            #expect(await server.end(SIGTERM) == 0)
        }
    }
}
