// What a member may read: entities, fields, rows, entries of the feed. One answer for REST, for pulls and for what replicas compare.

/// The same rule as SQL stands beside the tables that it is asked of.
public struct ReaderAccess: Sendable, Hashable {
    public let member: Identifier
    public let role: Role

    public init(member: Identifier, role: Role) {
        self.member = member
        self.role = role
    }

    public func mayRead(_ entity: EntitySchema) -> Bool {
        entity.isServed && (entity.allows(.read, role) || (role == .field && entity.ownerField != nil))
    }

    public var hidesRestricted: Bool { !role.seesRestricted }

    public func hides(_ field: FieldSchema) -> Bool { field.isSecret || (field.isRestricted && hidesRestricted) }

    /// The fields of an entity that this reader gets.
    public func fields(of entity: EntitySchema) -> [FieldSchema] { entity.fields.filter { !hides($0) } }

    /// The record without the restricted fields that this reader does not get.
    public func hiding(_ record: RecordState) -> RecordState {
        guard hidesRestricted else { return record }
        var record = record
        for field in record.schema.fields where field.isRestricted { record[field.name] = .null }
        return record
    }

    // MARK: Circles

    /// Everybody of the field role: what belongs to clients and projects, and what is for every replica.
    public static let fieldCircle = "field"

    static func key(of member: Identifier) -> String { "member:\(member.text)" }

    public var ownKey: String { ReaderAccess.key(of: member) }

    /// Readers by what scope keys make them see. Who counts by none of them sees a record all the same, or none of its entity.
    public static func circles(of scopeKeys: [String]) -> Set<String> {
        Set(
            scopeKeys.compactMap { key in
                if key == "tenant" || key.hasPrefix("client:") || key.hasPrefix("project:") { return fieldCircle }
                return key.hasPrefix("member:") ? key : nil
            })
    }

    /// Those that this reader counts by.
    public var circles: [String] { role == .field ? [ReaderAccess.fieldCircle, ownKey] : [ownKey] }

    /// The circles that a write has taken a record from: their readers have to be told. None of a new record.
    public static func circlesLeft(by record: RecordState, before: RecordState?) -> [String] {
        guard let before, before.scopeKeys != record.scopeKeys else { return [] }
        return circles(of: before.scopeKeys).subtracting(circles(of: record.scopeKeys)).sorted()
    }

    // MARK: Rows

    /// True when every row of the entity is visible, so that none has to be looked at.
    public func seesEveryRow(of entity: EntitySchema) -> Bool {
        if role == .field { return entity.scopes.contains(.tenant) }
        return !isPersonal(entity) || seesPersonalRowsOfOthers(entity)
    }

    /// Entities of which this reader sees some rows and not others.
    public func seesSomeRows(of entity: EntitySchema) -> Bool { mayRead(entity) && !seesEveryRow(of: entity) }

    /// Rows that only their member holds.
    private func isPersonal(_ entity: EntitySchema) -> Bool {
        entity.scopes.allSatisfy { if case .member = $0 { true } else { false } }
    }

    /// An owner looks after everybody's replicas.
    private func seesPersonalRowsOfOthers(_ entity: EntitySchema) -> Bool { role == .owner && entity.access == .own }

    public func sees(_ record: RecordState) -> Bool {
        guard mayRead(record.schema) else { return false }
        return seesEveryRow(of: record.schema) || !ReaderAccess.circles(of: record.scopeKeys).isDisjoint(with: circles)
    }

    // MARK: The feed

    /// Whether an entry is on this reader's timeline.
    public func sees(_ entry: ActivityEntry, in schema: Schema) -> Bool {
        guard entry.kind != FeedEntry.rescoped, let entity = schema.entity(entry.key.entity), mayRead(entity) else { return false }
        if role == .field { return !ReaderAccess.circles(of: entry.scopeKeys).isDisjoint(with: circles) }
        // What concerns one member only is that member's.
        return entry.scopeKeys.isEmpty || (role == .owner && entity.access == .own)
            || entry.scopeKeys.contains { !$0.hasPrefix("member:") || $0 == ownKey }
    }
}

extension EntitySchema {
    /// False for what never leaves the server.
    public var isServed: Bool { access != .secret && scopes != [.none] }
}
