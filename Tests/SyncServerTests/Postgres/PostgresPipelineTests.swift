import Testing

@testable import SyncServer

@Suite struct PostgresPipelineTests {
    @Test(arguments: [true, false])
    func batch_answersInOrder_forFiveThousandStatements(isPrepared: Bool) throws {
        let connection = try PostgresTesting.connection { $0.usesPreparedStatements = isPrepared }
        let results = try connection.batch(
            (0..<5_000).map { PostgresStatement("SELECT $1::int8 * 2, $2::text", [.integer($0), "row \($0)"]) })
        #expect(results.count == 5_000)
        let doubled: [Int64?] = (0..<5_000).map { Int64($0) * 2 }
        let named: [String?] = (0..<5_000).map { "row \($0)" }
        #expect(results.map { $0.integer(0, 0) } == doubled)
        #expect(results.map { $0.text(0, 1) } == named)
    }

    @Test(arguments: [true, false])
    func batch_throwsTheIndex_andStoresNothing_whenOneFailsInTheMiddle(isPrepared: Bool) throws {
        let connection = try PostgresTesting.connection { $0.usesPreparedStatements = isPrepared }
        try connection.script("CREATE TEMP TABLE batched (id int PRIMARY KEY)")
        let insert = "INSERT INTO batched VALUES ($1)"
        var statements = (0..<2_000).map { PostgresStatement(insert, [.integer($0)]) }
        statements[1_234].parameters = [7]
        let error = PostgresTesting.error { try connection.batch(statements) }
        #expect(error?.statement == 1_234)
        #expect(error?.kind == .uniqueViolation)
        #expect(error?.constraint == "batched_pkey")
        #expect(try connection.run("SELECT count(*) FROM batched").integer(0, 0) == 0)
        statements[1_234].parameters = [9_999]
        #expect(try connection.batch(statements).count == 2_000)
    }

    @Test func batch_sendsNothing_whenOneStatementCannotBeSent() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE unsent (t text)")
        let insert = "INSERT INTO unsent VALUES ($1)"
        let error = PostgresTesting.error {
            try connection.batch([PostgresStatement(insert, ["fine"]), PostgresStatement(insert, ["ze\0ro"])])
        }
        #expect(error?.statement == 1)
        #expect(try connection.run("SELECT count(*) FROM unsent").integer(0, 0) == 0)
    }

    @Test func batch_isEmpty_whenNothingIsAsked() throws {
        #expect(try PostgresTesting.connection().batch([]).isEmpty)
    }

    @Test func batch_doesNotLockUp_withTwentyMegabytesEachWay() throws {
        let connection = try PostgresTesting.connection()
        let large = [UInt8](repeating: UInt8(ascii: "x"), count: 20 << 20)
        // The server answers the first while the second is still being sent, and stops reading until somebody takes the answer.
        let results = try connection.batch([
            PostgresStatement("SELECT repeat('y', $1::int)", [.integer(20 << 20)]),
            PostgresStatement("SELECT octet_length($1::bytea)", [.bytes(large)]),
            PostgresStatement("SELECT $1::text", [.utf8(large)]),
        ])
        #expect(results[0].withUTF8(0, 0) { $0.count } == 20 << 20)
        #expect(results[1].integer(0, 0) == 20 << 20)
        #expect(results[2].withUTF8(0, 0) { $0.elementsEqual(large) } == true)
    }

    @Test func batch_doesNotLockUp_withManyMiddlingStatementsEachWay() throws {
        let connection = try PostgresTesting.connection()
        let text = String(repeating: "z", count: 8_000)
        let results = try connection.batch((0..<3_000).map { _ in PostgresStatement("SELECT $1::text", [.text(text)]) })
        #expect(results.allSatisfy { $0.withUTF8(0, 0) { $0.count } == 8_000 })
    }

    @Test func batch_reportsTheLoss_whenTheBackendDiesInTheMiddle() throws {
        let connection = try PostgresTesting.connection()
        var statements = (0..<100).map { PostgresStatement("SELECT $1::int8", [.integer($0)]) }
        statements[50] = PostgresStatement("SELECT pg_terminate_backend(pg_backend_pid())")
        let error = PostgresTesting.error { try connection.batch(statements) }
        #expect(error?.isConnectionLost == true)
        #expect(error?.isOutcomeUnknown == true)
        try connection.reset()
        #expect(try connection.batch([PostgresStatement("SELECT $1::int8", [3])])[0].integer(0, 0) == 3)
    }
}
