// What a page costs deep in a long list: for every order, with filters, searches and readers who see some rows only. Counted in pages of
// the database that are looked at, never in time.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ListCostTests {
    private typealias Query = [(name: String, value: String)]

    private static let count: Int64 = 8_000
    private static let limit = 50

    private let rest: RestUnderTest
    private let owner: ReaderAccess
    private let field: ReaderAccess
    private let other: Identifier

    /// Values are spread evenly over every order, as they are in data that grew: a tenth has one state, a fiftieth a rare tag.
    init() throws {
        rest = try RestUnderTest(isIsolated: true)
        owner = ReaderAccess(member: rest.tenant.owner, role: .owner)
        field = ReaderAccess(member: try rest.tenant.addMember(role: .field), role: .field)
        other = try rest.tenant.addMember(role: .manager)
    }

    /// Numbers in another order than they were made in.
    private static let spread = "(n * 7919) % 8000"

    private func makeClients() throws {
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO public.client (tenant, id, position, created_at, updated_at, versions, scope_keys, name, status, owner, tags, kinds) \
                SELECT $1::uuid, id, 1000 + n, n, n, '{}', ARRAY['client:' || id], 'c' || lpad(k::text, 6, '0') || ' harbour' \
                || CASE WHEN n % 101 = 7 THEN ' quay' ELSE '' END, (ARRAY['on_hold', 'active', 'archived'])[1 + (n % 10 > 0)::int + (n % 10 > 6)::int], \
                CASE WHEN n % 7 = 0 THEN NULL WHEN n % 13 = 1 THEN $3::uuid ELSE $4::uuid END, \
                CASE WHEN n % 53 = 9 THEN '{rare,often}'::text[] WHEN n % 3 = 0 THEN '{}' ELSE '{often}'::text[] END, '{customer}' \
                FROM (SELECT n, \(Self.spread) AS k, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id \
                FROM generate_series(1, $2::bigint) n) s
                """, .identifier(rest.tenant.id), .integer(Self.count), .identifier(field.member), .identifier(other))
        }
        try rest.server.connection.script("ANALYZE public.client")
    }

    private func makeDeals() throws {
        try rest.server.connection.transaction(.readWrite, tenant: rest.tenant.id) { connection in
            _ = try connection.run(
                """
                INSERT INTO public.deal (tenant, id, position, created_at, updated_at, versions, scope_keys, title, client, amount, currency, \
                stage, owner, expected_close) SELECT $1::uuid, id, 30000 + n, n, n, '{}', ARRAY['full', 'member:' || owner], 'Deal ' || n, \
                ('01900000-0000-7000-8000-' || lpad(to_hex(1 + k % 100), 12, '0'))::uuid, n, 'USD', 'lead', owner, \
                CASE WHEN n % 9 > 0 THEN 20000 + k END FROM (SELECT n, \(Self.spread) AS k, \
                ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id, \
                CASE WHEN n % 37 = 1 THEN $3::uuid ELSE $4::uuid END AS owner FROM generate_series(1, $2::bigint) n) s
                """, .identifier(rest.tenant.id), .integer(Self.count), .identifier(field.member), .identifier(other))
        }
        try rest.server.connection.script("ANALYZE public.deal")
    }

    private struct Cost {
        var course: ListQuery.Course
        var matches: Int64
        var first: Int64
        /// Of pages after half and after nearly all of what matches.
        var deep: [Int64]
    }

    /// As a request prepares it, with everything that decides how it is done.
    private func prepared(_ entity: String, _ query: Query, _ reader: ReaderAccess) throws -> (query: ListQuery, matches: Int64) {
        let table = try required(rest.server.context.tables[entity])
        let list = try ListRequest(query, entity: table.entity) { reader.hides($0) }
        var made = ListQuery(table: table, list: list, reader: reader, tenant: rest.tenant.id)
        return try rest.server.connection.transaction(.readOnlySnapshot, tenant: rest.tenant.id) { connection in
            made.narrow(by: try connection.batch(made.lookUps))
            let counted = try required(connection.batch([made.count])[0].integer(0, 0))
            if !list.isUnfiltered || !reader.seesEveryRow(of: table.entity) { made.setCourse(counted: counted, live: Self.count) }
            return (made, counted)
        }
    }

    private func cost(_ entity: String, _ query: Query, _ reader: ReaderAccess) throws -> Cost {
        let page = query + [("limit", String(Self.limit))]
        let (list, matches) = try prepared(entity, page, reader)
        func blocks(after place: ListPlace?) throws -> Int64 {
            try rest.tenant.blocks(of: list.page(after: place), after: [TenantSession.planForTablesAsTheyAre, list.planning])
        }
        let places = try [matches / 2, matches - Int64(Self.limit) - 1].filter { $0 > 0 }.map { offset in
            // Of a list by offset, so that cursor pages are not held against themselves.
            let (list, _) = try prepared(entity, query + [("limit", "1"), ("offset", String(offset))], reader)
            let row = try rest.server.connection.transaction(.readOnlySnapshot, tenant: rest.tenant.id) {
                try $0.batch([list.planning, list.page(after: nil)])[1]
            }
            let value = try row.text(0, 2).map { try JSONValue(parsing: $0) } ?? .null
            return ListPlace(value: value, id: try required(row.identifier(0, 1)))
        }
        return Cost(course: list.course, matches: matches, first: try blocks(after: nil), deep: try places.map { try blocks(after: $0) })
    }

    private static let clientSorts = ["id", "-id", "name", "-name", "owner", "-owner", "status", "-status", "updated_at", "-updated_at"]

    /// What a page may look at: a few blocks of the index and one for each row, with what other writers have left in them. A look at all
    /// rows would be many times that.
    private static let pageBlocks: Int64 = 160

    @Test func everyOrder_costsTheSameAtEveryDepth() throws {
        try makeClients()
        try makeDeals()
        for reader in [owner, field] {
            for sort in Self.clientSorts {
                let cost = try cost("client", [("sort", sort)], reader)
                #expect(cost.course == .walk && cost.matches == Self.count && cost.deep.count == 2)
                #expect(cost.first < Self.pageBlocks && cost.deep.allSatisfy { $0 < Self.pageBlocks }, "\(reader.role) \(sort): \(cost)")
            }
        }
        for sort in ["id", "client", "owner", "expected_close", "-expected_close", "stage", "-updated_at"] {
            let cost = try cost("deal", [("sort", sort)], owner)
            #expect(
                cost.course == .walk && cost.first < Self.pageBlocks && cost.deep.allSatisfy { $0 < Self.pageBlocks }, "\(sort): \(cost)")
        }
    }

    /// Many matches: the page is found walking. Few: all of them are read for each page, at most as many as a walk would look at.
    @Test func filteredPage_costsWhatTheFirstOneDoes() throws {
        try makeClients()
        /// Rows that are looked at for each page, at most.
        let walked = { (share: Int64) in Int64(Self.limit + 1) * share }
        let filters: [(query: Query, course: ListQuery.Course, rows: Int64)] = [
            ([("status", "active")], .walk, walked(2)), ([("status[in]", "active,on_hold")], .walk, walked(2)),
            ([("tags", "often")], .walk, walked(2)), ([("owner[null]", "true")], .walk, walked(7)),
            ([("created_at[gte]", "100")], .walk, walked(2)), ([("deleted", "include")], .walk, walked(1)),
            ([("status", "active"), ("tags", "often")], .walk, walked(3)), ([("owner", field.member.text)], .sort, Self.count / 13),
            ([("owner", field.member.text), ("status", "active")], .sort, Self.count / 13), ([("tags", "rare")], .sort, Self.count / 53),
            ([("status", "on_hold"), ("tags", "rare")], .sort, Self.count / 53),
        ]
        for (filter, course, rows) in filters {
            for sort in ["id", "-name", "owner", "-owner", "status", "updated_at"] {
                let cost = try cost("client", filter + [("sort", sort)], owner)
                let told = "\(filter.map { "\($0.name)=\($0.value)" }) by \(sort): \(cost)"
                #expect(cost.course == course, "\(told)")
                // A row is three blocks at most when it is found by its id, and one on a walk, where neighbours in the order are none on
                // disk.
                for one in [cost.first] + cost.deep { #expect(one <= (course == .sort ? 3 : 1) * rows + 80, "\(told)") }
                if course == .sort { #expect(cost.deep.allSatisfy { $0 <= cost.first + 10 }, "\(told)") }
            }
        }
    }

    @Test func searchedPage_costsWhatTheFirstOneDoes() throws {
        try makeClients()
        for (words, filter) in [("harb", []), ("quay", []), ("harb", [("status", "on_hold")]), ("quay", [("status", "active")])]
            as [(String, Query)]
        {
            for sort in ["id", "-name", "owner", "status"] {
                let cost = try cost("client", [("q", words), ("sort", sort)] + filter, owner)
                let told = "\(words) \(filter) by \(sort): \(cost)"
                #expect(cost.course == .sort && cost.deep.allSatisfy { $0 <= cost.first + 80 }, "\(told)")
                let found = words == "harb" ? Self.count : 80
                #expect(cost.first <= 3 * found + 80, "\(told)")
            }
        }
    }

    /// Field staff see a thirty-seventh of the deals. They do not pay for the rest.
    @Test func rowsOfOneReader_costWhatTheFirstPageDoes_inEveryOrder() throws {
        try makeDeals()
        for filter in [[], [("client", "01900000-0000-7000-8000-000000000005")], [("stage", "lead")]] as [Query] {
            for sort in ["id", "-id", "client", "owner", "expected_close", "-expected_close", "stage", "updated_at"] {
                let cost = try cost("deal", filter + [("sort", sort)], field)
                #expect(cost.matches <= Self.count / 37 + 1 && cost.matches > 0 && cost.course == .sort)
                #expect(
                    cost.first <= 3 * (Self.count / 37) + 80 && cost.deep.allSatisfy { $0 <= cost.first + 80 },
                    "\(filter) by \(sort): \(cost)")
            }
        }
    }
}
