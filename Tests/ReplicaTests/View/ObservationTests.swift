// Observing: what changed and nothing else, from whatever side it comes, until somebody stops.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct ObservationTests {
    @Test func record_isTold_whenItComes_changes_isConfirmedAndGoes() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = Identifier(high: 0x018F_0000_0000_7000, low: 1 << 63 | 42)
        var seen = b.replica.observe("client", id).makeAsyncIterator()
        let first = try await seen.next()
        #expect(first != nil && first.flatMap { $0 } == nil, "there is no such record yet")
        try await a.replica.write { _ = try $0.create("client", ["name": "Acme"], id: id) }
        try await a.sync()
        try await b.sync()
        #expect(try await seen.next()??["name"] == "Acme")
        // Other records of the entity, and syncs that bring nothing, are no news.
        try await b.client("Pier 9")
        try await b.sync()
        try await b.set("client", id, ["phone": "+15550100"])
        let edited = try #require(try await seen.next() ?? nil)
        #expect(edited["phone"] == "+15550100")
        #expect(edited.isPending)
        try await b.sync()
        let confirmed = try #require(try await seen.next() ?? nil)
        #expect(!confirmed.isPending)
        try await a.sync()
        try await a.replica.write { try $0.delete("client", id) }
        try await a.sync()
        try await b.sync()
        #expect(try await seen.next()??.isDeleted == true)
    }

    @Test func list_isTold_onceForEachChangeOfItsEntity() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let filter = [Filter("status", .equal, "active")]
        var seen = a.replica.observeList("client", where: filter, sort: Sort("name"), limit: 2).makeAsyncIterator()
        #expect(try await seen.next()?.total == 0)
        let id = try await a.client("B")
        #expect(try await seen.next()?.data.map(\.title) == ["B"])
        try await a.create("contact", ["first_name": "Nina", "last_name": "Ortiz"])
        try await a.client("A")
        #expect(try await seen.next()?.data.map(\.title) == ["A", "B"])
        // More than the page shows is a change of the total; what the filter leaves out leaves.
        try await a.client("C")
        let third = try await seen.next()
        #expect(third?.total == 3 && third?.hasMore == true)
        try await a.replica.write { try $0.transition("hold", "client", id) }
        #expect(try await seen.next()?.data.map(\.title) == ["A", "C"])
    }

    @Test func commitsOfAnotherProcess_tellWhatChanged_andNothingElse() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let client = try await a.client("A")
        // As another program would open the file.
        let other = try await world.open("a", a.transport)
        var notices = a.replica.changes().makeAsyncIterator()
        let watching = Task { await a.replica.watchFile(every: 5) }
        // The watch has looked once when it tells of a first commit.
        var isWatched = false
        while !isWatched {
            try await other.write { _ = try $0.create("contact", ["last_name": "Ortiz"]) }
            isWatched = await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    for await notice in a.replica.changes() where notice.entities == ["contact"] { return true }
                    return false
                }
                group.addTask {
                    try? await Task.sleep(nanoseconds: 300_000_000)
                    return false
                }
                defer { group.cancelAll() }
                return await group.next() ?? false
            }
        }
        while let notice = await notices.next(), notice.entities == ["contact"] {
            if try await other.pending().count == a.replica.pending().count { break }
        }
        try await other.write { try $0.set("client", client, ["name": "B"]) }
        var told: Set<String> = []
        while let notice = await notices.next() {
            told.formUnion(notice.entities)
            if notice.entities.contains("client") { break }
        }
        #expect(told.isSubset(of: ["client", "contact"]), "\(told)")
        // A tool that knows nothing of this library.
        try await a.shell.execute("UPDATE client SET phone = '+15550100' WHERE id = '\(client.text)';")
        while let notice = await notices.next() {
            told.formUnion(notice.entities)
            if try await a.value("client", client, "phone") == "+15550100" { break }
        }
        #expect(told.isSubset(of: ["client", "contact"]), "\(told)")
        watching.cancel()
        await watching.value
        await other.close()
    }

    @Test func observers_endWithTheReplica_andBadOnesFail() async throws {
        let world = try World()
        let a = try await world.replica("a")
        var list = a.replica.observeList("client").makeAsyncIterator()
        var query = a.replica.observe("SELECT count(*) FROM client").makeAsyncIterator()
        #expect(try await list.next() != nil)
        #expect(try await query.next() != nil)
        for stream in [a.replica.observeList("nonsense"), a.replica.observeList("client", where: [Filter("nonsense", .equal, 1)])] {
            var wrong = stream.makeAsyncIterator()
            let error = try await replicaError { _ = try await wrong.next() }
            #expect(error?.code == .invalidQuery)
        }
        await a.replica.close()
        #expect(try await list.next() == nil)
        #expect(try await query.next() == nil)
    }
}
