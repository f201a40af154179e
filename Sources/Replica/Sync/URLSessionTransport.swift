// The transport over HTTP. The only file that needs Foundation's networking, which not every platform has.

#if canImport(FoundationNetworking) || canImport(Darwin)
    import Dispatch
    import Foundation
    import SyncProtocol

    #if canImport(FoundationNetworking)
        import FoundationNetworking
    #endif

    public struct URLSessionTransport: SyncTransport {
        /// A push or a page that takes longer counts as unanswered. A waiting pull gets its waiting time on top.
        public static let timeoutSeconds: Double = 60

        private let server: URL
        private let line: SessionLine
        #if canImport(FoundationNetworking)
            private let connection = ConnectionAge()
        #endif

        /// - Parameter server: scheme, host and port; a path is kept as a prefix.
        public init(server: URL) { self.init(server: server, bodyBytesMax: HTTPMapping.bodyBytesMax) }

        init(server: URL, bodyBytesMax: Int) {
            self.server = server
            line = SessionLine(bodyBytesMax: bodyBytesMax)
        }

        public func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply {
            let bytes = try await send("POST", "/v1/enroll", body: request.json.canonicalBytes())
            do { return try EnrollmentReply(json: try JSONValue(parsing: bytes)) } catch {
                throw TransportFailure.malformed(String(describing: error))
            }
        }

        public func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] {
            try await send("POST", "/v1/sync/push", token: token, body: bytes)
        }

        public func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
            let wait = Double(request.waitMilliseconds ?? 0) / 1000
            #if canImport(FoundationNetworking)
                // A request that opens its connection keeps this Foundation's event loop spinning until the answer comes: a
                // processor core for as long as the poll waits. One that finds a connection open does not.
                if wait > 0, !connection.isFresh { _ = try await send("GET", "/healthz") }
            #endif
            return try await send("GET", "/v1/sync/pull", query: request.query, token: token, timeoutSeconds: Self.timeoutSeconds + wait)
        }

        public func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply {
            let bytes = try await send("POST", "/v1/sync/fork", token: token, body: request.json.canonicalBytes())
            do { return try EnrollmentReply(json: try JSONValue(parsing: bytes)) } catch {
                throw TransportFailure.malformed(String(describing: error))
            }
        }

        public func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
            try await send("GET", "/v1/sync/" + path, query: query, token: token)
        }

        private func send(
            _ method: String, _ path: String, query: [(name: String, value: String)] = [], token: String? = nil, body: [UInt8]? = nil,
            timeoutSeconds: Double = URLSessionTransport.timeoutSeconds
        ) async throws -> [UInt8] {
            guard var components = URLComponents(url: server, resolvingAgainstBaseURL: false) else {
                throw TransportFailure.unreachable("\(server) is not an address")
            }
            components.path = (components.path.hasSuffix("/") ? String(components.path.dropLast()) : components.path) + path
            if !query.isEmpty {
                components.percentEncodedQuery = HTTPMapping.query(query)
            }
            guard let url = components.url else { throw TransportFailure.unreachable("\(server) is not an address") }
            var request = URLRequest(url: url, timeoutInterval: timeoutSeconds)
            request.httpMethod = method
            let correlation = HTTPMapping.newCorrelation()
            request.setValue(correlation, forHTTPHeaderField: Correlation.header)
            request.setValue("application/json", forHTTPHeaderField: "Accept")
            if let token { request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization") }
            if let body {
                request.setValue("application/json", forHTTPHeaderField: "Content-Type")
                request.httpBody = Data(body)
            }
            let (data, response) = try await data(for: request)
            let bytes = [UInt8](data)
            do { try HTTPMapping.check(response.value(forHTTPHeaderField: Correlation.header), answers: correlation) } catch {
                // Whose answer comes next on that connection nobody knows.
                line.renew()
                throw error
            }
            #if canImport(FoundationNetworking)
                connection.used()
            #endif
            if (200...299).contains(response.statusCode) { return bytes }
            throw TransportFailure.reply(HTTPMapping.error(bytes, response.statusCode), status: response.statusCode)
        }

        private func data(for request: URLRequest) async throws -> (Data, HTTPURLResponse) {
            let running = RunningTask()
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    let task = line.task(request) { result in
                        switch result {
                        case .success(let (data, response)): continuation.resume(returning: (data, response))
                        case .failure(let error as TransportFailure): continuation.resume(throwing: error)
                        case .failure(let error): continuation.resume(throwing: Self.failure(error))
                        }
                    }
                    running.start(task)
                }
            } onCancel: {
                running.cancel()
            }
        }

        private static let handshakeFailures = ["SSL certificate problem", "SSL: ", "OpenSSL/"]

        private static func failure(_ error: any Error) -> TransportFailure {
            guard let error = error as? URLError else { return .dropped(String(describing: error)) }
            switch error.code {
            case .cancelled: return .cancelled
            case .timedOut: return .timeout
            case .cannotConnectToHost, .cannotFindHost, .dnsLookupFailed, .notConnectedToInternet, .badURL, .unsupportedURL,
                .secureConnectionFailed, .serverCertificateUntrusted, .serverCertificateHasBadDate, .serverCertificateNotYetValid,
                .serverCertificateHasUnknownRoot:
                return .unreachable(error.localizedDescription)
            // Foundation on Linux has no codes for a handshake that failed, only libcurl's words.
            case .unknown where handshakeFailures.contains(where: error.localizedDescription.hasPrefix):
                return .unreachable(error.localizedDescription)
            default: return .dropped(error.localizedDescription)
            }
        }
    }

    /// The session and who collects its answers. Nothing but a new session closes connections for good.
    // @unchecked Sendable: both are only touched under the lock.
    private final class SessionLine: @unchecked Sendable {
        private let bodyBytesMax: Int
        private let lock = NSLock()
        private var session: URLSession
        private var replies: BoundedReplies

        init(bodyBytesMax: Int) {
            self.bodyBytesMax = bodyBytesMax
            (session, replies) = Self.made(bodyBytesMax)
        }

        private static func made(_ bodyBytesMax: Int) -> (URLSession, BoundedReplies) {
            let replies = BoundedReplies(bytesMax: bodyBytesMax)
            let configuration = URLSessionConfiguration.ephemeral
            configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
            configuration.httpShouldSetCookies = false
            return (URLSession(configuration: configuration, delegate: replies, delegateQueue: nil), replies)
        }

        /// Not started yet.
        func task(_ request: URLRequest, _ completion: @escaping BoundedReplies.Completion) -> URLSessionDataTask {
            lock.withLock {
                let task = session.dataTask(with: request)
                replies.expect(task, completion)
                return task
            }
        }

        /// Requests under way go on where they are.
        func renew() {
            let old = lock.withLock {
                defer { (session, replies) = Self.made(bodyBytesMax) }
                return session
            }
            old.finishTasksAndInvalidate()
        }
    }

    /// Keeps the transport to a server between syncs.
    // @unchecked Sendable: the transport is only touched under the lock.
    final class ConnectionPool: @unchecked Sendable {
        private let lock = NSLock()
        private var known: (server: URL, transport: any SyncTransport)?

        func transport(to server: URL) -> any SyncTransport {
            lock.withLock {
                if let known, known.server == server { return known.transport }
                #if canImport(Glibc)
                    let transport: any SyncTransport = SocketTransport(server: server) ?? URLSessionTransport(server: server)
                #else
                    let transport = URLSessionTransport(server: server)
                #endif
                known = (server, transport)
                return transport
            }
        }
    }

    #if canImport(FoundationNetworking)
        /// Whether a connection is likely to be open still: servers and proxies keep idle ones for about a minute.
        // @unchecked Sendable: the instant is only touched under the lock.
        private final class ConnectionAge: @unchecked Sendable {
            private let lock = NSLock()
            private var lastUse: DispatchTime?

            var isFresh: Bool {
                lock.withLock { lastUse.map { DispatchTime.now().uptimeNanoseconds - $0.uptimeNanoseconds < 30_000_000_000 } ?? false }
            }
            func used() { lock.withLock { lastUse = .now() } }
        }
    #endif

    // @unchecked Sendable: the task and the flag are only touched under the lock.
    private final class RunningTask: @unchecked Sendable {
        private let lock = NSLock()
        private var task: URLSessionDataTask?
        private var isCancelled = false

        func start(_ task: URLSessionDataTask) {
            let isCancelled = lock.withLock {
                self.task = task
                return self.isCancelled
            }
            task.resume()
            if isCancelled { task.cancel() }
        }

        func cancel() {
            let task = lock.withLock {
                isCancelled = true
                return self.task
            }
            task?.cancel()
        }
    }
#endif
