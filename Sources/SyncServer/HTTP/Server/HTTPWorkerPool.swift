// Server layer: the worker threads. Each makes its worker, then handles one job after the other.
import Foundation

final class HTTPWorkerPool: Sendable {
    private let threads = HTTPThreads()
    private let queue: HTTPWorkQueue
    private let readiness = Readiness()

    init(queue: HTTPWorkQueue) { self.queue = queue }

    /// Starts the threads and waits until every worker is made.
    /// - Throws: the first error of `makeWorker`; the threads have ended then.
    func start(
        count: Int, mailbox: HTTPLoopMailbox, makeWorker: @escaping @Sendable (Int) throws -> any HTTPWorker
    ) throws {
        for index in 0..<count {
            threads.start("http-worker-\(index)") { [queue, readiness] in
                let worker: any HTTPWorker
                do {
                    worker = try makeWorker(index)
                    readiness.report(nil)
                } catch {
                    readiness.report(error)
                    return
                }
                while let job = queue.take() {
                    let request = job.exchange.request
                    let isElsewhere = job.attempt == .first && worker.belongsElsewhere(request, lane: job.lane)
                    let reply: HTTPReply = isElsewhere ? .changeLane : worker.handle(request, attempt: job.attempt)
                    mailbox.post(HTTPJobResult(job: job, reply: reply))
                    queue.finished(job)
                }
            }
        }
        if let error = readiness.wait(for: count) {
            queue.close()
            threads.waitForAll()
            throw error
        }
    }

    /// Blocks until every worker has finished what it is doing. The queue must be closed.
    func waitUntilStopped() { threads.waitForAll() }
}

/// Counts workers as they are made, and keeps the first failure.
private final class Readiness: @unchecked Sendable {  // Everything mutable is only touched under `condition`.
    private let condition = NSCondition()
    private var reported = 0
    private var failure: (any Error)?

    func report(_ error: (any Error)?) {
        condition.lock()
        reported += 1
        if failure == nil { failure = error }
        condition.broadcast()
        condition.unlock()
    }

    func wait(for count: Int) -> (any Error)? {
        condition.lock()
        defer { condition.unlock() }
        while reported < count { condition.wait() }
        return failure
    }
}
