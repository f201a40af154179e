// The state of one record with the versions of its parts: what merge reads and writes on both sides.

/// The versions of a record's parts. Most parts were never touched since creation, so only what was is listed:
/// metadata grows with edits of distinct fields, never with the length of history.
public struct RecordVersions: Sendable, Hashable {
    /// The creating write; stands for every non-null part that is not listed.
    public var created: VersionTag?
    /// The last delete or restore.
    public var lifecycle: VersionTag?
    /// Whole-value fields, by field name.
    public var fields: [String: VersionTag] = [:]
    /// Add-wins sets: field → element → dots that added it and were not removed.
    public var elements: [String: [String: [VersionTag]]] = [:]
    /// Maps: field → key → last write (kept for removed keys).
    public var keys: [String: [String: VersionTag]] = [:]

    public init(created: VersionTag? = nil) { self.created = created }

    /// `{"*": created, "!": lifecycle, field: tag, set: {element: [tag…]}, map: {key: tag}}`
    public func json(of schema: EntitySchema) -> JSONValue {
        var object = JSONObject()
        if let created { object["*"] = created.json }
        if let lifecycle { object["!"] = lifecycle.json }
        for (name, tag) in fields { object[name] = tag.json }
        for (name, members) in elements where !members.isEmpty {
            object[name] = .object(JSONObject(members.map { ($0.key, .array($0.value.map(\.json))) }))
        }
        for (name, members) in keys where !members.isEmpty {
            object[name] = .object(JSONObject(members.map { ($0.key, $0.value.json) }))
        }
        return .object(object)
    }

    public init(json: JSONValue, schema: EntitySchema) {
        guard let object = json.objectValue else { return }
        for (name, value) in object {
            if name == "*" {
                created = VersionTag(json: value)
            } else if name == "!" {
                lifecycle = VersionTag(json: value)
            } else if let tag = VersionTag(json: value) {
                fields[name] = tag
            } else if let members = value.objectValue {
                if schema.field(name)?.policy == .lastWriterPerKey {
                    keys[name] = Dictionary(
                        uniqueKeysWithValues: members.compactMap { key, tag in VersionTag(json: tag).map { (key, $0) } })
                } else {
                    elements[name] = Dictionary(
                        uniqueKeysWithValues: members.map { key, tags in (key, (tags.arrayValue ?? []).compactMap(VersionTag.init(json:))) }
                    )
                }
            }
        }
    }

    /// Takes over every part that the other lists: how a replica folds news about versions into what it knew.
    public mutating func overlay(_ newer: RecordVersions) {
        if let created = newer.created { self.created = created }
        if let lifecycle = newer.lifecycle { self.lifecycle = lifecycle }
        fields.merge(newer.fields) { $1 }
        for (name, members) in newer.elements { elements[name, default: [:]].merge(members) { $1 } }
        for (name, members) in newer.keys { keys[name, default: [:]].merge(members) { $1 } }
    }

    /// Only the parts written after a position: what a replica with an older checkpoint must hear about.
    public func after(_ position: Int64) -> RecordVersions {
        func isNew(_ tag: VersionTag?) -> Bool { tag.map { $0.position.position > position } ?? false }
        var news = RecordVersions()
        if isNew(created) { news.created = created }
        if isNew(lifecycle) { news.lifecycle = lifecycle }
        news.fields = fields.filter { isNew($0.value) }
        for (name, members) in elements {
            let kept = members.filter { $0.value.contains(where: isNew) }
            if !kept.isEmpty { news.elements[name] = kept }
        }
        for (name, members) in keys {
            let kept = members.filter { isNew($0.value) }
            if !kept.isEmpty { news.keys[name] = kept }
        }
        return news
    }

    public var isEmpty: Bool { created == nil && lifecycle == nil && fields.isEmpty && elements.isEmpty && keys.isEmpty }
}

/// One record as merge sees it. Values are in stored form, in the order of the entity's fields.
public struct RecordState: Sendable {
    public let schema: EntitySchema
    public let id: Identifier
    public var values: [JSONValue]
    /// Fields that this build does not know, kept and sent back untouched.
    public var extra: JSONObject
    /// Position of the last feed entry that touched it.
    public var position: FeedPosition
    public var createdAt: Int64
    public var createdBy: Identifier?
    public var updatedAt: Int64
    /// Set on a tombstone.
    public var deletedAt: Int64?
    /// On a tombstone: the delete that took it, equal on every row one delete took, so that `restore` revives exactly those.
    public var deletedCause: String?
    public var scopeKeys: [String]
    public var versions: RecordVersions
    /// On a replica: the state after its own queued transitions, which take effect only at the server.
    public var queuedState: String?

    public init(schema: EntitySchema, id: Identifier) {
        self.schema = schema
        self.id = id
        values = Array(repeating: .null, count: schema.fields.count)
        extra = JSONObject()
        position = .start
        createdAt = 0
        updatedAt = 0
        scopeKeys = []
        versions = RecordVersions()
    }

    public var key: RecordKey { RecordKey(schema.name, id) }
    public var isLive: Bool { deletedAt == nil }

    public subscript(field: String) -> JSONValue {
        get { schema.index(of: field).map { values[$0] } ?? .null }
        set {
            guard let index = schema.index(of: field) else { preconditionFailure("\(schema.name) has no field \(field)") }
            values[index] = newValue
        }
    }

    public func text(_ field: String) -> String? { self[field].stringValue }
    public func integer(_ field: String) -> Int64? { self[field].integerValue }
    public func identifier(_ field: String) -> Identifier? { self[field].stringValue.flatMap { Identifier($0) } }
    /// Where a reference to one of several entities points.
    public func subject(_ field: String) -> RecordKey? {
        guard let entity = text(field + "_type"), let id = identifier(field + "_id") else { return nil }
        return RecordKey(entity, id)
    }
    /// The elements of a set field.
    public func elements(_ field: String) -> [String] { self[field].arrayValue?.compactMap(\.stringValue) ?? [] }

    /// The state of its machine, queued transitions counted.
    public var state: String? {
        guard let machine = schema.machine else { return nil }
        return queuedState ?? text(machine.field) ?? machine.initial
    }

    /// What a person calls it.
    public var title: String {
        let parts = schema.titleFields.compactMap { text($0) }
        return parts.isEmpty ? String(id.text.prefix(8)) : parts.joined(separator: " ")
    }

    /// The version of a whole-value field, or nil if it was never written.
    public func version(of field: FieldSchema) -> VersionTag? {
        if let tag = versions.fields[field.name] { return tag }
        // Links list the version of every field that was named, so that two creations merge in either order.
        if !schema.deterministicKeys.isEmpty && field.policy != .transition { return nil }
        return self[field.name].isNull ? nil : versions.created
    }

    /// The dots of a set element that is present.
    public func dots(of element: String, in field: String) -> [VersionTag] {
        versions.elements[field]?[element] ?? versions.created.map { [$0] } ?? []
    }

    public func version(ofKey key: String, in field: String) -> VersionTag? {
        if let tag = versions.keys[field]?[key] { return tag }
        return self[field][key] == nil ? nil : versions.created
    }

    /// The parts that are not known, with their newest such version; guards and locks leave server-assigned and
    /// counter fields out. What the author knows of restricted fields may be less.
    public func partsUnknown(to author: Knowledge, restricted: Knowledge? = nil) -> [(name: String, version: VersionTag)] {
        var unknown: [(name: String, version: VersionTag)] = []
        if let created = versions.created, !author.covers(created) { unknown.append(("id", created)) }
        if let lifecycle = versions.lifecycle, !author.covers(lifecycle) { unknown.append(("deleted_at", lifecycle)) }
        for field in schema.fields where field.policy != .serverAssigned && field.policy != .counter {
            let knowledge = field.isRestricted ? restricted ?? author : author
            let tags: [VersionTag]
            switch field.policy {
            case .addWinsSet: tags = versions.elements[field.name]?.values.flatMap { $0 } ?? []
            case .lastWriterPerKey: tags = versions.keys[field.name].map { Array($0.values) } ?? []
            default: tags = versions.fields[field.name].map { [$0] } ?? []
            }
            if let newest = tags.filter({ !knowledge.covers($0) }).max(by: { $1.isLater(than: $0) }) {
                unknown.append((field.name, newest))
            }
        }
        return unknown
    }
}
