// What a change counts as having seen: its author's clock, and what its own set did before it.

public struct Knowledge: Sendable, Hashable {
    public var clock: VectorClock
    /// Head when the set began, where positions are allocated (at the server): whatever lies behind it is the set's own work.
    /// A set without a dot cannot be told by its lane, so this is how its later changes know its earlier ones.
    public var setStart: FeedPosition?
    /// Sets of others that it names, with the milliseconds of their timestamps: what its author had seen of a history that the
    /// server has lost, where positions say nothing any more.
    public var seen: [Dot: Int64]
    /// Dots under which sets of its lanes were decided, when the same set had been decided before under another id (protocol §4.1).
    public var twins: Set<Dot>

    public init(_ clock: VectorClock, setStart: FeedPosition? = nil, seen: [Dot: Int64] = [:], twins: Set<Dot> = []) {
        self.clock = clock
        self.setStart = setStart
        self.seen = seen
        self.twins = twins
    }

    public static let none = Knowledge(.empty)

    public func covers(_ version: VersionTag) -> Bool {
        if let setStart, version.position > setStart { return true }
        if clock.knows(version) { return true }
        guard !seen.isEmpty || !twins.isEmpty, let dot = version.dot else { return false }
        if twins.contains(dot) { return true }
        // The time as well: after a restore a copy of that replica may have spent the counter on something else.
        return seen[dot] == version.timestamp.milliseconds
    }
}
