// What a REST path names, and what may be asked of it: the same for every entity, derived from the schema.

import SyncProtocol

/// `/v1/<entity>…` taken apart; whether there is such an entity is not known yet.
enum RestTarget: Sendable, Hashable {
    case collection(entity: String)
    case record(entity: String, id: String)
    case restore(entity: String, id: String)
    case transition(entity: String, id: String, name: String)

    init?(_ segments: [String]) {
        guard segments.count >= 2, segments[0] == "v1" else { return nil }
        switch segments.count {
        case 2: self = .collection(entity: segments[1])
        case 3: self = .record(entity: segments[1], id: segments[2])
        case 4 where segments[3] == "restore": self = .restore(entity: segments[1], id: segments[2])
        case 5 where segments[3] == "transitions": self = .transition(entity: segments[1], id: segments[2], name: segments[4])
        default: return nil
        }
    }

    var entity: String {
        switch self {
        case .collection(let entity), .record(let entity, _), .restore(let entity, _), .transition(let entity, _, _): entity
        }
    }

    var id: String? {
        switch self {
        case .collection: nil
        case .record(_, let id), .restore(_, let id), .transition(_, let id, _): id
        }
    }
}

enum RestOperation: String, Sendable, CaseIterable {
    case list, get, create, patch, delete, restore, transition

    var method: String {
        switch self {
        case .list, .get: "GET"
        case .create, .restore, .transition: "POST"
        case .patch: "PATCH"
        case .delete: "DELETE"
        }
    }
}

extension EntitySchema {
    /// The operations that at least one role may be allowed.
    var restOperations: [RestOperation] {
        func someone(_ operation: AccessOperation) -> Bool {
            Role.allCases.contains { allows(operation, $0) } || (ownerField != nil && operation != .restore)
        }
        return RestOperation.allCases.filter { operation in
            switch operation {
            case .list, .get: isServed
            case .create: isServed && isCreatable && canBeCompleted && someone(.create)
            case .patch: isServed && (someone(.update) || selfEditable || access == .own)
            case .delete: isServed && isDeletable && someone(.delete)
            case .restore: isServed && isDeletable && someone(.restore)
            case .transition: isServed && !restTransitions.isEmpty
            }
        }
    }

    /// False when a required field is the server's to set: then only the server can make one.
    private var canBeCompleted: Bool {
        fields.allSatisfy { !$0.isRequired || $0.isWritable || $0.defaultValue != nil }
    }

    /// The transitions that people may do.
    var restTransitions: [Transition] {
        machine?.transitions.filter { transition in transition.grantees.contains { $0 != .system } } ?? []
    }

    /// What a target of this entity can be asked; empty for a transition it does not have.
    func restOperations(on target: RestTarget) -> [RestOperation] {
        restOperations.filter { operation in
            switch (target, operation) {
            case (.collection, .list), (.collection, .create), (.record, .get), (.record, .patch), (.record, .delete),
                (.restore, .restore):
                true
            case (.transition(_, _, let name), .transition): restTransitions.contains { $0.name == name }
            default: false
            }
        }
    }
}
