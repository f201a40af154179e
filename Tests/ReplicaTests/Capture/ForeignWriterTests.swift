// Other processes in the same file at the same time: the real shell beside the library.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct ForeignWriterTests {
    @Test(.timeLimit(.minutes(5))) func opening_doesNotWaitForAToolThatWrites() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme")
        await a.replica.close()
        try await a.shell.execute("UPDATE client SET phone = '+15550100' WHERE id = '\(id.text)';")
        let tool = try SQLiteConnection(path: world.path("a"), mode: .readWrite)
        defer { tool.close() }
        try tool.execute("BEGIN IMMEDIATE")
        // With the patience of a write this would never end: the tool goes on only behind it.
        var environment = world.environment()
        environment.lockPatienceMilliseconds = Int(Int32.max)
        let replica = try await Replica.open(world.path("a"), transport: a.transport, environment: environment)
        #expect(try await replica.get("client", id)?["phone"] == "+15550100")
        #expect(replica.unsealed == nil, "a lock is no failure")
        try tool.execute("ROLLBACK")
        try await replica.sync()
        #expect(world.server.record("client", id)?["phone"] == "+15550100")
        await replica.close()
    }

    @Test func twoShellsAndTheLibrary_writingAtOnce_loseNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let counts = (shell: 40, library: 40)
        async let first: Void = insertEach("first", counts.shell, a.shell)
        async let second: Void = insertEach("second", counts.shell, a.shell)
        for number in 0..<counts.library {
            try await a.client("library \(number)")
            if number % 10 == 0 { try await a.sync() }
        }
        try await first
        try await second
        try await expectConverged(world, a, b)
        #expect(try await b.replica.count("client") == 2 * counts.shell + counts.library)
        #expect(try await a.replica.problems().isEmpty)
        #expect(try await a.replica.integrityCheck().isEmpty)
    }

    private func insertEach(_ name: String, _ count: Int, _ shell: SQLiteShell) async throws {
        let inserts = (0..<count).map { "INSERT INTO client (name) VALUES ('\(name) \($0)');" }
        try await shell.execute(inserts.joined(separator: "\n"))
    }

    /// The edit falls between the staging of pages and their apply: it must be judged by what its author could see.
    @Test func editWhileASyncIsStaging_isSealedBeforeTheApply() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let ids = try await (1...8).asyncMap { try await a.client("Client \($0)", ["notes": "base"]) }
        try await expectConverged(world, a, b)
        for id in ids { try await a.set("client", id, ["notes": "from a"]) }
        try await a.sync()
        // The second page of the pull is asked for: the first is staged by then.
        let shell = b.shell
        let edited = Once()
        b.transport.beforeAnswering { call in
            guard call == .pull, await edited.isSecond() else { return }
            _ = try? await shell.execute("UPDATE client SET notes = 'by tool' WHERE id = '\(ids[0].text)';")
        }
        let report = try await b.sync(SyncOptions(pageLimit: 3))
        b.transport.beforeAnswering(nil)
        // notes are guarded: the tool had not seen what arrived with the same sync.
        #expect(report.predictedRejections == 1)
        #expect(try await b.value("client", ids[0], "notes") == "from a")
        let final = try await b.sync()
        #expect(final.rejected == 1)
        #expect(final.newProblems.first?.violations.map(\.code) == ["conflict"])
        try await expectConverged(world, a, b)
    }

    /// The tool waits for the lock that the apply holds: its edit comes after, and knows what has arrived.
    @Test func editWhileASyncIsApplying_waits_andKnowsWhatWasApplied() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let hook = Hook()
        let transport = ModelTransport(world.server)
        var environment = world.environment()
        environment.storageStep = { try hook.reached($0) }
        let replica = try await Replica.open(world.path("b"), transport: transport, environment: environment)
        let invitation = world.server.invite("b", role: .owner)
        try await replica.enroll(server: try #require(URL(string: "http://model")), code: invitation.code, label: "b")
        let id = try await a.client("Acme", ["notes": "base"])
        try await a.sync()
        try await replica.sync()
        try await a.set("client", id, ["notes": "from a"])
        try await a.sync()

        let shell = try RunningShell(path: replica.path)
        // The shell has its statement before the step goes on, and a lock that is not free yet.
        hook.once(at: .applyOutcomes) { try shell.begin("UPDATE client SET notes = notes || ' and the tool' WHERE id = '\(id.text)';") }
        #expect(try await replica.sync().predictedRejections == 0)
        #expect(hook.isDone)
        #expect(try await shell.end() == 0)
        // It saw what the sync brought, so that the guarded field takes it.
        let report = try await replica.sync()
        #expect(report.accepted == 1 && report.rejected == 0)
        #expect(world.server.record("client", id)?["notes"] == "from a and the tool")
        #expect(try await replica.integrityCheck().isEmpty)
        await replica.close()
    }

    /// Somebody has a transaction open in DB Browser and goes for lunch: the watch waits, and goes on when it is over.
    @Test func longTransactionOfAnotherTool_whileWatching_isWaitedFor() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        try await expectConverged(world, a, b)
        let shell = try RunningShell(path: a.replica.path)
        try shell.begin("BEGIN IMMEDIATE; UPDATE client SET name = 'By hand' WHERE id = '\(id.text)'; SELECT 'held';")
        try shell.wait(for: "held")
        try await b.client("News")
        try await b.sync()
        let asked = AsyncStream<Void>.makeStream()
        a.transport.beforeAnswering { call in if call == .pull { asked.continuation.yield() } }
        let reports = AsyncStream<SyncReport>.makeStream()
        let watching = Task { try await a.replica.syncContinuously { reports.continuation.yield($0) } }
        // The news is on its way while the file is held.
        for await _ in asked.stream { break }
        #expect(try await a.replica.list("client").data.map(\.title) == ["Acme"], "readers see what was committed")
        try shell.begin("COMMIT;")
        #expect(try await shell.end() == 0)
        var accepted = 0
        for await report in reports.stream {
            accepted += report.accepted
            if accepted > 0 { break }
        }
        watching.cancel()
        _ = try await watching.value
        a.transport.beforeAnswering(nil)
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "name") == "By hand")
        #expect(try await a.replica.list("client").total == 2)
        #expect(try await a.replica.problems().isEmpty)
    }

    @Test func watchingReplica_sendsAToolsEdit_withoutBeingTold() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        try await expectConverged(world, a, b)
        let reports = AsyncStream<SyncReport>.makeStream()
        let watching = Task { try await a.replica.syncContinuously { reports.continuation.yield($0) } }
        try await a.shell.execute("UPDATE client SET name = 'By hand' WHERE id = '\(id.text)';")
        for await report in reports.stream where report.accepted > 0 { break }
        watching.cancel()
        _ = try await watching.value
        try await b.sync()
        #expect(try await b.value("client", id, "name") == "By hand")
    }

    @Test func observedQuery_runsAgain_onlyWhenItsTablesChange() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        var results = a.replica.observe("SELECT name FROM client ORDER BY name").makeAsyncIterator()
        #expect(try await results.next()?.map { $0["name"] } == [.text("Acme")])
        #expect(try await a.replica.tables(readBy: "SELECT count(*) FROM client c JOIN site s ON s.client = c.id") == ["client", "site"])
        try await a.create("contact", ["first_name": "Nina", "last_name": "Ortiz"])
        try await a.client("Pier 9")
        // The contact made no result of its own.
        #expect(try await results.next()?.map { $0["name"] } == [.text("Acme"), .text("Pier 9")])
        // Another process, noticed by the watch.
        let watching = Task { await a.replica.watchFile(every: 20) }
        try await a.shell.execute("UPDATE client SET name = 'Zebra' WHERE name = 'Acme';")
        #expect(try await results.next()?.map { $0["name"] } == [.text("Pier 9"), .text("Zebra")])
        watching.cancel()
        await watching.value
        var wrong = a.replica.observe("SELECT nonsense").makeAsyncIterator()
        do {
            _ = try await wrong.next()
            Issue.record("SQL that makes no sense was taken")
        } catch let error as ReplicaError {
            #expect(error.code == .invalidQuery)
        }
    }
}

/// Does something when a storage step is reached for the first time.
// @unchecked Sendable: the values are only touched under the lock.
private final class Hook: @unchecked Sendable {
    private let lock = NSLock()
    private var step: StorageStep?
    private var body: (@Sendable () throws -> Void)?
    private var done = false

    var isDone: Bool { lock.withLock { done } }

    func once(at step: StorageStep, _ body: @escaping @Sendable () throws -> Void) {
        lock.withLock { (self.step, self.body) = (step, body) }
    }

    func reached(_ reached: StorageStep) throws {
        let body = lock.withLock { () -> (@Sendable () throws -> Void)? in
            guard reached == step, !done else { return nil }
            done = true
            return self.body
        }
        try body?()
    }
}

/// Tells the second call from the others.
private actor Once {
    private var calls = 0

    func isSecond() -> Bool {
        calls += 1
        return calls == 2
    }
}

extension Sequence {
    fileprivate func asyncMap<T>(_ body: (Element) async throws -> T) async rethrows -> [T] {
        var values: [T] = []
        for element in self { values.append(try await body(element)) }
        return values
    }
}
