// Built-in consumers: what they change commits with their cursor, exactly once, whenever a dispatcher dies; and they behave as
// webhooks do otherwise.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite(.serialized) struct BuiltinConsumerTests {
    /// Counts the clients that are made, on the part whose sku is `count`: done twice, it shows.
    private static let counting = BuiltinConsumer("count_clients", summary: "counts", kinds: ["client.created"]) { event, workspace in
        guard workspace.record("client", event.record) != nil, let part = workspace.lookup("part", "sku", "count").first else { return [] }
        return [Change(key: part.key, operation: .patch(fields: ["on_hand_milli": 1], was: JSONObject()))]
    }
    /// Answers each change of a client with another one of it.
    private static let looping = BuiltinConsumer("loop", summary: "loops", kinds: ["client.updated"]) { event, workspace in
        let terms = workspace.record("client", event.record)?.integer("payment_terms_days") ?? 0
        return [Change("client", event.record, .patch(fields: ["payment_terms_days": .integer(terms + 1)], was: JSONObject()))]
    }
    /// Wants what the rules refuse, while the client's notes say so.
    private static let refused = BuiltinConsumer("refused", summary: "is refused", kinds: ["client.created"]) { event, workspace in
        let isBad = workspace.record("client", event.record)?.text("notes") == "bad"
        return [Change("client", event.record, .patch(fields: ["legal_name": "told", "name": isBad ? .null : "good"], was: JSONObject()))]
    }

    private let outbox: OutboxUnderTest
    private var server: ServerUnderTest { outbox.server }

    init() throws { outbox = try OutboxUnderTest(builtins: BuiltinConsumer.all + [Self.counting, Self.looping, Self.refused]) }

    private func add(_ handler: String, attemptsMax: Int64 = 12, orderedBy: Consumer.Ordering = .tenant) throws {
        let consumer = try Consumer(
            name: handler.replacing("_", with: "-"), kind: .builtin, kinds: [], url: nil, handler: handler, orderedBy: orderedBy,
            attemptsMax: attemptsMax, schema: .testing, builtins: server.context.builtins)
        #expect(try outbox.store { try $0.add(consumer, from: .now, nowMilliseconds: self.server.context.now()) } == nil, "no secret")
    }

    private func makePart() throws -> Identifier {
        let id = server.newIdentifier()
        try outbox.tenant.write([
            Change("part", id, .create(fields: ["sku": "count", "name": "Counter"]))
        ]).requireAccepted()
        return id
    }

    private func isIdle(_ name: String) throws -> Bool { try outbox.wait(name) { $0.openCount == 0 && $0.lag == 0 } }

    @Test func effect_comesOnce_andIsTold() throws {
        let part = try makePart()
        try add("count_clients")
        outbox.start()
        try outbox.makeClients(3)
        // Its own entries are in the feed behind what it was told.
        #expect(try isIdle("count-clients"))
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 3)
        let told = try server.connection.run(
            "SELECT actor_kind, depth, request_id IS NOT NULL FROM tideline.feed WHERE tenant = $1::uuid AND record = $2::uuid AND kind = 'part.updated'",
            .identifier(outbox.tenant.id), .identifier(part))
        #expect(
            told.rowCount == 3
                && told.rows.allSatisfy { told.text($0, 0) == "system" && told.integer($0, 1) == 1 && told.bool($0, 2) == true })
        // Its log of attempts says the same, once for each; and an operator sees it as any other.
        let shown = try outbox.consumer("count-clients")
        #expect(shown.consumer.kind == .builtin && shown.consumer.handler == "count_clients" && shown.lastSuccessAt != nil)
        #expect(shown.json(nowMilliseconds: 0)["handler"] == "count_clients")
        let log = try outbox.store { try AttemptLog.read(tenant: $0.tenant, consumer: "count-clients", limit: 100, on: $0.connection) }
        #expect(log.count == 3 && log.allSatisfy { $0["result"] == "delivered" && $0["status"] == nil })
        // A person who replays it asks for it to be done again.
        _ = try outbox.store { try $0.replay("count-clients", from: .beginning) }
        #expect(try isIdle("count-clients"))
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 6)
    }

    @Test func pausedConsumer_doesNothing_andLosesNothing() throws {
        let part = try makePart()
        try add("count_clients")
        try outbox.store { try $0.pause("count-clients", reason: "later") }
        outbox.start()
        try outbox.makeClients(2)
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 0)
        try outbox.store { try $0.resume("count-clients") }
        #expect(try isIdle("count-clients"))
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 2)
    }

    /// The session dies at a step, as it would with the process: what is not committed is gone, what is committed stays.
    @Test(arguments: OutboxStep.ofBuiltins) func death_atAStep_doesNothingTwice(step: OutboxStep) throws {
        let part = try makePart()
        try add("count_clients")
        let deaths = Locked(0)
        let url = server.url
        // From here on nothing that this dispatcher has open reaches the database.
        outbox.start(step: { reached in
            guard reached == step,
                deaths.with({
                    $0 += 1
                    return $0 <= 6
                })
            else { return }
            guard let killer = try? PostgresConnection(PostgresConfiguration(url: url)) else { return }
            defer { killer.close() }
            _ = try? killer.run(
                """
                SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'outbox under test'
                """)
            _ = try? killer.run("UPDATE tideline.delivery SET lease_until = 0 WHERE lease_until IS NOT NULL")
            _ = try? killer.run("UPDATE tideline.consumer SET due_at = 0, blocked_until = 0")
        })
        try outbox.makeClients(25)
        #expect(try isIdle("count-clients"))
        #expect(deaths.with { $0 } > 0, "the step was reached")
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 25)
        #expect(try outbox.letters("count-clients").isEmpty)
    }

    @Test func failingOne_leavesADeadLetter_andDelaysNobody() throws {
        let part = try makePart()
        try add("refused", attemptsMax: 2)
        try add("count_clients")
        outbox.start()
        let bad = server.newIdentifier()
        try outbox.tenant.write([
            Change("client", bad, .create(fields: ["name": "Acme", "notes": "bad"]))
        ]).requireAccepted()
        let good = try outbox.makeClients(3)
        #expect(try isIdle("count-clients") && isIdle("refused"))
        #expect(try outbox.tenant.record("part", part)?.integer("on_hand_milli") == 4)
        let letters = try outbox.letters("refused")
        #expect(letters.map(\.event.record) == [bad])
        #expect(letters.first?.lastError?.contains("client.name: required") == true, "\(letters.first?.lastError ?? "")")
        #expect(letters.first?.attempts == 2)
        // The refused set left nothing behind, not even its harmless half or an entry.
        #expect(try outbox.tenant.record("client", bad)?.text("legal_name") == nil)
        #expect(
            try outbox.tenant.count(
                "SELECT count(*) FROM tideline.feed WHERE tenant = $1::uuid AND kind = 'sync.rejected'", .identifier(outbox.tenant.id)) == 0
        )
        for id in good { #expect(try outbox.tenant.record("client", id)?.text("name") == "good") }
        // Put right, the letter can be replayed.
        try outbox.touch(bad, "good now")
        let replayed = try outbox.store { store in
            try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: store.require("refused").consumer).replay(nil)
        }
        #expect(replayed == 1)
        #expect(try outbox.wait("refused") { $0.openCount == 0 && $0.deadCount == 0 })
        #expect(try outbox.tenant.record("client", bad)?.text("name") == "good")
    }

    /// What it looks up may have no end; then it is given up like what is refused, and those behind it go on.
    @Test func lookUp_ofTooManyBytes_isADeadLetter() throws {
        let greedy = BuiltinConsumer("greedy", summary: "reads", kinds: ["client.created"]) { event, workspace in
            guard workspace.record("client", event.record)?.text("name") == "all" else { return [] }
            _ = workspace.lookup("client", "parent", .null)
            return []
        }
        let outbox = try OutboxUnderTest(builtins: [greedy], workLimits: WorkLimits(loadedBytes: 20_000))
        let consumer = try Consumer(
            name: "greedy", kind: .builtin, kinds: [], url: nil, handler: "greedy", orderedBy: .tenant, attemptsMax: 2, schema: .testing,
            builtins: [greedy])
        _ = try outbox.store { try $0.add(consumer, from: .now, nowMilliseconds: outbox.server.context.now()) }
        let notes = JSONValue.string(String(repeating: "x", count: 12_000))
        for name in ["one", "two", "all", "three"] {
            let fields: JSONObject = ["name": .string(name), "notes": notes]
            try outbox.tenant.write([Change("client", outbox.server.newIdentifier(), .create(fields: fields))]).requireAccepted()
        }
        outbox.start()
        #expect(try outbox.wait("greedy") { $0.openCount == 0 && $0.lag == 0 })
        let letters = try outbox.letters("greedy")
        #expect(letters.count == 1 && letters.first?.attempts == 2)
        #expect(letters.first?.lastError?.contains("of records") == true, "\(letters.first?.lastError ?? "")")
    }

    /// It is told every change, however long; what does not fit beside others is not taken yet, keeps its place and costs no attempt.
    @Test func batch_hasItsBytes_andTheRestWaitsInOrder() throws {
        try add("count_clients")
        let long = JSONValue.string(String(repeating: "x", count: 12_000))
        for name in ["a", "b", "c", "d", "e"] {
            let fields: JSONObject = ["name": .string(name), "notes": long]
            try outbox.tenant.write([Change("client", server.newIdentifier(), .create(fields: fields))]).requireAccepted()
        }
        func claim(_ bytesMax: Int64) throws -> ClaimedBatch? {
            try outbox.store { store in
                try DeliveryStore(tenant: store.tenant, connection: store.connection).claim(
                    "count-clients", lease: self.server.newIdentifier(), leaseMilliseconds: 60_000,
                    nowMilliseconds: self.server.context.now(), withheld: [], handlers: self.server.context.builtins.map(\.name),
                    builtinBytesMax: bytesMax)
            }
        }
        func settle(_ batch: ClaimedBatch) throws {
            let now = server.context.now()
            let done = batch.items.map {
                SettledDelivery(
                    position: $0.position, attempts: $0.attempts + 1, verdict: .delivered, result: .delivered(status: nil),
                    atMilliseconds: now, durationMilliseconds: 1, requestID: "r", eventRequestID: nil)
            }
            try outbox.store {
                _ = try DeliveryStore(tenant: $0.tenant, connection: $0.connection).settle(
                    batch, done, untried: [], failures: 0, blockedUntil: 0, nowMilliseconds: now)
            }
        }
        var told: [Int64] = []
        var counts: [Int] = []
        // Two of them fit beside each other; the last one would not even fit alone, and is told all the same.
        for most in [Int64(30_000), 30_000, 100] {
            let batch = try required(claim(most))
            #expect(try claim(most) == nil, "tenant order: nobody else takes what was left")
            #expect(batch.items.allSatisfy { $0.event != nil && $0.attempts == 0 })
            told += batch.items.map(\.position)
            counts.append(batch.items.count)
            try settle(batch)
        }
        #expect(counts == [2, 2, 1])
        #expect(told == told.sorted() && Set(told).count == 5)
        #expect(try isIdle("count-clients") && DeliveryStore.builtinBytesMax == 16 << 20)
    }

    @Test func loop_isStopped() throws {
        try add("loop")
        outbox.start()
        let client = try outbox.makeClients(1)[0]
        try outbox.touch(client, "go")
        #expect(try outbox.wait("loop") { $0.deadCount == 1 })
        #expect(try outbox.tenant.record("client", client)?.integer("payment_terms_days") == BuiltinConsumer.depthMax)
        #expect(try outbox.letters("loop").first?.lastError?.contains("the loop was stopped") == true)
    }

    @Test func unknownHandler_isRefused_andLeftToOthers() throws {
        func refusal(_ kind: Consumer.Kind, _ handler: String?, kinds: [String] = [], url: String? = nil) -> String? {
            do {
                _ = try Consumer(name: "x", kind: kind, kinds: kinds, url: url, handler: handler, schema: .testing)
                return nil
            } catch { return error.details["field"]?.stringValue }
        }
        #expect(refusal(.builtin, "nothing") == "handler" && refusal(.builtin, nil) == "handler")
        #expect(refusal(.builtin, "revoke_replicas", kinds: ["client.*"]) == "kinds")
        #expect(refusal(.builtin, "revoke_replicas", url: "https://a.example") == "url")
        #expect(refusal(.webhook, "revoke_replicas", url: "https://a.example") == "handler")
        #expect(refusal(.pull, "revoke_replicas") == "handler")
        #expect(refusal(.builtin, "revoke_replicas") == nil)
        // A handler that this process does not have: another one may.
        try add("count_clients")
        try server.connection.run("UPDATE tideline.consumer SET handler = 'of_a_newer_server'")
        try outbox.makeClients(1)
        let claimed = try outbox.store { store in
            try DeliveryStore(tenant: store.tenant, connection: store.connection).claim(
                "count-clients", lease: self.server.newIdentifier(), leaseMilliseconds: 1_000, nowMilliseconds: self.server.context.now(),
                withheld: [], handlers: self.server.context.builtins.map(\.name))
        }
        #expect(claimed == nil)
        #expect(try outbox.consumer("count-clients").lag == 1)
    }

    @Test func revokeReplicas_shutsOutWhoWasDisabled() throws {
        let (finn, farah) = (try outbox.tenant.addMember(role: .field), try outbox.tenant.addMember(role: .field))
        let mine = [try outbox.tenant.enroll(member: finn), try outbox.tenant.enroll(member: finn)]
        let hers = try outbox.tenant.enroll(member: farah)
        try add("revoke_replicas")
        outbox.start()
        try outbox.tenant.write([
            Change("member", finn, .transition(name: "disable", observed: "active", arguments: [:]))
        ]).requireAccepted()
        #expect(try isIdle("revoke-replicas"))
        for replica in mine { #expect(try outbox.tenant.record("replica", replica.id)?.state == "revoked") }
        #expect(try outbox.tenant.record("replica", hers.id)?.state == "active")
        try outbox.tenant.write([
            Change("member", finn, .transition(name: "enable", observed: "disabled", arguments: [:]))
        ]).requireAccepted()
        #expect(throws: (any Error).self) { try mine[0].pull() }
        try hers.pull()
    }
}
