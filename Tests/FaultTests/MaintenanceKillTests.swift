// The server, its backend or Postgres killed at every step of what it does by the clock and of a migration: nothing is forgotten that the
// horizon does not cover, and a database is of one build or the other, never in between.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

extension FaultTests {
    @Suite struct MaintenanceKillTests {
        @Test func death_atEveryStepOfMaintenance_forgetsNothingThatTheHorizonDoesNotCover() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let owner = try await place.sql("SELECT id FROM member")[0][0]
            let token = try await place.tenant.admin("token", "create", "--member", owner)["token"]?.stringValue ?? ""
            let reader = try await RawReplica(at: steady, code: try await place.tenant.code(for: "reader"))
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            for (index, (step, victim)) in Victim.deaths(at: ServerStep.ofMaintenance).enumerated() {
                let body = Array(#"{"name":"Gone \#(index)"}"#.utf8)
                let made = try await place.firm {
                    try await LoopbackHTTP.exchange(port: steady.port, "POST", "/v1/client", token: token, key: "k\(index)", body: body)
                }
                let id = try JSONValue(parsing: made.body)["data"]?["id"]?.stringValue ?? ""
                let cursor = try await reader.cursor(port: steady.port)
                let removed = try await place.firm {
                    try await LoopbackHTTP.exchange(port: steady.port, "DELETE", "/v1/client/\(id)", token: token)
                }
                #expect(made.status == 201 && removed.status == 200, "\(step): \(made.text) \(removed.text)")
                // All of it a hundred days ago.
                let long = Int64(Date().timeIntervalSince1970 * 1000) - 100 * 86_400_000
                try await place.sql(
                    "UPDATE client SET deleted_at = \(long); UPDATE tideline.feed SET at = \(long); UPDATE tideline.idempotency_key SET created_at = \(long)")
                try await doomed.start(victim.environment(step).merging(["TIDELINE_TEST_MAINTENANCE_SECONDS": "0.05"]) { $1 })
                if victim == .itself {
                    #expect(await doomed.waitForEnd() == -SIGKILL, "\(step)")
                } else {
                    #expect(try await until { doomed.isStopped }, "\(step) was not reached")
                    try await victim.kill(in: place)
                    doomed.signal(SIGCONT)
                    #expect(await doomed.end(SIGTERM) == 0, "\(step)")
                }
                try await place.comeToRest()
                let isDone = step == .maintenanceCommitted
                if victim == .itself {
                    #expect(
                        try await place.number("SELECT count(*) FROM client WHERE name = 'Gone \(index)'") == (isDone ? 0 : 1), "\(step)")
                }
                // The horizon covers what is gone, at every moment.
                let isGone = try await place.number("SELECT count(*) FROM client WHERE name = 'Gone \(index)'") == 0
                let isCovered = try await place.number("SELECT position - horizon FROM tideline.tenant_head") == 0
                #expect(isCovered || !isGone, "\(step)")

                try await doomed.start(["TIDELINE_TEST_MAINTENANCE_SECONDS": "0.05"])
                #expect(
                    try await until {
                        try await place.number("SELECT count(*) FROM client")
                            + place.number("SELECT count(*) FROM tideline.idempotency_key") == 0
                    }, "\(step)")
                #expect(await doomed.end(SIGTERM) == 0, "\(step)")
                #expect(try await place.number("SELECT position - horizon FROM tideline.tenant_head") == 0, "\(step)")
                let stale = try await place.firm { try await reader.pull(cursor: cursor, port: steady.port) }
                #expect(stale.errorCode == "resync_required", "\(step): \(stale.text)")
            }
            #expect(await steady.end(SIGTERM) == 0)
        }

        /// Of a database that an earlier build had, with a company in it.
        @Test func death_atEveryStepOfAMigration_leavesTheDatabaseAsItWas_andTheNextStartMigrates() async throws {
            let place = try await Workplace()
            let server = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            try await server.start()
            let replica = try await RawReplica(at: server, code: place.tenant.ownerCode)
            #expect(try await replica.send(replica.push(1, name: "Old"), port: server.port).status == 200)
            #expect(await server.end(SIGTERM) == 0)
            for (index, (step, victim)) in Victim.deaths(at: ServerStep.ofMigrations).enumerated() {
                // What the build before did not have.
                try await place.sql(
                    """
                    ALTER TABLE client DROP COLUMN website; DROP TABLE tideline.deferred_set CASCADE; \
                    DROP POLICY tideline_tenant ON client; REVOKE ALL ON client FROM \(TenantSession.runtimeRole); \
                    DELETE FROM tideline.feed_anchor; UPDATE tideline.meta SET value = 'older' WHERE key IN ('definition', 'scopes'); \
                    DELETE FROM tideline.meta WHERE key = 'timelines'
                    """)
                if victim == .itself {
                    let program = try RunningProgram(
                        "sync-server", ["serve", "--listen", "127.0.0.1:0", "--webhook-threads", "0"] + place.database,
                        environment: victim.environment(step))
                    #expect(await program.finish().code == -SIGKILL, "\(step)")
                    let isDone = step == .migrationCommitted
                    #expect(
                        try await place.number(
                            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'client'::regclass AND attname = 'website'")
                            == (isDone ? 1 : 0), "\(step)")
                    #expect(
                        try await place.number("SELECT count(*) FROM tideline.meta WHERE key = 'definition' AND value = 'older'")
                            == (isDone ? 0 : 1), "\(step)")
                    try await server.start()
                } else {
                    // It waits for a database that goes away in the middle, and begins anew.
                    let environment = victim.environment(step)
                    async let starting: Void = server.start(environment)
                    #expect(try await until { server.isStopped }, "\(step) was not reached")
                    try await victim.kill(in: place)
                    server.signal(SIGCONT)
                    try await starting
                }
                #expect(try await until { try await server.get("/readyz").status == 200 }, "\(step)")
                let again = try await place.firm { try await replica.send(replica.push(1, name: "Old"), port: server.port) }
                #expect(again.status == 200, "\(step): \(again.text)")
                let more = replica.push(Int64(index + 2), name: "Step \(step)")
                let pushed = try await place.firm { try await replica.send(more, port: server.port) }
                #expect(pushed.status == 200, "\(step): \(pushed.text)")
                #expect(try await place.number("SELECT count(*) FROM client WHERE name = 'Old' AND website IS NULL") == 1, "\(step)")
                #expect(try await place.number("SELECT count(*) FROM tideline.deferred_set") == 0, "\(step)")
                #expect(
                    try await place.number("SELECT count(*) FROM pg_policies WHERE tablename = 'client' AND policyname = 'tideline_tenant'")
                        == 1,
                    "\(step)")
                #expect(await server.end(SIGTERM) == 0, "\(step)")
                let checked = try await run("sync-server", ["check"] + place.database)
                #expect(checked.code == 0, "\(step): \(checked)")
            }
        }

        /// From nothing, by the command.
        @Test func death_atEveryStepOfTheFirstMigration_leavesADatabaseThatCanBeMigrated() async throws {
            let place = try await Workplace()
            for (index, (step, victim)) in Victim.deaths(at: drawn(3, of: ServerStep.ofMigrations)).enumerated() {
                let name = "fresh\(index)"
                try await place.sql("CREATE DATABASE \(name)")
                let url = place.cluster.url().replacing("/tideline?", with: "/\(name)?")
                let elsewhere = Workplace(place, database: ["--database-url", url])
                let died = try await elsewhere.command(["migrate"], at: step, killing: victim)
                if victim != .itself { #expect([0, 3, 5].contains(died.code), "\(step): \(died)") }
                let tenant = try await Tenant.made(["--database-url", url])
                let server = try await elsewhere.server()
                let replica = try await RawReplica(at: server, code: tenant.ownerCode)
                #expect(try await replica.send(replica.push(1, name: "First"), port: server.port).status == 200, "\(step)")
                #expect(await server.end(SIGTERM) == 0, "\(step)")
            }
        }
    }
}
