// Server layer: named threads that can be waited for.
import CLinux
import Foundation

/// Threads started together. Foundation's threads cannot be joined; this counts them out.
final class HTTPThreads: @unchecked Sendable {  // `running` is only touched under `condition`.
    private let condition = NSCondition()
    private var running = 0

    /// - Parameter name: at most 15 bytes are visible to the system.
    func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        condition.withLock { running += 1 }
        let thread = Thread {
            // Foundation's own `name` does not reach the kernel on Linux.
            clinux_name_thread(name)
            body()
            self.condition.lock()
            self.running -= 1
            self.condition.broadcast()
            self.condition.unlock()
        }
        thread.name = name
        thread.start()
    }

    /// Blocks until every thread has left its body.
    func waitForAll() {
        condition.lock()
        while running > 0 { condition.wait() }
        condition.unlock()
    }
}
