import Foundation
import Testing

@testable import SyncServer

@Suite struct PostgresTransactionTests {
    struct Refusal: Error {}

    @Test(arguments: [true, false])
    func transaction_storesOnReturn_andForgetsOnThrow(isPrepared: Bool) throws {
        let connection = try PostgresTesting.connection { $0.usesPreparedStatements = isPrepared }
        try connection.script("CREATE TEMP TABLE kept (id int)")
        let value = try connection.transaction(.readWrite) { connection in
            try connection.run("INSERT INTO kept VALUES (1)")
            return "done"
        }
        #expect(value == "done")
        #expect(throws: Refusal.self) {
            try connection.transaction(.readWrite) { connection in
                try connection.run("INSERT INTO kept VALUES (2)")
                throw Refusal()
            }
        }
        #expect(connection.isOutsideTransaction)
        #expect(try connection.run("SELECT array_agg(id) FROM kept").integerArray(0, 0) == [1])
    }

    @Test func prelude_holdsForTheTransactionOnly() throws {
        let connection = try PostgresTesting.connection()
        let setting = "SELECT nullif(current_setting('tideline.tenant', true), '')"
        let prelude = [PostgresStatement("SELECT set_config('tideline.tenant', $1, true)", ["t1"])]
        #expect(try connection.transaction(.readWrite, prelude: prelude) { try $0.run(setting).text(0, 0) } == "t1")
        #expect(try connection.run(setting).isNull(0, 0))
    }

    @Test(arguments: [true, false])
    func prelude_failure_throwsItsIndex_andLeavesTheConnectionUsable(isPrepared: Bool) throws {
        let connection = try PostgresTesting.connection { $0.usesPreparedStatements = isPrepared }
        let prelude = ["SELECT 1", "SET LOCAL ROLE nobody_of_that_name"].map { PostgresStatement($0) }
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite, prelude: prelude) { _ in Issue.record("the body must not run") }
        }
        #expect(error?.statement == 1)
        #expect(error?.operation == "begin")
        #expect(connection.isOutsideTransaction)
        #expect(try connection.run("SELECT 1").rowCount == 1)
    }

    @Test func timeouts_travelWithTheTransaction_whenNothingIsPrepared() throws {
        let connection = try PostgresTesting.connection {
            $0.usesPreparedStatements = false
            $0.statementTimeoutMilliseconds = 4321
        }
        let setting = "SELECT current_setting('statement_timeout')"
        #expect(try connection.run(setting).text(0, 0) != "4321ms")
        #expect(try connection.transaction(.readWrite) { try $0.run(setting).text(0, 0) } == "4321ms")
    }

    @Test func idleTransaction_isEndedByTheDatabase_andCanBeTriedAgain() throws {
        #expect(try PostgresTesting.connection().run("SELECT current_setting('idle_in_transaction_session_timeout')").text(0, 0) == "1min")
        let connection = try PostgresTesting.connection { $0.idleInTransactionTimeoutMilliseconds = 50 }
        let watcher = try PostgresTesting.connection()
        let process = try connection.run("SELECT pg_backend_pid()").integer(0, 0) ?? 0
        let limit = Date(timeIntervalSinceNow: 60)
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { connection in
                // Whoever stands still in a transaction, as a server that was frozen does.
                while try !watcher.run("SELECT 1 FROM pg_stat_activity WHERE pid = $1", .integer(process)).isEmpty, Date() < limit {
                    usleep(2_000)
                }
                try connection.run("SELECT 1")
            }
        }
        #expect(error?.isConnectionLost == true && error?.isRetryable == true, "\(String(describing: error))")
        #expect(!connection.isHealthy)
    }

    @Test func readOnlySnapshot_refusesWrites_andDoesNotMove() throws {
        let name = PostgresTesting.uniqueName("snapshot")
        let reader = try PostgresTesting.connection()
        let writer = try PostgresTesting.connection()
        try writer.script("CREATE TABLE \(name) (id int)")
        try reader.transaction(.readOnlySnapshot) { reader in
            #expect(try reader.run("SELECT count(*) FROM \(name)").integer(0, 0) == 0)
            try writer.run("INSERT INTO \(name) VALUES (1)")
            #expect(try reader.run("SELECT count(*) FROM \(name)").integer(0, 0) == 0)
        }
        let error = PostgresTesting.error {
            try reader.transaction(.readOnlySnapshot) { try $0.run("INSERT INTO \(name) VALUES (2)") }
        }
        #expect(error?.sqlState == "25006")
        try writer.script("DROP TABLE \(name)")
    }

    @Test func commit_throws_whenAnErrorInTheBodyWasSwallowed() throws {
        let connection = try PostgresTesting.connection()
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { connection in
                #expect(PostgresTesting.error { try connection.run("SELECT 1/0") } != nil)
            }
        }
        #expect(error?.kind == .failedTransaction)
        #expect(error?.operation == "commit")
    }

    @Test func commit_surfacesDeferredViolations() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE deferred (id int CONSTRAINT late UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { try $0.run("INSERT INTO deferred VALUES (1), (1)") }
        }
        #expect(error?.constraint == "late")
        #expect(error?.operation == "commit")
        #expect(error?.isOutcomeUnknown == false)
        #expect(connection.isOutsideTransaction)
    }

    @Test func commit_isUnknown_whenTheConnectionDiesInIt() throws {
        let connection = try PostgresTesting.connection()
        // A deferred trigger runs inside COMMIT; there it ends its own backend.
        try connection.script(
            """
            CREATE TEMP TABLE doomed (id int);
            CREATE FUNCTION pg_temp.die() RETURNS trigger LANGUAGE plpgsql AS
              'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(20); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER doom AFTER INSERT ON doomed DEFERRABLE INITIALLY DEFERRED
              FOR EACH ROW EXECUTE FUNCTION pg_temp.die()
            """)
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { try $0.run("INSERT INTO doomed VALUES (1)") }
        }
        #expect(error?.operation == "commit")
        #expect(error?.isOutcomeUnknown == true)
        #expect(error?.isConnectionLost == true)
    }

    @Test func outcome_isKnown_whenTheConnectionDiesBeforeCommit() throws {
        let connection = try PostgresTesting.connection()
        let error = PostgresTesting.error {
            try connection.transaction(.readWrite) { try $0.run("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(20)") }
        }
        #expect(error?.isConnectionLost == true)
        #expect(error?.isOutcomeUnknown == false)
        try connection.reset()
        #expect(try connection.transaction(.readWrite) { try $0.run("SELECT 1").integer(0, 0) } == 1)
    }

    @Test func savepoint_undoesItsPartOnly_alsoWhenNested() throws {
        let connection = try PostgresTesting.connection()
        try connection.script("CREATE TEMP TABLE parts (id int PRIMARY KEY)")
        try connection.transaction(.readWrite) { connection in
            try connection.run("INSERT INTO parts VALUES (1)")
            #expect(throws: PostgresError.self) {
                try connection.savepoint { try $0.run("INSERT INTO parts VALUES (2), (1)") }
            }
            try connection.savepoint { connection in
                try connection.run("INSERT INTO parts VALUES (3)")
                #expect(throws: Refusal.self) {
                    try connection.savepoint { connection in
                        try connection.run("INSERT INTO parts VALUES (4)")
                        throw Refusal()
                    }
                }
            }
            try connection.run("INSERT INTO parts VALUES (5)")
        }
        #expect(try connection.run("SELECT array_agg(id ORDER BY id) FROM parts").integerArray(0, 0) == [1, 3, 5])
    }

    @Test func deadlock_isRetryable() throws {
        let name = PostgresTesting.uniqueName("deadlock")
        let first = try PostgresTesting.connection()
        try first.script("CREATE TABLE \(name) (id int PRIMARY KEY); INSERT INTO \(name) VALUES (1), (2)")
        let lockRow = "SELECT * FROM \(name) WHERE id = $1 FOR UPDATE"
        let configuration = try PostgresTesting.configuration()
        let errors = Recorder<PostgresError?>()
        let holding = Recorder<Int>()
        let thread = DedicatedThread("test.deadlock") {
            errors.record(
                PostgresTesting.error {
                    let second = try PostgresConnection(configuration)
                    try second.transaction(.readWrite) { second in
                        try second.run(lockRow, 2)
                        holding.record(2)
                        #expect(holding.wait { $0.contains(1) })
                        try second.run(lockRow, 1)
                    }
                })
        }
        errors.record(
            PostgresTesting.error {
                try first.transaction(.readWrite) { first in
                    try first.run("SET LOCAL deadlock_timeout = '50ms'")
                    try first.run(lockRow, 1)
                    holding.record(1)
                    #expect(holding.wait { $0.contains(2) })
                    try first.run(lockRow, 2)
                }
            })
        #expect(thread.join(timeoutSeconds: 10))
        let failures = errors.values.compactMap { $0 }
        #expect(failures.map(\.kind) == [.deadlock])
        #expect(failures.map(\.isRetryable) == [true])
        try first.script("DROP TABLE \(name)")
    }
}
