// The server killed between every two steps of delivering, and two servers on one database: at least once, in order, and
// what comes twice has the same id.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

// One after another: together they would keep a small machine from everything else.
@Suite(.serialized) struct DispatcherKillTests {
    private static let environment = ["TIDELINE_WEBHOOK_RETRY_SECONDS": "0.01"]

    private struct Place: Sendable {
        let url: String
        let tenant: String
        let code: String

        init() throws {
            url = try ServerProcess.migratedDatabase()
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--database-url", url])
            tenant = try required(made["tenant"]?.stringValue)
            code = try required(made["code"]?.stringValue)
        }

        func add(_ receiver: WebhookReceiver, _ options: [String] = []) throws {
            _ = try ServerProcess.json(
                ["consumer", "add", "--tenant", tenant, "hook", "--url", receiver.url, "--kinds", "client.created", "--database-url", url]
                    + options)
        }

        func serve(_ environment: [String: String] = [:]) throws -> ServerProcess {
            try ServerProcess(
                ["--database-url", url, "--webhook-allow", "127.0.0.1", "--workers", "2"],
                environment: DispatcherKillTests.environment.merging(environment) { $1 })
        }

        /// Ends the leases of a dispatcher that was killed, as time would.
        func endLeases() throws {
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            defer { connection.close() }
            try connection.run("UPDATE tideline.delivery SET lease_until = 0 WHERE lease_until IS NOT NULL")
            try connection.run("UPDATE tideline.consumer SET due_at = 0")
        }

        func open() throws -> Int64 {
            let shown = try ServerProcess.json(["consumer", "show", "--tenant", tenant, "hook", "--database-url", url])
            return try required(shown["open"]?.integerValue) + required(shown["lag"]?.integerValue)
        }
    }

    private static func push(
        _ server: ServerProcess, _ replica: EnrollmentReply, _ counters: ClosedRange<Int64>, named name: String = "Client"
    ) throws -> [String] {
        try counters.map { counter in
            let client = Identifier.version7(milliseconds: 1_700_000_000_000 + counter, random: (1, UInt64(counter)))
            let response = try server.post(
                "/v1/sync/push", replica.pushBody(counter: counter, client: client, name: "\(name) \(counter)"), token: replica.token)
            guard response.status == 200 else { throw ServerProcess.Failure(description: response.text) }
            return client.text
        }
    }

    /// Always one more event to deliver, until a step is the last one.
    private static func pushUntilDead(
        _ doomed: ServerProcess, to server: ServerProcess, _ replica: EnrollmentReply, _ expected: inout [String]
    ) throws {
        for _ in 0..<2_000 where doomed.isRunning {
            let counter = Int64(expected.count + 1)
            expected += try push(server, replica, counter...counter)
        }
        if doomed.isRunning { doomed.signal(SIGTERM) }
    }

    @Test(arguments: OutboxStep.ofWebhooks) func death_atAStep_losesNothing(step: OutboxStep) async throws {
        try await onOwnThread {
            let place = try Place()
            let receiver = try WebhookReceiver()
            // Takes the pushes and delivers nothing, so that whatever is delivered is one of the others' doing.
            let steady = try place.serve(["TIDELINE_WEBHOOK_THREADS": "0"])
            let replica = try steady.enroll(place.code)
            try place.add(receiver)
            var expected = try Self.push(steady, replica, 1...6)
            // Later deaths meet a batch that is half done.
            for count in 1...3 {
                let doomed = try place.serve(["TIDELINE_TEST_OUTBOX_KILL": "\(step.rawValue):\(count)"])
                try Self.pushUntilDead(doomed, to: steady, replica, &expected)
                #expect(doomed.waitForExit() == -SIGKILL)
                try place.endLeases()
            }
            let server = try place.serve()
            expected += try Self.push(steady, replica, Int64(expected.count + 1)...Int64(expected.count + 3))
            #expect(receiver.wait { Set($0.map(\.record)).isSuperset(of: expected) })
            let deliveries = receiver.deliveries
            #expect(deliveries.firsts.map(\.record) == expected)
            #expect(deliveries.firsts.positions == deliveries.firsts.positions.sorted())
            for (id, same) in Dictionary(grouping: deliveries, by: \.id) {
                #expect(Set(same.map(\.body)).count == 1, "\(id) means one event")
                #expect(same.count <= 4, "once for each server")
            }
            // A repetition starts again where the lost batch started, never in the middle of nowhere.
            for (earlier, later) in zip(deliveries, deliveries.dropFirst()) where later.position < earlier.position {
                #expect(deliveries.contains { $0.id == later.id && $0.headers["x-request-id"] != later.headers["x-request-id"] })
            }
            for one in [server, steady] {
                one.signal(SIGTERM)
                #expect(one.waitForExit() == 0)
            }
            #expect(try place.open() == 0)
        }
    }

    /// What a receiver was asked, in order, whatever it answered.
    private typealias Asked = Locked<[(record: String, position: Int64)]>

    private static func firstPositions(_ asked: Asked) -> [Int64] {
        var seen: Set<String> = []
        return asked.with { $0 }.filter { seen.insert($0.record).inserted }.map(\.position)
    }

    /// Half of the events are such that the endpoint never takes, and are given up at once. Whenever the server dies on the way, each
    /// becomes one dead letter, is not sent again after that, and keeps what stands behind it in order.
    @Test func death_onTheWayToADeadLetter_losesNothing_andMakesOneLetter() async throws {
        try await onOwnThread {
            let place = try Place()
            let asked = Asked([])
            let isBad = Locked(true)
            let receiver = try WebhookReceiver { delivery, _ in
                asked.with { $0.append((delivery.record, delivery.position)) }
                return isBad.with { $0 } && delivery.name.hasPrefix("Bad") ? .answer(400) : .answer(204)
            }
            let steady = try place.serve(["TIDELINE_WEBHOOK_THREADS": "0"])
            let replica = try steady.enroll(place.code)
            try place.add(receiver, ["--max-attempts", "1"])
            var expected: [(id: String, isBad: Bool)] = []
            func pushOne() throws {
                let counter = Int64(expected.count + 1)
                let isBad = counter % 2 == 1
                expected += try Self.push(steady, replica, counter...counter, named: isBad ? "Bad" : "Good").map { ($0, isBad) }
            }
            // The first event of a batch is a bad one; later deaths meet a batch that is half done.
            let more: [(OutboxStep, Int)] = [(.sending, 2), (.answered, 2), (.sending, 3), (.answered, 3)]
            for (step, count) in OutboxStep.ofWebhooks.map({ ($0, 1) }) + more {
                for _ in 0..<3 + expected.count % 2 { try pushOne() }
                let doomed = try place.serve(["TIDELINE_TEST_OUTBOX_KILL": "\(step.rawValue):\(count)"])
                #expect(doomed.waitForExit() == -SIGKILL, "\(step):\(count)")
                try place.endLeases()
            }
            func letters() throws -> [JSONValue] {
                let list = try ServerProcess.json(
                    ["consumer", "dead", "list", "--tenant", place.tenant, "hook", "--database-url", place.url])
                return list["data"]?.arrayValue ?? []
            }
            let early = Set(try letters().compactMap { $0["record"]?.stringValue })
            let asksForEarly = asked.with { $0.filter { early.contains($0.record) }.count }
            #expect(!early.isEmpty)
            let server = try place.serve()
            for _ in 0..<3 { try pushOne() }
            let good = expected.filter { !$0.isBad }.map(\.id)
            let bad = expected.filter(\.isBad).map(\.id)
            #expect(receiver.wait { Set($0.map(\.record)).isSuperset(of: good) })
            let limit = Date(timeIntervalSinceNow: 60)
            while try place.open() > 0, Date() < limit { usleep(20_000) }
            #expect(try place.open() == 0)

            // Nothing lost, nothing out of order, the bad ones included.
            #expect(receiver.deliveries.firsts.map(\.record) == good)
            let positions = Self.firstPositions(asked)
            #expect(positions == positions.sorted() && positions.count == expected.count)
            let dead = try letters()
            #expect(dead.compactMap { $0["record"]?.stringValue } == bad, "each once, in order")
            #expect(dead.allSatisfy { $0["attempts"] == 1 && $0["status"] == 400 })
            #expect(asked.with { $0.filter { early.contains($0.record) }.count } == asksForEarly, "what is dead is not sent again")
            // Each letter is one delivery more when it is replayed.
            isBad.with { $0 = false }
            let before = receiver.deliveries.count
            _ = try ServerProcess.json(
                ["consumer", "dead", "replay", "--tenant", place.tenant, "hook", "--all", "--database-url", place.url])
            #expect(receiver.wait { $0.count >= before + bad.count })
            #expect(receiver.deliveries.dropFirst(before).map(\.record) == bad)
            #expect(try letters().isEmpty)
            for one in [server, steady] {
                one.signal(SIGTERM)
                #expect(one.waitForExit() == 0)
            }
        }
    }

    /// Killed at every step of hearing 410: until that is written down the endpoint stays as it was and is asked again; then it is
    /// disabled, once, and left alone by every server until it is resumed, with everything still to come.
    @Test func death_whileAnEndpointIsGone_disablesItOnce_andSkipsNothing() async throws {
        try await onOwnThread {
            let place = try Place()
            let asked = Asked([])
            let isGone = Locked(true)
            let receiver = try WebhookReceiver { delivery, _ in
                asked.with { $0.append((delivery.record, delivery.position)) }
                return isGone.with { $0 } ? .answer(410) : .answer(200)
            }
            let steady = try place.serve(["TIDELINE_WEBHOOK_THREADS": "0"])
            let replica = try steady.enroll(place.code)
            try place.add(receiver)
            var expected = try Self.push(steady, replica, 1...3)
            let connection = try PostgresConnection(PostgresConfiguration(url: place.url))
            defer { connection.close() }
            func state() throws -> (status: String?, disabledAt: Int64?) {
                let found = try connection.run("SELECT status, disabled_at FROM tideline.consumer WHERE name = 'hook'")
                return (found.text(0, 0), found.integer(0, 1))
            }
            for step in OutboxStep.ofWebhooks {
                #expect(try state().status == "active", "before \(step)")
                let doomed = try place.serve(["TIDELINE_TEST_OUTBOX_KILL": "\(step.rawValue):1"])
                #expect(doomed.waitForExit() == -SIGKILL, "\(step)")
                try place.endLeases()
                let isWritten = step == .settled
                let (status, disabledAt) = try state()
                #expect(status == (isWritten ? "disabled" : "active") && (disabledAt != nil) == isWritten, "\(step): \(status ?? "")")
            }
            let disabled = try state()
            let count = asked.with { $0.count }
            #expect(asked.with { $0 }.allSatisfy { $0.record == expected[0] }, "nothing passed the one that was refused")

            // Another endpoint shows when the servers have had their chance.
            let witness = try WebhookReceiver()
            _ = try ServerProcess.json(
                ["consumer", "add", "--tenant", place.tenant, "witness", "--url", witness.url, "--database-url", place.url])
            let server = try place.serve()
            expected += try Self.push(steady, replica, 4...6)
            #expect(witness.wait { Set($0.map(\.record)).isSuperset(of: expected.suffix(3)) })
            #expect(asked.with { $0.count } == count, "a disabled endpoint is left alone")
            #expect(try state().disabledAt == disabled.disabledAt && state().status == "disabled")

            isGone.with { $0 = false }
            _ = try ServerProcess.json(["consumer", "resume", "--tenant", place.tenant, "hook", "--database-url", place.url])
            #expect(receiver.wait { $0.count >= expected.count })
            #expect(receiver.deliveries.map(\.record) == expected, "in order, each once")
            let limit = Date(timeIntervalSinceNow: 60)
            while try place.open() > 0, Date() < limit { usleep(20_000) }
            #expect(try place.open() == 0 && state().status == "active")
            for one in [server, steady] {
                one.signal(SIGTERM)
                #expect(one.waitForExit() == 0)
            }
        }
    }

    /// A built-in consumer in a process that is killed: everybody who was disabled is shut out, each device by one set that the log of
    /// attempts knows once. That nothing is done twice shows with handlers that count: BuiltinConsumerTests.
    @Test func builtinConsumer_isKilledAtEachStep_andDoesEverythingOnce() async throws {
        try await onOwnThread {
            let place = try Place()
            let steady = try place.serve(["TIDELINE_WEBHOOK_THREADS": "0"])
            let owner = try steady.enroll(place.code)
            _ = try ServerProcess.json(
                ["consumer", "add", "--tenant", place.tenant, "hook", "--handler", "revoke_replicas", "--database-url", place.url])
            var counter: Int64 = 0
            var devices: [Identifier] = []
            func dismissOne() throws {
                let added = try ServerProcess.json([
                    "member", "add", "--tenant", place.tenant, "--name", "Temp", "--email", "temp\(counter)@acme.example", "--role",
                    "field",
                    "--database-url", place.url,
                ])
                let device = try steady.enroll(try required(added["code"]?.stringValue))
                devices.append(device.replica)
                counter += 1
                let response = try steady.post(
                    "/v1/sync/push", owner.disableBody(counter: counter, member: device.member), token: owner.token)
                guard response.status == 200, response.text.contains("accepted") else {
                    throw ServerProcess.Failure(description: response.text)
                }
            }
            for step in OutboxStep.ofBuiltins {
                let doomed = try place.serve(["TIDELINE_TEST_OUTBOX_KILL": "\(step.rawValue):1"])
                try dismissOne()
                #expect(doomed.waitForExit() == -SIGKILL, "\(step)")
                try place.endLeases()
            }
            let server = try place.serve()
            try dismissOne()
            let connection = try PostgresConnection(PostgresConfiguration(url: place.url))
            defer { connection.close() }
            func count(_ statement: String) throws -> [Int64] {
                let result = try connection.run(statement)
                return result.rows.compactMap { result.integer($0, 0) }
            }
            let revoked = "SELECT count(*) FROM tideline.feed WHERE kind = 'replica.revoked' GROUP BY record"
            let limit = Date(timeIntervalSinceNow: 60)
            while try count(revoked).count < devices.count, Date() < limit { usleep(20_000) }
            #expect(try count(revoked) == devices.map { _ in 1 })
            for one in [server, steady] {
                one.signal(SIGTERM)
                #expect(one.waitForExit() == 0)
            }
            #expect(try place.open() == 0)
            let attempts = "SELECT count(*) FROM tideline.delivery_attempt WHERE result = 'delivered' GROUP BY position"
            #expect(try count(attempts) == devices.map { _ in 1 })
        }
    }

    @Test func twoServers_deliverInOrder_whileOneIsKilledAgainAndAgain() async throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let faults = (0..<4_000).map { _ in Int.random(in: 0..<8, using: &random) }
        let kills = (0..<4).map { _ in "\(Int.random(in: 1...7, using: &random)):\(Int.random(in: 1...4, using: &random))" }
        try await onOwnThread {
            let place = try Place()
            let receiver = try WebhookReceiver { _, number in
                switch faults[number % faults.count] {
                case 0: .answer(503)
                case 1: .takeAndDrop
                default: .answer(202)
                }
            }
            try place.add(receiver, ["--max-attempts", "100"])
            let steady = try place.serve()
            let replica = try steady.enroll(place.code)
            var expected: [String] = []
            for kill in kills {
                // Which of the two takes them is open: until the doomed one has had its turn.
                let doomed = try place.serve(["TIDELINE_TEST_OUTBOX_KILL": kill])
                try Self.pushUntilDead(doomed, to: steady, replica, &expected)
                #expect(doomed.waitForExit() == -SIGKILL)
                try place.endLeases()
            }
            #expect(receiver.wait { Set($0.map(\.record)).isSuperset(of: expected) })
            #expect(receiver.deliveries.firsts.map(\.record) == expected)
            steady.signal(SIGTERM)
            #expect(steady.waitForExit() == 0)
        }
    }
}
