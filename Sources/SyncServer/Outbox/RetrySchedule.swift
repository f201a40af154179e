// When a failed delivery is tried again: each wait three times the last, up to six hours, spread by a fifth either way so
// that many deliveries that failed together do not come back together.

struct RetrySchedule: Sendable, Equatable {
    /// Before the second attempt.
    var firstMilliseconds: Int64 = 5_000
    var longestMilliseconds: Int64 = 6 * 3_600_000
    static let factor: Int64 = 3
    /// An endpoint may ask to be left alone for so long, not longer.
    static let retryAfterMaxMilliseconds: Int64 = 24 * 3_600_000

    /// The wait after that many attempts (1, 2, …), without jitter.
    func step(afterAttempts attempts: Int64) -> Int64 {
        var wait = firstMilliseconds
        for _ in 1..<max(1, attempts) {
            if wait >= longestMilliseconds { break }
            wait *= RetrySchedule.factor
        }
        return min(wait, longestMilliseconds)
    }

    func wait(afterAttempts attempts: Int64, using random: inout some RandomNumberGenerator) -> Int64 {
        let step = step(afterAttempts: attempts)
        return Int64(Double(step) * Double.random(in: 0.8...1.2, using: &random))
    }
}
