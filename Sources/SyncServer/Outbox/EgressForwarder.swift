// The only way out for HTTPS: URLSession speaks TLS and resolves names itself, so it is given a proxy on loopback that
// resolves once, checks, and connects to the address that was checked. It carries bytes it cannot read.
//
//   URLSession ── CONNECT host:443 ──► this ── resolve, check, connect ──► the endpoint

import CLinux
import Foundation
import SyncProtocol

/// Listens from `init` on; serves from `start` on. @unchecked Sendable: `isStopped` and `open` are only touched under the lock.
final class EgressForwarder: @unchecked Sendable {
    /// More connections at a time are turned away.
    static let connectionsMax = 256
    /// A field of every answer that is this forwarder's and not an endpoint's.
    static let mark = "Tideline-Tunnel"
    private static let headBytesMax = 8 << 10
    private static let headSeconds = 10.0
    private static let connectSeconds = 5.0
    /// A tunnel on which nothing moves for so long is closed.
    private static let idleSeconds = 60.0

    private let resolver: HostResolver
    private let listener: Int32
    private let wakePipe = WakePipe()
    private let secret: String
    private let lock = NSLock()
    private var isStopped = false
    private var open = 0
    private var thread: DedicatedThread?
    let port: Int

    /// Throws ``SocketError``. The secret keeps other programs of this machine from using the way out.
    init(resolver: HostResolver, secret: String = Hex.encode((0..<16).map { _ in UInt8.random(in: 0 ... .max) })) throws {
        self.resolver = resolver
        self.secret = secret
        let socket = try ListeningSocket.open(ListenAddress(host: "127.0.0.1", port: 0), backlog: 64)
        listener = socket.descriptor
        port = socket.address.port
    }

    deinit { close(listener) }

    /// As libcurl takes a proxy from its environment.
    var proxyURL: String { "http://tideline:\(secret)@127.0.0.1:\(port)" }

    /// Makes this process's URLSession use it, and nothing else. To be called before there are other threads: the
    /// environment has no lock.
    func takeOverEnvironment() {
        for name in ["https_proxy", "HTTPS_PROXY"] { setenv(name, proxyURL, 1) }
        for name in ["http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] { unsetenv(name) }
    }

    func start() {
        thread = DedicatedThread("tideline.egress") { [self] in
            while !stopped {
                let accepted = accept(listener, nil, nil)
                if accepted >= 0 {
                    serve(accepted)
                } else if errno == EAGAIN {
                    wakePipe.wait(forReadable: listener, timeoutSeconds: nil)
                } else if errno == EMFILE || errno == ENFILE {
                    wakePipe.wait(timeoutSeconds: 0.1)
                }
            }
        }
    }

    /// Tunnels that are open end with the process, or when they are idle.
    func stop() {
        lock.withLock { isStopped = true }
        wakePipe.wake()
        thread?.join()
    }

    private var stopped: Bool { lock.withLock { isStopped } }

    private func serve(_ descriptor: Int32) {
        let isRoom = lock.withLock {
            guard open < EgressForwarder.connectionsMax else { return false }
            open += 1
            return true
        }
        guard isRoom else {
            close(descriptor)
            return
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        Thread.detachNewThread { [self] in
            tunnel(OutgoingSocket(taking: descriptor))
            lock.withLock { open -= 1 }
        }
    }

    // MARK: One tunnel

    private func tunnel(_ client: consuming OutgoingSocket) {
        let deadline = Deadline(secondsFromNow: EgressForwarder.headSeconds)
        do {
            let target: (host: String, port: Int)
            do {
                target = try readTarget(client, by: deadline)
            } catch let refusal as Refusal {
                try client.send(EgressForwarder.answer(refusal.status), by: deadline)
                return
            }
            let endpoint: OutgoingSocket
            do {
                endpoint = try OutgoingSocket.connect(
                    try resolver.endpoints(host: target.host, port: target.port),
                    by: Deadline(secondsFromNow: EgressForwarder.connectSeconds))
            } catch let failure as AttemptFailure {
                let status =
                    failure.failure == .address ? "403 Forbidden" : failure.failure == .timeout ? "504 Gateway Timeout" : "502 Bad Gateway"
                try client.send(EgressForwarder.answer(status), by: deadline)
                return
            }
            try client.send(Array("HTTP/1.1 200 Connection established\r\n\(EgressForwarder.mark): open\r\n\r\n".utf8), by: deadline)
            EgressForwarder.pump(client.descriptor, endpoint.descriptor)
            // Both are needed until here.
            _ = endpoint.descriptor
        } catch {
            // The client is gone; there is nobody to tell.
        }
        _ = client.descriptor
    }

    private static func answer(_ status: String) -> [UInt8] {
        Array("HTTP/1.1 \(status)\r\n\(mark): closed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".utf8)
    }

    private struct Refusal: Error { let status: String }

    private func readTarget(_ client: borrowing OutgoingSocket, by deadline: Deadline) throws -> (host: String, port: Int) {
        var head: [UInt8] = []
        while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
            let more = try client.receive(limit: 1024, by: deadline)
            guard !more.isEmpty else { throw AttemptFailure(.network, "closed") }
            head += more
            guard head.count <= EgressForwarder.headBytesMax else { throw Refusal(status: "431 Request Header Fields Too Large") }
        }
        let lines = String(decoding: head, as: UTF8.self).components(separatedBy: "\r\n")
        let expected = "Basic " + Data("tideline:\(secret)".utf8).base64EncodedString()
        let given = lines.first { $0.lowercased().hasPrefix("proxy-authorization:") }?.dropFirst(20).trimmingCharacters(in: .whitespaces)
        guard constantTimeEqual(Array((given ?? "").utf8), Array(expected.utf8)) else {
            throw Refusal(status: "407 Proxy Authentication Required")
        }
        let parts = lines[0].split(separator: " ")
        guard parts.count == 3, parts[0] == "CONNECT", let address = ListenAddress(parsing: String(parts[1])), address.port > 0 else {
            throw Refusal(status: "405 Method Not Allowed")
        }
        return (address.host, Int(address.port))
    }

    /// Until both sides have ended, or nothing moves any more.
    private static func pump(_ first: Int32, _ second: Int32) {
        var ways = [Way(from: first, to: second), Way(from: second, to: first)]
        while ways.contains(where: { !$0.isDone }) {
            var descriptors = [pollfd(fd: first, events: 0, revents: 0), pollfd(fd: second, events: 0, revents: 0)]
            for way in ways where !way.isDone {
                if way.pending.isEmpty {
                    descriptors[way.from == first ? 0 : 1].events |= Int16(POLLIN)
                } else {
                    descriptors[way.to == first ? 0 : 1].events |= Int16(POLLOUT)
                }
            }
            // A descriptor nobody waits for must not wake us for its hang-up again and again.
            for index in 0..<2 where descriptors[index].events == 0 { descriptors[index].fd = -1 }
            let count = poll(&descriptors, 2, Int32(idleSeconds * 1000))
            if count == 0 { return }
            if count < 0, errno != EINTR { return }
            for index in ways.indices where !ways[index].isDone {
                guard ways[index].move() else { return }
            }
        }
    }

    /// One direction of a tunnel.
    private struct Way {
        let from: Int32
        let to: Int32
        var pending: ArraySlice<UInt8> = []
        var isDone = false

        init(from: Int32, to: Int32) {
            self.from = from
            self.to = to
        }

        /// Moves what can be moved now; false when the tunnel is broken.
        mutating func move() -> Bool {
            while true {
                while !pending.isEmpty {
                    let count = pending.withUnsafeBytes { clinux_send(to, $0.baseAddress, $0.count, nil, 0) }
                    if count > 0 {
                        pending = pending.dropFirst(count)
                    } else {
                        return errno == EAGAIN || errno == EINTR
                    }
                }
                var chunk = [UInt8](repeating: 0, count: 32 << 10)
                let count = chunk.withUnsafeMutableBytes { clinux_receive(from, $0.baseAddress, $0.count) }
                if count > 0 {
                    pending = chunk[..<count]
                } else if count == 0 {
                    isDone = true
                    shutdown(to, Int32(SHUT_WR))
                    return true
                } else {
                    return errno == EAGAIN || errno == EINTR
                }
            }
        }
    }
}
