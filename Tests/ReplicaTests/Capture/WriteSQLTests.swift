// SQL through the library: the same gates, one transaction, and nothing but records.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct WriteSQLTests {
    @Test func statements_becomeSets_orOneSet() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let made = try await a.replica.writeSQL("INSERT INTO client (name) VALUES ('One'), ('Two'); UPDATE client SET notes = 'x';")
        #expect(made.sets.count == 4)
        let one = try await a.replica.writeSQL("UPDATE client SET notes = 'y'", summary: "tidy up")
        #expect(one.sets.count == 1)
        #expect(try await a.replica.pending().last?.summary == "tidy up")
        try await a.sync()
        try await expectConverged(world, a)
    }

    @Test func refusals_carryCodeAndField_andChangeNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        let error = try await replicaError {
            _ = try await a.replica.writeSQL("UPDATE client SET notes = 'x'; UPDATE client SET name = '';", summary: "both")
        }
        #expect(error?.code == .refused)
        #expect(error?.violations.map(\.code) == ["required"])
        #expect(error?.violations.first?.field == "name")
        #expect(try await a.replica.list("client").data.first?["notes"] == .null)
        #expect(try await a.replica.pending().count == 1)
    }

    @Test(arguments: [
        "DELETE FROM _tideline_pending", "UPDATE _tideline_meta SET value = 'x'", "DROP TABLE client", "CREATE TABLE x (y)",
        "PRAGMA journal_mode = wal", "ATTACH '/tmp/x' AS x", "UPDATE sqlite_sequence SET seq = 1", "nonsense",
        "DROP TRIGGER _tideline_capture_client_insert",
    ])
    func anythingButRecords_isRefused(_ sql: String) async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        let error = try await replicaError { _ = try await a.replica.writeSQL(sql) }
        #expect(error?.code == .invalidQuery, "\(error?.message ?? "it was done")")
        #expect(try await a.replica.pending().count == 1)
        #expect(try await a.replica.integrityCheck().isEmpty)
    }
}
