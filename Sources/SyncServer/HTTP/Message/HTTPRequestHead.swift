// Message layer: the request line and header fields as they arrive, line by line, and what they say about the body.

/// The head of one request under construction. Each line is checked when it is complete, so that a refusal does not
/// depend on how the bytes were cut into packets.
struct HTTPRequestHead {
    enum Framing: Equatable {
        case none
        /// Content-Length, in bytes, more than zero.
        case fixed(Int)
        case chunked
    }

    private(set) var method = ""
    private(set) var target: HTTPRequestTarget?
    private(set) var minorVersion = 1
    private(set) var headers = HTTPHeaders()
    private(set) var headerBytes = 0
    private(set) var requestID = ""
    private(set) var keepsConnection = true
    /// The client waits for a 100 before it sends the body.
    private(set) var expectsContinue = false

    private var host: [UInt8]?
    private var contentLength: [UInt8]?
    private var transferEncoding: [UInt8]?
    private var hasUnknownExpectation = false
    private var requestIDs = 0

    /// `method SP target SP HTTP/1.x`, exactly (RFC 9112 §3).
    mutating func takeRequestLine(_ line: Slice<UnsafeBufferPointer<UInt8>>) throws(HTTPRefusal) {
        let parts = line.split(separator: HTTPSyntax.space, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, parts[0].allSatisfy(HTTPSyntax.isToken) else {
            throw HTTPRefusal(400, "bad_request_line", "The request line is not a method, a target and a version.")
        }
        method = String(decoding: parts[0], as: UTF8.self)
        try takeVersion(parts[2])
        guard method != "CONNECT" else {
            throw HTTPRefusal(501, "unsupported_method", "This server is not a proxy.")
        }
        let target = try HTTPRequestTarget(parts[1], method: method)
        self.target = target
    }

    private mutating func takeVersion(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) throws(HTTPRefusal) {
        let start = bytes.startIndex
        guard bytes.count == 8, bytes.starts(with: "HTTP/".utf8), HTTPSyntax.isDigit(bytes[start + 5]),
            bytes[start + 6] == UInt8(ascii: "."), HTTPSyntax.isDigit(bytes[start + 7])
        else { throw HTTPRefusal(400, "bad_request_line", "The request line does not end with an HTTP version.") }
        switch (bytes[start + 5], bytes[start + 7]) {
        case (UInt8(ascii: "1"), UInt8(ascii: "1")): (minorVersion, keepsConnection) = (1, true)
        case (UInt8(ascii: "1"), UInt8(ascii: "0")): (minorVersion, keepsConnection) = (0, false)
        default: throw HTTPRefusal(505, "unsupported_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        }
    }

    mutating func takeHeaderLine(
        _ line: Slice<UnsafeBufferPointer<UInt8>>, limits: HTTPMessageLimits
    ) throws(HTTPRefusal) {
        headerBytes += line.count + 2
        let (name, value) = try HTTPLine.field(line)
        guard headers.count < limits.headerCount else {
            throw HTTPRefusal(431, "too_many_headers", "The request has more than \(limits.headerCount) headers.")
        }
        guard let valueText = String(validating: value, as: UTF8.self) else {
            throw HTTPRefusal(400, "bad_header", "A header value is not UTF-8.")
        }
        let nameText = String(unsafeUninitializedCapacity: name.count) { buffer in
            for (offset, byte) in name.enumerated() { buffer[offset] = HTTPSyntax.lowercased(byte) }
            return name.count
        }
        headers.append(nameText, valueText)
        try noteMeaning(of: nameText, value, valueText)
    }

    private mutating func noteMeaning(
        of name: String, _ value: Slice<UnsafeBufferPointer<UInt8>>, _ text: String
    ) throws(HTTPRefusal) {
        switch name {
        case "host":
            guard host == nil else { throw HTTPRefusal(400, "bad_host", "The request has more than one Host.") }
            guard HTTPRequestTarget.isHost(value) else {
                throw HTTPRefusal(400, "bad_host", "The Host is not a valid one.")
            }
            host = Array(value)
        case "content-length":
            // RFC 9112 §6.3 lets equal repetitions pass; two parsers that differ on that are how requests are smuggled.
            guard contentLength == nil else {
                throw HTTPRefusal(400, "bad_content_length", "The request has more than one Content-Length.")
            }
            guard !value.isEmpty, value.allSatisfy(HTTPSyntax.isDigit) else {
                throw HTTPRefusal(400, "bad_content_length", "The Content-Length is not a number in digits.")
            }
            contentLength = Array(value.drop { $0 == UInt8(ascii: "0") })
        case "transfer-encoding":
            guard transferEncoding == nil else {
                throw HTTPRefusal(400, "bad_transfer_encoding", "The request has more than one Transfer-Encoding.")
            }
            transferEncoding = Array(value)
        case "connection":
            for option in HTTPSyntax.listMembers(value) {
                if HTTPSyntax.equalIgnoringCase(option, "close") { connectionOptions.close = true }
                if HTTPSyntax.equalIgnoringCase(option, "keep-alive") { connectionOptions.keepAlive = true }
            }
        case "expect":
            if HTTPSyntax.equalIgnoringCase(value, "100-continue") {
                expectsContinue = true
            } else {
                hasUnknownExpectation = true
            }
        case "x-request-id":
            requestIDs += 1
            requestID = requestIDs == 1 && HTTPRequestID.isWellFormed(value) ? text : ""
        default: break
        }
    }

    private var connectionOptions = (close: false, keepAlive: false)

    /// The empty line has come: what follows it.
    mutating func finish(limits: HTTPMessageLimits) throws(HTTPRefusal) -> Framing {
        if connectionOptions.close {
            keepsConnection = false
        } else if minorVersion == 0, connectionOptions.keepAlive {
            keepsConnection = true
        }
        if host == nil, minorVersion == 1 { throw HTTPRefusal(400, "bad_host", "The request has no Host.") }
        if let host, let target, !target.agrees(withHost: host) {
            throw HTTPRefusal(400, "bad_host", "The Host is not the one of the request target.")
        }
        let framing = try bodyFraming(limits: limits)
        if hasUnknownExpectation {
            throw HTTPRefusal(417, "expectation_failed", "Only \"Expect: 100-continue\" can be met.")
        }
        // RFC 9110 §10.1.1: from HTTP/1.0 the expectation is ignored; without a body there is nothing to continue.
        expectsContinue = expectsContinue && minorVersion == 1 && framing != .none
        return framing
    }

    /// RFC 9112 §6.3, with every case it leaves to the recipient's judgement refused.
    private func bodyFraming(limits: HTTPMessageLimits) throws(HTTPRefusal) -> Framing {
        if let transferEncoding {
            guard contentLength == nil else {
                throw HTTPRefusal(400, "ambiguous_length", "Content-Length and Transfer-Encoding exclude each other.")
            }
            guard minorVersion == 1 else {
                throw HTTPRefusal(400, "bad_transfer_encoding", "HTTP/1.0 has no Transfer-Encoding.")
            }
            if HTTPSyntax.equalIgnoringCase(transferEncoding, "chunked") { return .chunked }
            // Per coding whether it is the chunked one; nil for an empty one, which some recipients skip and others do not.
            let codings: [Bool?] = transferEncoding.withUnsafeBufferPointer { bytes in
                bytes[...].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map { coding in
                    let coding = HTTPSyntax.trimmed(coding)
                    return coding.isEmpty ? nil : HTTPSyntax.equalIgnoringCase(coding, "chunked")
                }
            }
            guard !codings.contains(nil), !codings.dropLast().contains(true) else {
                throw HTTPRefusal(400, "bad_transfer_encoding", "\"chunked\" is not the one, last transfer coding.")
            }
            throw HTTPRefusal(
                501, "unsupported_transfer_encoding", "Only the \"chunked\" transfer coding is known.")
        }
        guard let digits = contentLength, !digits.isEmpty else { return .none }
        // 18 digits always fit an Int; anything longer is over any limit.
        let length = digits.count > 18 ? Int.max : digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
        guard length <= limits.bodyBytes else { throw HTTPRequestHead.bodyTooLarge(limits) }
        return .fixed(length)
    }

    static func bodyTooLarge(_ limits: HTTPMessageLimits) -> HTTPRefusal {
        HTTPRefusal(413, "body_too_large", "The request body is larger than \(limits.bodyBytes) bytes.")
    }

    static func headersTooLarge(_ limits: HTTPMessageLimits) -> HTTPRefusal {
        HTTPRefusal(431, "headers_too_large", "The headers are larger than \(limits.headerBytes) bytes.")
    }
}

/// Request ids: what a client may choose, so that logs of several systems can be joined on it.
enum HTTPRequestID {
    static func isWellFormed(_ bytes: some Collection<UInt8>) -> Bool {
        (1...128).contains(bytes.count)
            && bytes.allSatisfy {
                HTTPSyntax.isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                    || $0 == UInt8(ascii: ".")
            }
    }
}
