// How much is sealed at once: about as much as others in the file can wait for, whatever the machine.

import Foundation

struct SealingPace {
    /// Milliseconds that a part should take. A tool with a second's patience gets its turn, and so does a person who looks on.
    static let partMilliseconds: Int64 = 300
    private static let sizes = 50...8_000

    /// Rows of the next part.
    private(set) var size: Int
    private let environment: ReplicaEnvironment
    private var began: Int64 = 0
    private var done = 0
    private var isTold = false

    init(_ environment: ReplicaEnvironment) {
        self.environment = environment
        size = environment.sealedAtOnce
    }

    mutating func begin() { began = environment.wallMilliseconds() }

    /// Lets others in. SQLite's own waiting looks every tenth of a second once it has waited a little.
    mutating func pause(left: Int) {
        done += size
        isTold = true
        environment.progress(ReplicaProgress(work: .sealing, done: done, total: done + left))
        let elapsed = environment.wallMilliseconds() - began
        // A clock that was set meanwhile says nothing.
        if elapsed > 0, elapsed < 60_000 {
            let fitting = Int(Int64(size) * Self.partMilliseconds / elapsed)
            size = min(max(min(max(fitting, size / 4), size * 2), Self.sizes.lowerBound), Self.sizes.upperBound)
        }
        let milliseconds = environment.sealingPauseMilliseconds
        if milliseconds > 0 { Thread.sleep(forTimeInterval: Double(milliseconds) / 1000) }
    }

    func finish() {
        if isTold { environment.progress(ReplicaProgress(work: .sealing, done: done + size, total: done + size)) }
    }
}
