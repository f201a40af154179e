// Nobody writes what they may not see, and what they learn by trying is nothing (protocol §7.10).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct SightConformanceTests {
    private struct Scene {
        let company: Company
        let olga: Peer
        let finn: Peer
        let client: Identifier
        /// Connected to the client by `link`, so that the field role sees it.
        let linked: Identifier
        let link: Change
        /// Connected to nothing.
        let alone: Identifier
        /// Of Olga, and of Finn.
        let hers: Identifier
        let his: Identifier

        init(_ company: Company) throws {
            self.company = company
            (olga, finn) = (try company.enroll("Olga"), try company.enroll("Finn", .field))
            client = company.create("client", ["name": "Acme"])
            linked = company.create("contact", ["last_name": "Linked"])
            alone = company.create("contact", ["last_name": "Alone"])
            link = try Edit.link("client_contact", ("client", client), ("contact", linked))
            let (client, hers, his) = (client, company.newID(), company.newID())
            (self.hers, self.his) = (hers, his)
            func deal(_ id: Identifier, _ owner: Peer) -> Change {
                Edit.create(
                    "deal", id, ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(owner.member.text)])
            }
            company.write([link, deal(hers, olga), deal(his, finn)])
            try olga.pull()
            try finn.pull()
        }
    }

    private static func findings(_ outcome: Outcome) -> [String] {
        outcome.violations.map {
            "\($0.entity).\($0.field ?? "") \($0.code): \($0.message) \(JSONValue.object($0.parameters).canonicalText)"
        }
    }

    @Test func writeToAnUnseenRecord_isAnsweredAsToNone() throws {
        try onEveryStore { (company: Company) throws in
            let scene = try Scene(company)
            let head = company.core.snapshot().records
            func expectNothing(_ entity: String, _ unseen: Identifier, _ write: (Identifier) throws -> Change) throws {
                let outcome = try scene.finn.edit([write(unseen)])
                #expect(outcome.status == .rejected)
                #expect(Self.findings(outcome) == Self.findings(try scene.finn.edit([write(company.newID())])))
                #expect(outcome.violations.map(\.code) == ["not_found"] && outcome.violations.first?.id == unseen)
                #expect(company.core.record(entity, unseen)?.position == head[RecordKey(entity, unseen)]?.position)
            }
            try expectNothing("contact", scene.alone) { Edit.patch("contact", $0, ["job_title": "Chef"]) }
            try expectNothing("contact", scene.alone) { Edit.delete("contact", $0) }
            try expectNothing("contact", scene.alone) { Edit.restore("contact", $0) }
            try expectNothing("deal", scene.hers) { Edit.patch("deal", $0, ["title": "Mine"]) }
            try expectNothing("deal", scene.hers) { Edit.move("deal", $0, "win", from: "lead") }
            try expectNothing("deal", scene.hers) { Edit.delete("deal", $0) }
            // A tombstone that was never for them does not tell of itself either.
            company.write([Edit.delete("contact", scene.alone)])
            let outcome = try scene.finn.edit([Edit.patch("contact", scene.alone, ["job_title": "Chef"])])
            #expect(outcome.violations.map(\.code) == ["not_found"])
            // What they see they may still write, as their role may; others lose nothing.
            #expect(try scene.finn.edit([Edit.patch("contact", scene.linked, ["job_title": "Chef"])]).status == .accepted)
            #expect(try scene.finn.edit([Edit.patch("deal", scene.his, ["title": "Mine"])]).status == .accepted)
            #expect(try scene.olga.edit([Edit.patch("deal", scene.his, ["notes": "Ours"])]).status == .accepted)
        }
    }

    /// Made offline while it was theirs: the record has left meanwhile. The set is rejected with words, so the edit stays with its author.
    @Test func editOfWhatHasLeft_isRejected_andItsAnswerStays() throws {
        try onEveryStore { (company: Company) throws in
            let scene = try Scene(company)
            let edit = scene.finn.seal([Edit.patch("contact", scene.linked, ["job_title": "Chef"])])
            let other = scene.finn.seal([Edit.patch("client", scene.client, ["phone": "+15550100"])])
            company.write([Edit.delete("client_contact", scene.link.key.id)])
            let body = scene.finn.body([edit, other])
            let answers = try required(try scene.finn.push(raw: body))
            #expect(answers.map(\.status) == [.rejected, .accepted], "it holds up nothing behind it")
            #expect(answers[0].violations.map(\.code) == ["not_found"])
            #expect(answers[0].violations.first?.message == "there is no such contact, or it is no longer yours to see")
            // It comes back, and so does the edit, as a set of its own; the stored answer is what it was.
            company.write([scene.link])
            #expect(try required(try scene.finn.push(raw: body)).map(\.status) == [.rejected, .accepted])
            #expect(company.value("contact", scene.linked, "job_title") == .null)
            #expect(try scene.finn.edit([Edit.patch("contact", scene.linked, ["job_title": "Chef"])]).status == .accepted)
        }
    }

    @Test func sight_isThatOfTheBeginningOfTheSet() throws {
        try onEveryStore { (company: Company) throws in
            let scene = try Scene(company)
            // Who gives away may say more with the same command.
            let given: Change = Edit.patch("client", scene.client, ["owner": .string(scene.olga.member.text)])
            #expect(try scene.finn.edit([given, Edit.patch("contact", scene.linked, ["job_title": "Chef"])]).status == .accepted)
            // What they make they see while they make it, wherever it ends up.
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            let movement = company.newID()
            let made = Edit.create("movement", movement, ["part": .string(part.text), "kind": "receive", "quantity_milli": 5])
            #expect(try scene.finn.edit([made]).status == .accepted)
            #expect(company.value("part", part, "on_hand_milli") == .integer(5), "what follows from it is not their write")
            // An owner or a manager sees all of it.
            #expect(try scene.olga.edit([Edit.patch("contact", scene.alone, ["job_title": "Chef"])]).status == .accepted)
        }
    }

    @Test func effectsAndCascades_reachWhatTheirAuthorDoesNotSee() throws {
        try onEveryStore { (company: Company) throws in
            let scene = try Scene(company)
            let more = try Edit.link("deal_contact", ("deal", scene.his), ("contact", scene.alone))
            company.write([more])
            try scene.finn.pull()
            #expect(try scene.finn.edit([Edit.delete("deal", scene.his)]).status == .accepted)
            #expect(!company.isLive("deal_contact", more.key.id))
        }
    }

    @Test func personalRecordsOfOthers_areNotThere() throws {
        try onEveryStore { (company: Company) throws in
            let scene = try Scene(company)
            let ben = try company.enroll("Ben", .manager)
            try ben.pull()
            #expect(try ben.edit([Edit.patch("replica", scene.finn.id, ["label": "mine"])]).violations.map(\.code) == ["not_found"])
            #expect(try ben.edit([Edit.patch("replica", ben.id, ["label": "mine"])]).status == .accepted)
            #expect(try scene.olga.edit([Edit.move("replica", scene.finn.id, "revoke", from: "active")]).status == .accepted)
        }
    }
}
