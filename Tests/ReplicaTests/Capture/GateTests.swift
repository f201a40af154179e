// Refusals at the statement itself, with the server's code and the field.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct GateTests {
    @Test(arguments: [
        ("UPDATE client SET name = NULL", "required: client.name"),
        ("UPDATE client SET name = '  '", "required: client.name"),
        ("UPDATE client SET name = char(8203, 8288, 65279, 173, 9)", "required: client.name"),
        ("INSERT INTO client (name) VALUES (char(8203))", "required: client.name"),
        ("UPDATE client SET name = printf('%0300d', 7)", "too_long: client.name"),
        ("UPDATE client SET name = x'4142'", "invalid_format: client.name"),
        ("UPDATE client SET name = 'a' || char(0) || 'b'", "invalid_format: client.name"),
        ("UPDATE client SET payment_terms_days = 366", "out_of_range: client.payment_terms_days"),
        ("UPDATE client SET payment_terms_days = 'soon'", "invalid_format: client.payment_terms_days"),
        ("UPDATE client SET payment_terms_days = 1.5", "invalid_format: client.payment_terms_days"),
        ("UPDATE client SET tags = 'x'", "invalid_format: client.tags"),
        ("UPDATE client SET tags = '{}'", "invalid_format: client.tags"),
        ("UPDATE client SET custom = '[1]'", "invalid_format: client.custom"),
        ("UPDATE client SET owner = 'Farah'", "invalid_format: client.owner"),
        ("UPDATE client SET status = 'asleep'", "invalid_choice: client.status"),
        ("UPDATE client SET id = '018f0000-0000-7000-8000-000000000001'", "immutable: client.id"),
        ("UPDATE client SET created_at = 1", "read_only: client.created_at"),
        ("UPDATE client SET deleted_at = 1", "read_only: client.deleted_at"),
        ("UPDATE client SET _extra = '{}'", "read_only: client._extra"),
        ("INSERT INTO client (name, position) VALUES ('x', 1)", "read_only: client.position"),
        ("INSERT INTO client (id, name) VALUES ('7', 'x')", "invalid_format: client.id"),
        ("INSERT INTO client (notes) VALUES ('x')", "required: client.name"),
        ("INSERT OR IGNORE INTO client (notes) VALUES ('x')", "required: client.name"),
        ("INSERT OR REPLACE INTO client (notes) VALUES ('x')", "required: client.name"),
        ("INSERT INTO client (name, status) VALUES ('x', 'asleep')", ": client.status"),
        ("DELETE FROM tenant", "forbidden: tenant.id"),
    ])
    func statement_isRefusedWithCodeAndField(_ statement: String, _ expected: String) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme")
        try await a.sync()
        let message = try await a.shell.refusal(statement + ";")
        #expect(message.contains(expected), "\(message)")
        #expect(try await a.value("client", id, "name") == "Acme")
        #expect(try await a.sync().pushed == 0)
    }

    @Test func updateWithoutWhere_passesOverTombstones() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let gone = try await a.client("Acme")
        let live = try await a.client("Pier 9")
        try await a.replica.write { try $0.delete("client", gone) }
        try await a.sync()
        #expect(try await a.shell.execute("UPDATE client SET name = name || '!'; SELECT changes();") == "1")
        #expect(try await a.shell.execute("UPDATE client SET name = 'x' WHERE id = '\(gone.text)'; SELECT changes();") == "0")
        #expect(try await a.replica.writeSQL("UPDATE client SET notes = 'all of them'").sets.count == 1)
        #expect(try await a.sync().newProblems.isEmpty)
        #expect(try await a.value("client", live, "name") == "Pier 9!")
        #expect(try await a.value("client", live, "notes") == "all of them")
        #expect(try await a.value("client", gone, "name") == "Acme")
        #expect(try await a.replica.get("client", gone)?.isDeleted == true)
        try await expectConverged(world, a)
    }

    /// A statement that names a tombstone by inserting its id is not passed over: what it says would be lost without a word.
    @Test func upsertOnATombstone_isRefusedWithWords_unlessItRestores() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let gone = try await a.client("Acme")
        try await a.replica.write { try $0.delete("client", gone) }
        try await a.sync()
        let values = "INTO client (id, name) VALUES ('\(gone.text)', 'Again')"
        let message = try await a.shell.refusal("INSERT \(values) ON CONFLICT (id) DO UPDATE SET name = excluded.name;")
        #expect(message.contains("record_deleted: client.id") && message.contains("restore"), "\(message)")
        #expect(try await a.shell.refusal("INSERT \(values);").contains("client.id"))
        // Those that ask for nothing to happen then get it, and stand in nobody's way.
        try await a.shell.execute(
            """
            BEGIN; INSERT OR IGNORE \(values); UPDATE client SET notes = 'x'; COMMIT;
            INSERT \(values) ON CONFLICT DO NOTHING;
            """)
        #expect(try await a.sync().pushed == 0)
        #expect(try await a.replica.get("client", gone)?.isDeleted == true)
        try await a.shell.execute("INSERT \(values) ON CONFLICT (id) DO UPDATE SET deleted_at = NULL, name = excluded.name;")
        #expect(try await a.sync().newProblems.isEmpty)
        #expect(try await a.value("client", gone, "name") == "Again")
        #expect(try await a.replica.get("client", gone)?.isDeleted == false)
        try await expectConverged(world, a)
    }

    /// It says every column, `deleted_at` among them: the record is there again, with what was written.
    @Test(arguments: ["OFF", "ON"]) func replaceOnATombstone_bringsTheRecordBack(recursion: String) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let gone = try await a.client("Acme", ["phone": "+15550100"])
        try await a.replica.write { try $0.delete("client", gone) }
        try await expectConverged(world, a, b)
        try await a.shell.execute(
            "PRAGMA recursive_triggers = \(recursion); REPLACE INTO client (id, name) VALUES ('\(gone.text)', 'Again');")
        #expect(try await a.sync().newProblems.isEmpty)
        try await expectConverged(world, a, b)
        let record = try #require(try await b.replica.get("client", gone))
        #expect(!record.isDeleted && record["name"] == "Again" && record["phone"] == .null)
    }

    @Test func fileWithoutEnrolment_refusesWithWords() async throws {
        let world = try World()
        let replica = try await world.open("fresh", ModelTransport(world.server))
        let message = try await SQLiteShell(path: replica.path).refusal("INSERT INTO client (name) VALUES ('x');")
        #expect(message.contains("not_enrolled"))
    }

    @Test func beforeTheFirstSync_creatingIsPossible() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        let b = try await world.replica("b", synced: false)
        try await b.shell.execute("INSERT INTO client (name) VALUES ('Made offline'); UPDATE client SET notes = 'and edited';")
        try await expectConverged(world, a, b)
        #expect(try await a.replica.list("client", sort: Sort("name")).data.map(\.title) == ["Acme", "Made offline"])
        #expect(try await a.replica.list("client", where: [Filter("notes", .equal, "and edited")]).total == 1)
    }

    /// A stricter schema never jams a pull: what the server sends goes past the gates, and is not taken for a tool's edit.
    @Test func serverData_passesWhateverTheGatesSay() async throws {
        let world = try World()
        let b = try await world.replica("b")
        let schema = try #require(world.schema.entity("client"))
        var client = RecordState(schema: schema, id: Identifier(high: 0x018F_0000_0000_7000, low: 1 << 63 | 7))
        let name = String(repeating: "long ", count: 100)
        client["name"] = .string(name)
        client["status"] = "a state of the future"
        world.server.load([client])
        try await b.sync()
        #expect(try await b.value("client", client.id, "name") == .string(name))
        #expect(try await b.replica.query("SELECT count(*) AS n FROM _tideline_edit").first?["n"] == .integer(0))
        #expect(try await b.replica.pending().isEmpty)
        // A tool may still change what it does not touch.
        try await b.shell.execute("UPDATE client SET phone = '+15550100';")
        #expect(try await b.shell.refusal("UPDATE client SET name = name || '!';").contains("too_long: client.name"))
    }
}
