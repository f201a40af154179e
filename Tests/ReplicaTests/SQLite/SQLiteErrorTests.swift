// Errors: codes, names and what a caller may conclude from them.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteErrorTests {
    @Test func error_carriesExtendedCodeAndStatement_withoutValues() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a TEXT UNIQUE, b TEXT NOT NULL)")
        defer { database.close() }
        let connection = database.connection
        let sql = "INSERT INTO t VALUES (?, ?)"
        try connection.execute(sql, ["secret", "b"])
        let unique = try #require(throws: SQLiteError.self) { try connection.execute(sql, ["secret", "b"]) }
        #expect(unique.code == 2067)
        #expect(unique.name == "SQLITE_CONSTRAINT_UNIQUE")
        #expect(unique.message == "UNIQUE constraint failed: t.a")
        #expect(unique.operation == "run")
        #expect(unique.sql == sql)
        #expect(unique.isConstraint && !unique.isRetryable && !unique.isBusy)
        #expect(!"\(unique)".contains("secret"))
        let notNull = try #require(throws: SQLiteError.self) { try connection.execute(sql, ["x", nil]) }
        #expect(notNull.name == "SQLITE_CONSTRAINT_NOTNULL")
    }

    @Test func error_carriesMessage_whenTriggerRaises() throws {
        let schema = "CREATE TABLE t (a); CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'required: name'); END"
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) { try connection.execute("INSERT INTO t VALUES (1)") }
        #expect(error.message == "required: name")
        #expect(error.name == "SQLITE_CONSTRAINT_TRIGGER")
        #expect(error.isConstraint)
    }

    @Test func error_namesSyntax_whenPreparationFails() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let error = try #require(throws: SQLiteError.self) { try connection.execute("SELEKT 1") }
        #expect(error.name == "SQLITE_ERROR")
        #expect(error.operation == "prepare")
        #expect(error.message.contains("SELEKT"))
        #expect(error.sql == "SELEKT 1")
    }

    @Test func error_isBusy_whenLockIsHeldBeyondTimeout() throws {
        let file = try SQLiteTestFile()
        let holder = try file.connect()
        try holder.execute("CREATE TABLE t (a)")
        let other = try file.connect(busyTimeoutMilliseconds: 20)
        try holder.immediateTransaction {
            let error = try sqliteError { try other.execute("INSERT INTO t VALUES (1)") }
            #expect(error?.isBusy == true && error?.isRetryable == true)
            #expect(error?.name == "SQLITE_BUSY")
        }
        try other.execute("INSERT INTO t VALUES (1)")
    }

    @Test func error_isFull_whenPageLimitIsReached() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a); PRAGMA max_page_count = 4")
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) {
            try connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        }
        #expect(error.isFull)
        #expect(error.name == "SQLITE_FULL")
    }

    @Test func error_fallsBackToFamilyName_whenExtendedCodeIsUnknown() {
        #expect(SQLiteError(code: 10 | (200 << 8), message: "", operation: "run").name == "SQLITE_IOERR")
        #expect(SQLiteError(code: 99, message: "", operation: "run").name == "SQLITE_UNKNOWN")
    }
}
