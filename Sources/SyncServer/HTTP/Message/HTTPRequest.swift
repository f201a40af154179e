// Message layer: a complete request as workers see it.

/// One request, head and body, with everything decoded that can be decoded without knowing the route.
struct HTTPRequest: Sendable {
    /// Case-sensitive, as sent: `GET`, `POST`, …
    let method: String
    /// The request target as sent.
    let target: String
    /// The path, percent-decoded as a whole. A decoded `%2F` cannot be told from a separator here: route by
    /// `pathSegments`.
    let path: String
    /// The path split at `/` and then decoded: `/v1/a%2Fb` → `["v1", "a/b"]`, `/` → `[]`, `/v1/` → `["v1", ""]`.
    let pathSegments: [String]
    /// Decoded pairs in order. `+` is a space; a pair without `=` has an empty value.
    let query: [(name: String, value: String)]
    /// Names are in lower case. Trailers of a chunked body are not among them.
    let headers: HTTPHeaders
    let body: [UInt8]
    /// False for HTTP/1.0, and when the client asked for the connection to be closed.
    let keepsConnection: Bool
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    let minorVersion: Int
    /// Bytes this request took on the wire, framing included.
    let byteCount: Int
    /// The client's `X-Request-Id` when it is 1–128 letters, digits, `.`, `_` or `-`; otherwise one made by the server.
    var requestID: String
    /// Numeric address of the other end of the connection, without the port.
    var peerAddress: String

    /// The first value of that name.
    func queryValue(_ name: String) -> String? { query.first { $0.name == name }?.value }
}
