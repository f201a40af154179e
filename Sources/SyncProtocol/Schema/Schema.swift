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

    private let byName: [String: EntitySchema]
    private let rulesByEntity: [String: [Rule]]
    private let effectsByEntity: [String: [Effect]]
    private let referrersByEntity: [String: [Referrer]]
    private let activityKindByName: [String: ActivityKind]

    /// A field that points at an entity.
    public struct Referrer: Sendable, Hashable {
        public let entity: String
        public let field: String
        public let action: FieldType.ReferenceAction
        /// The field is a set, of which the reference is one element.
        public let isElement: Bool
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
        activityKinds = entities.flatMap(ActivityKind.kinds) + domains.flatMap(\.activities) + ActivityKind.engine
        activityKindByName = Dictionary(activityKinds.map { ($0.name, $0) }) { $1 }
        reports = domains.flatMap(\.reports)
    }

    public func entity(_ name: String) -> EntitySchema? { byName[name] }
    public func rules(of entity: String) -> [Rule] { rulesByEntity[entity] ?? [] }
    public func effects(of entity: String) -> [Effect] { effectsByEntity[entity] ?? [] }
    public func report(_ name: String) -> Report? { reports.first { $0.name == name } }
    public func activityKind(_ name: String) -> ActivityKind? { activityKindByName[name] }
    /// Fields anywhere in the schema that point at the entity.
    public func referrers(of entity: String) -> [Referrer] { referrersByEntity[entity] ?? [] }
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

    public init(
        _ name: String, entities: [EntitySchema], rules: [Rule] = [], effects: [Effect] = [], activities: [ActivityKind] = [],
        reports: [Report] = []
    ) {
        self.name = name
        self.entities = entities
        self.rules = rules
        self.effects = effects
        self.activities = activities
        self.reports = reports
    }
}
