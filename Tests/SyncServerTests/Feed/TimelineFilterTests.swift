// All filters of the timeline together against an oracle, and what a page costs far down a long history.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct TimelineFilterTests {
    @Test func everyCombinationOfFilters_findsWhatAnOracleFinds() throws {
        let rest = try RestUnderTest()
        let manager = try rest.member(.manager)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let site = try rest.create("site", ["client": .string(client), "name": "Pier 9", "address": ["city": "Boston"]]).id
        let other = try rest.create("client", ["name": "Other"]).id
        for round in 0..<3 {
            let token = round % 2 == 0 ? rest.token : manager.token
            try rest.send("PATCH", "/v1/client/\(client)", ["phone": .string("+1555010\(round)")], as: token)
            try rest.send("PATCH", "/v1/site/\(site)", ["name": .string("Pier \(round)")], as: token)
            try rest.send("PATCH", "/v1/client/\(other)", ["notes": .string("n\(round)")], as: token)
            try rest.send("POST", "/v1/client/\(client)/transitions/\(round % 2 == 0 ? "hold" : "release")", as: token)
        }
        try rest.create("part", ["sku": "valve", "name": "Valve"])
        let all = try rest.get("/v1/activity?limit=200").rows
        #expect(try all.count > 15 && rest.get("/v1/activity?limit=200").next == nil)
        let times = all.compactMap { $0["at"]?.integerValue }
        let (late, early) = (times[times.count / 4], times[times.count * 3 / 4])

        typealias Filter = (query: String, matches: @Sendable (JSONValue) -> Bool)
        let filters: [Filter] = [
            ("anchor=client:\(client)", { $0["anchors"]?.arrayValue?.contains(.string("client:\(client)")) == true }),
            ("entity=client", { $0["entity"] == "client" }), ("id=\(client)", { $0["record"] == .string(client) }),
            ("category=relationship", { $0["category"] == "relationship" }), ("kind=client.updated", { $0["kind"] == "client.updated" }),
            ("actor=\(manager.id.text)", { $0["actor"]?["member"] == .string(manager.id.text) }),
            ("level=minor", { $0["level"] == "minor" }), ("since=\(early)", { ($0["at"]?.integerValue ?? 0) >= early }),
            ("until=\(late)", { ($0["at"]?.integerValue ?? 0) <= late }),
        ]
        for chosen in 0..<(1 << filters.count) {
            let taken = filters.enumerated().filter { chosen & (1 << $0.offset) != 0 }.map(\.element)
            let expected = all.filter { entry in taken.allSatisfy { $0.matches(entry) } }.compactMap { $0["position"]?.integerValue }
            let query = (["limit=200"] + taken.map(\.query)).joined(separator: "&")
            let found = try rest.get("/v1/activity?\(query)").rows.compactMap { $0["position"]?.integerValue }
            #expect(found == expected, "\(query)")
        }
        // The oracle itself finds something for each filter, and leaves something out.
        for filter in filters {
            let count = all.filter(filter.matches).count
            #expect(count > 0 && count < all.count, "\(filter.query)")
        }
    }

    @Test func deepPage_readsNoMoreThanTheFirst_among100000Entries() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let site = try rest.create("site", ["client": .string(client), "name": "Pier 9", "address": ["city": "Boston"]]).id
        let head = try rest.tenant.head.position.position
        let count: Int64 = 100_000
        // A long history of the site, made directly; all of it is on the client's timeline.
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO tideline.feed SELECT tenant, $2::bigint + n, epoch, at + n, actor_kind, actor, replica, counter, entity, record, \
                'update', 'site.updated', category, 'minor', '{}', '{}', anchors, scope_keys, NULL, 0, operation_at, fingerprint \
                FROM tideline.feed, generate_series(1, $3::bigint) n WHERE tenant = $1::uuid AND position = $2::bigint
                """, .identifier(rest.tenant.id), .integer(head), .integer(count))
            _ = try connection.run(
                """
                INSERT INTO tideline.feed_anchor SELECT tenant, anchor, $2::bigint + n FROM tideline.feed_anchor, \
                generate_series(1, $3::bigint) n WHERE tenant = $1::uuid AND position = $2::bigint
                """, .identifier(rest.tenant.id), .integer(head), .integer(count))
        }
        try rest.server.connection.script("ANALYZE tideline.feed; ANALYZE tideline.feed_anchor")
        let reader = ReaderAccess(member: rest.tenant.owner, role: .owner)
        func blocks(_ query: [(name: String, value: String)], before: Int64) throws -> Int64 {
            let wanted = try TimelineRequest(query, schema: .testing)
            let statement = TimelineQuery(
                wanted: wanted, reader: reader, schema: .testing, tenant: rest.tenant.id, range: .init(after: -1, before: before)
            ).page(scanning: 500)
            return try rest.tenant.blocks(of: statement, after: [TenantSession.planForTablesAsTheyAre])
        }
        for query in [[], [("anchor", "client:\(client)")], [("id", site)], [("entity", "site"), ("level", "minor")]]
            as [[(name: String, value: String)]]
        {
            let first = try blocks(query, before: .max)
            let deep = try blocks(query, before: head + count / 10)
            // Whoever walked from the newest entry would read some 5,000 blocks; a page reads what it looks through, wherever it begins.
            #expect(first < 1_500 && deep < 1_500, "\(query): first page \(first) blocks, deep page \(deep)")
        }
        // Through the interface: a cursor from the middle goes on where it should.
        let query = "/v1/activity?anchor=client:\(client)&limit=15&until=\(try required(time(at: head + 20, rest)))"
        let middle = try rest.get(query)
        #expect(middle.rows.first?["position"] == .integer(head + 20) && middle.rows.count == 15)
        let last = try rest.get("\(query)&cursor=\(try required(middle.next))")
        #expect(last.rows.last?["kind"] == "client.created" && last.next == nil)
    }

    private func time(at position: Int64, _ rest: RestUnderTest) throws -> Int64? {
        try rest.server.connection.run(
            "SELECT at FROM tideline.feed WHERE tenant = $1::uuid AND position = $2", .identifier(rest.tenant.id), .integer(position)
        ).integer(0, 0)
    }
}
