// The server, its backend or Postgres killed at every step of an enrolment and of a fork: whoever did not hear the answer asks again and
// is one replica, with a token that works.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

extension FaultTests {
    @Suite struct EnrolKillTests {
        @Test func death_atEveryStepOfAnEnrolment_leavesOneReplica_andACodeThatAnswersItsFile() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            for (index, (step, victim)) in Victim.deaths(at: ServerStep.ofEnrolment).enumerated() {
                let code = try await place.tenant.code(for: "e\(index)")
                func body(_ attempt: Character) -> [UInt8] {
                    EnrollmentRequest(
                        code: code, label: "e\(index)", platform: "linux", schemaVersion: Schema.currentVersion,
                        attempt: String(repeating: attempt, count: 64)
                    ).json.canonicalBytes()
                }
                let asked = body("a")
                let first = try await place.answer(of: doomed, at: step, killing: victim) {
                    try await LoopbackHTTP.exchange(port: $0, "POST", "/v1/enroll", body: asked)
                }
                if let first {
                    #expect([200, 503].contains(first.status), "\(step): \(first.text)")
                    if [.enrolCommitted, .enrolAnnounced].contains(step) { #expect(first.status == 200, "\(step): \(first.text)") }
                }
                let isStored = step == .enrolCommitted || step == .enrolAnnounced || first?.status == 200
                let member = "member = (SELECT id FROM member WHERE email = 'e\(index)@example.com')"
                #expect(try await place.number("SELECT count(*) FROM tideline.replica WHERE \(member)") == (isStored ? 1 : 0), "\(step)")

                let again = try await place.firm { try await LoopbackHTTP.exchange(port: steady.port, "POST", "/v1/enroll", body: asked) }
                #expect(again.status == 200, "\(step): \(again.text)")
                let reply = try EnrollmentReply(json: try JSONValue(parsing: again.body))
                if first?.status == 200 {
                    let heard = try EnrollmentReply(json: try JSONValue(parsing: first?.body ?? []))
                    #expect(heard.replica == reply.replica, "\(step)")
                    let old = try await place.firm {
                        try await LoopbackHTTP.exchange(port: steady.port, "GET", Self.pull, token: heard.token)
                    }
                    #expect(old.status == 401, "\(step): only one token works")
                }
                let works = try await place.firm {
                    try await LoopbackHTTP.exchange(port: steady.port, "GET", Self.pull, token: reply.token)
                }
                #expect(works.status == 200, "\(step): \(works.text)")
                // After ten such in a minute the server does not listen any more.
                if index < ServerStep.ofEnrolment.count {
                    let otherFile = body("b")
                    let other = try await place.firm {
                        try await LoopbackHTTP.exchange(port: steady.port, "POST", "/v1/enroll", body: otherFile)
                    }
                    #expect(other.errorCode == "code_used", "\(step): \(other.text)")
                }
                let own = "'\(reply.replica.text)'"
                for (what, sql) in [
                    ("row", "SELECT count(*) FROM tideline.replica WHERE \(member)"),
                    ("record", "SELECT count(*) FROM public.replica WHERE \(member)"),
                    ("token", "SELECT count(*) FROM tideline.token WHERE replica = \(own)"),
                    ("entry", "SELECT count(*) FROM tideline.feed WHERE entity = 'replica' AND record = \(own)"),
                    ("code", "SELECT count(*) FROM tideline.enrollment_code WHERE replica = \(own) AND used_at IS NOT NULL"),
                    (
                        "acceptance",
                        "SELECT count(*) FROM tideline.feed WHERE kind = 'member.joined' AND record = (SELECT id FROM member WHERE email = 'e\(index)@example.com')"
                    ),
                ] { #expect(try await place.number(sql) == 1, "\(step): one \(what)") }
            }
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            #expect(await steady.end(SIGTERM) == 0)
        }

        /// Without an attempt of its own a spent code says so, and the next code works.
        @Test func lostAnswer_toAFileWithoutAnAttempt_isASpentCode() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            let code = try await place.tenant.code(for: "old")
            let body = EnrollmentRequest(code: code, label: "old", platform: "linux", schemaVersion: Schema.currentVersion).json
                .canonicalBytes()
            for step in [ServerStep.codeSpent, .enrolCommitted] {
                _ = try await place.answer(of: doomed, at: step, killing: .itself) {
                    try await LoopbackHTTP.exchange(port: $0, "POST", "/v1/enroll", body: body)
                }
            }
            #expect(try await LoopbackHTTP.exchange(port: steady.port, "POST", "/v1/enroll", body: body).errorCode == "code_used")
            let member = try await place.sql("SELECT id FROM member WHERE email = 'old@example.com'")[0][0]
            let next = try await place.tenant.admin("code", "create", "--member", member)
            _ = try await RawReplica(at: steady, code: next["code"]?.stringValue ?? "")
            #expect(await steady.end(SIGTERM) == 0)
        }

        @Test func death_atEveryStepOfAFork_leavesOneReplica_whoseSetsCountOnce() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            let shared = try await RawReplica(at: steady, code: place.tenant.ownerCode)
            let token = shared.identity.token
            #expect(try await shared.send(shared.push(1, name: "Shared"), port: steady.port).status == 200)
            let deaths = Victim.deaths(at: ServerStep.ofForks)
            for (index, (step, victim)) in deaths.enumerated() {
                let hash = String(repeating: String(index % 16, radix: 16), count: 63) + String(index / 16)
                let body = ForkRequest(counter: 1, label: "copy", platform: "linux", schemaVersion: Schema.currentVersion, first: hash)
                    .json.canonicalBytes()
                let first = try await place.answer(of: doomed, at: step, killing: victim) {
                    try await LoopbackHTTP.exchange(port: $0, "POST", "/v1/sync/fork", token: token, body: body)
                }
                if let first { #expect([200, 503].contains(first.status), "\(step): \(first.text)") }
                let again = try await place.firm {
                    try await LoopbackHTTP.exchange(port: steady.port, "POST", "/v1/sync/fork", token: token, body: body)
                }
                #expect(again.status == 200, "\(step): \(again.text)")
                let copy = RawReplica(identity: try EnrollmentReply(json: try JSONValue(parsing: again.body)))
                if first?.status == 200 {
                    let heard = RawReplica(identity: try EnrollmentReply(json: try JSONValue(parsing: first?.body ?? [])))
                    #expect(heard.identity.replica == copy.identity.replica, "\(step)")
                    let pulled = try await place.firm { try await heard.pull(cursor: nil, port: steady.port) }
                    #expect(pulled.status == 200, "\(step): both tokens work")
                }
                let own = "'\(copy.identity.replica.text)'"
                #expect(
                    try await place.number("SELECT count(*) FROM tideline.feed WHERE entity = 'replica' AND record = \(own)") == 1,
                    "\(step)")
                #expect(try await place.number("SELECT acknowledged FROM tideline.replica WHERE id = \(own)") == 1, "\(step)")
                let push = copy.push(2, name: "Copy \(index)")
                let pushed = try await place.firm { try await copy.send(push, port: steady.port) }
                #expect(pushed.status == 200, "\(step): \(pushed.text)")
                let repeated = try await place.firm { try await copy.send(push, port: steady.port) }
                #expect(try repeated.outcomes() == pushed.outcomes(), "\(step)")
            }
            // The other copy goes on as it was.
            let last = try await place.firm { try await shared.send(shared.push(2, name: "Shared 2"), port: steady.port) }
            #expect(last.status == 200)
            let forks = deaths.count
            #expect(try await place.number("SELECT count(*) FROM tideline.replica") == forks + 1)
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'Copy %' OR name LIKE 'Shared%'") == forks + 2)
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            #expect(await steady.end(SIGTERM) == 0)
        }

        private static var pull: String {
            let request = PullRequest(cursor: nil, waitMilliseconds: nil, outcomesAfter: 0, schemaVersion: Schema.currentVersion)
            return "/v1/sync/pull?" + request.query.map { "\($0.name)=\($0.value)" }.joined(separator: "&")
        }
    }
}
