// What a role may read is what its replicas get: entities, rows, digests, records and the timeline (protocol §7.3, §7.5, §7.8, §7.9).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct ReaderConformanceTests {
    private static func deal(_ id: Identifier, of client: Identifier, owner: Peer) -> Change {
        Edit.create(
            "deal", id, ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(owner.member.text)])
    }

    private static func ids(_ pages: [PullPage], _ entity: String) throws -> Set<String> {
        Set(try pages.flatMap { try $0.rows(entity) }.compactMap { $0["id"]?.stringValue })
    }

    /// What `peer` holds by pulling, by digest, by asking for records and by the timeline is the same.
    private func expectAgreement(_ company: Company, _ peer: Peer) throws {
        let pages = try peer.rebuild(limit: 3)
        let digest = try required(try peer.json("digest"))
        for entity in company.core.schema.entities where entity.isServed {
            var held: [Identifier: Bool] = [:]
            for row in try pages.flatMap({ try $0.rows(entity.name) }) {
                guard let id = row["id"]?.stringValue.flatMap({ Identifier($0) }) else { continue }
                held[id] = row["deleted_at"]?.isNull
            }
            for key in pages.flatMap(\.evictions) where key.entity == entity.name { held[key.id] = nil }
            let live = Set(held.filter(\.value).keys)
            #expect(digest["entities"]?[entity.name]?["count"]?.integerValue == Int64(live.count), "\(peer.name): \(entity.name)")
            let all = company.core.snapshot().records.values.filter { $0.schema.name == entity.name && $0.isLive }.map(\.id).sorted()
            guard !all.isEmpty else { continue }
            let query = [("entity", entity.name), ("ids", all.prefix(100).map(\.text).joined(separator: ","))]
            let reply = try required(try peer.json("records", query.map { (name: $0.0, value: $0.1) }))
            let found = reply["entities"]?[0]?["rows"]?.arrayValue?.compactMap { $0[0]?.stringValue.flatMap { Identifier($0) } } ?? []
            #expect(Set(found) == live, "\(peer.name): \(entity.name)")
        }
        let reader = ReaderAccess(member: peer.member, role: peer.role)
        let feed = company.core.snapshot().feed.filter { reader.sees($0, in: company.core.schema) }.map(\.position.position)
        let told = try required(try peer.activity(ActivityRequest(after: 0, limit: 1_000)))
        #expect(told.entries.map(\.position.position) == feed, "\(peer.name)")
    }

    @Test func everyRole_isSentWhatItMayRead_andNothingElse() throws {
        try onEveryStore { (company: Company) throws in
            let olga = try company.enroll("Olga")
            let (ben, vera) = (try company.enroll("Ben", .manager), try company.enroll("Vera", .viewer))
            let (finn, farah) = (try company.enroll("Finn", .field), try company.enroll("Farah", .field))
            let client = company.create("client", ["name": "Acme", "tax_number": "T1"])
            let (linked, alone) = (company.create("contact", ["last_name": "L"]), company.create("contact", ["last_name": "A"]))
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            let document = company.create("document", ["title": "Quote"])
            company.create("document_line", ["document": .string(document.text), "label": "Work", "price": 1])
            let (his, hers) = (company.newID(), company.newID())
            company.write([
                try Edit.link("client_contact", ("client", client), ("contact", linked)), Self.deal(his, of: client, owner: finn),
                Self.deal(hers, of: client, owner: farah),
            ])
            company.write([try Edit.link("deal_contact", ("deal", his), ("contact", linked))])
            for peer in [olga, ben, vera, finn, farah] { try peer.pull() }
            #expect(
                try finn.edit([
                    Edit.create("movement", company.newID(), ["part": .string(part.text), "kind": "receive", "quantity_milli": 5])
                ]).status == .accepted)
            for peer in [olga, ben, vera, finn, farah] { try expectAgreement(company, peer) }
            // An entity of which it may read no row, rows of others, and what has no place yet.
            let pages = try finn.rebuild()
            #expect(try Self.ids(pages, "document").isEmpty && Self.ids(pages, "document_line").isEmpty)
            #expect(try Self.ids(pages, "deal") == [his.text])
            #expect(try Self.ids(pages, "deal_contact").count == 1)
            #expect(try Self.ids(pages, "contact") == [linked.text])
            #expect(try Self.ids(pages, "movement").count == 1, "what it made itself it keeps")
            #expect(try Self.ids(try farah.rebuild(), "movement").isEmpty)
            #expect(try Self.ids(try vera.rebuild(), "contact") == [linked.text, alone.text])
            #expect(try Self.ids(try ben.rebuild(), "replica") == [ben.id.text], "what is personal is its member's")
            #expect(try Self.ids(try olga.rebuild(), "replica").count == 5)
        }
    }

    @Test func dealThatChangesHands_leavesTheOne_andComesToTheOther() throws {
        try onEveryStore { (company: Company) throws in
            let olga = try company.enroll("Olga")
            let (finn, farah) = (try company.enroll("Finn", .field), try company.enroll("Farah", .field))
            let client = company.create("client", ["name": "Acme"])
            let contact = company.create("contact", ["last_name": "L"])
            let id = company.newID()
            let link = try Edit.link("deal_contact", ("deal", id), ("contact", contact))
            company.write([Self.deal(id, of: client, owner: finn), link])
            for peer in [olga, finn, farah] { try peer.pull() }
            func give(to peer: Peer) { company.write([Edit.patch("deal", id, ["owner": .string(peer.member.text)])]) }
            give(to: farah)
            let left = try required(try finn.page())
            #expect(left.evictions == [RecordKey("deal", id), link.key] && left.blocks.isEmpty, "the row of the link follows its deal")
            let come = try required(try farah.page())
            #expect(try come.row("deal", id) != nil && come.row("deal_contact", link.key.id) != nil)
            #expect(try required(try olga.page()).evictions.isEmpty)
            // There and back between two pulls: a row, and nothing to forget.
            give(to: finn)
            give(to: farah)
            #expect(try required(try finn.page()).evictions.count == 2, "a file that has them drops them, one that has not does nothing")
            let back = try required(try farah.page())
            #expect(try back.evictions.isEmpty && back.row("deal", id)?["owner"] == .string(farah.member.text))
            // Pages are cut between what leaves, too.
            give(to: olga)
            let first = try required(try farah.page(limit: 1))
            #expect(first.evictions == [RecordKey("deal", id)] && first.hasMore)
            let second = try required(try farah.page(limit: 1))
            #expect(second.evictions == [link.key] && !second.hasMore)
            for peer in [olga, finn, farah] { try expectAgreement(company, peer) }
        }
    }

    @Test func whatWasDeletedOfADeal_changesHandsWithIt() throws {
        try onEveryStore { (company: Company) throws in
            let (finn, farah) = (try company.enroll("Finn", .field), try company.enroll("Farah", .field))
            let client = company.create("client", ["name": "Acme"])
            let (contact, other) = (company.create("contact", ["last_name": "L"]), company.create("contact", ["last_name": "M"]))
            let id = company.newID()
            let links = try [contact, other].map { try Edit.link("deal_contact", ("deal", id), ("contact", $0)) }
            company.write([Self.deal(id, of: client, owner: finn)] + links)
            try finn.pull()
            try farah.pull()
            company.write([Edit.delete("contact", contact)])
            #expect((try required(try finn.page()).row("deal_contact", links[0].key.id)?["deleted_at"])?.integerValue != nil)
            company.write([Edit.patch("deal", id, ["owner": .string(farah.member.text)])])
            let left = try required(try finn.page())
            #expect(left.evictions.count == 3 && left.evictions.contains(links[0].key), "\(left.evictions)")
            let come = try required(try farah.page())
            #expect(
                (try come.row("deal_contact", links[0].key.id)?["deleted_at"])?.integerValue != nil, "whoever has the deal may bring it back")
            // Deleted and handed over between two pulls.
            company.write([Edit.delete("contact", other)])
            company.write([Edit.patch("deal", id, ["owner": .string(finn.member.text)])])
            #expect(try required(try farah.page()).evictions.count == 3)
            // What comes back is where its deal is.
            company.write([Edit.restore("contact", contact)])
            let back = try required(try finn.page())
            #expect(try back.row("deal_contact", links[0].key.id)?["deleted_at"] == .null)
            #expect((try back.row("deal_contact", links[1].key.id)?["deleted_at"])?.integerValue != nil)
            for peer in [finn, farah] { try expectAgreement(company, peer) }
        }
    }

    @Test func contact_followsItsLinks() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, finn) = (try company.enroll("Olga"), try company.enroll("Finn", .field))
            let (first, second) = (company.create("client", ["name": "A"]), company.create("client", ["name": "B"]))
            let contact = company.create("contact", ["last_name": "L"])
            #expect(try Self.ids(try finn.pull(), "contact").isEmpty)
            try olga.pull()
            let (one, two) = (
                try Edit.link("client_contact", ("client", first), ("contact", contact)),
                try Edit.link("client_contact", ("client", second), ("contact", contact))
            )
            #expect(try olga.edit([one]).status == .accepted)
            #expect(try required(try finn.page()).row("contact", contact) != nil)
            #expect(company.core.record("contact", contact)?.scopeKeys == ["client:\(first.text)"])
            let moved = try required(company.core.snapshot().feed.last)
            #expect(moved.kind == FeedEntry.rescoped && moved.changes.isEmpty && moved.dot == nil && moved.actor == nil)
            // Still held by another client.
            company.write([two])
            company.write([Edit.delete("client_contact", one.key.id)])
            let page = try required(try finn.page())
            #expect(try page.evictions.isEmpty && page.row("contact", contact) != nil)
            company.write([Edit.delete("client_contact", two.key.id)])
            #expect(try required(try finn.page()).evictions == [RecordKey("contact", contact)])
            company.write([Edit.restore("client_contact", two.key.id)])
            #expect(try required(try finn.page()).row("contact", contact) != nil)
            // With the client its links go, and with them the contact's place.
            try olga.pull()
            #expect(try olga.edit([Edit.delete("client", second)]).status == .accepted)
            let last = try required(try finn.page())
            #expect(last.evictions == [RecordKey("contact", contact)])
            #expect(try last.row("client", second)?["deleted_at"]?.isNull == false, "a tombstone stays where the record was")
            for peer in [olga, finn] { try expectAgreement(company, peer) }
        }
    }

    /// A move is nobody's edit: who knew the record knows it still.
    @Test func move_isNoConflict_andOnNobodysTimeline() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, ben) = (try company.enroll("Olga"), try company.enroll("Ben", .manager))
            let (client, contact) = (
                company.create("client", ["name": "A"]), company.create("contact", ["last_name": "L", "notes": "base"])
            )
            try olga.pull()
            try ben.pull()
            let before = company.core.record("contact", contact)
            #expect(try olga.edit([try Edit.link("client_contact", ("client", client), ("contact", contact))]).status == .accepted)
            let after = try required(company.core.record("contact", contact))
            #expect(after.position.position == company.core.position && after.updatedAt == before?.updatedAt)
            #expect(after.versions == before?.versions)
            #expect(try ben.page(versionsAfter: ben.checkpoint?.position.position)?.row("contact", contact)?["versions"] == .object([:]))
            let told = try required(try olga.activity(ActivityRequest(after: 0, limit: 1_000)))
            #expect(!told.entries.contains { $0.kind == FeedEntry.rescoped })
            // Guarded, with a clock from before the move.
            let clock = VectorClock(feed: FeedPosition(epoch: 0, position: company.core.position - 1))
            #expect(try ben.edit([Edit.patch("contact", contact, ["notes": "mine"])], clock: clock).status == .accepted)
            #expect(try ben.edit([Edit.delete("contact", contact)]).status == .accepted)
        }
    }

    @Test func role_decidesWhatACursorIsGoodFor() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, ben) = (try company.enroll("Olga"), try company.enroll("Ben", .manager))
            let client = company.create("client", ["name": "Acme"])
            let id = company.newID()
            company.write([Self.deal(id, of: client, owner: olga)])
            #expect(try Self.ids(try ben.pull(limit: 2), "deal") == [id.text])
            for (role, deals) in [("field", Set<String>()), ("viewer", [id.text]), ("manager", [id.text])] {
                company.write([Edit.patch("member", ben.member, ["role": .string(role)])])
                #expect(try ben.page() == nil)
                #expect(company.refused?.knownCode == .resyncRequired)
                #expect(try Self.ids(try ben.rebuild(limit: 2), "deal") == deals)
            }
        }
    }

    @Test func exits_areForgottenWithTombstones_andCursorsOfBeforeAreRefused() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, finn) = (try company.enroll("Olga"), try company.enroll("Finn", .field))
            let client = company.create("client", ["name": "Acme"])
            let id = company.newID()
            company.write([Self.deal(id, of: client, owner: finn)])
            #expect(try Self.ids(try finn.pull(), "deal") == [id.text])
            company.write([Edit.patch("deal", id, ["owner": .string(olga.member.text)])])
            company.core.forgetTombstones()
            #expect(try finn.page() == nil)
            #expect(company.refused?.knownCode == .resyncRequired)
            #expect(try Self.ids(try finn.rebuild(), "deal").isEmpty)
            #expect(try finn.page() != nil)
        }
    }

    /// The language of scopes: a role that may read nothing of an entity, subjects, links to subjects, states.
    @Test func everyScopeOfTheLanguage_movesWithWhatItFollows() throws {
        try onEveryStore(schema: .language) { (company: Company) throws in
            let (olga, finn) = (try company.enroll("Olga"), try company.enroll("Finn", .field))
            let client = company.create("client", ["name": "Acme"])
            company.create("budget", ["name": "Year"])
            let job = company.create("job", ["name": "Roof"])
            let folder = company.create("folder", ["name": "F", "holder_type": "job", "holder_id": .string(job.text)])
            let inside = company.create("paper", ["name": "P", "folder": .string(folder.text)])
            let loose = company.create("paper", ["name": "Q"])
            let thread = company.create("thread", ["title": "T", "participants": [.string(olga.member.text)]])
            let receipt = company.create("receipt", ["direction": "out", "client": .string(client.text)])
            try olga.pull()
            let pages = try finn.pull()
            #expect(try Self.ids(pages, "budget").isEmpty)
            #expect(try Self.ids(pages, "paper") == [inside.text])
            #expect(try Self.ids(pages, "thread").isEmpty && Self.ids(pages, "receipt").isEmpty)
            try expectAgreement(company, olga)
            try expectAgreement(company, finn)
            // A paper goes where its attachments point, and where those point goes with who takes part.
            let subject: JSONObject = ["paper": .string(loose.text), "subject_type": "thread", "subject_id": .string(thread.text)]
            let attachment = try required(company.core.schema.entity("attachment")?.deterministicID { subject[$0] })
            company.write([Edit.create("attachment", attachment, subject)])
            try expectAgreement(company, finn)
            #expect(company.core.record("paper", loose)?.scopeKeys == ["member:\(olga.member.text)"])
            company.write([Edit.patch("thread", thread, ["participants": ["add": [.string(finn.member.text)], "remove": []]])])
            let come = try required(try finn.page())
            for (entity, id) in [("thread", thread), ("attachment", attachment), ("paper", loose)] {
                #expect(try come.row(entity, id) != nil, "\(entity)")
            }
            company.write([Edit.patch("thread", thread, ["participants": ["add": [], "remove": [.string(finn.member.text)]]])])
            #expect(try required(try finn.page()).evictions.map(\.entity) == ["thread", "paper", "attachment"])
            // A state that opens a record to its client, and a job that is a subject.
            company.write([Edit.move("receipt", receipt, "issue", from: "draft")])
            company.write([Edit.patch("thread", thread, ["subject_type": "job", "subject_id": .string(job.text)])])
            let last = try required(try finn.page())
            #expect(try last.row("receipt", receipt) != nil && last.row("paper", loose) != nil)
            for peer in [olga, finn] { try expectAgreement(company, peer) }
        }
    }
}
