// Every limit of docs/operations.md and protocol §10 that a request can run into, each run into: what is just allowed is answered, one
// more is refused with the documented status. Those of connections are in HTTPServerLimitsTests and HTTPServerFairnessTests.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct LimitsTests {
    private func refused(_ reply: RestReply, _ status: Int, _ code: String, _ what: String) {
        #expect(reply.status == status && reply.code == code, "\(what): \(reply.status) \(reply.text.prefix(200))")
    }

    // MARK: Sync

    @Test func push_hasItsSets_andNoMore() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        let withdrawn = (1...Limits.setsPerPush + 1).map {
            OfferedSet(counter: Int64($0), hash: String(repeating: "0", count: 64), sealed: nil)
        }
        let tooMany = try rest.send("POST", "/v1/sync/push", replica.body(withdrawn), token: replica.token.text)
        refused(tooMany, 400, "bad_request", "501 sets")
        let most = try rest.send("POST", "/v1/sync/push", replica.body(Array(withdrawn.dropLast())), token: replica.token.text)
        #expect(most.status == 200 && most.json["outcomes"]?.arrayValue?.count == Limits.setsPerPush, "\(most.text.prefix(200))")
    }

    @Test func push_hasItsBytes_andNoMore() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        var body = replica.body([])
        body += [UInt8](repeating: 0x20, count: Limits.bytesPerPush - body.count)
        #expect(try rest.send("POST", "/v1/sync/push", body, token: replica.token.text).status == 200)
        refused(
            try rest.send("POST", "/v1/sync/push", body + [0x20], token: replica.token.text), 413, "payload_too_large", "4 MiB and a byte")
    }

    /// What a set alone is too large for becomes its outcome, so that the ones behind it go on.
    @Test func set_hasItsChangesAndBytes_andNoMore() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        let changes = (0...Limits.changesPerSet).map { _ in Edit.client(rest.server.newIdentifier()) }
        let tooMany = try replica.edit(changes)
        #expect(tooMany.status == .rejected && tooMany.violations.map(\.code) == ["payload_too_large"])
        #expect(try replica.edit(Array(changes.dropLast())).status == .accepted)
        let long = try replica.edit([Edit.client(rest.server.newIdentifier(), String(repeating: "x", count: Limits.bytesPerSet))])
        #expect(long.status == .rejected && long.violations.map(\.code) == ["payload_too_large"])
        #expect(try replica.edit([Edit.client(rest.server.newIdentifier())]).status == .accepted)
    }

    /// What a set replaces may be long: few bytes that come would make many that are kept.
    @Test func push_writesSoManyBytes_andNoMore() throws {
        let rest = try RestUnderTest(workLimits: WorkLimits(entryBytes: 100_000))
        let replica = try rest.tenant.enroll()
        let (one, other) = (rest.server.newIdentifier(), rest.server.newIdentifier())
        let long = JSONValue.string(String(repeating: "\u{1F6A7}", count: 20_000))
        for id in [one, other] {
            try replica.edit([Edit.client(id)])
            try replica.edit([Edit.patch("client", id, ["notes": long])])
        }
        let sets = [one, other].map { replica.seal([Edit.patch("client", $0, ["notes": "short"])]) }
        let answer = try rest.send("POST", "/v1/sync/push", replica.body(sets), token: replica.token.text)
        refused(answer, 413, "payload_too_large", "two sets of which each alone would do")
        // As a replica goes on then: fewer at a time.
        for set in sets { #expect(try replica.outcome(replica.push([set])).status == .accepted) }
        // Too large alone: it goes back to its author, and those behind it go on.
        for id in [one, other] { try replica.edit([Edit.patch("client", id, ["notes": long])]) }
        let large = try replica.outcome(
            replica.push([replica.seal([one, other].map { Edit.patch("client", $0, ["notes": "short"]) })]))
        #expect(large.status == .rejected && large.violations.map(\.code) == ["payload_too_large"], "\(large.violations.count)")
        #expect(try replica.edit([Edit.client(rest.server.newIdentifier())]).status == .accepted)
        #expect(try rest.send("PATCH", "/v1/client/\(one.text)", ["notes": "short"]).status == 200)
    }

    /// A push names records with few bytes, and one record names all that are its own.
    @Test func push_loadsSoManyBytes_andNoMore() throws {
        let rest = try RestUnderTest(workLimits: WorkLimits(loadedBytes: 100_000))
        let replica = try rest.tenant.enroll()
        let long = JSONValue.string(String(repeating: "x", count: 20_000))
        let clients = (0..<6).map { _ in rest.server.newIdentifier() }
        for id in clients { try replica.edit([Change("client", id, .create(fields: ["name": "C", "notes": long]))]) }
        let sets = clients.map { replica.seal([Edit.patch("client", $0, ["phone": "+15550100"])]) }
        refused(
            try rest.send("POST", "/v1/sync/push", replica.body(sets), token: replica.token.text), 413, "payload_too_large",
            "six sets of which four would do")
        for half in [sets.prefix(3), sets.suffix(3)] {
            let outcomes = try replica.push(Array(half)).outcomes.map { Outcome(json: try JSONValue(parsing: $0.outcome))?.status }
            #expect(outcomes == [.accepted, .accepted, .accepted])
        }
        // Too large alone: it goes back to its author, and those behind it go on.
        let large = try replica.edit(clients.map { Edit.patch("client", $0, ["phone": "+15550101"]) })
        #expect(large.status == .rejected && large.violations.map(\.code) == ["payload_too_large"], "\(large.violations)")
        #expect(large.violations.first?.message.contains("of records") == true)
        // What belongs to one record counts, too.
        for _ in 0..<6 {
            let site: JSONObject = [
                "client": .string(clients[0].text), "name": "S", "address": ["line1": "1 Quay", "country": "PT"],
                "access_notes": .string(String(repeating: "x", count: 1_900)),
            ]
            try replica.edit((0..<10).map { _ in Change("site", rest.server.newIdentifier(), .create(fields: site)) })
        }
        let deletion = try replica.edit([Change("client", clients[0], .delete)])
        #expect(deletion.violations.map(\.code) == ["payload_too_large"], "\(deletion)")
        refused(try rest.send("DELETE", "/v1/client/\(clients[0].text)"), 413, "payload_too_large", "the same by REST")
        #expect(try rest.send("PATCH", "/v1/client/\(clients[1].text)", ["notes": "short"]).status == 200)
        #expect(try replica.edit([Edit.client(rest.server.newIdentifier())]).status == .accepted)
    }

    /// A refusal tells the long value that stood in the way, each time. What is kept of it for ever tells the value's beginning, and so
    /// does the entry of the feed.
    @Test func rejection_keepsSoManyBytes_andNoMore() throws {
        let rest = try RestUnderTest()
        let (replica, other) = (try rest.tenant.enroll(), try rest.tenant.enroll())
        let client = rest.server.newIdentifier()
        try replica.edit([Edit.client(client)])
        try other.pull()
        try other.edit([Edit.patch("client", client, ["notes": .string(String(repeating: "\u{1F6A7}", count: 20_000))])])
        let set = replica.seal((0..<500).map { Edit.patch("client", client, ["notes": .string("stale \($0)")]) })
        let stored = try required(replica.push([set]).outcomes.first).outcome
        let outcome = try required(Outcome(json: try JSONValue(parsing: stored)))
        #expect(outcome.status == .rejected && outcome.violations.first?.code == "conflict")
        #expect(stored.count < Outcome.bytesMax && outcome.violations.count == Outcome.violationsMax, "\(stored.count)")
        #expect(outcome.violations.first?.parameters["server"] == .string(String(repeating: "\u{1F6A7}", count: 100) + "…"))
        let kept = try rest.server.connection.run(
            "SELECT max(length(changes::text)) FROM tideline.feed WHERE tenant = $1::uuid AND kind = 'sync.rejected'",
            .identifier(rest.tenant.id))
        #expect(try required(kept.integer(0, 0)) < Outcome.bytesMax + Limits.bytesPerSet)
    }

    @Test func set_hasItsLanesAndDepth_andNoMore() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        func clock(_ count: Int) -> VectorClock {
            VectorClock(replicas: Dictionary(uniqueKeysWithValues: (0..<count).map { (Identifier(high: 1, low: UInt64($0)), 1) }))
        }
        let wide = replica.seal([Edit.client(rest.server.newIdentifier())], clock: clock(65))
        let refusal = try rest.send("POST", "/v1/sync/push", replica.body([wide]), token: replica.token.text)
        #expect(refusal.status == 400 || refusal.json["outcomes"]?[0]?[1]?["status"] == "rejected", "65 lanes: \(refusal.text)")
        let deep = String(repeating: "[", count: 62) + String(repeating: "]", count: 62)
        let tooDeep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
        let body = { (text: String) in Array(#"{"cursor":null,"more":\#(text),"protocol":1,"schema":1,"sets":[]}"#.utf8) }
        #expect(try rest.send("POST", "/v1/sync/push", body(deep), token: replica.token.text).status == 200)
        refused(try rest.send("POST", "/v1/sync/push", body(tooDeep), token: replica.token.text), 400, "bad_request", "65 levels")
    }

    @Test func queriesOfSync_haveTheirRanges() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        let id = "01900000-0000-7000-8000-00000000000c"
        func ids(_ count: Int) -> String { Array(repeating: id, count: count).joined(separator: ",") }
        let cases: [(String, Int)] = [
            ("/v1/sync/pull?protocol=1&schema=1&limit=5000", 200), ("/v1/sync/pull?protocol=1&schema=1&limit=5001", 400),
            ("/v1/sync/pull?protocol=1&schema=1&limit=0", 400),
            ("/v1/sync/pull?protocol=1&schema=1&wait=55000", 200), ("/v1/sync/pull?protocol=1&schema=1&wait=55001", 400),
            ("/v1/sync/records?entity=client&ids=\(ids(100))", 200), ("/v1/sync/records?entity=client&ids=\(ids(101))", 400),
            ("/v1/sync/activity?limit=1000", 200), ("/v1/sync/activity?limit=1001", 400),
        ]
        for (target, status) in cases {
            #expect(try rest.send("GET", target, [], token: replica.token.text).status == status, "\(target.prefix(80))")
        }
    }

    // MARK: REST

    @Test func queriesOfLists_haveTheirRanges() throws {
        let rest = try RestUnderTest()
        let id = "01900000-0000-7000-8000-00000000000c"
        func values(_ count: Int) -> String { Array(repeating: id, count: count).joined(separator: ",") }
        func filters(_ count: Int) -> String { Array(repeating: "id[ne]=\(id)", count: count).joined(separator: "&") }
        let cases: [(String, Int)] = [
            ("limit=200", 200), ("limit=201", 400), ("limit=0", 400), ("limit=99999999999999999999", 400), ("offset=10000", 200),
            ("offset=10001", 400), ("offset=-1", 400), ("id[in]=\(values(100))", 200), ("id[in]=\(values(101))", 400),
            (filters(ListRequest.filtersMax), 200), (filters(ListRequest.filtersMax + 1), 400),
            ("q=\(String(repeating: "a", count: 200))", 200),
            ("q=\(String(repeating: "a", count: 201))", 400),
        ]
        for (query, status) in cases { #expect(try rest.get("/v1/client?\(query)").status == status, "\(query.prefix(60))") }
        #expect(try rest.get("/v1/activity?limit=200").status == 200)
        #expect(try rest.get("/v1/activity?limit=201").status == 400)
    }

    @Test func bodyOfAWrite_hasItsBytesAndDepth() throws {
        let rest = try RestUnderTest()
        let bytes = Array(#"{"name":"Harbor"}"#.utf8)
        let full = bytes + [UInt8](repeating: 0x20, count: WriteBody.bytesMax - bytes.count)
        #expect(try rest.send("POST", "/v1/client", full, token: rest.token.text).status == 201)
        refused(try rest.send("POST", "/v1/client", full + [0x20], token: rest.token.text), 413, "payload_too_large", "1 MiB and a byte")
        let deep = Array("{\"name\":\(String(repeating: "[", count: 64))\(String(repeating: "]", count: 64))}".utf8)
        refused(try rest.send("POST", "/v1/client", deep, token: rest.token.text), 400, "bad_request", "65 levels")
    }

    @Test func idempotencyKeyAndTags_haveTheirLengths() throws {
        let rest = try RestUnderTest()
        func create(_ key: String) throws -> RestReply {
            try rest.send("POST", "/v1/client", ["name": "Harbor"], headers: [("Idempotency-Key", key)])
        }
        #expect(try create(String(repeating: "k", count: 200)).status == 201)
        #expect(try create(String(repeating: "k", count: 201)).status == 400)
        let (id, etag) = try rest.create("client", ["name": "Harbor"])
        func patch(_ count: Int) throws -> Int {
            let tags = Array(repeating: etag, count: count).joined(separator: ", ")
            return try rest.send("PATCH", "/v1/client/\(id)", ["name": .string("Harbor \(count)")], headers: [("If-Match", tags)]).status
        }
        #expect(try patch(21) == 400)
        #expect(try patch(20) == 200)
    }

    @Test func tenant_hasItsConsumers_andNoMore() throws {
        let rest = try RestUnderTest()
        func add(_ number: Int) throws -> RestReply {
            try rest.send("POST", "/v1/consumers", ["name": .string("reader-\(number)"), "kind": "pull"])
        }
        for number in 0..<Int(ConsumerStore.perTenantMax) { #expect(try add(number).status == 201) }
        #expect((400..<500).contains(try add(1_000).status))
        #expect(try rest.get("/v1/consumers/reader-1/events?limit=1000").status == 200)
        #expect(try rest.get("/v1/consumers/reader-1/events?limit=1001").status == 400)
        #expect(try rest.get("/v1/consumers/reader-1/events?wait=55001").status == 400)
    }

    // MARK: The process

    @Test func connectionsOverTheCap_areClosedUnanswered_whenManyAreBeingRefused() async throws {
        try await withHTTPServer(
            configure: {
                $0.connections = 1
                $0.refusedConnections = 2
                $0.lingerSeconds = 60
            },
            run: { under in
                let first = try under.client()
                try first.get("/")
                #expect(try first.response().status == 200)
                // Refused politely, and kept a while so that they see it.
                let polite = try (0..<2).map { _ in try under.client() }
                for client in polite { #expect(try client.response().status == 503) }
                let third = try under.client()
                #expect((try? third.isAtEnd()) ?? true)
                #expect(under.reaches { $0.refusals["too_many_connections"] == 3 && $0.openConnections == 3 })
            })
    }

    @Test func peersThatFailToEnrol_areRememberedUpToACap() {
        let limit = EnrollmentLimit()
        for number in 0..<(2 * EnrollmentLimit.peersMax) {
            limit.noteFailure("2001:db8::\(String(number, radix: 16))", nowMilliseconds: 59_000)
            if limit.peerCount > EnrollmentLimit.peersMax { Issue.record("\(limit.peerCount) peers") }
        }
    }
}
