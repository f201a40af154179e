// Copies of a live database, and the check that a file is sound.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteBackupTests {
    private func fill(_ connection: SQLiteConnection, rows: Int) throws {
        try connection.immediateTransaction {
            try connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
            try connection.execute("CREATE INDEX t_name ON t (name)")
            for number in 0..<rows {
                try connection.execute("INSERT INTO t (name) VALUES (?)", [.text("row \(number) — ü")])
            }
        }
    }

    @Test(arguments: [SQLiteJournalMode.wal, .delete])
    func backup_isCompleteAndSound_whileSourceIsInUse(journalMode: SQLiteJournalMode) throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect(journalMode: journalMode)
        try fill(connection, rows: 5000)
        let target = file.path("copy.sqlite")
        // Another reader and uncheckpointed pages must not matter.
        let reader = try file.connect(journalMode: nil)
        try reader.readTransaction {
            #expect(try reader.scalarInteger("SELECT count(*) FROM t") == 5000)
            try connection.backup(to: target)
        }
        try connection.execute("DELETE FROM t")
        let copy = try SQLiteConnection(path: target, mode: .readOnly)
        #expect(try copy.scalarInteger("SELECT count(*) FROM t") == 5000)
        #expect(try copy.integrityCheck() == [])
        copy.close()
        let names = try FileManager.default.contentsOfDirectory(atPath: file.directory.path)
        #expect(!names.contains { $0.contains("partial") })
    }

    @Test func backup_isRefused_whenTargetExists() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect()
        try fill(connection, rows: 1)
        let target = file.path("precious")
        try Data("precious".utf8).write(to: URL(fileURLWithPath: target))
        let error = try #require(throws: SQLiteError.self) { try connection.backup(to: target) }
        #expect(error.operation == "backup")
        #expect(try Data(contentsOf: URL(fileURLWithPath: target)) == Data("precious".utf8))
    }

    @Test func backup_leavesNothingBehind_whenItFails() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect()
        try fill(connection, rows: 1)
        #expect(throws: SQLiteError.self) { try connection.backup(to: file.path("absent/copy.sqlite")) }
        #expect(!FileManager.default.fileExists(atPath: file.path("absent")))
        let closed = try SQLiteConnection(path: "", mode: .memory)
        closed.close()
        #expect(throws: SQLiteError.self) { try closed.backup(to: file.path("copy.sqlite")) }
        let names = try FileManager.default.contentsOfDirectory(atPath: file.directory.path)
        #expect(!names.contains { $0.hasPrefix("copy") })
    }

    @Test func integrityCheck_reportsDamage_whenPagesWereOverwritten() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect(journalMode: .delete)
        try fill(connection, rows: 5000)
        #expect(try connection.integrityCheck() == [])
        connection.close()
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: file.path))
        try handle.seek(toOffset: 4096 * 10)
        try handle.write(contentsOf: Data(repeating: 0x5a, count: 4096 * 5))
        try handle.close()
        let damaged = try file.connect(.readWrite, journalMode: nil)
        #expect(try !damaged.integrityCheck().isEmpty)
    }
}
