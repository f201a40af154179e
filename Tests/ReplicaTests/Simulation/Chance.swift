// Every decision of a simulation comes from here, so that one seed is one run.

import Foundation
import TestSupport

/// Seeded decisions, shared by the run and the faults that it plans.
final class Chance: Sendable {
    private let state: Locked<SeededRandom>

    init(seed: UInt64) { state = Locked(SeededRandom(seed: seed)) }

    func next() -> UInt64 { state.with { $0.next() } }

    /// 0 to `count` - 1.
    func below(_ count: Int) -> Int { count < 2 ? 0 : Int(next() % UInt64(count)) }

    func within(_ range: ClosedRange<Int64>) -> Int64 { range.lowerBound + Int64(next() % UInt64(range.upperBound - range.lowerBound + 1)) }

    func percent(_ chance: Int) -> Bool { below(100) < chance }

    func pick<T>(_ values: [T]) -> T? { values.isEmpty ? nil : values[below(values.count)] }

    func weighted<T>(_ values: [(weight: Int, value: T)]) -> T {
        var place = below(values.reduce(0) { $0 + $1.weight })
        for (weight, value) in values {
            if place < weight { return value }
            place -= weight
        }
        preconditionFailure("weights add up to nothing")
    }
}
