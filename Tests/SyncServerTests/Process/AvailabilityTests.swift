// Servers whose database goes away, and servers that are told to stop more than once.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AvailabilityTests {
    private func text(_ json: JSONValue, _ name: String) throws -> String { try required(json[name]?.stringValue) }

    /// Asks until it holds; no test asserts how long that took.
    private func until(_ condition: () throws -> Bool) throws -> Bool {
        let deadline = Date(timeIntervalSinceNow: 60)
        while Date() < deadline {
            if try condition() { return true }
            usleep(20_000)
        }
        return false
    }

    private func temporaryDirectory() -> String { "/tmp/tideline-test-data-\(getpid())-\(UInt32.random(in: 0 ... .max))" }

    @Test(arguments: [SIGTERM, SIGINT]) func secondSignal_endsADrainAtOnce(second: Int32) async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--database-url", url])
            let server = try ServerProcess(["--database-url", url])
            let replica = try server.enroll(try text(made, "code"))
            // A push that cannot finish: its tenant's head is held by somebody else.
            let holder = try PostgresConnection(PostgresConfiguration(url: url))
            defer { holder.close() }
            try holder.script("BEGIN; LOCK TABLE tideline.tenant_head IN ACCESS EXCLUSIVE MODE")
            let push = try server.client()
            let body = replica.pushBody(counter: 1, client: Identifier.version7(milliseconds: 1, random: (1, 2)), name: "x")
            try push.send(
                "POST /v1/sync/push HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(replica.token)\r\nContent-Length: \(body.count)\r\n\r\n"
            )
            try push.send(body)
            #expect(
                try until {
                    try holder.run(
                        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tideline.tenant_head'::regclass"
                    ).integer(0, 0) ?? 0 > 0
                }, "the push waits")
            server.signal(SIGTERM)
            #expect(try until { try server.lines.contains { $0["message"] == "draining" } })
            server.signal(second)
            #expect(server.waitForExit() == 128 + second)
            #expect(try !server.lines.contains { $0["message"] == "stopped" }, "it did not wait for the push")
            try holder.script("ROLLBACK")
            #expect(try holder.run("SELECT count(*) FROM client").integer(0, 0) == 0)
        }
    }

    @Test func readiness_followsTheDatabase_downAndUpAgain() async throws {
        try await onOwnThread {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let settings = EmbeddedPostgresConfiguration(dataDirectory: directory, fsyncOff: true)
            let first = EmbeddedPostgres(settings)
            try first.start()
            defer { first.stop() }
            try first.createDatabaseIfMissing("tideline")
            let url = first.url(database: "tideline")
            let server = try ServerProcess(["--database-url", url, "--workers", "1"])
            #expect(try server.get("/readyz").status == 200)
            first.stop()
            for _ in 0..<3 {
                let down = try server.get("/readyz")
                #expect(down.status == 503 && down.header("retry-after") != nil)
                #expect(try required(ErrorReply(json: JSONValue(parsing: down.body))).code == "unavailable")
            }
            #expect(try server.get("/healthz").status == 200, "the process itself is well")
            let second = EmbeddedPostgres(settings)
            try second.start()
            defer { second.stop() }
            #expect(second.url(database: "tideline") == url)
            #expect(try until { try server.get("/readyz").status == 200 })
            server.signal(SIGTERM)
            #expect(server.waitForExit() == 0)
        }
    }

    @Test func privateCluster_whosePostmasterIsKilled_isServedAgain_withItsData() async throws {
        try await onOwnThread {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let server = try ServerProcess(["--data-dir", directory, "--workers", "1"], isDurable: true)
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--data-dir", directory])
            let replica = try server.enroll(try text(made, "code"))
            let client = Identifier.version7(milliseconds: 1, random: (1, 2))
            let pushed = try server.post("/v1/sync/push", replica.pushBody(counter: 1, client: client, name: "Kept"), token: replica.token)
            #expect(pushed.status == 200)
            let killed = try required(PostmasterFile(dataDirectory: directory + "/postgres")).processIdentifier
            #expect(kill(killed, SIGKILL) == 0)
            var statuses: Set<Int> = []
            let isBack = try until {
                let status = try server.get("/readyz").status
                statuses.insert(status)
                let now = PostmasterFile(dataDirectory: directory + "/postgres")?.processIdentifier
                return status == 200 && now != nil && now != killed
            }
            #expect(isBack && statuses.isSubset(of: [200, 503]), "\(statuses)")
            let pulled = try server.get(replica.pull(cursor: nil), token: replica.token)
            try #require(pulled.status == 200, "\(pulled.text)")
            #expect(try PullPage(parsing: pulled.body).row("client", client)?["name"] == "Kept")
            let messages = try server.lines.compactMap { $0["message"]?.stringValue }
            #expect(messages.contains("postgres_died") && messages.contains("postgres_restarted"))
            server.signal(SIGTERM)
            #expect(server.waitForExit() == 0)
        }
    }
}
