// Message layer: why the server itself answers a request, and the values a problem body is rendered from.

/// A request the server refuses without asking a worker.
struct HTTPRefusal: Error, Sendable, Equatable {
    /// A 4xx or 5xx status code.
    let status: Int
    /// Stable, machine-readable reason; also the key under which the refusal is counted.
    let code: String
    /// One sentence for a person.
    let message: String

    init(_ status: Int, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }
}

/// Everything a problem body may show.
struct HTTPProblem: Sendable, Equatable {
    let refusal: HTTPRefusal
    let requestID: String

    /// `{"error":{"code","message","request_id"}}` as application/problem+json.
    func standardResponse() -> HTTPResponse {
        var body = Array(#"{"error":{"code":"#.utf8)
        Self.append(refusal.code, to: &body)
        body += Array(#","message":"#.utf8)
        Self.append(refusal.message, to: &body)
        body += Array(#","request_id":"#.utf8)
        Self.append(requestID, to: &body)
        body += Array("}}".utf8)
        return HTTPResponse(
            status: refusal.status, headers: HTTPHeaders([("Content-Type", "application/problem+json")]), body: body)
    }

    private static func append(_ text: String, to body: inout [UInt8]) {
        body.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                body.append(UInt8(ascii: "\\"))
                body.append(byte)
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                body += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: body.append(byte)
            }
        }
        body.append(UInt8(ascii: "\""))
    }
}
