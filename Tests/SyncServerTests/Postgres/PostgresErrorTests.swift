import Testing

@testable import SyncServer

@Suite struct PostgresErrorTests {
    @Test(arguments: [
        ("08006", true), ("08001", true), ("40001", true), ("40P01", true), ("53300", true), ("53100", true), ("58030", true),
        ("55P03", true), ("57P01", true),
        ("57P03", true), ("57014", false), ("23505", false), ("42601", false), ("22P02", false), ("55006", false),
    ])
    func isRetryable_followsTheCode(sqlState: String, isRetryable: Bool) {
        #expect(PostgresError(sqlState: sqlState, message: "m", operation: "run").isRetryable == isRetryable)
    }

    @Test func isRetryable_isTrue_whenTheConnectionIsLost() {
        #expect(PostgresError(sqlState: "XX000", message: "m", operation: "run", isConnectionLost: true).isRetryable)
    }

    @Test func kind_namesTheFamily() {
        func kind(_ sqlState: String) -> PostgresError.Kind {
            PostgresError(sqlState: sqlState, message: "", operation: "run").kind
        }
        #expect(kind("23505") == .uniqueViolation)
        #expect(kind("40P01") == .deadlock)
        #expect(kind("57P01") == .shutdown)
        #expect(kind("08006") == .connection)
        #expect(kind("22003") == .invalidData)
        #expect(kind("XX000") == .other)
    }

    @Test func message_hidesTheValue_whenTheServerQuotesIt() throws {
        let connection = try PostgresTesting.connection()
        let error = PostgresTesting.error { try connection.run("SELECT $1::int8", .text("secret \"x\" 42")) }
        #expect(error?.sqlState == "22P02")
        #expect(error?.message.contains("secret") == false)
        #expect(error?.message == "invalid input syntax for type bigint: \"…\"")
    }

    @Test func constraint_isNamed_whenViolated() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE one (id int CONSTRAINT one_key PRIMARY KEY)")
        try connection.run("INSERT INTO one VALUES (1)")
        let error = PostgresTesting.error { try connection.run("INSERT INTO one VALUES ($1)", 1) }
        #expect(error?.constraint == "one_key")
        #expect(error?.kind == .uniqueViolation)
        #expect(error?.isRetryable == false)
        #expect(error?.statement == nil)
    }
}
