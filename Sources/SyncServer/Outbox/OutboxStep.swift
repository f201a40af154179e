// The points between which a dispatcher may die, numbered in the order it passes them. Tests end it at each.

enum OutboxStep: Int, Sendable, CaseIterable {
    /// A consumer with something to do is known.
    case found = 1
    /// Deliveries are taken, but not committed.
    case claiming
    /// The lease is committed.
    case claimed
    /// About to connect.
    case sending
    /// The endpoint has answered, or not.
    case answered
    /// What became of it is written, but not committed.
    case settling
    case settled
}
