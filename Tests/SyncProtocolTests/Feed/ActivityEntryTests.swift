// The entry's JSON form keeps everything, and says what is wrong with one that cannot be read.

import SyncProtocol
import TestSupport
import Testing

@Suite struct ActivityEntryTests {
    private func entries() -> [ActivityEntry] {
        let tenant = ModelTenant()
        var replica = ModelAuthor(tenant)
        let (client, deal, contact) = (tenant.newID(), tenant.newID(), tenant.newID())
        tenant.submit(
            replica.seal(
                [
                    Change("client", client, .create(fields: ["name": "Harbor", "tax_number": "PT9"])),
                    Change("contact", contact, .create(fields: ["last_name": "Ortiz"])),
                    Change(
                        "deal", deal,
                        .create(fields: [
                            "title": "Roof", "client": .string(client.text), "currency": "USD", "owner": .string(tenant.owner.text),
                        ])),
                ], at: 5))
        tenant.submit(replica.seal([Change("client", tenant.newID(), .patch(fields: ["name": "x"], was: [:]))], at: 6))
        let link: JSONObject = ["deal": .string(deal.text), "contact": .string(contact.text)]
        let id = Schema.testing.entity("deal_contact")?.deterministicID { link[$0] } ?? .zero
        tenant.server([Change("deal_contact", id, .create(fields: link))])
        return tenant.feed.map(ActivityEntry.init)
    }

    @Test func json_keepsEverything() throws {
        let entries = entries()
        #expect(Set(entries.map(\.kind)).isSuperset(of: ["member.created", "deal.created", "sync.rejected"]))
        #expect(entries.contains { !$0.restrictedChanges.isEmpty } && entries.contains { $0.dot != nil })
        for entry in entries {
            let parsed = try JSONValue(parsing: entry.json.canonicalBytes())
            #expect(try ActivityEntry(json: parsed) == entry)
        }
        #expect(entries.first?.eventID == "0-1")
    }

    @Test func anchors_followTheParents() throws {
        let entries = entries()
        let client = try #require(entries.first { $0.kind == "client.created" }).key.id
        let link = try #require(entries.last)
        #expect(link.kind == "deal_contact.created")
        #expect(link.anchors.contains("client:\(client.text)"), "through its deal")
        #expect(!link.anchors.contains { $0.hasPrefix("member:") })
    }

    @Test(arguments: [
        "position", "epoch", "at", "actor_kind", "entity", "record", "operation", "kind", "category", "level", "depth", "operation_at",
    ])
    func json_namesTheMemberThatIsWrong(_ member: String) throws {
        guard var object = entries().first?.json.objectValue else { return }
        object[member] = nil
        #expect(throws: WireError.self) { try ActivityEntry(json: .object(object)) }
        object[member] = ["not": "this"]
        do {
            _ = try ActivityEntry(json: .object(object))
            Issue.record("read an entry whose \(member) is an object")
        } catch {
            #expect(error.field == member)
        }
    }
}
