// The timeline over HTTP: filters, pages, who sees what.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct TimelineTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    private func kinds(_ query: String, as token: AccessToken? = nil) throws -> [String] {
        let reply = try rest.get("/v1/activity?\(query)", as: token)
        guard reply.status == 200 else { throw RestFailure(description: reply.text) }
        return reply.rows.compactMap { $0["kind"]?.stringValue }
    }

    @Test func entry_saysEverything() throws {
        let contact = try rest.create("contact", ["first_name": "Nina", "last_name": "Ortiz", "phone": "+15550100"]).id
        try rest.send("PATCH", "/v1/contact/\(contact)", ["phone": "+15550142"])
        let reply = try rest.get("/v1/activity?limit=1")
        let entry = try #require(reply.rows.first)
        #expect(entry["text"] == "Olivia set phone of Nina Ortiz from +15550100 to +15550142")
        #expect(entry["kind"] == "contact.updated" && entry["category"] == "relationship" && entry["level"] == "minor")
        #expect(entry["icon"] == "pencil" && entry["title"] == "Nina Ortiz" && entry["record"] == .string(contact))
        #expect(entry["actor"] == ["kind": "member", "member": .string(rest.tenant.owner.text), "name": "Olivia"])
        #expect(entry["changes"] == ["phone": ["old": "+15550100", "new": "+15550142"]])
        #expect(entry["event"] == .string("0-\(try #require(entry["position"]?.integerValue))"))
        #expect(reply.json["has_more"] == true && reply.next != nil)
    }

    @Test func anchor_showsWhatBelongsToARecord() throws {
        let client = try rest.create("client", ["name": "Harbor"]).id
        try rest.create("client", ["name": "Other"])
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        let deal = try rest.create(
            "deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(rest.tenant.owner.text)]
        ).id
        try rest.create("deal_contact", ["deal": .string(deal), "contact": .string(contact)])
        try rest.send("POST", "/v1/deal/\(deal)/transitions/qualify")
        #expect(
            try kinds("anchor=client:\(client)") == ["deal.stage_changed", "deal_contact.created", "deal.created", "client.created"])
        #expect(try kinds("anchor=contact:\(contact)") == ["deal_contact.created", "contact.created"])
        #expect(try kinds("anchor=client:\(client)&id=\(deal)") == ["deal.stage_changed", "deal.created"])
        #expect(try kinds("id=\(deal)") == ["deal.stage_changed", "deal.created"])
        let text = try rest.get("/v1/activity?kind=deal.stage_changed").rows.first?["text"]
        #expect(text == "Olivia moved deal Roof from lead to qualified")
    }

    @Test func filters_narrow() throws {
        let manager = try rest.member(.manager)
        let client = try rest.create("client", ["name": "Harbor"]).id
        try rest.send("PATCH", "/v1/client/\(client)", ["phone": "+15550100"], as: manager.token)
        try rest.send("POST", "/v1/client/\(client)/transitions/hold")
        #expect(try kinds("entity=client") == ["client.on_hold", "client.updated", "client.created"])
        #expect(try kinds("entity=client&level=minor") == ["client.updated"])
        #expect(try kinds("category=admin&entity=client").isEmpty)
        #expect(try kinds("actor=\(manager.id.text)") == ["client.updated"])
        #expect(try kinds("kind=client.on_hold") == ["client.on_hold"])
        #expect(try kinds("kind=client.*") == ["client.on_hold", "client.updated", "client.created"])
        #expect(try kinds("kind=client.*&level=minor") == ["client.updated"])
        #expect(try kinds("kind=client_contact.*").isEmpty, "client. is no beginning of it")
        let all = try rest.get("/v1/activity?entity=client").rows
        let (newest, middle) = (try #require(all[0]["at"]?.integerValue), try #require(all[1]["at"]?.integerValue))
        #expect(try kinds("entity=client&since=\(middle)") == ["client.on_hold", "client.updated"])
        #expect(try kinds("entity=client&until=\(middle)") == ["client.updated", "client.created"])
        #expect(try kinds("since=\(newest + 1)").isEmpty)
        #expect(try kinds("until=1970-01-02T00:00:00Z").isEmpty)
        #expect(try kinds("entity=client&since=\(Instant.iso(fromMilliseconds: newest))") == ["client.on_hold"])
    }

    @Test func pages_showEverythingOnce_whileTheFeedGrows() throws {
        for number in 0..<25 { try rest.create("client", ["name": .string("c\(number)")]) }
        var positions: [Int64] = []
        var cursor: String?
        repeat {
            let reply = try rest.get("/v1/activity?entity=client&limit=4" + (cursor.map { "&cursor=\($0)" } ?? ""))
            positions += reply.rows.compactMap { $0["position"]?.integerValue }
            cursor = reply.next
            if positions.count == 8 { try rest.create("client", ["name": "new"]) }
        } while cursor != nil
        #expect(positions.count == 25 && positions == positions.sorted(by: >))
        let next = try #require(rest.get("/v1/activity?entity=client&limit=4").next)
        #expect(try rest.get("/v1/activity?entity=client&level=major&cursor=\(next)").code == "invalid_cursor")
        #expect(try rest.otherTenant().get("/v1/activity?entity=client&cursor=\(next)").code == "invalid_cursor")
    }

    @Test func rareFilter_looksAtSoMuchAndNoMore() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let head = try rest.tenant.head.position.position
        // A long history of one record, made directly.
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO tideline.feed SELECT tenant, $2::bigint + n, epoch, at + n, actor_kind, actor, replica, counter, entity, record, \
                'update', 'client.updated', category, 'minor', '{}', '{}', anchors, scope_keys, NULL, 0, operation_at, fingerprint \
                FROM tideline.feed, generate_series(1, $3::bigint) n WHERE tenant = $1::uuid AND position = $2::bigint
                """, .identifier(rest.tenant.id), .integer(head), .integer(Timeline.scannedMax + 500))
        }
        let first = try rest.get("/v1/activity?kind=client.created")
        #expect(first.rows.isEmpty && first.json["has_more"] == true)
        let second = try rest.get("/v1/activity?kind=client.created&cursor=\(try #require(first.next))")
        #expect(second.rows.map { $0["record"] } == [.string(client)] && second.json["has_more"] == false)
    }

    @Test func entriesFromBefore_getTheirTimelines_whenMigrated() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let client = try rest.create("client", ["name": "Harbor"]).id
        try rest.create("site", ["client": .string(client), "name": "Pier 9", "address": ["city": "Boston"]])
        let before = try rest.tenant.rows("tideline.feed_anchor")
        _ = try rest.server.connection.run("DELETE FROM tideline.feed_anchor")
        _ = try rest.server.connection.run("DELETE FROM tideline.meta WHERE key = 'timelines'")
        #expect(try rest.get("/v1/activity?anchor=client:\(client)").rows.count == 1, "its own entries only")
        for _ in 0..<2 {
            try Migration(.testing).run(rest.server.connection, isForced: true)
            #expect(try rest.get("/v1/activity?anchor=client:\(client)").rows.count == 2)
            #expect(try rest.tenant.rows("tideline.feed_anchor") == before)
        }
    }

    @Test func rejectedSets_areReadable_whateverTheySaid() throws {
        let replica = try rest.tenant.enroll()
        #expect(try rest.send("POST", "/v1/consumers", ["name": "reader", "kind": "pull"]).status == 201)
        let nested = (0..<50).reduce(JSONValue.integer(1)) { value, _ in .array([value]) }
        for value in [.decimal("1e30"), .decimal("-0"), .decimal("1E400"), nested, ["a": .decimal("0.1")]] as [JSONValue] {
            let client = rest.server.newIdentifier()
            let outcome = try replica.edit([Change("client", client, .create(fields: ["name": value, "notes": "kept"]))])
            #expect(outcome.status == .rejected)
            let entry = try #require(rest.get("/v1/activity?kind=sync.rejected&limit=1").rows.first)
            let change = entry["changes"]?["changes"]?[0]
            #expect(change?["id"]?.stringValue == client.text && change?["fields"]?["notes"] == "kept", "\(entry)")
            if case .decimal(let text) = value { #expect(change?["fields"]?["name"]?.stringValue == text) }
        }
        #expect(try rest.get("/v1/consumers/reader/events").rows.count == 5)
    }

    @Test func rejectedSets_areTheirAuthorsOwn() throws {
        let (field, manager) = (try rest.member(.field), try rest.member(.manager))
        let replica = try rest.tenant.enroll(member: field.id)
        try replica.pull()
        #expect(try replica.edit([Edit.client(rest.server.newIdentifier())]).status == .rejected)
        #expect(try kinds("kind=sync.rejected", as: field.token) == ["sync.rejected"])
        #expect(try kinds("kind=sync.rejected", as: manager.token).isEmpty)
        let text = try rest.get("/v1/activity?kind=sync.rejected", as: field.token).rows[0]["text"]?.stringValue
        #expect(text == "Member's new client was rejected: a field may not create this client")
    }

    @Test(arguments: [
        "limit=0", "limit=201", "anchor=client", "anchor=spaceship:01900000-0000-7000-8000-00000000000c", "anchor=client:x", "entity=x",
        "id=x",
        "category=x", "kind=x", "kind=client.x", "kind=*", "kind=sync.rescoped", "actor=x", "level=high", "since=yesterday", "until=",
        "cursor=x", "limit=1&limit=1", "page=2",
        "since=-9223372036854775808",
    ])
    func wrongParameter_isRefused(_ query: String) throws {
        let reply = try rest.get("/v1/activity?\(query)")
        #expect(reply.status == 400, "\(reply.text)")
        #expect(reply.json["error"]?["parameter"]?.stringValue == String(query.split(separator: "=")[0]) || query == "cursor=x")
    }
}
