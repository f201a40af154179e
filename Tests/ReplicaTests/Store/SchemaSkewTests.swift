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
