// Two logins on one database, as docs/operations.md offers: one owns the tables and migrates, the server works as the other.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct LeastPrivilegeTests {
    private struct Logins {
        var administrator, owner, runtime: String

        /// What a process is told: it works as the one and migrates as the other.
        var environment: [String: String] { ["DATABASE_URL": runtime, "TIDELINE_OWNER_DATABASE_URL": owner] }

        func json(_ arguments: [String]) throws -> JSONValue {
            let result = try ServerProcess.run(arguments + ["--json"], environment: environment)
            guard result.status == 0 else { throw ServerProcess.Failure(description: "\(arguments): \(result.output) \(result.errors)") }
            return try JSONValue(parsing: result.output)
        }
    }

    /// Neither is a superuser, neither passes row level security by.
    private func logins() throws -> Logins {
        let administrator = try PostgresFixture.shared().freshDatabase()
        let name = try required(URL(string: administrator)?.lastPathComponent)
        let (owner, runtime) = ("owner_of_\(name)", "app_of_\(name)")
        let connection = try PostgresConnection(PostgresConfiguration(url: administrator))
        try connection.script(
            """
            CREATE ROLE \(owner) LOGIN NOSUPERUSER NOBYPASSRLS; CREATE ROLE \(runtime) LOGIN NOSUPERUSER NOBYPASSRLS;
            DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tideline_runtime') THEN CREATE ROLE tideline_runtime NOLOGIN;
            END IF; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
            GRANT tideline_runtime TO \(owner); GRANT tideline_runtime TO \(runtime); ALTER DATABASE \(name) OWNER TO \(owner)
            """)
        func url(_ role: String) -> String { administrator.replacingOccurrences(of: "\(PostgresFixture.owner)@", with: "\(role)@") }
        return Logins(administrator: administrator, owner: url(owner), runtime: url(runtime))
    }

    @Test func server_worksAsALoginThatOwnsNothing_andThatLoginCannotCrossTenants() async throws {
        try await onOwnThread {
            let logins = try logins()
            let migrated = try ServerProcess.run(["migrate"], environment: logins.environment)
            #expect(migrated.status == 0, "\(migrated.output) \(migrated.errors)")
            let made = try ["Acme", "Bolt"].map { try logins.json(["tenant", "create", $0, "--owner", "Ada <ada@\($0).example>"]) }
            let server = try ServerProcess([], environment: logins.environment)
            #expect(try server.get("/readyz").status == 200)
            var replicas: [EnrollmentReply] = []
            for one in made {
                let replica = try server.enroll(try required(one["code"]?.stringValue))
                let client = Identifier.version7(milliseconds: 1, random: (1, UInt64(replicas.count)))
                let pushed = try server.post(
                    "/v1/sync/push", replica.pushBody(counter: 1, client: client, name: "Pier"), token: replica.token)
                #expect(pushed.status == 200 && pushed.text.contains("accepted"), "\(pushed.text)")
                let page = try PullPage(parsing: server.get(replica.pull(cursor: nil), token: replica.token).body)
                #expect(try page.row("client", client)?["name"] == "Pier")
                replicas.append(replica)
            }
            let token = try logins.json([
                "token", "create", "--tenant", replicas[0].tenant.text, "--member", try required(made[0]["member"]?.stringValue),
            ])
            let bearer = try required(token["token"]?.stringValue)
            for target in ["/v1/client", "/v1/client?q=pier", "/v1/activity", "/v1/consumers"] {
                #expect(try server.get(target, token: bearer).status == 200, "\(target)")
            }
            let checked = try ServerProcess.run(["check"], environment: logins.environment)
            #expect(checked.status == 0, "\(checked.output) \(checked.errors)")

            // The login itself, on a connection of its own, with SQL of its own.
            let thief = try PostgresConnection(PostgresConfiguration(url: logins.runtime))
            let (own, other) = (replicas[0].tenant.text, replicas[1].tenant.text)
            #expect(try thief.run("SELECT count(*) FROM public.client").integer(0, 0) == 0, "no tenant, no rows")
            try thief.run(PostgresStatement("SELECT set_config('tideline.tenant', '\(own)', false)"))
            #expect(try thief.run("SELECT count(*) FROM public.client").integer(0, 0) == 1)
            for table in ["public.client", "tideline.feed", "tideline.change_set", "tideline.replica"] {
                #expect(
                    try thief.run(PostgresStatement("SELECT count(*) FROM \(table) WHERE tenant = '\(other)'")).integer(0, 0) == 0,
                    "\(table)")
            }
            for statement in [
                "UPDATE public.client SET tenant = '\(other)'", "INSERT INTO public.client (tenant) VALUES ('\(other)')",
                "DELETE FROM tideline.feed", "ALTER TABLE public.client NO FORCE ROW LEVEL SECURITY", "DROP TABLE public.client",
                "CREATE TABLE public.mine (id int)", "CREATE POLICY mine ON public.client USING (true)",
                "SET ROLE \(PostgresFixture.owner)", "SELECT pg_read_file('PG_VERSION')", "COPY public.client TO PROGRAM 'cat'",
            ] {
                let error = PostgresTesting.error { try thief.run(PostgresStatement(statement)) }
                #expect(error?.sqlState == "42501", "\(statement): \(String(describing: error))")
            }
            server.signal(SIGTERM)
            #expect(server.waitForExit() == 0)
        }
    }

    @Test func loginThatMayNotOwn_isToldWhatToDo_andChangesNothing() async throws {
        try await onOwnThread {
            let logins = try logins()
            let refused = try ServerProcess.run(["migrate"], environment: ["DATABASE_URL": logins.runtime])
            #expect(refused.status == 4)
            #expect(refused.errors.contains("permission denied"), "\(refused.errors)")
            let administrator = try PostgresConnection(PostgresConfiguration(url: logins.administrator))
            #expect(
                try administrator.run("SELECT count(*) FROM pg_tables WHERE schemaname IN ('tideline', 'public')").integer(0, 0) == 0)
        }
    }
}
