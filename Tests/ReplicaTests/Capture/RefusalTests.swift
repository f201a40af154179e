// Edits by plain SQL that are refused while nobody looks: whoever seals them, the person is told once, in words, by the next report.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct RefusalTests {
    private let nonsense = "UPDATE client SET email = 'nonsense';"

    @Test func refusedEdit_isToldByTheNextSync_once() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute(nonsense)
        let report = try await a.sync()
        #expect(report.newProblems.map(\.status) == ["refused"])
        #expect(report.newProblems.first?.violations.map(\.field) == ["email"])
        // What was sent in its place is a marker, and the report says so.
        #expect(report.pushed == 1)
        #expect(report.withdrawn == 1)
        #expect(try await a.sync().newProblems.isEmpty)
        #expect(try await a.replica.problems().count == 1)
        try await expectConverged(world, a)
    }

    @Test func whatOpeningTheFileSeals_isToldByTheNextSync() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        await a.replica.close()
        try await SQLiteShell(path: world.path("a")).execute(nonsense)
        // A program without a voice, such as a shell that completes a word, opens it first.
        let silent = try await world.open("a", a.transport)
        #expect(try await silent.problems().count == 1)
        await silent.close()
        let replica = try await world.open("a", a.transport)
        #expect(try await replica.sync().newProblems.count == 1)
        #expect(try await replica.untoldRefusals().isEmpty)
        await replica.close()
    }

    @Test func whatAnEditSeals_isToldByTheNextSync_orByAsking() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.shell.execute(nonsense)
        try await a.client("Pier 9")
        #expect(try await a.sync().newProblems.count == 1)
        try await a.shell.execute(nonsense)
        try await a.client("Harbor")
        #expect(try await a.replica.untoldRefusals().count == 2)
        #expect(try await a.sync().newProblems.isEmpty)
    }

    @Test func sealingThatIsTakenBack_tellsNothingTwice() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.shell.execute(nonsense)
        // The refused write takes its sealing back with it.
        let error = try await replicaError { try await a.replica.write { try $0.create("client", [:]) } }
        #expect(error?.code == .refused)
        #expect(try await a.replica.untoldRefusals().isEmpty)
        #expect(try await a.sync().newProblems.count == 1)
    }

    @Test func watch_reportsARefusedEdit() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        let reports = AsyncStream<SyncReport>.makeStream()
        let watching = Task { try await a.replica.syncContinuously { reports.continuation.yield($0) } }
        try await a.shell.execute(nonsense)
        for await report in reports.stream where !report.newProblems.isEmpty {
            #expect(report.newProblems.map(\.status) == ["refused"])
            break
        }
        watching.cancel()
        _ = try await watching.value
    }

    @Test func writeSQL_tellsItsOwnRefusals_soThatASyncDoesNot() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        #expect(try await a.replica.writeSQL("UPDATE client SET email = 'nonsense'").problems.count == 1)
        #expect(try await a.sync().newProblems.isEmpty)
    }

    @Test func pending_namesTheProblemOfASetThatWasTakenOut() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute(nonsense)
        try await a.client("Pier 9")
        let problem = try #require(try await a.replica.problems().first)
        let pending = try await a.replica.pending()
        #expect(pending.map(\.isWithdrawn) == [true, false])
        #expect(pending.map(\.problem) == [problem.id, nil])
        try await a.replica.discard(problem)
        #expect(try await a.replica.pending().map(\.problem) == [nil, nil])
    }

    /// The file can be read, checked and exported whatever became of what tools wrote; why it could not be taken up is told.
    @Test func whatCannotBeRead_isNotDoneAgain_asNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["tags": ["x"]])
        try await expectConverged(world, a)
        try await a.shell.execute("UPDATE client SET name = CAST(X'41ff42' AS TEXT), phone = '+15550100' WHERE id = '\(id.text)';")
        try await a.sync()
        let problem = try #require(try await a.replica.problems().first)
        #expect(problem.violations.first?.parameters["text"]?.stringValue?.contains("+15550100") == true, "the words are kept")
        let error = try await replicaError { try await a.replica.retry(problem) }
        #expect(error?.code == .refused && error?.violations.map(\.code) == ["invalid_syntax"])
        #expect(try await a.replica.problems().count == 1, "it waits until somebody says what was meant")
        try await a.replica.edit(problem, ["phone": "+15550100", "name": "Acme Ltd"])
        try await expectConverged(world, a)
        #expect(try await a.value("client", id, "phone") == "+15550100")
        #expect(try await a.value("client", id, "name") == "Acme Ltd")
    }

    @Test func fileWhoseEditsCannotBeSealed_opensAllTheSame_andSaysWhy() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        await a.replica.close()
        try await SQLiteShell(path: world.path("a")).execute("UPDATE client SET phone = '+15550100';")
        let faults = StorageFaults()
        faults.fail(at: .applySeal)
        let replica = try await world.open("a", a.transport, faults: faults)
        #expect(replica.unsealed?.message.contains("applySeal") == true)
        #expect(try await replica.list("client").data.first?["phone"] == "+15550100")
        #expect(try await replica.diagnose().findings.contains { $0.check == "capture" && $0.level == .problem })
        // Nothing is lost by it: the next sync takes them up.
        #expect(try await replica.sync().accepted == 1)
        await replica.close()
        #expect(try await world.open("a", a.transport).unsealed == nil)
    }
}
