// The command line as scripts use it: JSON out, words to standard error, exit codes.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct CommandTests {
    private func text(_ json: JSONValue, _ name: String) throws -> String { try required(json[name]?.stringValue) }

    @Test func administration_worksFromTenantToRevocation() async throws {
        try await onOwnThread {
            let url = try PostgresFixture.shared().freshDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(
                [
                    "tenant", "create", "Acme", "--owner", "Ada Lovelace <ada@acme.example>", "--currency", "EUR", "--timezone",
                    "Europe/Paris",
                ] + database)
            let tenant = try text(made, "tenant")
            let added = try ServerProcess.json(
                ["member", "add", "--tenant", tenant, "--name", "Vera", "--email", "vera@acme.example", "--role", "viewer"] + database)
            let code = try text(added, "code")
            #expect(added["tenant"] == nil && EnrollmentCode(code) != nil)
            let token = try ServerProcess.json(
                ["token", "create", "--tenant", tenant, "--member", try text(made, "member"), "--days", "30"] + database)
            #expect(AccessToken(try text(token, "token"))?.tenant.text == tenant)
            for (expiry, status) in [("2020-01-01", Int32(2)), ("tomorrow", 2), ("2999-12-31", 0), ("2999-12-31T18:00:00Z", 0)] {
                let words = ["token", "create", "--tenant", tenant, "--member", try text(made, "member"), "--expires", expiry]
                #expect(try ServerProcess.run(words + database).status == status, "\(expiry)")
                #expect(try ServerProcess.run(words + ["--days", "3"] + database).status == 2, "\(expiry)")
            }
            #expect(try ServerProcess.json(["token", "revoke", try text(token, "token")] + database)["revoked"] == true)
            let check = try ServerProcess.json(["check"] + database)
            #expect(check["ok"] == true)
            #expect(try ServerProcess.json(["migrate"] + database)["schema"]?.integerValue == Schema.currentVersion)

            let server = try ServerProcess(database)
            // All of a member's, when nobody knows them any more.
            let owners = ["--tenant", try text(made, "tenant"), "--member", try text(made, "member")] + database
            let lost = try (0..<2).map { _ in try text(ServerProcess.json(["token", "create"] + owners), "token") }
            for one in lost { #expect(try server.get("/v1/client", token: one).status == 200) }
            #expect(try ServerProcess.json(["token", "revoke"] + owners)["tokens"] == 4, "two that were made above are among them")
            for one in lost { #expect(try server.get("/v1/client", token: one).status == 401) }
            #expect(try ServerProcess.json(["token", "revoke"] + owners)["tokens"] == 0)
            let replica = try server.enroll(try text(made, "code"))
            let viewer = try server.enroll(try text(added, "code"))
            #expect(viewer.role == .viewer && viewer.replication == "readonly")
            #expect(try server.get(replica.pull(cursor: nil), token: replica.token).status == 200)
            // An API token is no replica.
            let other = try ServerProcess.json(["token", "create", "--tenant", tenant, "--member", try text(made, "member")] + database)
            #expect(try server.get(replica.pull(cursor: nil), token: try text(other, "token")).status == 403)
            let listed = try ServerProcess.json(["replica", "list", "--tenant", tenant] + database)
            #expect(listed["total"] == 2)
            _ = try ServerProcess.json(["replica", "revoke", "--tenant", tenant, replica.replica.text] + database)
            let refused = try server.get(replica.pull(cursor: nil), token: replica.token)
            #expect(refused.status == 403 && refused.text.contains("replica_revoked"))
            let page = try PullPage(parsing: server.get(viewer.pull(cursor: nil), token: viewer.token).body)
            #expect(try page.row("replica", viewer.replica)?["status"] == "active")
            #expect(try page.row("replica", replica.replica) == nil, "somebody else's is for owners")
            let record = try server.get("/v1/replica/\(replica.replica.text)", token: try text(other, "token"))
            #expect(try JSONValue(parsing: record.body)["data"]?["status"] == "revoked")

            #expect(try ServerProcess.json(["restored"] + database)["tenants"] == 1)
            #expect(try server.get(viewer.pull(cursor: page.next), token: viewer.token).status == 409)
            let again = try PullPage(parsing: server.get(viewer.pull(cursor: nil), token: viewer.token).body)
            #expect(again.checkpoint?.mark.position == FeedPosition(epoch: 1, position: FeedPosition.epochStride))
        }
    }

    @Test func exitCodes_tellWhoseFaultItIs() async throws {
        try await onOwnThread {
            let nowhere = ["--database-url", "postgresql://x@/x?host=/nonexistent&connect_timeout=1"]
            let url = try ServerProcess.migratedDatabase()
            let cases: [(arguments: [String], status: Int32)] = [
                (["--version"], 0), (["help"], 0), (["help", "tenant", "create"], 0), (["nonsense"], 2), (["tenant"], 2),
                (["tenant", "create"], 2),
                (["tenant", "create", "Acme", "--owner", "no address"], 2), (["serve", "--listen", "nowhere"], 2),
                (["serve", "--workers", "x"], 2), (["serve", "--tenant-quota-gb", "-1"], 2),
                (["check", "--surplus"], 2), (["check"] + nowhere, 3), (["migrate"] + nowhere, 3),
                (["tenant", "create", "Acme", "--owner", "Ada <not an address>", "--database-url", url], 1),
                (["replica", "list", "--tenant", Identifier.zero.text, "--database-url", url], 1),
                (["serve", "--listen", "192.0.2.1:1", "--database-url", url], 1),
            ]
            for one in cases {
                let result = try ServerProcess.run(one.arguments)
                #expect(result.status == one.status, "\(one.arguments): \(result.status) \(result.errors)")
                if one.status == 0 { #expect(!result.output.isEmpty) } else { #expect(result.output.isEmpty && !result.errors.isEmpty) }
            }
            let refused = try ServerProcess.run(["replica", "list", "--tenant", Identifier.zero.text, "--database-url", url, "--json"])
            #expect(try ErrorReply(json: JSONValue(parsing: refused.output))?.code == "not_found")
        }
    }

    @Test func check_saysWhatIsMissing_beforeAMigration() async throws {
        try await onOwnThread {
            let url = try PostgresFixture.shared().freshDatabase()
            let result = try ServerProcess.run(["check"], environment: ["DATABASE_URL": url])
            #expect(result.status == 1)
            #expect(result.output.contains("BAD  migrated") && result.output.contains("sync-server migrate"))
        }
    }

    @Test func arguments_areTakenApart() throws {
        var arguments = Arguments(["tenant", "--owner", "Ada <a@b.example>", "create", "--json", "--currency=EUR", "Acme"])
        #expect(arguments.flag("--json") && !arguments.flag("--json"))
        #expect(try arguments.value("--currency") == "EUR")
        #expect(try arguments.required("--owner") == "Ada <a@b.example>")
        #expect([arguments.word(), arguments.word(), arguments.word(), arguments.word()] == ["tenant", "create", "Acme", nil])
        try arguments.finish()
        var missing = Arguments(["--owner", "--json"])
        #expect(throws: UsageError.self) { try missing.value("--owner") }
        #expect(throws: UsageError.self) { try missing.required("--tenant") }
        #expect(throws: UsageError.self) { try missing.finish() }
    }

    @Test func configuration_prefersFlagsToTheEnvironment() throws {
        var arguments = Arguments(["--listen", "127.0.0.1:1", "--workers=2"])
        let environment = [
            "TIDELINE_LISTEN": "127.0.0.1:2", "DATABASE_URL": "postgresql://db", "TIDELINE_DATA_DIR": "/data",
            "TIDELINE_PREPARED_STATEMENTS": "off",
            "TIDELINE_OWNER_DATABASE_URL": "postgresql://owner",
        ]
        let configuration = try Configuration(&arguments, environment: environment)
        #expect(configuration.listen == "127.0.0.1:1" && configuration.workers == 2 && configuration.databaseURL == "postgresql://db")
        #expect(
            configuration.dataDirectory == "/data" && !configuration.usesPreparedStatements
                && configuration.ownerDatabaseURL == "postgresql://owner")
        var none = Arguments([])
        let standard = try Configuration(&none, environment: ["HOME": "/home/ada"])
        #expect(standard.listen == "127.0.0.1:8080" && standard.databaseURL == nil && standard.usesPreparedStatements && standard.isDurable)
    }

    @Test func tenantQuota_isInGigabytes_andNoneIsNone() throws {
        func quota(_ words: [String], _ environment: [String: String] = [:]) throws -> Int64? {
            var arguments = Arguments(words)
            return try Configuration(&arguments, environment: environment.merging(["HOME": "/home/ada"]) { $1 }).storageQuota.bytesMax
        }
        #expect(try quota([]) == 100 << 30 && quota(["--tenant-quota-gb", "7"]) == 7 << 30)
        #expect(try quota([], ["TIDELINE_TENANT_QUOTA_GB": "3"]) == 3 << 30)
        #expect(try quota(["--tenant-quota-gb=0"], ["TIDELINE_TENANT_QUOTA_GB": "3"]) == nil)
        for wrong in ["-1", "1.5", "1000001", "much", "99999999999999999999"] {
            #expect(throws: UsageError.self) { try quota(["--tenant-quota-gb", wrong]) }
        }
    }

    @Test func enrollmentCodes_readWhatPeopleType() throws {
        let code = EnrollmentCode(random: [0xFF, 0, 0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE])
        #expect(code.text.count == 19)
        let typed = code.text.lowercased().replacing("0", with: "o").replacing("1", with: "l").replacing("-", with: " ")
        #expect(EnrollmentCode(typed)?.hash == code.hash)
        #expect(EnrollmentCode(String(code.text.dropLast())) == nil && EnrollmentCode(code.text + "0") == nil)
    }

    @Test func logLines_areOneJSONObjectEach() throws {
        let entry = LogEntry(.warning, "what\nhappened", requestID: "r-1", ["count": 3])
        let line = entry.line(atMilliseconds: 0)
        #expect(line.last == 0x0A && line.filter { $0 == 0x0A }.count == 1)
        let json = try JSONValue(parsing: Array(line.dropLast()))
        #expect(
            json["time"] == "1970-01-01T00:00:00.000Z" && json["level"] == "warning" && json["request_id"] == "r-1" && json["count"] == 3)
    }
}
