// Stands between the command and several servers and sends every request to the next one. A test may let requests or answers get
// lost by what they are, which a proxy of bytes cannot.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// @unchecked Sendable: counters and servers are only touched under the lock.
final class RequestBalancer: @unchecked Sendable {
    enum Verdict: Sendable {
        case pass, loseRequest, loseReply
        /// Whoever asks gets the answer that was mixed up before on the same path, to whomever it belongs.
        case mixUp
    }

    struct Request: Sendable {
        var line: String
        var body: [UInt8]
    }

    let port: Int
    private let listener: Int32
    private let decide: @Sendable (Request) -> Verdict
    private let lock = NSLock()
    private var servers: [Int]
    private var next = 0
    private var counts: [Int: Int] = [:]
    private var passed = 0
    private var isClosed = false
    /// By path.
    private var strayReplies: [Substring: [UInt8]] = [:]

    init(to servers: [Int], _ decide: @escaping @Sendable (Request) -> Verdict = { _ in .pass }) throws {
        self.servers = servers
        self.decide = decide
        listener = try Sockets.listen(.tcp(0))
        port = Sockets.port(listener)
        let thread = Thread { [weak self, listener] in
            while true {
                let client = Sockets.accept(listener)
                guard client >= 0, let self, !self.lock.withLock({ self.isClosed }) else { break }
                Thread { self.serve(client) }.start()
            }
            Glibc.close(listener)
        }
        thread.name = "test.balancer"
        thread.start()
    }

    var address: String { "http://127.0.0.1:\(port)" }
    /// Requests answered, by server.
    var answered: [Int: Int] { lock.withLock { counts } }
    /// Times that a server did not take a connection, or dropped one that it had not read from.
    var passedOver: Int { lock.withLock { passed } }

    func close() {
        lock.withLock { isClosed = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func serve(_ client: Int32) {
        defer { Glibc.close(client) }
        var reader = MessageReader(file: client)
        while let message = try? reader.next() {
            let verdict = decide(Request(line: message.startLine, body: message.body))
            if verdict == .loseRequest { return }
            guard var reply = forward(message.bytes), verdict != .loseReply else { return }
            if verdict == .mixUp { reply = swapped(reply, message.startLine) }
            var sent = 0
            while sent < reply.count {
                let count = reply[sent...].withUnsafeBytes { send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if count <= 0 { return }
                sent += count
            }
        }
    }

    private func swapped(_ reply: [UInt8], _ requestLine: String) -> [UInt8] {
        let path = requestLine.split(whereSeparator: { " ?".contains($0) }).dropFirst().first ?? ""
        return lock.withLock { strayReplies.updateValue(reply, forKey: path) ?? reply }
    }

    /// Like a usual balancer it tries the next server when one does not take the connection or drops it without a word.
    private func forward(_ request: [UInt8]) -> [UInt8]? {
        let order = lock.withLock {
            next += 1
            return servers.indices.map { servers[(next + $0) % servers.count] }
        }
        for server in order {
            do {
                let reply = try LoopbackHTTP.send(request, port: server)
                lock.withLock { counts[server, default: 0] += 1 }
                return reply.bytes
            } catch let broken as LoopbackHTTP.Broken where broken.hasBegun {
                return nil
            } catch { lock.withLock { passed += 1 } }
        }
        return nil
    }
}
