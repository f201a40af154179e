// Who may do what to which entity, and which replicas hold it.

/// What a member does to a record, as far as access is concerned.
public enum AccessOperation: Hashable, Sendable { case read, create, update, delete, restore }

/// The access classes: roles by operation. Field staff are always limited to rows in their scope as well.
public enum AccessClass: String, Hashable, Sendable, CaseIterable {
    case config, manage, collab, work, fact, log, money, collect, ledger, auto, sys, own, secret

    public func allows(_ operation: AccessOperation, _ role: Role) -> Bool {
        if operation == .restore { return (role == .owner || role == .manager) && allows(.delete, role) }
        return switch (self, role) {
        case (.secret, _): false
        case (.sys, _): operation == .read
        case (.own, _): operation == .read
        case (.ledger, .field): false
        case (.auto, .field): false
        case (_, .viewer): operation == .read
        case (.config, .owner): true
        case (.config, _): operation == .read
        case (.ledger, .owner): operation == .read || operation == .create
        case (.ledger, .manager): operation == .read
        case (.log, _), (.collect, _): operation == .read || operation == .create
        case (_, .owner), (_, .manager): true
        case (.manage, .field), (.money, .field): operation == .read
        case (.collab, .field): operation == .read || operation == .update
        case (.work, .field): operation == .read || operation == .create || operation == .update
        case (.fact, .field): true
        }
    }
}

/// Replaces, for one role, what the access class of an entity says. Several notes for a role add up.
public struct AccessNote: Hashable, Sendable {
    public var role: Role
    public var operations: Set<AccessOperation>
    /// They are granted only while this field of the record holds this value.
    public var field: String?
    public var value: String?

    /// Nothing but these operations; none at all without any.
    public static func only(_ role: Role, _ operations: AccessOperation...) -> AccessNote {
        AccessNote(role: role, operations: Set(operations))
    }

    /// These operations, on records whose field has this value.
    public static func only(_ role: Role, _ operations: AccessOperation..., where field: String, is value: String) -> AccessNote {
        AccessNote(role: role, operations: Set(operations), field: field, value: value)
    }
}

/// Which replicas hold a row. The server turns it into scope keys, carried by records and feed entries.
public indirect enum Scope: Hashable, Sendable {
    /// Every replica: key `tenant`.
    case tenant
    /// Replicas that hold the client that this field names (`id` for the client itself): key `client:<id>`.
    case client(String)
    /// Replicas that hold the project that this field names (`id` for the project itself): key `project:<id>`.
    case project(String)
    /// The clients that live link rows connect the record to: link entity, its field for this record, its client field.
    case clientThrough(link: String, record: String, client: String)
    /// The member that this field names, or every member that this set of members names: key `member:<id>`.
    case member(String)
    /// Full replicas only: key `full`.
    case full
    /// The scope of the record this field points at.
    case record(String, entity: String)
    /// The scope of the record that this reference to one of several entities points at.
    case subject(String)
    /// The scopes of what live link rows connect the record to: link entity, its field for this record, its reference to one of several.
    case subjectThrough(link: String, record: String, subject: String)
    /// The other scope, while the record's machine is in one of these states.
    case inStates([String], Scope)
    /// The first of these that gives any key.
    case first([Scope])
    /// Never leaves the server.
    case none

    /// The scopes without their conditions and alternatives.
    var leaves: [Scope] {
        switch self {
        case .inStates(_, let scope): scope.leaves
        case .first(let scopes): scopes.flatMap(\.leaves)
        default: [self]
        }
    }
}
