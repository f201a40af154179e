// One tenant at a hundred times another's load, on sockets and Postgres: who is taken before whom. Nothing here looks at a clock; the
// queue tells what happens to every job, in the one order that there is.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite(.serialized) struct FloodTests {
    /// What the queue tells, as far as the two tenants are concerned.
    private struct Tally {
        var waitingBusy = 0
        var runningBusy = 0
        var runningBusyWrites = 0
        var mostRunningBusy = 0
        var mostRunningBusyWrites = 0
        var finishedBusy = 0
        /// While a request of the quiet tenant waits: jobs of others that were taken before it.
        var overtaking: Int?
        var overtakings: [Int] = []
        /// Jobs of the busy tenant that were waiting when a request of the quiet one came.
        var waitingThen: [Int] = []
    }

    private static let workers = 4

    /// The assembled server of ``Application`` without timers and dispatcher.
    private final class Flooded: @unchecked Sendable {
        let rest: ServerUnderTest
        let busy: TenantUnderTest
        let quiet: TenantUnderTest
        let tally = Locked(Tally())
        let lanes = RequestLanes()
        private(set) var port = 0
        private var server: HTTPServer?

        init() throws {
            rest = try ServerUnderTest(isIsolated: true)
            (busy, quiet) = (try rest.makeTenant(), try rest.makeTenant())
            let wake = Locked<HTTPServer?>(nil)
            let context = SyncContext(
                tables: rest.context.tables, cursorSeal: rest.context.cursorSeal, now: rest.context.now,
                announce: { tenant in wake.with { $0 }?.poke(topic: WakeUps.topic(tenant)) })
            var arguments = Arguments([])
            let configuration = try Configuration(&arguments, environment: ["DATABASE_URL": rest.url])
            let database = try Database(configuration, mayShare: false, log: { _ in })
            let documents = SchemaDocuments(.testing)
            let limit = EnrollmentLimit()
            var http = HTTPServerConfiguration()
            http.listen = "127.0.0.1:0"
            http.workers = FloodTests.workers
            http.lane = { [lanes] in lanes.lane(of: $0) }
            let (busyKey, quietKey) = (busy.id.text, quiet.id.text)
            http.observeQueue = { [tally] event, job in
                tally.with { Self.note(event, job, busy: busyKey, quiet: quietKey, &$0) }
            }
            let server = HTTPServer(
                configuration: http, log: { _ in },
                makeWorker: { [lanes] _ in
                    RequestWorker(context: context, database: database, enrollmentLimit: limit, documents: documents, lanes: lanes)
                })
            self.server = server
            wake.with { $0 = server }
            port = try server.start().port
        }

        deinit { server?.stop() }

        private static func note(_ event: HTTPQueueEvent, _ job: HTTPJob, busy: String, quiet: String, _ tally: inout Tally) {
            let change = event == .finished ? -1 : event == .taken ? 1 : 0
            switch job.lane.key {
            case busy:
                if event == .added { tally.waitingBusy += 1 }
                if event == .taken { tally.waitingBusy -= 1 }
                if event == .finished { tally.finishedBusy += 1 }
                tally.runningBusy += change
                if job.lane.isWrite { tally.runningBusyWrites += change }
                tally.mostRunningBusy = max(tally.mostRunningBusy, tally.runningBusy)
                tally.mostRunningBusyWrites = max(tally.mostRunningBusyWrites, tally.runningBusyWrites)
                if event == .taken, let count = tally.overtaking { tally.overtaking = count + 1 }
            case quiet:
                if event == .added {
                    tally.overtaking = 0
                    tally.waitingThen.append(tally.waitingBusy)
                }
                if event == .taken, let count = tally.overtaking {
                    tally.overtakings.append(count)
                    tally.overtaking = nil
                }
            default: break
            }
        }

        /// A token for REST, which the server knows already.
        func token(_ tenant: TenantUnderTest) throws -> String {
            let token = try RestUnderTest.token(tenant, member: tenant.owner)
            lanes.noteAccepted(token, authorization: "Bearer \(token.text)")
            return token.text
        }

        func enroll(_ tenant: TenantUnderTest) throws -> ReplicaUnderTest {
            let replica = try tenant.enroll()
            lanes.noteAccepted(replica.token, authorization: "Bearer \(replica.token.text)")
            return replica
        }
    }

    /// Sends one request and does not wait for its answer.
    private static func send(_ client: LoopbackClient, _ method: String, _ target: String, _ body: [UInt8] = [], token: String) throws {
        try client.send(
            "\(method) \(target) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(token)\r\nContent-Length: \(body.count)\r\n\r\n")
        if !body.isEmpty { try client.send(body) }
    }

    private static func client(_ number: Int) -> [UInt8] { Array(#"{"name":"Harbor \#(number)"}"#.utf8) }

    /// Writes, pushes, reads, reports and long polls on a hundred connections without a pause.
    private static func flood(_ under: Flooded, until isOver: Locked<Bool>) throws -> [DedicatedThread] {
        try (0..<10).map { number in
            let token = try under.token(under.busy)
            let replica = try under.enroll(under.busy)
            _ = try replica.pull()
            let cursor = try required(replica.cursor)
            // Sealed before, because the replica's server is this test's.
            let pushes = (0..<40).map { _ in
                replica.body((0..<2).map { _ in replica.seal([Edit.client(under.rest.newIdentifier(), "Pushed")]) })
            }
            let handed = Locked(pushes)
            let own = replica.token.text
            return DedicatedThread("flood \(number)") {
                guard let clients = try? (0..<10).map({ _ in try LoopbackClient(port: under.port, patienceMilliseconds: 60_000) }) else {
                    return
                }
                do {
                    while !isOver.with({ $0 }) {
                        if let push = handed.with({ $0.popLast() }) {
                            try send(clients[0], "POST", "/v1/sync/push", push, token: own)
                        } else {
                            try send(clients[0], "GET", "/v1/client?limit=1", token: token)
                        }
                        for one in 1...3 { try send(clients[one], "POST", "/v1/client", client(one), token: token) }
                        for one in 4...5 {
                            try send(
                                clients[one], "GET", "/v1/sync/pull?protocol=1&schema=1&limit=200", token: own)
                        }
                        try send(clients[6], "GET", "/v1/client?limit=200&q=harbor", token: token)
                        try send(clients[7], "GET", "/v1/reports/client_overview", token: token)
                        try send(clients[8], "GET", "/v1/activity?limit=200", token: token)
                        try send(
                            clients[9], "GET", "/v1/sync/pull?protocol=1&schema=1&wait=100&cursor=\(cursor)", token: own)
                        for one in clients { _ = try one.response() }
                    }
                } catch {
                    Issue.record("the flood broke off: \(error)")
                }
            }
        }
    }

    @Test func tenantAtAHundredTimesTheLoad_isOvertakenByAnother_requestByRequest() async throws {
        try await onOwnThread {
            let under = try Flooded()
            let token = try under.token(under.quiet)
            let replica = try under.enroll(under.quiet)
            let isOver = Locked(false)
            let threads = try Self.flood(under, until: isOver)
            defer {
                isOver.with { $0 = true }
                for thread in threads { thread.join() }
            }
            let limit = Date(timeIntervalSinceNow: 60)
            while under.tally.with({ $0.waitingBusy }) < 50, Date() < limit { usleep(1_000) }
            let quiet = try LoopbackClient(port: under.port, patienceMilliseconds: 60_000)
            for round in 0..<6 {
                let set = replica.seal([Edit.client(under.rest.newIdentifier(), "Quiet")])
                for (method, target, body, token) in [
                    ("POST", "/v1/client", Self.client(round), token), ("GET", "/v1/client?limit=50", [], token),
                    ("GET", "/v1/reports/client_overview", [], token), ("POST", "/v1/sync/push", replica.body([set]), replica.token.text),
                    ("GET", "/v1/sync/pull?protocol=1&schema=1", [], replica.token.text),
                ] {
                    try Self.send(quiet, method, target, body, token: token)
                    let answer = try quiet.response()
                    #expect(answer.status == 200 || answer.status == 201, "\(target): \(answer.text)")
                }
            }
            let tally = under.tally.with { $0 }
            #expect(tally.overtakings.count == 30)
            // In one queue for all, everything that waits would be taken first.
            #expect(tally.waitingThen.filter { $0 >= 20 }.count >= 15, "there was a flood: \(tally.waitingThen)")
            #expect(tally.overtakings.allSatisfy { $0 <= 1 }, "one turn of the other lane at most: \(tally.overtakings)")
            #expect(tally.mostRunningBusy <= Self.workers - 1, "the last worker, and its connection, is never the same tenant's")
            #expect(tally.mostRunningBusyWrites <= Self.workers / 2)
            #expect(tally.finishedBusy > 100)
        }
    }

    @Test func reportsAndListsThatTakeLong_leaveAConnectionToOthers() async throws {
        try await onOwnThread {
            let under = try Flooded()
            let (busy, token) = (try under.token(under.busy), try under.token(under.quiet))
            // What the reports and lists of deals wait for is held, as long as this test wants.
            let holder = try under.rest.secondConnection()
            _ = try holder.run("BEGIN")
            _ = try holder.run("LOCK TABLE public.deal IN ACCESS EXCLUSIVE MODE")
            let clients = try (0..<60).map { number in
                let client = try LoopbackClient(port: under.port, patienceMilliseconds: 120_000)
                try Self.send(client, "GET", number % 2 == 0 ? "/v1/reports/pipeline" : "/v1/deal", token: busy)
                return client
            }
            let limit = Date(timeIntervalSinceNow: 60)
            while under.tally.with({ $0.runningBusy }) < Self.workers - 1, Date() < limit { usleep(1_000) }
            let quiet = try LoopbackClient(port: under.port, patienceMilliseconds: 60_000)
            for round in 0..<10 {
                try Self.send(quiet, "POST", "/v1/client", Self.client(round), token: token)
                #expect(try quiet.response().status == 201)
                try Self.send(quiet, "GET", "/v1/client", token: token)
                #expect(try quiet.response().status == 200)
            }
            let tally = under.tally.with { $0 }
            #expect(tally.waitingBusy > 0, "the others still wait")
            #expect(tally.overtakings.count == 20 && tally.overtakings.allSatisfy { $0 <= 1 }, "\(tally.overtakings)")
            #expect(tally.mostRunningBusy == Self.workers - 1)
            _ = try holder.run("ROLLBACK")
            for client in clients { #expect([200, 503].contains(try client.response().status)) }
        }
    }
}
