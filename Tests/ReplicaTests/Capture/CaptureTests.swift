// Plain SQL in, change sets out: every statement runs in the real `sqlite3` shell.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct CaptureTests {
    @Test func update_becomesOneSetOfTheFieldsThatChanged() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["phone": "+15550100", "tags": ["x"]])
        try await expectConverged(world, a, b)
        try await a.shell.execute(
            """
            UPDATE client SET name = 'Acme Ltd', tags = '["x","y"]', custom = custom WHERE id = '\(id.text)';
            """)
        // The tool's reader sees it at once; the library seals it with the next sync.
        #expect(try await a.value("client", id, "name") == "Acme Ltd")
        try await a.sync()
        try await b.set("client", id, ["tags": ["add": ["z"]]])
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "name") == "Acme Ltd")
        #expect(try await b.value("client", id, "tags") == ["x", "y", "z"])
        #expect(try await b.value("client", id, "phone") == "+15550100")
    }

    @Test func insert_withoutAnId_getsOneAndDefaults() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let text = try await a.shell.execute("INSERT INTO client (name, tags) VALUES ('Pier 9', '[\"dock\"]') RETURNING id;")
        let id = try #require(Identifier(text))
        #expect(id.text.dropFirst(14).first == "7")
        try await expectConverged(world, a, b)
        let record = try #require(try await b.replica.get("client", id))
        #expect(record["name"] == "Pier 9")
        #expect(record["status"] == record.schema.machine.map { .string($0.initial) })
        #expect(record.elements("tags") == ["dock"])
        #expect(record.createdBy == a.member)
    }

    @Test func delete_becomesATombstone_andNullBringsItBack() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        let other = try await a.client("Other")
        try await expectConverged(world, a, b)
        try await a.shell.execute("DELETE FROM client WHERE id = '\(id.text)';")
        try await expectConverged(world, a, b)
        #expect(try await b.replica.get("client", id)?.isDeleted == true)
        #expect(try await a.replica.get("client", id)?.isDeleted == true)
        // A DELETE without WHERE passes over tombstones.
        try await a.shell.execute("DELETE FROM client;")
        try await expectConverged(world, a, b)
        #expect(try await b.replica.get("client", other)?.isDeleted == true)
        try await a.shell.execute("UPDATE client SET deleted_at = NULL WHERE id = '\(id.text)';")
        try await expectConverged(world, a, b)
        #expect(try await b.replica.get("client", id)?.isDeleted == false)
        #expect(try await b.replica.get("client", other)?.isDeleted == true)
    }

    @Test func replaceIgnoreAndUpsert_onExistingIds() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["phone": "+15550100", "notes": "first"])
        try await expectConverged(world, a, b)
        try await a.shell.execute(
            """
            INSERT OR IGNORE INTO client (id, name) VALUES ('\(id.text)', 'Ignored');
            """)
        #expect(try await a.replica.pending().isEmpty)
        try await a.shell.execute(
            "INSERT INTO client (id, name) VALUES ('\(id.text)', 'x') ON CONFLICT (id) DO UPDATE SET notes = 'upserted';")
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "notes") == "upserted")
        #expect(try await b.value("client", id, "name") == "Acme")
        // REPLACE says every column: what it leaves out is emptied, and the record stays the same record.
        for recursion in ["OFF", "ON"] {
            try await a.shell.execute(
                """
                PRAGMA recursive_triggers = \(recursion);
                REPLACE INTO client (id, name, notes) VALUES ('\(id.text)', 'Replaced \(recursion)', 'replaced');
                """)
            try await expectConverged(world, a, b)
            let record = try #require(try await b.replica.get("client", id))
            #expect(record["name"] == .string("Replaced \(recursion)"))
            #expect(record["notes"] == "replaced")
            #expect(record["phone"] == .null)
            #expect(!record.isDeleted)
        }
    }

    @Test func replace_isGatedLikeAnUpdate() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "p-1", "name": "Valve"])
        try await a.sync()
        let message = try await a.shell.refusal("REPLACE INTO part (id, sku, name) VALUES ('\(part.text)', 'p-2', 'Valve');")
        #expect(message.contains("immutable: part.sku"))
        #expect(try await a.value("part", part, "sku") == "p-1")
    }

    @Test func deleteAndInsertAgain_isAReplacement_insertAndDeleteIsNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["phone": "+15550100"])
        try await expectConverged(world, a, b)
        try await a.shell.execute(
            """
            BEGIN; DELETE FROM client WHERE id = '\(id.text)'; INSERT INTO client (id, name) VALUES ('\(id.text)', 'Again'); COMMIT;
            INSERT INTO client (id, name) VALUES ('018f0000-0000-7000-8000-000000000001', 'Short-lived');
            UPDATE client SET notes = 'x' WHERE name = 'Short-lived';
            DELETE FROM client WHERE name = 'Short-lived';
            """)
        try await a.sync()
        #expect(try await a.replica.problems().isEmpty)
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "name") == "Again")
        #expect(try await b.value("client", id, "phone") == .null)
        #expect(try await b.replica.count("client") == 1)
    }

    @Test func rolledBackTransaction_leavesNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute(
            """
            BEGIN; UPDATE client SET name = 'Gone'; DELETE FROM client; INSERT INTO client (name) VALUES ('New'); ROLLBACK;
            """)
        let report = try await a.sync()
        #expect(report.pushed == 0)
        #expect(try await a.value("client", id, "name") == "Acme")
        // A statement that fails half-way takes the rows before it back as well.
        try await a.client("Second")
        let message = try await a.shell.refusal("UPDATE client SET name = CASE name WHEN 'Second' THEN '' ELSE 'Changed' END;")
        #expect(message.contains("required: client.name"))
        #expect(try await a.value("client", id, "name") == "Acme")
    }

    @Test func multiRowStatement_isOneSetARecord_andAGroupIsOneSet() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        for number in 1...5 { try await a.client("Client \(number)") }
        try await expectConverged(world, a, b)
        try await a.shell.execute("UPDATE client SET notes = 'all of them';")
        #expect(try await a.sync().accepted == 5)
        try await a.shell.execute(
            """
            BEGIN;
            INSERT INTO tideline_group (summary) VALUES ('move to the new office');
            UPDATE client SET notes = 'moved' WHERE name <> 'Client 1';
            UPDATE client SET phone = '+15550199' WHERE name = 'Client 2';
            DELETE FROM tideline_group;
            COMMIT;
            UPDATE client SET notes = 'on its own' WHERE name = 'Client 1';
            """)
        try await a.replica.write { _ in }
        let pending = try await a.replica.pending()
        #expect(pending.count == 2)
        #expect(pending.first?.summary == "move to the new office")
        try await expectConverged(world, a, b)
        #expect(try await b.replica.count("client", where: [Filter("notes", .equal, "moved")]) == 4)
    }

    @Test func groupWithAFact_isTwoSets_soThatTheFactOutlivesTheEdit() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let part = try await a.create("part", ["sku": "valve", "name": "Valve"])
        try await expectConverged(world, a, b)
        try await b.replica.write { try $0.set("part", part, ["detail": ["rating": 6]]) }
        try await b.sync()
        try await a.shell.execute(
            """
            BEGIN; INSERT INTO tideline_group (summary) VALUES ('what I found');
            INSERT INTO note (subject_type, subject_id, body) VALUES ('part', '\(part.text)', 'It leaked.');
            UPDATE part SET detail = '{"rating":1}' WHERE id = '\(part.text)';
            DELETE FROM tideline_group; COMMIT;
            """)
        try await a.sync()
        let problems = try await a.replica.problems()
        #expect(problems.map { $0.violations.map(\.code) } == [["conflict"]])
        try await expectConverged(world, a, b)
        #expect(try await b.replica.count("note") == 1, "the record of what happened reached the others")
        #expect(try await b.value("part", part, "detail") == ["rating": 6])
    }

    /// Each row of it is a patch and a transition: more changes than one set may have, kept readable all the same.
    @Test func groupThatIsTooLarge_becomesProblemsThatCanBeRead() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let count = 600
        _ = try await a.replica.writeEach((0..<count).map { number in { try $0.create("client", ["name": .string("Client \(number)")]) } })
        for _ in 0..<2 { try await a.sync() }
        try await a.shell.execute(
            """
            BEGIN; INSERT INTO tideline_group (summary) VALUES ('all on hold');
            UPDATE client SET status = 'on_hold', notes = 'x'; DELETE FROM tideline_group; COMMIT;
            """)
        try await a.sync()
        let problems = try await a.replica.problems()
        #expect(problems.map(\.changes.count) == [1_000, 200])
        #expect(problems.allSatisfy { $0.violations.first?.code == "payload_too_large" && $0.summary == "all on hold" })
        #expect(try await a.replica.count("client", where: [Filter("notes", .equal, "x")]) == 0)
        try await a.replica.retry(problems[0])
        try await a.replica.retry(problems[1])
        try await a.sync()
        #expect(try await a.replica.count("client", where: [Filter("status", .equal, "on_hold")]) == count)
        try await expectConverged(world, a)
    }

    @Test func aggregateRows_joinTheirRoot() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let document = "018f0000-0000-7000-8000-00000000000a"
        try await a.shell.execute(
            """
            INSERT INTO document (id, title) VALUES ('\(document)', 'Offer');
            INSERT INTO document_line (document, label, price) VALUES ('\(document)', 'Valve', 1250), ('\(document)', 'Work', 9900);
            """)
        try await a.replica.write { _ in }
        #expect(try await a.replica.pending().map { $0.changes.count } == [3])
        try await expectConverged(world, a, b)
        #expect(try await b.replica.count("document_line") == 2)
    }

    @Test func countersTransitionsAndArguments() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let part = try await a.create("part", ["sku": "p-1", "name": "Valve"])
        let document = try await a.create("document", ["title": "Offer"])
        try await a.create("document_line", ["document": .string(document.text), "label": "Valve", "price": 5])
        try await expectConverged(world, a, b)
        try await a.shell.execute("UPDATE part SET on_hand_milli = on_hand_milli + 500;")
        try await b.shell.execute("UPDATE part SET on_hand_milli = on_hand_milli - 200;")
        try await expectConverged(world, a, b)
        #expect(try await a.value("part", part, "on_hand_milli") == 300)
        // A queued transition takes effect at the server.
        try await a.shell.execute("UPDATE document SET status = 'issued' WHERE id = '\(document.text)';")
        try await expectConverged(world, a, b)
        #expect(try await b.value("document", document, "status") == "issued")
        #expect(try await b.value("document", document, "number") != .null)
        #expect(
            try await a.shell.refusal("UPDATE document SET status = 'draft';").contains("unknown_transition: document.status"))
        #expect(try await a.shell.refusal("UPDATE document SET status = 'void';").contains(": document.status"))
    }

    @Test func linkWithAnyId_getsItsOwn() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let client = try await a.client("Acme")
        let contact = try await a.create("contact", ["first_name": "Nina", "last_name": "Ortiz"])
        try await expectConverged(world, a, b)
        try await a.shell.execute("INSERT INTO client_contact (client, contact) VALUES ('\(client.text)', '\(contact.text)');")
        try await expectConverged(world, a, b)
        let links = try await b.replica.list("client_contact").data
        #expect(links.count == 1)
        let expected = links.first?.schema.deterministicID { links.first?[$0] }
        #expect(links.first?.id == expected)
        #expect(try await a.replica.count("client_contact") == 1)
    }

    @Test func whatOnlyRulesCanJudge_goesToTheProblems() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let client = try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute(
            """
            UPDATE client SET email = 'not an address', notes = 'kept together' WHERE id = '\(client.text)';
            UPDATE client SET phone = '+15550100' WHERE id = '\(client.text)';
            INSERT INTO client (name) VALUES ('Unaffected');
            """)
        let report = try await a.sync()
        #expect(report.accepted == 1)
        let problem = try #require(try await a.replica.problems().first)
        #expect(problem.status == "refused")
        #expect(problem.violations.map(\.code) == ["invalid_format"])
        #expect(problem.violations.first?.field == "email")
        #expect(try await a.value("client", client, "notes") == .null)
        // It can be mended like any other problem.
        try await a.replica.edit(problem, ["email": "office@example.com"])
        try await a.sync()
        #expect(try await a.value("client", client, "email") == "office@example.com")
        #expect(try await a.value("client", client, "notes") == "kept together")
        #expect(try await a.replica.problems().isEmpty)
    }

    @Test func textThatIsNoText_isKeptAsAProblem_andJamsNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let client = try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute(
            """
            UPDATE client SET notes = CAST(x'41ff42' AS TEXT) WHERE id = '\(client.text)';
            UPDATE client SET custom = '{"a":1,"a":2}' WHERE id = '\(client.text)';
            INSERT INTO client (name) VALUES ('Fine');
            """)
        let report = try await a.sync()
        #expect(report.accepted == 1)
        #expect(try await a.replica.problems().count >= 1)
        #expect(try await a.value("client", client, "notes") == .null)
        #expect(try await a.replica.integrityCheck().isEmpty)
        try await a.set("client", client, ["notes": "fine again"])
        #expect(try await a.sync().accepted == 1)
    }

    /// A trigger of the tool's own changes the row again inside the statement; SQLite tells the inner change first.
    @Test(arguments: ["AFTER", "AFTER UPDATE first"]) func triggersOfTheToolsOwn_changeTheRowAgain_andNothingIsLost(order: String)
        async throws
    {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["phone": "+15550100"])
        try await expectConverged(world, a, b)
        let triggers = [
            "CREATE TRIGGER own_update AFTER UPDATE OF name ON client BEGIN UPDATE client SET legal_name = NEW.name || ' Ltd' WHERE id = NEW.id; END;",
            "CREATE TRIGGER own_insert AFTER INSERT ON client BEGIN UPDATE client SET notes = 'by trigger', phone = NULL WHERE id = NEW.id; END;",
        ]
        try await a.shell.execute((order == "AFTER" ? triggers : triggers.reversed()).joined(separator: "\n"))
        try await a.shell.execute("UPDATE client SET name = 'Harbor', phone = '+15550142' WHERE id = '\(id.text)';")
        try await a.shell.execute("INSERT INTO client (name, phone) VALUES ('Pier 9', '+15550199');")
        try await expectConverged(world, a, b)
        let client = try #require(try await b.replica.get("client", id))
        #expect(client["name"] == "Harbor" && client["legal_name"] == "Harbor Ltd" && client["phone"] == "+15550142")
        let pier = try #require(try await b.replica.list("client", where: [Filter("name", .equal, "Pier 9")]).data.first)
        #expect(pier["notes"] == "by trigger" && pier["phone"] == .null)
        #expect(try await a.replica.problems().isEmpty)
        #expect(try await a.replica.count("client") == 2)
    }

    @Test func idThatIsNull_isRefusedWithAReason_evenWhereConflictsAreIgnored() async throws {
        let world = try World()
        let a = try await world.replica("a")
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            let refusal = try await a.shell.refusal("\(verb) INTO client (id, name) VALUES (NULL, 'Acme');")
            #expect(refusal.contains("invalid_format: client.id"), "\(verb): \(refusal)")
        }
        #expect(try await a.replica.count("client") == 0)
    }

    @Test func moveThatNeedsAReason_isRefusedWithoutOne_byTheStatement() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let client = try await a.client("Acme")
        let deal = try await a.create(
            "deal", ["title": "Roof", "client": .string(client.text), "amount": 5, "currency": "USD", "owner": .string(a.member.text)])
        try await a.sync()
        let refusal = try await a.shell.refusal("UPDATE deal SET stage = 'lost' WHERE id = '\(deal.text)';")
        #expect(refusal.contains("required: deal.lost_reason"), "\(refusal)")
        try await a.shell.execute("UPDATE deal SET stage = 'lost', lost_reason = 'price' WHERE id = '\(deal.text)';")
        try await expectConverged(world, a)
        #expect(try await a.value("deal", deal, "lost_reason") == "price")
        #expect(try await a.replica.problems().isEmpty)
    }
}
