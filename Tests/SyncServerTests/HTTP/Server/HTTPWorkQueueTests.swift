// Mirrors HTTP/Server/HTTPWorkQueue.swift: who is worked for next.
import Testing

@testable import SyncServer

@Suite struct HTTPWorkQueueTests {
    private func job(_ lane: String, write: Bool = false, attempt: HTTPAttempt = .first, slot: Int = 0) -> HTTPJob {
        let request = HTTPRequest(
            method: write ? "POST" : "GET", target: "/", path: "/", pathSegments: [], query: [], headers: HTTPHeaders(), body: [],
            keepsConnection: true, minorVersion: 1, byteCount: 0, requestID: "", peerAddress: "")
        return HTTPJob(
            slot: slot, generation: 1, exchange: HTTPExchange(request: request), attempt: attempt, snapshot: 0,
            lane: HTTPLane(key: lane, isWrite: write))
    }

    private func queue(workers: Int = 4, _ jobs: [HTTPJob]) -> HTTPWorkQueue {
        let queue = HTTPWorkQueue(share: HTTPLaneShare(ofWorkers: workers))
        queue.add(jobs)
        return queue
    }

    @Test(arguments: [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 2), (8, 7, 4)])
    func share_leavesAWorkerToOthers(workers: Int, most: Int, writers: Int) {
        let share = HTTPLaneShare(ofWorkers: workers)
        #expect(share.workers == most && share.writers == writers)
    }

    @Test func lanes_takeTurns_whateverTheirNumbers() throws {
        let noisy = (0..<100).map { job("noisy", slot: $0) }
        let queue = queue(noisy + [job("quiet", slot: 1000), job("other", slot: 2000)])
        let taken = [queue.take(), queue.take(), queue.take(), queue.take()].compactMap { $0?.lane.key }
        #expect(taken == ["noisy", "quiet", "other", "noisy"])
    }

    @Test func lane_neverHasTheLastWorker() throws {
        let queue = queue((0..<10).map { job("noisy", slot: $0) })
        var held: [HTTPJob] = []
        for _ in 0..<3 { held.append(try #require(queue.take())) }
        queue.add([job("quiet")])
        let fourth = try #require(queue.take())
        #expect(fourth.lane.key == "quiet")
        queue.finished(fourth)
        // What one job gives back is taken once.
        queue.finished(held.removeLast())
        #expect(queue.take()?.slot == 3)
    }

    @Test func writes_leaveRoomForReads_ofTheirOwnLane() throws {
        let queue = queue((0..<5).map { job("a", write: true, slot: $0) } + [job("a", slot: 10)])
        let taken = [queue.take(), queue.take(), queue.take()].compactMap { $0 }
        #expect(taken.map(\.slot) == [0, 10, 1])
        queue.finished(taken[1])
        queue.add([job("b")])
        // Two writes are under way, so the third one waits although a worker is free.
        #expect(queue.take()?.lane.key == "b")
    }

    @Test func wokenAndNewRequests_takeTurns_inALane() throws {
        let queue = queue(workers: 64, (0..<3).map { job("a", attempt: .woken, slot: $0) } + [job("a", slot: 10), job("a", slot: 11)])
        let taken = (0..<5).compactMap { _ in queue.take()?.slot }
        #expect(taken == [10, 0, 11, 1, 2])
    }

    @Test func lane_isForgotten_whenItsLastJobIsFinished() throws {
        let queue = queue((0..<50).map { job("lane \($0)", slot: $0) })
        #expect(queue.laneCount == 50)
        for _ in 0..<50 { queue.finished(try #require(queue.take())) }
        #expect(queue.laneCount == 0)
    }

    @Test func oneWorker_servesEveryLane() throws {
        let queue = queue(workers: 1, (0..<4).map { job("a", write: true, slot: $0) } + [job("b", slot: 9)])
        var order: [Int] = []
        for _ in 0..<5 {
            let job = try #require(queue.take())
            order.append(job.slot)
            queue.finished(job)
        }
        #expect(order == [0, 9, 1, 2, 3])
    }
}
