// The points between which a dispatcher may die, numbered in the order it passes them. Tests end it at each.

import Foundation

enum OutboxStep: Int, Sendable, CaseIterable {
    /// A consumer with something to do is known.
    case found = 1
    /// Deliveries are taken, but not committed.
    case claiming
    /// The lease is committed.
    case claimed
    /// About to connect.
    case sending
    /// The endpoint has answered, or not.
    case answered
    /// What became of it is written, but not committed.
    case settling
    case settled
}

/// Ends this process, as a power cut would, when a step is reached for the nth time. For tests only: it is asked for with
/// `TIDELINE_TEST_OUTBOX_KILL=STEP:N`. @unchecked Sendable: the count is only touched under the lock.
final class OutboxKill: @unchecked Sendable {
    private let step: OutboxStep
    private let lock = NSLock()
    private var left: Int

    init?(_ text: String?) {
        let parts = (text ?? "").split(separator: ":").compactMap { Int($0) }
        guard parts.count == 2, let step = OutboxStep(rawValue: parts[0]), parts[1] > 0 else { return nil }
        self.step = step
        left = parts[1]
    }

    func reach(_ reached: OutboxStep) {
        guard reached == step else { return }
        let isOver = lock.withLock {
            left -= 1
            return left == 0
        }
        if isOver { kill(getpid(), SIGKILL) }
    }
}
