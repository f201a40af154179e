// One question to the server's timeline and to a replica's own copy of it: the same words find the same entries, and are refused alike.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct TimelineParityTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    private struct Question {
        var query: [String] = []
        var filter = ActivityFilter()
    }

    private struct Part {
        var query: String
        var change: (inout ActivityFilter) -> Void
    }

    @Test func everyCombinationOfFilters_findsTheSameOfflineAsOverHTTP() async throws {
        let server = try RealServer()
        let clock = server.clock
        let invitation = try server.invite("marcus", role: .manager)
        let marcus = try await server.replica("marcus", member: invitation, in: folder.url) { clock.with { $0 } }
        // Another device of the same member, for its token only.
        let code = try server.invite("olga", role: .owner).code
        let request = EnrollmentRequest(code: code, label: "x", platform: "x", schemaVersion: Schema.testing.version)
        let token = try EnrollmentReply(json: JSONValue(parsing: server.send("POST", "/v1/enroll", request.json.canonicalBytes()))).token

        let client = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 1)
        let site = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 2)
        try server.write([Change("client", client, .create(fields: ["name": "Harbor"]))])
        try await marcus.sync()
        for round in 0..<3 {
            try await marcus.write { try $0.set("client", client, ["phone": .string("+1555010\(round)")]) }
            if round == 0 {
                try await marcus.write {
                    try $0.create("site", ["client": .string(client.text), "name": "Pier 9", "address": ["city": "Boston"]], id: site)
                }
            }
            try await marcus.write { try $0.transition(round % 2 == 0 ? "hold" : "release", "client", client) }
            try await marcus.sync()
            try server.write([Change("site", site, .patch(fields: ["name": .string("Pier \(round)")], was: [:]))])
        }
        try await marcus.sync()

        func online(_ query: [String]) throws -> [Int64] {
            let bytes = try server.send("GET", "/v1/activity?" + (["limit=200"] + query).joined(separator: "&"), token: token)
            return (try JSONValue(parsing: bytes)["data"]?.arrayValue ?? []).compactMap { $0["position"]?.integerValue }
        }
        func offline(_ filter: ActivityFilter) async throws -> [Int64] {
            try await marcus.activity(filter, limit: 1_000).data.map(\.entry.position.position)
        }
        // What an owner is shown beside: others' devices, and what was before this replica's copy begins.
        let here = Set(try await offline(ActivityFilter()))
        let moments = try await marcus.activity(ActivityFilter(), limit: 1_000).data.map(\.entry.atMilliseconds)
        try #require(moments.count > 10)
        let (late, early) = (moments[moments.count / 4], moments[moments.count * 3 / 4])
        let member = invitation.member

        let parts: [[Part]] = [
            [
                Part(query: "entity=client") { $0.entity = "client" },
                Part(query: "anchor=client:\(client.text)") { ($0.entity, $0.id) = ("client", client) },
                Part(query: "id=\(site.text)") { $0.id = site },
            ],
            [Part(query: "category=relationship") { $0.category = "relationship" }],
            [
                Part(query: "kind=client.*") { $0.kind = "client.*" },
                Part(query: "kind=site.updated") { $0.kind = "site.updated" },
            ],
            [Part(query: "actor=\(member.text)") { $0.actor = member }],
            [
                Part(query: "level=major") { $0.level = "major" }, Part(query: "level=minor") { $0.level = "minor" },
            ],
            // Both ends belong to it.
            [Part(query: "since=\(early)") { $0.since = early }],
            [Part(query: "until=\(late)") { $0.until = late }],
        ]
        var questions = [Question()]
        for part in parts {
            questions += questions.flatMap { question in
                part.map { part in
                    var more = question
                    more.query.append(part.query)
                    part.change(&more.filter)
                    return more
                }
            }
        }
        var sizes: Set<Int> = []
        for question in questions {
            let expected = try online(question.query).filter { here.contains($0) }
            #expect(try await offline(question.filter) == expected, "\(question.query)")
            sizes.insert(expected.count)
        }
        #expect(questions.count == 4 * 2 * 3 * 2 * 3 * 2 * 2 && sizes.count > 5)
        // The ends once more, by what they are: the entries at them are in.
        let count = moments.filter { $0 == early }.count
        #expect(try await offline(ActivityFilter(since: early, until: early)).count == count)
        #expect(try online(["since=\(early)", "until=\(early)"]).count == count)

        for (name, value) in [("kind", "client.winked"), ("kind", "client"), ("category", "friendship"), ("level", "high")] {
            var filter = ActivityFilter()
            switch name {
            case "kind": filter.kind = value
            case "category": filter.category = value
            default: filter.level = value
            }
            let here = await #expect(throws: ReplicaError.self) { try await marcus.activity(filter) }
            #expect(here?.code == .invalidQuery)
            let there = #expect(throws: TransportFailure.self) { try online(["\(name)=\(value)"]) }
            guard case .reply(let reply, status: 400) = there else {
                Issue.record("\(String(describing: there))")
                continue
            }
            let choices = (reply.details["choices"]?.arrayValue ?? []).compactMap(\.stringValue)
            #expect(reply.details["parameter"] == .string(name) && !choices.isEmpty)
            for choice in choices { #expect(here?.message.contains(choice) == true, "\(choice)") }
        }
    }
}
