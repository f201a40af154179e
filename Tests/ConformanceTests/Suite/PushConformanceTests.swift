// What a push answers and what it refuses, the same on every store (protocol §4, §7.2).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct PushConformanceTests {
    @Test func dotSeenBefore_getsTheStoredBytes() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            try ana.pull()
            let sets = [
                ana.seal([Edit.create("client", company.newID(), ["name": "Acme"])]),
                ana.seal([Edit.create("client", company.newID(), [:])]), ana.seal([Edit.delete("client", company.newID())]),
            ]
            let first = try required(try ana.pushForBytes(ana.body(sets)))
            let position = company.core.position
            #expect(try required(try ana.pushForBytes(ana.body(sets))) == first)
            #expect(try required(try ana.pushForBytes(ana.body([sets[1]]))) == [first[1]])
            #expect(company.core.position == position)
            // Known and new ones in one push.
            let more = try required(
                try ana.pushForBytes(ana.body([sets[2], ana.seal([Edit.create("client", company.newID(), ["name": "B"])])])))
            #expect(more[0] == first[2])
            #expect(more.count == 2)
        }
    }

    @Test func knownDot_withOtherContent_isAFork_andStoresNothing() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.newID()
            try ana.edit([Edit.create("client", id, ["name": "Acme"])])
            let position = company.core.position
            ana.counter = 0
            let other = [ana.seal([Edit.patch("client", id, ["name": "Other"])]), ana.seal([Edit.patch("client", id, ["name": "Third"])])]
            #expect(try ana.push(other) == nil)
            #expect(company.refused?.knownCode == .fork)
            #expect(company.refused?.details["counter"] == 1)
            #expect(company.core.position == position)
            // A marker for a set that the server has is other content as well.
            #expect(try ana.push([OfferedSet(counter: 1, hash: other[0].hash, sealed: nil)]) == nil)
            #expect(company.refused?.knownCode == .fork)
        }
    }

    @Test func gap_refusesTheWholePush() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let sets = (1...4).map { ana.seal([Edit.create("client", company.newID(), ["name": .string("C\($0)")])]) }
            #expect(try ana.push([sets[1]]) == nil)
            #expect(company.refused?.details["expected"] == 1)
            #expect(try ana.push([sets[0], sets[1], sets[3]]) == nil)
            #expect(company.refused?.details["expected"] == 3)
            #expect(try ana.push([sets[1], sets[0]]) == nil)
            #expect(company.refused?.knownCode == .badRequest)
            #expect(try ana.push(sets)?.map(\.status) == [.accepted, .accepted, .accepted, .accepted])
        }
    }

    @Test func setsOfAnother_areForbidden() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let set = ben.seal([Edit.create("client", company.newID(), ["name": "Acme"])])
            #expect(try ana.push(raw: ana.body([set])) == nil)
            #expect(company.refused?.knownCode == .forbidden)
            #expect(try ben.push([set])?.first?.status == .accepted)
        }
    }

    @Test func bytesThatAreNotWhatWasHashed_areRefused() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let set = ana.seal([Edit.create("client", company.newID(), ["name": "Acme"])])
            let wrong = OfferedSet(counter: 1, hash: ChangeSet.hash(ofSealed: [1]), sealed: set.sealed)
            #expect(try ana.push([wrong]) == nil)
            #expect(company.refused?.knownCode == .badRequest)
            #expect(try ana.push(raw: Array("{".utf8)) == nil)
            #expect(company.refused?.knownCode == .badRequest)
            #expect(try ana.push(raw: Array(#"{"protocol":2,"schema":1,"cursor":null,"sets":[]}"#.utf8)) == nil)
            #expect(company.refused?.knownCode == .protocolUnsupported)
            #expect(try ana.push(raw: [UInt8](repeating: 0x20, count: Limits.bytesPerPush + 1)) == nil)
            #expect(company.refused?.knownCode == .payloadTooLarge)
            #expect(try ana.push([]) == [])
        }
    }

    @Test func withdrawnMarker_spendsItsCounter() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let discarded = ana.seal([Edit.create("client", company.newID(), ["name": "Never"])])
            let kept = ana.seal([Edit.create("client", company.newID(), ["name": "Kept"])])
            let marker = OfferedSet(counter: 1, hash: discarded.hash, sealed: nil)
            #expect(try ana.push([marker, kept])?.map(\.status) == [.withdrawn, .accepted])
            #expect(try ana.push([marker])?.map(\.status) == [.withdrawn])
            // The set behind it has the marker's hash, so the marker's outcome is its own.
            #expect(try ana.push([discarded])?.map(\.status) == [.withdrawn])
            #expect(try ana.pull().last?.checkpoint?.acknowledged == 2)
        }
    }

    @Test func undecodableSet_getsAStoredRejection() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            func raw(_ changes: String, _ more: String = "") -> OfferedSet {
                ana.counter += 1
                let text =
                    #"{"at":[1773600000000,0],"changes":\#(changes),"clock":{"feed":[0,0]},"dot":["\#(ana.id.text)",\#(ana.counter)]\#(more)}"#
                return ana.offered(Array(text.utf8))
            }
            let id = company.newID().text
            let sets = [
                raw("[]"), raw(#"[{"op":"vanish","entity":"client","id":"\#(id)"}]"#),
                raw(#"[{"op":"create","entity":"client","id":"x"}]"#),
                raw(#"[{"op":"transition","entity":"deal","id":"\#(id)","name":"win"}]"#),
                raw("[" + Array(repeating: #"{"op":"delete","entity":"client","id":"\#(id)"}"#, count: 1_001).joined(separator: ",") + "]"),
                raw(#"[{"op":"create","entity":"client","id":"\#(id)","fields":{"name":"After"}}]"#, #","unknown":true"#),
            ]
            let outcomes = try required(try ana.push(sets))
            #expect(outcomes.map(\.status) == [.rejected, .rejected, .rejected, .rejected, .rejected, .accepted])
            #expect(outcomes.prefix(4).allSatisfy { $0.violations.map(\.code) == ["invalid_syntax"] && $0.positions == nil })
            #expect(outcomes[4].violations.map(\.code) == ["payload_too_large"])
            #expect(try ana.push([sets[1]]) == [outcomes[1]])
        }
    }

    @Test func clockFromTheFuture_isClamped_inOrder() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let id = company.create("client", ["name": "Acme", "legal_name": "first"])
            try ana.pull()
            try ben.pull()
            ana.clockError = 3_600_000
            let sets = [
                ana.seal([Edit.patch("client", id, ["legal_name": "ahead"])]),
                ana.seal([Edit.patch("client", id, ["email": "a@example.com"])]),
            ]
            let outcomes = try required(try ana.push(sets))
            #expect(outcomes.allSatisfy { $0.status == .accepted && $0.warnings.map(\.code) == ["clock_skew"] })
            let versions = try required(company.core.record("client", id)).versions
            let (first, second) = (try required(versions.fields["legal_name"]), try required(versions.fields["email"]))
            #expect(first.timestamp == HybridTimestamp(milliseconds: company.now))
            #expect(second.timestamp == first.timestamp.next)
            // Within five minutes nothing is clamped, and who is later wins, whoever comes first.
            ben.clockError = 240_000
            #expect(try ben.edit([Edit.patch("client", id, ["legal_name": "later"])]).superseded.isEmpty)
            ana.clockError = 0
            let late = try ana.edit([Edit.patch("client", id, ["legal_name": "earlier"])])
            #expect(late.status == .accepted)
            #expect(late.superseded.map(\.kept) == ["later"])
            // A clock that went backwards still leaves its own sets in order.
            ana.clockError = -7_200_000
            let back = try ana.edit([Edit.patch("client", id, ["phone": "+15550142"])])
            #expect(back.warnings.isEmpty)
            #expect(company.value("client", id, "legal_name") == "later")
        }
    }

    @Test func clockThatKnowsItsOwnSet_isRejected() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let clock = VectorClock(feed: .start, replicas: [ana.id: 1])
            let set = ana.seal([Edit.create("client", company.newID(), ["name": "Acme"])], clock: clock)
            let outcome = try required(try ana.push([set])?.first)
            #expect(outcome.violations.map(\.field) == ["clock"])
            #expect(try ana.edit([Edit.create("client", company.newID(), ["name": "Acme"])]).status == .accepted)
        }
    }

    @Test func laneOfAnother_isCappedAtWhatTheServerHas() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let id = company.create("client", ["name": "Acme", "notes": "base"])
            try ana.pull()
            try ben.pull()
            #expect(try ben.edit([Edit.patch("client", id, ["notes": "Ben"])]).status == .accepted)
            var clock = ana.clock
            // Known: what Ben's lane covers. Sets that Ben has not made yet are not.
            clock.replicas[ben.id] = 9
            #expect(try ana.edit([Edit.patch("client", id, ["notes": "Ana"])], clock: clock).status == .accepted)
            #expect(try ben.edit([Edit.patch("client", id, ["phone": "+15550100"])]).status == .accepted)
            clock = ana.clock
            clock.replicas[company.newID()] = 5
            let outcome = try ana.edit([Edit.delete("client", id)], clock: clock)
            #expect(outcome.violations.map(\.code) == ["delete_conflict"])
        }
    }

    @Test func unknownEntitiesAndFields_areRejectedWithTheirNames() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.newID()
            let outcome = try ana.edit([
                Edit.create("spaceship", id, ["name": "X"]), Edit.create("client", id, ["name": "Acme", "colour": "red", "updated_at": 5]),
                Edit.create("account", company.newID(), ["email": "a@example.com"]),
            ])
            #expect(outcome.status == .rejected)
            #expect(outcome.violations.map(\.code) == ["unknown_entity", "unknown_field", "read_only", "forbidden"])
            #expect(outcome.violations.map(\.field) == ["entity", "colour", "updated_at", "entity"])
        }
    }

    @Test func newerSchema_waits_andOlderOne_isNotAskedForNewFields() throws {
        let shelf = Domain(
            "shelf",
            entities: [
                EntitySchema(
                    "shelf", category: "stock", access: .manage, scopes: [.tenant], titleField: "name",
                    fields: [.text("name", 100).required, .text("aisle", 10).required(since: 2)])
            ])
        try onEveryStore(schema: Schema(version: 2, domains: [.tenancy, .crm, .workshop, shelf])) { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let set = ana.seal([Edit.create("shelf", company.newID(), ["name": "One"])])
            #expect(try ana.push([set], schema: 3) == nil)
            #expect(company.refused?.knownCode == .schemaTooOld)
            #expect(company.refused?.details["schema"] == 2)
            #expect(try ana.push([set], schema: 1)?.first?.status == .accepted)
            let second = ana.seal([Edit.create("shelf", company.newID(), ["name": "Two"])])
            #expect(try ana.push([second], schema: 2)?.first?.violations.map(\.code) == ["required"])
            // What the set says of itself counts, not the build that brings it.
            let third = ana.seal([Edit.create("shelf", company.newID(), ["name": "Three"])], schema: 1)
            #expect(try ana.push([third], schema: 2)?.first?.status == .accepted)
        }
    }

    @Test func rejectedCreation_takesDependentsWithIt_inLaterRequestsToo() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let (client, site) = (company.newID(), company.newID())
            let address: JSONValue = ["line1": "Quay 1"]
            let sets = [
                ana.seal([Edit.create("client", client, ["legal_name": "no name"])]),
                ana.seal([Edit.create("site", site, ["client": .string(client.text), "name": "Yard", "address": address])]),
            ]
            let outcomes = try required(try ana.push(sets))
            #expect(outcomes.map { $0.violations.map(\.code) } == [["required"], ["depends_on_rejected"]])
            #expect(try ana.edit([Edit.patch("client", client, ["phone": "+15550100"])]).violations.map(\.code) == ["depends_on_rejected"])
            #expect(try ana.edit([Edit.patch("site", site, ["name": "Y"])]).violations.map(\.code) == ["depends_on_rejected"])
            #expect(try ana.edit([Edit.patch("site", company.newID(), ["name": "Y"])]).violations.map(\.code) == ["not_found"])
            // Of the server itself nobody depends: its refusals are not kept.
            let refused = company.newID()
            #expect(company.write([Edit.create("client", refused, [:])]).status == .rejected)
            #expect(try ana.edit([Edit.patch("client", refused, ["name": "Y"])]).violations.map(\.code) == ["not_found"])
        }
    }
}
