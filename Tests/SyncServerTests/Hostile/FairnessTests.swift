// One tenant among others on a real server: what it cannot take from them.

import Foundation
import SyncProtocol
import Testing

@testable import SyncServer

@Suite struct FairnessTests {
    @Test func tenantThatWaitsForItsOwnLock_doesNotHoldUpOthers() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let server = try ServerProcess(["--database-url", url])
            let (noisy, quiet) = (try HostileTenant("Noisy", server, url), try HostileTenant("Quiet", server, url))

            let holder = try PostgresConnection(PostgresConfiguration(url: url))
            let watcher = try PostgresConnection(PostgresConfiguration(url: url))
            _ = try holder.run("BEGIN")
            _ = try holder.run("SELECT 1 FROM tideline.tenant_head WHERE tenant = $1::uuid FOR UPDATE", .identifier(noisy.replica.tenant))
            var pushes: [LoopbackClient] = []
            for number in 0..<40 {
                let body = noisy.replica.pushBody(counter: 1, client: HostileTenant.client(number), name: "x")
                pushes.append(try server.client())
                try pushes[number].send(
                    "POST /v1/sync/push HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(noisy.replica.token)\r\n"
                        + "Content-Length: \(body.count)\r\n\r\n")
                try pushes[number].send(body)
            }
            // As many as may wait for the lock do, and no more.
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            let limit = Date(timeIntervalSinceNow: 8)
            while try watcher.run(waiting).integer(0, 0) != 2, Date() < limit { sched_yield() }
            for counter in 1...10 {
                let body = quiet.replica.pushBody(counter: Int64(counter), client: HostileTenant.client(100 + counter), name: "y")
                let answer = try server.post("/v1/sync/push", body, token: quiet.replica.token)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(try server.get(quiet.replica.pull(cursor: nil), token: quiet.replica.token).status == 200)
                // The noisy tenant's readers are no worse off than others.
                #expect(try server.get(noisy.replica.pull(cursor: nil), token: noisy.replica.token).status == 200)
            }
            #expect(try watcher.run(waiting).integer(0, 0) == 2, "the lock was held all the time, by requests that still wait")
            _ = try holder.run("COMMIT")
            // They all claim the same counter: one of them is the set, the others are copies of another file.
            let statuses = try pushes.map { try $0.response().status }
            #expect(statuses.filter { $0 == 200 }.count == 1 && statuses.filter { $0 == 409 }.count == 39, "\(statuses)")
        }
    }

    @Test func inventedTokens_doNotEnterTheLaneOfTheTenantTheyName() throws {
        let lanes = RequestLanes()
        let tenant = Identifier(high: 1, low: 2)
        let token = AccessToken(tenant: tenant, secret: [UInt8](repeating: 7, count: 32))
        let invented = AccessToken(tenant: tenant, secret: [UInt8](repeating: 8, count: 32))
        func lane(_ token: AccessToken?, _ path: [String] = ["v1", "client"], _ method: String = "GET") -> HTTPLane {
            let headers = HTTPHeaders(token.map { [("authorization", "Bearer \($0.text)")] } ?? [])
            return lanes.lane(
                of: HTTPRequest(
                    method: method, target: "", path: "", pathSegments: path, query: [], headers: headers, body: [],
                    keepsConnection: true, minorVersion: 1, byteCount: 0, requestID: "", peerAddress: "192.0.2.1"))
        }
        #expect(lane(token) == HTTPLane(key: "peer 192.0.2.1", isWrite: false))
        lanes.noteAccepted(token, authorization: "Bearer \(token.text)")
        #expect(lane(token) == HTTPLane(key: tenant.text, isWrite: false))
        #expect(lane(token, ["v1", "client"], "PATCH") == HTTPLane(key: tenant.text, isWrite: true))
        #expect(lane(invented).key == "peer 192.0.2.1")
        #expect(lane(nil).key == "peer 192.0.2.1")
        #expect(lane(nil, ["healthz"]).key == "operator")
        lanes.noteRefused(authorization: "Bearer \(token.text)")
        #expect(lane(token).key == "peer 192.0.2.1")
    }

    @Test func rememberedTokens_areBounded_andRecentOnesStay() {
        let lanes = RequestLanes()
        func token(_ number: Int) -> AccessToken {
            let bytes = (0..<32).map { UInt8(truncatingIfNeeded: number >> (8 * ($0 % 3))) }
            return AccessToken(tenant: Identifier(high: 1, low: 2), secret: bytes)
        }
        func isKnown(_ token: AccessToken) -> Bool {
            let headers = HTTPHeaders([("authorization", "Bearer \(token.text)")])
            return lanes.lane(
                of: HTTPRequest(
                    method: "GET", target: "", path: "", pathSegments: ["v1", "x"], query: [], headers: headers, body: [],
                    keepsConnection: true, minorVersion: 1, byteCount: 0, requestID: "", peerAddress: "")
            ).key == token.tenant.text
        }
        let count = 2 * RequestLanes.tokensMax + 1
        for number in 0..<count { lanes.noteAccepted(token(number), authorization: "Bearer \(token(number).text)") }
        #expect(isKnown(token(count - 1)))
        #expect(isKnown(token(count - RequestLanes.tokensMax)))
        #expect(!isKnown(token(0)))
    }
}

/// A tenant with one replica on a real server.
struct HostileTenant {
    let replica: EnrollmentReply
    let member: String

    init(_ name: String, _ server: ServerProcess, _ url: String) throws {
        let made = try ServerProcess.json([
            "tenant", "create", name, "--owner", "Ada <ada@\(name.lowercased()).example>", "--database-url", url,
        ])
        replica = try server.enroll(try required(made["code"]?.stringValue))
        member = try required(made["member"]?.stringValue)
    }

    static func client(_ number: Int) -> Identifier { Identifier.version7(milliseconds: 1, random: (UInt64(number), 2)) }
}
