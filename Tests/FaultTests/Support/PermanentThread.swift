// A thread that never ends. The kernel ends a cluster together with the thread that started it, so that a test that is killed
// leaves no Postgres behind; threads of pools end whenever they like.

import Foundation

/// @unchecked Sendable: what waits to be run is only touched under the condition.
final class PermanentThread: @unchecked Sendable {
    static let shared = PermanentThread()

    private let condition = NSCondition()
    private var work: [() -> Void] = []

    private init() {
        let thread = Thread { [self] in
            while true { next()() }
        }
        thread.name = "test.permanent"
        thread.start()
    }

    private func next() -> () -> Void {
        condition.lock()
        defer { condition.unlock() }
        while work.isEmpty { condition.wait() }
        return work.removeFirst()
    }

    /// Blocks until `body` was run there.
    func run(_ body: @escaping () throws -> Void) throws {
        let done = DispatchSemaphore(value: 0)
        let box = FailureBox()
        condition.lock()
        work.append {
            do { try body() } catch { box.failure = error }
            done.signal()
        }
        condition.signal()
        condition.unlock()
        done.wait()
        if let failure = box.failure { throw failure }
    }
}

/// @unchecked Sendable: written before the signal, read after it.
private final class FailureBox: @unchecked Sendable {
    var failure: (any Error)?
}
