// The points between which a server may die while it takes a push, numbered in the order it passes them. Tests end it at each.

enum PushStep: Int, Sendable, CaseIterable {
    /// The tenant's head is locked, nothing is decided.
    case locked = 1
    /// What becomes of every set is decided, nothing is written.
    case decided
    /// Everything is written, nothing is committed.
    case written
    /// Committed; neither the replica nor anybody who waits knows.
    case committed
    /// Those who wait are told, or about to be; the replica is not.
    case announced
}
