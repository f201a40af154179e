// The server killed between every two steps of a push: whatever the replica was not told it asks again, elsewhere, and hears the
// one answer that stands.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct PushKillTests {
        @Test func death_atEveryStepOfAPush_hasOneEffect_andOneAnswer() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let replica = try await RawReplica(at: steady, code: place.tenant.ownerCode)
            let reader = try await RawReplica(at: steady, code: try await place.tenant.code(for: "reader"))
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            for step in PushStep.allCases {
                let counter = Int64(step.rawValue)
                let body = replica.push(counter, name: "Step \(step)")
                let cursor = try await reader.cursor(port: steady.port)
                async let news = reader.pull(cursor: cursor, waitMilliseconds: 50_000, port: steady.port)
                try await doomed.start(["TIDELINE_TEST_PUSH_KILL": "\(step.rawValue):1"])
                await #expect(throws: LoopbackHTTP.Broken.self, "\(step)") { try await replica.send(body, port: doomed.port) }
                #expect(await doomed.waitForEnd() == -SIGKILL, "\(step)")
                // Its backend notices; the lock on the head is free then.
                let isStored = step == .committed || step == .announced
                if isStored {
                    // Nobody says so any more; who waits elsewhere looks by itself.
                    let page = try PullPage(parsing: try await news.body)
                    #expect(page.checkpoint?.mark.position.position ?? 0 > 0)
                    #expect(try await news.text.contains("Step \(step)"), "\(step)")
                }
                #expect(
                    try await place.number("SELECT count(*) FROM tideline.change_set WHERE replica = '\(replica.identity.replica.text)'")
                        == Int(counter) - (isStored ? 0 : 1), "\(step): \(isStored ? "committed" : "nothing stored")")
                let first = try await replica.send(body, port: steady.port)
                #expect(first.status == 200, "\(step): \(first.text)")
                try await doomed.start()
                let second = try await replica.send(body, port: doomed.port)
                #expect(try first.outcomes() == second.outcomes(), "\(step)")
                #expect(try await news.text.contains("Step \(step)"), "\(step)")
                #expect(await doomed.end(SIGTERM) == 0)
            }
            let own = "replica = '\(replica.identity.replica.text)'"
            let count = PushStep.allCases.count
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'Step %'") == count)
            #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE \(own)") == count)
            #expect(try await place.number("SELECT count(*) FROM tideline.change_set WHERE \(own) AND status = 'accepted'") == count)
            #expect(await steady.end(SIGTERM) == 0)
        }

        enum Victim: String, CaseIterable, Sendable { case backend, postmaster }

        /// The server stands still at a step while its backend, or all of Postgres, is killed; then it goes on with a connection that is gone.
        @Test(arguments: Victim.allCases)
        func deathOfPostgres_atEveryStepOfAPush_hasOneEffect_andOneAnswer(victim: Victim) async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let replica = try await RawReplica(at: steady, code: place.tenant.ownerCode)
            let halted = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            for step in PushStep.allCases {
                let body = replica.push(Int64(step.rawValue), name: "Step \(step)")
                try await halted.start(["TIDELINE_TEST_PUSH_KILL": "\(step.rawValue):1:stop"])
                let port = halted.port
                async let answer = replica.send(body, port: port)
                #expect(try await until { halted.isStopped }, "\(step) was not reached")
                let backends = try await offPool { try place.cluster.backends() }
                #expect(!backends.isEmpty, "\(step)")
                switch victim {
                case .backend:
                    // Which of them holds the transaction is not to be told from outside: all go, and Postgres starts its memory anew.
                    for backend in backends { kill(backend, SIGKILL) }
                case .postmaster:
                    try await offPool {
                        place.cluster.stop(SIGKILL)
                        try place.cluster.start()
                    }
                }
                halted.signal(SIGCONT)
                let first = try await answer
                #expect([200, 503].contains(first.status), "\(step): \(first.status) \(first.text)")
                // After the commit the answer is what it is, whoever dies.
                if step == .committed || step == .announced { #expect(first.status == 200, "\(step): \(first.text)") }
                let answers = try await [steady, halted].asyncAnswers { server in
                    var reply = try await replica.send(body, port: server.port)
                    _ = try await until {
                        if reply.status != 200 { reply = try await replica.send(body, port: server.port) }
                        return reply.status == 200
                    }
                    return try reply.outcomes()
                }
                #expect(answers[0] == answers[1], "\(step)")
                if first.status == 200 { #expect(try first.outcomes() == answers[0], "\(step)") }
                #expect(await halted.end(SIGTERM) == 0, "\(step)")
            }
            let count = PushStep.allCases.count
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'Step %'") == count)
            let own = "replica = '\(replica.identity.replica.text)'"
            #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE \(own)") == count)
            #expect(try await place.number("SELECT count(*) FROM tideline.change_set WHERE \(own) AND status = 'accepted'") == count)
            #expect(await steady.end(SIGTERM) == 0)
        }
    }
}

extension Array where Element == Server {
    fileprivate func asyncAnswers<R>(_ body: (Server) async throws -> R) async throws -> [R] {
        var answers: [R] = []
        for server in self { answers.append(try await body(server)) }
        return answers
    }
}
