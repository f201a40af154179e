// One tenant's slow endpoints, another one's quick one: who is served while others are not.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite(.serialized) struct DispatcherFairnessTests {
    @Test func hundredSlowEndpointsOfOneTenant_delayNobodyElse_andGetEverythingInTheEnd() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let other = try outbox.server.makeTenant()
            let isOpen = Locked(false)
            let underWay = AwaitableCounter()
            let slow = try WebhookReceiver { _, _ in
                underWay.add()
                while !isOpen.with({ $0 }) { usleep(1_000) }
                return .answer(200)
            }
            let quick = try WebhookReceiver()
            defer { isOpen.with { $0 = true } }
            for number in 0..<Int(ConsumerStore.perTenantMax) { try outbox.add("slow-\(number)", url: slow.url) }
            try outbox.add("quick", url: quick.url, to: other)
            var settings = OutboxUnderTest.settings
            settings.threads = 8
            settings.connections = 2
            settings.limits = WebhookLimits(attemptSeconds: 300, connectSeconds: 60)
            settings.leaseSeconds = 600
            outbox.start(settings)
            try outbox.makeClients(1)
            // As many as one tenant may have, of 8 threads.
            #expect(underWay.wait(for: 5))
            // Batches follow each other while not one of the slow endpoints has answered.
            for round in 1...5 {
                try outbox.makeClients(5, tenant: other)
                #expect(quick.wait { $0.count >= 5 * round })
            }
            #expect(slow.deliveries.isEmpty && underWay.current == 5)
            isOpen.with { $0 = true }
            #expect(slow.wait { $0.count >= Int(ConsumerStore.perTenantMax) })
            #expect(quick.deliveries.count == 25)
        }
    }

    /// The look at what is due has an end. Consumers that wait long behind it must not hide another tenant's.
    @Test func whatIsDue_isToldByTurnsOfTenants() throws {
        let outbox = try OutboxUnderTest()
        let (busy, quiet) = (outbox.tenant, try outbox.server.makeTenant())
        for number in 0..<20 { try outbox.add("busy-\(number)", url: "http://127.0.0.1:1/") }
        try outbox.add("quiet", url: "http://127.0.0.1:1/", to: quiet)
        // It was served a moment ago, the others never.
        _ = try outbox.server.connection.run("UPDATE tideline.consumer SET last_attempt_at = 1 WHERE name = 'quiet'")
        try outbox.makeClients(1, tenant: busy)
        try outbox.makeClients(1, tenant: quiet)
        let due = try outbox.server.connection.run(
            "SELECT name FROM tideline.outbox_due($1, $2, 2)", .integer(outbox.server.context.now()), .integer(DeliveryStore.openMax))
        let names = due.rows.compactMap { due.text($0, 0) }
        #expect(names.count == 2 && names.contains("quiet"), "\(names)")
    }

    /// A log that says so before it is so would be wrong if the server died in between.
    @Test func endOfADelivery_isLoggedOnceItIsCommitted() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let receiver = try WebhookReceiver { _, _ in .answer(422) }
            try outbox.add(url: receiver.url, attemptsMax: 1)
            let logged = outbox.server.logged
            let early = Locked<[String]>([])
            outbox.start { step in
                // Inside the transaction that writes it down.
                guard step == .settling else { return }
                let words = logged.with { $0.map(\.message) }
                early.with { $0 = words.filter { $0 == "delivery_dead" } }
            }
            try outbox.makeClients(1)
            #expect(try outbox.wait { $0.deadCount == 1 })
            outbox.stopAll()
            #expect(early.with { $0.isEmpty })
            #expect(logged.with { $0.filter { $0.message == "delivery_dead" }.count } == 1)
        }
    }
}
