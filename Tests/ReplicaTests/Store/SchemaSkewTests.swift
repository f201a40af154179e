// Builds of different age meet one file and one server: nothing that is not understood gets lost.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct SchemaSkewTests {
    private static func schema(_ version: Int64, fields: [FieldSchema], more: [EntitySchema] = []) -> Schema {
        Schema(
            version: version,
            domains: [
                Domain(
                    "old",
                    entities: [
                        EntitySchema("item", category: "admin", access: .config, scopes: [.tenant], titleField: "name", fields: fields)
                    ] + more)
            ])
    }

    @Test func unknownFieldsAndEntities_areKept_andAdoptedByANewerBuild() async throws {
        let old = Self.schema(1, fields: [.text("name", 20).required])
        let colour: JSONValue = ["shade": "dark", "name": "blue"]
        let world = try World(schema: old)
        let a = try await world.replica("a")
        let id = try await a.create("item", ["name": "Known"])
        try await expectConverged(world, a)
        world.server.extraColumn = ("item", "colour", colour)
        let gadget = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 5)
        let gadgetRow: JSONValue = [.string(gadget.text), 1, 7, nil, 8, nil, nil, "Gizmo", nil, nil]
        world.server.unknownBlock = ("gadget", RowLayout.common + ["label", "extra", "versions"], [gadgetRow.canonicalBytes()])
        try await a.sync(SyncOptions(rebuilds: true))
        #expect(try await a.replica.get("item", id)?.state.extra == ["colour": colour])
        // A local edit and its confirmation leave it alone.
        try await a.set("item", id, ["name": "Renamed"])
        #expect(try await a.replica.get("item", id)?["colour"] == colour)
        try await a.sync()
        #expect(try await a.replica.query("SELECT json_extract(_extra, '$.colour.name') AS c FROM item").map { $0["c"] } == ["blue"])
        #expect(try await a.replica.query("SELECT entity, id FROM _tideline_unknown").map(\.values) == [["gadget", .text(gadget.text)]])
        await a.replica.close()

        let new = Self.schema(
            2, fields: [.text("name", 20).required, .json("colour")],
            more: [EntitySchema("gadget", category: "admin", access: .config, scopes: [.tenant], fields: [.text("label", 20)])])
        let updated = try await world.open("a", a.transport, schema: new)
        #expect(try await updated.get("item", id)?["colour"] == colour)
        #expect(try await updated.get("item", id)?.state.extra.isEmpty == true)
        #expect(try await updated.get("gadget", gadget)?["label"] == "Gizmo")
        #expect(try await updated.query("SELECT 1 FROM _tideline_unknown").isEmpty)
        #expect(try await updated.list("gadget").total == 1)
        await updated.close()
        // The older build opens the file again: the column stays.
        let back = try await world.open("a", a.transport, schema: old)
        #expect(try await back.query("SELECT colour FROM item").count == 1)
    }

    /// What a year of development does to an entity: a required field, a longer list of choices, a tighter length, an entity more.
    private static func item(_ version: Int64) -> Schema {
        let isNew = version > 1
        return schema(
            version,
            fields: [
                .text("name", isNew ? 12 : 40).required, .choice("size", isNew ? ["small", "large", "huge"] : ["small", "large"]),
                .text("notes", 100).guarded, .set("tags", of: .text(1...20), 0...10),
            ] + (isNew ? [.text("material", 20).required(since: 2), .json("detail")] : []),
            more: isNew
                ? [
                    EntitySchema(
                        "gadget", category: "admin", access: .config, scopes: [.tenant], titleField: "label",
                        fields: [.text("label", 20).required, .reference("item", "item")])
                ] : [])
    }

    @Test func oldReplica_worksOn_againstANewerServer() async throws {
        let world = try World(schema: Self.item(2))
        let new = try await world.replica("new")
        let transport = ModelTransport(world.server)
        let old = try await world.open("old", transport, schema: Self.item(1))
        let invitation = world.server.invite("old", role: .owner)
        try await old.enroll(server: try #require(URL(string: "http://model")), code: invitation.code, label: "old")
        try await old.sync()
        let id = try await new.create(
            "item", ["name": "Beam", "size": "huge", "material": "steel", "detail": ["grade": 5], "notes": "n"])
        let gadget = try await new.create("gadget", ["label": "Clamp", "item": .string(id.text)])
        try await new.sync()

        // It reads what it knows, keeps what it does not, and edits the record.
        try await old.sync()
        #expect(try await old.get("item", id)?["size"] == "huge")
        try await old.write { edit in
            try edit.set("item", id, ["notes": "from the old one"])
            try edit.add("item", id, "tags", ["seen"])
        }
        // It creates without the field that it has never heard of, longer than the newer one likes: that one goes to a person.
        let short = try await old.write { try $0.create("item", ["name": "Plate", "size": "small"]) }.value
        try await old.write { try $0.create("item", ["name": "A name of the old length", "size": "small"]) }
        // Plain SQL, too.
        try await SQLiteShell(path: old.path).execute("UPDATE item SET notes = 'by tool' WHERE id = '\(short.text)';")
        let report = try await old.sync()
        #expect(report.accepted == 3)
        #expect(report.rejected == 1)
        #expect(try await old.problems().first?.violations.map(\.code) == ["too_long"])
        try await new.sync()
        let merged = try #require(try await new.replica.get("item", id))
        #expect(merged["material"] == "steel")
        #expect(merged["detail"] == ["grade": 5])
        #expect(merged["notes"] == "from the old one")
        #expect(try await new.value("item", short, "notes") == "by tool")
        #expect(try await new.value("item", short, "material") == .null)

        // Updated in place: what it had kept aside is there, nothing pending is lost.
        try await old.write { try $0.set("item", short, ["size": "large"]) }
        try await old.write { try $0.create("item", ["name": "Made before", "size": "small"]) }
        await old.close()
        let updated = try await world.open("old", transport, schema: Self.item(2))
        #expect(try await updated.get("item", id)?["material"] == "steel")
        #expect(try await updated.get("gadget", gadget)?["label"] == "Clamp")
        #expect(try await updated.pending().count == 2)
        // Sets of before the update are judged by what their author could know.
        #expect(try await updated.sync().accepted == 2)
        let error = try await replicaError { try await updated.write { try $0.create("item", ["name": "Now", "size": "small"]) } }
        #expect(error?.violations.map(\.field) == ["material"])
        #expect(try await updated.digest() == world.server.digest())
        #expect(
            try await SQLiteShell(path: updated.path).refusal("INSERT INTO item (name) VALUES ('x');").contains("required: item.material"))
    }

    @Test func newReplica_waitsForAnOlderServer_andReadsMeanwhile() async throws {
        let world = try World(schema: Self.item(1))
        let old = try await world.replica("old")
        let transport = ModelTransport(world.server)
        let new = try await world.open("new", transport, schema: Self.item(2))
        let invitation = world.server.invite("new", role: .owner)
        try await new.enroll(server: try #require(URL(string: "http://model")), code: invitation.code, label: "new")
        try await new.sync()
        let id = try await old.create("item", ["name": "Beam", "size": "small"])
        try await old.sync()
        try await new.sync()
        try await new.write { try $0.set("item", id, ["material": "oak"]) }
        let report = try await new.sync()
        // Nothing is rejected for good: the set waits, downloads go on.
        #expect(report.pushFailure != nil)
        #expect(report.rejected == 0)
        #expect(try await new.pending().count == 1)
        #expect(try await new.get("item", id)?["material"] == "oak")
        try await old.set("item", id, ["notes": "still flowing"])
        try await old.sync()
        try await new.sync()
        #expect(try await new.get("item", id)?["notes"] == "still flowing")
        #expect(try await new.diagnose().findings.contains { $0.check == "schema" })
    }

    @Test func fileOfANewerFormat_isRefused() async throws {
        let world = try World()
        let site = try await world.replica("a")
        await site.replica.close()
        let connection = try SQLiteConnection(path: world.path("a"), mode: .readWrite)
        try connection.execute("UPDATE _tideline_meta SET value = '99' WHERE key = 'format'")
        connection.close()
        let error = try await replicaError { _ = try await world.open("a", site.transport) }
        #expect(error?.code == .newerFile)
    }

    @Test func fileThatIsNoDatabase_isRefused() async throws {
        let world = try World()
        try Data(String(repeating: "no database", count: 200).utf8).write(to: URL(fileURLWithPath: world.path("text")))
        let error = try await replicaError { _ = try await world.open("text", ModelTransport(world.server)) }
        #expect(error?.code == .storage)
    }

    @Test func secretFieldsAndServerOnlyEntities_haveNoPlaceInTheFile() async throws {
        let world = try World()
        let site = try await world.replica("a")
        let tables = try await site.replica.query("SELECT name FROM sqlite_schema WHERE type = 'table'").map { $0["name"] }
        #expect(!tables.contains("account") && !tables.contains("number_sequence") && tables.contains("member"))
        let columns = try await site.replica.query("SELECT name FROM pragma_table_info('member')").map { $0["name"] }
        #expect(!columns.contains("account") && columns.contains("email"))
    }

    @Test func file_isReadableByItsOwnerOnly() async throws {
        let world = try World()
        let site = try await world.replica("a")
        _ = site
        let mode = try FileManager.default.attributesOfItem(atPath: world.path("a"))[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }
}
