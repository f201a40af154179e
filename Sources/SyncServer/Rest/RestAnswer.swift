// The answers of REST as responses: bytes, entity tag, location.

import SyncProtocol

enum RestAnswer {
    /// Depends on the token and on nothing a cache could know.
    private static let caching = ("Cache-Control", "private, no-cache")

    static func json(_ status: Int, _ body: [UInt8], etag: String?, location: String? = nil, isReplay: Bool = false) -> HTTPResponse {
        var headers = HTTPHeaders([caching, ("Vary", "Authorization")])
        if let etag { headers.append("ETag", etag) }
        if let location { headers.append("Location", location) }
        if isReplay { headers.append("Idempotency-Replayed", "true") }
        return .json(status, body, headers: headers)
    }

    static func notModified(etag: String) -> HTTPResponse {
        .empty(304, headers: HTTPHeaders([caching, ("Vary", "Authorization"), ("ETag", etag)]))
    }

    /// `{"data":{…},"outcome":{…}}`
    static func written(_ document: JSONValue, _ outcome: Outcome) -> [UInt8] {
        (["data": document, "outcome": outcome.json] as JSONValue).canonicalBytes()
    }
}
