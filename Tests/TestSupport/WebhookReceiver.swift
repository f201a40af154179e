// A receiver of webhooks on loopback that behaves as badly as a test wants: fails, is slow, drops answers, goes away.

import Foundation

/// @unchecked Sendable: everything mutable is only touched under the condition.
public final class WebhookReceiver: @unchecked Sendable {
    public struct Delivery: Sendable {
        public let target: String
        /// Names in lower case.
        public let headers: [String: String]
        public let body: [UInt8]
        public var id: String { headers["webhook-id"] ?? "" }
    }

    public enum Behaviour: Sendable {
        case answer(Int, headers: [String: String] = [:])
        /// The work is done, and the answer is lost.
        case takeAndDrop
        /// Nothing is done, and the connection ends.
        case drop
        /// Nothing comes back until the receiver stops.
        case hang
        /// Not HTTP.
        case gibberish
    }

    public struct Failure: Error, CustomStringConvertible { public let description: String }

    private let condition = NSCondition()
    private let behave: @Sendable (Delivery, Int) -> Behaviour
    private var descriptor: Int32 = -1
    private var connections: Set<Int32> = []
    private var taken: [Delivery] = []
    private var requests = 0
    private var isStopped = false
    public private(set) var port = 0

    /// - Parameter behave: Gets each request and how many came before it; called on a thread of the connection.
    public init(_ behave: @escaping @Sendable (Delivery, Int) -> Behaviour = { _, _ in .answer(204) }) throws {
        self.behave = behave
        try listen(on: LoopbackPort.chosen())
    }

    public var url: String { "http://127.0.0.1:\(port)/hook" }

    /// What was taken, in order, repetitions included.
    public var deliveries: [Delivery] { condition.withLock { taken } }
    /// Requests that came, whatever became of them.
    public var requestCount: Int { condition.withLock { requests } }

    /// Blocks until that holds; false when it did not within the time.
    public func wait(seconds: Double = 60, until isReached: ([Delivery]) -> Bool) -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while !isReached(taken) {
            if !condition.wait(until: limit) { return isReached(taken) }
        }
        return true
    }

    public func waitForRequests(_ count: Int, seconds: Double = 60) -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while requests < count {
            if !condition.wait(until: limit) { return requests >= count }
        }
        return true
    }

    /// As a process that was killed: the port refuses, open connections are reset.
    public func stop() {
        condition.lock()
        isStopped = true
        if descriptor >= 0 { shutdown(descriptor, Int32(SHUT_RDWR)) }
        for one in connections { shutdown(one, Int32(SHUT_RDWR)) }
        condition.broadcast()
        while descriptor >= 0 || !connections.isEmpty { condition.wait() }
        condition.unlock()
    }

    /// On the same port again.
    public func restart() throws {
        condition.withLock { isStopped = false }
        try listen(on: port)
    }

    deinit { if descriptor >= 0 { shutdown(descriptor, Int32(SHUT_RDWR)) } }

    // MARK: Sockets

    private func listen(on wanted: Int) throws {
        let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw Failure(description: "socket: \(errno)") }
        var on: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(wanted).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 && Foundation.listen(socket, 128) == 0 && getsockname(socket, $0, &size) == 0
            }
        }
        guard isBound else {
            close(socket)
            throw Failure(description: "bind: \(String(cString: strerror(errno)))")
        }
        condition.withLock {
            descriptor = socket
            port = Int(UInt16(bigEndian: address.sin_port))
        }
        Thread.detachNewThread { self.accept(on: socket) }
    }

    private func accept(on socket: Int32) {
        while true {
            let connection = Foundation.accept(socket, nil, nil)
            if connection < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                break
            }
            let isWelcome = condition.withLock {
                if !isStopped { connections.insert(connection) }
                return !isStopped
            }
            guard isWelcome else {
                close(connection)
                break
            }
            Thread.detachNewThread {
                self.serve(connection)
                self.condition.withLock {
                    self.connections.remove(connection)
                    close(connection)
                    self.condition.broadcast()
                }
            }
        }
        condition.withLock {
            close(socket)
            if descriptor == socket { descriptor = -1 }
            condition.broadcast()
        }
    }

    private func serve(_ connection: Int32) {
        guard let delivery = read(connection) else { return }
        let number = condition.withLock {
            requests += 1
            condition.broadcast()
            return requests - 1
        }
        func take() {
            condition.withLock {
                taken.append(delivery)
                condition.broadcast()
            }
        }
        switch behave(delivery, number) {
        case .answer(let status, let headers):
            if (200...299).contains(status) { take() }
            let fields = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
            let length = status == 204 ? "" : "Content-Length: 0\r\n"
            write(connection, "HTTP/1.1 \(status) x\r\n\(fields)\(length)Connection: close\r\n\r\n")
        case .takeAndDrop: take()
        case .drop: break
        case .hang:
            condition.lock()
            while !isStopped { condition.wait() }
            condition.unlock()
        case .gibberish: write(connection, "220 mail.example ESMTP\r\n\r\n")
        }
    }

    private func write(_ connection: Int32, _ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    private func read(_ connection: Int32) -> Delivery? {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        func fill() -> Bool {
            let count = recv(connection, &chunk, chunk.count, 0)
            if count > 0 { bytes += chunk[..<count] }
            return count > 0
        }
        func endOfHead() -> Int? {
            guard bytes.count >= 4 else { return nil }
            return (0...(bytes.count - 4)).first { bytes[$0] == 13 && bytes[$0 + 1] == 10 && bytes[$0 + 2] == 13 && bytes[$0 + 3] == 10 }
        }
        while endOfHead() == nil { guard fill() else { return nil } }
        guard let end = endOfHead() else { return nil }
        let lines = String(decoding: bytes[..<end], as: UTF8.self).components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        let length = Int(headers["content-length"] ?? "") ?? 0
        while bytes.count < end + 4 + length { guard fill() else { return nil } }
        let parts = lines[0].split(separator: " ")
        return Delivery(
            target: parts.count > 1 ? String(parts[1]) : "", headers: headers, body: Array(bytes[(end + 4)..<(end + 4 + length)]))
    }
}
