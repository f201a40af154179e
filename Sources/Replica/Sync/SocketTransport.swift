// The transport over plain HTTP/1.1 on a socket, for Linux only: there Foundation's event loop keeps a core busy from the
// moment a body is sent until the answer comes. TLS, and every other platform, is URLSessionTransport's.

#if canImport(Glibc)
    import Dispatch
    import Foundation
    import Glibc
    import SyncProtocol

    struct SocketTransport: SyncTransport {
        private let line: SocketLine

        /// - Parameter server: an `http` address; a path is kept as a prefix. nil for anything else.
        /// - Parameter timeoutMilliseconds: silence of the server, or a head, that takes longer counts as unanswered. A waiting
        ///   pull gets its waiting time on top.
        init?(server: URL, timeoutMilliseconds: Int = 60_000) {
            guard server.scheme == "http", let host = server.host, !host.isEmpty else { return nil }
            let prefix = server.path.hasSuffix("/") ? String(server.path.dropLast()) : server.path
            line = SocketLine(host: host, port: server.port ?? 80, prefix: prefix, timeoutMilliseconds: timeoutMilliseconds)
        }

        func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply {
            let bytes = try await line.exchange("POST", "/v1/enroll", body: request.json.canonicalBytes())
            do { return try EnrollmentReply(json: try JSONValue(parsing: bytes)) } catch {
                throw TransportFailure.malformed(String(describing: error))
            }
        }

        func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] {
            try await line.exchange("POST", "/v1/sync/push", token: token, body: bytes)
        }

        func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
            let query = HTTPMapping.query(request.query)
            return try await line.exchange(
                "GET", "/v1/sync/pull?" + query, token: token, extraMilliseconds: request.waitMilliseconds ?? 0)
        }

        func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply {
            let bytes = try await line.exchange("POST", "/v1/sync/fork", token: token, body: request.json.canonicalBytes())
            do { return try EnrollmentReply(json: try JSONValue(parsing: bytes)) } catch {
                throw TransportFailure.malformed(String(describing: error))
            }
        }

        func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
            let target = "/v1/sync/" + path + (query.isEmpty ? "" : "?" + HTTPMapping.query(query))
            return try await line.exchange("GET", target, token: token)
        }
    }

    /// One kept-alive connection; requests take turns. Blocking calls run on a queue of its own.
    // @unchecked Sendable: the connection is used on the queue only; what cancelling needs is touched under the lock.
    private final class SocketLine: @unchecked Sendable {
        private static let connectMilliseconds = 10_000

        private let host: String
        private let port: Int
        private let prefix: String
        private let timeoutMilliseconds: Int
        private let queue = DispatchQueue(label: "tideline.http")
        private let lock = NSLock()
        private var descriptor: Int32 = -1
        /// The exchange whose turn it is.
        private var current = 0
        private var waiting: Set<Int> = []
        private var cancelled: Set<Int> = []
        private var lastExchange = 0

        init(host: String, port: Int, prefix: String, timeoutMilliseconds: Int) {
            self.host = host
            self.port = port
            self.prefix = prefix
            self.timeoutMilliseconds = timeoutMilliseconds
        }

        deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

        func exchange(
            _ method: String, _ target: String, token: String? = nil, body: [UInt8]? = nil, extraMilliseconds: Int = 0
        ) async throws -> [UInt8] {
            let number = lock.withLock {
                lastExchange += 1
                waiting.insert(lastExchange)
                return lastExchange
            }
            let correlation = HTTPMapping.newCorrelation()
            let request = head(method, target, token, correlation, body?.count) + (body ?? [])
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    queue.async {
                        continuation.resume(
                            with: Result {
                                try self.run(number, request, correlation, self.timeoutMilliseconds + extraMilliseconds)
                            })
                    }
                }
            } onCancel: {
                lock.withLock {
                    guard waiting.contains(number) else { return }
                    cancelled.insert(number)
                    // Wakes the blocked call; only the queue closes.
                    if current == number, descriptor >= 0 { shutdown(descriptor, Int32(SHUT_RDWR)) }
                }
            }
        }

        private func head(
            _ method: String, _ target: String, _ token: String?, _ correlation: String, _ bodyCount: Int?
        ) -> [UInt8] {
            let address = host.contains(":") ? "[\(host)]" : host
            var text = "\(method) \(prefix)\(target) HTTP/1.1\r\nHost: \(address):\(port)\r\nAccept: application/json\r\n"
            text += "\(Correlation.header): \(correlation)\r\n"
            if let token { text += "Authorization: Bearer \(token)\r\n" }
            if let bodyCount { text += "Content-Type: application/json\r\nContent-Length: \(bodyCount)\r\n" }
            return Array((text + "\r\n").utf8)
        }

        // MARK: On the queue

        private func run(_ number: Int, _ request: [UInt8], _ correlation: String, _ silenceMilliseconds: Int) throws -> [UInt8] {
            lock.withLock { current = number }
            defer {
                lock.withLock {
                    current = 0
                    waiting.remove(number)
                    cancelled.remove(number)
                }
            }
            while true {
                try throwIfCancelled(number)
                if descriptor >= 0, !isQuiet() { close() }
                let isReused = descriptor >= 0
                do {
                    if !isReused { try connect(number) }
                    Self.set(descriptor, SO_RCVTIMEO, milliseconds: silenceMilliseconds)
                    Self.set(descriptor, SO_SNDTIMEO, milliseconds: timeoutMilliseconds)
                    try send(request)
                    let reply = try receive(silenceMilliseconds)
                    if !reply.keepsConnection { close() }
                    try throwIfCancelled(number)
                    // Whose answer comes next on such a connection nobody knows: it is closed below.
                    try HTTPMapping.check(reply.correlation, answers: correlation)
                    if (200...299).contains(reply.status) { return reply.body }
                    throw TransportFailure.reply(HTTPMapping.error(reply.body, reply.status), status: reply.status)
                } catch let failure as TransportFailure {
                    if case .reply = failure { throw failure }
                    close()
                    try throwIfCancelled(number)
                    throw failure
                } catch is HTTPReplyReader.EndBeforeReply {
                    close()
                    // The server closed an idle connection while the request was on its way. Every request may be repeated.
                    guard isReused else {
                        try throwIfCancelled(number)
                        throw TransportFailure.dropped("the server closed the connection without an answer")
                    }
                }
            }
        }

        private func throwIfCancelled(_ number: Int) throws {
            if lock.withLock({ cancelled.contains(number) }) { throw TransportFailure.cancelled }
        }

        /// A kept connection with something to read was closed by the server, or said something nobody asked for (a proxy's 408):
        /// neither may be taken for the next answer.
        private func isQuiet() -> Bool {
            var byte: UInt8 = 0
            return recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) < 0 && errno == EAGAIN
        }

        private func close() {
            lock.withLock {
                if descriptor >= 0 { Glibc.close(descriptor) }
                descriptor = -1
            }
        }

        private func connect(_ number: Int) throws {
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            let code = getaddrinfo(host, String(port), &hints, &list)
            guard code == 0 else { throw TransportFailure.unreachable("\(host): \(String(cString: gai_strerror(code)))") }
            defer { freeaddrinfo(list) }
            var reason = "\(host) has no address"
            var next = list
            while let address = next?.pointee {
                next = address.ai_next
                let socket = Glibc.socket(address.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
                guard socket >= 0 else { continue }
                // On Linux the send time-out also limits the connecting.
                Self.set(socket, SO_SNDTIMEO, milliseconds: min(Self.connectMilliseconds, timeoutMilliseconds))
                // Known before it is connected, so that cancelling can end the connecting.
                lock.withLock { descriptor = socket }
                try throwIfCancelled(number)
                if Glibc.connect(socket, address.ai_addr, address.ai_addrlen) == 0 {
                    var one: Int32 = 1
                    setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
                    return
                }
                let why = errno == EINPROGRESS ? "no answer in time" : String(cString: strerror(errno))
                reason = "Failed to connect to \(host) port \(port): \(why)"
                close()
                try throwIfCancelled(number)
            }
            throw TransportFailure.unreachable(reason)
        }

        private static func set(_ socket: Int32, _ option: Int32, milliseconds: Int) {
            var time = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
            setsockopt(socket, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }

        private func send(_ bytes: [UInt8]) throws {
            var sent = 0
            while sent < bytes.count {
                let count = bytes.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
                }
                if count < 0, errno == EINTR { continue }
                if count < 0, errno == EAGAIN { throw TransportFailure.timeout }
                // An answer may still be readable: servers refuse large bodies before they have read them.
                guard count > 0 else { return }
                sent += count
            }
        }

        private func receive(_ silenceMilliseconds: Int) throws -> HTTPReply {
            var chunk = [UInt8](repeating: 0, count: 256 << 10)
            var reader = HTTPReplyReader(headDeadline: .now() + .milliseconds(silenceMilliseconds)) { [descriptor] buffer in
                while true {
                    let count = chunk.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
                    if count < 0, errno == EINTR { continue }
                    if count < 0, errno == EAGAIN { throw TransportFailure.timeout }
                    if count < 0 { return .broken(String(cString: strerror(errno))) }
                    if count == 0 { return .end }
                    buffer.append(contentsOf: chunk[..<count])
                    return .more
                }
            }
            return try reader.read()
        }
    }
#endif
