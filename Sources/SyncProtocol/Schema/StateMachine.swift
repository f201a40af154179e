// State machines: a status changes only by a named transition (protocol §5.7).

public enum Role: String, Hashable, Sendable, CaseIterable {
    case owner, manager, field, viewer

    /// Whether readers and replicas of this role get fields marked restricted.
    public var seesRestricted: Bool { self != .field }
}

/// Who may do a transition.
public enum Grantee: Hashable, Sendable {
    case role(Role)
    /// The member that this field of the record names.
    case memberInField(String)
    /// The member that the record is.
    case itself
    /// The server's own workflows and timers.
    case system

    public static let owner = Grantee.role(.owner)
    public static let manager = Grantee.role(.manager)
}

public struct Transition: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable {
        /// Takes effect on the replica at once.
        case local
        /// The replica queues it; the effect happens at the server.
        case queued
        /// Refused offline.
        case online
    }

    public struct Argument: Hashable, Sendable {
        public var name: String
        public var type: FieldType
        public var isRequired: Bool
        /// The server-assigned field that keeps it, if any.
        public var field: String?

        public init(_ name: String, _ type: FieldType, required: Bool = true, keptIn field: String? = nil) {
            self.name = name
            self.type = type
            isRequired = required
            self.field = field
        }
    }

    public var name: String
    public var from: [String]
    public var to: String
    public var grantees: [Grantee]
    public var mode: Mode
    public var arguments: [Argument]
    /// Requires that the author had seen every change of the whole aggregate.
    public var locks: Bool
    /// Kind of its feed entry.
    public var kind: String
    /// Lucide icon name.
    public var icon: String

    public init(
        _ name: String, from: [String], to: String, by grantees: [Grantee], mode: Mode = .local, arguments: [Argument] = [],
        locks: Bool = false, kind: String, icon: String
    ) {
        self.name = name
        self.from = from
        self.to = to
        self.grantees = grantees
        self.mode = mode
        self.arguments = arguments
        self.locks = locks
        self.kind = kind
        self.icon = icon
    }
}

public struct StateMachine: Hashable, Sendable {
    /// The field that holds the state.
    public var field: String
    public var states: [String]
    public var initial: String
    /// A transition that is still legal from the current state applies although the author observed another.
    public var rebases: Bool
    public var transitions: [Transition]

    public init(_ field: String, states: [String], initial: String, rebases: Bool, transitions: [Transition]) {
        self.field = field
        self.states = states
        self.initial = initial
        self.rebases = rebases
        self.transitions = transitions
    }

    public func transition(_ name: String) -> Transition? { transitions.first { $0.name == name } }
}
