// One source, many listeners: streams of notices and states.

import Foundation

// @unchecked Sendable: the listeners are only touched under the lock.
final class Broadcast<Element: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var listeners: [Int: AsyncStream<Element>.Continuation] = [:]
    private var nextListener = 0
    private var latest: Element?
    private let repeatsLatest: Bool

    /// With `repeating`, a new listener hears that and every later latest element at once.
    init(repeating first: Element? = nil) {
        latest = first
        repeatsLatest = first != nil
    }

    func send(_ element: Element) {
        let current = lock.withLock {
            latest = element
            return Array(listeners.values)
        }
        for listener in current { listener.yield(element) }
    }

    func stream(bufferingNewest count: Int = 256) -> AsyncStream<Element> {
        AsyncStream(bufferingPolicy: .bufferingNewest(count)) { continuation in
            let (number, first) = lock.withLock {
                nextListener += 1
                listeners[nextListener] = continuation
                return (nextListener, repeatsLatest ? latest : nil)
            }
            if let first { continuation.yield(first) }
            continuation.onTermination = { [weak self] _ in
                guard let self else { return }
                self.lock.withLock { self.listeners[number] = nil }
            }
        }
    }

    func finish() {
        let current = lock.withLock {
            defer { listeners = [:] }
            return Array(listeners.values)
        }
        for listener in current { listener.finish() }
    }
}

/// Lets a local edit cut a waiting pull short, so that it goes up at once.
// @unchecked Sendable: the task is only touched under the lock.
final class LongPollInterruption: @unchecked Sendable {
    private let lock = NSLock()
    private var task: Task<[UInt8], any Error>?

    func during(_ task: Task<[UInt8], any Error>?) { lock.withLock { self.task = task } }

    func interrupt() { lock.withLock { task }?.cancel() }
}
