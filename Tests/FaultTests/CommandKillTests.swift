// A command of `sync-server`, its backend or Postgres killed at every step: it did all or nothing, and whoever heard no answer can give
// it again and gets what they wanted, or is told why not.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

extension FaultTests {
    @Suite struct CommandKillTests {
        @Test func death_atEveryStepOfACommand_isAllOrNothing_andTheNextOneWorks() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let tenant = ["--tenant", place.tenant.id]
            for (index, (step, victim)) in Victim.deaths(at: ServerStep.ofCommands).enumerated() {
                // 1. A company.
                let company = "Company \(index)"
                let create = ["tenant", "create", company, "--owner", "Una <una@example.com>"]
                let stored = try await self.died(create, at: step, victim, place)
                let count = try await place.number("SELECT count(*) FROM tenant WHERE name = '\(company)'")
                #expect(count == (stored ? 1 : 0), "\(step)")
                #expect(
                    try await place.number("SELECT count(*) FROM tideline.tenant_head") == place.number("SELECT count(*) FROM tenant"),
                    "\(step)")
                let made = try await Tenant.admin(create, place.database)
                _ = try await RawReplica(at: server, code: made["code"]?.stringValue ?? "")
                if stored {
                    // Nobody knows its code; its owner gets another one.
                    let owner = try await place.sql(
                        "SELECT m.tenant, m.id FROM member m JOIN tenant t ON t.id = m.tenant WHERE t.name = '\(company)' AND m.tenant <> '\(made["tenant"]?.stringValue ?? "")'"
                    )
                    #expect(owner.count == 1, "\(step)")
                    let code = try await Tenant.admin(["code", "create", "--tenant", owner[0][0], "--member", owner[0][1]], place.database)
                    _ = try await RawReplica(at: server, code: code["code"]?.stringValue ?? "")
                }

                // 2. A person.
                let email = "m\(index)@example.com"
                let add = ["member", "add"] + tenant + ["--name", "M", "--email", email, "--role", "field"]
                let isAdded = try await self.died(add, at: step, victim, place)
                #expect(try await place.number("SELECT count(*) FROM member WHERE email = '\(email)'") == (isAdded ? 1 : 0), "\(step)")
                let addedAgain = try await run("sync-server", ["--json"] + add + place.database)
                if isAdded {
                    #expect(addedAgain.code == 1 && (addedAgain.output + addedAgain.errors).contains("duplicate"), "\(step): \(addedAgain)")
                } else {
                    #expect(addedAgain.code == 0, "\(step): \(addedAgain)")
                }
                let member = try await place.sql("SELECT id FROM member WHERE email = '\(email)'")[0][0]

                // 3. A code, and a token.
                let code = ["code", "create"] + tenant + ["--member", member]
                let token = ["token", "create"] + tenant + ["--member", member]
                if step != .commandWritten {
                    _ = try await self.died(code, at: step, victim, place)
                    let isMade = try await self.died(token, at: step, victim, place)
                    #expect(
                        try await place.number("SELECT count(*) FROM tideline.token WHERE kind = 'api' AND member = '\(member)'")
                            == (isMade ? 1 : 0),
                        "\(step)")
                }
                let replica = try await RawReplica(
                    at: server, code: try await Tenant.admin(code, place.database)["code"]?.stringValue ?? "")
                let works = try await Tenant.admin(token, place.database)["token"]?.stringValue ?? ""
                #expect(try await place.firm { try await server.get("/v1/client", token: works) }.status == 200, "\(step)")

                // 4. Both taken away.
                if step != .commandWritten {
                    let isRevoked = try await self.died(["token", "revoke", works], at: step, victim, place)
                    let status = try await place.firm { try await server.get("/v1/client", token: works) }.status
                    #expect(status == (isRevoked ? 401 : 200), "\(step)")
                    _ = try await Tenant.admin(["token", "revoke", works], place.database)
                    #expect(try await place.firm { try await server.get("/v1/client", token: works) }.status == 401, "\(step)")
                }
                let id = replica.identity.replica.text
                let revoke = ["replica", "revoke"] + tenant + ["--replica", id]
                let isShut = try await self.died(revoke, at: step, victim, place)
                let pulled = try await place.firm { try await replica.pull(cursor: nil, port: server.port) }
                #expect((pulled.status == 200) == !isShut, "\(step): \(pulled.text)")
                #expect(
                    try await place.sql("SELECT status FROM public.replica WHERE id = '\(id)'") == [[isShut ? "revoked" : "active"]],
                    "\(step)")
                _ = try await Tenant.admin(revoke, place.database)
                let shut = try await place.firm { try await replica.pull(cursor: nil, port: server.port) }
                #expect([401, 403].contains(shut.status), "\(step): \(shut.text)")
                #expect(
                    try await place.number("SELECT count(*) FROM tideline.feed WHERE kind = 'replica.revoked' AND record = '\(id)'") == 1,
                    "\(step)")
            }
            #expect(
                try await place.number(
                    "SELECT count(*) FROM tideline.tenant_head h WHERE h.position <> (SELECT count(*) FROM tideline.feed f WHERE f.tenant = h.tenant)"
                )
                    == 0)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// Whether the command's work stands.
        private func died(_ arguments: [String], at step: ServerStep, _ victim: Victim, _ place: Workplace) async throws -> Bool {
            let finished = try await place.command(arguments, at: step, killing: victim)
            switch victim {
            case .itself: return step == .commandCommitted
            default:
                // It says so itself; after the commit it has nothing to fear from Postgres.
                #expect([0, 3, 5].contains(finished.code), "\(arguments) \(step): \(finished)")
                if step == .commandCommitted { #expect(finished.code == 0, "\(arguments): \(finished)") }
                return finished.code == 0
            }
        }
    }
}
