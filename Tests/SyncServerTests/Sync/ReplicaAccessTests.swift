// A replica holds what its member's role may read, by the same rule as REST; and a page costs no more for what it hides.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ReplicaAccessTests {
    private let rest: RestUnderTest
    private var server: ServerUnderTest { rest.server }
    private var tenant: TenantUnderTest { rest.tenant }

    init() throws { rest = try RestUnderTest() }

    private func deal(_ owner: Identifier, client: String) throws -> String {
        try rest.create("deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(owner.text)]).id
    }

    /// Something of everything: theirs and others', linked and not.
    private func fill(for members: [Identifier]) throws {
        let client = try rest.create("client", ["name": "Harbor", "tax_number": "PT9"]).id
        let linked = try rest.create("contact", ["last_name": "Linked"]).id
        try rest.create("contact", ["last_name": "Alone"])
        try rest.create("client_contact", ["client": .string(client), "contact": .string(linked)])
        try rest.create("site", ["client": .string(client), "name": "Quay", "address": ["line1": "Pier 1", "city": "Harbor"]])
        for member in members + [tenant.owner] {
            let id = try deal(member, client: client)
            try rest.create("deal_contact", ["deal": .string(id), "contact": .string(linked)])
        }
        let part = try rest.create("part", ["sku": "bolt", "name": "Bolt"]).id
        try rest.create("movement", ["part": .string(part), "kind": "receive", "quantity_milli": 5])
        let document = try rest.create("document", ["title": "Quote"]).id
        try rest.create("document_line", ["document": .string(document), "label": "Work", "price": 1])
        try rest.create("note", ["subject_type": "part", "subject_id": .string(part), "body": "Rusty"])
        try rest.create("custom_field", ["entity": "client", "key": "k", "label": "K", "kind": "text"])
    }

    @Test func freshReplica_holdsExactlyWhatRestLists_forEveryRoleAndEntity() throws {
        let members = try Role.allCases.map { ($0, try rest.member($0)) }
        try fill(for: members.map(\.1.id))
        let part = try required(try rest.get("/v1/part").ids.first)
        let replicas = try members.map { role, member in (role, member.token, try tenant.enroll(member: member.id)) }
        for (role, token, replica) in replicas {
            if role != .viewer {
                let fields: JSONObject = ["part": .string(part), "kind": "receive", "quantity_milli": 5]
                try replica.edit([Change("movement", server.newIdentifier(), .create(fields: fields))]).requireAccepted()
            }
            let pages = try replica.pull(limit: 4)
            let digest = try JSONValue(parsing: Digest(context: server.context, connection: server.connection).run(token: replica.token))
            #expect(pages.flatMap(\.evictions).isEmpty)
            for entity in server.context.schema.entities {
                let pulled = try pages.flatMap { try $0.rows(entity.name) }.compactMap { $0["id"]?.stringValue }.sorted()
                let list = try rest.get("/v1/\(entity.name)?limit=200", as: token)
                #expect(pulled == list.ids.sorted(), "\(role) \(entity.name) \(list.status)")
                guard entity.isServed else { continue }
                #expect(digest["entities"]?[entity.name]?["count"] == .integer(Int64(pulled.count)), "\(role) \(entity.name)")
                let all = try rest.get("/v1/\(entity.name)?limit=200").ids.compactMap { Identifier($0) }
                guard !all.isEmpty else { continue }
                let reply = try JSONValue(
                    parsing: Records(context: server.context, connection: server.connection).run(
                        RecordsRequest(entity: entity.name, ids: all), token: replica.token))
                let found = (reply["entities"]?[0]?["rows"]?.arrayValue ?? []).compactMap { $0[0]?.stringValue }
                #expect(found.sorted() == pulled, "\(role) \(entity.name)")
            }
            let told = try ActivityPage(
                parsing: Activity(context: server.context, connection: server.connection).run(
                    ActivityRequest(after: 0, limit: 1_000), token: replica.token))
            let listed = try rest.get("/v1/activity?limit=200", as: token).rows.compactMap { $0["position"]?.integerValue }
            #expect(told.entries.map(\.position.position).sorted() == listed.sorted(), "\(role)")
        }
    }

    /// Thousands of rows of others between two of one's own.
    @Test func page_looksAtSoManyRowsOnly_andTheNextGoesOn() throws {
        let farah = try tenant.addMember(role: .field)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let first = try deal(farah, client: client)
        for _ in 0..<23 { _ = try deal(tenant.owner, client: client) }
        let second = try deal(farah, client: client)
        let head = try tenant.head.position.position
        let tables = [try required(server.context.tables["deal"])]
        var after: Int64 = 0
        var found: [Int] = []
        while after < head {
            let window = PageWindow(
                tenant: tenant.id, reader: ReaderAccess(member: farah, role: .field), after: after, head: head, floor: 0, tables: tables,
                scanMax: 5)
            let rows = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
                try window.read(limit: 10, bytes: 100_000, versionsAfter: nil, on: $0)
            }
            #expect(rows.upTo > after && rows.isLast == (rows.upTo == head))
            found.append(rows.count)
            after = rows.upTo
        }
        #expect(found == [1, 0, 0, 0, 1], "25 rows, five a page")
        let pages = try tenant.enroll(member: farah).pull()
        #expect(try pages.flatMap { try $0.rows("deal") }.compactMap { $0["id"]?.stringValue } == [first, second])
    }

    @Test func rowThatOnlyMoved_isStillTheOneOfItsEntityTag() throws {
        let client = try rest.create("client", ["name": "Harbor"]).id
        let contact = try rest.create("contact", ["last_name": "Ortiz"])
        try rest.create("client_contact", ["client": .string(client), "contact": .string(contact.id)])
        let headers = [(name: "If-Match", value: contact.etag)]
        #expect(try rest.send("PATCH", "/v1/contact/\(contact.id)", ["job_title": "Cook"], headers: headers).status == 200)
        #expect(
            try rest.send("PATCH", "/v1/contact/\(contact.id)", ["job_title": "Chef"], headers: headers).status == 412, "an edit is one")
    }

    /// Written before scopes followed what they depend on: by an update it is where it belongs.
    @Test func scopeKeysOfAnOlderBuild_areWorkedOut_whenTheDatabaseIsBroughtUp() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let field = try rest.member(.field)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        try rest.create("client_contact", ["client": .string(client), "contact": .string(contact)])
        let deal = try rest.create(
            "deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(field.id.text)]
        ).id
        try rest.create("deal_contact", ["deal": .string(deal), "contact": .string(contact)])
        func listed() throws -> [Int] {
            try ["contact", "deal", "deal_contact"].map { try rest.get("/v1/\($0)", as: field.token).ids.count }
        }
        #expect(try listed() == [1, 1, 1])
        try rest.server.connection.script(
            """
            UPDATE public.contact SET scope_keys = '{}'; UPDATE public.deal SET scope_keys = '{full}'; \
            UPDATE public.deal_contact SET scope_keys = '{}'; DELETE FROM tideline.meta WHERE key = 'scopes'
            """)
        #expect(try listed() == [0, 0, 0])
        try Migration(tables: rest.server.context.tables).run(rest.server.connection, isForced: true)
        #expect(try listed() == [1, 1, 1])
    }

    /// A link that was deleted long ago and whose deal was given away lately: to forget it with its age would send everybody who has
    /// not pulled since to fetch everything anew.
    @Test func tombstoneThatMovedLately_isForgottenByItsMove() throws {
        let farah = try tenant.addMember(role: .field)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let id = try deal(farah, client: client)
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        let link = try rest.create("deal_contact", ["deal": .string(id), "contact": .string(contact)]).id
        #expect(try rest.send("DELETE", "/v1/deal_contact/\(link)").status == 200)
        server.clock.with { $0 += 91 * 86_400_000 }
        let replica = try tenant.enroll()
        try replica.pull()
        try tenant.write([Edit.patch("deal", try required(Identifier(id)), ["owner": .string(tenant.owner.text)])]).requireAccepted()
        let maintenance = Maintenance(context: server.context, connection: server.connection)
        #expect(try maintenance.pruneTombstones(tenant: tenant.id) == 0)
        #expect(try replica.page().rowCount == 2, "the deal, and the link that was deleted")
        server.clock.with { $0 += 91 * 86_400_000 }
        try tenant.write([Edit.client(server.newIdentifier())]).requireAccepted()
        #expect(try maintenance.pruneTombstones(tenant: tenant.id) == 1)
        #expect(try replica.page().rowCount == 1)
    }

    @Test func exits_areForgottenWithTheHorizon_notBefore() throws {
        let farah = try tenant.addMember(role: .field)
        let client = try rest.create("client", ["name": "Harbor"]).id
        let id = try deal(farah, client: client)
        let replica = try tenant.enroll(member: farah)
        try replica.pull()
        try tenant.write([Edit.patch("deal", try required(Identifier(id)), ["owner": .string(tenant.owner.text)])]).requireAccepted()
        #expect(try tenant.rows("tideline.scope_exit") == 1)
        let maintenance = Maintenance(context: server.context, connection: server.connection)
        try maintenance.pruneTombstones(tenant: tenant.id)
        #expect(try tenant.rows("tideline.scope_exit") == 1)
        server.clock.with { $0 += 91 * 86_400_000 }
        try tenant.write([Edit.client(server.newIdentifier())]).requireAccepted()
        try maintenance.pruneTombstones(tenant: tenant.id)
        #expect(try tenant.rows("tideline.scope_exit") == 0)
        #expect(refusal { try replica.page() }?.knownCode == .resyncRequired)
    }
}
