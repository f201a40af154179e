// Statements: values in and out, the cache, and texts that are not one statement.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteStatementTests {
    static let values: [SQLiteValue] = [
        nil, 0, -1, .integer(.min), .integer(.max), 0.1, .real(-.infinity), .real(.leastNonzeroMagnitude), true,
        "", "it's \"quoted\" `so` \\ %s", "naïve 東京 🏔️ e\u{301}", "a\0b\0", "'; DROP TABLE t; --",
        .blob([]), .blob([0, 255, 0, 1]), .text(String(repeating: "å", count: 100_000)),
    ]

    @Test(arguments: values)
    func value_comesBackUnchanged_whenStored(value: SQLiteValue) throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a)")
        defer { database.close() }
        let connection = database.connection
        try connection.execute("INSERT INTO t VALUES (?)", [value])
        #expect(try connection.query("SELECT a FROM t") { $0.value(0) } == [value])
    }

    @Test func value_isNull_whenNaN() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        #expect(try connection.query("SELECT ?", [.real(.nan)]) { $0.value(0) } == [.null])
    }

    @Test func value_differs_whenTextDiffersInBytesOnly() {
        let composed = SQLiteValue.text("\u{e9}")
        let decomposed = SQLiteValue.text("e\u{301}")
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed, composed]).count == 2)
        #expect(SQLiteValue.integer(1) != .real(1))
    }

    @Test func row_readsEveryType_byColumn() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let sql = "SELECT 7 AS seven, 2.5, 'tide', x'0102', NULL, 'a' || char(0) || 'b' AS nul"
        let rows = try connection.query(sql) { row in
            #expect(row.columnCount == 6)
            #expect(row.name(0) == "seven" && row.name(5) == "nul")
            #expect(row.integer(0) == 7 && row.optionalInteger(0) == 7 && row.boolean(0))
            #expect(row.real(1) == 2.5)
            #expect(row.text(2) == "tide" && row.optionalText(2) == "tide")
            #expect(row.blob(3) == [1, 2] && row.optionalBlob(4) == nil)
            #expect(row.isNull(4) && !row.isNull(2))
            #expect(row.integer(4) == 0 && row.text(4) == "" && row.blob(4) == [])
            #expect(row.optionalInteger(4) == nil && row.optionalText(4) == nil)
            #expect(row.text(5) == "a\0b")
            let bytes = row.withUTF8(5) { Array($0) }
            let blobCount = row.withBlob(3) { $0.count }
            let isNullEmpty = row.withUTF8(4) { $0.isEmpty }
            #expect(bytes == [97, 0, 98] && blobCount == 2 && isNullEmpty)
            return row.values()
        }
        #expect(rows == [[7, 2.5, "tide", .blob([1, 2]), nil, "a\0b"]])
    }

    @Test func row_repairsText_whenBytesAreNotUTF8() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        #expect(try connection.scalarText("SELECT CAST(x'61ff62' AS TEXT)") == "a\u{fffd}b")
    }

    @Test func scalar_isNil_whenNoRowOrNull() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        #expect(try connection.scalarInteger("SELECT NULL") == nil)
        #expect(try connection.scalarInteger("SELECT 1 WHERE 0") == nil)
        #expect(try connection.scalarText("SELECT NULL") == nil)
        #expect(try connection.scalarText("SELECT ?", ["x"]) == "x")
        #expect(try connection.first("SELECT 1 WHERE 0") { $0.integer(0) } == nil)
    }

    @Test func first_completesStatement_whenItWritesAndReturns() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a)")
        defer { database.close() }
        let connection = database.connection
        let inserted = try connection.first("INSERT INTO t VALUES (1), (2) RETURNING a") { $0.integer(0) }
        #expect(inserted == 1)
        #expect(connection.changes == 2)
        #expect(try connection.scalarInteger("SELECT count(*) FROM t") == 2)
    }

    @Test func withStatement_bindsEveryType_onFastPath() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a, b, c, d, e, f, g, h)")
        defer { database.close() }
        let connection = database.connection
        let text = Array("naïve \"'\0".utf8)
        try connection.withStatement("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, :last)") { statement in
            #expect(statement.parameterCount == 8)
            #expect(!statement.isReadOnly)
            let last = try #require(statement.parameterIndex(":last"))
            #expect(statement.parameterIndex(":other") == nil)
            for round in 0..<3 {
                try statement.bind(1, round)
                try statement.bind(2, 1.5)
                try statement.bind(3, "text")
                try statement.bind(4, [1, 2, 3] as [UInt8])
                try text.withUnsafeBufferPointer { try statement.bind(5, utf8: $0) }
                try statement.bindNull(6)
                try statement.bind(7, SQLiteValue.text(""))
                try text.withUnsafeBufferPointer { borrowed in
                    try statement.bind(last, borrowedUTF8: borrowed)
                    #expect(try !statement.step())
                    try statement.bindNull(last)
                }
            }
        }
        let expected: [SQLiteValue] = [1.5, "text", .blob([1, 2, 3]), "naïve \"'\0", nil, "", "naïve \"'\0"]
        let rows = try connection.query("SELECT * FROM t ORDER BY a") { $0.values() }
        #expect(rows == (0..<3).map { [SQLiteValue($0)] + expected })
    }

    @Test func bind_keepsTextEmpty_whenBufferIsEmpty() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        try connection.withStatement("SELECT ?, ?, ?") { statement in
            try statement.bind(1, utf8: UnsafeBufferPointer(start: nil, count: 0))
            try statement.bind(2, borrowedUTF8: UnsafeBufferPointer(start: nil, count: 0))
            try statement.bind(3, [] as [UInt8])
            #expect(try statement.step())
            #expect(statement.row.values() == ["", "", .blob([])])
        }
    }

    @Test func bind_fails_whenCountsOrIndexesDisagree() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let few = try #require(throws: SQLiteError.self) { try connection.execute("SELECT ?, ?", ["secret"]) }
        #expect(few.name == "SQLITE_RANGE")
        #expect(few.message == "the statement takes 2 values and was given 1")
        #expect(!few.description.contains("secret"))
        try connection.withStatement("SELECT ?") { statement in
            for index in [0, 2, -1, Int.max] {
                let error = try sqliteError { try statement.bind(index, "x") }
                #expect(error?.name == "SQLITE_RANGE")
            }
        }
    }

    @Test func execute_fails_unlessTextIsOneStatement() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        for text in ["", "  ", "-- only a comment", "SELECT 1; SELECT 2", "CREATE TABLE a (x); garbage", "SELECT 1\0; SELECT 2"] {
            #expect(throws: SQLiteError.self, "\(text.debugDescription)") { try connection.execute(text) }
        }
        try connection.execute("SELECT 1; -- and a comment\n /* or two */ ")
        #expect(throws: SQLiteError.self) { try connection.execute("SELECT * FROM a") }
    }

    @Test func script_runsAllStatements_andStopsAtFailure() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        try connection.script(
            """
            -- é comes before the first statement
            CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x;y');
            CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.a = 'z' BEGIN DELETE FROM t; SELECT 1; END;
            SELECT * FROM t;
            """)
        #expect(try connection.scalarText("SELECT a FROM t") == "x;y")
        let error = try #require(throws: SQLiteError.self) {
            try connection.script("INSERT INTO t VALUES ('kept'); INSERT INTO nowhere VALUES (1); INSERT INTO t VALUES ('never')")
        }
        #expect(error.message.contains("nowhere"))
        #expect(try connection.query("SELECT a FROM t ORDER BY a") { $0.text(0) } == ["kept", "x;y"])
    }

    @Test func counters_countRows_afterWrites() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        defer { database.close() }
        let connection = database.connection
        try connection.execute("INSERT INTO t VALUES (5), (6), (9)")
        #expect(connection.changes == 3)
        #expect(connection.lastInsertRowID == 9)
        try connection.execute("DELETE FROM t WHERE a < 9")
        #expect(connection.changes == 2)
        #expect(connection.totalChanges == 5)
    }

    // MARK: Cache

    @Test func cache_holdsAtMostItsLimit_keepingTheRecentlyUsed() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let before = connection.cachedStatementCount
        weak var kept: SQLiteStatement?
        try connection.withStatement("SELECT 'kept'") { kept = $0 }
        #expect(connection.cachedStatementCount == before + 1)
        for number in 0..<500 {
            try connection.execute("SELECT \(number)")
            try connection.execute("SELECT 'kept'")
        }
        #expect(connection.cachedStatementCount == SQLiteConnection.cachedStatementsMax)
        #expect(kept != nil, "the statement in constant use was evicted")
        #expect(connection.close() == [])
    }

    @Test func cache_returnsSameStatement_whenTextIsEqual() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let first = try connection.borrow("SELECT 1")
        connection.giveBack(first)
        let second = try connection.borrow("SELECT 1")
        #expect(first === second)
        let nested = try connection.borrow("SELECT 1")
        #expect(nested !== second, "a statement in use must not be lent twice")
        connection.giveBack(nested)
        connection.giveBack(second)
    }

    @Test func cache_tellsTextsApart_byBytes() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let composed = try connection.first("SELECT '\u{e9}'") { $0.blob(0) }
        let decomposed = try connection.first("SELECT 'e\u{301}'") { $0.blob(0) }
        #expect(composed == [0xc3, 0xa9])
        #expect(decomposed == [0x65, 0xcc, 0x81])
    }

    @Test func query_canBeNested_withTheSameText() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let sql = "SELECT 1 UNION ALL SELECT 2"
        let pairs = try connection.query(sql) { outer in
            let left = outer.integer(0)
            return try connection.query(sql) { [left, $0.integer(0)] }
        }
        #expect(pairs == [[[1, 1], [1, 2]], [[2, 1], [2, 2]]])
        #expect(connection.close() == [])
    }

    @Test func statement_isUsableAgain_afterRowClosureThrows() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        let sql = "SELECT 1 UNION ALL SELECT 2"
        #expect(throws: Refusal()) { try connection.query(sql) { _ in throw Refusal() } }
        #expect(try connection.query(sql) { $0.integer(0) } == [1, 2])
        #expect(connection.close() == [])
    }

    @Test func statement_seesNewSchema_whenTableChanges() throws {
        let database = try SQLiteTestDatabase("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        defer { database.close() }
        let connection = database.connection
        #expect(try connection.query("SELECT * FROM t") { $0.columnCount } == [1])
        try connection.execute("ALTER TABLE t ADD COLUMN b")
        #expect(try connection.query("SELECT * FROM t") { $0.columnCount } == [2])
    }
}
