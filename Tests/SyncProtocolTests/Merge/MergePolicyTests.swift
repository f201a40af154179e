// What must come of concurrent edits, policy by policy (protocol §5).

import SyncProtocol
import TestSupport
import Testing

@Suite struct MergePolicyTests {
    let tenant = ModelTenant()
    let client: Identifier

    init() {
        client = tenant.newID()
        tenant.server([Change("client", client, .create(fields: ["name": "Harbor", "tags": ["hotel", "prospect"]]))])
    }

    private func patch(_ fields: JSONObject, was: JSONObject = [:]) -> Change { Change("client", client, .patch(fields: fields, was: was)) }
    private func value(_ field: String) -> JSONValue? { tenant.record("client", client)?[field] }

    @Test func differentFields_bothKept() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        let one = tenant.submit(a.seal([patch(["phone": "+15550142"])], at: 100))
        let two = tenant.submit(b.seal([patch(["email": "x@example.com"])], at: 90))
        #expect(one.status == .accepted && two.status == .accepted && two.superseded.isEmpty)
        #expect(value("phone") == "+15550142" && value("email") == "x@example.com")
    }

    @Test(arguments: [true, false])
    func sameLastWriterField_laterTimestampWins_inEitherArrivalOrder(laterFirst: Bool) {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        let early = a.seal([patch(["phone": "+15550001"])], at: 100)
        let late = b.seal([patch(["phone": "+15550002"])], at: 200)
        let first = tenant.submit(laterFirst ? late : early)
        let second = tenant.submit(laterFirst ? early : late)
        #expect(value("phone") == "+15550002")
        #expect(first.superseded.isEmpty)
        if laterFirst {
            #expect(second.status == .accepted)
            #expect(second.superseded.first?.field == "phone" && second.superseded.first?.yours == "+15550001")
            let entry = tenant.feed.last
            #expect(entry?.kind == "sync.superseded")
            #expect(entry?.changes["phone"]?["lost"] == "+15550001" && entry?.changes["phone"]?["kept"] == "+15550002")
        } else {
            #expect(second.superseded.isEmpty)
        }
    }

    @Test func sequentialEdit_wins_evenWithAnEarlierTimestamp() {
        var a = ModelAuthor(tenant)
        tenant.submit(a.seal([patch(["phone": "+15550001"])], at: 900))
        var b = ModelAuthor(tenant)
        let outcome = tenant.submit(b.seal([patch(["phone": "+15550002"])], at: 5))
        #expect(outcome.superseded.isEmpty && value("phone") == "+15550002")
    }

    @Test func ownEarlierSet_isKnown_beforeAnyCheckpoint() {
        var a = ModelAuthor(tenant)
        let first = a.seal([patch(["notes": "one"])], at: 10)
        let second = a.seal([patch(["notes": "two"])], at: 11)
        #expect(tenant.submit(first).status == .accepted)
        #expect(tenant.submit(second).status == .accepted)
        #expect(value("notes") == "two")
    }

    @Test func guardedField_secondWriterIsRejected_withBaseServerAndYours() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([patch(["notes": "Key at desk"], was: ["notes": .null])], at: 100))
        let outcome = tenant.submit(b.seal([patch(["notes": "Ask for Sam", "phone": "+15550009"], was: ["notes": .null])], at: 200))
        #expect(outcome.status == .rejected)
        let violation = outcome.violations.first
        #expect(violation?.code == "conflict" && violation?.field == "notes")
        #expect(violation?.parameters["base"] == .null && violation?.parameters["server"] == "Key at desk")
        #expect(violation?.parameters["yours"] == "Ask for Sam")
        #expect(value("notes") == "Key at desk")
        #expect(value("phone") == .null, "a set is atomic: the independent field went with it")
        #expect(tenant.feed.last?.kind == "sync.rejected")
    }

    @Test func guardedField_equalValuesNeverConflict() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([patch(["notes": "same"])], at: 100))
        let outcome = tenant.submit(b.seal([patch(["notes": "same"])], at: 200))
        #expect(outcome.status == .accepted && outcome.positions == nil)
    }

    @Test func tags_addSurvivesConcurrentRemove_andUnseenAddsStay() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([patch(["tags": ["add": ["vip", "prospect"], "remove": []]])], at: 100))
        let outcome = tenant.submit(b.seal([patch(["tags": ["add": ["net30"], "remove": ["prospect", "hotel"]]])], at: 200))
        #expect(outcome.status == .accepted)
        #expect(value("tags") == ["net30", "prospect", "vip"])
    }

    @Test func setMinimum_holdsAfterMerge() {
        tenant.server([patch(["kinds": ["add": ["supplier"], "remove": []]])])
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        let one = tenant.submit(a.seal([patch(["kinds": ["add": [], "remove": ["customer"]]])], at: 100))
        let two = tenant.submit(b.seal([patch(["kinds": ["add": [], "remove": ["supplier"]]])], at: 200))
        #expect(one.status == .accepted)
        #expect(two.violations.map(\.code) == ["too_few"] && value("kinds") == ["supplier"])
    }

    @Test func customMap_differentKeysKept_sameKeyByTimestamp() {
        for key in ["gate_code", "boiler"] {
            tenant.server([
                Change(
                    "custom_field", tenant.newID(),
                    .create(fields: ["entity": "client", "key": .string(key), "label": "L", "kind": "text"]))
            ])
        }
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([patch(["custom": ["gate_code": "7781"]])], at: 300))
        let other = tenant.submit(b.seal([patch(["custom": ["boiler": "HX", "gate_code": "0000"]])], at: 200))
        #expect(value("custom") == ["boiler": "HX", "gate_code": "7781"])
        #expect(other.superseded.map(\.yours) == [["gate_code": "0000"]])
        var c = ModelAuthor(tenant)
        tenant.submit(c.seal([patch(["custom": ["boiler": .null]])], at: 400))
        #expect(value("custom") == ["gate_code": "7781"])
    }

    @Test func counter_deltasAdd_whateverWasKnown() {
        let part = tenant.newID()
        tenant.server([Change("part", part, .create(fields: ["sku": "valve", "name": "Valve", "on_hand_milli": 40_000]))])
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("part", part, .patch(fields: ["on_hand_milli": -3000], was: [:]))], at: 1))
        tenant.submit(b.seal([Change("part", part, .patch(fields: ["on_hand_milli": 20_000], was: [:]))], at: 2))
        #expect(tenant.record("part", part)?.integer("on_hand_milli") == 57_000)
        let overflow = tenant.submit(b.seal([Change("part", part, .patch(fields: ["on_hand_milli": .integer(.max)], was: [:]))], at: 3))
        #expect(overflow.violations.map(\.code) == ["out_of_range"])
    }

    @Test func writeOnceAndServerAssigned_areRefusedInPatches() {
        let part = tenant.newID()
        var a = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("part", part, .create(fields: ["sku": "bolt", "name": "Bolt"]))], at: 1))
        let outcome = tenant.submit(
            a.seal([Change("part", part, .patch(fields: ["sku": "nut", "nope": 1, "position": 3, "margin_bp": 10_001], was: [:]))], at: 2))
        #expect(
            Set(outcome.violations.map { "\($0.field ?? "") \($0.code)" }) == [
                "sku immutable", "nope unknown_field", "position read_only", "margin_bp out_of_range",
            ])
    }

    @Test func guardedSet_isMergedWhole() {
        let part = tenant.newID()
        tenant.server([Change("part", part, .create(fields: ["sku": "paint", "name": "Paint", "colours": ["red"]]))])
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("part", part, .patch(fields: ["colours": ["red", "blue"]], was: [:]))], at: 1))
        let outcome = tenant.submit(b.seal([Change("part", part, .patch(fields: ["colours": ["green"]], was: [:]))], at: 2))
        #expect(outcome.violations.map(\.code) == ["conflict"])
    }

    @Test func serverWrite_isUnknownToAStaleReplica() {
        var stale = ModelAuthor(tenant)
        tenant.server([patch(["notes": "from the office", "phone": "+15550003"])], author: Author(member: tenant.owner, role: .owner))
        let guarded = tenant.submit(stale.seal([patch(["notes": "mine"])], at: 10))
        #expect(guarded.violations.map(\.code) == ["conflict"])
        let last = tenant.submit(stale.seal([patch(["phone": "+15550004"])], at: 10))
        #expect(last.superseded.map(\.field) == ["phone"], "the server's write has the later time")
    }

    @Test func resentSet_getsItsStoredOutcome_andHasOneEffect() {
        var a = ModelAuthor(tenant)
        let set = a.seal([patch(["tags": ["add": ["vip"], "remove": []]])], at: 1)
        let first = tenant.submit(set)
        let length = tenant.feed.count
        #expect(tenant.submit(set) == first && tenant.feed.count == length)
    }

    @Test func versions_growWithDistinctEdits_notWithHistory() throws {
        var a = ModelAuthor(tenant)
        for round in 0..<50 {
            tenant.submit(
                a.seal([patch(["phone": .string("+1555010\(10 + round)"), "tags": ["add": ["t"], "remove": []]])], at: Int64(round)))
            if round % 3 == 0 { a.pull(tenant) }
        }
        let versions = try #require(tenant.record("client", client)?.versions)
        #expect(versions.fields.count == 1 && versions.elements["tags"]?["t"]?.count == 1)
        let schema = try #require(Schema.testing.entity("client"))
        #expect(RecordVersions(json: versions.json(of: schema), schema: schema) == versions)
    }
}
