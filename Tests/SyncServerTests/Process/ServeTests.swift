// Real servers over real sockets.

import Foundation
import SyncProtocol
import Testing

@testable import SyncServer

@Suite struct ServeTests {
    /// One tenant, made by the command.
    private func tenant(_ url: String) throws -> (tenant: String, member: String, code: String) {
        let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--database-url", url])
        return (try text(made, "tenant"), try text(made, "member"), try text(made, "code"))
    }

    private func text(_ json: JSONValue, _ name: String) throws -> String { try required(json[name]?.stringValue) }

    @Test func servers_wakeEachOthersWaiters_onOneDatabase() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let tenant = try tenant(url)
            let first = try ServerProcess(["--database-url", url])
            let second = try ServerProcess(["--database-url", url])
            let writer = try first.enroll(tenant.code)
            let code = try ServerProcess.json([
                "code", "create", "--tenant", tenant.tenant, "--member", tenant.member, "--database-url", url,
            ])
            let reader = try second.enroll(try text(code, "code"))
            let page = try PullPage(parsing: second.get(reader.pull(cursor: nil), token: reader.token).body)

            let waiting = try second.client()
            try waiting.get(reader.pull(cursor: page.next, waitMilliseconds: 50_000), headers: "Authorization: Bearer \(reader.token)\r\n")
            // By the time its server has answered another question it is parked, or about to be: then the notification counts too.
            #expect(try second.get("/healthz").status == 200)
            let client = Identifier.version7(milliseconds: 1, random: (1, 2))
            let pushed = try first.post("/v1/sync/push", writer.pushBody(counter: 1, client: client, name: "News"), token: writer.token)
            #expect(pushed.status == 200, "\(pushed.text)")
            let began = DispatchTime.now()
            let news = try PullPage(parsing: waiting.response().body)
            #expect(try news.row("client", client)?["name"] == "News")
            // Notified, not found by the look at all heads five seconds later.
            #expect(DispatchTime.now().uptimeNanoseconds - began.uptimeNanoseconds < 3_000_000_000)
            // Nothing new: answered at the end of the time, with a page.
            let silence = try second.get(reader.pull(cursor: news.next, waitMilliseconds: 100), token: reader.token)
            #expect(try PullPage(parsing: silence.body).rowCount == 0)
        }
    }

    @Test func server_drains_whenItIsTerminated() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let tenant = try tenant(url)
            let server = try ServerProcess(["--database-url", url])
            let replica = try server.enroll(tenant.code)
            let page = try PullPage(parsing: server.get(replica.pull(cursor: nil), token: replica.token).body)
            let waiting = try server.client()
            try waiting.get(
                replica.pull(cursor: page.next, waitMilliseconds: 50_000), headers: "Authorization: Bearer \(replica.token)\r\n")
            #expect(try server.get("/readyz").status == 200)
            server.signal(SIGTERM)
            // Who waits gets a page that says where to continue.
            let answer = try waiting.response()
            #expect(answer.status == 200)
            #expect(try PullPage(parsing: answer.body).checkpoint != nil)
            #expect(server.waitForExit() == 0)
            #expect(throws: LoopbackFailure.self) { try LoopbackClient(port: server.port) }
            let messages = try server.lines.compactMap { $0["message"]?.stringValue }
            #expect(messages.suffix(1) == ["stopped"])
            for line in try server.lines { #expect(!line.canonicalText.contains(replica.token.suffix(43)), "a token in the log") }
        }
    }

    @Test func log_hasNoSecretsAndNoFieldValues() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let tenant = try tenant(url)
            let token = try text(
                try ServerProcess.json(["token", "create", "--tenant", tenant.tenant, "--member", tenant.member, "--database-url", url]),
                "token")
            let server = try ServerProcess(["--database-url", url])
            let replica = try server.enroll(tenant.code)
            let client = Identifier.version7(milliseconds: 1, random: (1, 2))
            let value = "Zanzibar Quay"
            // Taken, refused, broken, and in the address.
            for (counter, name) in [(Int64(1), value), (2, value + String(repeating: "z", count: 300))] {
                let body = replica.pushBody(counter: counter, client: client, name: name)
                #expect(try server.post("/v1/sync/push", body, token: replica.token).status == 200)
                #expect(try server.post("/v1/sync/push", Array(body.dropLast(3)), token: replica.token).status == 400)
            }
            #expect(try server.post("/v1/client", Array("{\"name\":\"\(value)\",\"email\":\"\(value)\"}".utf8), token: token).status >= 400)
            #expect(try server.get("/v1/client?name=Zanzibar%20Quay&q=Zanzibar", token: token).status < 500)
            _ = try server.get("/v1/client?access_token=\(token)", token: token)
            server.signal(SIGTERM)
            #expect(server.waitForExit() == 0)
            let log = try server.lines.map(\.canonicalText).joined(separator: "\n")
            #expect(log.contains("/v1/sync/push"), "requests are logged")
            for secret in [replica.token, String(replica.token.suffix(43)), token, String(token.suffix(43)), tenant.code, "Zanzibar"] {
                #expect(!log.contains(secret), "\(secret.prefix(8))… in the log")
            }
        }
    }

    @Test func routes_answerProblems_withRequestIDs() async throws {
        try await onOwnThread {
            let server = try ServerProcess(["--database-url", try ServerProcess.migratedDatabase()])
            let cases: [(method: String, target: String, status: Int, code: String)] = [
                ("GET", "/nothing", 404, "not_found"), ("DELETE", "/v1/sync/pull", 405, "method_not_allowed"),
                ("GET", "/v1/sync/pull?protocol=1", 401, "unauthorized"), ("GET", "/v1/sync/digest", 401, "unauthorized"),
                ("POST", "/v1/sync/push", 401, "unauthorized"), ("POST", "/v1/enroll", 400, "bad_request"),
            ]
            for one in cases {
                let response = try server.get(one.target, method: one.method)
                let error = try required(ErrorReply(json: try JSONValue(parsing: response.body)))
                #expect(response.status == one.status && error.code == one.code, "\(one)")
                #expect(!error.requestID.isEmpty && response.header("x-request-id") == error.requestID)
                #expect(response.header("content-type") == "application/problem+json")
            }
            #expect(try server.get("/v1/sync/pull", method: "DELETE").header("allow") == "GET, HEAD")
            let stranger = AccessToken(tenant: .zero, secret: [UInt8](repeating: 1, count: 32)).text
            // Who asks comes first, then what is asked.
            for query in ["protocol=1", "protocol=2", "protocol=1&limit=0"] {
                #expect(try server.get("/v1/sync/pull?\(query)", token: stranger).status == 401)
            }
            #expect(try JSONValue(parsing: server.get("/v1/schema").body) == Schema.tideline.json)
            let head = try server.get("/healthz", method: "HEAD")
            #expect(head.status == 200 && head.body.isEmpty)
            // Guessing is slowed down, by peer.
            let guess = EnrollmentRequest(code: "0000-0000-0000-0000", label: "x", platform: "", schemaVersion: 1).json.canonicalBytes()
            let statuses = try (0..<22).map { _ in try server.post("/v1/enroll", guess).status }
            #expect(statuses.first == 404)
            #expect(statuses.contains(429))
            #expect(try server.post("/v1/enroll", guess).header("retry-after") == "60")
        }
    }

    @Test func server_reconnects_whenItsSessionsAreEnded() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let tenant = try tenant(url)
            let server = try ServerProcess(["--database-url", url, "--workers", "1"])
            let replica = try server.enroll(tenant.code)
            let administrator = try PostgresConnection(PostgresConfiguration(url: url))
            try administrator.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            // The one that meets the loss is told to come again; the next one finds a new session.
            let met = try server.get(replica.pull(cursor: nil), token: replica.token)
            #expect(met.status == 200 || met.status == 503)
            if met.status == 503 { #expect(met.header("retry-after") != nil) }
            #expect(try server.get(replica.pull(cursor: nil), token: replica.token).status == 200)
        }
    }

    @Test func privateCluster_servesCommands_whileTheServerRunsAndAfter() async throws {
        try await onOwnThread {
            let directory = "/tmp/tideline-test-data-\(getpid())-\(UInt32.random(in: 0 ... .max))"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let server = try ServerProcess(["--data-dir", directory])
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--data-dir", directory])
            let replica = try server.enroll(try text(made, "code"))
            let client = Identifier.version7(milliseconds: 1, random: (1, 2))
            #expect(
                try server.post("/v1/sync/push", replica.pushBody(counter: 1, client: client, name: "x"), token: replica.token).status
                    == 200)
            let second = try ServerProcess.run(["serve", "--data-dir", directory, "--listen", "127.0.0.1:0"])
            #expect(second.status == 5)
            server.signal(SIGINT)
            #expect(server.waitForExit() == 0)
            let tenant = try text(made, "tenant")
            let list = try ServerProcess.json(["replica", "list", "--tenant", tenant, "--data-dir", directory])
            #expect(list["total"] == 1)
            #expect(list["data"]?[0]?["acknowledged"] == 1)
        }
    }
}
