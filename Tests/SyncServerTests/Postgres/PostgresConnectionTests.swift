import Foundation
import TestSupport
import Testing

@testable import SyncServer

@Suite struct PostgresConnectionTests {
    @Test func init_throws_whenNobodyListens() {
        let error = PostgresTesting.error {
            _ = try PostgresConnection(PostgresConfiguration(url: "postgresql://x@127.0.0.1:1/x?connect_timeout=2"))
        }
        #expect(error?.sqlState == "08001")
        #expect(error?.isConnectionLost == true)
        #expect(error?.isRetryable == true)
    }

    @Test func init_connects_whenTheFirstOfSeveralHostsIsDown() throws {
        let url = try PostgresFixture.shared().url
        let host = try #require(url.range(of: "host=")).upperBound
        let both = url[..<host] + "/nowhere," + url[host...].replacingOccurrences(of: "port=5432", with: "port=5432,5432")
        let connection = try PostgresConnection(PostgresConfiguration(url: String(both)))
        #expect(connection.isHealthy)
    }

    @Test func session_carriesNameAndTimeouts() throws {
        let connection = try PostgresTesting.connection {
            $0.applicationName = "tide"
            $0.statementTimeoutMilliseconds = 1234
        }
        let row = try connection.run("SELECT current_setting('application_name'), current_setting('statement_timeout')")
        #expect(row.text(0, 0) == "tide")
        #expect(row.text(0, 1) == "1234ms")
    }

    @Test func statementTimeout_endsTheStatement() throws {
        let connection = try PostgresTesting.connection { $0.statementTimeoutMilliseconds = 30 }
        #expect(PostgresTesting.error { try connection.run("SELECT pg_sleep(20)") }?.kind == .canceled)
        #expect(try connection.run("SELECT 1").integer(0, 0) == 1)
    }

    @Test func lockTimeout_isRetryable() throws {
        let name = PostgresTesting.uniqueName("locked")
        let first = try PostgresTesting.connection()
        try first.script("CREATE TABLE \(name) (id int)")
        try first.transaction(.readWrite) { first in
            try first.run("LOCK TABLE \(name)")
            let second = try PostgresTesting.connection { $0.lockTimeoutMilliseconds = 20 }
            let error = PostgresTesting.error { try second.run("SELECT * FROM \(name)") }
            #expect(error?.kind == .lockNotAvailable)
            #expect(error?.isRetryable == true)
        }
        try first.script("DROP TABLE \(name)")
    }

    @Test(arguments: [true, false])
    func run_roundTrips_everyKindOfValue(isPrepared: Bool) throws {
        let connection = try PostgresTesting.connection { $0.usesPreparedStatements = isPrepared }
        let texts = ["", "plain", "it's", "\"double\"", "back\\slash", "tab\tnew\nline", "ünïcödé 🌊 e\u{301}", "NULL", "{a,b}", "$1"]
        for text in texts {
            let row = try connection.run("SELECT $1::text, $2::text", .text(text), .utf8(Array(text.utf8)))
            #expect(row.text(0, 0) == text)
            #expect(row.utf8(0, 1) == Array(text.utf8))
        }
        let arrays = try connection.run(
            "SELECT $1::text[], $2::int8[], $3::text[], $4::int8[], $5::jsonb[]", .textArray(texts),
            .integerArray([.min, -1, 0, .max]), .optionalTextArray(["a", nil]), .optionalIntegerArray([nil, 5]),
            .utf8Array([Array(#"{"a":"\"\\"}"#.utf8), nil]))
        #expect(arrays.textArray(0, 0) == texts)
        #expect(arrays.integerArray(0, 1) == [.min, -1, 0, .max])
        #expect(arrays.optionalTextArray(0, 2) == ["a", nil])
        #expect(arrays.textArray(0, 2) == nil)
        #expect(arrays.optionalTextArray(0, 3) == [nil, "5"])
        #expect(arrays.optionalTextArray(0, 4) == [#"{"a": "\"\\"}"#, nil])
        #expect(try connection.run("SELECT $1::text[]", .textArray([])).textArray(0, 0) == [])

        let every = [UInt8](0...255) + [0, 0]
        let json = #"{"text":"quote \" slash \\ 🌊","list":[1,null]}"#
        let row = try connection.run(
            "SELECT $1::bytea, $2::json, $3::bool, $4::int8, $5::text, $6::int8, $7::bytea, false", .bytes(every),
            .utf8(Array(json.utf8)), true, .integer(.min), nil, .optional(Int64?.none), .bytes([]))
        #expect(row.bytes(0, 0) == every)
        #expect(row.text(0, 1) == json)
        #expect(row.bool(0, 2) == true)
        #expect(row.integer(0, 3) == .min)
        #expect(row.isNull(0, 4) && row.text(0, 4) == nil && row.integer(0, 5) == nil)
        #expect(row.bytes(0, 6) == [])
        #expect(row.bool(0, 7) == false)
        #expect(row.withUTF8(0, 1) { $0.count } == json.utf8.count)
    }

    @Test func bytes_decode_whenTheServerEscapes() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("SET bytea_output = 'escape'")
        #expect(try connection.run("SELECT $1::bytea", .bytes([0, 92, 65, 255])).bytes(0, 0) == [0, 92, 65, 255])
    }

    @Test func run_refusesZeroInText_insteadOfCuttingIt() throws {
        let connection = try PostgresTesting.connection()
        let values: [PostgresValue] = ["a\0b", .utf8([65, 0]), .textArray(["x", "\0"]), .utf8Array([[0]])]
        for value in values {
            #expect(PostgresTesting.error { try connection.run(PostgresStatement("SELECT $1", [value])) }?.sqlState == "22021")
        }
        #expect(PostgresTesting.error { try connection.run("SELECT 1 \0") }?.sqlState == "22021")
        #expect(PostgresTesting.error { try connection.script("SELECT 1 \0") }?.sqlState == "22021")
        #expect(try connection.run("SELECT 1").rowCount == 1)
    }

    @Test func run_refusesMoreParametersThanPostgresTakes() throws {
        let connection = try PostgresTesting.connection()
        let many = PostgresStatement("SELECT 1", Array(repeating: 1, count: 65_536))
        #expect(PostgresTesting.error { _ = try connection.run(many) }?.sqlState == "54023")
    }

    @Test func result_describesItself() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE counted (id int)")
        let inserted = try connection.run("INSERT INTO counted SELECT generate_series(1, $1::int)", 3)
        #expect(inserted.affectedRows == 3)
        #expect(inserted.commandTag == "INSERT 0 3")
        let selected = try connection.run("SELECT id AS number, 'x' AS letter FROM counted ORDER BY 1")
        #expect(selected.columnNames == ["number", "letter"])
        #expect(selected.column(named: "letter") == 1)
        #expect(selected.rows.map { selected.integer($0, 0) } == [1, 2, 3])
        #expect(selected.integer(0, 1) == nil)
    }

    @Test func script_runsSeveralStatements_andIsAtomic() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE scripted (id int); INSERT INTO scripted VALUES (1); INSERT INTO scripted VALUES (2)")
        #expect(PostgresTesting.error { try connection.script("INSERT INTO scripted VALUES (3); SELECT 1/0") }?.sqlState == "22012")
        #expect(try connection.run("SELECT count(*) FROM scripted").integer(0, 0) == 2)
        #expect(PostgresTesting.error { try connection.script("COPY scripted FROM STDIN") } != nil)
        #expect(try connection.run("SELECT count(*) FROM scripted").integer(0, 0) == 2)
    }

    @Test func script_refusesCopyOut_andResetRecovers() throws {
        let connection = try PostgresTesting.connection()
        #expect(PostgresTesting.error { try connection.script("COPY (SELECT 1) TO STDOUT") }?.isConnectionLost == true)
        try connection.reset()
        #expect(try connection.run("SELECT 1").integer(0, 0) == 1)
    }

    @Test func notices_reachTheCallback() throws {
        let notices = Recorder<String>()
        let connection = try PostgresTesting.connection { $0.onNotice = { notices.record($0) } }
        try connection.script("DO $$ BEGIN RAISE NOTICE 'high tide'; END $$")
        #expect(notices.values == ["NOTICE [00000]: high tide"])
    }

    @Test func run_reportsTheLoss_whenTheBackendIsTerminated_andResetRecovers() throws {
        let connection = try PostgresTesting.connection()
        let other = try PostgresTesting.connection()
        try connection.run("SELECT 'kept'")
        let terminated = try other.run(
            "SELECT pg_terminate_backend($1, 5000)", .integer(Int64(connection.backendProcessIdentifier)))
        #expect(terminated.bool(0, 0) == true)
        let error = PostgresTesting.error { try connection.run("SELECT 'kept'") }
        #expect(error?.isConnectionLost == true)
        #expect(error?.isRetryable == true)
        #expect(error?.isOutcomeUnknown == true)
        #expect(!connection.isHealthy)
        #expect(PostgresTesting.error { try connection.run("SELECT 1") }?.isConnectionLost == true)
        try connection.reset()
        #expect(connection.isHealthy)
        #expect(try connection.run("SELECT 'kept'").text(0, 0) == "kept")
    }

    @Test func run_carriesTheServersReason_whenTerminatedWhileRunning() throws {
        let connection = try PostgresTesting.connection()
        let error = PostgresTesting.error { try connection.run("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(20)") }
        #expect(error?.sqlState == "57P01")
        #expect(error?.isConnectionLost == true)
        #expect(error?.kind == .shutdown)
    }

    @Test func close_mayBeRepeated_andStatementsFailAfterIt() throws {
        let connection = try PostgresTesting.connection()
        connection.close()
        connection.close()
        #expect(PostgresTesting.error { try connection.run("SELECT 1") }?.sqlState == "08003")
        #expect(PostgresTesting.error { try connection.transaction(.readWrite) { _ in } }?.sqlState == "08003")
        #expect(!connection.cancellation.cancel())
    }

    @Test func cancel_fromAnotherThread_endsTheStatement() throws {
        let connection = try PostgresTesting.connection()
        let cancellation = connection.cancellation
        let process = Int64(connection.backendProcessIdentifier)
        let watcher = try PostgresTesting.configuration()
        let answers = Recorder<Bool>()
        let thread = DedicatedThread("test.cancel") {
            // A cancel that comes before the statement would hit nothing, so look until the statement is there.
            guard let other = try? PostgresConnection(watcher) else { return answers.record(false) }
            let isSleeping = "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event = 'PgSleep'"
            let limit = Date(timeIntervalSinceNow: 10)
            while Date() < limit, (try? other.run(isSleeping, .integer(process)).isEmpty) ?? true {}
            answers.record(cancellation.cancel())
        }
        let error = PostgresTesting.error { try connection.run("SELECT pg_sleep(20)") }
        #expect(thread.join(timeoutSeconds: 15))
        #expect(answers.values == [true])
        #expect(error?.kind == .canceled)
        #expect(try connection.run("SELECT 1").integer(0, 0) == 1)
    }

    @Test func quoted_makesAnyNameAnIdentifier() throws {
        let connection = try PostgresTesting.connection()
        let name = "odd \"name\"; DROP \\ ü"
        #expect(try connection.run("SELECT 1 AS \(PostgresIdentifier.quoted(name))").columnNames == [name])
    }
}
