// How long polls of tests wait: for a count that every write raises.

import Foundation

// @unchecked Sendable: everything is touched under the lock.
final class Pokes: @unchecked Sendable {
    private let lock = NSLock()
    private var pokes = 0
    private var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    private var nextWaiter = 0

    var count: Int { lock.withLock { pokes } }
    var waiterCount: Int { lock.withLock { waiters.count } }

    func poke() {
        let woken = lock.withLock {
            pokes += 1
            defer { waiters = [:] }
            return Array(waiters.values)
        }
        for waiter in woken { waiter.resume() }
    }

    /// Returns when something happened since the pokes were counted; at once if it has happened already.
    func wait(since count: Int) async {
        let number = lock.withLock {
            nextWaiter += 1
            return nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = lock.withLock {
                    guard pokes == count, !Task.isCancelled else { return false }
                    waiters[number] = continuation
                    return true
                }
                if !mustWait { return continuation.resume() }
                if Task.isCancelled { lock.withLock { waiters.removeValue(forKey: number) }?.resume() }
            }
        } onCancel: {
            lock.withLock { waiters.removeValue(forKey: number) }?.resume()
        }
    }
}
