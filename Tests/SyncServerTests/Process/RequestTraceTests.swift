// One request's id from end to end: in the answer, the log, the event that it caused, and the error that it got.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RequestTraceTests {
    private func poll(_ condition: () throws -> Bool) throws -> Bool {
        let limit = Date(timeIntervalSinceNow: 30)
        while Date() < limit {
            if try condition() { return true }
            usleep(20_000)
        }
        return false
    }

    @Test func requestID_runsThroughLogErrorsAndEvents() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
            let (tenant, member) = (try required(made["tenant"]?.stringValue), try required(made["member"]?.stringValue))
            let token = try required(
                ServerProcess.json(["token", "create", "--tenant", tenant, "--member", member] + database)["token"]?.stringValue)
            let server = try ServerProcess(database + ["--webhook-threads", "0"])
            func post(_ path: String, _ body: JSONValue) throws -> WireResponse {
                try server.post(path, body.canonicalBytes(), token: token)
            }
            #expect(try post("/v1/consumers", ["name": "reader", "kind": "pull"]).status == 201)

            // What caused an event: a REST write, a push and an enrolment alike.
            let written = try post("/v1/client", ["name": "Harbor"])
            let enrolled = try server.post(
                "/v1/enroll",
                EnrollmentRequest(
                    code: try required(made["code"]?.stringValue), label: "laptop", platform: "linux", schemaVersion: Schema.currentVersion
                ).json.canonicalBytes())
            let replica = try EnrollmentReply(json: try JSONValue(parsing: enrolled.body))
            let client = Identifier.version7(milliseconds: 1, random: (1, 2))
            let pushed = try server.post(
                "/v1/sync/push", replica.pushBody(counter: 1, client: client, name: "Pier"), token: replica.token)
            let ids = try [written, enrolled, pushed].map { try required($0.header("x-request-id")) }
            #expect(Set(ids).count == 3)
            let page = try JSONValue(parsing: server.get("/v1/consumers/reader/events", token: token).body)
            let events = page["data"]?.arrayValue ?? []
            for (id, kind) in zip(ids, ["client.created", "replica.created", "client.created"]) {
                let event = events.first { $0["data"]?["request_id"]?.stringValue == id }
                #expect(event?["type"]?.stringValue == kind, "\(kind) by \(id): \(page)")
            }

            // An error says it in its body and its header.
            let refused = try post("/v1/client", ["name": ""])
            let error = try required(ErrorReply(json: try JSONValue(parsing: refused.body)))
            #expect(refused.status == 400 && refused.header("x-request-id") == error.requestID)

            // And every one of them is a line of the log.
            for id in ids + [error.requestID] {
                #expect(
                    try poll { try server.lines.contains { $0["message"] == "request" && $0["request_id"]?.stringValue == id } }, "\(id)")
            }
            let line = try required(server.lines.first { $0["request_id"]?.stringValue == error.requestID })
            #expect(line["status"] == 400 && line["path"] == "/v1/client" && line["method"] == "POST")
        }
    }

    /// From the request of a person through what a built-in consumer made of it to the delivery that failed, each link by its id.
    @Test func requestID_runsThroughBuiltInConsumersAndFailedDeliveries() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
            let tenant = try required(made["tenant"]?.stringValue)
            let added = try ServerProcess.json(
                ["member", "add", "--tenant", tenant, "--name", "Temp", "--email", "temp@acme.example", "--role", "field"] + database)
            let server = try ServerProcess(
                database + ["--webhook-allow", "127.0.0.1"], environment: ["TIDELINE_WEBHOOK_RETRY_SECONDS": "0.01"])
            let owner = try server.enroll(try required(made["code"]?.stringValue))
            let device = try server.enroll(try required(added["code"]?.stringValue))
            let receiver = try WebhookReceiver { _, _ in .answer(500) }
            let consumer = ["consumer", "add", "--tenant", tenant]
            _ = try ServerProcess.json(consumer + ["offboarding", "--handler", "revoke_replicas"] + database)
            _ = try ServerProcess.json(
                consumer + ["hook", "--url", receiver.url, "--kinds", "member.disabled,replica.revoked", "--max-attempts", "2"] + database)

            // 1. A person's request,
            let asked = try server.post("/v1/sync/push", owner.disableBody(counter: 1, member: device.member), token: owner.token)
            #expect(asked.status == 200)
            let request = try required(asked.header("x-request-id"))
            // 2. its event, that two consumers are told: one does something about it, under a request of its own that names the first,
            func attempts(_ name: String) throws -> [JSONValue] {
                let shown = try ServerProcess.json(["consumer", "show", name, "--tenant", tenant] + database)
                return shown["attempts"]?.arrayValue ?? []
            }
            #expect(try poll { try attempts("offboarding").count == 1 && attempts("hook").count == 4 })
            let done = try attempts("offboarding")[0]
            #expect(done["result"] == "delivered" && done["event_request_id"]?.stringValue == request, "\(done)")
            let attempt = try required(done["request_id"]?.stringValue)
            #expect(attempt != request)
            // 3. so that what it wrote is an event of that attempt,
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            defer { connection.close() }
            func written(_ kind: String) throws -> String? {
                try connection.run("SELECT request_id FROM tideline.feed WHERE kind = $1", .text(kind)).text(0, 0)
            }
            #expect(try written("member.disabled") == request && written("replica.revoked") == attempt)
            // 4. and each failed delivery of either is found from what caused it: in the log of attempts and in the server's,
            let failed = try attempts("hook")
            #expect(failed.map { $0["event_request_id"]?.stringValue } == [attempt, attempt, request, request])
            for one in failed {
                let id = try required(one["request_id"]?.stringValue)
                let line = try required(server.lines.first { $0["request_id"]?.stringValue == id })
                #expect(["delivery_failed", "delivery_dead"].contains(line["message"]?.stringValue), "\(line)")
                #expect(line["event_request_id"] == one["event_request_id"] && line["consumer"] == "hook" && line["status"] == 500)
            }
            // 5. and in the event that its receiver has.
            #expect(receiver.waitForRequests(4))
            let dead = try ServerProcess.json(["consumer", "dead", "list", "hook", "--tenant", tenant] + database)
            let positions = (dead["data"]?.arrayValue ?? []).compactMap { $0["position"]?.integerValue }
            let named = try positions.map { position in
                try ServerProcess.json(
                    ["consumer", "dead", "show", "hook", "--position", String(position), "--tenant", tenant] + database
                )["event"]?["data"]?["request_id"]?.stringValue
            }
            #expect(named == [request, attempt])
        }
    }
}
