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
    @Test func whatCannotBeRead_waitsForAWord_andTheRestOfItIsKept() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["tags": ["x"]])
        try await expectConverged(world, a)
        try await a.shell.execute("UPDATE client SET name = CAST(X'41ff42' AS TEXT), phone = '+15550100' WHERE id = '\(id.text)';")
        try await a.sync()
        let problem = try #require(try await a.replica.problems().first)
        #expect(problem.violations.map(\.field) == ["name"])
        #expect(problem.violations.first?.parameters["text"] == "A\u{FFFD}B", "the words are kept")
        for edit in [[:], ["phone": "+15550101"]] as [[String: JSONValue]] {
            let error = try await replicaError {
                if edit.isEmpty { try await a.replica.retry(problem) } else { try await a.replica.edit(problem, edit) }
            }
            #expect(error?.code == .refused && error?.violations.map(\.code) == ["invalid_syntax"])
            #expect(try await a.replica.problems().count == 1, "it waits until somebody says what was meant")
        }
        try await a.replica.edit(problem, ["name": "Acme Ltd"])
        try await expectConverged(world, a)
        #expect(try await a.value("client", id, "phone") == "+15550100", "what could be read need not be said again")
        #expect(try await a.value("client", id, "name") == "Acme Ltd")
    }

    @Test func newRecordThatCannotBeRead_isMadeOnceItsWordsAreSaid() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.shell.execute(
            """
            INSERT INTO client (name, notes, billing_address) VALUES (CAST(x'53f66e' AS TEXT), 'keep me', '{"line1":"a","line1":"b"}');
            UPDATE client SET phone = '+15550100';
            """)
        try await a.sync()
        let problem = try #require(try await a.replica.problems().first)
        #expect(problem.violations.map(\.field) == ["billing_address", "name"])
        #expect(try await a.replica.count("client") == 0)
        try await a.replica.edit(problem, ["name": "Sön", "billing_address": ["line1": "Quay 1"]])
        try await expectConverged(world, a)
        let client = try #require(try await a.replica.list("client").data.first)
        #expect(client["name"] == "Sön" && client["notes"] == "keep me" && client["phone"] == "+15550100")
        #expect(client["billing_address"] == ["line1": "Quay 1"])
        #expect(try await a.replica.problems().isEmpty)
    }

    /// More bytes than a set may have: problems that can each be retried.
    @Test func groupOfTooManyBytes_becomesProblemsThatFit() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let text = String(repeating: "n", count: 19_000)
        try await a.shell.execute(
            """
            BEGIN; INSERT INTO tideline_group (summary) VALUES ('long stories');
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)
            INSERT INTO client (name, notes) SELECT 'Client ' || i, '\(text)' FROM n; DELETE FROM tideline_group; COMMIT;
            """)
        try await a.sync()
        let problems = try await a.replica.problems()
        #expect(problems.count == 2 && problems.allSatisfy { $0.violations.first?.code == "payload_too_large" })
        #expect(problems.reduce(0) { $0 + $1.changes.count } == 70)
        for problem in problems { try await a.replica.retry(problem) }
        try await expectConverged(world, a)
        #expect(try await a.replica.count("client") == 70)
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
