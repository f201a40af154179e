// One entry of the feed as readers get it: what the timeline shows, on the server and offline alike, and what consumers receive.

/// A row of the feed without what only the server needs (its fingerprint). Times are milliseconds since 1970 UTC.
public struct ActivityEntry: Hashable, Sendable {
    public typealias Operation = FeedEntry.Operation

    public var position: FeedPosition
    /// Server time.
    public var atMilliseconds: Int64
    public var actorKind: Author.Kind
    /// The member who did it; nil for the server itself.
    public var actor: Identifier?
    /// The change set it belongs to; nil when the server made it (REST, workflows).
    public var dot: Dot?
    public var key: RecordKey
    public var operation: Operation
    /// E.g. `client.updated`, `deal.won`, `sync.superseded`.
    public var kind: String
    public var category: String
    public var isMajor: Bool
    /// `{field: {old, new}}`; `{field: {kept, lost}}` in `sync.superseded`; `{violations, changes}` in `sync.rejected`.
    public var changes: JSONObject
    /// The same for restricted fields; empty for readers who may not see them.
    public var restrictedChanges: JSONObject
    /// `entity:id` of every record on whose timeline it stands, the record itself first.
    public var anchors: [String]
    public var scopeKeys: [String]
    /// Position of the entry that caused this one, in the same change set.
    public var cause: Int64?
    /// Length of the chain of causes across change sets.
    public var depth: Int
    /// When its author did it, by the author's corrected clock.
    public var operationMilliseconds: Int64

    public init(_ entry: FeedEntry) {
        position = entry.position
        atMilliseconds = entry.atMilliseconds
        actorKind = entry.author.kind
        actor = entry.author.member
        dot = entry.dot
        key = entry.key
        operation = entry.operation
        kind = entry.kind
        category = entry.category
        isMajor = entry.isMajor
        changes = entry.changes
        restrictedChanges = entry.restrictedChanges
        anchors = entry.anchors
        scopeKeys = entry.scopeKeys
        cause = entry.cause
        depth = entry.depth
        operationMilliseconds = entry.operationMilliseconds
    }

    /// Unique for ever, also across a restore: `epoch-position`.
    public var eventID: String { "\(position.epoch)-\(position.position)" }

    public var level: String { isMajor ? "major" : "minor" }

    /// Every change that this reader got, restricted ones included.
    public var allChanges: JSONObject {
        var all = changes
        for (name, change) in restrictedChanges { all[name] = change }
        return all
    }

    // MARK: JSON

    /// Members carry the names of the feed's columns; what is nil is left out.
    public var json: JSONValue {
        var object: JSONObject = [
            "position": .integer(position.position), "epoch": .integer(position.epoch), "at": .integer(atMilliseconds),
            "actor_kind": .string(actorKind.rawValue), "entity": .string(key.entity), "record": .string(key.id.text),
            "operation": .string(operation.rawValue), "kind": .string(kind), "category": .string(category), "level": .string(level),
            "changes": .object(changes), "restricted_changes": .object(restrictedChanges),
            "anchors": .array(anchors.map { .string($0) }), "scope_keys": .array(scopeKeys.map { .string($0) }),
            "depth": .integer(Int64(depth)), "operation_at": .integer(operationMilliseconds),
        ]
        if let actor { object["actor"] = .string(actor.text) }
        if let dot {
            object["replica"] = .string(dot.replica.text)
            object["counter"] = .integer(dot.counter)
        }
        if let cause { object["cause"] = .integer(cause) }
        return .object(object)
    }

    /// Members it does not know are left aside, so that a newer server may add some.
    public init(json: JSONValue) throws(WireError) {
        guard let object = json.objectValue else { throw WireError("entry", "is an object") }
        func integer(_ name: String) throws(WireError) -> Int64 {
            guard let value = object[name]?.integerValue else { throw WireError(name, "is a whole number") }
            return value
        }
        func text(_ name: String) throws(WireError) -> String {
            guard let value = object[name]?.stringValue else { throw WireError(name, "is a text") }
            return value
        }
        func identifier(_ name: String) throws(WireError) -> Identifier {
            guard let id = Identifier(try text(name)) else { throw WireError(name, "is a UUID") }
            return id
        }
        func optionalIdentifier(_ name: String) throws(WireError) -> Identifier? {
            guard let value = object[name], !value.isNull else { return nil }
            return try identifier(name)
        }
        func members(_ name: String) throws(WireError) -> JSONObject {
            guard let value = object[name], !value.isNull else { return JSONObject() }
            guard let members = value.objectValue else { throw WireError(name, "is an object") }
            return members
        }
        func texts(_ name: String) throws(WireError) -> [String] {
            guard let value = object[name], !value.isNull else { return [] }
            guard let items = value.arrayValue else { throw WireError(name, "is a list") }
            return items.compactMap(\.stringValue)
        }
        position = FeedPosition(epoch: try integer("epoch"), position: try integer("position"))
        atMilliseconds = try integer("at")
        guard let actorKind = Author.Kind(rawValue: try text("actor_kind")) else {
            throw WireError("actor_kind", "is member, portal or system")
        }
        self.actorKind = actorKind
        actor = try optionalIdentifier("actor")
        if let replica = try optionalIdentifier("replica") { dot = Dot(replica: replica, counter: try integer("counter")) }
        key = RecordKey(try text("entity"), try identifier("record"))
        guard let operation = Operation(rawValue: try text("operation")) else {
            throw WireError("operation", "is create, update, delete, restore, transition or derived")
        }
        self.operation = operation
        kind = try text("kind")
        category = try text("category")
        isMajor = try text("level") == "major"
        changes = try members("changes")
        restrictedChanges = try members("restricted_changes")
        anchors = try texts("anchors")
        scopeKeys = try texts("scope_keys")
        if let value = object["cause"], !value.isNull { cause = try integer("cause") }
        depth = Int(try integer("depth"))
        operationMilliseconds = try integer("operation_at")
    }
}
