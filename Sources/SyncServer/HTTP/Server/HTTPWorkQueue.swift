// Server layer: the way from the event loop to the workers.
import Foundation

/// A request on its way through the server. Immutable, so that handing it over copies one reference.
final class HTTPExchange: Sendable {
    let request: HTTPRequest

    init(request: HTTPRequest) { self.request = request }
}

/// One attempt to handle a request, and the connection that waits for the outcome.
struct HTTPJob: Sendable {
    let slot: Int
    let generation: UInt32
    let exchange: HTTPExchange
    let attempt: HTTPAttempt
    /// See `HTTPPokeHistory`.
    let snapshot: UInt64
}

/// Jobs waiting for a worker. New requests and woken ones take turns, so that waking thousands at once does not make a
/// new request wait for all of them, nor the other way round.
final class HTTPWorkQueue: @unchecked Sendable {  // Everything mutable is only touched under `condition`.
    private let condition = NSCondition()
    private var fresh = HTTPQueue<HTTPJob>()
    private var resumed = HTTPQueue<HTTPJob>()
    private var resumedIsNext = false
    private var idleWorkers = 0
    private var isClosed = false

    /// Adds the jobs of one turn of the loop.
    func add(_ jobs: [HTTPJob]) {
        condition.lock()
        for job in jobs {
            if job.attempt == .first { fresh.append(job) } else { resumed.append(job) }
        }
        // Workers that are busy look here by themselves.
        let wakes = min(jobs.count, idleWorkers)
        condition.unlock()
        // After unlocking, or the first thing a woken worker would do is wait for the lock.
        for _ in 0..<wakes { condition.signal() }
    }

    /// Blocks until there is a job. Nil once the queue is closed.
    func take() -> HTTPJob? {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if isClosed { return nil }
            if let job = next() { return job }
            idleWorkers += 1
            condition.wait()
            idleWorkers -= 1
        }
    }

    /// Jobs still waiting are dropped; workers end after the one they have.
    func close() {
        condition.lock()
        isClosed = true
        condition.broadcast()
        condition.unlock()
    }

    private func next() -> HTTPJob? {
        defer { resumedIsNext.toggle() }
        return resumedIsNext ? resumed.popFirst() ?? fresh.popFirst() : fresh.popFirst() ?? resumed.popFirst()
    }
}
