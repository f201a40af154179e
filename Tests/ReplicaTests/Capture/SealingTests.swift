// A large log is sealed part by part: it comes to the same as at once, others get their turn, and a death in between loses nothing.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct SealingTests {
    /// Opens a file and seals what is in it.
    private func sealed(
        _ path: String, _ world: World, atOnce: Int, faults: StorageFaults? = nil,
        progress: @escaping @Sendable (ReplicaProgress) -> Void = { _ in }
    ) async throws -> Replica {
        var environment = world.environment(faults)
        environment.sealedAtOnce = atOnce
        environment.sealingPauseMilliseconds = 0
        environment.progress = progress
        return try await Replica.open(path, schema: world.schema, transport: ModelTransport(world.server), environment: environment)
    }

    /// Everything that sealing writes, bytes of the sets included.
    private func contents(_ replica: Replica) async throws -> [String] {
        var lines: [String] = []
        let tables = ["_tideline_pending", "_tideline_problem", "_tideline_base"] + replica.schema.entities.map(\.name)
        let known = Set(
            try await replica.query("SELECT name FROM sqlite_schema WHERE type = 'table'").compactMap { row -> String? in
                if case .text(let name)? = row["name"] { name } else { nil }
            })
        for table in tables where known.contains(table) {
            for row in try await replica.query("SELECT * FROM \"\(table)\" ORDER BY 1, 2") {
                lines.append(table + " " + row.values.map { "\($0)" }.joined(separator: "|"))
            }
        }
        return lines
    }

    @Test func partByPart_comesToTheSame_asAllAtOnce() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let parts = Locked(0)
        let fallbacks = Locked(0)
        for round in 0..<12 {
            let world = try World(schema: .testing)
            let a = try await world.replica("a")
            var tool = ToolAtWork(random: random)
            let beginning = tool.beginning
            try await a.replica.write { edit in
                for statement in beginning { try edit.create(statement.entity, statement.fields, id: statement.id) }
            }
            try await a.sync()
            let paths = [world.path("a"), world.path("copy")]
            await a.replica.close()
            let connection = try SQLiteConnection(path: paths[0], mode: .readWrite)
            for _ in 0..<50 {
                // What a gate refuses has not happened.
                do { try connection.script(tool.statement()) } catch { if !error.message.contains(":") { throw error } }
            }
            connection.close()
            random = tool.random
            try FileManager.default.copyItem(atPath: paths[0], toPath: paths[1])
            let whole = try await sealed(paths[0], world, atOnce: 1_000_000)
            let before = parts.with { $0 }
            let apart = try await sealed(paths[1], world, atOnce: 1 + round % 3) { _ in parts.with { $0 += 1 } }
            if parts.with({ $0 }) == before { fallbacks.with { $0 += 1 } }
            let (one, other) = (try await contents(whole), try await contents(apart))
            #expect(one == other, "round \(round): \(zip(one, other).first { $0 != $1 }.map { "\($0)\n\($1)" } ?? "")")
            #expect(try await whole.query("SELECT count(*) AS n FROM _tideline_edit").first?["n"] == .integer(0))
            await whole.close()
            await apart.close()
        }
        #expect(parts.with { $0 } > 24, "or nothing was sealed apart")
    }

    /// What rows further back did to the tables has not happened yet for the part in front, a lookup by another record's field included.
    @Test func partInFront_doesNotSeeWhatComesBehind() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        var parts: [Identifier] = []
        for number in 0..<4 { parts.append(try await a.create("part", ["sku": .string("p-\(number)"), "name": "Part"])) }
        let document = try await a.create("document", ["title": "Offer"])
        let line = try await a.create("document_line", ["document": .string(document.text), "label": "Valve", "price": 5])
        try await a.sync()
        let path = a.replica.path
        await a.replica.close()
        // The document can be issued for its one line, which goes only after that. And p-new is free until the last insert takes it.
        try await SQLiteShell(path: path).execute(
            """
            UPDATE document SET status = 'issued' WHERE id = '\(document.text)';
            INSERT INTO part (id, sku, name) VALUES ('018f0000-0000-7000-8000-0000000000aa', 'p-new', 'New');
            UPDATE part SET name = 'Other' WHERE sku = 'p-1';
            INSERT INTO note (subject_type, subject_id, body) VALUES ('part', '\(parts[3].text)', 'still there');
            DELETE FROM document_line WHERE id = '\(line.text)';
            DELETE FROM part WHERE id = '\(parts[0].text)';
            INSERT INTO part (sku, name) VALUES ('p-0', 'In place of the first');
            DELETE FROM part WHERE id = '\(parts[3].text)';
            """)
        let progress = Locked<[ReplicaProgress]>([])
        let replica = try await sealed(path, world, atOnce: 1) { one in progress.with { $0.append(one) } }
        #expect(progress.with { $0.count } >= 4)
        let problems = try await replica.problems()
        // A locked document keeps its line, and a part with a note stays: refused where they stand, as they would be at once.
        #expect(problems.map { $0.changes[0].key } == [RecordKey("document_line", line), RecordKey("part", parts[3])])
        try await replica.sync()
        #expect(try await replica.get("document", document)?["status"] == "issued")
        let skus = try await replica.list("part").data.compactMap { $0["sku"].stringValue }
        #expect(Set(skus) == ["p-0", "p-1", "p-2", "p-3", "p-new"])
        #expect(try await replica.count("note") == 1)
        await replica.close()
    }

    /// Between two parts nobody holds the file: a tool without any patience writes there.
    @Test func toolWithoutPatience_getsItsTurnBetweenTheParts() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        _ = try await a.replica.writeEach((0..<40).map { number in { try $0.create("client", ["name": .string("Client \(number)")]) } })
        try await a.sync()
        let path = a.replica.path
        await a.replica.close()
        try await SQLiteShell(path: path).execute("UPDATE client SET notes = 'all of them';")
        let tool = Locked(try SQLiteConnection(path: path, mode: .readWrite, busyTimeoutMilliseconds: 0))
        let written = Locked(0)
        let refused = Locked<[String]>([])
        let replica = try await sealed(path, world, atOnce: 5) { progress in
            guard progress.done < progress.total else { return }
            do {
                // One that is sealed, and one that is not.
                try tool.with { connection in
                    try connection.script(
                        "UPDATE client SET phone = '+155501\(10 + written.with { $0 })' WHERE name IN ('Client 0', 'Client 39')")
                    try connection.script("INSERT INTO client (name) VALUES ('Walk-in \(written.with { $0 })')")
                }
                written.with { $0 += 1 }
            } catch { refused.with { $0.append("\(error)") } }
        }
        #expect(refused.with { $0 } == [])
        let count = written.with { $0 }
        #expect(count >= 4)
        tool.with { _ = $0.close() }
        try await replica.sync()
        #expect(try await replica.problems().isEmpty)
        try await b.sync()
        let clients = try await b.replica.list("client", limit: 200).data
        #expect(clients.count == 40 + count)
        #expect(clients.filter { $0["notes"] == "all of them" }.count == 40)
        let phones = clients.filter { $0["name"] == "Client 0" || $0["name"] == "Client 39" }.map { $0["phone"] }
        #expect(phones == Array(repeating: .string("+155501\(10 + count - 1)"), count: 2))
        await replica.close()
    }

    @Test func deathBetweenParts_losesNothing_andDoublesNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        _ = try await a.replica.writeEach((0..<30).map { number in { try $0.create("client", ["name": .string("Client \(number)")]) } })
        try await a.sync()
        let path = a.replica.path
        await a.replica.close()
        try await SQLiteShell(path: path).execute("UPDATE client SET notes = name || ' was here';")
        var deaths = 0
        for number in [1, 2, 3, 5] {
            let faults = StorageFaults()
            faults.fail(at: .applySeal, number: number)
            let replica = try await sealed(path, world, atOnce: 4, faults: faults)
            if replica.unsealed != nil { deaths += 1 }
            #expect(
                try await replica.count("client", where: [Filter("notes", .contains, "was here")]) == 30, "the tool's words stay in view")
            #expect(try await replica.integrityCheck().isEmpty)
            await replica.close()
        }
        #expect(deaths >= 3)
        let replica = try await sealed(path, world, atOnce: 4)
        #expect(try await replica.pending().count == 30)
        #expect(try await replica.sync().accepted == 30)
        let b = try await world.replica("b")
        let clients = try await b.replica.list("client").data
        #expect(clients.count == 30)
        #expect(clients.allSatisfy { $0["notes"] == .string(($0["name"].stringValue ?? "") + " was here") })
        await replica.close()
    }
}

/// Statements of somebody who works on a small set of records, so that they meet.
private struct ToolAtWork {
    var random: SeededRandom
    private var made = 1_000

    init(random: SeededRandom) { self.random = random }

    private static func id(_ number: Int) -> String { "018f0000-0000-7000-8000-\(String(format: "%012d", number))" }

    /// What is there, confirmed.
    var beginning: [(entity: String, id: Identifier?, fields: [String: JSONValue])] {
        func make(_ entity: String, _ number: Int, _ fields: [String: JSONValue]) -> (String, Identifier?, [String: JSONValue]) {
            (entity, Identifier(Self.id(number)), fields)
        }
        return (0..<14).map { make("client", $0, ["name": .string("Client \($0)")]) }
            + (20..<34).map { make("part", $0, ["sku": .string("part-\($0)"), "name": "Part"]) }
            + (40..<52).map { make("document", $0, ["title": "Offer"]) }
            + (60..<72).map {
                make("document_line", $0, ["document": .string(Self.id($0 - 20)), "label": "Line", "price": 5])
            }
            + (40..<143).map { make("contact", $0, ["first_name": "Nina", "last_name": .string("Ortiz \($0)")]) }
    }

    private mutating func pick(_ from: Range<Int>) -> String { Self.id(Int.random(in: from, using: &random)) }

    mutating func statement() -> String {
        if Int.random(in: 0..<12, using: &random) == 0 {
            let inner = (0..<Int.random(in: 1...4, using: &random)).map { _ in single() }
            return "BEGIN; INSERT INTO tideline_group (summary) VALUES ('together'); \(inner.joined(separator: " ")) "
                + "DELETE FROM tideline_group; COMMIT;"
        }
        return single()
    }

    private mutating func single() -> String {
        made += 1
        let number = made
        switch Int.random(in: 0..<16, using: &random) {
        case 0: return "UPDATE client SET notes = 'n\(number)' WHERE id = '\(pick(0..<14))';"
        case 1: return "UPDATE client SET notes = 'all \(number)', tags = '[\"t\(number % 3)\"]' WHERE id > '\(pick(10..<14))';"
        case 2: return "INSERT INTO client (id, name) VALUES ('\(Self.id(number))', 'New \(number)');"
        case 3:
            let email = number % 3 == 0 ? "no address" : "a\(number)@example.com"
            return "UPDATE client SET email = '\(email)' WHERE id = '\(pick(0..<14))';"
        case 4: return "DELETE FROM client WHERE id = '\(pick(0..<14))';"
        case 5: return "INSERT INTO part (id, sku, name) VALUES ('\(Self.id(number))', 'part-\(20 + number % 20)', 'Again');"
        case 6: return "UPDATE part SET on_hand_milli = on_hand_milli + \(number), name = 'P\(number)' WHERE id = '\(pick(20..<34))';"
        case 7: return "DELETE FROM part WHERE id = '\(pick(20..<34))';"
        case 8:
            return "INSERT INTO movement (id, part, kind, quantity_milli) VALUES ('\(Self.id(number))', '\(pick(20..<34))', 'receive', 7);"
        case 9: return "UPDATE document SET status = 'issued' WHERE id = '\(pick(40..<52))';"
        case 10: return "DELETE FROM document_line WHERE id = '\(pick(60..<72))';"
        case 11:
            return
                "INSERT INTO document_line (id, document, label, price) VALUES ('\(Self.id(number))', '\(pick(40..<52))', 'L\(number)', 1);"
        case 12: return "DELETE FROM document WHERE id = '\(pick(40..<52))';"
        case 13: return "INSERT INTO client_contact (client, contact) VALUES ('\(pick(0..<14))', '\(pick(40..<143))');"
        case 14: return "DELETE FROM contact WHERE id = '\(pick(40..<143))';"
        default:
            return "INSERT INTO note (id, subject_type, subject_id, body) VALUES ('\(Self.id(number))', 'part', '\(pick(20..<34))', 'n');"
        }
    }
}
