// Server layer: the way from the event loop to the workers, shared fairly between those who send requests.
import Foundation

/// A request on its way through the server. Immutable, so that handing it over copies one reference.
final class HTTPExchange: Sendable {
    let request: HTTPRequest
    private let memory: HTTPMemory?

    /// - Parameter memory: where the body counts until nobody has the request any more.
    init(request: HTTPRequest, memory: HTTPMemory? = nil) {
        self.request = request
        self.memory = request.body.isEmpty ? nil : memory
        self.memory?.add(request.body.count)
    }

    deinit { memory?.add(-request.body.count) }
}

/// Who a request is worked for. Requests of one lane share one part of the workers, whatever their number.
struct HTTPLane: Sendable, Hashable {
    let key: String
    /// Writes of one lane wait for each other anyway, so fewer of them are worked at a time.
    let isWrite: Bool
}

/// One attempt to handle a request, and the connection that waits for the outcome.
struct HTTPJob: Sendable {
    let slot: Int
    let generation: UInt32
    let exchange: HTTPExchange
    let attempt: HTTPAttempt
    /// See `HTTPPokeHistory`.
    let snapshot: UInt64
    var lane = HTTPLane(key: "", isWrite: false)
}

/// How many workers the requests of one lane may keep busy at a time.
struct HTTPLaneShare: Sendable, Equatable {
    var workers: Int
    var writers: Int

    /// Leaves a worker to the others, if there is more than one, and half of them to readers: writes of one lane are
    /// serial in the database, so that more of them would only wait there with a worker in hand.
    /// - Parameter isAlone: there are no others.
    init(ofWorkers count: Int, isAlone: Bool = false) {
        workers = isAlone ? count : max(1, count - 1)
        writers = isAlone ? count : max(1, count / 2)
    }
}

/// What happens to a job in the queue, for tests of who waits for whom.
enum HTTPQueueEvent: Sendable, Equatable {
    case added
    case taken
    case finished
}

/// Jobs waiting for a worker. Lanes take turns, one job each, as far as their share goes. Within a lane writes, reads and
/// woken requests take turns, so that waking thousands at once does not make a new request wait for all of them, nor the
/// other way round.
final class HTTPWorkQueue: @unchecked Sendable {  // Everything mutable is only touched under `condition`.
    private let condition = NSCondition()
    private let share: HTTPLaneShare
    /// Called under the lock, so in the one order that there is.
    private let observe: (@Sendable (HTTPQueueEvent, HTTPJob) -> Void)?
    private var lanes: [String: LaneQueue] = [:]
    /// Lanes with a job that may be taken now, each once.
    private var turns = HTTPQueue<LaneQueue>()
    private var idleWorkers = 0
    private var isClosed = false

    init(share: HTTPLaneShare, observe: (@Sendable (HTTPQueueEvent, HTTPJob) -> Void)? = nil) {
        self.share = share
        self.observe = observe
    }

    /// Lanes with anything waiting or being worked on.
    var laneCount: Int { condition.withLock { lanes.count } }

    /// Adds the jobs of one turn of the loop.
    func add(_ jobs: [HTTPJob]) {
        condition.lock()
        for job in jobs {
            let lane: LaneQueue
            if let known = lanes[job.lane.key] {
                lane = known
            } else {
                lane = LaneQueue(key: job.lane.key)
                lanes[job.lane.key] = lane
            }
            lane.append(job)
            enqueue(lane)
            observe?(.added, job)
        }
        // Workers that are busy look here by themselves.
        let wakes = min(jobs.count, idleWorkers)
        condition.unlock()
        // After unlocking, or the first thing a woken worker would do is wait for the lock.
        for _ in 0..<wakes { condition.signal() }
    }

    /// Blocks until there is a job that may be worked on. Nil once the queue is closed. Every job is given back with
    /// `finished`.
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

    /// The worker that took the job is free for another one, of any lane.
    func finished(_ job: HTTPJob) {
        condition.lock()
        defer { condition.unlock() }
        observe?(.finished, job)
        guard let lane = lanes[job.lane.key] else { return }
        lane.running -= 1
        if job.lane.isWrite { lane.runningWrites -= 1 }
        if lane.running == 0, lane.isEmpty {
            lanes[job.lane.key] = nil
        } else {
            // Nobody needs to be woken: the caller takes next, and takes one job for the one that it gives back.
            enqueue(lane)
        }
    }

    /// Jobs still waiting are dropped; workers end after the one they have.
    func close() {
        condition.lock()
        isClosed = true
        condition.broadcast()
        condition.unlock()
    }

    private func enqueue(_ lane: LaneQueue) {
        guard !lane.hasTurn, lane.isReady(share) else { return }
        lane.hasTurn = true
        turns.append(lane)
    }

    private func next() -> HTTPJob? {
        while let lane = turns.popFirst() {
            lane.hasTurn = false
            guard let job = lane.take(share) else { continue }
            lane.running += 1
            if job.lane.isWrite { lane.runningWrites += 1 }
            enqueue(lane)
            observe?(.taken, job)
            return job
        }
        return nil
    }
}

/// What waits in one lane, by kind.
private final class LaneQueue {
    private enum Kind: Int, CaseIterable {
        case write
        case read
        case resumed
    }

    let key: String
    var running = 0
    var runningWrites = 0
    var hasTurn = false
    private var waiting = Kind.allCases.map { _ in HTTPQueue<HTTPJob>() }
    private var nextKind = 0

    init(key: String) { self.key = key }

    var isEmpty: Bool { waiting.allSatisfy(\.isEmpty) }

    func append(_ job: HTTPJob) {
        let kind: Kind = job.lane.isWrite ? .write : job.attempt == .first ? .read : .resumed
        waiting[kind.rawValue].append(job)
    }

    func isReady(_ share: HTTPLaneShare) -> Bool {
        running < share.workers && waiting.indices.contains { mayTake($0, share) }
    }

    func take(_ share: HTTPLaneShare) -> HTTPJob? {
        guard running < share.workers else { return nil }
        for offset in waiting.indices {
            let kind = (nextKind + offset) % waiting.count
            guard mayTake(kind, share) else { continue }
            nextKind = (kind + 1) % waiting.count
            return waiting[kind].popFirst()
        }
        return nil
    }

    private func mayTake(_ kind: Int, _ share: HTTPLaneShare) -> Bool {
        !waiting[kind].isEmpty && (kind != Kind.write.rawValue || runningWrites < share.writers)
    }
}
