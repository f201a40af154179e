// What a set claims, held against what the server knows: clocks of lost histories are capped, clocks from the future
// are clamped (protocol §3.3, §3.4).

import SyncProtocol

struct SetAdmission {
    let head: FeedPosition
    let nowMilliseconds: Int64
    /// Checkpoints of the replica that this feed still has; the newest of a clock's own epoch or an earlier one caps what that
    /// clock vouches for. (Later epochs' are recognised too, and say nothing about what was lost before them.)
    let recognised: [FeedPosition]
    /// Highest processed counter of the replicas that clocks name besides their own.
    let otherLanes: [Identifier: Int64]
    /// Timestamp of the replica's last processed set; rises with every admitted one.
    fileprivate(set) var lastTimestamp: HybridTimestamp
    /// Of the push; sets that say nothing else were made with it.
    let schemaVersion: Int64
    /// Only checkpoints at or behind it had restricted fields; nil: none had.
    let restrictedSince: Int64?

    /// Throws a violation when the clock contradicts itself.
    /// - Parameters:
    ///   - counted: The stamp it counted with before a restore; its own where that is nil.
    ///   - isLate: It was deferred: later sets of its replica may have been processed already.
    mutating func admit(
        _ set: ChangeSet, seen: [SeenSet], counted: HybridTimestamp?, isLate: Bool, author: Author
    ) throws(Violation) -> Submission {
        if let own = set.clock.replicas[set.dot.replica], own >= set.dot.counter {
            throw Violation(
                entity: "", id: nil, field: "clock", code: .invalidSyntax, message: "a set cannot have been known before it was made")
        }
        let claimed = counted ?? set.timestamp
        let skewed = claimed.milliseconds > nowMilliseconds + HybridClock.skewToleranceMilliseconds
        var timestamp = skewed ? HybridTimestamp(milliseconds: nowMilliseconds) : claimed
        // A replica's own sets stay in order, whatever its wall clock did in between.
        if !isLate {
            if timestamp <= lastTimestamp { timestamp = lastTimestamp.next }
            lastTimestamp = timestamp
        }
        let clock = capped(set.clock)
        var submission = Submission(
            changes: set.changes, author: author, dot: set.dot, clock: clock, timestamp: timestamp, isSkewed: skewed,
            schemaVersion: set.schemaVersion ?? schemaVersion,
            vouchesForRestricted: restrictedSince.map { clock.feed.position >= $0 } ?? false)
        if timestamp != set.timestamp { submission.sealedTimestamp = set.timestamp }
        submission.seen = Dictionary(seen.map { ($0.dot, $0.milliseconds) }) { first, _ in first }
        return submission
    }

    private func capped(_ clock: VectorClock) -> VectorClock {
        var capped = clock
        // Another epoch, or beyond this one's head: knowledge of a history that this server does not have.
        if clock.feed.epoch != head.epoch || clock.feed.position > head.position {
            let newest = recognised.filter { $0.epoch <= clock.feed.epoch }.map(\.position).max() ?? 0
            capped.feed = FeedPosition(epoch: head.epoch, position: min(clock.feed.position, newest))
        }
        for (replica, counter) in clock.replicas {
            if let known = otherLanes[replica] { capped.replicas[replica] = min(counter, known) }
        }
        return capped
    }

    /// Replicas whose lanes appear in clocks besides the author's own.
    static func foreignLanes(of sets: [ChangeSet]) -> [Identifier] {
        var lanes: Set<Identifier> = []
        for set in sets { lanes.formUnion(set.clock.replicas.keys.filter { $0 != set.dot.replica }) }
        return lanes.sorted()
    }
}
