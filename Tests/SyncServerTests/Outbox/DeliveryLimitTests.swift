// What a delivery may cost: requests at a time, the size of a body, the length of the log. And a receiver that is only slow.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

// One after another: together they would keep a small machine from everything else.
@Suite(.serialized) struct DeliveryLimitTests {
    /// Requests under way, and the most there were.
    private struct Load {
        var now = 0
        var most = 0
    }

    @Test func concurrency_isReached_andNeverPassed() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let load = Locked(Load())
            let isOpen = Locked(false)
            let receiver = try WebhookReceiver { _, _ in
                load.with {
                    $0.now += 1
                    $0.most = max($0.most, $0.now)
                }
                while !isOpen.with({ $0 }) { usleep(1_000) }
                load.with { $0.now -= 1 }
                return .answer(200)
            }
            try outbox.add(url: receiver.url, orderedBy: .record, concurrency: 3)
            try outbox.makeClients(12)
            var settings = OutboxUnderTest.settings
            settings.threads = 8
            outbox.start(settings)
            outbox.start(settings)
            // Not `waitForRequests`: a request is counted before its answer begins to be made.
            let limit = Date(timeIntervalSinceNow: 60)
            while load.with({ $0.now }) < 3, Date() < limit { usleep(1_000) }
            isOpen.with { $0 = true }
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            #expect(load.with { $0.most } == 3, "as many as were asked for, two servers together")
        }
    }

    /// What is scraped says where a delivery spends its time: a thread for all of it, a connection before and after the attempt only.
    @Test func metrics_showThreadsAndConnectionsAtWork() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let isOpen = Locked(false)
            let receiver = try WebhookReceiver { _, _ in
                while !isOpen.with({ $0 }) { usleep(1_000) }
                return .answer(200)
            }
            let metrics = outbox.metrics
            let seen = Locked<[OutboxStep: (threads: Int, connections: Int)]>([:])
            try outbox.add(url: receiver.url)
            outbox.start { step in
                let now = metrics.snapshot
                seen.with { $0[step] = (now.busyOutboxThreads, now.busyOutboxConnections) }
            }
            func becomes(threads: Int, connections: Int) -> Bool {
                let limit = Date(timeIntervalSinceNow: 60)
                while Date() < limit {
                    let now = metrics.snapshot
                    if now.busyOutboxThreads == threads, now.busyOutboxConnections == connections { return true }
                    usleep(1_000)
                }
                return false
            }
            #expect(becomes(threads: 0, connections: 0))
            try outbox.makeClients(1)
            #expect(receiver.waitForRequests(1))
            #expect(becomes(threads: 1, connections: 0), "during an attempt")
            isOpen.with { $0 = true }
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            #expect(becomes(threads: 0, connections: 0))
            for step in [OutboxStep.claiming, .settling] {
                let at = try required(seen.with { $0[step] })
                #expect(at.threads >= 1 && at.connections >= 1, "\(step): \(at)")
            }
        }
    }

    @Test func slowReceiver_getsEverythingInOrder_once() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver { _, number in
                usleep(number % 3 == 0 ? 120_000 : 10_000)
                return .answer(200)
            }
            try outbox.add(url: receiver.url)
            outbox.start()
            outbox.start()
            let ids = try outbox.makeClients(12)
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            #expect(receiver.deliveries.map(\.record) == ids.map(\.text))
        }
    }

    @Test(arguments: [
        (quickSeconds: 3_600.0, batches: [20, 40, 80, 100, 60]), (quickSeconds: 0.0, batches: Array(repeating: 20, count: 15)),
    ])
    func batches_grow_whileTheEndpointIsQuick(quickSeconds: Double, batches: [Int]) async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url)
            let ids = (0..<300).map { _ in outbox.server.newIdentifier() }
            try outbox.tenant.write(ids.map { Edit.client($0) }).requireAccepted()
            let settled = Locked<[Int]>([])
            let delivered = Locked(0)
            var settings = OutboxUnderTest.settings
            settings.quickSeconds = quickSeconds
            outbox.start(settings) { step in
                if step == .answered { delivered.with { $0 += 1 } }
                if step == .settled {
                    let count = delivered.with { $0 }
                    settled.with { $0.append(count - $0.reduce(0, +)) }
                }
            }
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            outbox.stopAll()
            #expect(settled.with { $0 } == batches)
            #expect(receiver.deliveries.map(\.record) == ids.map(\.text))
        }
    }

    /// A little too long, and so long that the changes are not even read.
    @Test(arguments: [1, 2]) func bodies_areCapped_leavingTheirChangesOut(times: Int) async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url, kinds: ["client.updated"])
            let id = try outbox.makeClients(1)[0]
            for text in ["short", "long", "short again"] { try outbox.touch(id, text) }
            // More than any field may hold, so that the cap is met whatever fields there will be.
            let middle = try outbox.tenant.head.position.position - 1
            try outbox.server.connection.run(
                """
                UPDATE tideline.feed SET changes = jsonb_build_object('notes', jsonb_build_object('new', repeat('x', $3::int))) \
                WHERE tenant = $1::uuid AND position = $2
                """, .identifier(outbox.tenant.id), .integer(middle), .integer(Int64(OutboxEvent.bytesMax * times)))
            outbox.start()
            #expect(receiver.wait { $0.count >= 3 })
            let events = receiver.deliveries
            #expect(events.map { $0.json["data"]?["truncated"] == true } == [false, true, false])
            #expect(events.map { $0.json["data"]?["changes"] != nil } == [true, false, true])
            #expect(events[1].body.count < 2_000 && events[1].position == middle && events[1].record == id.text)
        }
    }

    @Test func openDeliveries_haveACap_thatIsReachedAndNeverPassed() throws {
        let outbox = try OutboxUnderTest()
        try outbox.add(url: "http://127.0.0.1:1/hook", orderedBy: .record, concurrency: 16)
        let cap = Int(DeliveryStore.openMax)
        var expected: [String] = []
        for _ in 0..<3 {
            let ids = (0..<(cap / 2 + 50)).map { _ in outbox.server.newIdentifier() }
            try outbox.tenant.write(ids.map { Edit.client($0) }).requireAccepted()
            expected += ids.map(\.text)
        }
        let now = outbox.server.context.now()
        func claim() throws -> ClaimedBatch? {
            try outbox.store {
                try DeliveryStore(tenant: $0.tenant, connection: $0.connection).claim(
                    "hook", lease: outbox.server.newIdentifier(), leaseMilliseconds: 90_000, nowMilliseconds: now, withheld: [])
            }
        }
        func settle(_ batch: ClaimedBatch) throws {
            let done = batch.items.map {
                SettledDelivery(
                    position: $0.position, attempts: 1, verdict: .delivered, result: .delivered(status: 200), atMilliseconds: now,
                    durationMilliseconds: 1, requestID: "r")
            }
            _ = try outbox.store {
                try DeliveryStore(tenant: $0.tenant, connection: $0.connection).settle(
                    batch, done, untried: [], failures: 0, blockedUntil: 0, nowMilliseconds: now)
            }
        }
        var held: [ClaimedBatch] = []
        for _ in 0..<8 { held.append(try required(claim())) }
        #expect(try outbox.consumer().openCount == Int64(cap) && outbox.tenant.rows("tideline.delivery") == cap)
        #expect(try outbox.consumer().cursor.position < outbox.tenant.head.position.position, "it looks no further while they are open")
        var records: [String] = []
        while let batch = try held.popLast() ?? claim(), !batch.items.isEmpty {
            records += batch.items.map(\.record.text)
            try settle(batch)
            #expect(try outbox.tenant.rows("tideline.delivery") <= cap)
        }
        #expect(records.count == expected.count && Set(records) == Set(expected), "everything came, once")
        #expect(try outbox.consumer().lag == 0)
    }

    @Test func log_keepsDaysAndNumbers_andNoMore() throws {
        let outbox = try OutboxUnderTest()
        try outbox.add(url: "http://127.0.0.1:1/hook")
        try outbox.add("other", url: "http://127.0.0.1:1/hook")
        let now: Int64 = 1_773_700_000_000
        func log(_ consumer: String, from start: Int64, count: Int64) throws {
            _ = try outbox.server.connection.run(
                """
                INSERT INTO tideline.delivery_attempt (tenant, consumer, position, attempt, at, duration_ms, result) \
                SELECT $1::uuid, $2, n, 1, $3::bigint + n, 5, 'delivered' FROM generate_series(1, $4::bigint) n
                """, .identifier(outbox.tenant.id), .text(consumer), .integer(start), .integer(count))
        }
        func count(_ consumer: String) throws -> Int64 {
            try outbox.tenant.count(
                "SELECT count(*) FROM tideline.delivery_attempt WHERE tenant = $1::uuid AND consumer = $2", .identifier(outbox.tenant.id),
                .text(consumer))
        }
        try log("hook", from: now - AttemptLog.days * 86_400_000 - 1_000, count: 500)
        try log("hook", from: now - 50_000, count: AttemptLog.perConsumerMax + 300)
        try log("other", from: now - 1_000, count: 10)
        let removed = try outbox.store {
            try AttemptLog.prune(tenant: $0.tenant, nowMilliseconds: now, on: $0.connection)
        }
        #expect(removed == 800)
        #expect(try count("hook") == AttemptLog.perConsumerMax && count("other") == 10)
        let newest = try outbox.store { try AttemptLog.read(tenant: $0.tenant, consumer: "hook", limit: 1, on: $0.connection) }
        #expect(newest.first?["position"] == .integer(AttemptLog.perConsumerMax + 300), "the newest stay")
    }
}
