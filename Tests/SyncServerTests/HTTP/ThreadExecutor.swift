// Test support: tests that block on real sockets run on threads of their own, not on the cooperative pool's few.
import Foundation

/// Runs each job on a new thread.
final class ThreadExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        Thread.detachNewThread { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// Runs blocking code away from the pool; expectations inside still belong to the calling test.
func onOwnThread<Value: Sendable>(_ body: @Sendable () throws -> Value) async throws -> Value {
    try await withTaskExecutorPreference(ThreadExecutor()) {
        // The task leaves the pool at this suspension at the latest.
        await Task.yield()
        return try body()
    }
}
