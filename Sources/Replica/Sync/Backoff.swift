// How long to wait before trying again: exponential, with jitter so that many replicas do not return at once.

struct Backoff: Sendable {
    var leastMilliseconds: Int64
    var mostMilliseconds: Int64

    /// Between syncs of a replica that runs continuously.
    static let betweenSyncs = Backoff(leastMilliseconds: 1_000, mostMilliseconds: 300_000)
    /// Between attempts within one sync.
    static let withinSync = Backoff(leastMilliseconds: 200, mostMilliseconds: 2_000)

    /// Milliseconds before attempt `attempt` (1 is the first repetition): half of the exponential step at least, all of it at most.
    func delay(attempt: Int, random: UInt64) -> Int64 {
        let step = min(mostMilliseconds, leastMilliseconds << Int64(min(max(attempt - 1, 0), 20)))
        let half = max(1, step / 2)
        return half + Int64(random % UInt64(half + 1))
    }
}
