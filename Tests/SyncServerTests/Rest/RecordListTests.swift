// Lists: pages by offset and by cursor, filters, search, totals; stable while rows change.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RecordListTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    /// Names in the order of the list, all pages by cursor.
    private func walk(_ query: String, limit: Int, as token: AccessToken? = nil, between: (Int) throws -> Void = { _ in }) throws
        -> [String]
    {
        var names: [String] = []
        var cursor: String?
        var pages = 0
        repeat {
            let reply = try rest.get("/v1/client?limit=\(limit)\(query)" + (cursor.map { "&cursor=\($0)" } ?? ""), as: token)
            guard reply.status == 200 else { throw RestFailure(description: reply.text) }
            names += reply.rows.compactMap { $0["name"]?.stringValue }
            cursor = reply.next
            #expect((cursor != nil) == (reply.json["has_more"] == true))
            pages += 1
            try between(pages)
        } while cursor != nil && pages < 200
        return names
    }

    private func make(_ count: Int, _ fields: (Int) -> JSONObject = { _ in [:] }) throws {
        for start in stride(from: 0, to: count, by: 500) {
            let changes = (start..<min(count, start + 500)).map { number in
                var all: JSONObject = ["name": .string("c" + String(10_000 + number).dropFirst())]
                for (name, value) in fields(number) { all[name] = value }
                return Change("client", rest.server.newIdentifier(), .create(fields: all))
            }
            try rest.tenant.write(changes).requireAccepted()
        }
    }

    @Test func pages_byOffsetAndByCursor_showEverythingOnce() throws {
        try make(47)
        let first = try rest.get("/v1/client")
        #expect(first.rows.count == 47 && first.json["total"] == 47 && first.json["has_more"] == false && first.next == nil)
        let byCursor = try walk("&sort=name", limit: 10)
        #expect(byCursor == byCursor.sorted() && byCursor.count == 47)
        var byOffset: [String] = []
        for offset in stride(from: 0, to: 60, by: 10) {
            let page = try rest.get("/v1/client?sort=name&limit=10&offset=\(offset)")
            #expect(page.json["total"] == 47 && page.json["has_more"] == .bool(offset < 37))
            byOffset += page.rows.compactMap { $0["name"]?.stringValue }
        }
        #expect(byOffset == byCursor)
        #expect(try walk("&sort=-name", limit: 7) == byCursor.reversed())
        // An offset page says where to go on by cursor.
        let middle = try rest.get("/v1/client?sort=name&limit=5&offset=20")
        let after = try rest.get("/v1/client?sort=name&limit=5&cursor=\(try #require(middle.next))")
        #expect(after.rows.compactMap { $0["name"]?.stringValue } == Array(byCursor[25..<30]))
    }

    @Test(arguments: ["owner", "-owner", "status", "-status", "id", "-id", "updated_at", "-updated_at"])
    func pages_walkEverySort_withEqualAndMissingValues(_ sort: String) throws {
        let (one, two) = (try rest.tenant.addMember(role: .manager), try rest.tenant.addMember(role: .manager))
        try make(31) { number in number % 3 == 0 ? [:] : ["owner": .string((number % 3 == 1 ? one : two).text)] }
        let all = try rest.get("/v1/client?sort=\(sort)&limit=200").rows.compactMap { $0["name"]?.stringValue }
        #expect(all.count == 31)
        for limit in [1, 4, 31] { #expect(try walk("&sort=\(sort)", limit: limit) == all, "limit \(limit)") }
        let opposite = try walk("&sort=\(sort.hasPrefix("-") ? String(sort.dropFirst()) : "-" + sort)", limit: 6)
        #expect(opposite == all.reversed())
    }

    /// Few matches are put in order, many are met walking: a page of one makes the same matches many.
    @Test(arguments: ["owner", "-owner", "status", "-status", "name", "-name", "id", "-id", "updated_at", "-updated_at"])
    func filteredPages_areTheSame_onBothCourses(_ sort: String) throws {
        let (one, two) = (try rest.tenant.addMember(role: .manager), try rest.tenant.addMember(role: .manager))
        try make(24) { number in
            var fields: JSONObject = number % 5 == 0 ? ["tags": ["vip"]] : [:]
            if number % 3 > 0 { fields["owner"] = .string((number % 3 == 1 ? one : two).text) }
            if number % 7 == 0 { fields["status"] = "on_hold" }
            return fields
        }
        let list = try rest.get("/v1/client?limit=200&sort=\(sort)").rows
        let filters: [(query: String, matches: (JSONValue) -> Bool)] = [
            ("status=active", { $0["status"] == "active" }), ("owner=\(one.text)", { $0["owner"] == .string(one.text) }),
            ("owner[null]=true", { $0["owner"]?.isNull == true }), ("tags=vip", { $0["tags"] == ["vip"] }),
            ("status[in]=active,on_hold", { _ in true }),
            ("status=active&owner[null]=true", { $0["status"] == "active" && $0["owner"]?.isNull == true }),
            ("q=c00", { _ in true }), ("q=c00&status=on_hold", { $0["status"] == "on_hold" }),
        ]
        for (query, matches) in filters {
            let expected = list.filter(matches).compactMap { $0["name"]?.stringValue }
            #expect(expected.count >= 4)
            for limit in [1, 50] { #expect(try walk("&sort=\(sort)&\(query)", limit: limit) == expected, "\(query), limit \(limit)") }
            let page = try rest.get("/v1/client?sort=\(sort)&\(query)&limit=2&offset=1").rows.compactMap { $0["name"]?.stringValue }
            #expect(page == Array(expected[1..<3]), "\(query) by offset")
        }
    }

    @Test func cursorPages_staySteady_whileRowsChange() throws {
        try make(40)
        var seen: [String] = []
        let total = try walk("", limit: 6) { page in
            // Between pages: a record before the place goes, one behind it is renamed, new ones come.
            let rows = try rest.get("/v1/client?limit=200&sort=name").rows
            if page == 2 {
                try rest.send("DELETE", "/v1/client/\(try required(rows.first?["id"]?.stringValue))")
                try rest.send("PATCH", "/v1/client/\(try required(rows.last?["id"]?.stringValue))", ["name": "renamed"])
            }
            if page == 3 { try rest.create("client", ["name": "new"]) }
        }
        seen = total
        #expect(Set(seen).count == seen.count, "nothing twice")
        #expect(seen.contains("renamed") && seen.contains("new"))
        #expect(seen.filter { $0.hasPrefix("c") }.count == 39, "nothing left out")
    }

    @Test func cursor_belongsToItsList_andToItsTenant() throws {
        try make(5)
        let next = try #require(rest.get("/v1/client?limit=2&sort=name").next)
        for query in ["sort=-name", "sort=name&status=active", "sort=name&deleted=include", "sort=name&q=c"] {
            let reply = try rest.get("/v1/client?limit=2&\(query)&cursor=\(next)")
            #expect(reply.status == 400 && reply.code == "invalid_cursor", "\(query)")
        }
        #expect(try rest.get("/v1/contact?cursor=\(next)").code == "invalid_cursor")
        var altered = Array(next)
        altered[10] = altered[10] == "A" ? "B" : "A"
        #expect(try rest.get("/v1/client?sort=name&cursor=\(String(altered))").code == "invalid_cursor")
        let other = try rest.otherTenant()
        #expect(try other.get("/v1/client?limit=2&sort=name&cursor=\(next)").code == "invalid_cursor")
        let replica = try rest.tenant.enroll()
        try replica.pull()
        #expect(try rest.get("/v1/client?cursor=\(try #require(replica.cursor))").code == "invalid_cursor")
    }

    @Test func filters_goByTheTypeOfTheirField() throws {
        let manager = try rest.tenant.addMember(role: .manager)
        try make(6) { number in
            number < 2
                ? ["owner": .string(manager.text), "tags": ["vip", "a"]] : number == 2 ? ["tags": ["vip"], "kinds": ["supplier"]] : [:]
        }
        func names(_ query: String) throws -> [String] {
            let reply = try rest.get("/v1/client?sort=name&\(query)")
            guard reply.status == 200 else { throw RestFailure(description: reply.text) }
            #expect(reply.json["total"] == .integer(Int64(reply.rows.count)))
            return reply.rows.compactMap { $0["name"]?.stringValue }
        }
        #expect(try names("owner=\(manager.text)") == ["c0000", "c0001"])
        #expect(try names("owner[null]=true") == ["c0002", "c0003", "c0004", "c0005"])
        #expect(try names("owner[ne]=\(manager.text)") == ["c0002", "c0003", "c0004", "c0005"])
        #expect(try names("tags[has]=vip") == ["c0000", "c0001", "c0002"])
        #expect(try names("tags=vip&kinds=supplier") == ["c0002"])
        #expect(try names("name[in]=c0001,c0005") == ["c0001", "c0005"])
        #expect(try names("status=active&name=c0003") == ["c0003"])
        #expect(try names("status[in]=on_hold,archived").isEmpty)
        let rows = try rest.get("/v1/client?sort=name").rows
        let (third, fourth) = (try #require(rows[3]["updated_at"]?.integerValue), try #require(rows[4]["created_at"]?.integerValue))
        #expect(try names("updated_at[gte]=\(third)&updated_at[lte]=\(third)").contains("c0003"))
        #expect(try names("created_at[gt]=\(fourth + 1_000_000)").isEmpty)
        #expect(try names("created_at[lt]=2100-01-01T00:00:00Z").count == 6)
        #expect(try names("id[in]=\(rows[0]["id"]?.stringValue ?? ""),\(rows[5]["id"]?.stringValue ?? "")") == ["c0000", "c0005"])
        #expect(try names("kinds=customer").count == 5)
    }

    @Test func search_findsWordsByTheirBeginnings() throws {
        for (name, more) in [
            ("Harbor Hotel Group", JSONObject([("tags", ["night-shift"])])), ("Élan Café", [:]), ("O'Brien & Sons", [:]),
            ("Northgate School", ["legal_name": "NSD harbour district"]),
        ] {
            var fields = more
            fields["name"] = .string(name)
            try rest.create("client", fields)
        }
        try rest.create("contact", ["last_name": "Ortiz", "email": "nina.ortiz@harbor.example"])
        func found(_ words: String, _ entity: String = "client") throws -> [String] {
            let reply = try rest.get("/v1/\(entity)?q=\(words)")
            guard reply.status == 200 else { throw RestFailure(description: reply.text) }
            return reply.rows.compactMap { $0["name"]?.stringValue ?? $0["last_name"]?.stringValue }.sorted()
        }
        #expect(try found("harb") == ["Harbor Hotel Group", "Northgate School"])
        #expect(try found("HARBOR+hot") == ["Harbor Hotel Group"])
        #expect(try found("shift") == ["Harbor Hotel Group"])
        #expect(try found("%C3%A9lan") == ["Élan Café"] && found("CAF%C3%89") == ["Élan Café"])
        #expect(try found("brien") == ["O'Brien & Sons"])
        #expect(try found("harbor.exam", "contact") == ["Ortiz"] && found("ortiz@harbor", "contact") == ["Ortiz"])
        #expect(try found("nothing").isEmpty)
        #expect(try found("a'b%5C%22:*%20%7C%20!(c").isEmpty)
        #expect(try rest.get("/v1/client?q=%20%21").status == 400)
        let other = try rest.otherTenant()
        #expect(try other.get("/v1/client?q=harbor").json["total"] == 0)
    }

    @Test func search_usesItsIndex() throws {
        try make(3000) { number in number % 1000 == 7 ? ["tags": ["rare"]] : [:] }
        #expect(try rest.get("/v1/client?q=c0042").rows.count == 1)
        #expect(try rest.get("/v1/client?tags=rare").json["total"] == 3)
        #expect(try rest.get("/v1/client?q=c&limit=1").json["total"] == 3000)
        // More than a look-up by element returns: the list is read instead, and nothing is missing.
        #expect(try rest.get("/v1/client?kinds=customer&limit=1").json["total"] == 3000)
        try rest.server.connection.script("ANALYZE public.client")
        let plan = try rest.server.connection.transaction(.readOnlySnapshot) { connection in
            try connection.run("SET LOCAL enable_seqscan = off")
            let body = try connection.run(
                "SELECT prosrc FROM pg_proc WHERE oid = 'tideline.find_client_words(text)'::regprocedure")
            let sql = try required(body.text(0, 0)).replacing("$1", with: "'c0042'")
            let lines = try connection.run("EXPLAIN \(sql)")
            return lines.rows.compactMap { lines.text($0, 0) }.joined(separator: "\n")
        }
        #expect(plan.contains("client_words_idx"), "\(plan)")
    }

    @Test func search_thatFindsALot_isCountedAmongSome_andSaysSo() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let count = Int64(EntityTable.foundByWordsMax + 200)
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO public.client (tenant, id, position, created_at, updated_at, versions, name, status) \
                SELECT $1::uuid, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1000 + n, 0, 0, '{}', 'harbour ' || n, \
                CASE WHEN n > $2::bigint - 5 THEN 'on_hold' ELSE 'active' END FROM generate_series(1, $2::bigint) n
                """, .identifier(rest.tenant.id), .integer(count))
        }
        let all = try rest.get("/v1/client?q=harb&sort=-name&limit=20")
        #expect(all.rows.count == 20 && all.json["total"] == .integer(Int64(ListRequest.countedMax)))
        #expect(all.json["total_is_lower_bound"] == true)
        let names = all.rows.compactMap { $0["name"]?.stringValue }
        #expect(names == names.sorted(by: >) && names.first == "harbour 9999")
        // Few of those that were found, perhaps none of those it looked among: never less than are shown.
        let few = try rest.get("/v1/client?q=harb&status=on_hold")
        #expect(few.rows.count == 5 && few.json["total"] == 5 && few.json["total_is_lower_bound"] == true)
        // One word more, and it is exact again.
        let exact = try rest.get("/v1/client?q=harb+77&limit=200")
        #expect(exact.json["total_is_lower_bound"] == nil && exact.json["total"] == .integer(Int64(exact.rows.count)))
    }

    @Test func deepPage_readsNoMoreThanTheFirst() throws {
        try make(3000)
        try rest.server.connection.script("ANALYZE public.client")
        let reader = ReaderAccess(member: rest.tenant.owner, role: .owner)
        let table = try #require(rest.server.context.tables["client"])
        let list = try ListRequest([("sort", "name"), ("limit", "50")], entity: table.entity) { $0.isSecret }
        let rows = try rest.get("/v1/client?sort=name&limit=1&offset=2900").rows
        let place = ListPlace(
            value: try #require(rows[0]["name"]), id: try #require(rows[0]["id"]?.stringValue.flatMap { Identifier($0) }))
        func buffers(_ place: ListPlace?) throws -> Int64 {
            let statement = ListQuery(table: table, list: list, reader: reader, tenant: rest.tenant.id).page(after: place)
            return try rest.tenant.blocks(of: statement, after: [PostgresStatement("SET LOCAL enable_sort = off")])
        }
        let (first, deep) = (try buffers(nil), try buffers(place))
        #expect(first < 100 && deep <= first + 20, "first page \(first) blocks, page after row 2900 \(deep)")
    }

    @Test func totals_areExactOrSayThatTheyAreNot() throws {
        try make(60)
        let deleted = try rest.get("/v1/client?limit=1&sort=name").ids[0]
        try rest.send("DELETE", "/v1/client/\(deleted)")
        #expect(try rest.get("/v1/client?limit=1").json["total"] == 59)
        #expect(try rest.get("/v1/client?limit=1&deleted=only").json["total"] == 1)
        #expect(try rest.get("/v1/client?limit=1&deleted=include").json["total"] == 60)
        #expect(try rest.get("/v1/client?deleted=only").ids == [deleted])
        #expect(try rest.get("/v1/client?limit=1").json["total_is_lower_bound"] == nil)
    }

    @Test func totals_areCountedToALimit() throws {
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO public.client (tenant, id, position, created_at, updated_at, versions, name, status) \
                SELECT $1::uuid, gen_random_uuid(), 1000 + n, 0, 0, '{}', 'n' || n, 'active' FROM generate_series(1, $2::int) n
                """, .identifier(rest.tenant.id), .integer(Int64(ListRequest.countedMax + 5)))
        }
        let reply = try rest.get("/v1/client?status=active&limit=1")
        #expect(reply.json["total"] == .integer(Int64(ListRequest.countedMax)) && reply.json["total_is_lower_bound"] == true)
    }

    @Test(arguments: [
        "limit=0", "limit=201", "limit=x", "limit=%2B1", "limit=1&limit=2", "offset=-1", "offset=10001", "sort=nickname", "sort=tags",
        "sort=", "nickname=x", "notes=x", "name[like]=x", "status=weird", "owner=x", "owner[lt]=01900000-0000-7000-8000-00000000000c",
        "tags[eq]=x", "owner[null]=maybe", "deleted=yes", "cursor=", "cursor=abc", "cursor=x&offset=1", "updated_at=yesterday",
        "name[]=x", "tax_number=x", "q=", "status=",
    ])
    func wrongParameter_isNamed(_ query: String) throws {
        let reply = try rest.get("/v1/client?\(query)")
        #expect(reply.status == 400, "\(query): \(reply.text)")
        let parameter = query.split(separator: "=")[0]
        if !query.hasPrefix("cursor=") || query.contains("offset") {
            let named = reply.json["error"]?["parameter"]?.stringValue
            #expect(named == String(parameter) || query.contains("cursor=x") && named == "offset", "\(reply.text)")
        }
    }

    @Test func parameters_haveLimits() throws {
        let many = (0...ListRequest.filtersMax).map { "name[ne]=\($0)" }.joined(separator: "&")
        #expect(try rest.get("/v1/client?\(many)").status == 400)
        #expect(try rest.get("/v1/client?name[in]=\((0...ListRequest.valuesMax).map(String.init).joined(separator: ","))").status == 400)
        #expect(try rest.get("/v1/client?q=\(String(repeating: "x", count: ListRequest.searchCharactersMax + 1))").status == 400)
        #expect(try rest.get("/v1/client_contact?q=x").status == 400, "nothing is searched there")
    }

    @Test func slowList_isRefused_notRunOn() throws {
        let rest = try RestUnderTest(isIsolated: true)
        try rest.create("client", ["name": "Harbor"])
        let blocker = try rest.server.secondConnection()
        // A statement of the list waits for a lock that this session holds.
        try blocker.run("BEGIN")
        try blocker.run("LOCK TABLE public.client IN ACCESS EXCLUSIVE MODE")
        let reply = try rest.get("/v1/client")
        try blocker.run("ROLLBACK")
        #expect(reply.status == 503 && reply.code == "unavailable" && reply.header("Retry-After") != nil)
        #expect(try rest.get("/v1/client").status == 200)
    }
}
