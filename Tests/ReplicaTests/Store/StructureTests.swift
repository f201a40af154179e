// Tools can change the structure of the file as well: what is missing is made anew and told, what is in the way is named.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct StructureTests {
    private func reopened(_ a: Site, _ world: World, after sql: String) async throws -> Replica {
        await a.replica.close()
        try await SQLiteShell(path: world.path("a")).execute(sql)
        return try await world.open("a", a.transport)
    }

    @Test(arguments: [
        "DROP TRIGGER _tideline_capture_client_update", "DROP TABLE client", "ALTER TABLE client RENAME COLUMN phone TO tel",
        "DROP INDEX _tideline_site_client; DROP TABLE _tideline_edit", "DROP TRIGGER _tideline_capture_client_insert; VACUUM",
    ])
    func whatATool_takesAway_isMadeAnew_andTold(sql: String) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["phone": "+15550100"])
        try await expectConverged(world, a, b)
        let replica = try await reopened(a, world, after: sql)
        let told = try await replica.diagnose(online: false).findings.filter { $0.text.contains("made anew") }
        #expect(told.count == 1 && told.first?.level == .warning, "\(told)")
        // Tools are heard again.
        try await replica.sync()
        try await SQLiteShell(path: world.path("a")).execute("UPDATE client SET website = 'https://example.com' WHERE id = '\(id.text)';")
        try await SQLiteShell(path: world.path("a")).execute("INSERT INTO client (name) VALUES ('New');")
        for _ in 0..<2 { try await replica.sync() }
        try await b.sync()
        let there = try #require(try await b.replica.get("client", id))
        #expect(there["website"] == "https://example.com" && there["phone"] == "+15550100")
        #expect(try await replica.get("client", id)?["phone"] == "+15550100", "what went with it was fetched anew")
        #expect(try await b.replica.count("client") == 2)
        #expect(try await replica.digest() == b.replica.digest())
        #expect(try await replica.integrityCheck().isEmpty)
        await replica.close()
        // Nothing is left to do: the next opening changes nothing.
        let again = try await world.open("a", a.transport)
        #expect(try await again.diagnose(online: false).findings.filter { $0.text.contains("made anew") }.count == 1, "for a week")
        await again.close()
    }

    @Test func uniqueIndexOfATool_isNamed() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        try await expectConverged(world, a, b)
        let replica = try await reopened(
            a, world, after: "CREATE UNIQUE INDEX my_names ON client (name); CREATE INDEX mine ON client (phone)")
        let findings = try await replica.diagnose(online: false).findings.filter { $0.level == .problem }
        #expect(findings.count == 1 && findings.first?.text.contains("my_names on client") == true, "\(findings)")
        for _ in 0..<2 { try await b.client("Twins") }
        try await b.sync()
        let error = try await replicaError { try await replica.sync() }
        #expect(error?.code == .storage)
        try await SQLiteShell(path: world.path("a")).execute("DROP INDEX my_names")
        try await replica.sync()
        #expect(try await replica.count("client") == 2)
        await replica.close()
    }

    /// Whoever holds the file, it opens; what is missing is made another time.
    @Test(.timeLimit(.minutes(5))) func fileThatIsHeld_opensAllTheSame() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        await a.replica.close()
        try await SQLiteShell(path: world.path("a")).execute("DROP TRIGGER _tideline_capture_client_update")
        let tool = try SQLiteConnection(path: world.path("a"), mode: .readWrite)
        try tool.execute("BEGIN IMMEDIATE")
        var environment = world.environment()
        environment.lockPatienceMilliseconds = Int(Int32.max)
        let replica = try await Replica.open(world.path("a"), transport: a.transport, environment: environment)
        #expect(try await replica.count("client") == 1)
        await replica.close()
        try tool.execute("ROLLBACK")
        tool.close()
        let again = try await world.open("a", a.transport)
        #expect(try await again.diagnose(online: false).findings.contains { $0.text.contains("made anew") })
        await again.close()
    }
}
