// Ends this process between two numbered steps, as a power cut would. For tests only.

import Foundation

/// Asked for with `STEP:N`: the process dies when it reaches the step for the nth time. @unchecked Sendable: the count is only
/// touched under the lock.
final class StepKill<Step: RawRepresentable & Sendable>: @unchecked Sendable where Step.RawValue == Int {
    private let step: Step
    private let lock = NSLock()
    private var left: Int

    init?(_ text: String?) {
        let parts = (text ?? "").split(separator: ":").compactMap { Int($0) }
        guard parts.count == 2, let step = Step(rawValue: parts[0]), parts[1] > 0 else { return nil }
        self.step = step
        left = parts[1]
    }

    func reach(_ reached: Step) {
        guard reached.rawValue == step.rawValue else { return }
        let isOver = lock.withLock {
            left -= 1
            return left == 0
        }
        if isOver { kill(getpid(), SIGKILL) }
    }
}
