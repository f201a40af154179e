// What people read about real changes: every line comes from an entry that the core made.

import SyncProtocol
import TestSupport
import Testing

@Suite struct ActivityTextTests {
    private let tenant = ModelTenant()
    private let client: Identifier
    private let contact: Identifier
    private let farah: Identifier

    init() throws {
        client = tenant.newID()
        contact = tenant.newID()
        farah = tenant.newID()
        try #require(
            tenant.server([
                Change(
                    "member", farah,
                    .create(fields: ["name": "Farah", "email": "farah@example.com", "role": "manager", "status": "active"])),
                Change("client", client, .create(fields: ["name": "Harbor Hotel Group", "tags": ["hotel"]])),
                Change("contact", contact, .create(fields: ["first_name": "Nina", "last_name": "Ortiz", "phone": "+15550100"])),
            ]
            ).status == .accepted)
    }

    private func name(_ key: RecordKey) -> String? { tenant.records[key]?.title }

    /// The lines of everything a set of Farah's added to the feed.
    private func lines(_ changes: [Change], _ author: Author? = nil) -> [String] {
        let before = tenant.feed.count
        tenant.server(changes, author: author ?? Author(member: farah, role: .manager))
        // Moves are on nobody's timeline.
        return tenant.feed[before...].filter { $0.kind != FeedEntry.rescoped }.map { line(ActivityEntry($0)) }
    }

    private func line(_ entry: ActivityEntry) -> String {
        ActivityText.line(entry, schema: .testing, name: name, currency: { tenant.records[$0]?.text("currency") })
    }

    private func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: JSONObject()))
    }

    private func link() -> Change {
        let fields: JSONObject = ["client": .string(client.text), "contact": .string(contact.text), "is_primary": 1]
        let id = Schema.testing.entity("client_contact")?.deterministicID { fields[$0] } ?? .zero
        return Change("client_contact", id, .create(fields: fields))
    }

    @Test func oneField_saysBothValues() {
        #expect(
            lines([patch("contact", contact, ["phone": "+15550142"])]) == ["Farah set phone of Nina Ortiz from +15550100 to +15550142"])
        #expect(lines([patch("contact", contact, ["job_title": "VP"])]) == ["Farah set job title of Nina Ortiz to VP"])
        #expect(lines([patch("contact", contact, ["job_title": nil])]) == ["Farah cleared job title of Nina Ortiz (was VP)"])
        #expect(lines([patch("contact", contact, ["notes": "Long\ntext"])]) == ["Farah changed notes of Nina Ortiz"])
    }

    @Test func setsAndMaps_sayWhatCameAndWent() {
        #expect(
            lines([patch("client", client, ["tags": ["add": ["vip", "net30"], "remove": ["hotel"]]])]) == [
                "Farah added net30, vip to and removed hotel from tags of Harbor Hotel Group"
            ])
        #expect(
            lines([patch("client", client, ["tags": ["remove": ["vip"]]])]) == ["Farah removed vip from tags of Harbor Hotel Group"])
        tenant.server([
            Change(
                "custom_field", tenant.newID(),
                .create(fields: ["entity": "client", "key": "gate_code", "label": "Gate", "kind": "text"]))
        ])
        #expect(
            lines([patch("client", client, ["custom": ["gate_code": "7781"]])]) == ["Farah set gate code of Harbor Hotel Group to 7781"])
    }

    @Test func severalFields_areListed_andTheRestCounted() {
        #expect(
            lines([patch("client", client, ["phone": "+15550100", "owner": .string(farah.text), "notes": "x"])]) == [
                "Farah changed Harbor Hotel Group: owner Farah; phone +15550100; notes"
            ])
        let all: JSONObject = [
            "email": "a@b.example", "phone": "+15550101", "website": "https://b.example", "payment_terms_days": 30, "legal_name": "HHG",
        ]
        let text = lines([patch("client", client, all)]).joined()
        #expect(text.hasSuffix("; and 1 more") && text.contains("phone from +15550100 to +15550101"))
    }

    @Test func values_areWrittenAsPeopleWriteThem() {
        let deal = tenant.newID()
        #expect(
            lines([
                Change(
                    "deal", deal,
                    .create(fields: [
                        "title": "Boiler retrofit", "client": .string(client.text), "currency": "USD", "owner": .string(farah.text),
                    ]))
            ]) == ["Farah created deal Boiler retrofit"])
        #expect(
            lines([patch("deal", deal, ["amount": 1_200_000])]) == [
                "Farah set amount of Boiler retrofit from 0.00 USD to 12000.00 USD"
            ])
        #expect(lines([patch("deal", deal, ["expected_close": 20_528])]) == ["Farah set expected close of Boiler retrofit to 2026-03-16"])
        #expect(
            lines([patch("member", farah, ["weekly_capacity_minutes": 2_150])], .system) == [
                "The server set weekly capacity of Farah from 40 h to 35 h 50 min"
            ])
        #expect(
            lines([patch("client", client, ["billing_address": ["line1": "Pier 9", "city": "Boston", "country": "US"]])]) == [
                "Farah set billing address of Harbor Hotel Group to Pier 9, Boston, US"
            ])
        #expect(
            lines([Change("deal", deal, .transition(name: "lose", observed: "lead", arguments: ["reason": "price"]))]).first?
                .hasPrefix("Farah moved deal Boiler retrofit from lead to lost (lost reason price; closed at 20") == true)
    }

    @Test func links_areCalledByWhatTheyConnect() {
        #expect(lines([link()]) == ["Farah created client contact Harbor Hotel Group – Nina Ortiz"])
        #expect(
            lines([patch("client_contact", link().key.id, ["is_primary": 0])]) == [
                "Farah set is primary of Harbor Hotel Group – Nina Ortiz from yes to no"
            ])
        #expect(
            lines([Change("client", client, .delete)]) == [
                "Farah deleted client Harbor Hotel Group", "Client contact Harbor Hotel Group – Nina Ortiz was deleted with it",
            ])
        #expect(
            lines([Change("client", client, .restore)]) == [
                "Farah restored client Harbor Hotel Group", "Client contact Harbor Hotel Group – Nina Ortiz was restored with it",
            ])
    }

    @Test func derivedEntries_sayWhatFollowed() {
        let part = tenant.newID()
        let fields: JSONObject = ["part": .string(part.text), "kind": "use", "quantity_milli": -2500]
        tenant.server([Change("part", part, .create(fields: ["sku": "filter_10", "name": "Filter"]))])
        let text = lines([Change("movement", tenant.newID(), .create(fields: fields))])
        #expect(
            text == [
                "Farah created movement use", "As a result, part filter_10: on hand from 0 to -2.500",
                "Part filter_10: stock negative (on hand -2.500)",
            ])
        #expect(Schema.testing.icon(ofKind: "part.stock_negative") == "package-x")
    }

    @Test func lostAndRefusedEdits_sayWhatBecameOfThem() {
        var replica = ModelAuthor(tenant, member: farah, role: .manager)
        let stale = tenant.nowMilliseconds - 1
        tenant.server(
            [patch("contact", contact, ["phone": "+15550177", "notes": "Night shift"])], author: Author(member: tenant.owner, role: .owner))
        let before = tenant.feed.count
        tenant.submit(replica.seal([patch("contact", contact, ["phone": "+15550142"])], at: stale))
        tenant.submit(replica.seal([patch("contact", contact, ["notes": "Day shift"])], at: stale + 1))
        let text = tenant.feed[before...].map { line(ActivityEntry($0)) }
        #expect(text.contains("Farah's phone of Nina Ortiz, +15550142, gave way to +15550177"))
        #expect(text.last == "Farah's change to contact Nina Ortiz was rejected: notes was changed by someone else meanwhile")
    }

    @Test func unknownThings_stillMakeALine() throws {
        var entry = ActivityEntry(try #require(tenant.feed.last))
        entry.key = RecordKey("spaceship", Identifier.version7(milliseconds: 1, random: (1, 2)))
        entry.kind = "spaceship.launched"
        entry.operation = .derived
        entry.changes = ["speed": ["old": nil, "new": "fast"]]
        let text = ActivityText.line(entry, schema: .testing, name: { _ in nil })
        #expect(text == "Spaceship 00000000: launched (speed fast)")
        entry.operation = .update
        entry.actor = farah
        #expect(
            ActivityText.line(entry, schema: .testing, name: { _ in nil }) == "Member \(farah.text.prefix(8)) set speed of 00000000 to fast"
        )
        #expect(Schema.testing.icon(ofKind: entry.kind) == Schema.defaultIcon)
    }

    @Test func namedRecords_coverEverythingThatALineAsksFor() {
        _ = lines([link()])
        _ = lines([patch("client", client, ["owner": .string(farah.text)])])
        _ = lines([patch("client_contact", link().key.id, ["role": "Buyer"])])
        for entry in tenant.feed.map(ActivityEntry.init) {
            let announced = Set(ActivityText.namedRecords(entry, schema: .testing))
            var asked: Set<RecordKey> = []
            _ = ActivityText.line(
                entry, schema: .testing,
                name: {
                    asked.insert($0)
                    return "x"
                })
            #expect(asked.isSubset(of: announced), "\(entry.kind): \(asked.subtracting(announced))")
        }
    }
}
