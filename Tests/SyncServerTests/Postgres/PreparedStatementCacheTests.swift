import Testing

@testable import SyncServer

@Suite struct PreparedStatementCacheTests {
    @Test func insert_evictsTheLeastRecentlyUsed_whenFull() {
        var cache = PreparedStatementCache(capacity: 2)
        let first = cache.insert("a").name
        let second = cache.insert("b").name
        #expect(cache.name(for: "a") == first)
        #expect(cache.insert("c").evicted == second)
        #expect(cache.name(for: "b") == nil)
        #expect(cache.count == 2)
    }

    @Test func remove_leavesANewerName() {
        var cache = PreparedStatementCache(capacity: 1)
        let old = cache.insert("a").name
        _ = cache.insert("b")
        let new = cache.insert("a").name
        cache.remove("a", name: old)
        #expect(cache.name(for: "a") == new)
        cache.remove("a", name: new)
        #expect(cache.count == 0)
    }

    @Test func server_holdsNoMoreStatementsThanTheCache_whenMoreAreUsed() throws {
        let connection = try PostgresTesting.connection { $0.preparedStatementsMax = 8 }
        for number in 0..<40 {
            #expect(try connection.run("SELECT \(number) + $1::int", 1).integer(0, 0) == Int64(number + 1))
        }
        // One that was evicted, one that was not, several in one trip, more than fit.
        let answers = try connection.batch((0..<20).map { PostgresStatement("SELECT \($0 * 3 % 20) + $1::int", [1]) })
        let expected: [Int64?] = (0..<20).map { Int64($0 * 3 % 20) + 1 }
        #expect(answers.map { $0.integer(0, 0) } == expected)
        // Twice, because what the first evicts is freed after it has counted.
        let count = "SELECT count(*) FROM pg_prepared_statements"
        try connection.run(count)
        #expect(try connection.run(count).integer(0, 0) == 8)
        #expect(connection.deallocations.isEmpty)
    }

    @Test func server_holdsNothing_whenTheStatementWasRefused() throws {
        let connection = try PostgresTesting.connection()
        #expect(PostgresTesting.error { try connection.run("SELECT missing_column") }?.sqlState == "42703")
        #expect(connection.prepared.name(for: "SELECT missing_column") == nil)
        // Sent after the failing one, and so never prepared: must be prepared anew, not executed by a name nobody knows.
        let batch = ["SELECT 1/0", "SELECT 'later'"].map { PostgresStatement($0) }
        #expect(PostgresTesting.error { try connection.batch(batch) }?.sqlState == "22012")
        #expect(try connection.run("SELECT 'later'").text(0, 0) == "later")
    }

    @Test func run_preparesAgain_whenATableChangedUnderIt() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE grown (a int); INSERT INTO grown VALUES (1)")
        #expect(try connection.run("SELECT * FROM grown").columnCount == 1)
        try connection.script("ALTER TABLE grown ADD COLUMN b int")
        #expect(try connection.run("SELECT * FROM grown").columnCount == 2)
        try connection.script("ALTER TABLE grown ADD COLUMN c int")
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { _ = try $0.run("SELECT * FROM grown") }
        }
        #expect(error?.isStaleStatement == true)
        #expect(error?.isRetryable == true)
        #expect(try connection.transaction(.readWrite) { try $0.run("SELECT * FROM grown").columnCount } == 3)
    }

    @Test func run_preparesAgain_whenThePoolerForgot() throws {
        let connection = try PostgresTesting.connection()
        try connection.run("SELECT 7")
        try connection.script("DEALLOCATE ALL")
        #expect(try connection.run("SELECT 7").integer(0, 0) == 7)
    }
}
