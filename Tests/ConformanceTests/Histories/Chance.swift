// Every decision of a history comes from here, so that one seed is one history.

import TestSupport

struct Chance {
    private var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    /// 0 to `count` - 1.
    mutating func below(_ count: Int) -> Int { count < 2 ? 0 : Int(random.next() % UInt64(count)) }
    mutating func within(_ range: ClosedRange<Int64>) -> Int64 {
        range.lowerBound + Int64(random.next() % UInt64(range.upperBound - range.lowerBound + 1))
    }
    mutating func percent(_ chance: Int) -> Bool { below(100) < chance }
    mutating func pick<T>(_ values: [T]) -> T? { values.isEmpty ? nil : values[below(values.count)] }

    mutating func weighted<T>(_ values: [(weight: Int, value: T)]) -> T {
        var place = below(values.reduce(0) { $0 + $1.weight })
        for (weight, value) in values {
            if place < weight { return value }
            place -= weight
        }
        preconditionFailure("weights add up to nothing")
    }
}
