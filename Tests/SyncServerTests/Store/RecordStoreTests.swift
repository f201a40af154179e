// Records through their tables and back: every storage type, odd text, and reads that chain.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RecordStoreTests {
    @Test func values_survive_whateverTheyContain() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let odd = "O'Brien \"&\\ Söhne\u{2028} 日本 \u{1F6B2} {}[],\t"
        let (part, client) = (server.newIdentifier(), server.newIdentifier())
        let detail: JSONValue = ["a": .array([.null, true, .integer(.max), "x"]), "b\"": ["deep": .object(JSONObject())]]
        try tenant.write([
            Change(
                "part", part,
                .create(fields: [
                    "sku": "p-1", "name": .string(odd), "detail": detail, "colours": ["red", "blue"], "margin_bp": .integer(250),
                ])),
            Change(
                "client", client,
                .create(fields: [
                    "name": .string(odd), "tags": .array([.string("a,b"), .string("c\"d"), .string("{e}"), .string("null")]),
                    "billing_address": ["line1": .string("1 \\ Quay"), "country": "PT"], "notes": .string("line one\nline \"two\""),
                ])),
        ]).requireAccepted()
        let stored = try required(try tenant.record("part", part))
        #expect(stored["detail"] == detail)
        #expect(stored["colours"] == ["blue", "red"])
        #expect(stored.integer("margin_bp") == 250)
        #expect(stored["checksum"].isNull)
        let pulled = try required(try tenant.enroll().page().row("client", client))
        let read = try required(try tenant.record("client", client))
        for column in ["name", "tags", "billing_address", "notes", "custom", "status", "created_at"] {
            #expect(pulled[column] == read.column(column), "\(column)")
        }
        #expect(read.elements("tags").count == 4)
        #expect(read.text("notes") == "line one\nline \"two\"")
    }

    @Test func versions_areTheSame_afterAReload() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        let client = server.newIdentifier()
        try replica.edit([Edit.client(client)])
        try replica.edit([Edit.patch("client", client, ["name": "Renamed", "tags": ["add": ["x", "y"]]])])
        try replica.edit([Edit.patch("client", client, ["tags": ["add": ["x"], "remove": ["y"]]])])
        let versions = try required(try tenant.record("client", client)).versions
        #expect(versions.created?.dot == Dot(replica: replica.id, counter: 1))
        #expect(versions.fields["name"]?.dot?.counter == 2)
        #expect(versions.elements["tags"]?["x"]?.map { $0.dot?.counter } == [3])
        #expect(versions.elements["tags"]?["y"] == nil)
    }

    @Test func ancestors_areLoadedWhole_inFewRoundTrips() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        var chain: [Identifier] = []
        var changes: [Change] = []
        for level in 0..<60 {
            let id = server.newIdentifier()
            var fields: JSONObject = ["name": .string("Level \(level)")]
            if let parent = chain.last { fields["parent"] = .string(parent.text) }
            changes.append(Change("client", id, .create(fields: fields)))
            chain.append(id)
        }
        try tenant.write(changes).requireAccepted()
        // The top below the bottom: only the whole chain shows the cycle. Deciding gives up after 16 rounds of loading.
        let outcome = try tenant.write([Edit.patch("client", chain[0], ["parent": .string(chain[59].text)])])
        #expect(outcome.violations.map(\.code) == ["hierarchy_cycle"])
        let other = server.newIdentifier()
        try tenant.write([Edit.client(other)]).requireAccepted()
        #expect(try tenant.write([Edit.patch("client", other, ["parent": .string(chain[59].text)])]).status == .accepted)
    }

    /// Ids and values of one question have a share; one that needs more gets what the others leave, and not a byte beyond.
    @Test func loading_hasItsBytes_andNoMore() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let notes = JSONValue.string(String(repeating: "x", count: 20_000))
        let clients = (0..<200).map { _ in server.newIdentifier() }
        try tenant.write(
            clients.map { Change("client", $0, .create(fields: ["name": "Large", "notes": notes])) }
                + [Edit.client(server.newIdentifier(), "Small")]
        ).requireAccepted()
        let reads: [Read] =
            clients.map { .record(RecordKey("client", $0)) }
            + ["Small", "Nobody"].map { .lookup(entity: "client", field: "name", value: $0, includingDeleted: false) }
            + [.lookup(entity: "client", field: "parent", value: .null, includingDeleted: true)]
            + [.lookup(entity: "deal", field: "client", value: .string(clients[0].text), includingDeleted: false)]
        func load(_ reads: [Read], bytesMax: Int) throws -> Workspace {
            let workspace = Workspace(schema: server.context.schema)
            var store = RecordStore(tables: server.context.tables, tenant: tenant.id, epoch: 0, bytesMax: bytesMax)
            try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { try store.load(reads, into: workspace, on: $0) }
            return workspace
        }
        // By id and as those without a parent: twice four megabytes, of which no statement's share holds one.
        let workspace = try load(reads, bytesMax: 9 << 20)
        #expect(clients.allSatisfy { workspace.record("client", $0)?["notes"] == notes })
        #expect(workspace.lookup("client", "parent", .null, includingDeleted: true).count == 201)
        #expect(workspace.lookup("client", "name", "Small").count == 1 && workspace.lookup("client", "name", "Nobody").isEmpty)
        #expect(workspace.lookup("deal", "client", .string(clients[0].text)).isEmpty && workspace.missing.isEmpty)
        #expect(throws: RecordStore.TooLarge.self) { try load(reads, bytesMax: 8_000_000) }
        // To the byte.
        let one = [reads[0]]
        let bytes = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { connection in
            let table = try required(server.context.tables["client"])
            return try connection.run(table.selectByID, .identifier(tenant.id), .textArray([clients[0].text])).byteCount(of: 0)
        }
        #expect(bytes > 20_000 && bytes < 21_000)
        #expect(try load(one, bytesMax: bytes + 1).record("client", clients[0]) != nil)
        #expect(throws: RecordStore.TooLarge.self) { try load(one, bytesMax: bytes) }
    }

    /// The database stops reading where as many rows as there are must be too many bytes: none is shorter than that.
    @Test func shortestRow_isLongerThanTheLeast() throws {
        for table in EntityTables(.tideline).all {
            let columns = table.layout.columns
            let empty = JSONValue.array(
                columns.map { column in
                    switch column {
                    case "id": .string(Identifier.zero.text)
                    case "position", "created_at", "updated_at": .integer(1)
                    case "extra", "versions": .object(JSONObject())
                    case "scope_keys": .array([])
                    default: .null
                    }
                })
            #expect(empty.canonicalBytes().count > EntityTable.rowBytesMin, "\(table.entity.name)")
        }
    }

    @Test func entityHeads_countLiveRecords() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let ids = (0..<5).map { _ in server.newIdentifier() }
        try tenant.write(ids.map { Edit.client($0) }).requireAccepted()
        try tenant.write([Change("client", ids[0], .delete), Change("client", ids[1], .delete)]).requireAccepted()
        try tenant.write([Change("client", ids[0], .restore)]).requireAccepted()
        let live = try tenant.count(
            "SELECT live FROM tideline.entity_head WHERE tenant = $1::uuid AND entity = 'client'", .identifier(tenant.id))
        #expect(live == 4)
        #expect(try tenant.head.position.position == (try tenant.feedCount))
    }

    @Test func lookUps_useTheirIndex_forATenantThatStatisticsDoNotKnow() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let (known, new) = (try server.makeTenant(), try server.makeTenant())
        func fill(_ tenant: TenantUnderTest) throws {
            try server.connection.run(
                """
                INSERT INTO public.client (tenant, id, position, created_at, updated_at, versions, name) \
                SELECT $1::uuid, gen_random_uuid(), n, 1, 1, '{}', 'Name ' || n FROM generate_series(1, 20000) n
                """, .identifier(tenant.id))
        }
        try fill(known)
        try server.connection.script("ANALYZE public.client")
        try fill(new)
        let table = try required(server.context.tables["client"])
        let name = try required(table.entity.field("name"))
        let ids = (0..<500).map { _ in server.newIdentifier().text }
        let cases: [(sql: String, values: [String], index: String)] = [
            (table.selectByID, ids, "client_pkey"), (table.selectByField(name, includingDeleted: false), ids, "client_name_id_idx"),
            (table.selectAncestors(through: "parent"), ids, "client_pkey"),
        ]
        for one in cases {
            let plan = try server.connection.transaction(.readWrite, tenant: new.id) { connection in
                _ = try connection.run(TenantSession.planForTablesAsTheyAre)
                let result = try connection.run(
                    "EXPLAIN " + EntityTable.capped(one.sql), .identifier(new.id), .textArray(one.values), .integer(64 << 20),
                    .integer(700_000))
                return result.rows.compactMap { result.text($0, 0) }.joined(separator: "\n")
            }
            let scans = plan.split(separator: "\n").filter { $0.contains(" Scan ") && $0.contains(" t ") }
            #expect(!scans.isEmpty && scans.allSatisfy { $0.contains(one.index) }, "\(plan)")
        }
    }
}
