// What a change counts as having seen: its author's clock, and what its own set did before it.

public struct Knowledge: Sendable, Hashable {
    public var clock: VectorClock
    /// Head when the set began, where positions are allocated (at the server): whatever lies behind it is the set's own work.
    /// A set without a dot cannot be told by its lane, so this is how its later changes know its earlier ones.
    public var setStart: FeedPosition?

    public init(_ clock: VectorClock, setStart: FeedPosition? = nil) {
        self.clock = clock
        self.setStart = setStart
    }

    public static let none = Knowledge(.empty)

    public func covers(_ version: VersionTag) -> Bool {
        if let setStart, version.position > setStart { return true }
        return clock.knows(version)
    }
}
