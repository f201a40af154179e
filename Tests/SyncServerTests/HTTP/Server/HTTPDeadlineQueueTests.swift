// Mirrors HTTP/Server/HTTPDeadlineQueue.swift.
import Testing

@testable import SyncServer

@Suite struct HTTPDeadlineQueueTests {
    private func expired(_ queue: inout HTTPDeadlineQueue, now: Int64) -> [Int] {
        var slots: [Int] = []
        while let slot = queue.popExpired(now: now) { slots.append(slot) }
        return slots
    }

    @Test func deadlines_expireInOrder() {
        var queue = HTTPDeadlineQueue()
        for (slot, at) in [(3, 30), (1, 10), (4, 40), (2, 20)] { queue.schedule(slot, at: Int64(at)) }
        #expect(queue.earliest == 10)
        #expect(expired(&queue, now: 30) == [1, 2, 3])
        #expect(expired(&queue, now: 39) == [])
        #expect(expired(&queue, now: 40) == [4])
        #expect(queue.earliest == nil)
    }

    @Test func deadline_holdsOnlyTheLastOneScheduled() {
        var queue = HTTPDeadlineQueue()
        queue.schedule(1, at: 10)
        queue.schedule(1, at: 100)
        #expect(expired(&queue, now: 99) == [])
        queue.schedule(1, at: 50)
        #expect(expired(&queue, now: 50) == [1])
        #expect(expired(&queue, now: 1000) == [])
    }

    @Test func deadline_doesNotExpire_whenCancelled() {
        var queue = HTTPDeadlineQueue()
        queue.schedule(1, at: 10)
        queue.cancel(1)
        queue.cancel(7)
        #expect(expired(&queue, now: 10) == [])
        queue.schedule(1, at: 20)
        queue.cancel(1)
        queue.schedule(1, at: 30)
        #expect(expired(&queue, now: 29) == [])
        #expect(expired(&queue, now: 30) == [1])
    }

    @Test func queue_keepsOneEntryASlot_howeverOftenScheduled() {
        var queue = HTTPDeadlineQueue()
        for round in 0..<1000 { for slot in 0..<10 { queue.schedule(slot, at: Int64(1000 + round)) } }
        #expect(queue.entryCount == 10)
    }

    @Test func queue_agreesWithAPlainList_forRandomSteps() {
        var state: UInt64 = 42
        func random(_ bound: UInt64) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % bound)
        }
        var queue = HTTPDeadlineQueue()
        var plain: [Int: Int64] = [:]
        var now: Int64 = 0
        for _ in 0..<20_000 {
            let slot = random(50)
            switch random(4) {
            case 0, 1:
                let at = now + Int64(random(200))
                queue.schedule(slot, at: at)
                plain[slot] = at
            case 2:
                queue.cancel(slot)
                plain[slot] = nil
            default:
                now += Int64(random(20))
                #expect(expired(&queue, now: now).sorted() == plain.filter { $0.value <= now }.keys.sorted())
                plain = plain.filter { $0.value > now }
            }
        }
    }
}
