// Message layer: a response as workers make it. Framing (Content-Length, Connection, Date) is added when it is written.

struct HTTPResponse: Sendable {
    /// 200–599.
    var status: Int
    /// `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` are the server's and ignored here, except that
    /// `Connection: close` closes the connection after this response.
    var headers: HTTPHeaders
    /// Sent as it is. To HEAD only its length is sent; with 204 and 304 nothing is.
    var body: [UInt8]

    init(status: Int, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    static func json(_ status: Int, _ bytes: [UInt8], headers: HTTPHeaders = HTTPHeaders()) -> HTTPResponse {
        bytes.isEmpty && headers.isEmpty
            ? HTTPResponse(status: status) : typed(status, "application/json", bytes, headers: headers)
    }

    static func text(_ status: Int, _ text: String, headers: HTTPHeaders = HTTPHeaders()) -> HTTPResponse {
        typed(status, "text/plain; charset=utf-8", Array(text.utf8), headers: headers)
    }

    static func empty(_ status: Int, headers: HTTPHeaders = HTTPHeaders()) -> HTTPResponse {
        HTTPResponse(status: status, headers: headers)
    }

    static func typed(
        _ status: Int, _ mediaType: String, _ bytes: [UInt8], headers: HTTPHeaders = HTTPHeaders()
    ) -> HTTPResponse {
        var headers = headers
        if !headers.contains("Content-Type") { headers.append("Content-Type", mediaType) }
        return HTTPResponse(status: status, headers: headers, body: bytes)
    }

    /// True when the status and every header may be written on the wire.
    var isWellFormed: Bool { (200...599).contains(status) && headers.isWellFormed }
}
