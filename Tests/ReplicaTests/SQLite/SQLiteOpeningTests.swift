// Opening: modes, settings, and refusing what is not a database.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteOpeningTests {
    @Test func open_createsFile_whenAbsentAndAllowed() throws {
        let file = try SQLiteTestFile()
        #expect(throws: SQLiteError.self) { try file.connect(.readWrite) }
        #expect(throws: SQLiteError.self) { try file.connect(.readOnly) }
        #expect(!FileManager.default.fileExists(atPath: file.path))
        try file.connect(.readWriteCreate).execute("CREATE TABLE t (a)")
        #expect(FileManager.default.fileExists(atPath: file.path))
        #expect(try file.connect(.readWrite).scalarInteger("SELECT count(*) FROM t") == 0)
    }

    @Test func open_reportsPathAndName_whenFileIsAbsent() throws {
        let file = try SQLiteTestFile()
        let error = try #require(throws: SQLiteError.self) { try file.connect(.readWrite) }
        #expect(error.name.hasPrefix("SQLITE_CANTOPEN"))
        #expect(error.message.contains(file.path))
        #expect(error.operation == "open")
        #expect(!error.isRetryable)
    }

    @Test(arguments: ["hello", String(repeating: "this is a text file\n", count: 500)])
    func open_isRefusedClearly_whenFileIsNotSQLite(contents: String) throws {
        let file = try SQLiteTestFile()
        try Data(contents.utf8).write(to: URL(fileURLWithPath: file.path))
        let error = try #require(throws: SQLiteError.self) { try file.connect() }
        #expect(error.isCorrupt)
        #expect(error.name == "SQLITE_NOTADB")
        #expect(error.message == "\(file.path) is not a SQLite database")
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.path)) == Data(contents.utf8), "the file must stay as it was")
    }

    @Test func open_isRefused_whenPathIsDirectory() throws {
        let file = try SQLiteTestFile()
        #expect(throws: SQLiteError.self) { try SQLiteConnection(path: file.directory.path, mode: .readWriteCreate) }
    }

    @Test(arguments: ["", "a\0b"])
    func open_isRefused_whenPathIsUnusable(path: String) throws {
        let error = try #require(throws: SQLiteError.self) { try SQLiteConnection(path: path, mode: .readWriteCreate) }
        #expect(error.name == "SQLITE_CANTOPEN")
    }

    @Test func open_appliesSettings_always() throws {
        let file = try SQLiteTestFile()
        let connection = try SQLiteConnection(
            path: file.path, mode: .readWriteCreate, journalMode: .wal, synchronous: .extra, busyTimeoutMilliseconds: 1234)
        #expect(try connection.scalarInteger("PRAGMA foreign_keys") == 0)
        #expect(try connection.scalarInteger("PRAGMA temp_store") == 2)
        #expect(try connection.scalarInteger("PRAGMA synchronous") == 3)
        #expect(try connection.scalarInteger("PRAGMA busy_timeout") == 1234)
        #expect(try connection.scalarText("PRAGMA journal_mode") == "wal")
    }

    @Test(arguments: SQLiteJournalMode.allCases)
    func open_setsJournalMode_asAsked(mode: SQLiteJournalMode) throws {
        let file = try SQLiteTestFile()
        try file.connect(journalMode: .wal).execute("CREATE TABLE t (a)")
        let connection = try file.connect(journalMode: mode)
        #expect(try connection.scalarText("PRAGMA journal_mode") == mode.rawValue)
    }

    @Test func open_keepsJournalMode_whenNoneIsAskedFor() throws {
        let file = try SQLiteTestFile()
        try file.connect(journalMode: .wal).execute("CREATE TABLE t (a)")
        #expect(try file.connect(journalMode: nil).scalarText("PRAGMA journal_mode") == "wal")
    }

    @Test func open_refusesWrites_whenReadOnly() throws {
        let file = try SQLiteTestFile()
        let writer = try file.connect()
        try writer.execute("CREATE TABLE t (a)")
        let reader = try file.connect(.readOnly)
        #expect(try reader.scalarInteger("SELECT count(*) FROM t") == 0)
        let error = try #require(throws: SQLiteError.self) { try reader.execute("INSERT INTO t VALUES (1)") }
        #expect(error.isReadOnly)
    }

    @Test func open_makesPrivateDatabase_inMemory() throws {
        let first = try SQLiteConnection(path: "ignored", mode: .memory)
        let second = try SQLiteConnection(path: "ignored", mode: .memory)
        try first.execute("CREATE TABLE t (a)")
        #expect(throws: SQLiteError.self) { try second.execute("SELECT * FROM t") }
        #expect(!FileManager.default.fileExists(atPath: "ignored"))
    }

    @Test func open_refusesDamagingSQL_asDefensive() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a)")
        defer { database.close() }
        let connection = database.connection
        try connection.execute("PRAGMA writable_schema = on")
        #expect(throws: SQLiteError.self) { try connection.execute("UPDATE sqlite_master SET sql = 'x'") }
    }

    @Test func close_reportsStatementsInUse_andEndsUse() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect()
        let reported = try connection.withStatement("SELECT 1 UNION SELECT 2") { statement in
            _ = try statement.step()
            return connection.close()
        }
        #expect(reported == ["SELECT 1 UNION SELECT 2"])
        #expect(connection.close() == [])
        let error = try #require(throws: SQLiteError.self) { try connection.execute("SELECT 1") }
        #expect(error.message == "the connection is closed")
    }
}
