// Message layer: responses to bytes. The body is never copied unless it is small enough to travel with the head.
import Foundation

/// What is still to be sent of one response.
struct HTTPOutput {
    private var head: [UInt8] = []
    private var body: [UInt8] = []
    private var sent = 0

    var isEmpty: Bool { sent == head.count + body.count }

    /// Bytes kept until the last one is sent.
    var heldBytes: Int { head.count + body.count }

    mutating func append(_ bytes: some Collection<UInt8>) { head.append(contentsOf: bytes) }

    /// Sets the large second part. Everything appended before goes first; nothing is appended after it.
    mutating func setBody(_ bytes: [UInt8]) { body = bytes }

    /// Lends the unsent bytes to `send`, which reports how many it took.
    func withUnsent<Result>(
        _ send: (_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> Result
    ) -> Result {
        head.withUnsafeBytes { head in
            body.withUnsafeBytes { body in
                let skippedHead = min(sent, head.count)
                return send(
                    UnsafeRawBufferPointer(rebasing: head[skippedHead...]),
                    UnsafeRawBufferPointer(rebasing: body[(sent - skippedHead)...]))
            }
        }
    }

    mutating func markSent(_ count: Int) {
        sent += count
        if isEmpty { self = HTTPOutput() }
    }
}

/// Writes response heads. Holds the Date header of the current second, so one belongs to one thread.
struct HTTPResponseWriter {
    struct Context {
        var isHead: Bool
        var keepsConnection: Bool
        /// HTTP/1.0 clients must be told that the connection stays open.
        var minorVersion: Int
        var requestID: String
    }

    static let continueLine = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
    /// Up to this size one send of one buffer is cheaper than gathering two.
    private static let joinedBodyBytes = 16 * 1024

    private var dateSecond = Int.min
    private var dateLine: [UInt8] = []

    /// Appends the response to `output` and returns its size on the wire.
    mutating func write(
        _ response: HTTPResponse, _ context: Context, secondsSince1970: Int, to output: inout HTTPOutput
    ) -> Int {
        // RFC 9110 §8.6: these have no body and no Content-Length.
        let hasLength = response.status != 204 && response.status != 304
        let sendsBody = hasLength && !context.isHead
        let joins = sendsBody && response.body.count <= Self.joinedBodyBytes

        var bytes: [UInt8] = []
        bytes.reserveCapacity(320 + (joins ? response.body.count : 0))
        bytes += "HTTP/1.1 ".utf8
        bytes += String(response.status).utf8
        bytes.append(HTTPSyntax.space)
        bytes += HTTPStatus.reason(response.status).utf8
        bytes += "\r\n".utf8
        if secondsSince1970 != dateSecond {
            dateSecond = secondsSince1970
            dateLine = Array("Date: \(HTTPDate.text(secondsSince1970: secondsSince1970))\r\n".utf8)
        }
        bytes += dateLine
        if hasLength {
            bytes += "Content-Length: ".utf8
            bytes += String(response.body.count).utf8
            bytes += "\r\n".utf8
        }
        if !context.keepsConnection {
            bytes += "Connection: close\r\n".utf8
        } else if context.minorVersion == 0 {
            bytes += "Connection: keep-alive\r\n".utf8
        }
        var namesRequest = false
        for field in response.headers.fields {
            if Self.isFraming(field.name) { continue }
            if HTTPHeaders.same(field.name, "X-Request-Id") { namesRequest = true }
            bytes += field.name.utf8
            bytes += ": ".utf8
            bytes += field.value.utf8
            bytes += "\r\n".utf8
        }
        if !namesRequest, !context.requestID.isEmpty {
            bytes += "X-Request-Id: ".utf8
            bytes += context.requestID.utf8
            bytes += "\r\n".utf8
        }
        bytes += "\r\n".utf8
        let headCount = bytes.count
        if joins { bytes += response.body }
        output.append(bytes)
        if sendsBody, !joins { output.setBody(response.body) }
        return headCount + (sendsBody ? response.body.count : 0)
    }

    private static func isFraming(_ name: String) -> Bool {
        switch name.utf8.count {
        case 4: HTTPHeaders.same(name, "Date")
        case 10: HTTPHeaders.same(name, "Connection")
        case 14: HTTPHeaders.same(name, "Content-Length")
        case 17: HTTPHeaders.same(name, "Transfer-Encoding")
        default: false
        }
    }
}

/// Reason phrases, RFC 9110 §15. No client reads them; people with a packet trace do.
enum HTTPStatus {
    static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 411: "Length Required"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 416: "Range Not Satisfiable"
        case 417: "Expectation Failed"
        case 422: "Unprocessable Content"
        case 428: "Precondition Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case 507: "Insufficient Storage"
        default: "Status"
        }
    }
}
