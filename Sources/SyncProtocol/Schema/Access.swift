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
        case (.log, _): operation == .read || operation == .create
        case (.collect, .owner), (.collect, .manager): operation == .read || operation == .create
        case (_, .owner), (_, .manager): true
        case (.manage, .field), (.money, .field), (.collect, .field): operation == .read
        case (.collab, .field): operation == .read || operation == .update
        case (.work, .field): operation == .read || operation == .create || operation == .update
        case (.fact, .field): true
        }
    }
}

/// Which replicas hold a row. The server turns it into scope keys, carried by records and feed entries.
public enum Scope: Hashable, Sendable {
    /// Every replica: key `tenant`.
    case tenant
    /// Replicas that hold the client that this field names (`id` for the client itself): key `client:<id>`.
    case client(String)
    /// The clients that live link rows connect the record to: link entity, its field for this record, its client field.
    case clientThrough(link: String, record: String, client: String)
    /// The member that this field names: key `member:<id>`.
    case member(String)
    /// Full replicas only: key `full`.
    case full
    /// The scope of the record this field points at.
    case record(String, entity: String)
    /// Never leaves the server.
    case none
}
