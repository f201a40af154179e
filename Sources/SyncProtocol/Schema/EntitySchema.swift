// One entity: its fields, machine, access, scope and identity rule.

/// A declared entity. A final class because every record state points at it; it never changes after it was built.
public final class EntitySchema: Sendable {
    public let name: String
    /// The feed category of its domain, e.g. `relationship`.
    public let category: String
    public let access: AccessClass
    /// Field staff may create, change and delete rows in which this field names them.
    public let ownerField: String?
    /// Members may edit the last-writer fields of the record that is themselves.
    public let selfEditable: Bool
    public let scopes: [Scope]
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
        _ name: String, category: String, access: AccessClass, scopes: [Scope], ownerField: String? = nil, selfEditable: Bool = false,
        deterministicKeys: [String] = [], aggregateRoot: String? = nil, openStates: [String]? = nil, isDeletable: Bool = true,
        isCreatable: Bool = true,
        isMajor: Bool = false, titleField: String? = nil, titleFields: [String]? = nil, timelineParents: [String] = [],
        machine: StateMachine? = nil, fields: [FieldSchema]
    ) {
        var all: [FieldSchema] = []
        for field in fields {
            guard case .anyReference(let entities) = field.type else {
                all.append(field)
                continue
            }
            var type = FieldSchema(field.name + "_type", .anyReferenceEntity(entities), policy: field.policy)
            var id = FieldSchema(field.name + "_id", .anyReferenceID(entities), policy: field.policy)
            (type.isRequired, id.isRequired) = (field.isRequired, field.isRequired)
            id.isIndexed = field.isIndexed
            all += [type, id]
        }
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
        let scopeParents = scopes.compactMap { if case .record(let field, _) = $0 { field } else { nil } }
        self.timelineParents = timelineParents + (scopeParents + [aggregateRoot].compactMap { $0 }).filter { !timelineParents.contains($0) }
        self.machine = machine
        self.fields = all
        var index: [String: Int] = [:]
        for (position, field) in all.enumerated() {
            precondition(index.updateValue(position, forKey: field.name) == nil, "\(name).\(field.name) is declared twice")
        }
        indexByName = index
        let named = deterministicKeys + [aggregateRoot, ownerField, titleField].compactMap { $0 } + self.titleFields + self.timelineParents
        precondition(named.allSatisfy { index[$0] != nil }, "\(name) names a field it does not have: \(named)")
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
