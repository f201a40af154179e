// Stands between two programs and spoils their connections: every decision is drawn from a seed, by the number of the connection.
// It knows bytes only, so it serves HTTP and Postgres alike.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// What can happen to a connection.
enum ConnectionFault: String, CaseIterable, Sendable {
    /// Every piece takes a while.
    case delay
    /// The beginning arrives byte by byte.
    case trickle
    /// Nothing moves for a while in the middle.
    case stall
    /// Both sides are closed after some bytes.
    case cut
    /// The same, by a reset.
    case reset
    /// One side is told that the other will say no more, and hears none of the rest.
    case halfClose
    /// Reset before anything was said.
    case refuse
}

/// @unchecked Sendable: everything that changes is only touched under the lock; each connection has a thread of its own.
final class FaultProxy: @unchecked Sendable {
    private let listener: Int32
    private let lock = NSLock()
    private var upstreams: [Endpoint]
    private var random: SeededRandom
    private var percent: Int
    private var deck: [ConnectionFault] = []
    private var counts: [ConnectionFault: Int] = [:]
    private var accepted = 0
    private var connections: [Int: ProxiedConnection] = [:]
    private var isClosed = false

    /// - Parameters:
    ///   - upstreams: Connections go to them in turn; one that does not answer is passed over.
    ///   - percent: Of the connections, how many are spoilt. Kinds come from a shuffled deck, so each gets its share.
    init(listening endpoint: Endpoint = .tcp(0), to upstreams: [Endpoint], seed: UInt64, percent: Int) throws {
        self.upstreams = upstreams
        self.percent = percent
        random = SeededRandom(seed: seed)
        listener = try Sockets.listen(endpoint)
        let thread = Thread { [weak self, listener] in
            while true {
                let client = Sockets.accept(listener)
                guard client >= 0, let self, self.take(client) else { break }
            }
            Glibc.close(listener)
        }
        thread.name = "test.proxy"
        thread.start()
    }

    var port: Int { Sockets.port(listener) }
    var address: String { "http://127.0.0.1:\(port)" }
    /// Faults that have happened, by kind.
    var fired: [ConnectionFault: Int] { lock.withLock { counts } }
    var connectionsAccepted: Int { lock.withLock { accepted } }

    /// From now on so many of a hundred new connections are spoilt.
    func spoil(percent: Int) { lock.withLock { self.percent = percent } }

    /// From now on new connections are left in peace; spoilt ones are closed.
    func heal() {
        let spoilt = lock.withLock {
            percent = 0
            return connections.values.filter(\.isSpoilt)
        }
        for connection in spoilt { connection.end() }
    }

    func send(to upstreams: [Endpoint]) { lock.withLock { self.upstreams = upstreams } }

    /// Closes every connection there is.
    func cutAll() {
        for connection in lock.withLock({ Array(connections.values) }) { connection.end() }
    }

    func close() {
        lock.withLock { isClosed = true }
        shutdown(listener, Int32(SHUT_RDWR))
        cutAll()
    }

    private func take(_ client: Int32) -> Bool {
        lock.lock()
        guard !isClosed else {
            lock.unlock()
            Glibc.close(client)
            return false
        }
        accepted += 1
        let (number, upstreams) = (accepted, upstreams)
        let plan = plan()
        lock.unlock()
        if plan?.fault == .refuse {
            note(.refuse)
            Self.reset(client)
            return true
        }
        // The next upstream that takes it.
        var taken: Int32?
        for offset in upstreams.indices where taken == nil {
            taken = try? Sockets.connect(upstreams[(number + offset) % upstreams.count])
        }
        guard let upstream = taken else {
            Self.reset(client)
            return true
        }
        let connection = ProxiedConnection(client, upstream, plan) { [weak self] in self?.note($0) }
        lock.withLock { connections[number] = connection }
        let thread = Thread { [weak self] in
            connection.run()
            self?.lock.withLock { self?.connections[number] = nil }
        }
        thread.stackSize = 256 * 1024
        thread.start()
        return true
    }

    /// Under the lock.
    private func plan() -> ConnectionPlan? {
        guard Int.random(in: 0..<100, using: &random) < percent else { return nil }
        if deck.isEmpty { deck = ConnectionFault.allCases.shuffled(using: &random) }
        let fault = deck.removeLast()
        let most = [40, 400, 4_000, 40_000].randomElement(using: &random) ?? 400
        return ConnectionPlan(
            fault: fault, isDownward: Bool.random(using: &random), bytes: Int.random(in: 0...most, using: &random),
            milliseconds: Int.random(in: fault == .delay ? 1...40 : 50...900, using: &random))
    }

    private func note(_ fault: ConnectionFault) { lock.withLock { counts[fault, default: 0] += 1 } }

    static func reset(_ file: Int32) {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(file, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        Glibc.close(file)
    }
}

/// What is to happen to one connection.
struct ConnectionPlan: Sendable {
    var fault: ConnectionFault
    /// From the upstream to the client, or the other way.
    var isDownward: Bool
    /// After so many bytes in that direction; of a trickle: so many bytes.
    var bytes: Int
    var milliseconds: Int
}

/// One connection: a thread that moves bytes both ways. @unchecked Sendable: `isOver` and closing are under the lock; all the rest
/// belongs to the thread.
final class ProxiedConnection: @unchecked Sendable {
    private struct Direction {
        let from: Int32
        let to: Int32
        var bytes: [UInt8] = []
        var passed = 0
        /// `from` has no more to say.
        var isEnded = false
        /// `to` was told so.
        var isShut = false
        /// What comes is thrown away.
        var isDropping = false
        var heldUntil: UInt64 = 0
    }

    private enum Ending { case closed, reset }

    private let client: Int32
    private let upstream: Int32
    private let note: (ConnectionFault) -> Void
    private var plan: ConnectionPlan?
    private var hasFired = false
    private var up: Direction
    private var down: Direction
    private let lock = NSLock()
    private var isOver = false
    let isSpoilt: Bool

    init(_ client: Int32, _ upstream: Int32, _ plan: ConnectionPlan?, _ note: @escaping (ConnectionFault) -> Void) {
        (self.client, self.upstream, self.plan, self.note) = (client, upstream, plan, note)
        isSpoilt = plan != nil
        up = Direction(from: client, to: upstream)
        down = Direction(from: upstream, to: client)
        for file in [client, upstream] { _ = fcntl(file, F_SETFL, O_NONBLOCK) }
    }

    /// Wakes the thread, which then closes.
    func end() {
        lock.withLock {
            guard !isOver else { return }
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(upstream, Int32(SHUT_RDWR))
        }
    }

    func run() {
        let ending = move()
        lock.withLock {
            isOver = true
            for file in [client, upstream] {
                if ending == .reset { FaultProxy.reset(file) } else { Glibc.close(file) }
            }
        }
    }

    private func fire(_ fault: ConnectionFault) {
        if !hasFired { note(fault) }
        hasFired = true
    }

    private static var now: UInt64 { DispatchTime.now().uptimeNanoseconds / 1_000_000 }

    private func move() -> Ending {
        while !(up.isShut && down.isShut) {
            let now = Self.now
            var polled = [pollfd(fd: client, events: 0, revents: 0), pollfd(fd: upstream, events: 0, revents: 0)]
            var wait: Int32 = -1
            for direction in [up, down] {
                let (from, to) = direction.from == client ? (0, 1) : (1, 0)
                if direction.bytes.isEmpty {
                    if !direction.isEnded { polled[from].events |= Int16(POLLIN) }
                } else if direction.heldUntil > now {
                    let left = Int32(direction.heldUntil - now)
                    wait = wait < 0 ? left : min(wait, left)
                } else {
                    polled[to].events |= Int16(POLLOUT)
                }
            }
            // Without interest in it a closed peer would be reported again and again.
            for index in polled.indices where polled[index].events == 0 { polled[index].fd = -1 }
            if poll(&polled, 2, wait) < 0, errno != EINTR { return .closed }
            if let ending = step(&up, polled[0].revents, polled[1].revents) { return ending }
            if let ending = step(&down, polled[1].revents, polled[0].revents) { return ending }
        }
        return .closed
    }

    /// Moves what can be moved in one direction; returns how the connection ends, if it does.
    private func step(_ direction: inout Direction, _ from: Int16, _ to: Int16) -> Ending? {
        if direction.bytes.isEmpty, !direction.isEnded, from != 0 {
            var chunk = [UInt8](repeating: 0, count: 16_384)
            let count = recv(direction.from, &chunk, chunk.count, 0)
            if count < 0, errno != EAGAIN, errno != EINTR { return .reset }
            if count == 0 { direction.isEnded = true }
            if count > 0, !direction.isDropping { direction.bytes = Array(chunk[..<count]) }
            if let plan = mine(direction), plan.fault == .delay, count > 0 {
                fire(.delay)
                direction.heldUntil = Self.now + UInt64(plan.milliseconds)
            }
        }
        if !direction.bytes.isEmpty, direction.heldUntil <= Self.now, to != 0 || direction.heldUntil > 0 {
            if let ending = write(&direction) { return ending }
        }
        if direction.isEnded, direction.bytes.isEmpty, !direction.isShut {
            shutdown(direction.to, Int32(SHUT_WR))
            direction.isShut = true
        }
        return nil
    }

    private func mine(_ direction: Direction) -> ConnectionPlan? {
        guard let plan, plan.isDownward == (direction.from == upstream) else { return nil }
        return plan
    }

    private func write(_ direction: inout Direction) -> Ending? {
        var most = direction.bytes.count
        if let plan = mine(direction) {
            switch plan.fault {
            case .trickle:
                if direction.passed < min(plan.bytes, 300) {
                    fire(.trickle)
                    most = 1
                    direction.heldUntil = Self.now + 1
                }
            case .stall, .cut, .reset, .halfClose:
                if hasFired { break }
                most = min(most, plan.bytes - direction.passed)
                if most <= 0 {
                    fire(plan.fault)
                    switch plan.fault {
                    case .stall: direction.heldUntil = Self.now + UInt64(plan.milliseconds)
                    case .halfClose:
                        shutdown(direction.to, Int32(SHUT_WR))
                        (direction.isShut, direction.isDropping, direction.bytes) = (true, true, [])
                    case .reset: return .reset
                    default: return .closed
                    }
                    return nil
                }
            case .delay, .refuse: break
            }
        }
        let sent = direction.bytes[..<most].withUnsafeBytes { send(direction.to, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        if sent < 0 { return errno == EAGAIN || errno == EINTR ? nil : .reset }
        direction.bytes.removeFirst(sent)
        direction.passed += sent
        return nil
    }
}
