// The one declaration that everything derives from: validation, tables of both engines, wire, API and CLI.

public final class Schema: Sendable {
    /// Grows whenever an entity, field or choice is added. Carried by the wire and by every replica file.
    public let version: Int64
    public let entities: [EntitySchema]
    public let rules: [Rule]
    public let effects: [Effect]
    /// Every kind of feed entry there is, with its look.
    public let activityKinds: [ActivityKind]
    public let reports: [Report]
    public let numberings: [Numbering]

    private let byName: [String: EntitySchema]
    private let rulesByEntity: [String: [Rule]]
    private let effectsByEntity: [String: [Effect]]
    private let referrersByEntity: [String: [Referrer]]
    private let activityKindByName: [String: ActivityKind]
    private let connectedByLink: [String: [Connected]]
    private let scopeDependentsByEntity: [String: [ScopeDependent]]

    /// A field that points at an entity.
    public struct Referrer: Sendable, Hashable {
        public let entity: String
        public let field: String
        public let action: FieldType.ReferenceAction
        /// The field is a set, of which the reference is one element.
        public let isElement: Bool
    }

    /// What a link row gives a scope to.
    struct Connected: Sendable {
        let entity: String
        /// The field of the link that names the record.
        let field: String
        /// The fields of the link that say which scope it gives.
        let to: [String]
    }

    /// Records whose scope follows from another record's.
    struct ScopeDependent: Sendable {
        let entity: String
        /// The entity whose field points at the other record: the dependent itself, or a link.
        let holder: String
        let field: String
        /// The name of a reference to one of several entities, of which `field` is the id.
        let subject: String?
        /// The field of the link that names the dependent; nil: it is the holder.
        let through: String?
    }

    public init(version: Int64, domains: [Domain]) {
        self.version = version
        entities = domains.flatMap(\.entities)
        rules = domains.flatMap(\.rules)
        effects = domains.flatMap(\.effects)
        byName = Dictionary(uniqueKeysWithValues: entities.map { ($0.name, $0) })
        rulesByEntity = Dictionary(grouping: rules, by: \.entity)
        effectsByEntity = Dictionary(grouping: effects, by: \.entity)
        var referrers: [String: [Referrer]] = [:]
        for entity in entities {
            for field in entity.fields {
                func note(_ target: String, _ action: FieldType.ReferenceAction, isElement: Bool = false) {
                    referrers[target, default: []].append(
                        Referrer(entity: entity.name, field: field.name, action: action, isElement: isElement))
                }
                switch field.type {
                case .reference(let target, let action): note(target, action)
                case .anyReferenceID(let targets): for target in targets { note(target, .restrict) }
                case .set(.reference(let target, let action), _):
                    precondition(action != .cascade, "\(entity.name).\(field.name): a record does not go with an element of a set")
                    note(target, action, isElement: true)
                default: break
                }
            }
        }
        referrersByEntity = referrers
        var connected: [String: [Connected]] = [:]
        var dependents: [String: [ScopeDependent]] = [:]
        let named = byName
        func targets(_ holder: String, _ subject: String) -> [String] {
            named[holder]?.field(subject + "_id")?.referencedEntities ?? []
        }
        for entity in entities {
            for scope in entity.scopeParts {
                switch scope {
                case .record(let field, let parent):
                    dependents[parent, default: []].append(
                        ScopeDependent(entity: entity.name, holder: entity.name, field: field, subject: nil, through: nil))
                case .subject(let subject):
                    for target in targets(entity.name, subject) {
                        dependents[target, default: []].append(
                            ScopeDependent(
                                entity: entity.name, holder: entity.name, field: subject + "_id", subject: subject, through: nil))
                    }
                case .clientThrough(let link, let record, let client):
                    connected[link, default: []].append(Connected(entity: entity.name, field: record, to: [client]))
                case .subjectThrough(let link, let record, let subject):
                    connected[link, default: []].append(
                        Connected(entity: entity.name, field: record, to: [subject + "_type", subject + "_id"]))
                    for target in targets(link, subject) {
                        dependents[target, default: []].append(
                            ScopeDependent(entity: entity.name, holder: link, field: subject + "_id", subject: subject, through: record))
                    }
                default: break
                }
            }
        }
        connectedByLink = connected
        scopeDependentsByEntity = dependents
        activityKinds = entities.flatMap(ActivityKind.kinds) + domains.flatMap(\.activities) + ActivityKind.engine
        activityKindByName = Dictionary(activityKinds.map { ($0.name, $0) }) { $1 }
        reports = domains.flatMap(\.reports)
        numberings = domains.flatMap(\.numberings)
        for numbering in numberings {
            let field = byName[numbering.entity]?.field(numbering.field)
            precondition(field?.policy == .serverAssigned, "\(numbering.entity).\(numbering.field): only the server gives numbers")
        }
    }

    public func entity(_ name: String) -> EntitySchema? { byName[name] }
    public func rules(of entity: String) -> [Rule] { rulesByEntity[entity] ?? [] }
    public func effects(of entity: String) -> [Effect] { effectsByEntity[entity] ?? [] }
    public func numbering(of entity: String) -> Numbering? { numberings.first { $0.entity == entity } }
    public func report(_ name: String) -> Report? { reports.first { $0.name == name } }
    public func activityKind(_ name: String) -> ActivityKind? { activityKindByName[name] }
    /// Fields anywhere in the schema that point at the entity.
    public func referrers(of entity: String) -> [Referrer] { referrersByEntity[entity] ?? [] }
    /// What rows of a link entity give a scope to.
    func connected(by link: String) -> [Connected] { connectedByLink[link] ?? [] }
    /// What takes its scope from records of the entity.
    func scopeDependents(of entity: String) -> [ScopeDependent] { scopeDependentsByEntity[entity] ?? [] }
    /// Child entities of an aggregate root.
    public func children(ofAggregate root: String) -> [EntitySchema] {
        entities.filter { child in
            guard let field = child.aggregateRoot.flatMap({ child.field($0) }) else { return false }
            return field.referencedEntities.contains(root)
        }
    }
}

/// One business domain: its entities with their rules and effects. Domains name other domains' entities only as strings.
public struct Domain: Sendable {
    public let name: String
    public let entities: [EntitySchema]
    public let rules: [Rule]
    public let effects: [Effect]
    /// The derived kinds that its effects add to the feed.
    public let activities: [ActivityKind]
    public let reports: [Report]
    public let numberings: [Numbering]

    public init(
        _ name: String, entities: [EntitySchema], rules: [Rule] = [], effects: [Effect] = [], activities: [ActivityKind] = [],
        reports: [Report] = [], numberings: [Numbering] = []
    ) {
        self.name = name
        self.entities = entities
        self.rules = rules
        self.effects = effects
        self.activities = activities
        self.reports = reports
        self.numberings = numberings
    }
}
