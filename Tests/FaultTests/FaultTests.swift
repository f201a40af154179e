// The second tier of the proof that nothing is lost: real servers, a real Postgres and the real command, killed, starved of disk
// and cut off (docs/faults.md). One after another, so that a small machine has room for the other tests.

import Foundation
import TestSupport
import Testing

@Suite(.serialized) enum FaultTests {}

/// Asked for more than every change can afford.
let isLongRun = ProcessInfo.processInfo.environment["TIDELINE_FAULT_SECONDS"] != nil

/// All of them in a long run, otherwise some, which the seed chooses.
func drawn<T>(_ count: Int, of all: [T]) -> [T] {
    if isLongRun { return all }
    var random = SeededRandom.fresh()
    let some = Array(all.shuffled(using: &random).prefix(count))
    print("drawn by seed \(random.seed): \(some)")
    return some
}

struct UnexpectedResult: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// Runs blocking work away from Swift's cooperative threads.
func offPool<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
    }
}

/// Asks until it holds; no test asserts how long that took.
func until(seconds: Double = 60, _ condition: () async throws -> Bool) async throws -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while Date() < deadline {
        if try await condition() { return true }
        try await Task.sleep(nanoseconds: 30_000_000)
    }
    return try await condition()
}
