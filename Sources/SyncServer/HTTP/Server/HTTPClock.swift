// Server layer: the clock that deadlines are measured with.
import Foundation

enum HTTPClock {
    /// Nanoseconds of the clock that never goes back; the origin is arbitrary.
    static func nanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
