// Several writers of one file: threads with connections of their own, and other processes.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteContentionTests {
    @Test(arguments: [SQLiteJournalMode.wal, .delete])
    func immediateTransactions_neverFail_whenConnectionsAndProcessesCompete(journalMode: SQLiteJournalMode) async throws {
        let rounds = 100
        let file = try SQLiteTestFile()
        try file.connect(journalMode: journalMode).script("CREATE TABLE counter (n); INSERT INTO counter VALUES (0)")

        // Read, then write what was read: with deferred transactions this is where upgrades fail and counts get lost.
        async let first = increment(file, journalMode, rounds)
        async let second = increment(file, journalMode, rounds)
        async let outside = sqlite3Process(file, rounds)
        let failures = try await [first, second, outside]
        #expect(failures == ["", "", ""])
        #expect(try file.connect(journalMode: nil).scalarInteger("SELECT n FROM counter") == Int64(3 * rounds))
        #expect(try file.connect(journalMode: nil).integrityCheck() == [])
    }

    @Test func open_succeeds_whenManyCreateTheSameFileAtOnce() async throws {
        let file = try SQLiteTestFile()
        let modes = try await withThrowingTaskGroup(of: String?.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let path = file.path
                    let gate = try await SQLiteGate.open {
                        try SQLiteConnection(path: path, mode: .readWriteCreate, journalMode: .wal, busyTimeoutMilliseconds: 30_000)
                    }
                    return try await gate.run { connection in
                        try connection.immediateTransaction { try connection.execute("CREATE TABLE IF NOT EXISTS t (a)") }
                        return try connection.scalarText("PRAGMA journal_mode")
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(modes == Array(repeating: "wal", count: 8))
    }

    private func increment(_ file: SQLiteTestFile, _ journalMode: SQLiteJournalMode, _ rounds: Int) async throws -> String {
        let path = file.path
        let gate = try await SQLiteGate.open {
            try SQLiteConnection(
                path: path, mode: .readWrite, journalMode: journalMode, synchronous: .off, busyTimeoutMilliseconds: 30_000)
        }
        return try await gate.run { connection in
            do {
                for _ in 0..<rounds {
                    try connection.immediateTransaction {
                        let n = try connection.scalarInteger("SELECT n FROM counter") ?? 0
                        try connection.execute("UPDATE counter SET n = ?", [.integer(n + 1)])
                    }
                }
                return ""
            } catch {
                return "\(error)"
            }
        }
    }

    /// Runs SQLite's own shell on the file; returns what it complained about.
    private func sqlite3Process(_ file: SQLiteTestFile, _ rounds: Int) async throws -> String {
        let script = file.path("increments.sql")
        let one = "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT;\n"
        try (".timeout 30000\nPRAGMA synchronous=off;\n" + String(repeating: one, count: rounds))
            .write(toFile: script, atomically: true, encoding: .utf8)
        let complaints = file.path("complaints.txt")
        try Data().write(to: URL(fileURLWithPath: complaints))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["sqlite3", "-bail", file.path]
        process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: script))
        process.standardOutput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: complaints))
        let status = try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        let text = try String(contentsOfFile: complaints, encoding: .utf8)
        return status == 0 ? text : "exit \(status): \(text)"
    }
}
