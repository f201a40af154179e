// One entity: its fields, machine, access, scope and identity rule.

/// A declared entity. A final class because every record state points at it; it never changes after it was built.
public final class EntitySchema: Sendable {
    public let name: String
    /// The feed category of its domain, e.g. `relationship`.
    public let category: String
    public let access: AccessClass
    /// What single roles may do instead.
    public let accessNotes: [AccessNote]
    /// Field staff may create, change and delete rows in which this field names them.
    public let ownerField: String?
    /// Members may edit the last-writer fields of the record that is themselves.
    public let selfEditable: Bool
    public let scopes: [Scope]
    /// The same without conditions and alternatives: what the scope keys may follow from.
    let scopeParts: [Scope]
    /// All of its scopes are those of records that it refers to itself, so that deleted ones, whose links may be gone, still have them.
    let followsItsReferences: Bool
    public let fields: [FieldSchema]
    public let machine: StateMachine?
    /// For link entities: the id is a version-5 UUID of these fields' values.
    public let deterministicKeys: [String]
    /// For children of an aggregate: the field that names the root.
    public let aggregateRoot: String?
    /// For roots of an aggregate that locks: states in which guarded fields and children may still change.
    public let openStates: [String]?
    public let isDeletable: Bool
    /// False for what only the server makes, whatever its access class says.
    public let isCreatable: Bool
    /// Creation and deletion are major activities.
    public let isMajor: Bool
    /// The field that names a record for people.
    public let titleField: String?
    /// All fields that together make its title, in order: a first name before a last name.
    public let titleFields: [String]
    /// References along which an entry also stands on the timelines of what the referred record belongs to.
    public let timelineParents: [String]

    private let indexByName: [String: Int]

    public init(
        _ name: String, category: String, access: AccessClass, accessNotes: [AccessNote] = [], scopes: [Scope], ownerField: String? = nil,
        selfEditable: Bool = false, deterministicKeys: [String] = [], aggregateRoot: String? = nil, openStates: [String]? = nil,
        isDeletable: Bool = true,
        isCreatable: Bool = true,
        isMajor: Bool = false, titleField: String? = nil, titleFields: [String]? = nil, timelineParents: [String] = [],
        machine: StateMachine? = nil, fields: [FieldSchema]
    ) {
        // A name stands for the two columns of a reference to one of several entities wherever it appears.
        let pairs = Set(fields.filter { if case .anyReference = $0.type { true } else { false } }.map(\.name))
        func columns(_ names: [String]) -> [String] { names.flatMap { pairs.contains($0) ? ["\($0)_type", "\($0)_id"] : [$0] } }
        var all = fields.flatMap { EntitySchema.columns(of: $0) }.map { field in
            var field = field
            field.uniqueWith = field.uniqueWith.map(columns)
            return field
        }
        let deterministicKeys = columns(deterministicKeys)
        if let machine {
            var state = FieldSchema(machine.field, .choice(machine.states), policy: .transition)
            state.isRequired = true
            state.isIndexed = true
            state.defaultValue = .string(machine.initial)
            all.append(state)
        }
        self.name = name
        self.category = category
        self.access = access
        self.accessNotes = accessNotes
        self.scopes = scopes
        self.ownerField = ownerField
        self.selfEditable = selfEditable
        self.deterministicKeys = deterministicKeys
        self.aggregateRoot = aggregateRoot
        self.openStates = openStates
        self.isDeletable = isDeletable
        self.isCreatable = isCreatable
        self.isMajor = isMajor
        self.titleField = titleField
        self.titleFields = titleFields ?? [titleField].compactMap { $0 }
        scopeParts = scopes.flatMap(\.leaves)
        followsItsReferences = !scopeParts.isEmpty && scopeParts.allSatisfy { scope in
            switch scope {
            case .record, .subject: true
            default: false
            }
        }
        let scopeParents = scopeParts.compactMap { scope -> String? in
            switch scope {
            case .record(let field, _): field
            case .subject(let field): field + "_id"
            default: nil
            }
        }
        self.timelineParents = timelineParents + (scopeParents + [aggregateRoot].compactMap { $0 }).filter { !timelineParents.contains($0) }
        self.machine = machine
        self.fields = all
        var index: [String: Int] = [:]
        for (position, field) in all.enumerated() {
            precondition(index.updateValue(position, forKey: field.name) == nil, "\(name).\(field.name) is declared twice")
        }
        indexByName = index
        let named =
            deterministicKeys + [aggregateRoot, ownerField, titleField].compactMap { $0 } + self.titleFields + self.timelineParents
            + all.flatMap { $0.uniqueWith ?? [] } + accessNotes.compactMap(\.field)
        precondition(named.allSatisfy { index[$0] != nil }, "\(name) names a field it does not have: \(named)")
    }

    /// The columns of one declared field: two for a reference to one of several entities, both with all it says.
    private static func columns(of field: FieldSchema) -> [FieldSchema] {
        guard case .anyReference(let entities) = field.type else { return [field] }
        var type = field
        type.name = field.name + "_type"
        type.type = .anyReferenceEntity(entities)
        // The id says it all: the other column would only repeat it.
        type.isIndexed = false
        type.isSearchable = false
        type.uniqueWith = nil
        var id = field
        id.name = field.name + "_id"
        id.type = .anyReferenceID(entities)
        id.defaultValue = nil
        id.uniqueWith = field.uniqueWith.map { [type.name] + $0 }
        return [type, id]
    }

    /// Whether a role may do this to some records at least.
    public func allows(_ operation: AccessOperation, _ role: Role) -> Bool { allows(operation, role) { _ in true } }

    /// Whether a role may do this to a record, as far as the class and its notes say.
    public func allows(_ operation: AccessOperation, _ role: Role, _ record: RecordState) -> Bool {
        allows(operation, role) { note in note.field.map { record.text($0) == note.value } ?? true }
    }

    private func allows(_ operation: AccessOperation, _ role: Role, _ holds: (AccessNote) -> Bool) -> Bool {
        let notes = accessNotes.filter { $0.role == role }
        if notes.isEmpty { return access.allows(operation, role) }
        // Who may delete may bring back, if they look after the data of others.
        let needed = operation == .restore ? .delete : operation
        if operation == .restore, role != .owner, role != .manager { return false }
        return notes.contains { $0.operations.contains(needed) && holds($0) }
    }

    public func index(of field: String) -> Int? { indexByName[field] }
    public func field(_ name: String) -> FieldSchema? { indexByName[name].map { fields[$0] } }

    /// The id that a link record with these values must have, or nil when a key is missing.
    public func deterministicID(_ value: (String) -> JSONValue?) -> Identifier? {
        guard !deterministicKeys.isEmpty else { return nil }
        var parts: [String] = [name]
        for key in deterministicKeys {
            switch value(key) {
            case .string(let text): parts.append(text)
            case .integer(let number): parts.append(String(number))
            default: return nil
            }
        }
        return Identifier.version5(namespace: EntitySchema.linkNamespace, name: parts.joined(separator: "/"))
    }

    /// Namespace of the version-5 ids of link entities: version 5 of the URL namespace and `urn:tideline:link`.
    public static let linkNamespace = Identifier.version5(
        namespace: Identifier(high: 0x6ba7_b811_9dad_11d1, low: 0x80b4_00c0_4fd4_30c8), name: "urn:tideline:link")
}
