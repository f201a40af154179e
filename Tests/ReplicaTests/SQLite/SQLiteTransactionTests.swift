// Transactions: all or nothing, the right error, and snapshots.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteTransactionTests {
    let schema = "CREATE TABLE t (a INTEGER PRIMARY KEY, b)"

    private func all(_ connection: SQLiteConnection) throws -> [Int64] {
        try connection.query("SELECT a FROM t ORDER BY a") { $0.integer(0) }
    }

    @Test func immediateTransaction_commits_whenBodyReturns() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect()
        try connection.script(schema)
        let result = try connection.immediateTransaction {
            #expect(connection.isInTransaction)
            try connection.execute("INSERT INTO t (a) VALUES (1)")
            return "done"
        }
        #expect(result == "done")
        #expect(!connection.isInTransaction)
        #expect(try all(file.connect()) == [1])
    }

    @Test func immediateTransaction_leavesNothing_whenBodyThrows() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        #expect(throws: Refusal()) {
            try connection.immediateTransaction {
                try connection.execute("INSERT INTO t (a) VALUES (1)")
                throw Refusal()
            }
        }
        #expect(!connection.isInTransaction)
        let rows = try all(connection)
        #expect(rows == [])
    }

    @Test func immediateTransaction_takesLockAtStart_beforeAnyWrite() throws {
        let file = try SQLiteTestFile()
        let first = try file.connect()
        try first.script(schema)
        let second = try file.connect(busyTimeoutMilliseconds: 10)
        try first.immediateTransaction {
            let error = try sqliteError { try second.immediateTransaction {} }
            #expect(error?.isBusy == true)
            #expect(error?.sql == "BEGIN IMMEDIATE")
            #expect(!second.isInTransaction)
        }
        try second.immediateTransaction { try second.execute("INSERT INTO t (a) VALUES (2)") }
    }

    @Test func immediateTransaction_throwsOriginalError_whenSQLiteRolledBack() throws {
        let database = try SQLiteTestDatabase(schema + "; PRAGMA max_page_count = 4")
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) {
            try connection.immediateTransaction {
                try connection.execute("INSERT INTO t (a) VALUES (1)")
                try connection.execute("INSERT OR ROLLBACK INTO t (a) VALUES (1)")
            }
        }
        #expect(error.name == "SQLITE_CONSTRAINT_PRIMARYKEY")
        #expect(try all(connection) == [])
        try connection.immediateTransaction { try connection.execute("INSERT INTO t (a) VALUES (3)") }
        #expect(try all(connection) == [3])
    }

    @Test func immediateTransaction_throwsOriginalError_whenBodySwallowedIt() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        var refused: [SQLiteError] = []
        func swallow(_ sql: String) {
            do { try connection.execute(sql) } catch { refused.append(error) }
        }
        let error = try #require(throws: SQLiteError.self) {
            try connection.immediateTransaction {
                swallow("INSERT INTO t (a) VALUES (1)")
                swallow("INSERT OR ROLLBACK INTO t (a) VALUES (1)")
                // Outside a transaction now: this must not commit on its own.
                swallow("INSERT INTO t (a) VALUES (2)")
            }
        }
        #expect(refused.map(\.name) == ["SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_PRIMARYKEY"])
        #expect(error.name == "SQLITE_CONSTRAINT_PRIMARYKEY")
        #expect(try all(connection) == [])
    }

    @Test func immediateTransaction_fails_whenBodyEndsIt() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) {
            try connection.immediateTransaction { try connection.execute("ROLLBACK") }
        }
        #expect(error.name == "SQLITE_ABORT_ROLLBACK")
        #expect(error.message == "the transaction was ended inside its body")
    }

    @Test func immediateTransaction_fails_whenScriptLeftOneOpen() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        try connection.script("BEGIN; INSERT INTO t (a) VALUES (1)")
        #expect(throws: SQLiteError.self) { try connection.immediateTransaction {} }
        try connection.script("COMMIT")
        #expect(try all(connection) == [1])
    }

    @Test func immediateTransaction_rollsBack_whenCommitFails() throws {
        let file = try SQLiteTestFile()
        let writer = try file.connect(journalMode: .delete, busyTimeoutMilliseconds: 20)
        try writer.script(schema)
        let reader = try file.connect(journalMode: .delete)
        try reader.readTransaction {
            // A rollback journal cannot commit while somebody reads.
            #expect(try reader.scalarInteger("SELECT count(*) FROM t") == 0)
            let error = try sqliteError {
                try writer.immediateTransaction { try writer.execute("INSERT INTO t (a) VALUES (1)") }
            }
            #expect(error?.isBusy == true)
            #expect(!writer.isInTransaction)
        }
        #expect(try all(writer) == [])
        try writer.immediateTransaction { try writer.execute("INSERT INTO t (a) VALUES (1)") }
        #expect(try all(reader) == [1])
    }

    @Test func savepoint_undoesItsOwnWritesOnly_whenBodyThrows() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        try connection.immediateTransaction {
            try connection.execute("INSERT INTO t (a) VALUES (1)")
            try connection.savepoint { try connection.execute("INSERT INTO t (a) VALUES (2)") }
            let isUndone = try isRefused {
                try connection.savepoint {
                    try connection.execute("INSERT INTO t (a) VALUES (3)")
                    try connection.savepoint { try connection.execute("INSERT INTO t (a) VALUES (4)") }
                    throw Refusal()
                }
            }
            #expect(isUndone)
            try connection.execute("INSERT INTO t (a) VALUES (5)")
        }
        #expect(try all(connection) == [1, 2, 5])
    }

    @Test func savepoint_keepsOriginalError_whenTransactionIsGone() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) {
            try connection.immediateTransaction {
                try connection.savepoint {
                    try connection.execute("INSERT INTO t (a) VALUES (1)")
                    try connection.execute("INSERT OR ROLLBACK INTO t (a) VALUES (1)")
                }
            }
        }
        #expect(error.isConstraint)
        #expect(try all(connection) == [])
    }

    @Test func savepoint_isTransaction_whenNoneIsOpen() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        #expect(throws: Refusal()) {
            try connection.savepoint {
                try connection.execute("INSERT INTO t (a) VALUES (1)")
                throw Refusal()
            }
        }
        try connection.savepoint { try connection.execute("INSERT INTO t (a) VALUES (2)") }
        #expect(try all(connection) == [2])
        #expect(!connection.isInTransaction)
    }

    @Test func readTransaction_seesOneState_whileOthersCommit() throws {
        let file = try SQLiteTestFile()
        let writer = try file.connect()
        try writer.script(schema)
        let reader = try file.connect()
        try reader.readTransaction {
            #expect(try all(reader) == [])
            try writer.execute("INSERT INTO t (a) VALUES (1)")
            #expect(try all(reader) == [])
        }
        #expect(try all(reader) == [1])
    }

    @Test func readTransaction_refusesWrites_andEndsAfterThrow() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let error = try #require(throws: SQLiteError.self) {
            try connection.readTransaction { try connection.execute("INSERT INTO t (a) VALUES (1)") }
        }
        #expect(error.isReadOnly)
        #expect(!connection.isInTransaction)
        let rows = try connection.immediateTransaction {
            try connection.execute("INSERT INTO t (a) VALUES (1)")
            return try connection.readTransaction { try all(connection) }
        }
        #expect(rows == [1])
    }

    @Test func dataVersion_changes_whenAnotherConnectionCommits() throws {
        let file = try SQLiteTestFile()
        let connection = try file.connect()
        try connection.script(schema)
        let before = try connection.dataVersion()
        try connection.execute("INSERT INTO t (a) VALUES (1)")
        #expect(try connection.dataVersion() == before)
        try file.connect().execute("INSERT INTO t (a) VALUES (2)")
        #expect(try connection.dataVersion() != before)
    }

    @Test func interrupt_stopsStatement_andRollsBack() throws {
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let interruption = connection.interruption
        // Interrupts from inside the running statement: a certain moment instead of a race with a timer.
        try connection.registerFunction("stop", argumentCount: 0, deterministic: false) { _ in
            interruption.interrupt()
            return nil
        }
        let error = try #require(throws: SQLiteError.self) {
            try connection.immediateTransaction {
                try connection.execute("INSERT INTO t (a) VALUES (1)")
                let endless = "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n) "
                try connection.execute(endless + "INSERT INTO t SELECT x, CASE WHEN x = 100 THEN stop() END FROM n")
            }
        }
        #expect(error.isInterrupted)
        #expect(!connection.isInTransaction)
        #expect(try all(connection) == [])
    }

    @Test func interrupt_doesNothing_afterClose() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        connection.interruption.interrupt()
        #expect(try connection.scalarInteger("SELECT 1") == 1)
        connection.close()
        connection.interruption.interrupt()
    }
}
