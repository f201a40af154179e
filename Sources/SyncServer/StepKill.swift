// Ends this process between two numbered steps, as a power cut would, or stops it there. For tests only.

import Foundation

/// Asked for with `STEP:N`: the process dies when it reaches the step for the nth time; with `STEP:N:stop` it stands still there until it
/// gets SIGCONT, while something else dies. @unchecked Sendable: the count is only
/// touched under the lock.
final class StepKill<Step: RawRepresentable & Sendable>: @unchecked Sendable where Step.RawValue == Int {
    private let step: Step
    private let signal: Int32
    private let lock = NSLock()
    private var left: Int

    init?(_ text: String?) {
        let parts = (text ?? "").split(separator: ":")
        guard (2...3).contains(parts.count), let number = Int(parts[0]), let step = Step(rawValue: number), let count = Int(parts[1]),
            count > 0
        else { return nil }
        self.step = step
        left = count
        signal = parts.last == "stop" ? SIGSTOP : SIGKILL
    }

    func reach(_ reached: Step) {
        guard reached.rawValue == step.rawValue else { return }
        let isOver = lock.withLock {
            left -= 1
            return left == 0
        }
        if isOver { kill(getpid(), signal) }
    }
}
