// A request or a command that meets its end, or Postgres', at one numbered step.

import Foundation
import SyncProtocol
import TestSupport

@testable import SyncServer

#if canImport(Glibc)
    import Glibc
#endif

/// What dies at the step: the process itself; its backend, which it does not hear of before it goes on; all of Postgres.
enum Victim: String, CaseIterable, Sendable {
    case itself, backend, postmaster

    /// Each step with the process dying there, and one with Postgres dying, which the seed chooses; in long runs
    /// (`TIDELINE_FAULT_SECONDS`) each with everything.
    static func deaths(at steps: [ServerStep]) -> [(step: ServerStep, victim: Victim)] {
        if isLongRun { return allCases.flatMap { victim in steps.map { ($0, victim) } } }
        var random = SeededRandom.fresh()
        let step = steps[Int.random(in: 0..<steps.count, using: &random)]
        let victim = Bool.random(using: &random) ? Victim.backend : .postmaster
        print("kill points: seed \(random.seed): \(step) with \(victim)")
        return steps.map { ($0, .itself) } + [(step, victim)]
    }

    /// The process dies at the step by itself, or stands still there until the other is dead.
    func environment(_ step: ServerStep, occurrence: Int = 1) -> [String: String] {
        ["TIDELINE_TEST_STEP_KILL": "\(step.rawValue):\(occurrence)\(self == .itself ? "" : ":stop")"]
    }

    /// While the process stands still.
    func kill(in place: Workplace) async throws {
        try await offPool {
            switch self {
            case .itself: break
            case .backend:
                // Which of them holds the transaction is not to be told from outside: all go, and Postgres starts its memory anew.
                for backend in try place.cluster.backends() { Glibc.kill(backend, SIGKILL) }
            case .postmaster:
                place.cluster.stop(SIGKILL)
                try place.cluster.start()
            }
        }
    }
}

extension Workplace {
    /// Sends a request to a server that was started for it, and lets the victim die at the step. The answer, if there was one.
    /// Throws when the step does not come.
    func answer(
        of doomed: Server, at step: ServerStep, killing victim: Victim,
        _ request: @escaping @Sendable (Int) async throws -> LoopbackHTTP.Reply
    ) async throws -> LoopbackHTTP.Reply? {
        try await doomed.start(victim.environment(step))
        let port = doomed.port
        async let asked = request(port)
        guard victim == .itself else {
            guard try await until({ doomed.isStopped }) else { throw UnexpectedResult("\(step) was not reached") }
            try await victim.kill(in: self)
            doomed.signal(SIGCONT)
            let reply = try await asked
            await doomed.end(SIGTERM)
            try await comeToRest()
            return reply
        }
        do {
            let reply = try await asked
            await doomed.end(SIGKILL)
            throw UnexpectedResult("\(step) was not reached: \(reply.status) \(reply.text)")
        } catch is LoopbackHTTP.Broken {
            let code = await doomed.waitForEnd()
            guard code == -SIGKILL else { throw UnexpectedResult("\(step): the server ended with \(code)") }
            return nil
        }
    }

    /// Runs a command of `sync-server`, and lets the victim die at the step.
    func command(
        _ arguments: [String], at step: ServerStep, occurrence: Int = 1, killing victim: Victim
    ) async throws -> Finished {
        let program = try RunningProgram(
            "sync-server", ["--json"] + arguments + database, environment: victim.environment(step, occurrence: occurrence))
        if victim != .itself {
            guard try await program.wait(until: { $0.isStopped || !$0.isRunning }), program.isRunning else {
                throw UnexpectedResult("\(arguments): \(step) was not reached: \(program.output) \(program.errors)")
            }
            try await victim.kill(in: self)
            program.signal(SIGCONT)
        }
        let finished = await program.finish()
        if victim == .itself, finished.code != -SIGKILL {
            throw UnexpectedResult("\(arguments): \(step) was not reached: \(finished)")
        }
        try await comeToRest()
        return finished
    }

    /// Postgres may be putting itself right.
    func comeToRest() async throws {
        let isUp = try await until { (try? await sql("SELECT 1")) != nil }
        if !isUp { throw UnexpectedResult("Postgres does not come back: \(cluster.log.suffix(2000))") }
    }

    /// Asks until the server is fine; it may say that it is not, while Postgres puts itself right.
    func firm(_ request: @escaping @Sendable () async throws -> LoopbackHTTP.Reply) async throws -> LoopbackHTTP.Reply {
        var reply = try await request()
        _ = try await until {
            if reply.status == 503 { reply = try await request() }
            return reply.status != 503
        }
        return reply
    }
}

extension RunningProgram {
    /// By SIGSTOP.
    var isStopped: Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let name = stat.lastIndex(of: ")")
        else { return false }
        return stat[name...].dropFirst(2).first == "T"
    }
}
