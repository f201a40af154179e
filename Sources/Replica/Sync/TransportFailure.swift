// What can go wrong between a replica and its server, sorted by what it means for the sync.

import SyncProtocol

public enum TransportFailure: Error, Sendable, Hashable {
    /// No connection came about: nothing was sent.
    case unreachable(String)
    /// The connection broke: whether the request took effect is unknown.
    case dropped(String)
    /// No answer in time: the same.
    case timeout
    /// The server answered with an error.
    case reply(ErrorReply, status: Int)
    /// The answer cannot be understood.
    case malformed(String)
    case cancelled

    /// Whether the request may have taken effect, or may be what keeps the server from answering.
    var isUnanswered: Bool {
        switch self {
        case .dropped, .timeout, .malformed: true
        case .reply(_, let status): status >= 500 && status != 503
        case .unreachable, .cancelled: false
        }
    }

    /// The same request may succeed later.
    public var isRetryable: Bool {
        switch self {
        case .unreachable, .dropped, .timeout, .malformed, .cancelled: true
        case .reply(_, let status): status >= 500 || status == 429 || status == 408
        }
    }

    /// The error for the caller of `sync`.
    func replicaError(operation: String) -> ReplicaError {
        switch self {
        case .unreachable(let message): return ReplicaError(.unreachable, message, operation: operation, isRetryable: true)
        case .dropped(let message):
            return ReplicaError(.unreachable, "the connection broke: \(message)", operation: operation, isRetryable: true)
        case .timeout: return ReplicaError(.unreachable, "the server did not answer in time", operation: operation, isRetryable: true)
        case .malformed(let message):
            return ReplicaError(.unreachable, "the server's answer makes no sense: \(message)", operation: operation, isRetryable: true)
        case .cancelled: return ReplicaError(.cancelled, "cancelled", operation: operation, isRetryable: true)
        case .reply(let reply, let status):
            let code: ReplicaError.Code =
                switch (reply.knownCode, status) {
                case (.fork, _): .forked
                case (.schemaTooOld, _): .serverOutdated
                case (.protocolUnsupported, _): .outdated
                case (.codeInvalid, _), (.codeExpired, _), (.codeUsed, _): .notAllowed
                case (_, 401), (_, 403): .notAllowed
                case (_, 500...): .unreachable
                default: .serverRefused
                }
            let request = reply.requestID.isEmpty ? "" : " (request \(reply.requestID))"
            return ReplicaError(
                code, "\(reply.message) [\(reply.code)]\(request)", operation: operation, isRetryable: isRetryable,
                violations: reply.violations)
        }
    }
}
