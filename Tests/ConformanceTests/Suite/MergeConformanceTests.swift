// What becomes of concurrent edits, rules, effects, documents and links when a store loads and keeps the records (protocol §5, §6).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct MergeConformanceTests {
    /// Two members who hold one client, and nothing newer.
    private func meet(_ company: Company, _ fields: JSONObject) throws -> (ana: Peer, ben: Peer, client: Identifier) {
        let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben", .manager))
        let client = company.create("client", fields)
        try ana.pull()
        try ben.pull()
        return (ana, ben, client)
    }

    @Test func everyPolicy_mergesConcurrentEdits() throws {
        try onEveryStore { (company: Company) throws in
            company.create("custom_field", ["entity": "client", "key": "k", "label": "K", "kind": "text"])
            company.create("custom_field", ["entity": "client", "key": "l", "label": "L", "kind": "text"])
            let (ana, ben, client) = try meet(company, ["name": "Acme", "notes": "base", "tags": ["a", "b"], "custom": ["k": "1"]])
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            ben.clockError = 1_000
            let first = try ben.edit([
                Edit.patch(
                    "client", client,
                    [
                        "legal_name": "Ben's", "notes": "Ben's", "tags": ["add": ["a", "c"], "remove": ["b"]],
                        "custom": ["k": "Ben", "l": "Ben"],
                    ]),
                Edit.patch("part", part, ["on_hand_milli": 500]),
            ])
            #expect(first.status == .accepted)
            let second = try ana.edit([
                Edit.patch(
                    "client", client,
                    ["legal_name": "Ana's", "tags": ["add": ["d"], "remove": ["a", "b"]], "custom": ["k": "Ana", "l": .null]]),
                Edit.patch("part", part, ["on_hand_milli": -200]),
            ])
            #expect(second.status == .accepted)
            #expect(second.superseded.map(\.field) == ["custom", "custom", "legal_name"])
            #expect(company.value("client", client, "legal_name") == "Ben's")
            #expect(company.value("client", client, "tags") == ["a", "c", "d"])
            #expect(company.value("client", client, "custom") == ["k": "Ben", "l": "Ben"])
            #expect(company.value("part", part, "on_hand_milli") == 300)
            let third = try ana.edit([Edit.patch("client", client, ["notes": "Ana's"], was: ["notes": "base"])])
            #expect(third.violations.map(\.code) == ["conflict"])
            #expect(third.violations.first?.parameters["server"] == "Ben's")
            #expect(try ana.edit([Edit.patch("client", client, ["notes": "Ben's"])]).status == .accepted)
        }
    }

    @Test func serverWrites_areKnownThroughTheFeedOnly() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, _, client) = try meet(company, ["name": "Acme", "notes": "base"])
            let before = company.core.position
            company.write([Edit.patch("client", client, ["notes": "server"])])
            #expect(try ana.edit([Edit.patch("client", client, ["notes": "Ana"])]).violations.map(\.code) == ["conflict"])
            try ana.pull()
            #expect(try ana.edit([Edit.patch("client", client, ["notes": "Ana"])]).status == .accepted)
            // A write that answers an older state meets the same guard.
            #expect(
                company.write([Edit.patch("client", client, ["notes": "stale"])], knowing: before).violations.map(\.code) == ["conflict"])
            #expect(company.write([Edit.patch("client", client, ["notes": "fresh"])]).status == .accepted)
        }
    }

    @Test func effects_writeWithTheirCause() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben, client) = try meet(company, ["name": "Acme"])
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            func movement(_ kind: String, _ quantity: Int64) -> Change {
                Edit.create(
                    "movement", company.newID(), ["part": .string(part.text), "kind": .string(kind), "quantity_milli": .integer(quantity)])
            }
            let received = try ana.edit([movement("receive", 700)])
            #expect(received.positions.map { $0.upperBound - $0.lowerBound } == 1)
            #expect(try ben.edit([movement("use", -900)]).status == .accepted)
            #expect(company.value("part", part, "on_hand_milli") == -200)
            #expect(company.core.snapshot().feed.last?.kind == "part.stock_negative")
            #expect(try ana.edit([movement("use", 5)]).violations.map(\.code) == ["out_of_range"])
            // One primary contact a client.
            let contacts = ["Ortiz", "Ng"].map { company.create("contact", ["last_name": .string($0)]) }
            let links = try contacts.map { try Edit.link("client_contact", ("client", client), ("contact", $0), ["is_primary": 1]) }
            #expect(try ana.edit([links[0]]).status == .accepted)
            #expect(try ben.edit([links[1]]).status == .accepted)
            #expect(links.map { company.value("client_contact", $0.key.id, "is_primary") } == [0, 1])
        }
    }

    @Test func delete_takesItsRows_andRestoreBringsExactlyThoseBack() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben, client) = try meet(company, ["name": "Acme"])
            let address: JSONValue = ["line1": "Quay 1"]
            let sites = ["Yard", "Shop"].map {
                company.create("site", ["client": .string(client.text), "name": .string($0), "address": address])
            }
            let child = company.create("client", ["name": "Daughter", "parent": .string(client.text)])
            company.write([Edit.delete("site", sites[0])])
            // Ana has not seen the sites that would go as well.
            #expect(try ana.edit([Edit.delete("client", client)]).violations.map(\.code) == ["delete_conflict"])
            try ana.pull()
            let outcome = try ana.edit([Edit.delete("client", client)])
            #expect(outcome.status == .accepted)
            #expect(!company.isLive("site", sites[1]))
            #expect(company.value("client", child, "parent") == .null)
            #expect(try ana.edit([Edit.delete("client", client)]).status == .noop)
            #expect(try ben.edit([Edit.patch("client", client, ["phone": "+15550100"])]).violations.map(\.code) == ["record_deleted"])
            #expect(
                try ben.edit([Edit.create("site", company.newID(), ["client": .string(client.text), "name": "N", "address": address])])
                    .violations.map(\.code) == ["reference_deleted"])
            #expect(try ben.edit([Edit.restore("client", client)]).status == .accepted)
            #expect(company.isLive("site", sites[1]))
            #expect(!company.isLive("site", sites[0]))
            // A deal holds its client.
            let deal: JSONObject = ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(ana.member.text)]
            company.create("deal", deal)
            try ana.pull()
            #expect(try ana.edit([Edit.delete("client", client)]).violations.map(\.code) == ["referenced"])
        }
    }

    @Test func document_locksWithItsLines() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben", .manager))
            let document = company.create("document", ["title": "Quote"])
            try ana.pull()
            try ben.pull()
            #expect(try ben.edit([Edit.move("document", document, "issue", from: "draft")]).violations.map(\.code) == ["empty_document"])
            let line = company.newID()
            #expect(
                try ana.edit([Edit.create("document_line", line, ["document": .string(document.text), "label": "Work", "price": 100])])
                    .status == .accepted)
            let unseen = try ben.edit([Edit.move("document", document, "issue", from: "draft")])
            #expect(unseen.violations.map(\.field) == ["$aggregate"])
            try ben.pull()
            #expect(try ben.edit([Edit.move("document", document, "issue", from: "draft")]).status == .accepted)
            #expect(company.value("document", document, "number") != .null)
            #expect(try ana.edit([Edit.patch("document_line", line, ["price": 90])]).violations.map(\.code) == ["locked"])
            #expect(try ana.edit([Edit.patch("document", document, ["title": "Other"])]).violations.map(\.code) == ["locked"])
            #expect(try ana.edit([Edit.patch("document", document, ["memo": "free"])]).status == .accepted)
            #expect(try ana.edit([Edit.delete("document", document)]).violations.map(\.code) == ["locked"])
            #expect(try ana.edit([Edit.move("document", document, "issue", from: "draft")]).status == .noop)
            #expect(
                try ana.edit([Edit.move("document", document, "void", from: "draft", ["reason": "x"])]).violations.map(\.code) == [
                    "stale_transition"
                ])
        }
    }

    @Test func transitions_rebaseWhereTheMachineSaysSo() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben, client) = try meet(company, ["name": "Acme"])
            let deal = company.create(
                "deal", ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(ana.member.text), "amount": 100])
            #expect(try ben.edit([Edit.move("deal", deal, "propose", from: "lead")]).rebased == false)
            let moved = try ana.edit([Edit.move("deal", deal, "negotiate", from: "lead")])
            #expect(moved.status == .accepted)
            #expect(moved.rebased)
            #expect(
                try ana.edit([Edit.move("deal", deal, "lose", from: "negotiation", ["reason": "price", "more": 1])]).violations.map(\.code)
                    == ["unknown_field"])
            #expect(try ana.edit([Edit.move("deal", deal, "lose", from: "negotiation", ["reason": "price"])]).status == .accepted)
            #expect(company.value("deal", deal, "lost_reason") == "price")
            #expect(company.value("deal", deal, "closed_at") != .null)
            #expect(try ben.edit([Edit.move("deal", deal, "win", from: "proposal")]).violations.map(\.code) == ["stale_transition"])
            #expect(try ben.edit([Edit.move("deal", deal, "fly", from: "lost")]).violations.map(\.code) == ["unknown_transition"])
            #expect(try ben.edit([Edit.move("deal", deal, "reopen", from: "lost")]).status == .accepted)
            #expect(company.value("deal", deal, "closed_at") == .null)
            #expect(try ben.edit([Edit.move("client", client, "archive", from: "active")]).violations.map(\.code) == ["open_children"])
        }
    }

    @Test func links_areOneRecord_whoeverMakesThem() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben, client) = try meet(company, ["name": "Acme"])
            let contact = company.create("contact", ["last_name": "Ortiz"])
            ben.clockError = 1_000
            let first = try Edit.link("client_contact", ("client", client), ("contact", contact), ["role": "Buyer"])
            let second = try Edit.link("client_contact", ("client", client), ("contact", contact), ["role": "Boss", "is_billing": 1])
            #expect(try ben.edit([first]).status == .accepted)
            let merged = try ana.edit([second])
            #expect(merged.status == .accepted)
            #expect(merged.superseded.map(\.field) == ["role"])
            #expect(company.value("client_contact", first.key.id, "is_billing") == 1)
            let wrong = Edit.create(
                "client_contact", company.newID(), ["client": .string(client.text), "contact": .string(contact.text)])
            #expect(try ana.edit([wrong]).violations.map(\.code) == ["invalid_format"])
            try ana.pull()
            #expect(try ana.edit([Edit.delete("client_contact", first.key.id)]).status == .accepted)
            #expect(try ben.edit([first]).status == .accepted)
            #expect(company.isLive("client_contact", first.key.id))
            let id = company.newID()
            #expect(try ana.edit([Edit.create("contact", id, ["last_name": "Ng"])]).status == .accepted)
            #expect(try ben.edit([Edit.create("contact", id, ["last_name": "Ng"])]).violations.map(\.code) == ["duplicate"])
        }
    }

    @Test func rules_seeWhatTheStoreHolds() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben, client) = try meet(company, ["name": "Acme"])
            company.create("part", ["sku": "bolt", "name": "Bolt"])
            #expect(
                try ana.edit([Edit.create("part", company.newID(), ["sku": "bolt", "name": "Other"])]).violations.map(\.code) == [
                    "duplicate"
                ])
            // Two in one set see each other.
            let twice = ["nut", "nut"].map { Edit.create("part", company.newID(), ["sku": .string($0), "name": "Nut"]) }
            #expect(try ana.edit(twice).violations.map(\.code).contains("duplicate"))
            let daughter = company.create("client", ["name": "Daughter", "parent": .string(client.text)])
            let grand = company.create("client", ["name": "Granddaughter", "parent": .string(daughter.text)])
            try ana.pull()
            #expect(
                try ana.edit([Edit.patch("client", client, ["parent": .string(grand.text)])]).violations.map(\.code) == ["hierarchy_cycle"])
            #expect(
                try ana.edit([Edit.patch("client", client, ["parent": .string(company.newID().text)])]).violations.map(\.code) == [
                    "reference_missing"
                ])
            #expect(try ana.edit([Edit.patch("client", client, ["custom": ["k": "1"]])]).violations.map(\.code) == ["unknown_custom_field"])
            #expect(
                try ben.edit([Edit.patch("client", client, ["kinds": ["add": [], "remove": ["customer"]]])]).violations.map(\.code) == [
                    "too_few"
                ])
            // Texts that only Unicode tells apart come back as they were stored.
            let name = "Ångström 👩‍🚀 \"quoted\" \\ ünïcode\u{2028}"
            #expect(
                try ben.edit([Edit.patch("client", client, ["legal_name": .string(name), "notes": "two\nlines\t\u{1}"])]).status
                    == .accepted)
            #expect(try ana.pull().last?.row("client", client)?["legal_name"] == company.value("client", client, "legal_name"))
        }
    }

    @Test func set_takesEffectWhole_orNotAtAll() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, _, client) = try meet(company, ["name": "Acme"])
            let (good, bad) = (company.newID(), company.newID())
            let sets = [
                ana.seal([Edit.patch("client", client, ["phone": "+15550100"]), Edit.create("contact", bad, [:])]),
                ana.seal([Edit.create("contact", good, ["last_name": "Ng"])]),
            ]
            #expect(try ana.push(sets)?.map(\.status) == [.rejected, .accepted])
            #expect(company.value("client", client, "phone") == .null)
            #expect(company.core.record("contact", bad) == nil)
            #expect(company.isLive("contact", good))
            // What a set did itself is known to its later changes.
            let id = company.newID()
            let outcome = try ana.edit([
                Edit.create("contact", id, ["last_name": "Ortiz", "notes": "one"]), Edit.patch("contact", id, ["notes": "two"]),
                Edit.delete("contact", id), Edit.restore("contact", id),
            ])
            #expect(outcome.status == .accepted)
            #expect(company.value("contact", id, "notes") == "two")
        }
    }
}
