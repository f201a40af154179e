// Business rules and effects as declarations: when they apply, what they read, what they decide. No I/O.

/// Where a rule or effect runs.
public enum Side: Sendable, Hashable {
    /// Replica (best effort, with what it holds) and server (final).
    case both
    case server
}

public enum Trigger: Sendable, Hashable {
    /// After a create, a restore, or a patch that changed one of these fields (empty: any field).
    case write([String])
    /// When one of these transitions is about to apply.
    case transition([String])
    /// When the record is about to be deleted.
    case delete
}

/// What a rule or effect looks at.
public struct Subject: Sendable {
    /// The record after the change (before it, for deletes and transitions).
    public let record: RecordState
    /// The record before the change; nil for a creation.
    public let before: RecordState?
    public let author: Author
    public let transition: String?
    public let arguments: JSONObject
    /// Time of the operation as the author saw it, milliseconds since 1970 UTC.
    public let operationMilliseconds: Int64
    public let tenant: Identifier
}

/// What a rule found.
public struct Finding: Sendable, Hashable {
    public var field: String
    public var code: String
    public var message: String
    public var parameters: JSONObject
    /// Warnings are reported and change nothing.
    public var isWarning: Bool

    public init(_ field: String, _ code: String, _ message: String, _ parameters: JSONObject = JSONObject(), isWarning: Bool = false) {
        self.field = field
        self.code = code
        self.message = message
        self.parameters = parameters
        self.isWarning = isWarning
    }

    public init(_ field: String, _ code: ViolationCode, _ message: String, _ parameters: JSONObject = JSONObject()) {
        self.init(field, code.rawValue, message, parameters)
    }
}

public struct Rule: Sendable {
    /// Name in the rule catalogue, e.g. `R06`.
    public let name: String
    public let entity: String
    public let trigger: Trigger
    public let side: Side
    /// What it reads, from what it looks at. `check` may read nothing else.
    public let reads: @Sendable (Subject) -> [Read]
    public let check: @Sendable (Subject, Workspace) -> [Finding]

    public init(
        _ name: String, on entity: String, _ trigger: Trigger, side: Side = .both,
        reads: @escaping @Sendable (Subject) -> [Read] = { _ in [] },
        check: @escaping @Sendable (Subject, Workspace) -> [Finding]
    ) {
        self.name = name
        self.entity = entity
        self.trigger = trigger
        self.side = side
        self.reads = reads
        self.check = check
    }
}

/// What an effect writes, in the same change set as its cause.
public enum DerivedWrite: Sendable, Hashable {
    case set(RecordKey, field: String, JSONValue)
    /// Adds to a counter.
    case add(RecordKey, field: String, Int64)
    /// A derived feed entry on a record, e.g. `material.stock_negative`.
    case activity(RecordKey, kind: String, isMajor: Bool, changes: JSONObject)

    var key: RecordKey {
        switch self {
        case .set(let key, _, _), .add(let key, _, _), .activity(let key, _, _, _): key
        }
    }
}

public struct Effect: Sendable {
    public let name: String
    public let entity: String
    public let trigger: Trigger
    public let side: Side
    public let reads: @Sendable (Subject) -> [Read]
    public let writes: @Sendable (Subject, Workspace) -> [DerivedWrite]

    public init(
        _ name: String, on entity: String, _ trigger: Trigger, side: Side, reads: @escaping @Sendable (Subject) -> [Read] = { _ in [] },
        writes: @escaping @Sendable (Subject, Workspace) -> [DerivedWrite]
    ) {
        self.name = name
        self.entity = entity
        self.trigger = trigger
        self.side = side
        self.reads = reads
        self.writes = writes
    }
}

/// Who acts.
public struct Author: Sendable, Hashable {
    public enum Kind: String, Sendable { case member, portal, system }

    public var kind: Kind
    public var member: Identifier?
    public var role: Role
    public var replica: Identifier?

    public init(kind: Kind = .member, member: Identifier?, role: Role, replica: Identifier? = nil) {
        self.kind = kind
        self.member = member
        self.role = role
        self.replica = replica
    }

    /// The server itself: not limited by access classes, may write server-assigned fields.
    public static let system = Author(kind: .system, member: nil, role: .owner)
}
