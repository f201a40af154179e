// The value types of the schema language: what a field may hold, in the one stored form that both engines share.

/// What a field holds. Every value travels and is stored as ``JSONValue`` in *stored form*: text as string, every number
/// (integers, money in minor units, quantities in thousandths, rates in basis points, dates in days since 1970-01-01,
/// instants in milliseconds since 1970 UTC, booleans as 0 or 1) as an exact 64-bit integer, references as UUID strings,
/// sets as sorted arrays, maps, addresses and json as objects.
public indirect enum FieldType: Hashable, Sendable {
    /// Single line, trimmed, NFC; limits count Unicode scalars.
    case text(ClosedRange<Int>)
    /// Markdown, several lines.
    case rich(maximum: Int)
    case integer(ClosedRange<Int64>)
    /// Minor units of the record's currency.
    case money(ClosedRange<Int64>)
    /// Thousandths.
    case quantity(ClosedRange<Int64>)
    /// Hundredths of a percent.
    case basisPoints(ClosedRange<Int64>)
    case date
    case instant
    case bool
    case choice([String])
    case reference(String, onDelete: ReferenceAction)
    /// Expands to two columns, `<name>_type` and `<name>_id`.
    case anyReference([String])
    /// The `<name>_type` column of an ``anyReference``.
    case anyReferenceEntity([String])
    /// The `<name>_id` column of an ``anyReference``.
    case anyReferenceID([String])
    case set(of: FieldType, count: ClosedRange<Int>)
    /// JSON object merged key by key. A non-empty list names the only keys there are.
    case map(keys: [String])
    /// JSON merged whole.
    case json
    case counter
    case address
    case email
    case phone
    case url
    case slug(maximum: Int)
    case currency
    case timeZone
    case hex64

    public enum ReferenceAction: String, Hashable, Sendable { case restrict, cascade, nullify }

    /// The word for it in `schema` output and the schema document.
    public var name: String {
        switch self {
        case .text: "text"
        case .rich: "rich"
        case .integer: "integer"
        case .money: "money"
        case .quantity: "quantity"
        case .basisPoints: "basis_points"
        case .date: "date"
        case .instant: "instant"
        case .bool: "bool"
        case .choice, .anyReferenceEntity: "choice"
        case .reference, .anyReferenceID: "reference"
        case .anyReference: "any_reference"
        case .set: "set"
        case .map: "map"
        case .json: "json"
        case .counter: "counter"
        case .address: "address"
        case .email: "email"
        case .phone: "phone"
        case .url: "url"
        case .slug: "slug"
        case .currency: "currency"
        case .timeZone: "time_zone"
        case .hex64: "hex64"
        }
    }

    /// How the two engines store it.
    public enum Storage: Sendable { case text, integer, identifier, textSet, json }

    public var storage: Storage {
        switch self {
        case .integer, .money, .quantity, .basisPoints, .date, .instant, .bool, .counter: .integer
        case .reference, .anyReferenceID: .identifier
        case .set: .textSet
        case .map, .json, .address: .json
        case .anyReference: preconditionFailure("an any_reference is expanded to two fields before it is stored")
        default: .text
        }
    }

    public var isSet: Bool { if case .set = self { true } else { false } }
    public var isMap: Bool { if case .map = self { true } else { false } }
}

/// How concurrent writes of a field meet (protocol §5).
public enum Policy: String, Hashable, Sendable, CaseIterable {
    case lastWriter = "last_writer"
    case addWinsSet = "add_wins_set"
    case counter
    case writeOnce = "write_once"
    case serverAssigned = "server_assigned"
    case guarded
    case lastWriterPerKey = "last_writer_per_key"
    case transition
}
