// Refusals as values: what is wrong, where, in words a person can act on.

/// The stable codes of refusals (docs/protocol.md §9). Names never change once published.
public enum ViolationCode: String, Sendable, CaseIterable {
    case required
    case tooLong = "too_long"
    case tooShort = "too_short"
    case tooFew = "too_few"
    case tooMany = "too_many"
    case outOfRange = "out_of_range"
    case invalidFormat = "invalid_format"
    case invalidChoice = "invalid_choice"
    case unknownEntity = "unknown_entity"
    case unknownField = "unknown_field"
    case immutable
    case readOnly = "read_only"
    case notFound = "not_found"
    case referenceMissing = "reference_missing"
    case referenceDeleted = "reference_deleted"
    case referenced
    case duplicate, forbidden, conflict
    case deleteConflict = "delete_conflict"
    case recordDeleted = "record_deleted"
    case staleTransition = "stale_transition"
    case unknownTransition = "unknown_transition"
    case locked
    case dependsOnRejected = "depends_on_rejected"
    case schemaTooOld = "schema_too_old"
    case replicaRevoked = "replica_revoked"
    case payloadTooLarge = "payload_too_large"
    case invalidSyntax = "invalid_syntax"
    case `internal`
    case onlineOnly = "online_only"
    case hierarchyCycle = "hierarchy_cycle"
    case guardFailed = "guard_failed"
    case openChildren = "open_children"
    case unknownCustomField = "unknown_custom_field"
    case lastOwner = "last_owner"
    case factBundled = "fact_bundled"
    case withdrawn
    case clockSkew = "clock_skew"
}

/// One thing wrong with a change set. Wire form: `{entity, id, field, code, message, params}`.
public struct Violation: Hashable, Sendable, Error {
    public var entity: String
    public var id: Identifier?
    /// Field name, `custom.<key>` for a map key, `$aggregate` for a whole document.
    public var field: String?
    /// A ``ViolationCode`` raw value, or the code of a domain's own rule.
    public var code: String
    /// One English sentence for people.
    public var message: String
    /// Values behind the message: base, server and yours of a conflict, limits, the records in the way.
    public var parameters: JSONObject

    public init(
        entity: String, id: Identifier?, field: String?, code: ViolationCode, message: String, parameters: JSONObject = JSONObject()
    ) {
        self.init(entity: entity, id: id, field: field, code: code.rawValue, message: message, parameters: parameters)
    }

    public init(entity: String, id: Identifier?, field: String?, code: String, message: String, parameters: JSONObject) {
        self.entity = entity
        self.id = id
        self.field = field
        self.code = code
        self.message = message
        self.parameters = parameters
    }

    public var json: JSONValue {
        var object = JSONObject()
        object["entity"] = .string(entity)
        if let id { object["id"] = .string(id.text) }
        if let field { object["field"] = .string(field) }
        object["code"] = .string(code)
        object["message"] = .string(message)
        if !parameters.isEmpty { object["params"] = .object(parameters) }
        return .object(object)
    }

    public init?(json: JSONValue) {
        guard let entity = json["entity"]?.stringValue, let code = json["code"]?.stringValue,
            let message = json["message"]?.stringValue
        else { return nil }
        self.init(
            entity: entity, id: json["id"]?.stringValue.flatMap { Identifier($0) }, field: json["field"]?.stringValue, code: code,
            message: message, parameters: json["params"]?.objectValue ?? JSONObject())
    }
}
