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
        init?(server: URL) {
            guard server.scheme == "http", let host = server.host, !host.isEmpty else { return nil }
            let prefix = server.path.hasSuffix("/") ? String(server.path.dropLast()) : server.path
            line = SocketLine(host: host, port: server.port ?? 80, prefix: prefix)
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
            let wait = (request.waitMilliseconds ?? 0) / 1000
            return try await line.exchange("GET", "/v1/sync/pull?" + query, token: token, extraSeconds: wait)
        }

        func digest(token: String) async throws -> [UInt8] { try await line.exchange("GET", "/v1/sync/digest", token: token) }
    }

    /// One kept-alive connection; requests take turns. Blocking calls run on a queue of its own.
    // @unchecked Sendable: the connection is touched on the queue only, except that cancelling shuts it down under the lock.
    private final class SocketLine: @unchecked Sendable {
        private static let timeoutSeconds = 60
        private static let connectSeconds = 10
        private static let replyBytesMax = 256 << 20

        private let host: String
        private let port: Int
        private let prefix: String
        private let queue = DispatchQueue(label: "tideline.http")
        private let lock = NSLock()
        private var descriptor: Int32 = -1
        private var current = 0
        private var cancelled: Set<Int> = []
        private var nextExchange = 0

        init(host: String, port: Int, prefix: String) {
            self.host = host
            self.port = port
            self.prefix = prefix
        }

        deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

        func exchange(
            _ method: String, _ target: String, token: String? = nil, body: [UInt8]? = nil, extraSeconds: Int = 0
        ) async throws -> [UInt8] {
            let number = lock.withLock {
                nextExchange += 1
                return nextExchange
            }
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    queue.async {
                        continuation.resume(
                            with: Result {
                                try self.run(
                                    number, self.head(method, target, token, body?.count), body ?? [], Self.timeoutSeconds + extraSeconds)
                            })
                    }
                }
            } onCancel: {
                lock.withLock {
                    cancelled.insert(number)
                    // Wakes the blocked call; only the queue closes.
                    if current == number, descriptor >= 0 { shutdown(descriptor, Int32(SHUT_RDWR)) }
                }
            }
        }

        private func head(_ method: String, _ target: String, _ token: String?, _ bodyCount: Int?) -> [UInt8] {
            let address = host.contains(":") ? "[\(host)]" : host
            var text = "\(method) \(prefix)\(target) HTTP/1.1\r\nHost: \(address):\(port)\r\nAccept: application/json\r\n"
            if let token { text += "Authorization: Bearer \(token)\r\n" }
            if let bodyCount { text += "Content-Type: application/json\r\nContent-Length: \(bodyCount)\r\n" }
            return Array((text + "\r\n").utf8)
        }

        // MARK: On the queue

        private func run(_ number: Int, _ head: [UInt8], _ body: [UInt8], _ seconds: Int) throws -> [UInt8] {
            defer {
                lock.withLock {
                    current = 0
                    cancelled.remove(number)
                }
            }
            while true {
                let isReused = descriptor >= 0
                do {
                    if !isReused { try connect() }
                    let isCancelled = lock.withLock {
                        current = number
                        return cancelled.contains(number)
                    }
                    if isCancelled { throw TransportFailure.cancelled }
                    setTimeout(seconds)
                    try send(head)
                    try send(body)
                    let reply = try receive()
                    if !reply.keepsConnection { close() }
                    if (200...299).contains(reply.status) { return reply.body }
                    throw TransportFailure.reply(HTTPMapping.error(reply.body, reply.status), status: reply.status)
                } catch let failure as TransportFailure {
                    if case .reply = failure { throw failure }
                    close()
                    if lock.withLock({ cancelled.contains(number) }) { throw TransportFailure.cancelled }
                    throw failure
                } catch is ClosedBeforeReply {
                    close()
                    if lock.withLock({ cancelled.contains(number) }) { throw TransportFailure.cancelled }
                    // The server closed an idle connection while the request was on its way. Every request may be repeated.
                    guard isReused else { throw TransportFailure.dropped("the server closed the connection without an answer") }
                }
            }
        }

        private struct ClosedBeforeReply: Error {}

        private func close() {
            lock.withLock {
                if descriptor >= 0 { Glibc.close(descriptor) }
                descriptor = -1
            }
        }

        private func connect() throws {
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
                Self.set(socket, SO_SNDTIMEO, seconds: Self.connectSeconds)
                if Glibc.connect(socket, address.ai_addr, address.ai_addrlen) == 0 {
                    var one: Int32 = 1
                    setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
                    lock.withLock { descriptor = socket }
                    return
                }
                reason = "Failed to connect to \(host) port \(port): \(String(cString: strerror(errno)))"
                Glibc.close(socket)
            }
            throw TransportFailure.unreachable(reason)
        }

        private static func set(_ socket: Int32, _ option: Int32, seconds: Int) {
            var time = timeval(tv_sec: seconds, tv_usec: 0)
            setsockopt(socket, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }

        private func setTimeout(_ seconds: Int) {
            Self.set(descriptor, SO_RCVTIMEO, seconds: seconds)
            Self.set(descriptor, SO_SNDTIMEO, seconds: Self.timeoutSeconds)
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

        private struct Reply {
            var status: Int
            var keepsConnection: Bool
            var body: [UInt8]
        }

        private var buffer: [UInt8] = []

        /// More bytes into the buffer; false at the end of the stream.
        private func fill() throws -> Bool {
            var chunk = [UInt8](repeating: 0, count: 256 << 10)
            while true {
                let count = chunk.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
                if count < 0, errno == EINTR { continue }
                if count < 0, errno == EAGAIN { throw TransportFailure.timeout }
                guard count > 0 else { return false }
                buffer.append(contentsOf: chunk[..<count])
                guard buffer.count <= Self.replyBytesMax else { throw TransportFailure.malformed("the answer is too large") }
                return true
            }
        }

        private func receive() throws -> Reply {
            buffer.removeAll(keepingCapacity: true)
            var head = try receiveHead()
            while head.status == 100 { head = try receiveHead() }
            var reply = Reply(status: head.status, keepsConnection: head.fields["connection"]?.lowercased() != "close", body: [])
            if head.status == 204 || head.status == 304 { return reply }
            if head.fields["transfer-encoding"]?.lowercased() == "chunked" {
                reply.body = try receiveChunks()
            } else if let length = head.fields["content-length"].flatMap(Int.init) {
                guard (0...Self.replyBytesMax).contains(length) else {
                    throw TransportFailure.malformed("the answer has no sensible length")
                }
                reply.body = try take(length)
            } else {
                reply.keepsConnection = false
                while try fill() {}
                reply.body = buffer
            }
            return reply
        }

        private func receiveHead() throws -> (status: Int, fields: [String: String]) {
            var searched = 0
            while true {
                if let end = Self.endOfHead(buffer, from: max(0, searched - 3)) {
                    let text = String(decoding: buffer[..<end], as: UTF8.self)
                    buffer.removeFirst(end)
                    return try Self.parse(text)
                }
                searched = buffer.count
                guard searched < 64 << 10 else { throw TransportFailure.malformed("the answer's head is too large") }
                guard try fill() else {
                    if buffer.isEmpty { throw ClosedBeforeReply() }
                    throw TransportFailure.dropped("the answer ended in its head")
                }
            }
        }

        private static func endOfHead(_ bytes: [UInt8], from start: Int) -> Int? {
            var index = start
            while index + 3 < bytes.count {
                if bytes[index] == 13, bytes[index + 1] == 10, bytes[index + 2] == 13, bytes[index + 3] == 10 { return index + 4 }
                index += 1
            }
            return nil
        }

        private static func parse(_ text: String) throws -> (status: Int, fields: [String: String]) {
            let lines = text.components(separatedBy: "\r\n")
            let first = lines[0].split(separator: " ")
            guard first.count >= 2, first[0].hasPrefix("HTTP/1."), let status = Int(first[1]), (100...599).contains(status) else {
                throw TransportFailure.malformed("this is not an HTTP server")
            }
            var fields: [String: String] = [:]
            for line in lines.dropFirst() {
                guard let colon = line.firstIndex(of: ":") else { continue }
                fields[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            }
            return (status, fields)
        }

        /// The next bytes of the stream, exactly so many.
        private func take(_ count: Int) throws -> [UInt8] {
            while buffer.count < count {
                guard try fill() else { throw TransportFailure.dropped("the answer ended after \(buffer.count) of \(count) bytes") }
            }
            let taken = Array(buffer[..<count])
            buffer.removeFirst(count)
            return taken
        }

        private func takeLine() throws -> String {
            while true {
                if let end = buffer.firstIndex(of: 10) {
                    let line = String(decoding: buffer[..<end], as: UTF8.self)
                    buffer.removeFirst(end + 1)
                    return line.trimmingCharacters(in: .whitespaces)
                }
                guard buffer.count < 16 << 10, try fill() else { throw TransportFailure.dropped("the answer ended between two chunks") }
            }
        }

        private func receiveChunks() throws -> [UInt8] {
            var body: [UInt8] = []
            while true {
                let line = try takeLine()
                guard let size = Int(line.prefix { $0 != ";" }.trimmingCharacters(in: .whitespaces), radix: 16), size >= 0,
                    body.count + size <= Self.replyBytesMax
                else { throw TransportFailure.malformed("a chunk has no sensible size") }
                if size == 0 {
                    while try !takeLine().trimmingCharacters(in: .newlines).isEmpty {}
                    return body
                }
                body += try take(size)
                _ = try take(2)
            }
        }
    }
#endif
