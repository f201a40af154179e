// Who gets the next sender thread: tenants take turns, and none holds many more threads than it leaves to the others.

import SyncProtocol

/// What waits for a thread, and how many threads each tenant has. Sending to a slow endpoint takes seconds, so a turn alone would not do:
/// a tenant with a hundred slow endpoints would soon have every thread, and the others would wait until one of its endpoints answers.
///
/// A tenant may take one more thread while it has no more than are free. Alone it gets half of them and one more, beside another such
/// tenant about a third, and so on, so that whoever comes next finds one. (Of two threads it gets both: its own endpoints must not wait
/// for each other either.)
struct SenderTurns<Job> {
    private struct Lane {
        var running = 0
        /// Of consumers that are doing well, and of those that fail.
        var waiting = (healthy: HTTPQueue<Job>(), failing: HTTPQueue<Job>())
        var beginsWithFailing = false

        var isEmpty: Bool { waiting.healthy.isEmpty && waiting.failing.isEmpty }

        /// - Parameter mayFail: One that fails may be taken.
        mutating func take(mayFail: Bool) -> (job: Job, isFailing: Bool)? {
            let takesFailing = mayFail && !waiting.failing.isEmpty && (beginsWithFailing || waiting.healthy.isEmpty)
            guard let job = takesFailing ? waiting.failing.popFirst() : waiting.healthy.popFirst() else { return nil }
            beginsWithFailing = !takesFailing
            return (job, takesFailing)
        }
    }

    let threads: Int
    private var lanes: [Identifier: Lane] = [:]
    /// Tenants with something waiting, each once.
    private var turns = HTTPQueue<Identifier>()
    private var running = 0
    private var failing = 0

    init(threads: Int) { self.threads = threads }

    /// Tenants with anything waiting or under way.
    var laneCount: Int { lanes.count }

    mutating func append(_ job: Job, of tenant: Identifier, isFailing: Bool) {
        var lane = lanes[tenant] ?? Lane()
        if lane.isEmpty { turns.append(tenant) }
        if isFailing { lane.waiting.failing.append(job) } else { lane.waiting.healthy.append(job) }
        lanes[tenant] = lane
    }

    /// The next job for a free thread, to be given back with `finished`; nil: whatever waits has to wait.
    mutating func take() -> (job: Job, tenant: Identifier, isFailing: Bool)? {
        guard running < threads else { return nil }
        // Endpoints that fail get at most half of the threads, so that slow deaths never use up all of them.
        let mayFail = failing < max(1, threads / 2)
        for _ in 0..<turns.count {
            guard let tenant = turns.popFirst(), var lane = lanes[tenant] else { break }
            guard lane.running <= threads - running, let (job, isFailing) = lane.take(mayFail: mayFail) else {
                turns.append(tenant)
                continue
            }
            lane.running += 1
            running += 1
            if isFailing { failing += 1 }
            if !lane.isEmpty { turns.append(tenant) }
            lanes[tenant] = lane
            return (job, tenant, isFailing)
        }
        return nil
    }

    mutating func finished(_ tenant: Identifier, isFailing: Bool) {
        running -= 1
        if isFailing { failing -= 1 }
        guard var lane = lanes[tenant] else { return }
        lane.running -= 1
        lanes[tenant] = lane.running == 0 && lane.isEmpty ? nil : lane
    }
}
