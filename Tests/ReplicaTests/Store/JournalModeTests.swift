// The journal that an app chooses: write-ahead logging for one that has its file for itself, and the way back.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct JournalModeTests {
    @Test func writeAheadLog_worksLikeTheRollbackJournal_andCanBeLeftAgain() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        await a.replica.close()
        func opened(_ journal: ReplicaJournal) async throws -> Replica {
            try await Replica.open(
                world.path("a"), schema: world.schema, transport: a.transport, environment: world.environment(), journal: journal)
        }
        func mode() async throws -> String { try await SQLiteShell(path: world.path("a")).execute("PRAGMA journal_mode;") }
        let quick = try await opened(.writeAhead)
        #expect(try await mode() == "wal")
        try await quick.write { _ = try $0.create("client", ["name": "Pier 9"]) }
        // Commits go to the log first; the watch looks there as well.
        let stamp = FileStamp(of: quick.path)
        try await SQLiteShell(path: quick.path).execute("UPDATE client SET notes = 'by tool';")
        #expect(FileStamp(of: quick.path) != stamp)
        #expect(try await quick.sync().accepted == 3)
        #expect(try await quick.digest() == world.server.digest())
        #expect(try await quick.integrityCheck().isEmpty)
        await quick.close()
        let safe = try await opened(.rollback)
        // The library's own mode is its connection's; what the file remembers is whether there is a log.
        #expect(try await mode() == "delete")
        #expect(try await safe.list("client").total == 2)
        await safe.close()
    }
}
