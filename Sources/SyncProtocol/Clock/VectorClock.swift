// Vector clocks: what the author of a change set knew. Small, because one server orders everything (protocol §3).

/// A place in the feed of a tenant. Positions of a later epoch are always greater, so ordering by position is total.
public struct FeedPosition: Hashable, Comparable, Sendable {
    /// Number of the unbroken history; a restored server starts a new one.
    public var epoch: Int64
    /// 1 for the first entry; 0 is "before everything".
    public var position: Int64

    public static let start = FeedPosition(epoch: 0, position: 0)
    /// A prediction that has no position yet: later than everything confirmed.
    public static let unconfirmed = FeedPosition(epoch: .max, position: .max)
    /// Positions of a new epoch begin this much higher, so that no clock of lost history can claim to know new history.
    public static let epochStride: Int64 = 1 << 40

    public init(epoch: Int64, position: Int64) {
        self.epoch = epoch
        self.position = position
    }

    public static func < (left: FeedPosition, right: FeedPosition) -> Bool { left.position < right.position }
    public static func == (left: FeedPosition, right: FeedPosition) -> Bool { left.position == right.position }
    public func hash(into hasher: inout Hasher) { hasher.combine(position) }

    public var json: JSONValue { .array([.integer(epoch), .integer(position)]) }

    public init?(json: JSONValue?) {
        guard let parts = json?.arrayValue, parts.count == 2, let epoch = parts[0].integerValue,
            let position = parts[1].integerValue, epoch >= 0, position >= 0
        else { return nil }
        self.init(epoch: epoch, position: position)
    }
}

/// The identity of a change set: which replica made it, and as its how-manieth.
public struct Dot: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var replica: Identifier
    /// 1 for the first set of a replica; dense.
    public var counter: Int64

    public init(replica: Identifier, counter: Int64) {
        self.replica = replica
        self.counter = counter
    }

    public static func < (left: Dot, right: Dot) -> Bool {
        left.replica != right.replica ? left.replica < right.replica : left.counter < right.counter
    }
    public var description: String { "\(replica.text)/\(counter)" }

    /// `[replica, counter]`
    init?(json: JSONValue?) {
        guard let parts = json?.arrayValue, parts.count == 2, let replica = parts[0].stringValue.flatMap({ Identifier($0) }),
            let counter = parts[1].integerValue, counter > 0
        else { return nil }
        self.init(replica: replica, counter: counter)
    }
}

/// Map lane → highest number known. Lanes are replicas, and the feed lane that stands for the whole stable prefix.
public struct VectorClock: Hashable, Sendable {
    public var feed: FeedPosition
    public var replicas: [Identifier: Int64]

    public static let empty = VectorClock()

    public init(feed: FeedPosition = .start, replicas: [Identifier: Int64] = [:]) {
        self.feed = feed
        self.replicas = replicas.filter { $0.value > 0 }
    }

    /// The least clock that covers both.
    public func merged(with other: VectorClock) -> VectorClock {
        VectorClock(feed: max(feed, other.feed), replicas: replicas.merging(other.replicas, uniquingKeysWith: max))
    }

    /// Whether everything known to `other` is known here.
    public func covers(_ other: VectorClock) -> Bool {
        feed >= other.feed && other.replicas.allSatisfy { (replicas[$0.key] ?? 0) >= $0.value }
    }

    public enum Order: Sendable { case equal, before, after, concurrent }

    public func compare(to other: VectorClock) -> Order {
        switch (covers(other), other.covers(self)) {
        case (true, true): .equal
        case (true, false): .after
        case (false, true): .before
        case (false, false): .concurrent
        }
    }

    /// Exactly whether the author with this clock had seen the version (protocol §3.2).
    public func knows(_ version: VersionTag) -> Bool {
        if feed >= version.position { return true }
        guard let dot = version.dot, let counter = replicas[dot.replica] else { return false }
        return counter >= dot.counter
    }

    public var json: JSONValue {
        var object = JSONObject()
        object["feed"] = feed.json
        for (replica, counter) in replicas { object[replica.text] = .integer(counter) }
        return .object(object)
    }

    public init?(json: JSONValue?) {
        guard let object = json?.objectValue, let feed = FeedPosition(json: object["feed"]),
            object.count <= VectorClock.maximumLanes
        else { return nil }
        var replicas: [Identifier: Int64] = [:]
        for (key, value) in object where key != "feed" {
            guard let replica = Identifier(key), let counter = value.integerValue, counter >= 0 else { return nil }
            replicas[replica] = counter
        }
        self.init(feed: feed, replicas: replicas)
    }

    /// A clock has one or two lanes, a few more after forks. More is a sign of a broken author.
    public static let maximumLanes = 64
}
