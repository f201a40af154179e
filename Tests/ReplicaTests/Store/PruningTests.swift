// What is kept for a while, and what is kept until somebody has seen to it.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct PruningTests {
    private static let day: Int64 = 86_400_000

    /// Edits of `count` clients that the server rejects because another replica was there first, as problems.
    private func problems(_ count: Int, _ world: World, _ a: Site, _ b: Site) async throws -> (clients: [Identifier], problems: [Problem]) {
        var clients: [Identifier] = []
        for number in 0..<count { clients.append(try await a.client("Acme \(number)", ["notes": "base"])) }
        try await expectConverged(world, a, b)
        for id in clients { try await b.set("client", id, ["notes": "Ben's"]) }
        try await b.sync()
        for id in clients { try await a.set("client", id, ["notes": "Ada's"]) }
        try await a.sync()
        return (clients, try await a.replica.problems())
    }

    private func kept(_ replica: Replica) async throws -> [SQLiteValue] {
        try await replica.query("SELECT id FROM _tideline_problem ORDER BY id").flatMap(\.values)
    }

    @Test func settledProblems_areForgottenAfterNinetyDays_andOpenOnesNever() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let (clients, problems) = try await problems(3, world, a, b)
        try #require(problems.count == 3)
        try await a.replica.discard(problems[0])
        try await a.replica.edit(problems[1], ["notes": "both"])
        try await a.sync()
        for days in [Int64(45), 44] {
            world.clock.advance(days * Self.day)
            try await a.sync()
            #expect(try await kept(a.replica).count == 3)
            #expect(try await a.replica.history("client", clients[0]).contains { $0.problem == problems[0].id })
        }
        world.clock.advance(Self.day + 1)
        try await a.sync()
        #expect(try await kept(a.replica) == [.integer(problems[2].id)])
        #expect(try await !a.replica.history("client", clients[0]).contains { $0.problem == problems[0].id })
        for _ in 0..<3 {
            world.clock.advance(400 * Self.day)
            try await a.sync()
        }
        let open = try #require(try await a.replica.problems().first)
        #expect(open.id == problems[2].id && open.violations.first?.parameters["yours"] == "Ada's")
        // However long it was open: its time begins when somebody sees to it.
        try await a.replica.discard(open)
        try await a.sync()
        world.clock.advance(89 * Self.day)
        try await a.sync()
        #expect(try await kept(a.replica).count == 1)
        world.clock.advance(2 * Self.day)
        try await a.sync()
        #expect(try await kept(a.replica).isEmpty)
        try await expectConverged(world, a, b)
    }

    /// What was settled before the file noted when: counted from the first sync of the build that does.
    @Test func settledProblems_ofAnOlderFile_haveTheirTimeStill() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let problems = try await problems(1, world, a, b).problems
        try await a.replica.discard(try #require(problems.first))
        // As a build without the column has left it, long ago: it made the same tables otherwise.
        let made = try await a.replica.reading("test") { FileLayout.of($0.schema).statements.joined(separator: ";\n") }
        await a.replica.close()
        try await SQLiteShell(path: world.path("a")).execute(
            """
            ALTER TABLE _tideline_problem DROP COLUMN settled_at;
            UPDATE _tideline_meta SET value = '\(Hex.encode(SHA256.hash(Array(made.utf8))))' WHERE key = 'layout';
            """)
        world.clock.advance(400 * Self.day)
        let again = try await world.open("a", a.transport)
        try await again.sync()
        world.clock.advance(89 * Self.day)
        try await again.sync()
        #expect(try await kept(again).count == 1)
        world.clock.advance(2 * Self.day)
        try await again.sync()
        #expect(try await kept(again).isEmpty)
    }

    /// As after a restore of the server: a set is on its way once more, and its successors can be offered only if nothing between is missing.
    @Test func settledProblem_staysAboveASetOnItsWay() async throws {
        let world = try World()
        let (a, b) = (try await world.replica("a"), try await world.replica("b"))
        let problem = try #require(try await problems(1, world, a, b).problems.first)
        try await a.replica.discard(problem)
        try await a.replica.writing("test") { store in
            var held = HeldSets(store)
            let own = try Metadata(connection: store.connection).requireIdentity("test").replica
            #expect(try store.offerAgain(1, held.at(1), own: own) == 1)
            for day in [Int64(1), 100, 200] { try store.pruneSettledProblems(at: day * Self.day) }
        }
        #expect(try await kept(a.replica) == [.integer(problem.id)])
        for _ in 0..<2 {
            try await a.sync()
            world.clock.advance((Store.journalDays + 1) * Self.day)
        }
        try await a.sync()
        #expect(try await kept(a.replica).isEmpty)
        try await expectConverged(world, a, b)
    }

    @Test func nothingUnresolved_isEverPruned_howeverLongItWaits() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        // One of each: rejected by the server, refused by plain SQL, and later what is pending and what is not even sealed.
        try await b.set("client", id, ["notes": "Ben's"])
        try await b.sync()
        try await a.set("client", id, ["notes": "Ada's"])
        try await a.shell.execute("UPDATE client SET email = 'nonsense';")
        try await a.sync()
        #expect(try await a.replica.problems().map(\.status).sorted() == ["refused", "rejected"])
        #expect(try await a.replica.undoableSets().count == 1)
        try await a.replica.discard(try #require(try await a.replica.problems().first { $0.status == "refused" }))
        a.transport.breaking { call, _ in call == .push ? .fail(.unreachable("no network")) : nil }
        try await a.set("client", id, ["phone": "+15550100"])
        try await a.shell.execute("UPDATE client SET website = 'https://example.com';")

        world.clock.advance(400 * 86_400_000)
        for _ in 0..<3 {
            _ = try? await a.sync()
            world.clock.advance(400 * 86_400_000)
        }
        // What was accepted is only kept for undo and history, and goes.
        #expect(try await a.replica.query("SELECT count(*) FROM _tideline_journal").first?.values == [.integer(0)])
        let problem = try #require(try await a.replica.problems().first)
        #expect(problem.violations.first?.parameters["yours"] == "Ada's")
        #expect(try await a.replica.pending().count == 2)
        #expect(try await a.replica.history("client", id).contains { $0.problem == problem.id })
        a.transport.breaking(nil)
        try await a.sync()
        #expect(try await a.replica.pending().isEmpty)
        #expect(try await a.replica.problems().count == 1)
        try await a.replica.retry(problem)
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "notes") == "Ada's")
        #expect(try await b.value("client", id, "phone") == "+15550100")
        #expect(try await b.value("client", id, "website") == "https://example.com")
    }
}
