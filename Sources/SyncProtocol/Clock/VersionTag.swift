// The tag of every stored field version, set element and tombstone: who made it, where it stands in the feed.

/// Wire form: `[epoch, position, milliseconds, logical, replica|null, counter, actor|null]`.
public struct VersionTag: Hashable, Sendable {
    public var position: FeedPosition
    /// nil for versions that the server made itself: those are known through the feed lane only.
    public var dot: Dot?
    public var timestamp: HybridTimestamp
    /// The member who made it, for people; never part of a comparison.
    public var actor: Identifier?

    public init(position: FeedPosition, dot: Dot?, timestamp: HybridTimestamp, actor: Identifier?) {
        self.position = position
        self.dot = dot
        self.timestamp = timestamp
        self.actor = actor
    }

    /// Last-writer order between concurrent versions: timestamp, then replica. Total over versions of distinct authors.
    public func isLater(than other: VersionTag) -> Bool {
        if timestamp != other.timestamp { return timestamp > other.timestamp }
        return (dot?.replica ?? .zero) > (other.dot?.replica ?? .zero)
    }

    public var json: JSONValue {
        .array([
            .integer(position.epoch), .integer(position.position), .integer(timestamp.milliseconds), .integer(timestamp.logical),
            dot.map { .string($0.replica.text) } ?? .null, .integer(dot?.counter ?? 0),
            actor.map { .string($0.text) } ?? .null,
        ])
    }

    public init?(json: JSONValue?) {
        guard let parts = json?.arrayValue, parts.count == 7, let epoch = parts[0].integerValue,
            let position = parts[1].integerValue, let milliseconds = parts[2].integerValue, let logical = parts[3].integerValue
        else { return nil }
        var dot: Dot?
        if let text = parts[4].stringValue {
            guard let replica = Identifier(text), let counter = parts[5].integerValue else { return nil }
            dot = Dot(replica: replica, counter: counter)
        }
        self.init(
            position: FeedPosition(epoch: epoch, position: position), dot: dot,
            timestamp: HybridTimestamp(milliseconds: milliseconds, logical: logical),
            actor: parts[6].stringValue.flatMap { Identifier($0) })
    }
}
