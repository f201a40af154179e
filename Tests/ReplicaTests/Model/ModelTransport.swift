// The seam where tests break things: between a replica and the server it is tested with.

import Foundation
import ServerSupport
import SyncProtocol
import Testing

@testable import Replica

enum Call: String, Sendable { case enroll, push, pull, fork, get }

/// Where other things may happen while a call is under way.
enum Moment: String, Sendable {
    /// The request has left and has not been processed.
    case before
    /// It has been processed (or refused), and nobody has heard the answer.
    case after
}

enum Fault: Sendable {
    /// Never arrives at the server.
    case fail(TransportFailure)
    /// The beginning of a push arrives, and nothing more.
    case cutRequest(TransportFailure)
    /// The server acts, its answer is lost.
    case loseReply(TransportFailure)
    /// The answer ends in the middle.
    case truncate
    /// The network delivers the request twice; the answer to the second arrives.
    case duplicate
    /// The answer to another request arrives instead. Every transport finds that out (``Correlation``).
    case strangersReply
    /// A push that stays under way: it arrives when ``ModelTransport/deliverLate()`` says so, and nobody waits for its answer.
    case late(TransportFailure)
}

// @unchecked Sendable: everything is touched under the lock.
final class ModelTransport: SyncTransport, @unchecked Sendable {
    let server: any ServerCore
    private let lock = NSLock()
    private var plan: (@Sendable (Call, Int) -> Fault?)?
    private var meanwhile: (@Sendable (Call, Moment) async -> Void)?
    private var counts: [Call: Int] = [:]
    private var late: [(bytes: [UInt8], token: String)] = []
    /// A transport that does not look: a stranger's answer is the one to the call of this kind before, and it is taken. Set once.
    var takesAnyReply = false
    private var previous: [Call: [UInt8]] = [:]
    private var pushes: [[UInt8]] = []
    private var pulls: [PullRequest] = []

    init(_ server: any ServerCore) { self.server = server }

    /// Decides the fault of a call by its kind and number since now, 1 first.
    func breaking(_ plan: (@Sendable (Call, Int) -> Fault?)?) {
        lock.withLock {
            self.plan = plan
            counts = [:]
        }
    }

    /// Happens while the replica waits for an answer: before the request is processed, and between that and the answer.
    func during(_ body: (@Sendable (Call, Moment) async -> Void)?) { lock.withLock { meanwhile = body } }

    /// Happens before a push or pull is processed.
    func beforeAnswering(_ body: (@Sendable (Call) async -> Void)?) {
        guard let body else { return during(nil) }
        during { call, moment in if moment == .before, call == .push || call == .pull { await body(call) } }
    }

    func count(_ call: Call) -> Int { lock.withLock { counts[call] ?? 0 } }
    var sentPushes: [[UInt8]] { lock.withLock { pushes } }
    var sentPulls: [PullRequest] { lock.withLock { pulls } }

    func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply {
        try await askForID(.enroll) { try server.enroll(request) }
    }

    func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] {
        lock.withLock { pushes.append(bytes) }
        await happens(.push, .before)
        let fault = next(.push)
        if case .late(let failure) = fault {
            lock.withLock { late.append((bytes, token)) }
            throw failure
        }
        if case .cutRequest(let failure) = fault {
            let answer = try? server.push(Array(bytes.prefix(bytes.count * 2 / 3)), token: token)
            if answer != nil { Issue.record("the beginning of a push was taken for one") }
            throw failure
        }
        return try await carry(.push, fault) { try server.push(bytes, token: token) }
    }

    /// What was held up arrives now. Returns how many pushes that were.
    func deliverLate() -> Int {
        let arriving = lock.withLock {
            defer { late = [] }
            return late
        }
        // Whatever the server says, nobody hears it.
        for push in arriving { _ = try? server.push(push.bytes, token: push.token) }
        return arriving.count
    }

    func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
        lock.withLock { pulls.append(request) }
        await happens(.pull, .before)
        // A fault hits a waiting pull as well, before anything has happened that would wake it.
        let fault = next(.pull)
        if request.waitMilliseconds != nil, fault == nil {
            while true {
                let count = server.pokeCount
                if try server.hasNews(request, token: token) { break }
                await server.waitForNews(since: count)
                if Task.isCancelled { throw TransportFailure.cancelled }
            }
        }
        return try await carry(.pull, fault) { try server.pull(request, token: token) }
    }

    func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply {
        try await askForID(.fork) { try server.fork(request, token: token) }
    }

    func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
        await happens(.get, .before)
        return try await carry(.get, next(.get)) { try server.get(path, query, token: token) }
    }

    private func happens(_ call: Call, _ moment: Moment) async { await lock.withLock({ meanwhile })?(call, moment) }

    private func askForID(_ call: Call, _ send: () throws -> EnrollmentReply) async throws -> EnrollmentReply {
        await happens(call, .before)
        let fault = next(call)
        if case .fail(let failure) = fault { throw failure }
        let processed = Result { try send() }
        await happens(call, .after)
        let reply = try processed.get()
        if case .loseReply(let failure) = fault { throw failure }
        return reply
    }

    private func next(_ call: Call) -> Fault? {
        let (plan, number) = lock.withLock {
            counts[call, default: 0] += 1
            return (self.plan, counts[call] ?? 0)
        }
        return plan?(call, number)
    }

    private func carry(_ call: Call, _ fault: Fault?, _ send: () throws -> [UInt8]) async throws -> [UInt8] {
        if case .fail(let failure) = fault { throw failure }
        if case .late(let failure) = fault { throw failure }
        if case .cutRequest(let failure) = fault { throw failure }
        let processed = Result { try send() }
        await happens(call, .after)
        // The second of two deliveries comes after whatever happened meanwhile.
        let reply = if case .duplicate = fault, case .success = processed { try send() } else { try processed.get() }
        let before = lock.withLock {
            defer { previous[call] = reply }
            return previous[call]
        }
        switch fault {
        case .loseReply(let failure): throw failure
        case .truncate: return Array(reply.prefix(reply.count / 2))
        case .strangersReply where takesAnyReply: return before ?? reply
        case .strangersReply: throw TransportFailure.malformed("it is the answer to another request")
        default: return reply
        }
    }
}

extension SyncTransport {
    /// A request as small as any.
    func digest(token: String) async throws -> [UInt8] { try await get("digest", [], token: token) }
}
