// A repeated request repeats the answer, not the write.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct IdempotencyTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    private func create(_ key: String, _ name: String, as token: AccessToken? = nil) throws -> RestReply {
        try rest.send("POST", "/v1/client", ["name": .string(name)], headers: [("Idempotency-Key", key)], as: token)
    }

    @Test func sameRequest_getsTheSameAnswer() throws {
        let first = try create("import-1", "Harbor")
        let second = try create("import-1", "Harbor")
        #expect(first.status == 201 && second.status == 201 && first.response.body == second.response.body)
        for name in ["ETag", "Location"] { #expect(first.header(name) == second.header(name) && first.header(name) != nil) }
        #expect(second.header("Idempotency-Replayed") == "true" && first.header("Idempotency-Replayed") == nil)
        #expect(try rest.tenant.rows("public.client") == 1)
    }

    @Test func otherRequest_isRefused() throws {
        #expect(try create("import-1", "Harbor").status == 201)
        let other = try create("import-1", "Northgate")
        #expect(other.status == 422 && other.code == "idempotency_key_reused")
        let delete = try rest.send("DELETE", "/v1/client/\(rest.server.newIdentifier().text)", headers: [("Idempotency-Key", "import-1")])
        #expect(delete.status == 422)
        #expect(try rest.tenant.rows("public.client") == 1)
    }

    @Test func keys_belongToTheirMember() throws {
        let manager = try rest.member(.manager)
        #expect(try create("k", "a").status == 201)
        #expect(try create("k", "b", as: manager.token).status == 201)
        let other = try rest.otherTenant()
        #expect(try other.send("POST", "/v1/client", ["name": "c"], headers: [("Idempotency-Key", "k")]).status == 201)
    }

    @Test func refusedRequest_spendsNoKey() throws {
        #expect(try create("k", "").status == 400)
        #expect(try create("k", "Harbor").status == 201)
    }

    @Test func key_isForgottenAfterADay_andPruned() throws {
        #expect(try create("k", "Harbor").status == 201)
        rest.server.clock.with { $0 += IdempotencyKey.keptMilliseconds - 60_000 }
        try Maintenance(context: rest.server.context, connection: rest.server.connection).pruneIdempotencyKeys(tenant: rest.tenant.id)
        #expect(try create("k", "Harbor").header("Idempotency-Replayed") == "true")
        rest.server.clock.with { $0 += 120_000 }
        #expect(try create("k", "Northgate").status == 201, "expired, and not pruned yet")
        rest.server.clock.with { $0 += IdempotencyKey.keptMilliseconds + 1000 }
        try Maintenance(context: rest.server.context, connection: rest.server.connection).pruneIdempotencyKeys(tenant: rest.tenant.id)
        #expect(try rest.tenant.rows("tideline.idempotency_key") == 0)
    }

    @Test func key_isCheckedForForm() throws {
        for bad in ["", "two words", String(repeating: "x", count: 201), "é"] { #expect(try create(bad, "x").status == 400, "\(bad)") }
        let twice = try rest.send("POST", "/v1/client", ["name": "x"], headers: [("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
        #expect(twice.status == 400)
        #expect(try rest.tenant.rows("public.client") == 0)
    }

    @Test func concurrentRequests_writeOnce() async throws {
        let replies = Locked<[(Int, [UInt8])]>([])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                let handed = Locked(try rest.another())
                group.addTask {
                    try await onOwnThread {
                        let reply = try handed.with {
                            try $0.send("POST", "/v1/client", ["name": "Harbor"], headers: [("Idempotency-Key", "race")])
                        }
                        replies.with { $0.append((reply.status, reply.response.body)) }
                    }
                }
            }
            try await group.waitForAll()
        }
        let all = replies.with { $0 }
        #expect(all.count == 4 && all.allSatisfy { $0.0 == 201 && $0.1 == all[0].1 })
        #expect(try rest.tenant.rows("public.client") == 1)
    }
}
