// What happened to a record, offline: confirmed, superseded, pending and rejected edits alike.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct HistoryTests {
    @Test func history_tellsWhoChangedWhat_supersededRejectedAndPendingIncluded() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        let b = try await world.replica("Ben")
        let id = try await a.client("Acme", ["notes": "base", "phone": "+15550100"])
        try await expectConverged(world, a, b)
        // Both change the same last-writer field; Ada's is older and loses.
        try await a.set("client", id, ["phone": "+15550101"])
        world.clock.advance(1_000)
        try await b.set("client", id, ["phone": "+15550102", "notes": "Ben's"])
        try await b.sync()
        // A guarded one, blind to Ben's: rejected.
        try await a.set("client", id, ["notes": "Ada's"])
        try await a.sync()
        try await a.set("client", id, ["name": "Acme Ltd"])

        let history = try await a.replica.history("client", id)
        #expect(history.map(\.status) == [.confirmed, .superseded, .confirmed, .rejected, .pending])
        #expect(history.map(\.actor) == ["Ada", "Ada", "Ben", "Ada", "Ada"])
        #expect(history[1].entry.changes["phone"] == ["lost": "+15550101", "kept": "+15550102"])
        #expect(history[2].entry.changes["notes"] == ["old": "base", "new": "Ben's"])
        #expect(history[3].violations.first?.code == "conflict")
        #expect(history[3].entry.changes["notes"] == ["old": "base", "new": "Ada's"])
        #expect(history[4].entry.changes["name"] == ["old": "Acme", "new": "Acme Ltd"])
        #expect(history[4].text.contains("set name of Acme Ltd from Acme to Acme Ltd"))
        // Ben sees the same except what is Ada's alone.
        try await b.sync()
        let bens = try await b.replica.history("client", id)
        #expect(bens.map(\.status) == [.confirmed, .superseded, .confirmed])
    }

    @Test func timeline_isThereWithoutANetwork_filteredAndPaged() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        let b = try await world.replica("Ben")
        let client = try await a.client("Acme")
        let site = try await a.create(
            "site", ["client": .string(client.text), "name": "Dock", "address": ["line1": "Pier 1", "city": "Harbor"]])
        for number in 1...5 { try await a.set("site", site, ["access_notes": .string("note \(number)")]) }
        try await expectConverged(world, a, b)
        b.transport.breaking { _, _ in .fail(.unreachable("no network")) }
        // A client's timeline shows what happens to its sites.
        let all = try await b.replica.activity(ActivityFilter(entity: "client", id: client), limit: 4)
        #expect(all.data.count == 4)
        #expect(all.hasMore)
        #expect(all.data.allSatisfy { $0.actor == "Ada" })
        let rest = try await b.replica.activity(ActivityFilter(entity: "client", id: client), limit: 4, before: all.next)
        #expect(rest.data.last?.entry.kind == "client.created")
        #expect(try await b.replica.activity(ActivityFilter(kind: "site.*")).data.count == 6)
        #expect(try await b.replica.activity(ActivityFilter(entity: "site", level: "major")).data.isEmpty)
        await #expect(throws: ReplicaError.self) { try await b.replica.activity(ActivityFilter(entity: "nonsense")) }
    }

    @Test func timeline_isBounded() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        for number in 1...30 { try await a.client("Client \(number)") }
        var options = SyncOptions()
        options.activityEntries = 10
        try await a.sync(options)
        #expect(try await a.replica.activity(limit: 100).data.count == 10)
        options.activityEntries = 0
        try await a.client("One more")
        try await a.sync(options)
        #expect(try await a.replica.activity(limit: 1).data.first?.text.contains("One more") == false)
    }

    @Test func timeline_goesBackSoManyDays_andNoFurther() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        #expect(SyncOptions().activityDays == 90 && SyncOptions().activityEntries == 10_000)
        try await a.client("Long ago")
        try await a.sync()
        world.clock.advance(60 * 86_400_000)
        try await a.client("Lately")
        try await a.sync()
        func texts() async throws -> [String] { try await a.replica.activity(limit: 100).data.map(\.text) }
        let early = try await texts()
        #expect(early.contains { $0.contains("Long ago") } && early.contains { $0.contains("Lately") })
        // What has grown old while the file was in use goes with the next news,
        world.clock.advance(40 * 86_400_000)
        try await a.client("Now")
        try await a.sync()
        let late = try await texts()
        #expect(!late.contains { $0.contains("Long ago") } && late.contains { $0.contains("Lately") })
        // and sooner in a file that is told to keep less.
        var options = SyncOptions()
        options.activityDays = 10
        try await a.client("Newest")
        try await a.sync(options)
        let last = try await texts()
        #expect(last.contains { $0.contains("Newest") } && last.contains { $0.contains("Now") } && !last.contains { $0.contains("Lately") })
    }

    @Test func lostTimeline_failsNothing_andIsMadeUpFor() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        a.transport.breaking { call, _ in call == .get ? .fail(.timeout) : nil }
        try await a.client("Acme")
        let report = try await a.sync()
        #expect(report.accepted == 1)
        #expect(report.activityFailure != nil)
        a.transport.breaking(nil)
        try await a.sync()
        #expect(try await a.replica.activity(ActivityFilter(kind: "client.created")).data.count == 1)
    }

    // MARK: Undo

    @Test func undo_restoresOldValues_whereTheyAreStillInPlace() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        let b = try await world.replica("Ben")
        let id = try await a.client("Acme", ["phone": "+15550100", "tags": ["x"]])
        try await expectConverged(world, a, b)
        try await a.replica.write { edit in
            try edit.set("client", id, ["phone": "+15550101", "name": "Acme Ltd"])
            try edit.set("client", id, ["tags": ["add": ["y"], "remove": ["x"]]])
        }
        try await expectConverged(world, a, b)
        try await b.set("client", id, ["phone": "+15550199"])
        try await expectConverged(world, a, b)

        let report = try await a.replica.undo()
        #expect(Set(report.restored.compactMap(\.field)) == ["name", "tags"])
        #expect(report.kept.map(\.field) == ["phone"])
        try await expectConverged(world, a, b)
        let record = try #require(try await b.replica.get("client", id))
        #expect(record["name"] == "Acme")
        #expect(record["phone"] == "+15550199")
        #expect(record.elements("tags") == ["x"])
    }

    @Test func undo_goesFurtherBack_andCanBeUndone() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        let id = try await a.client("One")
        try await a.sync()
        try await a.set("client", id, ["name": "Two"])
        try await a.set("client", id, ["name": "Three"])
        let first = try await a.replica.undo()
        #expect(try await a.value("client", id, "name") == "Two")
        _ = try await a.replica.undo()
        #expect(try await a.value("client", id, "name") == "One")
        // Naming the undo's own set does again what it took back.
        _ = try await a.replica.undo(first.counter)
        #expect(try await a.value("client", id, "name") == "One", "the second undo has gone on from there")
        _ = try await a.replica.undo()
        #expect(try await a.replica.get("client", id)?.isDeleted == true)
        await #expect(throws: ReplicaError.self) { try await a.replica.undo() }
        await #expect(throws: ReplicaError.self) { try await a.replica.undo(999) }
        try await a.sync()
        try await expectConverged(world, a)
    }

    /// What was refused changed nothing: to take back another set in its stead is what nobody asked for.
    @Test func undo_ofWhatWasRefusedOrIsAboutToBe_saysSo_andTakesNothingElseBack() async throws {
        let world = try World()
        let a = try await world.replica("Ada")
        let b = try await world.replica("Ben")
        let id = try await a.client("One", ["notes": "base"])
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["name": "Two"])
        // Refused here, rejected by the server, and predicted to be.
        try await a.shell.execute("UPDATE client SET email = 'nonsense';")
        try await a.replica.write { _ in }
        func requireRefusal(_ counter: Int64? = nil, _ words: String) async throws {
            let error = try await replicaError { _ = try await a.replica.undo(counter) }
            #expect(error?.code == .notFound && error?.message.contains(words) == true, "\(error?.message ?? "no error")")
            #expect(try await a.value("client", id, "name") == "Two")
        }
        try await requireRefusal(nil, "problem 3")
        try await requireRefusal(3, "set 3 is problem 3")
        try await a.replica.discard(try #require(try await a.replica.problems().first))
        try await b.set("client", id, ["notes": "Ben's"])
        try await b.sync()
        try await a.set("client", id, ["notes": "Ada's"])
        a.transport.breaking { call, _ in call == .push ? .fail(.unreachable("no network")) : nil }
        _ = try? await a.sync()
        #expect(try await a.replica.predictedProblems().map(\.counter) == [4])
        try await requireRefusal(nil, "problem 4")
        a.transport.breaking(nil)
        try await a.sync()
        try await requireRefusal(nil, "problem 4")
        try await requireRefusal(4, "set 4 is problem 4")
        // Named, or with the problem settled, it goes on.
        try await a.replica.discard(try #require(try await a.replica.problems().first))
        _ = try await a.replica.undo()
        #expect(try await a.value("client", id, "name") == "One")
    }

    @Test func undo_ofDeletesTransitionsAndCounters() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("Ada")
        let part = try await a.create("part", ["sku": "p-1", "name": "Valve"])
        let client = try await a.client("Acme")
        try await a.sync()
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 500) }
        _ = try await a.replica.undo()
        #expect(try await a.value("part", part, "on_hand_milli") == 0)
        try await a.replica.write { try $0.delete("client", client) }
        _ = try await a.replica.undo()
        #expect(try await a.replica.get("client", client)?.isDeleted == false)
        let document = try await a.create("document", ["title": "Offer"])
        try await a.create("document_line", ["document": .string(document.text), "label": "Valve", "price": 5])
        let issue = try await a.replica.write { try $0.transition("issue", "document", document) }
        let report = try await a.replica.undo(issue.counter)
        #expect(report.counter == nil)
        #expect(report.kept.first?.reason == "there is no way back from issued to draft")
        try await a.sync()
        try await expectConverged(world, a)
    }
}
