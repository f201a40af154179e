// Reading: lists, pages, names and plain SQL over the view.

import Foundation
import SyncProtocol
import Testing

@testable import Replica

@Suite struct ReadTests {
    @Test func list_pagesThroughEverythingOnce_whileRecordsComeAndGo() async throws {
        let world = try World()
        let site = try await world.replica("one")
        try await site.replica.write { edit in
            for index in 0..<25 {
                try edit.create(
                    "client", ["name": .string("c\(index % 5)"), "payment_terms_days": index % 3 == 0 ? nil : .integer(Int64(index))])
            }
        }
        for sort in [Sort("name"), Sort("payment_terms_days", descending: true), Sort("id")] {
            var seen: [Identifier] = []
            var cursor: String?
            repeat {
                let page = try await site.replica.list("client", sort: sort, limit: 4, cursor: cursor)
                #expect(page.total >= 25)
                seen += page.data.map(\.id)
                cursor = page.nextCursor
                #expect(page.hasMore == (cursor != nil))
                if seen.count == 8 { try await site.create("client", ["name": .string("aaa-late-\(sort.field)")]) }
            } while cursor != nil
            #expect(Set(seen).count == seen.count)
            #expect(seen.count >= 25)
        }
    }

    @Test func filters_compareTypedValues() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let a = try await site.client("Alpha", ["tags": ["vip", "north"], "payment_terms_days": 30, "credit_limit": 100])
        let b = try await site.client("Beta", ["payment_terms_days": 60])
        func ids(_ filters: Filter...) async throws -> Set<Identifier> {
            Set(try await site.replica.list("client", where: filters).data.map(\.id))
        }
        #expect(try await ids(Filter("payment_terms_days", .greater, 30)) == [b])
        #expect(try await ids(Filter("tags", .contains, "vip")) == [a])
        #expect(try await ids(Filter("tags", .notEqual, "vip")) == [b])
        #expect(try await ids(Filter("name", .contains, "ALP")) == [a])
        #expect(try await ids(Filter("credit_limit", .equal, nil)) == [b])
        #expect(try await ids(Filter("credit_limit", .notEqual, nil), Filter("name", .notEqual, "Beta")) == [a])
        #expect(try await site.replica.count("client", where: [Filter("payment_terms_days", .lessOrEqual, 60)]) == 2)
        for bad in [Filter("nonsense", .equal, 1), Filter("payment_terms_days", .less, nil), Filter("payment_terms_days", .less, "soon")] {
            #expect(try await replicaError { _ = try await site.replica.list("client", where: [bad]) }?.code == .invalidQuery)
        }
        #expect(try await replicaError { _ = try await site.replica.list("nonsense") }?.code == .invalidQuery)
    }

    @Test func cursor_ofAnotherList_isRefused() async throws {
        let world = try World()
        let site = try await world.replica("one")
        for index in 0..<3 { try await site.client("c\(index)") }
        let cursor = try await site.replica.list("client", sort: Sort("name"), limit: 1).nextCursor
        #expect(
            try await replicaError { _ = try await site.replica.list("client", sort: Sort("email"), cursor: cursor) }?.code == .invalidQuery
        )
        #expect(try await replicaError { _ = try await site.replica.list("client", cursor: "?!") }?.code == .invalidQuery)
    }

    @Test func resolve_findsByIdPrefixOrName_andSaysWhenItCannot() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let id = try await site.client("Acme")
        try await site.client("Twin")
        try await site.client("Twin")
        #expect(try await site.replica.resolve("client", id.text).id == id)
        #expect(try await site.replica.resolve("client", "acme").id == id)
        #expect(try await replicaError { _ = try await site.replica.resolve("client", "Twin") }?.code == .ambiguous)
        #expect(try await replicaError { _ = try await site.replica.resolve("client", "Nobody") }?.code == .notFound)
        // All three ids begin with the same time.
        #expect(try await site.replica.resolve("client", String(id.text.dropLast(1))).id == id)
        #expect(try await replicaError { _ = try await site.replica.resolve("client", String(id.text.prefix(4))) }?.code == .ambiguous)
        #expect(try await site.replica.resolve("member", "one@example.com").id == site.member)
    }

    @Test func query_readsTheTables_andCannotWrite() async throws {
        let world = try World()
        let site = try await world.replica("one")
        try await site.client("Acme", ["tags": ["a", "b"]])
        let rows = try await site.replica.query(
            "SELECT c.name, t.value AS tag FROM client c, json_each(c.tags) t WHERE c.name = ?1 ORDER BY tag", ["Acme"])
        #expect(rows.map { $0["tag"] } == ["a", "b"])
        #expect(rows.first?.columns == ["name", "tag"])
        for sql in ["DELETE FROM client", "CREATE TABLE x (y)", "SELECT 1; SELECT 2", "SELECT nonsense", ""] {
            #expect(try await replicaError { _ = try await site.replica.query(sql) }?.code == .invalidQuery, "\(sql)")
        }
        #expect(try await site.replica.count("client") == 1)
    }
}
