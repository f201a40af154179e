// Hybrid logical time: orders concurrent edits for the last-writer policy. Never orders the feed.

/// A hybrid logical timestamp: wall clock milliseconds since 1970 UTC, then a logical tick that orders events of one
/// millisecond. Ties across replicas are broken by the replica of the version it belongs to (``VersionTag``).
public struct HybridTimestamp: Hashable, Comparable, Sendable {
    /// Milliseconds since 1970-01-01T00:00:00Z, as corrected by the author's known clock offset.
    public var milliseconds: Int64
    public var logical: Int64

    public static let zero = HybridTimestamp(milliseconds: 0, logical: 0)

    public init(milliseconds: Int64, logical: Int64 = 0) {
        self.milliseconds = milliseconds
        self.logical = logical
    }

    public static func < (left: HybridTimestamp, right: HybridTimestamp) -> Bool {
        (left.milliseconds, left.logical) < (right.milliseconds, right.logical)
    }

    /// The smallest timestamp greater than this one.
    public var next: HybridTimestamp { HybridTimestamp(milliseconds: milliseconds, logical: logical + 1) }

    public var json: JSONValue { .array([.integer(milliseconds), .integer(logical)]) }

    public init?(json: JSONValue?) {
        guard let parts = json?.arrayValue, parts.count == 2, let milliseconds = parts[0].integerValue,
            let logical = parts[1].integerValue, milliseconds >= 0, logical >= 0,
            milliseconds <= HybridTimestamp.maximumMilliseconds, logical <= Int64(Int32.max)
        else { return nil }
        self.init(milliseconds: milliseconds, logical: logical)
    }

    /// Year 9999: a stamp beyond it is nonsense, and refusing it keeps arithmetic far from overflow.
    public static let maximumMilliseconds: Int64 = 253_402_300_799_999
}

/// The generator of hybrid timestamps. A value: the owner persists `last` and injects the wall clock.
public struct HybridClock: Hashable, Sendable {
    /// The greatest timestamp issued or received so far.
    public private(set) var last: HybridTimestamp
    /// Server time minus local time in milliseconds, learned from server replies.
    public var offsetMilliseconds: Int64

    public init(last: HybridTimestamp = .zero, offsetMilliseconds: Int64 = 0) {
        self.last = last
        self.offsetMilliseconds = offsetMilliseconds
    }

    /// A timestamp greater than every one issued or received before, at corrected wall time if that is ahead.
    public mutating func now(wallMilliseconds: Int64) -> HybridTimestamp {
        let corrected = HybridTimestamp(milliseconds: max(0, wallMilliseconds + offsetMilliseconds))
        last = corrected > last ? corrected : last.next
        return last
    }

    /// Moves past a timestamp seen from elsewhere, so that what is written next sorts after what was read.
    public mutating func receive(_ timestamp: HybridTimestamp) {
        if timestamp > last { last = timestamp }
    }

    /// Learns the offset to the server's clock. When the local clock was found to run far ahead, the logical clock is
    /// pulled back to server time: stamps the server clamps anyway are worth nothing.
    public mutating func learn(serverMilliseconds: Int64, wallMilliseconds: Int64) {
        offsetMilliseconds = serverMilliseconds - wallMilliseconds
        if last.milliseconds > serverMilliseconds + HybridClock.skewToleranceMilliseconds {
            last = HybridTimestamp(milliseconds: serverMilliseconds)
        }
    }

    /// The server's time, as far as it is known, when the local clock says this.
    public func serverTime(_ wallMilliseconds: Int64) -> Int64 { wallMilliseconds + offsetMilliseconds }

    /// Stamps further ahead of the server than this are clamped (protocol §3.4).
    public static let skewToleranceMilliseconds: Int64 = 5 * 60 * 1000
}
