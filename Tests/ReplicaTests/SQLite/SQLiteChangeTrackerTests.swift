// Which tables a commit reports as changed.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteChangeTrackerTests {
    /// The reports of the commits so far.
    private final class Reports {
        private(set) var all: [Set<String>] = []

        init(_ connection: SQLiteConnection) {
            connection.onCommit { self.all.append($0) }
        }
    }

    @Test func onCommit_reportsOnce_perTransaction() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.immediateTransaction {
            try connection.execute("INSERT INTO a VALUES (1)")
            try connection.execute("INSERT INTO b VALUES (1)")
            try connection.execute("UPDATE a SET x = 2")
            _ = try connection.query("SELECT * FROM c") { $0.integer(0) }
            #expect(reports.all.isEmpty, "nothing is durable yet")
        }
        try connection.execute("INSERT INTO c VALUES (1)")
        #expect(reports.all == [["a", "b"], ["c"]])
    }

    @Test func onCommit_isSilent_whenNothingChanged() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("UPDATE a SET x = 1")
        try connection.execute("DELETE FROM a")
        try connection.immediateTransaction {}
        try connection.execute("CREATE TABLE b (x)")
        #expect(reports.all.isEmpty)
    }

    @Test func onCommit_isSilent_afterRollback() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x); CREATE TABLE b (x UNIQUE)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        #expect(throws: Refusal()) {
            try connection.immediateTransaction {
                try connection.execute("INSERT INTO a VALUES (1)")
                throw Refusal()
            }
        }
        #expect(throws: SQLiteError.self) { try connection.execute("INSERT INTO b VALUES (1), (1)") }
        try connection.script("BEGIN; INSERT INTO a VALUES (1); ROLLBACK")
        #expect(reports.all.isEmpty)
        try connection.execute("INSERT INTO b VALUES (1)")
        #expect(reports.all == [["b"]])
    }

    @Test func onCommit_omitsTables_whoseSavepointWasUndone() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x); CREATE TABLE b (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.immediateTransaction {
            try connection.execute("INSERT INTO a VALUES (1)")
            let isUndone = try isRefused {
                try connection.savepoint {
                    try connection.execute("INSERT INTO b VALUES (1)")
                    throw Refusal()
                }
            }
            #expect(isUndone)
            try connection.execute("INSERT INTO a VALUES (2)")
        }
        #expect(reports.all == [["a"]])
    }

    @Test func onCommit_reportsTriggerTables_onlyWhenTriggerFired() throws {
        let schema = """
            CREATE TABLE a (x); CREATE TABLE captured (x); CREATE TABLE gate (open);
            CREATE TRIGGER g AFTER INSERT ON a WHEN (SELECT count(*) FROM gate) > 0 BEGIN INSERT INTO captured VALUES (NEW.x); END
            """
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("INSERT INTO a VALUES (1)")
        try connection.execute("INSERT INTO gate VALUES (1)")
        try connection.execute("INSERT INTO a VALUES (2)")
        #expect(reports.all == [["a"], ["gate"], ["a", "captured"]])
    }

    @Test func onCommit_reportsTable_withoutRowID() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE w (id TEXT PRIMARY KEY, x) WITHOUT ROWID")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("INSERT INTO w VALUES ('a', 1)")
        try connection.execute("UPDATE w SET x = 2")
        try connection.execute("DELETE FROM w WHERE id = 'a'")
        #expect(reports.all == [["w"], ["w"], ["w"]])
    }

    @Test func onCommit_reportsTable_whenEmptiedWithoutCondition() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("INSERT INTO a VALUES (1), (2)")
        try connection.execute("DELETE FROM a")
        #expect(reports.all == [["a"], ["a"]])
    }

    @Test func onCommit_seesNewTrigger_whenStatementWasCachedBefore() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x); CREATE TABLE w (x PRIMARY KEY) WITHOUT ROWID")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("INSERT INTO a VALUES (?)", [1])
        try connection.execute("CREATE TRIGGER g AFTER INSERT ON a BEGIN INSERT INTO w VALUES (NEW.x); END")
        try connection.execute("INSERT INTO a VALUES (?)", [2])
        #expect(reports.all == [["a"], ["a", "w"]])
    }

    @Test func onCommit_reportsWrite_ofStatementThatReturnsRows() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        let returned = try connection.query("INSERT INTO a VALUES (1), (2) RETURNING x") { $0.integer(0) }
        #expect(returned == [1, 2])
        #expect(reports.all == [["a"]])
    }

    @Test func onCommit_omitsTemporaryTables_always() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x); CREATE TEMP TABLE scratch (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        try connection.execute("INSERT INTO scratch VALUES (1)")
        #expect(reports.all.isEmpty)
    }

    @Test func onCommit_stops_whenRemoved() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE a (x)")
        defer { database.close() }
        let connection = database.connection
        let reports = Reports(connection)
        connection.onCommit(nil)
        try connection.execute("INSERT INTO a VALUES (1)")
        #expect(reports.all.isEmpty)
    }
}
