// One operation on one record, as its author meant it.

public struct RecordKey: Hashable, Sendable, CustomStringConvertible {
    public var entity: String
    public var id: Identifier

    public init(_ entity: String, _ id: Identifier) {
        self.entity = entity
        self.id = id
    }
    public var description: String { "\(entity) \(id.text)" }
}

public struct Change: Hashable, Sendable {
    public enum Operation: Hashable, Sendable {
        /// Values by field; add-wins sets as plain arrays, counters as their first value.
        case create(fields: JSONObject)
        /// New values by field. Add-wins sets as `{"add":[…],"remove":[…]}`, counters as a signed delta, maps as the
        /// keys that change (null removes). `was` holds what the author saw in guarded fields, to be shown in a conflict.
        case patch(fields: JSONObject, was: JSONObject)
        /// A named transition of the record's state machine; `observed` is the state the author expected it to start from.
        case transition(name: String, observed: String, arguments: JSONObject)
        case delete
        case restore

        public var name: String {
            switch self {
            case .create: "create"
            case .patch: "patch"
            case .transition: "transition"
            case .delete: "delete"
            case .restore: "restore"
            }
        }
    }

    public var key: RecordKey
    public var operation: Operation

    public init(_ entity: String, _ id: Identifier, _ operation: Operation) {
        key = RecordKey(entity, id)
        self.operation = operation
    }

    public init(key: RecordKey, operation: Operation) {
        self.key = key
        self.operation = operation
    }

    public var json: JSONValue {
        var object: JSONObject = ["op": .string(operation.name), "entity": .string(key.entity), "id": .string(key.id.text)]
        switch operation {
        case .create(let fields):
            object["fields"] = .object(fields)
        case .patch(let fields, let was):
            object["fields"] = .object(fields)
            if !was.isEmpty { object["was"] = .object(was) }
        case .transition(let name, let observed, let arguments):
            object["name"] = .string(name)
            object["observed"] = .string(observed)
            if !arguments.isEmpty { object["arguments"] = .object(arguments) }
        case .delete, .restore: break
        }
        return .object(object)
    }

    /// Throws a ``Violation`` (`invalid_syntax`) that names the member of the change that is wrong.
    public init(json: JSONValue) throws(Violation) {
        guard let object = json.objectValue else { throw Change.malformed(nil, nil, "change", "a change is an object") }
        let entity = object["entity"]?.stringValue ?? ""
        guard !entity.isEmpty else { throw Change.malformed(nil, nil, "entity", "a change names its entity") }
        guard let id = object["id"]?.stringValue.flatMap({ Identifier($0) }) else {
            throw Change.malformed(entity, nil, "id", "a change names its record by a UUID")
        }
        func member(_ name: String) throws(Violation) -> JSONObject {
            guard let value = object[name] else { return JSONObject() }
            guard let members = value.objectValue else { throw Change.malformed(entity, id, name, "\(name) is an object") }
            return members
        }
        key = RecordKey(entity, id)
        switch object["op"]?.stringValue {
        case "create": operation = .create(fields: try member("fields"))
        case "patch": operation = .patch(fields: try member("fields"), was: try member("was"))
        case "transition":
            guard let name = object["name"]?.stringValue else {
                throw Change.malformed(entity, id, "name", "a transition has a name")
            }
            guard let observed = object["observed"]?.stringValue else {
                throw Change.malformed(entity, id, "observed", "a transition says which state its author observed")
            }
            operation = .transition(name: name, observed: observed, arguments: try member("arguments"))
        case "delete": operation = .delete
        case "restore": operation = .restore
        default: throw Change.malformed(entity, id, "op", "op is create, patch, transition, delete or restore")
        }
    }

    /// The record it is about and every record it names in a value.
    public var namedIdentifiers: Set<Identifier> {
        var named: Set<Identifier> = [key.id]
        switch operation {
        case .create(let fields), .patch(let fields, _): for (_, value) in fields { Change.note(value, &named) }
        case .transition(_, _, let arguments): for (_, value) in arguments { Change.note(value, &named) }
        case .delete, .restore: break
        }
        return named
    }

    private static func note(_ value: JSONValue, _ named: inout Set<Identifier>) {
        if let id = value.stringValue.flatMap({ Identifier($0) }) { named.insert(id) }
        for item in value.arrayValue ?? [] { note(item, &named) }
        for (_, item) in value.objectValue ?? JSONObject() { note(item, &named) }
    }

    private static func malformed(_ entity: String?, _ id: Identifier?, _ field: String, _ message: String) -> Violation {
        Violation(entity: entity ?? "", id: id, field: field, code: .invalidSyntax, message: message)
    }
}
