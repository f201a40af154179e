// The points between which a dispatcher may die, in the order it passes them. Tests end it at each.

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

    // Of a built-in consumer, in place of sending and the answer.

    /// The head is locked, and nothing written.
    case taken
    /// What it changes is written, but not committed.
    case written
    /// The set and the end of the delivery are committed.
    case committed

    static let ofWebhooks: [OutboxStep] = [.found, .claiming, .claimed, .sending, .answered, .settling, .settled]
    static let ofBuiltins: [OutboxStep] = [.found, .claiming, .claimed, .taken, .written, .settling, .committed, .settled]
}
