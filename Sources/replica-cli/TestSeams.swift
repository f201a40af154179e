// What tests of the whole program decide from outside: where it dies, and how small its pages and the parts of its sealing are. Nothing else reads these
// variables, and no help names them.

import Foundation
import Replica

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

enum TestSeams {
    /// `TIDELINE_TEST_STORAGE_KILL=STEP:N` ends the process, as a power cut would, when a storage step is reached for the nth time.
    /// `TIDELINE_TEST_SEALED_AT_ONCE=N`: captured rows of a part that is sealed.
    static let environment: ReplicaEnvironment = {
        var environment = ReplicaEnvironment.system
        if let count = ProcessInfo.processInfo.environment["TIDELINE_TEST_SEALED_AT_ONCE"].flatMap({ Int($0) }) {
            environment.sealedAtOnce = count
        }
        let parts = (ProcessInfo.processInfo.environment["TIDELINE_TEST_STORAGE_KILL"] ?? "").split(separator: ":").map(String.init)
        guard parts.count == 2, let step = StorageStep(rawValue: parts[0]), let count = Int(parts[1]) else { return environment }
        let left = Countdown(count)
        environment.storageStep = { reached in
            if reached == step, left.isOver() { kill(getpid(), SIGKILL) }
        }
        return environment
    }()

    /// `TIDELINE_TEST_PAGE_LIMIT=N`: records of a pulled page.
    static let pageLimit: Int? = ProcessInfo.processInfo.environment["TIDELINE_TEST_PAGE_LIMIT"].flatMap { Int($0) }
}

/// @unchecked Sendable: the count is only touched under the lock.
private final class Countdown: @unchecked Sendable {
    private let lock = NSLock()
    private var left: Int

    init(_ count: Int) { left = count }

    func isOver() -> Bool {
        lock.withLock {
            left -= 1
            return left == 0
        }
    }
}
