// Server layer: what a connection does next. Events in, instructions out; no descriptor, no clock, no thread.
//
//   receiving ── request ──► handling ── response ──► sending ──► receiving …
//       └────── refusal ───────────────────────────────► sending ──► lingering ──► closed
//
// While a request is handled nothing is read: bytes of the next one wait in the kernel, and its window slows the peer.

struct HTTPConnectionState {
    enum Phase: Equatable {
        case receiving
        case handling
        case sending
        case lingering
    }

    /// What the connection waits for, and so which time-out it has.
    enum Timer: Equatable {
        case idle
        case head
        case body
        case write
        case linger
    }

    enum Instruction {
        /// Wait for bytes. `restarts`: the time-out begins anew although the timer is the same.
        case receive(Timer, restarts: Bool)
        case dispatch(HTTPRequest)
        /// Answer with a problem and end the connection.
        case refuse(HTTPRefusal)
        /// Send `output`.
        case send
        /// Stop sending, then read and drop until the peer closes: closing with unread input would reset the
        /// connection, and a reset can overtake the response (RFC 9112 §9.6).
        case linger
        case close
    }

    private(set) var phase = Phase.receiving
    /// Bytes to be sent. A 100 may be here while receiving.
    var output = HTTPOutput()
    private(set) var requestsReceived = 0

    private var parser: HTTPRequestParser
    private let bodyProgressBytes: Int
    private let requestsMax: Int
    private var bodyBytesInWindow = 0
    private var context = HTTPResponseWriter.Context(
        isHead: false, keepsConnection: false, minorVersion: 1, requestID: "")

    init(configuration: HTTPServerConfiguration) {
        parser = HTTPRequestParser(limits: configuration.message)
        bodyProgressBytes = configuration.bodyProgressBytes
        requestsMax = configuration.requestsPerConnection
    }

    /// True between requests: closing now takes nothing from the peer.
    var isIdle: Bool { phase == .receiving && parser.progress == .idle }

    /// Bytes of a next request were received together with the current one.
    var hasUnparsedBytes: Bool { parser.hasUnparsedBytes }

    /// Bytes kept: of a request that is being received, and of a response that is being sent.
    var heldBytes: Int { parser.heldBytes + output.heldBytes }

    /// The request that is being received, as far as it is known; for logs.
    var partial: (method: String, path: String, requestID: String, byteCount: Int) {
        (parser.current.method, parser.current.path, parser.current.requestID, parser.byteCount)
    }

    /// The same as a request, with the headers that have come; nil before its target is known.
    var unfinished: HTTPRequest? { parser.unfinished }

    mutating func received(_ bytes: UnsafeRawBufferPointer) -> Instruction {
        precondition(phase == .receiving, "nothing is read while a request is handled")
        if parser.progress == .body { bodyBytesInWindow += bytes.count }
        parser.append(bytes)
        return parse()
    }

    /// The response to the request being handled, or to the one that was just refused.
    mutating func respond(
        _ response: HTTPResponse, requestID: String, mayKeepConnection: Bool, secondsSince1970: Int,
        writer: inout HTTPResponseWriter
    ) -> Instruction {
        precondition(phase == .receiving || phase == .handling, "one response to a request")
        if phase == .receiving {
            // Refused while it was received: only its beginning is known.
            context.isHead = parser.current.method == "HEAD"
            context.keepsConnection = false
            parser.discardBytes()
        }
        let asksToClose = response.headers["Connection"].map { HTTPHeaders.same($0, "close") } ?? false
        context.keepsConnection = context.keepsConnection && mayKeepConnection && !asksToClose
        context.requestID = requestID
        _ = writer.write(response, context, secondsSince1970: secondsSince1970, to: &output)
        phase = .sending
        return .send
    }

    mutating func finishedSending() -> Instruction {
        precondition(phase == .sending && output.isEmpty, "there is more to send")
        guard context.keepsConnection else {
            phase = .lingering
            return .linger
        }
        phase = .receiving
        if parser.hasUnparsedBytes { return parse() }
        return .receive(.idle, restarts: true)
    }

    mutating func timedOut() -> Instruction {
        switch phase {
        case .receiving where parser.progress == .idle: .close
        case .receiving where parser.progress == .head:
            .refuse(HTTPRefusal(408, "request_timeout", "The request's headers did not arrive in time."))
        case .receiving: .refuse(HTTPRefusal(408, "request_timeout", "The request's body did not arrive in time."))
        case .handling, .sending, .lingering: .close
        }
    }

    private mutating func parse() -> Instruction {
        let before = parser.progress
        switch parser.next() {
        case .request(let request):
            requestsReceived += 1
            context = HTTPResponseWriter.Context(
                isHead: request.method == "HEAD",
                keepsConnection: request.keepsConnection && requestsReceived < requestsMax,
                minorVersion: request.minorVersion, requestID: "")
            phase = .handling
            return .dispatch(request)
        case .refusal(let refusal): return .refuse(refusal)
        case .needMore:
            if parser.takeContinue() { output.append(HTTPResponseWriter.continueLine) }
            switch parser.progress {
            case .idle: return .receive(.idle, restarts: false)
            case .head: return .receive(.head, restarts: false)
            case .body:
                let isProgress = before != .body || bodyBytesInWindow >= bodyProgressBytes
                if isProgress { bodyBytesInWindow = 0 }
                return .receive(.body, restarts: isProgress)
            }
        }
    }
}
