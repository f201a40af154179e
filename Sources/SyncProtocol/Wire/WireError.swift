// A message that is not what the protocol says, and the errors the server answers with.

/// A message could not be understood: which member, and why.
public struct WireError: Error, Hashable, Sendable, CustomStringConvertible {
    public var field: String
    public var message: String

    public init(_ field: String, _ message: String) {
        self.field = field
        self.message = message
    }
    public var description: String { "\(field): \(message)" }
}

/// The codes of error replies (docs/protocol.md §9). A request that gets one changed nothing.
public enum ErrorCode: String, Sendable, CaseIterable {
    case badRequest = "bad_request"
    case validationFailed = "validation_failed"
    case unauthorized, forbidden
    case notFound = "not_found"
    case methodNotAllowed = "method_not_allowed"
    case conflict
    case preconditionFailed = "precondition_failed"
    case unsupportedMediaType = "unsupported_media_type"
    case idempotencyKeyReused = "idempotency_key_reused"
    case payloadTooLarge = "payload_too_large"
    case invalidCursor = "invalid_cursor"
    case codeInvalid = "code_invalid"
    case codeExpired = "code_expired"
    case codeUsed = "code_used"
    case replicaRevoked = "replica_revoked"
    case schemaTooOld = "schema_too_old"
    case protocolUnsupported = "protocol_unsupported"
    case counterGap = "counter_gap"
    case fork
    case newEpoch = "new_epoch"
    case resyncRequired = "resync_required"
    case tooManyRequests = "too_many_requests"
    /// As many of something are kept as may be; whoever asks again later may find room.
    case limitReached = "limit_reached"
    case overloaded, unavailable, `internal`

    public var status: Int {
        switch self {
        case .badRequest, .validationFailed, .invalidCursor: 400
        case .unauthorized: 401
        case .forbidden, .replicaRevoked: 403
        case .notFound, .codeInvalid: 404
        case .methodNotAllowed: 405
        case .counterGap, .fork, .newEpoch, .conflict: 409
        case .codeExpired, .codeUsed, .resyncRequired: 410
        case .preconditionFailed: 412
        case .payloadTooLarge: 413
        case .unsupportedMediaType: 415
        case .idempotencyKeyReused: 422
        case .schemaTooOld, .protocolUnsupported: 426
        case .tooManyRequests, .limitReached: 429
        case .internal: 500
        case .overloaded, .unavailable: 503
        }
    }
}

/// `{"error":{"code","message","request_id","fields"?, …}}`
public struct ErrorReply: Error, Hashable, Sendable {
    public var code: String
    public var message: String
    public var requestID: String
    /// Further members by code: `expected` of a counter gap, `counter` of a fork, `epoch` of a new epoch.
    public var details: JSONObject
    public var violations: [Violation]

    public init(
        _ code: ErrorCode, _ message: String, requestID: String = "", details: JSONObject = JSONObject(), violations: [Violation] = []
    ) {
        self.code = code.rawValue
        self.message = message
        self.requestID = requestID
        self.details = details
        self.violations = violations
    }

    public var knownCode: ErrorCode? { ErrorCode(rawValue: code) }

    public var json: JSONValue {
        var error = details
        error["code"] = .string(code)
        error["message"] = .string(message)
        error["request_id"] = .string(requestID)
        if !violations.isEmpty { error["fields"] = .array(violations.map(\.json)) }
        return ["error": .object(error)]
    }

    public init?(json: JSONValue) {
        guard var error = json["error"]?.objectValue, let code = error["code"]?.stringValue else { return nil }
        self.code = code
        message = error["message"]?.stringValue ?? code
        requestID = error["request_id"]?.stringValue ?? ""
        violations = (error["fields"]?.arrayValue ?? []).compactMap(Violation.init(json:))
        for name in ["code", "message", "request_id", "fields"] { error[name] = nil }
        details = error
    }
}

extension ErrorReply {
    /// As many are kept as may be. `message` says of what, and what makes room.
    /// - Parameters:
    ///   - limit: The cap's name in the documents.
    ///   - field: What of the request it is about.
    public static func limitReached(
        _ limit: String, max: Int, field: String, retryAfterSeconds: Int64, details: JSONObject = JSONObject(), _ message: String
    ) -> ErrorReply {
        var details = details
        details["limit"] = .string(limit)
        details["max"] = .integer(Int64(max))
        details["field"] = .string(field)
        details["retry_after"] = .integer(retryAfterSeconds)
        return ErrorReply(.limitReached, message, details: details)
    }
}

/// The version of the wire. A server refuses others with `protocol_unsupported`.
public enum ProtocolVersion { public static let current: Int64 = 1 }

extension WireError {
    /// The whole number of a query parameter: digits only, no sign.
    static func number(_ value: String, named name: String, _ range: ClosedRange<Int64>) throws(WireError) -> Int64 {
        guard !value.isEmpty, value.utf8.count <= 19, value.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let number = Int64(value), range.contains(number)
        else { throw WireError(name, "is a whole number from \(range.lowerBound) to \(range.upperBound)") }
        return number
    }
}
