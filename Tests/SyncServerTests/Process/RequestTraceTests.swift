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
}
