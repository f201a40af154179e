// Pull on a real database: pages, tombstones, versions, outcomes, cursors.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct PullTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    private func clients(_ count: Int) throws -> [Identifier] {
        let ids = (0..<count).map { _ in server.newIdentifier() }
        for start in stride(from: 0, to: count, by: 10) {
            try tenant.write(ids[start..<min(start + 10, count)].map { Edit.client($0) }).requireAccepted()
        }
        return ids
    }

    // MARK: Pages

    @Test func firstSync_seesEveryLastVersion_whileRecordsChangeBetweenPages() throws {
        let ids = try clients(50)
        let reader = try tenant.enroll()
        var names: [Identifier: String] = [:]
        var pages = 0
        var changed = 0
        while true {
            let page = try reader.page(limit: 7)
            pages += 1
            #expect(page.rowCount <= 7)
            for row in try page.rows("client") {
                names[try required(row["id"]?.stringValue.flatMap { Identifier($0) })] = row["name"]?.stringValue
            }
            #expect(page.hasMore == (page.checkpoint == nil))
            guard page.hasMore else { break }
            // One that was sent and one that was not; each moves to the end.
            if changed < 10 {
                for id in [ids[changed], ids[49 - changed]] {
                    try tenant.write([Edit.patch("client", id, ["name": .string("Changed \(changed)")])]).requireAccepted()
                }
                changed += 1
            }
        }
        #expect(pages > 8)
        #expect(Set(names.keys) == Set(ids))
        for id in ids { #expect(names[id] == (try tenant.record("client", id)?.text("name"))) }
        let head = try tenant.head.position.position
        #expect(reader.checkpoint?.position.position == head)
        #expect(try reader.page().rowCount == 0)
    }

    @Test func pages_areCutAtPositions_inOrderAcrossEntities() throws {
        let ids = try clients(6)
        for id in ids {
            try tenant.write([
                Change(
                    "site", server.newIdentifier(),
                    .create(fields: ["client": .string(id.text), "name": "Yard", "address": ["line1": "1 Quay"]]))
            ]).requireAccepted()
        }
        let reader = try tenant.enroll()
        var last: Int64 = 0
        var seen = 0
        for page in try reader.pull(limit: 4) {
            let positions = try ["tenant", "member", "replica", "client", "site"].flatMap { try page.rows($0) }
                .compactMap { $0["position"]?.integerValue }.sorted()
            #expect(positions.first.map { $0 > last } ?? true)
            last = positions.last ?? last
            seen += positions.count
        }
        #expect(seen == 6 + 6 + 3)
    }

    @Test func page_isCut_whenItIsTooLarge() throws {
        let notes = String(repeating: "x", count: 19_000)
        let ids = (0..<40).map { _ in server.newIdentifier() }
        try tenant.write(ids.map { Change("client", $0, .create(fields: ["name": "Big", "notes": .string(notes)])) }).requireAccepted()
        let window = PageWindow(
            tenant: tenant.id, reader: ReaderAccess(member: tenant.owner, role: .owner), after: 0, head: try tenant.head.position.position,
            floor: 0,
            tables: [try required(server.context.tables["client"])])
        let rows = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
            try window.read(limit: 1_000, bytes: 100_000, versionsAfter: nil, on: $0)
        }
        #expect(!rows.isLast)
        #expect(rows.count == 6, "the row that passes the limit is the last")
        #expect(try tenant.enroll().pull(limit: 5_000).count == 1)
        // And no more of it leaves the database: what is behind the cut would be read for nothing, however long it is.
        let result = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
            try $0.run(
                PostgresStatement(
                    window.tables[0].selectPage(for: window.reader, withVersions: false, bytes: 100_000),
                    [.identifier(tenant.id), .integer(0), .integer(window.head), .integer(0)]))
        }
        #expect(result.rowCount == 6)
    }

    /// Wherever the bytes end, at a row or in one, the next page begins behind it.
    @Test func pages_skipNothing_atAnyNumberOfBytes() throws {
        let ids = (0..<9).map { _ in server.newIdentifier() }
        for id in ids {
            try tenant.write([Edit.client(id, "Same length")]).requireAccepted()
            let site: JSONObject = ["client": .string(id.text), "name": "Quay", "address": ["line1": "1 Quay", "country": "PT"]]
            try tenant.write([Change("site", server.newIdentifier(), .create(fields: site))]).requireAccepted()
        }
        let head = try tenant.head.position.position
        let (clients, sites) = (try required(server.context.tables["client"]), try required(server.context.tables["site"]))
        let reader = ReaderAccess(member: tenant.owner, role: .owner)
        // To the byte where the first, the second and the third row end, and everywhere between.
        let lengths = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { connection in
            let rows = try connection.run(
                clients.selectPage(for: reader, withVersions: false, bytes: 1 << 20), .identifier(tenant.id), .integer(0), .integer(head),
                .integer(0))
            return (0..<3).map { row in rows.withUTF8(row, 1) { $0.count } ?? 0 }
        }
        let ends = [lengths[0], lengths[0] + lengths[1], lengths[0] + lengths[1] + lengths[2]]
        for tables in [[clients], [clients, sites]] {
            for bytes in ends + Array(stride(from: 1, to: 4_000, by: 211)) {
                var (after, rows) = (Int64(0), [String: Int]())
                try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { connection in
                    while after < head {
                        let page = try PageWindow(tenant: tenant.id, reader: reader, after: after, head: head, floor: 0, tables: tables)
                            .read(limit: 1_000, bytes: bytes, versionsAfter: nil, on: connection)
                        try #require(page.upTo > after)
                        for block in page.blocks {
                            let list = try JSONValue(parsing: [0x5B] + block.rows.joined(separator: [0x2C]) + [0x5D])
                            rows[block.entity, default: 0] += list.arrayValue?.count ?? 0
                        }
                        after = page.upTo
                    }
                }
                #expect(rows == (tables.count == 1 ? ["client": 9] : ["client": 9, "site": 9]), "\(bytes) bytes a page")
            }
        }
    }

    @Test func rows_hideWhatIsNotForTheReader() throws {
        let client = server.newIdentifier()
        try tenant.write([Change("client", client, .create(fields: ["name": "Harbor", "tax_number": "PT1", "credit_limit": 500]))])
            .requireAccepted()
        let owner = try required(try tenant.enroll().page().row("client", client))
        #expect(owner["tax_number"] == "PT1")
        let staff = try tenant.enroll(member: try tenant.addMember(role: .field), replication: "field")
        let page = try staff.page()
        let restricted = try required(try page.row("client", client))
        #expect(restricted["tax_number"]?.isNull == true)
        #expect(restricted["credit_limit"]?.isNull == true)
        #expect(restricted["name"] == "Harbor")
        // What never leaves the server does not, nor do secret fields or scope keys.
        #expect(!page.blocks.contains { ["account", "number_sequence"].contains($0.entity) })
        for block in page.blocks { #expect(!block.columns.contains("scope_keys") && !block.columns.contains("account")) }
    }

    /// What a role may see changes with it, for records that nobody touches as well.
    @Test func cursorOfAnotherRole_isAnsweredByResync() throws {
        let client = server.newIdentifier()
        try tenant.write([Change("client", client, .create(fields: ["name": "Harbor", "tax_number": "PT1"]))]).requireAccepted()
        let member = try tenant.addMember(role: .manager)
        let reader = try tenant.enroll(member: member)
        #expect(try required(try reader.page().row("client", client))["tax_number"] == "PT1")
        for (role, expected) in [("field", JSONValue.null), ("manager", "PT1")] {
            try tenant.write([Change("member", member, .patch(fields: ["role": .string(role)], was: [:]))]).requireAccepted()
            #expect(refusal { try reader.page() }?.knownCode == .resyncRequired)
            reader.cursor = nil
            #expect(try required(try reader.page().row("client", client))["tax_number"] == expected)
        }
        // An owner looks after everybody's replicas.
        try tenant.write([Change("member", member, .patch(fields: ["role": "owner"], was: [:]))]).requireAccepted()
        #expect(refusal { try reader.page() }?.knownCode == .resyncRequired)
    }

    // MARK: Tombstones

    @Test func tombstones_areSentLater_butNotOnAFirstSync() throws {
        let ids = try clients(3)
        try tenant.write([Change("client", ids[0], .delete)]).requireAccepted()
        let reader = try tenant.enroll()
        let first = try reader.page()
        #expect(try first.row("client", ids[0]) == nil)
        #expect(try first.rows("client").count == 2)
        try tenant.write([Change("client", ids[1], .delete)]).requireAccepted()
        let second = try reader.page()
        #expect(try required(try second.row("client", ids[1]))["deleted_at"]?.integerValue != nil)
        #expect(try second.rows("client").count == 1)
    }

    @Test func tombstones_areSent_whenTheyHappenBetweenPagesOfAFirstSync() throws {
        let ids = try clients(12)
        let reader = try tenant.enroll()
        _ = try reader.page(limit: 8)
        try tenant.write([Change("client", ids[0], .delete)]).requireAccepted()
        let rest = try reader.pull(limit: 8)
        #expect(try rest.contains { try $0.row("client", ids[0])?["deleted_at"]?.integerValue != nil })
    }

    @Test func resync_isRequired_belowTheTombstoneHorizonOnly() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let ids = (0..<3).map { _ in server.newIdentifier() }
        try tenant.write(ids.map { Edit.client($0) }).requireAccepted()
        let (stale, fresh, midway) = (try tenant.enroll(), try tenant.enroll(), try tenant.enroll())
        let early = try tenant.enroll()
        try stale.pull()
        _ = try early.page(limit: 2)
        try tenant.write([Change("client", ids[0], .delete)]).requireAccepted()
        try fresh.pull()
        server.clock.with { $0 += 91 * 86_400_000 }
        _ = try midway.page(limit: 2)
        let maintenance = Maintenance(context: server.context, connection: server.connection)
        #expect(try maintenance.run() == 1)
        #expect(try maintenance.run() == 0)
        #expect(try tenant.count("SELECT count(*) FROM public.client") == 2)
        #expect(refusal { try stale.page() }?.knownCode == .resyncRequired)
        // A first sync that began before the delete may hold the record.
        #expect(refusal { try early.page() }?.knownCode == .resyncRequired)
        #expect(try fresh.page().rowCount == 0)
        // A first sync that was under way never needed the tombstone.
        #expect(try midway.pull().last?.hasMore == false)
        stale.cursor = nil
        #expect(try stale.page().rows("client").count == 2)
        // Younger tombstones stay.
        try tenant.write([Change("client", ids[1], .delete)]).requireAccepted()
        #expect(try maintenance.pruneTombstones(tenant: tenant.id) == 0)
    }

    // MARK: Versions

    @Test func versions_tellOnlyNews() throws {
        let writer = try tenant.enroll()
        let (old, new) = (server.newIdentifier(), server.newIdentifier())
        try writer.edit([Edit.client(old)])
        try writer.edit([Edit.patch("client", old, ["phone": "+15550100"])])
        let reader = try tenant.enroll()
        let first = try reader.page()
        #expect(try first.row("client", old)?["versions"]?.isNull == true, "a first sync needs none")
        try writer.edit([Edit.patch("client", old, ["name": "Renamed", "tags": ["add": ["vip"]], "custom": [:]]), Edit.client(new)])
        let second = try reader.page()
        let versions = try required(try second.row("client", old)?["versions"]?.objectValue)
        #expect(versions.keys == ["name", "tags"])
        let tag = try required(versions["name"].flatMap { VersionTag(json: $0) })
        #expect(tag.dot == Dot(replica: writer.id, counter: 3))
        #expect(tag.actor == tenant.owner)
        #expect(try second.row("client", new)?["versions"]?.isNull == true, "its creation is all there is to know")
    }

    @Test func versions_goBackAsFarAsAsked() throws {
        let writer = try tenant.enroll()
        let client = server.newIdentifier()
        try writer.edit([Edit.client(client)])
        let created = try tenant.head.position.position
        try writer.edit([Edit.patch("client", client, ["name": "Second"])])
        let renamed = try tenant.head.position.position
        try writer.edit([Edit.patch("client", client, ["phone": "+15550100"])])
        func keys(after position: Int64) throws -> [String]? {
            let reader = try tenant.enroll()
            return try required(try reader.page(versionsAfter: position).row("client", client))["versions"]?.objectValue?.keys
        }
        #expect(try keys(after: 0) == ["*", "name", "phone"])
        #expect(try keys(after: created) == ["name", "phone"])
        #expect(try keys(after: renamed) == ["phone"])
        #expect(try keys(after: renamed + 1) == nil)
    }

    @Test func versions_areLeftOut_whenALinkWasOnlyCreated() throws {
        let client = server.newIdentifier()
        let contact = server.newIdentifier()
        let reader = try tenant.enroll()
        try reader.pull()
        let link = try required(server.context.schema.entity("client_contact")).deterministicID {
            $0 == "client" ? .string(client.text) : .string(contact.text)
        }
        let id = try required(link)
        try tenant.write([
            Edit.client(client), Change("contact", contact, .create(fields: ["last_name": "Reis"])),
            Change(
                "client_contact", id, .create(fields: ["client": .string(client.text), "contact": .string(contact.text), "role": "Buyer"])),
        ]).requireAccepted()
        #expect(try reader.page().row("client_contact", id)?["versions"]?.isNull == true)
        // To whoever knew the creation the later change is news.
        try tenant.write([Edit.patch("client_contact", id, ["role": "Boss"])]).requireAccepted()
        #expect(try reader.page().row("client_contact", id)?["versions"]?.objectValue?.keys == ["role"])
    }

    // MARK: Outcomes

    @Test func outcomes_comeWithTheCheckpoint_afterACounter() throws {
        let replica = try tenant.enroll()
        let ids = (0..<3).map { _ in server.newIdentifier() }
        let reply = try replica.push([
            replica.seal([Edit.client(ids[0])]), replica.seal([Edit.client(ids[1], "")]), replica.seal([Edit.client(ids[2])]),
        ])
        let first = try replica.page(limit: 2)
        #expect(first.outcomes.isEmpty && first.hasMore)
        let last = try replica.page(outcomesAfter: 1)
        #expect(last.checkpoint?.acknowledged == 3)
        #expect(last.outcomes.map(\.counter) == [2, 3])
        #expect(last.outcomes.map(\.outcome) == reply.outcomes[1...].map(\.outcome))
        #expect(try replica.page(outcomesAfter: 3).outcomes.isEmpty)
        // Other replicas' outcomes are none of its business.
        #expect(try tenant.enroll().page().outcomes.isEmpty)
    }

    @Test func page_isWorthWaiting_onlyWhenThereIsNothingNew() throws {
        let replica = try tenant.enroll()
        let pull = Pull(context: server.context, connection: server.connection)
        #expect(try pull.run(replica.request(), token: replica.token).isEmpty == false, "a first sync of nothing is news")
        try replica.pull()
        #expect(try pull.run(replica.request(), token: replica.token).isEmpty)
        _ = try replica.edit([Edit.client(server.newIdentifier(), "")])
        let known = try pull.run(replica.request(outcomesAfter: 1), token: replica.token)
        #expect(known.isEmpty, "a rejection moves the feed, but not what a replica holds")
        #expect(try pull.run(replica.request(), token: replica.token).isEmpty == false, "its outcome is news")
    }

    // MARK: Cursors

    @Test func cursor_isRefused_whenTamperedOrForeign() throws {
        let replica = try tenant.enroll()
        try replica.pull()
        let genuine = try required(replica.cursor)
        let bytes = try required(Base64URL.decode(genuine))
        for index in stride(from: 0, to: bytes.count, by: 7) {
            var forged = bytes
            forged[index] ^= 1
            replica.cursor = Base64URL.encode(forged)
            #expect(refusal { try replica.page() }?.knownCode == .invalidCursor, "byte \(index)")
        }
        for text in ["", "x", genuine + "A", String(genuine.dropLast()), String(repeating: "A", count: 2_000)] {
            replica.cursor = text
            #expect(refusal { try replica.page() }?.knownCode == .invalidCursor)
            #expect(refusal { try replica.push([]) }?.knownCode == .invalidCursor)
        }
        let stranger = try server.makeTenant().enroll()
        stranger.cursor = genuine
        #expect(refusal { try stranger.page() }?.knownCode == .invalidCursor)
    }

    // MARK: Digest

    @Test func digest_equalsTheContentOfAFullPull() throws {
        _ = try clients(5)
        let replica = try tenant.enroll()
        try replica.edit([
            Change(
                "part", server.newIdentifier(), .create(fields: ["sku": "p-1", "name": "Bolt", "detail": ["b": 1, "a": [true, .null]]]))
        ])
        let reply = try JSONValue(parsing: try Digest(context: server.context, connection: server.connection).run(token: replica.token))
        let page = try replica.page()
        #expect(reply["position"]?.integerValue == page.checkpoint?.mark.position.position)
        for table in server.context.tables.replicated {
            var digest = ContentDigest(of: table.entity)
            let records = try page.blocks.filter { $0.entity == table.entity.name }.flatMap { block in
                try block.rows.map { range in
                    try RecordState(
                        schema: table.entity, columns: block.columns, row: try required(JSONValue(parsing: page.bytes[range]).arrayValue),
                        epoch: 0)
                }
            }
            for record in records.sorted(by: { $0.id < $1.id }) { digest.add(record) }
            let entity = reply["entities"]?[table.entity.name]
            #expect(entity?["count"]?.integerValue == digest.count, "\(table.entity.name)")
            #expect(entity?["hash"]?.stringValue == digest.finish(), "\(table.entity.name)")
        }
        #expect(reply["entities"]?["account"] == nil)
    }
}
