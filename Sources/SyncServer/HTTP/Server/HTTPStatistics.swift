// Server layer: counters, kept by the event loop and published for other threads once per turn.
import Foundation

struct HTTPStatistics: Sendable, Equatable {
    /// Connections open now, those being closed politely included.
    var openConnections = 0
    /// Connections accepted since the start.
    var acceptedConnections = 0
    /// Requests parked now.
    var parkedRequests = 0
    /// Requests that are with a worker or wait for one now.
    var requestsInFlight = 0
    /// Requests whose response was sent completely, since the start. Refusals count.
    var requestsServed = 0
    /// Requests whose client went away before the response was sent, since the start.
    var requestsAbandoned = 0
    /// Bytes of requests and responses that are held now; see `HTTPServerConfiguration.memoryBytes`.
    var heldBytes = 0
    var bytesReceived = 0
    var bytesSent = 0
    /// Refusals since the start by `HTTPRefusal.code`.
    var refusals: [String: Int] = [:]
}

/// The last published statistics, and a way to wait for some.
final class HTTPStatisticsBoard: @unchecked Sendable {  // `current` is only touched under `condition`.
    private let condition = NSCondition()
    private var current = HTTPStatistics()
    private var waiters = 0

    var statistics: HTTPStatistics { condition.withLock { current } }

    func publish(_ statistics: HTTPStatistics) {
        condition.lock()
        current = statistics
        if waiters > 0 { condition.broadcast() }
        condition.unlock()
    }

    /// Blocks the calling thread until `isReached` holds. False when it did not within the time.
    func wait(timeoutSeconds: Double, until isReached: (HTTPStatistics) -> Bool) -> Bool {
        let limit = Date(timeIntervalSinceNow: timeoutSeconds)
        condition.lock()
        defer { condition.unlock() }
        waiters += 1
        defer { waiters -= 1 }
        while !isReached(current) {
            if !condition.wait(until: limit) { return isReached(current) }
        }
        return true
    }
}
