// Consumers as owners and operators handle them: over HTTP, by command, with everything that is refused.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

// One after another: together they would keep a small machine from everything else.
@Suite(.serialized) struct ConsumerInterfaceTests {
    /// A server, an owner's and a manager's token, and a replica that makes news.
    private final class Place: @unchecked Sendable {
        let server: ServerProcess
        let url: String
        let tenant: String
        let owner: String
        let manager: String
        let replica: EnrollmentReply
        private var counter: Int64 = 0

        init(_ options: [String] = [], environment: [String: String] = [:]) throws {
            url = try ServerProcess.migratedDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
            tenant = try required(made["tenant"]?.stringValue)
            let added = try ServerProcess.json(
                ["member", "add", "--tenant", tenant, "--name", "Max", "--email", "max@acme.example", "--role", "manager"] + database)
            owner = try Self.token(of: made["member"], tenant, database)
            server = try ServerProcess(database + options, environment: environment)
            replica = try server.enroll(try required(made["code"]?.stringValue))
            _ = try server.enroll(try required(added["code"]?.stringValue))
            manager = try Self.token(of: added["member"], tenant, database)
        }

        private static func token(of member: JSONValue?, _ tenant: String, _ database: [String]) throws -> String {
            let made = try ServerProcess.json(
                ["token", "create", "--tenant", tenant, "--member", try required(member?.stringValue)] + database)
            return try required(made["token"]?.stringValue)
        }

        func push(_ count: Int) throws {
            for _ in 0..<count {
                counter += 1
                let client = Identifier.version7(milliseconds: 1_700_000_000_000 + counter, random: (1, UInt64(counter)))
                let response = try server.post(
                    "/v1/sync/push", replica.pushBody(counter: counter, client: client, name: "Client \(counter)"), token: replica.token)
                guard response.status == 200 else { throw ServerProcess.Failure(description: response.text) }
            }
        }

        func ask(_ method: String, _ path: String, _ body: JSONValue? = nil, token: String? = nil) throws -> (status: Int, json: JSONValue)
        {
            let response: WireResponse
            if method == "POST" {
                response = try server.post(path, body?.canonicalBytes() ?? [], token: token ?? owner)
            } else {
                response = try server.get(path, token: token ?? owner, method: method)
            }
            return (response.status, try JSONValue(parsing: response.body))
        }

        func command(_ words: String...) throws -> JSONValue {
            try ServerProcess.json(words + ["--tenant", tenant, "--database-url", url])
        }
    }

    @Test func pulledPages_endBeforeTooManyBytes_andTooLargeEventsLeaveTheirChangesOut() async throws {
        try await onOwnThread {
            let place = try Place()
            _ = try place.ask("POST", "/v1/consumers", ["name": "warehouse", "kind": "pull", "kinds": ["client.*"]])
            try place.push(50)
            // Just below the cap of one event, but for some that are above it: a little, and so far that they are not even read.
            let connection = try PostgresConnection(PostgresConfiguration(url: place.url))
            try connection.run(
                PostgresStatement(
                    """
                    UPDATE tideline.feed SET changes = jsonb_build_object('notes', jsonb_build_object('new', \
                    repeat('x', CASE position % 10 WHEN 0 THEN 300000 WHEN 5 THEN 500000 ELSE 250000 END))) WHERE kind = 'client.created'
                    """))
            var seen: [JSONValue] = []
            var pages = 0
            var hasMore = true
            while hasMore {
                let reply = try place.ask("GET", "/v1/consumers/warehouse/events?limit=1000")
                #expect(reply.status == 200 && reply.json.canonicalBytes().count < PulledEvents.bytesMax + 1_000_000)
                pages += 1
                seen += reply.json["data"]?.arrayValue ?? []
                hasMore = reply.json["has_more"] == true
                let acknowledged = try place.ask(
                    "POST", "/v1/consumers/warehouse/ack",
                    ["position": reply.json["position"] ?? .null, "epoch": 0, "fingerprint": reply.json["fingerprint"] ?? .null])
                #expect(acknowledged.status == 200, "\(acknowledged.json)")
                if acknowledged.status != 200 { break }
            }
            #expect(pages > 1 && seen.count == 50 && Set(seen.compactMap { $0["id"]?.stringValue }).count == 50)
            let positions = seen.compactMap { $0["data"]?["position"]?.integerValue }
            #expect(positions == positions.sorted())
            for event in seen {
                let isLarge = (event["data"]?["position"]?.integerValue ?? 0) % 5 == 0
                #expect((event["data"]?["truncated"] == true) == isLarge && (event["data"]?["changes"] == nil) == isLarge)
            }
        }
    }

    @Test func pullConsumer_readsAcknowledgesAndContinues() async throws {
        try await onOwnThread {
            let place = try Place()
            let added = try place.ask("POST", "/v1/consumers", ["name": "warehouse", "kind": "pull", "kinds": ["client.*"]])
            #expect(added.status == 201 && added.json["secret"] == nil && added.json["kind"] == "pull")
            try place.push(5)
            let first = try place.ask("GET", "/v1/consumers/warehouse/events?limit=2").json
            #expect(first["data"]?.arrayValue?.count == 2 && first["has_more"] == true)
            let again = try place.ask("GET", "/v1/consumers/warehouse/events?limit=2").json
            #expect(again["data"] == first["data"], "what is not acknowledged comes again")
            let position = try required(first["position"]?.integerValue)
            // Of a history that a restore has lost, before anybody has noticed it: same epoch, same position, another entry.
            let lost = try place.ask(
                "POST", "/v1/consumers/warehouse/ack", ["position": .integer(position), "epoch": 0, "fingerprint": "0123456789abcdef"])
            #expect(lost.json["error"]?["code"] == "new_epoch")
            #expect(try place.ask("GET", "/v1/consumers/warehouse/events?limit=2").json["data"] == first["data"])
            let acknowledged = try place.ask(
                "POST", "/v1/consumers/warehouse/ack",
                ["position": .integer(position), "epoch": 0, "fingerprint": first["fingerprint"] ?? .null])
            #expect(acknowledged.status == 200 && acknowledged.json["position"]?.integerValue == position)
            let back = try place.ask("POST", "/v1/consumers/warehouse/ack", ["position": 1])
            #expect(back.json["position"]?.integerValue == position, "a cursor never goes back by itself")
            let rest = try place.ask("GET", "/v1/consumers/warehouse/events").json
            #expect(rest["data"]?.arrayValue?.count == 3 && rest["has_more"] == false)
            let all = (first["data"]?.arrayValue ?? []) + (rest["data"]?.arrayValue ?? [])
            #expect(Set(all.compactMap { $0["id"]?.stringValue }).count == 5)
            _ = try place.ask("POST", "/v1/consumers/warehouse/ack", ["position": rest["position"] ?? .null])
            // Waits for news, and is woken by them.
            let client = try place.server.client()
            try client.get("/v1/consumers/warehouse/events?wait=50000", headers: "Authorization: Bearer \(place.owner)\r\n")
            #expect(try place.server.get("/healthz").status == 200)
            try place.push(1)
            let news = try JSONValue(parsing: client.response().body)
            #expect(news["data"]?.arrayValue?.count == 1)
            #expect(
                news["data"]?[0]?["data"]?["request_id"]?.stringValue?.isEmpty == false, "the push that caused it can be found in the log")
            let shown = try place.ask("GET", "/v1/consumers/warehouse").json
            #expect(shown["lag"] == 1)
        }
    }

    @Test func badInput_namesTheField() async throws {
        try await onOwnThread {
            let place = try Place()
            let cases: [(JSONValue, String)] = [
                (["kind": "pull"], "name"), (["name": "Hook", "kind": "pull"], "name"), (["name": "a", "kind": "push"], "kind"),
                (["name": "a"], "url"), (["name": "a", "kind": "pull", "url": "https://a.example"], "url"),
                (["name": "a", "url": "https://u:p@a.example"], "url"), (["name": "a", "url": "gopher://a.example"], "url"),
                (["name": "a", "kind": "pull", "kinds": ["nothing.*"]], "kinds"),
                (["name": "a", "kind": "pull", "kinds": "client.*"], "kinds"),
                (["name": "a", "kind": "pull", "max_attempts": 0], "max_attempts"),
                (["name": "a", "kind": "pull", "concurrency": 2], "concurrency"),
                (["name": "a", "kind": "pull", "rate_per_minute": -1], "rate_per_minute"),
                (["name": "a", "kind": "pull", "from": "later"], "from"),
                (["name": "a", "kind": "pull", "ordered_by": "time"], "ordered_by"),
                (["name": "a", "kind": "pull", "colour": "red"], "colour"),
            ]
            for (body, field) in cases {
                let refused = try place.ask("POST", "/v1/consumers", body)
                #expect(refused.status == 400 && refused.json["error"]?["field"]?.stringValue == field, "\(body): \(refused.json)")
            }
            let beyond = try place.ask("POST", "/v1/consumers", ["name": "a", "kind": "pull", "from": 999_999])
            #expect(beyond.status == 409 && beyond.json["error"]?["field"] == "from", "a position may come to be")
            #expect(try place.ask("GET", "/v1/consumers").json["total"] == 0)
            #expect(try place.ask("GET", "/v1/consumers/none").status == 404)
            #expect(try place.ask("GET", "/v1/consumers", token: place.manager).status == 403)
            #expect(try place.ask("GET", "/v1/consumers", token: "tdl_nothing").status == 401)
            #expect(try place.ask("GET", "/v1/consumers/a/nothing").status == 404)
            #expect(try place.server.get("/v1/consumers/a/pause", token: place.owner).header("allow") == "POST")
            _ = try place.ask("POST", "/v1/consumers", ["name": "a", "kind": "pull"])
            #expect(try place.ask("POST", "/v1/consumers", ["name": "a", "kind": "pull"]).json["error"]?["field"] == "name")
            #expect(try place.ask("POST", "/v1/consumers/a/ack", ["position": 999_999]).json["error"]?["field"] == "position")
            #expect(try place.ask("POST", "/v1/consumers/a/ack", [:]).json["error"]?["field"] == "position")
            #expect(try place.ask("POST", "/v1/consumers/a/ack", ["position": 1, "epoch": 7]).json["error"]?["code"] == "new_epoch")
            #expect(try place.ask("GET", "/v1/consumers/a/events?limit=0").json["error"]?["field"] == "limit")
            #expect(try place.ask("GET", "/v1/consumers/a/events?colour=red").json["error"]?["field"] == "colour")
            #expect(try place.ask("POST", "/v1/consumers/a/ack", ["position": 0, "colour": 1]).json["error"]?["field"] == "colour")
            #expect(try place.ask("POST", "/v1/consumers/a/ack", ["position": 0, "epoch": "x"]).json["error"]?["field"] == "epoch")
            #expect(try place.ask("POST", "/v1/consumers/a/pause", ["reason": 7]).json["error"]?["field"] == "reason")
            #expect(try place.ask("POST", "/v1/consumers/a/replay", [:]).json["error"]?["field"] == "from")
            #expect(try place.ask("POST", "/v1/consumers/a/rotate-secret").status == 409)
        }
    }

    @Test func webhook_isHandledOverHTTP_fromFirstToLast() async throws {
        try await onOwnThread {
            let place = try Place(
                ["--webhook-allow", "127.0.0.0/8", "--webhook-threads", "3"], environment: ["TIDELINE_WEBHOOK_RETRY_SECONDS": "0.01"])
            let isBad = Locked(true)
            let receiver = try WebhookReceiver { _, _ in isBad.with { $0 } ? .answer(400) : .answer(200) }
            let added = try place.ask(
                "POST", "/v1/consumers", ["name": "hook", "url": .string(receiver.url), "kinds": ["client.created"], "max_attempts": 2])
            #expect(added.json["secret"]?.stringValue?.hasPrefix("whsec_") == true)
            #expect(try place.ask("GET", "/v1/consumers/hook").json["secret"] == nil, "shown once")
            try place.push(2)
            #expect(try poll { try place.ask("GET", "/v1/consumers/hook").json["dead"] == 2 })
            let dead = try place.ask("GET", "/v1/consumers/hook/dead").json
            #expect(dead["total"] == 2 && dead["data"]?[0]?["status"] == 400)
            let position = try required(dead["data"]?[0]?["position"]?.integerValue)
            let whole = try place.ask("GET", "/v1/consumers/hook/dead/\(position)").json
            #expect(whole["event"]?["type"] == "client.created")
            #expect(try place.ask("GET", "/v1/consumers/hook/dead/999999").status == 404)
            let log = try place.ask("GET", "/v1/consumers/hook/attempts?limit=3").json
            #expect(log["data"]?.arrayValue?.count == 3 && log["data"]?[0]?["result"] == "refused")
            isBad.with { $0 = false }
            #expect(try place.ask("POST", "/v1/consumers/hook/dead/\(position)/replay").json["replayed"] == 1)
            #expect(receiver.wait { $0.count == 1 })
            #expect(try place.ask("POST", "/v1/consumers/hook/dead/discard").json["discarded"] == 1)
            #expect(try place.ask("POST", "/v1/consumers/hook/pause", ["reason": "moving"]).json["reason"] == "moving")
            try place.push(1)
            #expect(try place.ask("GET", "/v1/consumers/hook").json["status"] == "paused")
            #expect(try place.ask("POST", "/v1/consumers/hook/resume").json["status"] == "active")
            #expect(receiver.wait { $0.count == 2 })
            #expect(try place.ask("POST", "/v1/consumers/hook/replay", ["from": "beginning"]).status == 200)
            #expect(receiver.wait { $0.count == 5 })
            #expect(try place.ask("POST", "/v1/consumers/hook/rotate-secret").json["previous_secret_until"] != nil)
            let pulled = try place.server.get(place.replica.pull(cursor: nil), token: place.replica.token)
            #expect(pulled.status == 200)
            let page = try place.server.get("/metrics")
            #expect(page.status == 200 && page.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
            for line in [
                "tideline_deliveries_total{result=\"refused\"} 4", "tideline_dead_letters_total 2", "tideline_database_up 1",
                "tideline_push_sets_total{outcome=\"accepted\"} 3", "tideline_pull_pages_total 1", "tideline_http_waiters 0",
                "tideline_workers 4\n", "tideline_outbox_threads 3\n", "tideline_outbox_threads_busy ", "tideline_outbox_connections 4\n",
                "tideline_outbox_connections_busy ", "tideline_consumer_lag_positions{tenant=\"\(place.tenant)\",consumer=\"hook\"}",
                "tideline_consumer_active{tenant=\"\(place.tenant)\",consumer=\"hook\"} 1",
                "tideline_http_requests_total{route=\"/v1/sync/push\",method=\"POST\",status=\"200\"} 3",
            ] { #expect(page.text.contains(line), "\(line) in \(page.text)") }
            #expect(try place.ask("DELETE", "/v1/consumers/hook").json["removed"] == "hook")
            #expect(try place.ask("GET", "/v1/consumers/hook").status == 404)
        }
    }

    @Test func commands_doTheSame() async throws {
        try await onOwnThread {
            let place = try Place(["--webhook-threads", "0"])
            let added = try place.command(
                "consumer", "add", "hook", "--url", "https://hooks.example/x", "--kinds", "client.*,deal.won", "--ordered-by", "record",
                "--concurrency", "4", "--rate-per-minute", "600", "--from", "beginning")
            #expect(added["secret"]?.stringValue?.hasPrefix("whsec_") == true && added["concurrency"] == 4 && added["position"] == 0)
            #expect(try place.command("consumer", "add", "puller")["kind"] == "pull")
            #expect(try place.command("consumer", "list")["total"] == 2)
            #expect(try place.command("consumer", "pause", "hook", "--reason", "why")["reason"] == "why")
            #expect(try place.command("consumer", "resume", "hook")["status"] == "active")
            #expect(try place.command("consumer", "rotate-secret", "hook")["secret"] != added["secret"])
            #expect(try place.command("consumer", "replay", "puller", "--from", "0")["position"] == 0)
            #expect(try place.command("consumer", "dead", "list", "hook")["total"] == 0)
            #expect(try place.command("consumer", "dead", "discard", "hook", "--all")["discarded"] == 0)
            #expect(try place.command("consumer", "show", "hook")["attempts"] == [])
            #expect(try place.command("consumer", "remove", "puller")["removed"] == "puller")
            let wrong: [([String], Int32)] = [
                (["consumer"], 2), (["consumer", "add", "--url", "https://a.example"], 2), (["consumer", "show", "none"], 1),
                (["consumer", "add", "x", "--kinds", "nothing.*"], 1), (["consumer", "dead", "replay", "hook"], 2),
                (["consumer", "dead", "show", "hook", "--position", "7"], 1), (["consumer", "replay", "hook"], 2),
            ]
            for (words, code) in wrong {
                let result = try ServerProcess.run(words + ["--tenant", place.tenant, "--database-url", place.url])
                #expect(result.status == code, "\(words): \(result.output)\(result.errors)")
            }
            let usage = try ServerProcess.run(["serve", "--webhook-allow", "everything"])
            #expect(usage.status == 2 && usage.errors.contains("--webhook-allow"))
        }
    }

    @Test func deadLetters_areListedShownReplayedAndDiscarded_byCommand() async throws {
        try await onOwnThread {
            let place = try Place(["--webhook-allow", "127.0.0.0/8"], environment: ["TIDELINE_WEBHOOK_RETRY_SECONDS": "0.01"])
            let isBad = Locked(true)
            let receiver = try WebhookReceiver { _, _ in isBad.with { $0 } ? .answer(418) : .answer(200) }
            _ = try place.command(
                "consumer", "add", "hook", "--url", receiver.url, "--kinds", "client.created", "--max-attempts", "2")
            func plain(_ words: String...) throws -> (status: Int32, output: String, errors: String) {
                try ServerProcess.run(words + ["--tenant", place.tenant, "--database-url", place.url])
            }
            func dead() throws -> [JSONValue] {
                let list = try place.command("consumer", "dead", "list", "hook")
                #expect(list["total"]?.integerValue == Int64(list["data"]?.arrayValue?.count ?? -1))
                return list["data"]?.arrayValue ?? []
            }
            try place.push(4)
            #expect(receiver.waitForRequests(8))
            #expect(try poll { try dead().count == 4 })
            let letters = try dead()
            let positions = try letters.map { try required($0["position"]?.integerValue) }
            #expect(positions == positions.sorted())
            for one in letters {
                #expect(one["kind"] == "client.created" && one["status"] == 418 && one["attempts"] == 2, "\(one)")
                #expect(one["error"] == "the endpoint answered 418" && one["event"] == nil)
            }
            let listed = try plain("consumer", "dead", "list", "hook")
            #expect(listed.output.split(separator: "\n").count == 4 && listed.output.contains("2 attempts  the endpoint answered 418"))
            let shown = try place.command("consumer", "dead", "show", "hook", "--position", "\(positions[1])")
            #expect(shown["event"]?["data"]?["position"]?.integerValue == positions[1] && shown["event"]?["type"] == "client.created")
            #expect(shown["event"]?["id"] == letters[1]["id"] && shown["event"]?["data"]?["changes"]?["name"]?["new"] == "Client 2")
            let check = try ServerProcess.run(["check", "--database-url", place.url])
            #expect(check.status == 1 && check.output.contains("4 dead letters"), "\(check.output)")

            // One of them, and no other.
            isBad.with { $0 = false }
            #expect(try place.command("consumer", "dead", "replay", "hook", "--position", "\(positions[1])")["replayed"] == 1)
            #expect(receiver.wait { $0.count == 1 })
            #expect(receiver.deliveries.map(\.id) == [letters[1]["id"]?.stringValue], "the id that it had when it died")
            #expect(try poll { try place.command("consumer", "show", "hook")["open"] == 0 })
            #expect(try dead().map { $0["position"]?.integerValue } == [positions[0], positions[2], positions[3]])
            #expect(try plain("consumer", "dead", "replay", "hook", "--position", "\(positions[1])").status == 1, "it is dead no more")
            // One is given up for good.
            #expect(try plain("consumer", "dead", "discard", "hook", "--position", "\(positions[2])").output.contains("discarded 1"))
            #expect(try plain("consumer", "dead", "show", "hook", "--position", "\(positions[2])").status == 1)
            // The rest, in order.
            #expect(try place.command("consumer", "dead", "replay", "hook", "--all")["replayed"] == 2)
            #expect(receiver.wait { $0.count == 3 })
            #expect(receiver.deliveries.positions == [positions[1], positions[0], positions[3]])
            #expect(try poll { try dead().isEmpty && place.command("consumer", "show", "hook")["open"] == 0 })
            #expect(receiver.requestCount == 11, "nothing was sent twice")
        }
    }

    @Test func check_saysWhatIsWrong() async throws {
        try await onOwnThread {
            let place = try Place(["--webhook-threads", "0"])
            let good = try ServerProcess.run(["check", "--database-url", place.url])
            #expect(good.status == 0 && good.output.contains("consumers: none"), "\(good.output)")
            _ = try place.command("consumer", "add", "hook", "--url", "https://hooks.example/x")
            let connection = try PostgresConnection(PostgresConfiguration(url: place.url))
            #expect(try ServerProcess.run(["check", "--database-url", place.url]).status == 0)
            try connection.run("UPDATE tideline.consumer SET status = 'disabled', failures = 3")
            try connection.run(
                """
                INSERT INTO tideline.delivery (tenant, consumer, position, status) SELECT tenant, name, 1, 'dead' FROM tideline.consumer
                """)
            let bad = try ServerProcess.run(["check", "--database-url", place.url])
            #expect(bad.status == 1)
            for words in ["BAD  consumer hook", "disabled", "failed 3 times", "1 dead letter"] {
                #expect(bad.output.contains(words), "\(bad.output)")
            }
            try connection.run("UPDATE tideline.consumer SET status = 'active', failures = 0, position = 0")
            try connection.run("DELETE FROM tideline.delivery")
            try connection.run("UPDATE tideline.feed SET at = at - 7200000")
            let behind = try ServerProcess.run(["check", "--database-url", place.url])
            #expect(behind.status == 1 && behind.output.contains("minutes behind"), "\(behind.output)")
            let away = try ServerProcess.run(["check", "--database-url", "postgresql://nobody@127.0.0.1:1/none"])
            #expect(away.status == 3 && away.errors.contains("not reachable"), "\(away)")
        }
    }

    @Test func metrics_answerWithoutTheDatabase_andKeepLabelsFew() async throws {
        try await onOwnThread {
            let place = try Place()
            for index in 0..<5 { _ = try place.server.get("/nothing/\(index)") }
            let text = try place.server.get("/metrics").text
            #expect(text.contains("tideline_http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 5"))
            #expect(text.contains("tideline_http_request_seconds_bucket{route=\"other\",le=\"+Inf\"} 5"))
            #expect(text.contains("tideline_workers_busy 1\n"))
            // Without the database it says so, and what this process counted.
            let administrator = try PostgresConnection(PostgresConfiguration(url: try PostgresFixture.shared().url))
            let name = try required(place.url.split(separator: "?").first?.split(separator: "/").last.map(String.init))
            try administrator.script("ALTER DATABASE \(name) ALLOW_CONNECTIONS false")
            try administrator.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", .text(name))
            let away = try place.server.get("/metrics")
            #expect(away.status == 200 && away.text.contains("tideline_database_up 0\n"), "\(away.text)")
            #expect(away.text.contains("tideline_http_requests_total"))
            try administrator.script("ALTER DATABASE \(name) ALLOW_CONNECTIONS true")
            #expect(try poll { try place.server.get("/metrics").text.contains("tideline_database_up 1\n") })
            // Every line is a comment or a sample of a family that was announced.
            var families: Set<Substring> = []
            for line in text.split(separator: "\n") {
                if line.hasPrefix("# TYPE ") {
                    #expect(families.insert(line.split(separator: " ")[2]).inserted, "\(line) comes twice")
                } else if !line.hasPrefix("#") {
                    let name = line.prefix { $0 != "{" && $0 != " " }
                    let base = ["_bucket", "_sum", "_count"].first { name.hasSuffix($0) && families.contains(name.dropLast($0.count)) }
                    #expect(families.contains(name.dropLast(base?.count ?? 0)), "\(line)")
                    #expect(Double(line.split(separator: " ").last ?? "") != nil, "\(line)")
                }
            }
        }
    }

    private func poll(_ condition: () throws -> Bool) throws -> Bool {
        let limit = Date(timeIntervalSinceNow: 30)
        while Date() < limit {
            if try condition() { return true }
            usleep(10_000)
        }
        return false
    }
}
