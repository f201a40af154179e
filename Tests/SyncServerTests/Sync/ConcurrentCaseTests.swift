// Concurrent offline edits, case by case, on a real database: two replicas that had seen the same, one pushing after the other.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ConcurrentCaseTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let a: ReplicaUnderTest
    private let b: ReplicaUnderTest
    private let client: Identifier
    private let contact: Identifier

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
        (client, contact) = (server.newIdentifier(), server.newIdentifier())
        let created: JSONObject = ["name": "Harbor", "tags": ["hotel", "prospect"], "notes": "base"]
        try tenant.write([Change("client", client, .create(fields: created))]).requireAccepted()
        try tenant.write([Change("contact", contact, .create(fields: ["last_name": "Ortiz"]))]).requireAccepted()
        for key in ["gate", "boiler"] {
            let field: JSONObject = ["entity": "client", "key": .string(key), "label": "L", "kind": "text"]
            try tenant.write([Change("custom_field", server.newIdentifier(), .create(fields: field))]).requireAccepted()
        }
        a = try tenant.enroll()
        b = try tenant.enroll(member: try tenant.addMember(role: .manager))
        try a.pull()
        try b.pull()
    }

    private func link(_ fields: JSONObject = [:]) throws -> Change {
        var all: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
        for (name, value) in fields { all[name] = value }
        let id = try required(Schema.testing.entity("client_contact")?.deterministicID { all[$0] })
        return Change("client_contact", id, .create(fields: all))
    }
    private var deal: Change {
        let fields: JSONObject = [
            "title": "Roof", "client": .string(client.text), "currency": "USD", "owner": .string(tenant.owner.text),
        ]
        return Change("deal", server.newIdentifier(), .create(fields: fields))
    }
    private func patch(_ fields: JSONObject) -> Change { Edit.patch("client", client, fields) }
    private func stored(_ field: String) throws -> JSONValue { try required(try tenant.record("client", client))[field] }
    private func kinds() throws -> [String] {
        let found = try server.connection.run(
            "SELECT kind FROM tideline.feed WHERE tenant = $1::uuid ORDER BY position", .identifier(tenant.id))
        return found.rows.compactMap { found.text($0, 0) }
    }

    @Test func c02_differentFieldsOfOneRecord_areBothKept_withoutAConflict() throws {
        let before = try kinds().count
        let outcomes = [try a.edit([patch(["phone": "+15550142"])]), try b.edit([patch(["website": "https://harbor.example"])])]
        #expect(outcomes.allSatisfy { $0.status == .accepted && $0.superseded.isEmpty && $0.violations.isEmpty })
        #expect(try stored("phone") == "+15550142" && stored("website") == "https://harbor.example")
        #expect(try kinds().dropFirst(before) == ["client.updated", "client.updated"])
    }

    @Test(arguments: [false, true]) func c03_sameField_theLaterStampStands_inEitherOrder(reversed: Bool) throws {
        let now = server.context.now()
        (a.milliseconds, b.milliseconds) = (now - 2_000, now - 1_000)
        let (early, late) = (a.seal([patch(["phone": "+15550001"])]), b.seal([patch(["phone": "+15550002"])]))
        let loser: Outcome
        if reversed {
            try b.push([late])
            loser = try a.outcome(try a.push([early]))
            #expect(loser.superseded.map(\.field) == ["phone"] && loser.superseded.first?.yours == "+15550001")
            #expect(try kinds().last == "sync.superseded")
            let changes = try required(
                try server.connection.run(
                    "SELECT changes::text FROM tideline.feed WHERE tenant = $1::uuid ORDER BY position DESC LIMIT 1", .identifier(tenant.id)
                ).text(0, 0))
            #expect(try JSONValue(parsing: changes)["phone"]?["lost"] == "+15550001")
        } else {
            loser = try a.outcome(try a.push([early]))
            try b.push([late])
        }
        #expect(loser.status == .accepted)
        #expect(try stored("phone") == "+15550002")
    }

    @Test func c04_sameGuardedField_theSecondIsAConflict_unlessItSaysTheSame() throws {
        #expect(try a.edit([patch(["notes": "first"])]).status == .accepted)
        let second = try b.edit([Change("client", client, .patch(fields: ["notes": "second"], was: ["notes": "base"]))])
        #expect(second.violations.map { "\($0.field ?? "") \($0.code)" } == ["notes conflict"])
        let values = second.violations.first?.parameters
        #expect(values?["base"] == "base" && values?["server"] == "first" && values?["yours"] == "second")
        #expect(try b.edit([patch(["notes": "first"])]).status == .accepted)
        #expect(try stored("notes") == "first")
    }

    @Test func c05_guardedAndIndependentFieldInOneSet_areRefusedTogether() throws {
        #expect(try a.edit([patch(["notes": "first"])]).status == .accepted)
        #expect(try b.edit([patch(["notes": "second", "phone": "+15550142"])]).status == .rejected)
        #expect(try stored("phone") == .null)
        #expect(try b.edit([patch(["phone": "+15550142"])]).status == .accepted, "a set of its own is not")
    }

    @Test func c06_setElements_addedUnseenStay_removedOnesGo_addsOfBothSidesAreKept() throws {
        try a.edit([patch(["tags": ["add": ["vip", "prospect"], "remove": []]])])
        let outcome = try b.edit([patch(["tags": ["add": ["net30"], "remove": ["prospect", "hotel", "vip"]]])])
        #expect(outcome.status == .accepted)
        #expect(try stored("tags") == ["net30", "prospect", "vip"])
    }

    @Test func c07_setEmptiedByTwoConcurrentRemovals_theSecondHasTooFew() throws {
        try a.edit([patch(["kinds": ["add": ["supplier"], "remove": []]])])
        try a.pull()
        try b.pull()
        #expect(try a.edit([patch(["kinds": ["add": [], "remove": ["supplier"]]])]).status == .accepted)
        let second = try b.edit([patch(["kinds": ["add": [], "remove": ["customer"]]])])
        #expect(second.violations.map { "\($0.field ?? "") \($0.code)" } == ["kinds too_few"])
        #expect(try stored("kinds") == ["customer"])
    }

    @Test func c08_keysOfAMap_areFieldsOfTheirOwn() throws {
        let now = server.context.now()
        (a.milliseconds, b.milliseconds) = (now - 1_000, now - 2_000)
        try a.edit([patch(["custom": ["gate": "7781"]])])
        let other = try b.edit([patch(["custom": ["boiler": "HX-200"]])])
        #expect(other.status == .accepted && other.superseded.isEmpty)
        let same = try b.edit([patch(["custom": ["gate": "0000"]])])
        #expect(same.superseded.map(\.field) == ["custom"] && same.superseded.first?.yours == ["gate": "0000"])
        #expect(try stored("custom") == ["boiler": "HX-200", "gate": "7781"])
    }

    @Test(arguments: [false, true]) func c19_clientDeletedWhileItsContactIsEdited_bothTakeEffect(editFirst: Bool) throws {
        try tenant.write([try link(["role": "Buyer"])]).requireAccepted()
        try a.pull()
        try b.pull()
        let deletion = { [a, client] in try a.edit([Change("client", client, .delete)]) }
        let edit = { [b, contact] in try b.edit([Edit.patch("contact", contact, ["phone": "+15550142", "notes": "night desk"])]) }
        let outcomes = editFirst ? [try edit(), try deletion()] : [try deletion(), try edit()]
        #expect(outcomes.allSatisfy { $0.status == .accepted }, "\(outcomes.flatMap(\.violations))")
        #expect(try tenant.record("client", client)?.isLive == false)
        #expect(try tenant.record("client_contact", try link().key.id)?.isLive == false)
        let kept = try required(try tenant.record("contact", contact))
        #expect(kept.isLive && kept["phone"] == "+15550142" && kept["notes"] == "night desk")
    }

    @Test func c20_recordDeletedWhileEdited_theSecondIsTold_inEitherOrder() throws {
        try a.edit([Change("contact", contact, .delete)])
        let edit = try b.edit([Edit.patch("contact", contact, ["phone": "+15550142"])])
        #expect(edit.violations.map(\.code) == ["record_deleted"] && edit.violations.first?.parameters["offer"] == "restore")
        try b.edit([patch(["phone": "+15550142"])])
        let deletion = try a.edit([Change("client", client, .delete)])
        #expect(deletion.violations.map(\.code) == ["delete_conflict"])
        #expect(try tenant.record("client", client)?.isLive == true)
    }

    @Test func c21_dealOnAClientThatIsDeletedMeanwhile_isRefused() throws {
        try a.edit([Change("client", client, .delete)])
        let created = try b.edit([deal])
        #expect(created.violations.map { "\($0.field ?? "") \($0.code)" } == ["client reference_deleted"])
    }

    @Test func c21_deletionOfAClientThatGotADealMeanwhile_isRefused() throws {
        #expect(try b.edit([deal]).status == .accepted)
        let deleted = try a.edit([Change("client", client, .delete)])
        #expect(deleted.violations.map(\.code) == ["referenced"])
        #expect(deleted.violations.first?.parameters["by"]?[0]?["entity"] == "deal")
    }

    @Test(arguments: [false, true]) func c24_sameLinkMadeTwice_isOneRow_mergedFieldByField(reversed: Bool) throws {
        let now = server.context.now()
        (a.milliseconds, b.milliseconds) = (now - 2_000, now - 1_000)
        let (one, two) = (a.seal([try link(["role": "Buyer", "is_billing": 1])]), b.seal([try link(["role": "Owner"])]))
        if reversed {
            try b.push([two])
            try a.push([one])
        } else {
            try a.push([one])
            try b.push([two])
        }
        #expect(try tenant.rows("public.client_contact") == 1)
        let row = try required(try tenant.record("client_contact", try link().key.id))
        #expect(row["role"] == "Owner" && row["is_billing"] == 1)
    }

    @Test func c30_pushWhoseReplyWasLost_getsTheStoredAnswers_andHasOneEffect() throws {
        let sets = [
            a.seal([Change("part", server.newIdentifier(), .create(fields: ["sku": "valve", "name": "Valve", "on_hand_milli": 5]))]),
            a.seal([patch(["name": ""])]), a.seal([patch(["tags": ["add": ["vip"], "remove": []]])]),
        ]
        let first = try a.push(sets)
        let (feed, head) = (try tenant.feedCount, try tenant.head)
        let again = try a.push(sets)
        #expect(first.outcomes.map(\.outcome) == again.outcomes.map(\.outcome))
        #expect(try first.outcomes.indices.map { try a.outcome(first, $0).status } == [.accepted, .rejected, .accepted])
        #expect(try tenant.feedCount == feed && tenant.head == head)
        #expect(try tenant.count("SELECT sum(on_hand_milli)::bigint FROM public.part WHERE tenant = $1::uuid", .identifier(tenant.id)) == 5)
    }
}
