// What this process counts about itself. One lock each for the two places that count often, held for a few additions.

import Foundation
import SyncProtocol

/// @unchecked Sendable: the counters are only touched under the lock.
final class Metrics: @unchecked Sendable {
    /// Upper bounds of the duration histogram, in seconds; the last bucket is everything.
    static let bounds: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]

    struct Exchange: Hashable, Sendable {
        var route: String
        var method: String
        var status: Int
    }

    struct Histogram: Sendable {
        /// One more than there are bounds; not cumulative.
        var buckets = [Int64](repeating: 0, count: Metrics.bounds.count + 1)
        var sumSeconds = 0.0
        var count: Int64 = 0

        mutating func add(_ seconds: Double) {
            buckets[Metrics.bounds.firstIndex { seconds <= $0 } ?? Metrics.bounds.count] += 1
            sumSeconds += seconds
            count += 1
        }
    }

    struct Snapshot: Sendable {
        var exchanges: [Exchange: Int64] = [:]
        var durations: [String: Histogram] = [:]
        var sets: [String: Int64] = [:]
        var pulledRows: Int64 = 0
        var pulledPages: Int64 = 0
        var deliveries: [String: Int64] = [:]
        var deadLetters: Int64 = 0
        var busyWorkers = 0
        /// Threads of the outbox that work for a consumer, and sessions that such threads use.
        var busyOutboxThreads = 0
        var busyOutboxConnections = 0
        var databaseErrors: Int64 = 0
    }

    private let lock = NSLock()
    private var counts = Snapshot()
    let startedAtMilliseconds = WallClock.milliseconds()

    var snapshot: Snapshot { lock.withLock { counts } }

    func countExchange(route: String, method: String, status: Int, seconds: Double) {
        lock.withLock {
            counts.exchanges[Exchange(route: route, method: method, status: status), default: 0] += 1
            counts.durations[route, default: Histogram()].add(seconds)
        }
    }

    /// Outcomes of fresh sets of a push, by status.
    func countSets(_ statuses: [Outcome.Status]) {
        guard !statuses.isEmpty else { return }
        lock.withLock { for status in statuses { counts.sets[status.rawValue, default: 0] += 1 } }
    }

    func countPage(rows: Int) {
        lock.withLock {
            counts.pulledPages += 1
            counts.pulledRows += Int64(rows)
        }
    }

    func countDelivery(_ result: String, isDead: Bool) {
        lock.withLock {
            counts.deliveries[result, default: 0] += 1
            if isDead { counts.deadLetters += 1 }
        }
    }

    func countDatabaseError() { lock.withLock { counts.databaseErrors += 1 } }

    func workerBegan() { lock.withLock { counts.busyWorkers += 1 } }
    func workerEnded() { lock.withLock { counts.busyWorkers -= 1 } }

    func outboxThreadBegan() { lock.withLock { counts.busyOutboxThreads += 1 } }
    func outboxThreadEnded() { lock.withLock { counts.busyOutboxThreads -= 1 } }
    func outboxConnectionTaken() { lock.withLock { counts.busyOutboxConnections += 1 } }
    func outboxConnectionGiven() { lock.withLock { counts.busyOutboxConnections -= 1 } }
}
