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
                let result = try connection.run("EXPLAIN " + one.sql, .identifier(new.id), .textArray(one.values))
                return result.rows.compactMap { result.text($0, 0) }.joined(separator: "\n")
            }
            let scans = plan.split(separator: "\n").filter { $0.contains(" Scan ") && $0.contains(" t ") }
            #expect(!scans.isEmpty && scans.allSatisfy { $0.contains(one.index) }, "\(plan)")
        }
    }
}
