// The server, its backend or Postgres killed at every step of a write by REST: the same Idempotency-Key gets the one answer, and there is
// one effect.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

extension FaultTests {
    @Suite struct WriteKillTests {
        @Test func death_atEveryStepOfAWrite_hasOneEffect_andOneAnswerForItsKey() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            let member = try await place.sql("SELECT id FROM member")[0][0]
            let token = try await place.tenant.admin("token", "create", "--member", member)["token"]?.stringValue ?? ""
            let deaths = Victim.deaths(at: ServerStep.ofWrites)
            for (index, (step, victim)) in deaths.enumerated() {
                let name = "Client \(index)"
                let key = "key-\(index)"
                let created = try await self.write(
                    "POST", "/v1/client", #"{"name":"\#(name)"}"#, key: key, token, at: step, victim, place, steady, doomed)
                let id = try JSONValue(parsing: created.body)["data"]?["id"]?.stringValue ?? ""
                #expect(created.status == 201, "\(step): \(created.text)")
                #expect(try await place.number("SELECT count(*) FROM client WHERE name = '\(name)'") == 1, "\(step)")
                #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE record = '\(id)'") == 1, "\(step)")
                // A counter would show a second effect; so does the feed.
                let patched = try await self.write(
                    "PATCH", "/v1/client/\(id)", #"{"notes":"once"}"#, key: "patch-\(key)", token, at: step, victim, place, steady, doomed)
                #expect(patched.status == 200, "\(step): \(patched.text)")
                #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE record = '\(id)'") == 2, "\(step)")
                let other = try await place.firm {
                    try await LoopbackHTTP.exchange(
                        port: steady.port, "POST", "/v1/client", token: token, key: key, body: Array(#"{"name":"Other"}"#.utf8))
                }
                #expect(other.errorCode == "idempotency_key_reused", "\(step): \(other.text)")
            }
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            #expect(try await place.number("SELECT live FROM tideline.entity_head WHERE entity = 'client'") == deaths.count)
            #expect(await steady.end(SIGTERM) == 0)
        }

        /// The answer that stands, after the first one died.
        private func write(
            _ method: String, _ target: String, _ text: String, key: String, _ token: String, at step: ServerStep, _ victim: Victim,
            _ place: Workplace, _ steady: Server, _ doomed: Server
        ) async throws -> LoopbackHTTP.Reply {
            let ask: @Sendable (Int) async throws -> LoopbackHTTP.Reply = {
                try await LoopbackHTTP.exchange(port: $0, method, target, token: token, key: key, body: Array(text.utf8))
            }
            let first = try await place.answer(of: doomed, at: step, killing: victim, ask)
            if let first {
                #expect([200, 201, 503].contains(first.status), "\(step): \(first.text)")
                if [.writeCommitted, .writeAnnounced].contains(step) { #expect(first.status != 503, "\(step): \(first.text)") }
            }
            let again = try await place.firm { try await ask(steady.port) }
            let isStored = step == .writeCommitted || step == .writeAnnounced
            let third = try await place.firm { try await ask(steady.port) }
            for (one, isReplay) in [(again, isStored || first.map { $0.status != 503 } == true), (third, true)] {
                #expect((one.headers["idempotency-replayed"] != nil) == isReplay, "\(step): \(one.headers)")
            }
            for one in [third] + (first.map { $0.status == 503 ? [] : [$0] } ?? []) {
                #expect(one.status == again.status && one.body == again.body, "\(step): \(one.text) \(again.text)")
                for name in ["etag", "location"] { #expect(one.headers[name] == again.headers[name], "\(step): \(name)") }
            }
            return again
        }
    }
}
