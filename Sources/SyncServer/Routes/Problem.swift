// Errors as answers: one JSON shape, the media type of RFC 9457, the headers that go with a status.

import SyncProtocol

enum Problem {
    /// Seconds a client should wait when the server cannot do the work now.
    private static let retryAfterSeconds: Int64 = 1

    static func response(_ error: ErrorReply, requestID: String) -> HTTPResponse {
        var error = error
        error.requestID = requestID
        var headers = HTTPHeaders([("Content-Type", "application/problem+json")])
        let status = error.knownCode?.status ?? 500
        switch status {
        case 401: headers.append("WWW-Authenticate", "Bearer")
        case 405: if let allow = error.details["allow"]?.stringValue { headers.append("Allow", allow) }
        case 429, 503: headers.append("Retry-After", String(error.details["retry_after"]?.integerValue ?? retryAfterSeconds))
        default: break
        }
        return HTTPResponse(status: status, headers: headers, body: error.json.canonicalBytes())
    }
}
