// Two replicas and a server: whatever meets, all three end up with the same.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct MergeTests {
    private func pair(_ world: World) async throws -> (Site, Site) {
        (try await world.replica("a"), try await world.replica("b"))
    }

    @Test func differentFields_bothStay() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client()
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["email": "a@example.com"])
        try await b.set("client", id, ["phone": "+15550100"])
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "phone") == "+15550100")
        #expect(try await b.value("client", id, "email") == "a@example.com")
    }

    @Test(arguments: [true, false]) func sameField_theLaterWins_inWhateverOrderTheyArrive(laterArrivesFirst: Bool) async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client()
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["name": "Earlier"])
        world.clock.advance(10)
        try await b.set("client", id, ["name": "Later"])
        let reports = laterArrivesFirst ? [try await b.sync(), try await a.sync()] : [try await a.sync(), try await b.sync()]
        #expect(reports.map(\.superseded) == (laterArrivesFirst ? [0, 1] : [0, 0]))
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "name") == "Later")
    }

    @Test func guardedField_editedOnBothSides_becomesAProblemWithAllThreeValues() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["notes": "from a"])
        try await b.set("client", id, ["notes": "from b"])
        try await a.sync()
        let report = try await b.sync()
        #expect(report.rejected == 1)
        let problem = try #require(report.newProblems.first)
        let conflict = try #require(problem.violations.first)
        #expect(conflict.code == "conflict")
        #expect(conflict.parameters["base"] == "base")
        #expect(conflict.parameters["server"] == "from a")
        #expect(conflict.parameters["yours"] == "from b")
        #expect(try await b.value("client", id, "notes") == "from a")
        try await expectConverged(world, a, b)

        // Saying it again on what is there now works.
        try await b.replica.retry(problem)
        #expect(try await b.replica.problems().isEmpty)
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "notes") == "from b")
    }

    @Test func problem_canBeEditedOrDiscarded() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        for round in ["one", "two"] {
            try await a.set("client", id, ["notes": .string("a \(round)")])
            try await b.set("client", id, ["notes": .string("b \(round)")])
            try await expectConverged(world, a, b)
        }
        let problems = try await b.replica.problems()
        #expect(problems.count == 2)
        try await b.replica.discard(problems[0])
        let result = try await b.replica.edit(problems[1], ["notes": "agreed"])
        #expect(result.counter == 3)
        #expect(try await b.replica.problems().isEmpty)
        #expect(try await replicaError { try await b.replica.retry(problems[0]) }?.code == .notFound)
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "notes") == "agreed")
    }

    @Test func problem_staysOpen_whenItsRetryIsRefused() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["notes": "a"])
        try await b.set("client", id, ["notes": "b"])
        try await expectConverged(world, a, b)
        let problem = try #require(try await b.replica.problems().first)
        #expect(try await replicaError { try await b.replica.edit(problem, ["email": "nonsense"]) }?.code == .refused)
        #expect(try await b.replica.problems().count == 1)
        #expect(try await b.replica.pending().isEmpty)
    }

    @Test func tags_ofBothSides_areMerged_andRemovalTakesOnlyWhatItsAuthorSaw() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client("Acme", ["tags": ["keep", "drop"]])
        try await expectConverged(world, a, b)
        try await a.replica.write { edit in
            try edit.add("client", id, "tags", ["from-a", "both"])
            try edit.remove("client", id, "tags", ["drop"])
        }
        try await b.replica.write { try $0.add("client", id, "tags", ["from-b", "both"]) }
        try await b.sync()
        // Removed by one who saw it, added anew by one who did not see the removal.
        try await b.replica.write { try $0.remove("client", id, "tags", ["both"]) }
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "tags") == ["both", "from-a", "from-b", "keep"])
    }

    @Test func delete_afterAnUnseenEdit_isRefused() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client()
        try await expectConverged(world, a, b)
        try await b.set("client", id, ["phone": "+15550100"])
        try await a.replica.write { try $0.delete("client", id) }
        try await b.sync()
        let report = try await a.sync()
        #expect(report.newProblems.flatMap(\.violations).map(\.code) == ["delete_conflict"])
        try await expectConverged(world, a, b)
        #expect(try await a.replica.get("client", id)?.isDeleted == false)
    }

    @Test func edit_afterAnUnseenDelete_isRefused() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let id = try await a.client()
        try await expectConverged(world, a, b)
        try await a.replica.write { try $0.delete("client", id) }
        try await b.set("client", id, ["phone": "+15550100"])
        try await a.sync()
        let report = try await b.sync()
        #expect(report.newProblems.flatMap(\.violations).map(\.code) == ["record_deleted"])
        try await expectConverged(world, a, b)
        #expect(try await b.replica.get("client", id)?.isDeleted == true)
        // A retry is refused for the same reason until somebody restores the record.
        let problem = try #require(report.newProblems.first)
        #expect(try await replicaError { try await b.replica.retry(problem) }?.violations.map(\.code) == ["record_deleted"])
        try await b.replica.write { try $0.restore("client", id) }
        try await b.replica.retry(problem)
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "phone") == "+15550100")
    }

    @Test func link_createdTwice_isOneLink() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        let client = try await a.client()
        let contact = try await a.create("contact", ["last_name": "Berg"])
        try await expectConverged(world, a, b)
        let link: [String: JSONValue] = ["client": .string(client.text), "contact": .string(contact.text)]
        let one = try await a.create("client_contact", link.merging(["role": "buyer"]) { $1 })
        world.clock.advance(5)
        let two = try await b.create("client_contact", link.merging(["role": "boss", "is_billing": 1]) { $1 })
        #expect(one == two)
        try await expectConverged(world, a, b)
        #expect(try await a.value("client_contact", one, "role") == "boss")
        #expect(try await a.replica.count("client_contact") == 1)
    }

    @Test func customKeys_mergeEachForItself() async throws {
        let world = try World()
        let (a, b) = try await pair(world)
        try await a.replica.write { edit in
            for key in ["colour", "size"] {
                try edit.create("custom_field", ["entity": "client", "key": .string(key), "label": .string(key), "kind": "text"])
            }
        }
        let id = try await a.client("Acme", ["custom.colour": "red", "custom": ["size": "big"]])
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["custom.colour": "blue"])
        try await b.set("client", id, ["custom.size": nil])
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "custom") == ["colour": "blue"])
        #expect(try await b.replica.list("client", where: [Filter("custom.colour", .equal, "blue")]).total == 1)
    }

    @Test func counters_addUp() async throws {
        let world = try World(schema: .testing)
        let (a, b) = try await pair(world)
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt", "on_hand_milli": 10])
        try await expectConverged(world, a, b)
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5) }
        try await b.replica.write { try $0.increment("part", part, "on_hand_milli", by: -3) }
        try await expectConverged(world, a, b)
        #expect(try await a.value("part", part, "on_hand_milli") == 12)
    }

    @Test func queuedTransitions_followEachOtherOffline_andTakeEffectAtTheServer() async throws {
        let world = try World(schema: .testing)
        let (a, b) = try await pair(world)
        let document = try await a.create("document", ["title": "Offer"])
        try await a.create("document_line", ["document": .string(document.text), "label": "Roof", "price": 100])
        try await a.sync()
        try await a.replica.write { try $0.transition("issue", "document", document) }
        try await a.replica.write { try $0.transition("send", "document", document) }
        #expect(try await a.value("document", document, "status") == "draft")
        try await expectConverged(world, a, b)
        #expect(try await b.value("document", document, "status") == "sent")
    }

    @Test func manyEditsOnBothSides_converge_whateverTheSchedule() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let world = try World()
        let (a, b) = try await pair(world)
        var ids: [Identifier] = []
        for index in 0..<6 { ids.append(try await a.client("c\(index)", ["notes": "n"])) }
        try await expectConverged(world, a, b)
        for step in 0..<60 {
            let site = Bool.random(using: &random) ? a : b
            let id = ids[Int.random(in: 0..<ids.count, using: &random)]
            world.clock.advance(Int64.random(in: 0...3, using: &random))
            let value = "s\(step)"
            let choice = Int.random(in: 0..<8, using: &random)
            do {
                switch choice {
                case 0: try await site.set("client", id, ["name": .string(value)])
                case 1: try await site.set("client", id, ["notes": .string(value)])
                case 2: try await site.replica.write { try $0.add("client", id, "tags", ["t\(step % 4)"]) }
                case 3: try await site.replica.write { try $0.remove("client", id, "tags", ["t\(step % 4)"]) }
                case 4: try await site.replica.write { try $0.transition(step.isMultiple(of: 2) ? "hold" : "release", "client", id) }
                case 5: try await site.replica.write { try $0.delete("client", id) }
                case 6: try await site.replica.write { try $0.restore("client", id) }
                default: try await site.sync(SyncOptions(pageLimit: 2))
                }
            } catch let error as ReplicaError where error.code == .refused {}
        }
        try await expectConverged(world, a, b)
        for site in [a, b] {
            for id in ids {
                let here = try #require(try await site.replica.get("client", id))
                let there = try #require(world.server.record("client", id))
                #expect(here.state.values == there.values, "seed \(seed)")
                #expect(here.deletedAt == there.deletedAt, "seed \(seed)")
            }
        }
    }
}
