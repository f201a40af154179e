// The gate: one at a time, in order, errors passed on, and the cooperative pool left free.

import Dispatch
import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteGateTests {
    private func memoryGate() async throws -> SQLiteGate {
        try await SQLiteGate.open { try SQLiteConnection(path: "", mode: .memory) }
    }

    @Test func run_admitsOneAtATime_whenManyTasksWrite() async throws {
        let gate = try await memoryGate()
        try await gate.run { try $0.script("CREATE TABLE t (n); INSERT INTO t VALUES (0)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await gate.run { connection in
                        // Two statements without a transaction: only exclusion keeps the count right.
                        let n = try connection.scalarInteger("SELECT n FROM t") ?? 0
                        try connection.execute("UPDATE t SET n = ?", [.integer(n + 1)])
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await gate.run { try $0.scalarInteger("SELECT n FROM t") } == 200)
        #expect(await gate.close() == [])
    }

    @Test func run_passesErrorOn_andStaysUsable() async throws {
        let gate = try await memoryGate()
        await #expect(throws: Refusal()) { try await gate.run { _ in throw Refusal() } }
        await #expect(throws: SQLiteError.self) { try await gate.run { try $0.execute("nonsense") } }
        #expect(try await gate.run { try $0.scalarInteger("SELECT 1") } == 1)
    }

    @Test func run_leavesCooperativePoolFree_whileConnectionsBlock() async throws {
        // More blocked bodies than the pool has threads; each waits for a task that needs a pool thread to release it.
        let count = ProcessInfo.processInfo.activeProcessorCount * 4
        let release = DispatchSemaphore(value: 0)
        let entered = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                group.addTask {
                    let gate = try await SQLiteGate.open { try SQLiteConnection(path: "", mode: .memory) }
                    let isReleased = try await gate.run { _ in
                        entered.continuation.yield()
                        return release.wait(timeout: .now() + 60) == .success
                    }
                    #expect(isReleased)
                }
            }
            var waiting = entered.stream.makeAsyncIterator()
            for _ in 0..<count { await waiting.next() }
            for _ in 0..<count { release.signal() }
            try await group.waitForAll()
        }
    }

    @Test func runBlocking_servesPlainThreads() throws {
        let gate = try SQLiteGate.openBlocking { try SQLiteConnection(path: "", mode: .memory) }
        try gate.runBlocking { try $0.script("CREATE TABLE t (n)") }
        #expect(throws: Refusal()) { try gate.runBlocking { _ in throw Refusal() } }
        #expect(try gate.runBlocking { try $0.scalarInteger("SELECT count(*) FROM t") } == 0)
    }

    @Test func open_passesErrorOn_whenFileCannotBeOpened() async throws {
        let file = try SQLiteTestFile()
        let path = file.path
        await #expect(throws: SQLiteError.self) {
            try await SQLiteGate.open { try SQLiteConnection(path: path, mode: .readOnly) }
        }
        #expect(throws: SQLiteError.self) {
            try SQLiteGate.openBlocking { try SQLiteConnection(path: path, mode: .readOnly) }
        }
    }

    @Test func close_refusesLaterUse_andMayBeRepeated() async throws {
        let gate = try await memoryGate()
        await gate.close()
        await gate.close()
        await #expect(throws: SQLiteError.self) { try await gate.run { try $0.execute("SELECT 1") } }
    }

    @Test func interruption_stopsRunningStatement_fromAnotherTask() async throws {
        let gate = try await memoryGate()
        let started = AsyncStream<Void>.makeStream()
        try await gate.run { connection in
            try connection.registerFunction("started", argumentCount: 0, deterministic: false) { _ in
                started.continuation.yield()
                return nil
            }
        }
        let running = Task {
            try await gate.run { connection in
                try connection.execute(
                    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT CASE WHEN x = 2 THEN started() END FROM n")
            }
        }
        var iterator = started.stream.makeAsyncIterator()
        await iterator.next()
        gate.interruption.interrupt()
        let error = await #expect(throws: SQLiteError.self) { try await running.value }
        #expect(error?.isInterrupted == true)
        #expect(try await gate.run { try $0.scalarInteger("SELECT 1") } == 1)
    }
}
