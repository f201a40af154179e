// A file meets a newer build: it grows at once, whatever it holds, and whole or not at all.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct UpgradeTests {
    private static func schema(_ version: Int64) -> Schema {
        var fields: [FieldSchema] = [.text("name", 40).required]
        if version > 1 { fields += [.text("colour", 20), .integer("weight"), .set("tags", of: .text(1...20), 0...10)] }
        return Schema(
            version: version,
            domains: [
                Domain(
                    "growing",
                    entities: [
                        EntitySchema("item", category: "admin", access: .config, scopes: [.tenant], titleField: "name", fields: fields)
                    ])
            ])
    }

    /// Counted in pages that are written, which no machine changes: rows stay where they are.
    @Test func columnsAddedToALargeTable_rewriteNoRow() async throws {
        let world = try World(schema: Self.schema(1))
        let transport = ModelTransport(world.server)
        let old = try await world.open("a", transport)
        try await old.writing("fill") { store in
            try store.connection.script(
                """
                BEGIN;
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                INSERT INTO item (name, created_at, updated_at) SELECT 'Item number ' || i, i, i FROM n;
                COMMIT;
                """)
        }
        await old.close()
        let before = try Data(contentsOf: URL(fileURLWithPath: world.path("a")))
        let new = try await world.open("a", transport, schema: Self.schema(2))
        #expect(try await new.query("SELECT count(colour), count(*) FROM item").first?.values == [.integer(0), .integer(100_000)])
        await new.close()
        let after = try Data(contentsOf: URL(fileURLWithPath: world.path("a")))
        let pages = before.count / 4096
        let written = (0..<pages).count { before[($0 * 4096)..<(($0 + 1) * 4096)] != after[($0 * 4096)..<(($0 + 1) * 4096)] }
        #expect(pages > 2_000)
        #expect(written < 50, "\(written) of \(pages) pages")
    }

    /// Death in the middle is the same as an error in the middle: one transaction holds all of it.
    @Test func upgradeThatFailsHalfway_leavesTheFileAsItWas() async throws {
        let world = try World(schema: Self.schema(1))
        let a = try await world.replica("a")
        let id = try await a.create("item", ["name": "Beam"])
        try await a.sync()
        await a.replica.close()
        let shell = SQLiteShell(path: world.path("a"))
        // The first of the new columns is added by the time this row is looked at.
        try await shell.execute(
            "DROP TRIGGER _tideline_capture_item_update; UPDATE item SET _extra = 'no JSON';")
        let columns = "SELECT group_concat(name) FROM pragma_table_info('item');"
        let before = try await shell.execute(columns)
        let error = try await replicaError { _ = try await world.open("a", a.transport, schema: Self.schema(2)) }
        #expect(error?.code == .storage)
        #expect(try await shell.execute(columns) == before)
        #expect(try await shell.execute("SELECT value FROM _tideline_meta WHERE key = 'schema';") == "1")
        try await shell.execute("UPDATE item SET _extra = NULL;")
        let new = try await world.open("a", a.transport, schema: Self.schema(2))
        #expect(try await new.get("item", id)?["name"] == "Beam")
        try await new.write { try $0.set("item", id, ["colour": "red"]) }
        #expect(try await new.get("item", id)?["colour"] == "red")
        #expect(try await new.integrityCheck().isEmpty)
        await new.close()
    }

    /// The confirmed image under an edit that waits was saved by the older build, which kept what it did not know beside it.
    @Test func imageUnderAPendingEdit_knowsTheNewFields() async throws {
        let world = try World(schema: Self.schema(2))
        let transport = ModelTransport(world.server)
        let old = try await world.open("a", transport, schema: Self.schema(1))
        let id = Identifier.version7(milliseconds: world.clock.now, random: (1, 2))
        world.server.write([Change("item", id, .create(fields: ["name": "Beam", "colour": "red", "tags": ["x"]]))])
        let url = try #require(URL(string: "http://model"))
        try await old.enroll(server: url, code: world.server.invite("a", role: .owner).code, label: "a")
        try await old.sync()
        try await old.write { try $0.set("item", id, ["name": "Girder"]) }
        await old.close()
        let new = try await world.open("a", transport, schema: Self.schema(2))
        let replica = try #require(try await new.replicaID)
        #expect(try await new.digest()["item"] == world.server.digest(for: replica)["item"], "what is confirmed, the edit aside")
        try await new.sync()
        #expect(try await new.get("item", id)?["colour"] == "red")
        #expect(try await new.digest()["item"] == world.server.digest(for: replica)["item"])
    }
}
