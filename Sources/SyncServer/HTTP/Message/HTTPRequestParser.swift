// Message layer: bytes in, requests out. Pure: no descriptors, no clock, no threads.

/// An incremental parser of one connection's requests, strict per RFC 9112. Append what was received, then call `next`
/// until it needs more. Bytes after a complete request stay for the next one (pipelining). After a refusal nothing more
/// is parsed: where the next request would begin is unknown.
struct HTTPRequestParser {
    enum Step {
        case needMore
        case request(HTTPRequest)
        case refusal(HTTPRefusal)
    }

    /// What the parser is in the middle of; decides which time-out applies.
    enum Progress: Equatable {
        /// Between requests: nothing of the next one has come.
        case idle
        case head
        case body
    }

    private enum Stage {
        case requestLine
        case headerLines
        case fixedBody(length: Int)
        case chunkedBody(HTTPChunkedDecoder)
        case refused(HTTPRefusal)
    }

    private let limits: HTTPMessageLimits
    private var stage = Stage.requestLine
    private var head = HTTPRequestHead()
    private var body: [UInt8] = []
    private var buffer: [UInt8] = []
    /// How much of `buffer` has been parsed.
    private var cursor = 0
    /// Bytes of the current request that were parsed.
    private(set) var byteCount = 0
    private var skippedEmptyLine = false
    private var continueIsDue = false

    init(limits: HTTPMessageLimits) { self.limits = limits }

    var progress: Progress {
        switch stage {
        case .requestLine: cursor == buffer.count && !skippedEmptyLine ? .idle : .head
        case .headerLines, .refused: .head
        case .fixedBody, .chunkedBody: .body
        }
    }

    /// Method, path and request id of the request being parsed, as far as they are known; for logs.
    var current: (method: String, path: String, requestID: String) {
        (head.method, head.target?.path ?? "", head.requestID)
    }

    /// The request being parsed without its body, with the headers that have come; nil before its target is known. For answers that
    /// depend on who asks.
    var unfinished: HTTPRequest? { head.target.map { request(to: $0, body: [], byteCount: byteCount) } }

    /// Bytes kept of requests that are not complete.
    var heldBytes: Int { buffer.count + head.headerBytes + body.count }

    /// Lets go of what was received. Only for a parser that is not asked for another request.
    mutating func discardBytes() {
        (buffer, body, cursor) = ([], [], 0)
    }

    /// True while received bytes wait to be parsed.
    var hasUnparsedBytes: Bool { cursor < buffer.count }

    mutating func append(_ bytes: some Collection<UInt8>) {
        if cursor > 0 {
            buffer.removeFirst(cursor)
            cursor = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// True once for a request whose sender waits for a 100 before it sends the body, when the body will be read.
    mutating func takeContinue() -> Bool {
        defer { continueIsDue = false }
        // RFC 9110 §10.1.1: needless once some of the body has come.
        return continueIsDue && !hasUnparsedBytes
    }

    mutating func next() -> Step {
        let step: Step
        do throws(HTTPRefusal) {
            step = try advance().map(Step.request) ?? .needMore
        } catch {
            stage = .refused(error)
            step = .refusal(error)
        }
        if cursor == buffer.count {
            // An idle connection keeps next to nothing; a busy one keeps a small buffer.
            buffer.removeAll(keepingCapacity: buffer.capacity <= 1024)
            cursor = 0
        }
        return step
    }

    /// Parses as far as the buffer goes. Nil: more bytes are needed.
    private mutating func advance() throws(HTTPRefusal) -> HTTPRequest? {
        // A second reference, so that the parts of `self` can change while the bytes are looked at.
        let bytes = buffer
        return try bytes.withUnsafeBufferPointer { (pointer) throws(HTTPRefusal) -> HTTPRequest? in
            let start = cursor
            defer { byteCount += cursor - start }
            while true {
                switch stage {
                case .refused(let refusal): throw refusal
                case .requestLine:
                    guard try readRequestLine(pointer) else { return nil }
                case .headerLines:
                    guard try readHeaderLines(pointer) else { return nil }
                    if case .requestLine = stage { return finishRequest(consumed: cursor - start) }
                case .fixedBody(let length):
                    let count = min(length - body.count, pointer.count - cursor)
                    body.append(contentsOf: pointer[cursor..<(cursor + count)])
                    cursor += count
                    guard body.count == length else { return nil }
                    return finishRequest(consumed: cursor - start)
                case .chunkedBody(var decoder):
                    let isComplete = try decoder.decode(pointer, at: &cursor, into: &body, limits: limits)
                    stage = .chunkedBody(decoder)
                    guard isComplete else { return nil }
                    return finishRequest(consumed: cursor - start)
                }
            }
        }
    }

    private mutating func readRequestLine(_ bytes: UnsafeBufferPointer<UInt8>) throws(HTTPRefusal) -> Bool {
        switch try HTTPLine.next(in: bytes, at: &cursor, limit: limits.requestLineBytes) {
        case .incomplete: return false
        case .tooLong:
            throw HTTPRefusal(
                414, "request_line_too_long", "The request line is longer than \(limits.requestLineBytes) bytes.")
        case .line(let line):
            // RFC 9112 §2.2: one empty line before a request is forgiven; old clients send it after a body.
            if line.isEmpty, !skippedEmptyLine {
                skippedEmptyLine = true
            } else {
                try head.takeRequestLine(line)
                stage = .headerLines
            }
            return true
        }
    }

    private mutating func readHeaderLines(_ bytes: UnsafeBufferPointer<UInt8>) throws(HTTPRefusal) -> Bool {
        while true {
            // The empty line that ends the head must always fit.
            let allowance = max(0, limits.headerBytes - head.headerBytes - 2)
            switch try HTTPLine.next(in: bytes, at: &cursor, limit: allowance) {
            case .incomplete: return false
            case .tooLong: throw HTTPRequestHead.headersTooLarge(limits)
            case .line(let line):
                guard line.isEmpty else {
                    try head.takeHeaderLine(line, limits: limits)
                    continue
                }
                switch try head.finish(limits: limits) {
                case .none: stage = .requestLine
                case .fixed(let length):
                    // Memory follows the bytes that really come, not the length that was promised.
                    body.reserveCapacity(min(length, 64 * 1024))
                    stage = .fixedBody(length: length)
                case .chunked: stage = .chunkedBody(HTTPChunkedDecoder())
                }
                continueIsDue = head.expectsContinue
                return true
            }
        }
    }

    private mutating func finishRequest(consumed: Int) -> HTTPRequest? {
        guard let target = head.target else { return nil }
        let request = request(to: target, body: body, byteCount: byteCount + consumed)
        stage = .requestLine
        head = HTTPRequestHead()
        body = []
        // The caller of this adds what this pass consumed.
        byteCount = -consumed
        skippedEmptyLine = false
        continueIsDue = false
        return request
    }

    private func request(to target: HTTPRequestTarget, body: [UInt8], byteCount: Int) -> HTTPRequest {
        HTTPRequest(
            method: head.method, target: target.raw, path: target.path, pathSegments: target.pathSegments,
            query: target.query, headers: head.headers, body: body, keepsConnection: head.keepsConnection,
            minorVersion: head.minorVersion, byteCount: byteCount, requestID: head.requestID, peerAddress: "")
    }
}
