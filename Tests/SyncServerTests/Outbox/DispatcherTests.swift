// Delivering for real: a dispatcher, Postgres, a receiver that misbehaves. Nothing is lost, order holds, repetitions are told
// by their id, and one bad endpoint stays alone with its trouble.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

// One after another: together they would keep a small machine from everything else.
@Suite(.serialized) struct DispatcherTests {
    @Test func events_arriveOnceInOrderAndSigned() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            let secret = try required(try outbox.add(url: receiver.url))
            outbox.start()
            let ids = try outbox.makeClients(50)
            #expect(receiver.wait { $0.count >= 50 })
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            let deliveries = receiver.deliveries
            #expect(deliveries.map(\.record) == ids.map(\.text))
            #expect(Set(deliveries.map(\.id)).count == 50)
            for one in deliveries {
                let seconds = try required(one.headers["webhook-timestamp"].flatMap { Int64($0) })
                let signature = WebhookSignature.header(id: one.id, timestampSeconds: seconds, body: one.body, secrets: [secret])
                #expect(one.headers["webhook-signature"] == signature)
                #expect(one.headers["content-type"] == "application/cloudevents+json; charset=utf-8")
                #expect(one.json["id"]?.stringValue == one.id && one.json["type"] == "client.created")
                #expect(!one.id.contains("."))
            }
            #expect(outbox.metrics.snapshot.deliveries == ["delivered": 50])
            // Delivered entries leave nothing but the log.
            #expect(try outbox.tenant.rows("tideline.delivery") == 0)
            #expect(try outbox.tenant.rows("tideline.delivery_attempt") == 50)
        }
    }

    @Test func nothingIsLost_andOrderHolds_whenTheReceiverFails() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let faults = (0..<4_000).map { _ in Int.random(in: 0..<10, using: &random) }
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver { _, number in
                switch faults[number % faults.count] {
                case 0: .answer(500)
                case 1: .takeAndDrop
                case 2: .drop
                case 3: .answer(302, headers: ["Location": "http://127.0.0.1:1/"])
                case 4: .gibberish
                default: .answer(200)
                }
            }
            try outbox.add(url: receiver.url, attemptsMax: 100)
            outbox.start()
            let ids = try outbox.makeClients(60)
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            let deliveries = receiver.deliveries
            #expect(deliveries.firsts.map(\.record) == ids.map(\.text))
            #expect(deliveries.positions == deliveries.positions.sorted(), "a repetition comes before what follows")
            #expect(deliveries.count > 60, "some answers were dropped after the work was done")
            #expect(try outbox.letters().isEmpty)
        }
    }

    @Test func deliveryGoesOn_whenTheReceiverIsKilledAndComesBack() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url, attemptsMax: 100)
            outbox.start()
            let before = try outbox.makeClients(10)
            #expect(receiver.wait { $0.count >= 3 })
            receiver.stop()
            let after = try outbox.makeClients(10)
            #expect(try outbox.wait { $0.failures > 0 })
            try receiver.restart()
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            #expect(receiver.deliveries.firsts.map(\.record) == (before + after).map(\.text))
        }
    }

    @Test func deadLetter_letsTheConsumerGoOn_andCanBeReplayed() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let bad = Locked<String?>(nil)
            let receiver = try WebhookReceiver { delivery, _ in delivery.record == bad.with { $0 } ? .answer(422) : .answer(204) }
            try outbox.add(url: receiver.url, attemptsMax: 3)
            let ids = try outbox.makeClients(1)
            bad.with { $0 = ids[0].text }
            try outbox.store { _ = try $0.replay("hook", from: .after(0)) }
            outbox.start()
            let others = try outbox.makeClients(3)
            #expect(receiver.wait { $0.count >= 3 })
            #expect(try outbox.wait { $0.openCount == 0 && $0.deadCount == 1 })
            #expect(receiver.deliveries.map(\.record) == others.map(\.text))
            let letter = try required(try outbox.letters().first)
            #expect(letter.event.record == ids[0] && letter.attempts == 3 && letter.lastStatus == 422)
            #expect(outbox.metrics.snapshot.deadLetters == 1)
            bad.with { $0 = nil }
            let replayed = try outbox.store { store in
                try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: store.require("hook").consumer).replay(nil)
            }
            #expect(replayed == 1)
            #expect(receiver.wait { $0.count >= 4 })
            #expect(receiver.deliveries.last?.id == letter.event.id, "out of order, under the same id")
            #expect(try outbox.wait { $0.deadCount == 0 && $0.openCount == 0 })
        }
    }

    @Test func recordOrder_letsOthersPass_andKeepsTheStuckRecordInOrder() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let (stuck, other) = (outbox.server.newIdentifier(), outbox.server.newIdentifier())
            let isStuck = Locked(true)
            let receiver = try WebhookReceiver { delivery, _ in
                delivery.record == stuck.text && isStuck.with { $0 } ? .answer(500) : .answer(204)
            }
            try outbox.add(url: receiver.url, orderedBy: .record, attemptsMax: 100, concurrency: 3)
            for id in [stuck, other] { try outbox.tenant.write([Edit.client(id)]).requireAccepted() }
            for round in 0..<4 {
                try outbox.touch(stuck, "s\(round)")
                try outbox.touch(other, "o\(round)")
            }
            outbox.start()
            #expect(receiver.wait { $0.filter { $0.record == other.text }.count >= 5 })
            #expect(receiver.deliveries.allSatisfy { $0.record == other.text })
            isStuck.with { $0 = false }
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            for record in [stuck, other] {
                let positions = receiver.deliveries.filter { $0.record == record.text }.positions
                #expect(positions.count == 5 && positions == positions.sorted())
            }
        }
    }

    @Test func recordOrder_holds_withManyRecordsFaultsAndTwoDispatchers() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let faults = (0..<4_000).map { _ in Int.random(in: 0..<10, using: &random) }
        let picks = (0..<80).map { _ in Int.random(in: 0..<6, using: &random) }
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver { _, number in
                switch faults[number % faults.count] {
                case 0: .answer(500)
                case 1: .takeAndDrop
                default: .answer(200)
                }
            }
            try outbox.add(url: receiver.url, orderedBy: .record, attemptsMax: 100, concurrency: 4)
            let ids = try outbox.makeClients(6)
            outbox.start()
            outbox.start()
            for (index, pick) in picks.enumerated() { try outbox.touch(ids[pick], "n\(index)") }
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 })
            let deliveries = receiver.deliveries
            #expect(deliveries.firsts.count == 86)
            for id in ids {
                let positions = deliveries.filter { $0.record == id.text }.positions
                #expect(positions == positions.sorted(), "\(id)")
            }
        }
    }

    @Test func twoDispatchers_shareTenants_withoutRepeating() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            let tenants = try [outbox.tenant] + (0..<3).map { _ in try outbox.server.makeTenant() }
            for tenant in tenants { try outbox.add(url: receiver.url, to: tenant) }
            outbox.start()
            outbox.start()
            var expected: [String: [String]] = [:]
            for _ in 0..<15 {
                for tenant in tenants { expected[tenant.id.text, default: []] += try outbox.makeClients(1, tenant: tenant).map(\.text) }
            }
            #expect(receiver.wait { $0.count >= 60 })
            outbox.stopAll()
            let deliveries = receiver.deliveries
            #expect(deliveries.count == 60, "nobody failed, so nothing came twice")
            for tenant in tenants {
                let source = "/tenants/\(tenant.id.text)"
                #expect(deliveries.filter { $0.json["source"]?.stringValue == source }.map(\.record) == expected[tenant.id.text])
            }
        }
    }

    @Test func hangingEndpoints_delayNobodyElse() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let dead = try WebhookReceiver { _, _ in .hang }
            defer { dead.stop() }
            let alive = try WebhookReceiver()
            try outbox.add("dead", url: dead.url)
            try outbox.add("alive", url: alive.url)
            var settings = OutboxUnderTest.settings
            settings.threads = 2
            outbox.start(settings)
            try outbox.makeClients(1)
            #expect(dead.waitForRequests(1))
            let asked = try required(try outbox.server.connection.run("SELECT clock_timestamp()").text(0, 0))
            let ids = try outbox.makeClients(30)
            #expect(alive.wait(seconds: 8) { $0.count >= 31 }, "while the other attempt is still under way")
            #expect(alive.deliveries.suffix(30).map(\.record) == ids.map(\.text))
            #expect(dead.deliveries.isEmpty)
            // No transaction waits for the endpoint either.
            let waiting = try outbox.server.connection.run(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start < $1::timestamptz", .text(asked))
            #expect(waiting.integer(0, 0) == 0)
        }
    }

    @Test func goneEndpoint_disablesItsConsumer_untilItIsResumed() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let isGone = Locked(true)
            let receiver = try WebhookReceiver { _, _ in isGone.with { $0 } ? .answer(410) : .answer(200) }
            try outbox.add(url: receiver.url)
            outbox.start()
            let ids = try outbox.makeClients(2)
            #expect(try outbox.wait { $0.status == .disabled })
            #expect(try outbox.consumer().reason == "the endpoint answered 410 Gone")
            let asked = receiver.requestCount
            isGone.with { $0 = false }
            try outbox.makeClients(1)
            #expect(receiver.requestCount == asked, "a disabled consumer is left alone")
            try outbox.store { try $0.resume("hook") }
            #expect(receiver.wait { $0.count >= 3 })
            #expect(receiver.deliveries.prefix(2).map(\.record) == ids.map(\.text), "nothing was skipped")
        }
    }

    @Test func askingForPatience_isHonoured() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver { _, number in number == 0 ? .answer(429, headers: ["Retry-After": "3600"]) : .answer(200) }
            try outbox.add(url: receiver.url)
            outbox.start()
            try outbox.makeClients(2)
            #expect(try outbox.wait { $0.failures == 1 })
            let blocked = try outbox.consumer().blockedUntil
            #expect(blocked > outbox.server.clock.with { $0 } + 3_000_000)
            #expect(receiver.requestCount == 1)
            outbox.server.clock.with { $0 += 3_700_000 }
            #expect(receiver.wait { $0.count >= 2 })
        }
    }

    /// The answer's own `Date` is hours ahead, as of an endpoint whose clock is wrong: it changes nothing.
    @Test func askingForPatience_untilADate_isHonoured() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let now = outbox.server.clock.with { $0 }
            let asked = HTTPDate.text(secondsSince1970: Int(now / 1000) + 3_600)
            let wrong = HTTPDate.text(secondsSince1970: Int(now / 1000) + 9 * 3_600)
            let receiver = try WebhookReceiver { _, number in
                number == 0 ? .answer(503, headers: ["Retry-After": asked, "Date": wrong]) : .answer(200)
            }
            try outbox.add(url: receiver.url)
            outbox.start()
            try outbox.makeClients(2)
            #expect(try outbox.wait { $0.failures == 1 })
            #expect(try outbox.consumer().blockedUntil == (now / 1000 + 3_600) * 1000)
            #expect(receiver.requestCount == 1)
            outbox.server.clock.with { $0 += 3_700_000 }
            #expect(receiver.wait { $0.count >= 2 })
        }
    }

    @Test func rate_isKept_overAMinute() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            // The clock moves a millisecond a look, so a minute is far away.
            outbox.server.clock.with { $0 = $0 / 60_000 * 60_000 + 60_000 }
            try outbox.add(url: receiver.url, ratePerMinute: 7)
            outbox.start()
            try outbox.makeClients(20)
            #expect(try outbox.wait { $0.blockedUntil > 0 })
            #expect(receiver.deliveries.count == 7)
            outbox.server.clock.with { $0 += 60_000 }
            #expect(receiver.wait { $0.count >= 14 })
            #expect(try outbox.wait { $0.openCount == 6 })
            #expect(receiver.deliveries.count == 14)
        }
    }

    @Test func consumer_getsOnlyWhatItAskedFor() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url, kinds: ["client.updated"])
            let secretly = try WebhookReceiver()
            try outbox.add("all", url: secretly.url, kinds: ["client.updated"], includesRestricted: true)
            let ids = try outbox.makeClients(3)
            try outbox.tenant.write([Edit.patch("client", ids[1], ["notes": "x", "tax_number": "T-1"])]).requireAccepted()
            outbox.start()
            #expect(receiver.wait { $0.count >= 1 } && secretly.wait { $0.count >= 1 })
            #expect(try outbox.wait { $0.lag == 0 })
            let event = try required(receiver.deliveries.first).json
            #expect(receiver.deliveries.count == 1 && event["subject"]?.stringValue == "client/\(ids[1].text)")
            #expect(event["data"]?["changes"]?["notes"]?["new"] == "x")
            #expect(!event.canonicalText.contains("T-1"))
            #expect(secretly.deliveries.first?.json["data"]?["restricted_changes"]?["tax_number"]?["new"] == "T-1")
            #expect(secretly.deliveries.first?.id == receiver.deliveries.first?.id, "the id is the event's, not the consumer's")
        }
    }

    @Test func replay_sendsAgainUnderTheSameIDs() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url)
            outbox.start()
            try outbox.makeClients(5)
            #expect(receiver.wait { $0.count >= 5 })
            #expect(try outbox.wait { $0.openCount == 0 })
            let first = receiver.deliveries
            try outbox.store { _ = try $0.replay("hook", from: .after(first[2].position)) }
            #expect(receiver.wait { $0.count >= 7 })
            #expect(receiver.deliveries.suffix(2).map(\.id) == first.suffix(2).map(\.id))
            #expect(receiver.deliveries.suffix(2).map(\.body) == first.suffix(2).map(\.body))
        }
    }

    @Test func newEpoch_continues_withIDsOfItsOwn() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url)
            outbox.start()
            try outbox.makeClients(3)
            #expect(receiver.wait { $0.count >= 3 })
            #expect(try outbox.wait { $0.openCount == 0 })
            // A backup from before the last two is put back; then its positions are used again, before anybody notices.
            outbox.stopAll()
            let backup = receiver.deliveries[0].position
            let connection = outbox.server.connection
            for statement in [
                "DELETE FROM tideline.feed WHERE tenant = $1::uuid AND position > $2",
                "DELETE FROM public.client WHERE tenant = $1::uuid AND position > $2",
                "UPDATE tideline.tenant_head SET position = $2 WHERE tenant = $1::uuid",
                "UPDATE tideline.consumer SET position = $2 WHERE tenant = $1::uuid",
            ] { try connection.run(statement, .identifier(outbox.tenant.id), .integer(backup)) }
            outbox.start()
            let again = try outbox.makeClients(1)
            #expect(receiver.wait { $0.count >= 4 })
            #expect(receiver.deliveries[3].position == receiver.deliveries[1].position)
            #expect(receiver.deliveries[3].id != receiver.deliveries[1].id, "another event, whatever its position")
            #expect(receiver.deliveries[3].record == again[0].text)
            try Epoch(context: outbox.server.context, tenant: outbox.tenant.id, connection: connection).begin(after: 0)
            let later = try outbox.makeClients(2)
            #expect(receiver.wait { $0.count >= 7 })
            let new = receiver.deliveries.suffix(3)
            #expect(new.first?.json["type"] == "sync.epoch_started", "told although it was not asked for")
            #expect(new.dropFirst().map(\.record) == later.map(\.text))
            #expect(new.allSatisfy { $0.json["data"]?["epoch"] == 1 })
            #expect(try outbox.wait { $0.cursor.epoch == 1 && $0.lag == 0 })
        }
    }

    @Test func rotatedSecrets_bothSign_forADay() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            let old = try required(try outbox.add(url: receiver.url))
            let new = try outbox.store { try $0.rotateSecret("hook", nowMilliseconds: outbox.server.context.now()) }
            #expect(old != new)
            outbox.start()
            try outbox.makeClients(1)
            #expect(receiver.wait { $0.count >= 1 })
            outbox.server.clock.with { $0 += ConsumerStore.graceMilliseconds }
            try outbox.makeClients(1)
            #expect(receiver.wait { $0.count >= 2 })
            for (one, secrets) in zip(receiver.deliveries, [[new, old], [new]]) {
                let seconds = try required(one.headers["webhook-timestamp"].flatMap { Int64($0) })
                let expected = WebhookSignature.header(id: one.id, timestampSeconds: seconds, body: one.body, secrets: secrets)
                #expect(one.headers["webhook-signature"] == expected)
            }
        }
    }

    @Test func forbiddenAddress_isNeverConnectedTo() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url, attemptsMax: 2)
            var settings = OutboxUnderTest.settings
            settings.addressGuard = AddressGuard()
            outbox.start(settings)
            try outbox.makeClients(1)
            #expect(try outbox.wait { $0.deadCount == 1 })
            #expect(receiver.requestCount == 0)
            #expect(try outbox.letters().first?.lastError?.contains("webhooks may not go") == true)
        }
    }

    @Test func leaseOfADeadDispatcher_endsByItself() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver()
            try outbox.add(url: receiver.url)
            try outbox.makeClients(3)
            let now = outbox.server.context.now()
            let lost = try outbox.store { store in
                try DeliveryStore(tenant: store.tenant, connection: store.connection).claim(
                    "hook", lease: outbox.server.newIdentifier(), leaseMilliseconds: 600_000, nowMilliseconds: now, withheld: [])
            }
            let batch = try required(lost)
            #expect(batch.items.count == 3)
            outbox.start()
            #expect(try outbox.wait { $0.openCount == 3 })
            #expect(receiver.requestCount == 0, "somebody else is at it")
            outbox.server.clock.with { $0 += 700_000 }
            #expect(receiver.wait { $0.count >= 3 })
            #expect(try outbox.wait { $0.openCount == 0 })
            // Whoever comes too late writes nothing.
            try outbox.makeClients(1)
            #expect(receiver.wait { $0.count >= 4 })
            try outbox.store { store in
                let late = batch.items.map {
                    SettledDelivery(
                        position: $0.position, attempts: 1, verdict: .dead, result: .failed(.timeout, "late"), atMilliseconds: now,
                        durationMilliseconds: 1, requestID: "late")
                }
                try DeliveryStore(tenant: store.tenant, connection: store.connection).settle(
                    batch, late, untried: [], failures: 0, blockedUntil: 0, nowMilliseconds: now)
            }
            #expect(try outbox.consumer().deadCount == 0)
        }
    }
}
