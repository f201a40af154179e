// What is kept for a while, and what is kept until somebody has seen to it.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct PruningTests {
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
