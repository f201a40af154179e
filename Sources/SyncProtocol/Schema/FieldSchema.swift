// One field of an entity: type, policy and flags, declared in a chain that reads like the catalogue.

/// `.text("name", 200).required.indexed.searchable` — a last-writer text, required, sortable, in full-text search.
public struct FieldSchema: Sendable, Hashable {
    public var name: String
    public var type: FieldType
    public var policy: Policy
    public var isRequired = false
    /// The schema version that made it required: sets of authors with an older one need not name it.
    public var requiredSince: Int64 = 0
    public var defaultValue: JSONValue?
    /// Has an index; lists sort and filter on it.
    public var isIndexed = false
    /// Part of full-text search.
    public var isSearchable = false
    /// Unique among live rows of the tenant together with these other fields; nil when not unique.
    public var uniqueWith: [String]?
    /// Values that differ in case only count as the same one.
    public var uniqueIgnoresCase = false
    /// Unique among the live rows of all tenants.
    public var isUniqueGlobally = false
    /// Not sent to field and portal readers, and not writable by the field role.
    public var isRestricted = false
    /// Visible in the client portal.
    public var isPortalVisible = false
    /// Never leaves the server.
    public var isSecret = false

    public init(_ name: String, _ type: FieldType, policy: Policy) {
        self.name = name
        self.type = type
        self.policy = policy
    }

    // Constructors, one per type, each with the policy that type usually has.
    public static func text(_ name: String, _ maximum: Int) -> FieldSchema { .init(name, .text(0...maximum), policy: .lastWriter) }
    public static func text(_ name: String, _ range: ClosedRange<Int>) -> FieldSchema { .init(name, .text(range), policy: .lastWriter) }
    public static func rich(_ name: String, _ maximum: Int) -> FieldSchema { .init(name, .rich(maximum: maximum), policy: .lastWriter) }
    public static func integer(_ name: String, _ range: ClosedRange<Int64> = Int64.min...Int64.max) -> FieldSchema {
        .init(name, .integer(range), policy: .lastWriter)
    }
    public static func money(_ name: String, _ range: ClosedRange<Int64> = 0...FieldSchema.moneyMaximum) -> FieldSchema {
        .init(name, .money(range), policy: .lastWriter)
    }
    public static func quantity(_ name: String, _ range: ClosedRange<Int64>) -> FieldSchema {
        .init(name, .quantity(range), policy: .lastWriter)
    }
    public static func basisPoints(_ name: String, _ range: ClosedRange<Int64> = 0...10_000) -> FieldSchema {
        .init(name, .basisPoints(range), policy: .lastWriter)
    }
    public static func date(_ name: String) -> FieldSchema { .init(name, .date, policy: .lastWriter) }
    public static func instant(_ name: String) -> FieldSchema { .init(name, .instant, policy: .lastWriter) }
    public static func bool(_ name: String) -> FieldSchema { .init(name, .bool, policy: .lastWriter) }
    public static func choice(_ name: String, _ choices: [String]) -> FieldSchema { .init(name, .choice(choices), policy: .lastWriter) }
    public static func reference(
        _ name: String, _ entity: String, onDelete action: FieldType.ReferenceAction = .restrict
    ) -> FieldSchema { .init(name, .reference(entity, onDelete: action), policy: .lastWriter) }
    public static func anyReference(_ name: String, _ entities: [String]) -> FieldSchema {
        .init(name, .anyReference(entities), policy: .writeOnce)
    }
    public static func set(_ name: String, of element: FieldType, _ count: ClosedRange<Int>) -> FieldSchema {
        .init(name, .set(of: element, count: count), policy: .addWinsSet)
    }
    public static func map(_ name: String, keys: [String] = []) -> FieldSchema { .init(name, .map(keys: keys), policy: .lastWriterPerKey) }
    public static func json(_ name: String) -> FieldSchema { .init(name, .json, policy: .lastWriter) }
    public static func counter(_ name: String) -> FieldSchema { .init(name, .counter, policy: .counter).defaulting(0) }
    public static func address(_ name: String) -> FieldSchema { .init(name, .address, policy: .lastWriter) }
    public static func email(_ name: String) -> FieldSchema { .init(name, .email, policy: .lastWriter) }
    public static func phone(_ name: String) -> FieldSchema { .init(name, .phone, policy: .lastWriter) }
    public static func url(_ name: String) -> FieldSchema { .init(name, .url, policy: .lastWriter) }
    public static func slug(_ name: String, _ maximum: Int) -> FieldSchema { .init(name, .slug(maximum: maximum), policy: .lastWriter) }
    public static func currency(_ name: String) -> FieldSchema { .init(name, .currency, policy: .lastWriter) }
    public static func timeZone(_ name: String) -> FieldSchema { .init(name, .timeZone, policy: .lastWriter) }
    public static func hex64(_ name: String) -> FieldSchema { .init(name, .hex64, policy: .lastWriter) }

    // Policies.
    public var guarded: FieldSchema { with { $0.policy = .guarded } }
    public var writeOnce: FieldSchema { with { $0.policy = .writeOnce } }
    public var serverAssigned: FieldSchema { with { $0.policy = .serverAssigned } }

    // Flags.
    public var required: FieldSchema { with { $0.isRequired = true } }
    /// Required of authors whose schema is at least this one; for fields that were added or tightened later.
    public func required(since version: Int64) -> FieldSchema {
        with {
            $0.isRequired = true
            $0.requiredSince = version
        }
    }
    public var indexed: FieldSchema { with { $0.isIndexed = true } }
    public var searchable: FieldSchema { with { $0.isSearchable = true } }
    public var unique: FieldSchema { with { $0.uniqueWith = [] } }
    public func unique(with fields: String..., ignoringCase: Bool = false) -> FieldSchema {
        precondition(!ignoringCase || !fields.isEmpty, "a name that ignores case is looked for among its siblings")
        return with {
            $0.uniqueWith = fields
            $0.uniqueIgnoresCase = ignoringCase
        }
    }
    public var uniqueGlobally: FieldSchema {
        with {
            $0.uniqueWith = []
            $0.isUniqueGlobally = true
        }
    }
    public var restricted: FieldSchema { with { $0.isRestricted = true } }
    public var portal: FieldSchema { with { $0.isPortalVisible = true } }
    public var secret: FieldSchema { with { $0.isSecret = true } }
    public func defaulting(_ value: JSONValue) -> FieldSchema { with { $0.defaultValue = value } }

    private func with(_ edit: (inout FieldSchema) -> Void) -> FieldSchema {
        var copy = self
        edit(&copy)
        return copy
    }

    /// Largest money amount, so that every product in the arithmetic stays below 2^63.
    public static let moneyMaximum: Int64 = 1_000_000_000_000

    /// Whether clients may name the field in a create or patch.
    public var isWritable: Bool { policy != .serverAssigned && policy != .transition }

    /// The entities it may point at, if it is a reference.
    public var referencedEntities: [String] {
        switch type {
        case .reference(let entity, _): [entity]
        case .anyReferenceID(let entities): entities
        case .set(let element, _): FieldSchema("", element, policy: policy).referencedEntities
        default: []
        }
    }
}
