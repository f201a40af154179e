// Server layer: what the server tells its log. No header, query or body values are ever among it.

enum HTTPLogEvent: Sendable {
    case exchange(HTTPExchangeRecord)
    case fault(HTTPFault)
}

/// One request and what became of it.
struct HTTPExchangeRecord: Sendable, Equatable {
    /// The status of a request whose client went away before the response was sent. Never on the wire.
    static let clientGone = 499

    let requestID: String
    /// Empty when the request was refused before its method was known; so is `path`.
    let method: String
    /// Decoded, without the query.
    let path: String
    let status: Int
    /// From the first byte received to the last byte sent, time parked included.
    let durationMicroseconds: Int
    let bytesIn: Int
    let bytesOut: Int
    let peerAddress: String
}

/// Something an operator should know that belongs to the server or a worker, not to the client.
struct HTTPFault: Sendable, Equatable {
    /// `accept_failed`, `descriptors_exhausted`, `connection_not_registered`, `malformed_response`,
    /// `parked_after_deadline`.
    let code: String
    let message: String
    let requestID: String?
}
