// Writing: one closure, one durable set, refused whole or taken whole.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct WriteTests {
    @Test func write_survivesReopening_withoutSync() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let id = try await site.client("Acme", ["tags": ["vip", "east"], "billing_address": ["city": "Oslo", "country": "NO"]])
        await site.replica.close()

        let again = try await world.open("one", site.transport)
        let record = try #require(try await again.get("client", id))
        #expect(record.title == "Acme")
        #expect(record.elements("tags") == ["east", "vip"])
        #expect(record["billing_address"] == ["city": "Oslo", "country": "NO"])
        #expect(record["status"] == "active")
        #expect(record.isPending)
        let pending = try await again.pending()
        #expect(pending.map(\.summary) == ["create client Acme"])
        #expect(try await again.integrityCheck() == [])
    }

    @Test func write_survivesDroppingTheReplica_withoutClose() async throws {
        let world = try World()
        var site: Site? = try await world.replica("one")
        let id = try await #require(site).client()
        let transport = try #require(site).transport
        site = nil
        let again = try await world.open("one", transport)
        #expect(try await again.get("client", id)?.title == "Acme")
        #expect(try await again.pending().count == 1)
    }

    @Test func write_isRefusedWithEverythingWrong_andChangesNothing() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let error = try await replicaError {
            try await site.replica.write { edit in
                try edit.create("client", ["name": "Fine"])
                try edit.create("client", ["email": "nonsense", "surprise": 1, "payment_terms_days": 900])
            }
        }
        #expect(error?.code == .refused)
        #expect(Set(error?.violations.map(\.code) ?? []) == ["required", "invalid_format", "unknown_field", "out_of_range"])
        #expect(try await site.replica.count("client") == 0)
        #expect(try await site.replica.pending().isEmpty)
        #expect(try await site.replica.integrityCheck() == [])
    }

    @Test func write_refusesAFactBesideAnEditThatCouldBeRefused() async throws {
        let world = try World(schema: .testing)
        let site = try await world.replica("one")
        let part = try await site.create("part", ["sku": "valve", "name": "Valve"])
        let note: [String: JSONValue] = ["subject_type": "part", "subject_id": .string(part.text), "body": "It leaked."]
        let error = try await replicaError {
            try await site.replica.write { edit in
                try edit.create("note", note)
                try edit.set("part", part, ["detail": ["rating": 6]])
            }
        }
        #expect(error?.code == .refused && error?.violations.map(\.code) == ["fact_bundled"])
        #expect(try await site.replica.count("note") == 0)
        let pending = try await site.replica.pending().count
        try await site.replica.write { try $0.create("note", note) }
        try await site.replica.write { try $0.set("part", part, ["detail": ["rating": 6]]) }
        #expect(try await site.replica.pending().count == pending + 2)
    }

    @Test func write_changesNothing_whenItsBodyThrows() async throws {
        struct Stop: Error {}
        let world = try World()
        let site = try await world.replica("one")
        await #expect(throws: ReplicaError.self) {
            try await site.replica.write { edit in
                try edit.create("client", ["name": "Acme"])
                throw Stop()
            }
        }
        #expect(try await site.replica.count("client") == 0)
    }

    @Test func emptyEdit_makesNoSet() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let id = try await site.client("Acme", ["tags": ["a"], "notes": "n"])
        let result = try await site.replica.write { edit in
            try edit.set("client", id, ["name": " Acme ", "tags": ["a"], "notes": "n", "email": nil])
            try edit.remove("client", id, "tags", ["absent"])
        }
        #expect(result.counter == nil)
        #expect(result.outcome.status == .noop)
        #expect(try await site.replica.pending().count == 1)
    }

    @Test func valuesGivenWhole_travelAsDifferences() async throws {
        let world = try World(schema: .testing)
        let site = try await world.replica("one")
        let part = try await site.create("part", ["sku": "bolt", "name": "Bolt", "on_hand_milli": 5000])
        let client = try await site.client("Acme", ["tags": ["a", "b"], "notes": "old"])
        try await site.set("part", part, ["on_hand_milli": 7000])
        try await site.replica.write { try $0.increment("part", part, "on_hand_milli", by: -500) }
        try await site.set("client", client, ["tags": ["b", "c"], "notes": "new"])

        let changes = try await site.replica.pending().dropFirst(2).flatMap(\.changes).map(\.operation)
        #expect(
            changes == [
                .patch(fields: ["on_hand_milli": 2000], was: [:]), .patch(fields: ["on_hand_milli": -500], was: [:]),
                .patch(fields: ["notes": "new", "tags": ["add": ["c"], "remove": ["a"]]], was: ["notes": "old"]),
            ])
        #expect(try await site.value("part", part, "on_hand_milli") == 6500)
        try await expectConverged(world, site)
        #expect(world.server.record("part", part)?["on_hand_milli"] == 6500)
    }

    @Test func oneSet_mayCreateChangeMoveAndDeleteTheSameRecords() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let ids = try await site.replica.write { edit -> [Identifier] in
            let client = try edit.create("client", ["name": "Acme"])
            try edit.set("client", client, ["notes": "first", "custom": [:]])
            let deal = try edit.create(
                "deal", ["title": "Roof", "client": .string(client.text), "currency": "USD", "owner": .string(site.member.text)])
            try edit.transition("qualify", "deal", deal)
            try edit.set("deal", deal, ["notes": "after the move", "amount": 100])
            let gone = try edit.create("client", ["name": "Mistake"])
            try edit.delete("client", gone)
            return [client, deal, gone]
        }.value
        #expect(try await site.replica.pending().count == 1)
        #expect(try await site.value("deal", ids[1], "stage") == "qualified")
        #expect(try await site.value("deal", ids[1], "amount") == 100)
        #expect(try await site.replica.get("client", ids[2])?.isDeleted == true)
        let report = try await site.sync()
        #expect(report.accepted == 1)
        #expect(report.rejected == 0)
        try await expectConverged(world, site)
    }

    @Test func oversizeSet_isRefusedAtCommit() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let tooMany = try await replicaError {
            try await site.replica.write { edit in
                for index in 0...Limits.changesPerSet { try edit.create("client", ["name": .string("c\(index)")]) }
            }
        }
        #expect(tooMany?.violations.map(\.code) == ["payload_too_large"])
        let notes = String(repeating: "x", count: 19_000)
        let tooLarge = try await replicaError {
            try await site.replica.write { edit in
                for index in 0..<60 { try edit.create("client", ["name": .string("c\(index)"), "notes": .string(notes)]) }
            }
        }
        #expect(tooLarge?.violations.map(\.code) == ["payload_too_large"])
        #expect(try await site.replica.pending().isEmpty)
        #expect(try await site.replica.count("client") == 0)
        // The counter was not spent: the next set is the first.
        try await site.client()
        #expect(try await site.replica.pending().map(\.counter) == [1])
        try await expectConverged(world, site)
    }

    @Test func existingRecords_areReadOnly_beforeTheFirstCheckpoint() async throws {
        let world = try World()
        let first = try await world.replica("first")
        var ids: [Identifier] = []
        for index in 0..<10 { ids.append(try await first.client("c\(index)")) }
        try await first.sync()

        let second = try await world.replica("second", synced: false)
        second.transport.breaking { call, number in call == .pull && number >= 2 ? .fail(.unreachable("gone")) : nil }
        _ = try await replicaError { try await second.sync(SyncOptions(pageLimit: 8)) }
        let present = try #require(try await second.replica.list("client").data.first)
        let error = try await replicaError { try await second.set("client", present.id, ["name": "Changed"]) }
        #expect(error?.code == .firstSyncIncomplete)
        let own = try await second.client("Mine")
        try await second.set("client", own, ["notes": "mine, so editable"])

        second.transport.breaking(nil)
        try await expectConverged(world, first, second)
        try await second.set("client", present.id, ["name": "Changed"])
        try await expectConverged(world, first, second)
        #expect(try await first.value("client", present.id, "name") == "Changed")
    }

    @Test func link_getsTheIdThatFollowsFromWhatItConnects() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let client = try await site.client()
        let contact = try await site.create("contact", ["last_name": "Berg"])
        let link = try await site.create("client_contact", ["client": .string(client.text), "contact": .string(contact.text)])
        let expected = Schema.tideline.entity("client_contact")?.deterministicID { name in
            ["client": JSONValue.string(client.text), "contact": .string(contact.text)][name]
        }
        #expect(link == expected)
    }

    @Test func writing_needsEnrolment() async throws {
        let world = try World()
        let replica = try await world.open("one", ModelTransport(world.server))
        let error = try await replicaError { try await replica.write { try $0.create("client", ["name": "Acme"]) } }
        #expect(error?.code == .notEnrolled)
        #expect(try await replicaError { try await replica.sync() }?.code == .notEnrolled)
        #expect(try await replica.status().isEnrolled == false)
    }

    @Test func changes_tellWhichEntitiesChanged_afterCommit() async throws {
        let world = try World()
        let site = try await world.replica("one")
        var notices = site.replica.changes().makeAsyncIterator()
        try await site.client()
        #expect(await notices.next()?.entities == ["client"])
    }
}
