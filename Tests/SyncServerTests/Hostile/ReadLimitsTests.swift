// What one request reads at most, in rows, bytes and time: each limit is met exactly, and passed.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ReadLimitsTests {
    @Test func outcomesOfACheckpoint_areTheNewestHundredThousand() throws {
        let server = try ServerUnderTest()
        let replica = try server.makeTenant().enroll()
        let count = Pull.outcomesMax + 1
        _ = try server.connection.run(
            """
            INSERT INTO tideline.change_set (tenant, replica, counter, hash, status, outcome, received_at) \
            SELECT $1::uuid, $2::uuid, n, $3, 'noop', '{"status":"noop"}', 0 FROM generate_series(1, $4::bigint) n
            """, .identifier(replica.tenant), .identifier(replica.id), .text(String(repeating: "a", count: 64)), .integer(count))
        _ = try server.connection.run(
            "UPDATE tideline.replica SET acknowledged = $2 WHERE id = $1::uuid", .identifier(replica.id), .integer(count))
        let told = try required(try replica.pull().last).outcomes.map(\.counter)
        #expect(told.count == Int(Pull.outcomesMax))
        #expect(told.first == 2 && told.last == count, "the oldest is left out")
        #expect(try replica.page(outcomesAfter: 1).outcomes.count == told.count)
        // Whoever asks for it gets it: by pushing the set again.
        let again = OfferedSet(counter: 1, hash: String(repeating: "a", count: 64), sealed: nil)
        #expect(try replica.outcome(replica.push([again])).status == .noop)
    }

    @Test func outcomesOfACheckpoint_haveTheirBytes_andTheNewestIsAlwaysTold() throws {
        let server = try ServerUnderTest()
        let replica = try server.makeTenant().enroll()
        let each = Outcomes.toldBytesMax / 4
        _ = try server.connection.run(
            """
            INSERT INTO tideline.change_set (tenant, replica, counter, hash, status, outcome, received_at) \
            SELECT $1::uuid, $2::uuid, n, $3, 'noop', '{"status":"noop","x":"' || repeat('x', $4::integer) || '"}', 0 \
            FROM generate_series(1, 7) n
            """, .identifier(replica.tenant), .identifier(replica.id), .text(String(repeating: "a", count: 64)), .integer(each))
        _ = try server.connection.run("UPDATE tideline.replica SET acknowledged = 7 WHERE id = $1::uuid", .identifier(replica.id))
        #expect(try replica.pull().last?.outcomes.map(\.counter) == [4, 5, 6, 7])
        #expect(try replica.page(outcomesAfter: 6).outcomes.map(\.counter) == [7])
    }

    @Test func pageOfAPull_isCutAtTheRowThatPassesItsBytes() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        try replica.pull()
        let notes = String(repeating: "x", count: 20_000)
        for _ in 0..<4 {
            let changes = (0..<60).map {
                Change("client", server.newIdentifier(), .create(fields: ["name": .string("C\($0)"), "notes": .string(notes)]))
            }
            try tenant.write(changes).requireAccepted()
        }
        let page = try replica.page(limit: Limits.recordsPerPage)
        #expect(page.hasMore && page.bytes.count > Pull.pageBytes && page.bytes.count < Pull.pageBytes + 100_000, "\(page.bytes.count)")
        let rest = try replica.pull(limit: Limits.recordsPerPage)
        #expect(try page.rows("client").count + rest.reduce(0) { try $0 + $1.rows("client").count } == 240)
    }

    /// What is left out of an answer does not exist, so there is no other page to ask for.
    @Test func singleRecords_haveTheirBytes_andFewerAreAnswered() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        let ids = (0..<RecordsRequest.recordsMax).map { _ in rest.server.newIdentifier() }
        try rest.tenant.write(ids.map { Edit.client($0) }).requireAccepted()
        try rest.server.connection.run(
            "UPDATE public.client SET notes = repeat('x', 200000) WHERE tenant = $1::uuid", .identifier(rest.tenant.id))
        func ask(_ ids: some Sequence<Identifier>) throws -> RestReply {
            let list = ids.map(\.text).joined(separator: ",")
            return try rest.send("GET", "/v1/sync/records?entity=client&ids=\(list)", [], token: replica.token.text)
        }
        let refused = try ask(ids)
        #expect(refused.status == 413 && refused.code == "payload_too_large")
        for half in [ids.prefix(50), ids.suffix(50)] {
            #expect(try ask(half).json["entities"]?[0]?["rows"]?.arrayValue?.count == 50)
        }
    }

    /// What leads on is the last entry that is there, not the number that was asked for.
    @Test func longEntries_makeShortPages_andNoneIsSkipped() throws {
        let rest = try RestUnderTest()
        for number in 0..<30 { try rest.create("client", ["name": .string("C\(number)")]) }
        let tenant = rest.tenant
        // Of some lengths, so that a page ends at an entry of each kind.
        try rest.server.connection.run(
            """
            UPDATE tideline.feed SET changes = jsonb_build_object('notes', jsonb_build_object('new', repeat('x', \
            (position % 4 * 700000)::integer))) WHERE tenant = $1::uuid AND kind = 'client.created'
            """, .identifier(tenant.id))
        let head = try tenant.head.position.position
        let replica = try tenant.enroll()
        var (seen, after, pages) = ([Int64](), Int64(0), 0)
        while after < head {
            let bytes = try Activity(context: rest.server.context, connection: rest.server.connection)
                .run(ActivityRequest(after: after, limit: 1_000), token: replica.token)
            #expect(bytes.count < 7 << 20)
            let page = try ActivityPage(parsing: bytes)
            try #require(page.next > after)
            (seen, after, pages) = (seen + page.entries.map(\.position.position), page.next, pages + 1)
        }
        #expect(seen.count >= 30 && seen == Array(Set(seen)).sorted() && pages > 4)

        var (listed, cursor) = ([Int64](), String?.none)
        repeat {
            let page = try rest.get("/v1/activity?entity=client&limit=200" + (cursor.map { "&cursor=\($0)" } ?? ""))
            #expect(page.status == 200 && page.text.utf8.count < 7 << 20 && !page.rows.isEmpty)
            listed += page.rows.compactMap { $0["position"]?.integerValue }
            cursor = page.next
        } while cursor != nil
        #expect(listed.count == 30 && listed == Array(Set(listed)).sorted(by: >))
    }

    /// However long the records, a batch of them is some megabytes, and what is compared is all of them.
    @Test func digest_readsLongRecordsInShortBatches() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        let notes = JSONValue.string(String(repeating: "\u{1F6A7}", count: 20_000))
        let ids = (0..<260).map { _ in server.newIdentifier() }
        for part in stride(from: 0, to: ids.count, by: 130) {
            let changes = ids[part..<part + 130].map { Change("client", $0, .create(fields: ["name": "Long", "notes": notes])) }
            try tenant.write(changes).requireAccepted()
        }
        let digest = try JSONValue(
            parsing: Digest(context: server.context, connection: server.connection).run(token: replica.token))
        #expect(digest["entities"]?["client"]?["count"] == 260)
        let table = try required(server.context.tables["client"])
        let batch = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
            try $0.run(table.selectLiveByID(nil).sql, .identifier(tenant.id), .identifier(.zero), .integer(2_000))
        }
        #expect(batch.rowCount < 260 && batch.byteCount(of: 0) < EntityTable.batchBytes + 100_000)
    }

    @Test func reportsAndTimeline_endWhenTheDatabaseTakesTooLong() throws {
        let rest = try RestUnderTest(isIsolated: true, workLimits: WorkLimits(list: 150, report: 150))
        let blocker = try rest.server.secondConnection()
        for (table, target, words) in [
            ("public.deal", "/v1/reports/pipeline", "report"), ("tideline.feed", "/v1/activity", "timeline"),
            ("public.deal", "/v1/deal", "list"),
        ] {
            #expect(try rest.get(target).status == 200)
            try blocker.run("BEGIN")
            try blocker.run("LOCK TABLE \(table) IN ACCESS EXCLUSIVE MODE")
            let refused = try rest.get(target)
            try blocker.run("ROLLBACK")
            #expect(refused.status == 503 && refused.code == "unavailable" && refused.header("Retry-After") == "60", "\(refused.text)")
            #expect(refused.text.contains("150 ms") && refused.text.contains(words), "\(refused.text)")
            #expect(try rest.get(target).status == 200)
        }
        #expect(WorkLimits().list == 5_000 && WorkLimits().report == 10_000)
    }

    /// The rest of a longer list says nothing: it is neither waited for nor known.
    @Test func setsInAnAfter_areTheFirstSixtyFour() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let (a, b) = (try tenant.enroll(), try tenant.enroll())
        for replica in [a, b] { try replica.pull() }
        try Epoch(context: server.context, tenant: tenant.id, connection: server.connection).begin(after: 0)
        for replica in [a, b] {
            replica.cursor = nil
            try replica.pull()
        }
        let toCome = SeenSet(dot: Dot(replica: a.id, counter: 1), milliseconds: 1)
        func push(_ before: Int) throws -> Outcome.Status {
            // Of replicas that nobody knows, so that they are not waited for.
            let others = (0..<before).map { SeenSet(dot: Dot(replica: Identifier(high: 9, low: UInt64($0)), counter: 1), milliseconds: 1) }
            var set = b.seal([Edit.client(server.newIdentifier())], clock: VectorClock(feed: FeedPosition(epoch: 0, position: 1)))
            set.after = others + [toCome]
            let body = PushRequest(schemaVersion: 1, cursor: b.cursor, isHealing: true, sets: [set]).bytes(replica: b.id)
            return try b.outcome(
                Push(context: server.context, connection: server.connection, requestID: "heal").run(body, token: b.token)
            ).status
        }
        #expect(try push(SeenSet.maximumCount - 1) == .deferred)
        #expect(try push(SeenSet.maximumCount) == .accepted)
    }

    @Test func newestSetsOfALane_thatWereDecidedElsewhere_areAThousand() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        let lane = server.newIdentifier()
        _ = try server.connection.run(
            """
            INSERT INTO tideline.resealed_set (tenant, member, origin, counter, replica, first_replica) \
            SELECT $1::uuid, $1::uuid, 'o' || n, n, $2::uuid, $1::uuid FROM generate_series(1, $3::bigint) n
            """, .identifier(tenant.id), .identifier(lane), .integer(SameSets.twinsMax + 5))
        let found = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
            try $0.run(SameSets.twins(of: [lane], tenant: tenant.id))
        }
        let counters = found.rows.compactMap { found.integer($0, 1) }
        #expect(counters.count == Int(SameSets.twinsMax) && counters.min() == 6)
    }

    @Test func setsOfManyLanes_thatWereDecidedElsewhere_areTheNewestOfEach() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        // One lane more than fit with all of theirs.
        let lanes = (0..<SameSets.twinsOfAPushMax / SameSets.twinsMax + 1).map { _ in server.newIdentifier() }
        _ = try server.connection.run(
            """
            INSERT INTO tideline.resealed_set (tenant, member, origin, counter, replica, first_replica) \
            SELECT $1::uuid, $1::uuid, 'o' || n, n, l::uuid, $1::uuid FROM generate_series(1, $3::bigint) n, unnest($2::text[]) l
            """, .identifier(tenant.id), .textArray(lanes.map(\.text)), .integer(SameSets.twinsMax))
        let found = try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) {
            try $0.run(SameSets.twins(of: lanes, tenant: tenant.id))
        }
        #expect(found.rowCount == Int(SameSets.twinsOfAPushMax) && SameSets.twinsOfAPushMax == 20_000)
        let counters = Dictionary(grouping: found.rows, by: { found.text($0, 0) }).mapValues { $0.compactMap { found.integer($0, 1) } }
        #expect(counters.count == lanes.count, "none pushes another one out")
        let share = SameSets.twinsOfAPushMax / Int64(lanes.count)
        for (_, counters) in counters {
            #expect(Int64(counters.count) >= share && counters.max() == SameSets.twinsMax)
            #expect(counters.min() == SameSets.twinsMax - Int64(counters.count) + 1)
        }
    }

    @Test func consumersOnTheMetricsPage_areTheTwoHundredFurthestBehind() throws {
        let server = try ServerUnderTest(isIsolated: true)
        for number in 0..<3 {
            let tenant = try server.makeTenant()
            // The last tenant's have nothing to do.
            _ = try server.connection.run(
                """
                INSERT INTO tideline.consumer (tenant, name, epoch, position, kind) SELECT $1::uuid, 'c' || n, 0, $2, 'pull' \
                FROM generate_series(1, 80) n
                """, .identifier(tenant.id), .integer(number == 2 ? try tenant.head.position.position : 0))
        }
        let shown = try MetricsPage.read(server.connection).consumers
        #expect(shown.count == Int(MetricsPage.consumersMax))
        #expect(shown.filter { $0.lag > 0 }.count == 160, "those that are behind are all there")
    }

    /// Of which strangers may send some.
    @Test func messagesThatAreNoPushes_haveTheirBytes() throws {
        let rest = try RestUnderTest()
        let replica = try rest.tenant.enroll()
        for (path, token) in [("/v1/enroll", AccessToken?.none), ("/v1/sync/fork", replica.token), ("/v1/consumers", rest.token)] {
            func send(_ count: Int) throws -> RestReply {
                let body = "{\"x\":[\(String(repeating: "0,", count: (count - 10) / 2))0]}"
                return try rest.send(
                    "POST", path, Array((body + String(repeating: " ", count: count - body.utf8.count)).utf8),
                    headers: [("Content-Type", "application/json")], token: token?.text)
            }
            let most = try send(RequestWorker.messageBytesMax)
            #expect((400..<500).contains(most.status) && most.status != 413 && most.status != 401, "\(path): \(most.status) \(most.text)")
            let more = try send(RequestWorker.messageBytesMax + 1)
            #expect(more.status == 413 && more.code == "payload_too_large", "\(path): \(more.status) \(more.text)")
        }
    }

    @Test func requestThatIsForNobodysLane_isGivenUp() async throws {
        final class Elsewhere: HTTPWorker {
            func handle(_: HTTPRequest, attempt _: HTTPAttempt) -> HTTPReply { .respond(.text(200, "never")) }
            func belongsElsewhere(_: HTTPRequest, lane _: HTTPLane) -> Bool { true }
        }
        try await onOwnThread {
            var configuration = HTTPServerConfiguration()
            configuration.listen = "127.0.0.1:0"
            configuration.lane = { _ in HTTPLane(key: "nobody", isWrite: false) }
            let server = HTTPServer(configuration: configuration, log: { _ in }, makeWorker: { _ in Elsewhere() })
            let client = try LoopbackClient(port: try server.start().port)
            defer { server.stop() }
            try client.get("/")
            #expect(try client.response().status == 503)
        }
    }

    @Test func answerOfAnEndpoint_isReadUpToItsHead_andNoFurther() async throws {
        try await onOwnThread {
            let outbox = try OutboxUnderTest()
            let filling = Locked(WebhookLimits.answerBytesMax / 2)
            let receiver = try WebhookReceiver { _, _ in
                .answer(200, headers: ["X-Filling": String(repeating: "x", count: filling.with { $0 })])
            }
            try outbox.add(url: receiver.url, attemptsMax: 1)
            outbox.start()
            try outbox.makeClients(1)
            #expect(receiver.wait { $0.count == 1 })
            #expect(try outbox.wait { $0.openCount == 0 && $0.lag == 0 && $0.deadCount == 0 })
            filling.with { $0 = WebhookLimits.answerBytesMax + (16 << 10) }
            try outbox.makeClients(1)
            #expect(try outbox.wait { $0.deadCount == 1 })
            #expect(try outbox.letters().first?.lastError == "the head of the answer is too large")
        }
    }

    @Test func headSentToTheForwarder_hasItsBytes() throws {
        let forwarder = try EgressForwarder(resolver: HostResolver(addressGuard: AddressGuard()), secret: "secret")
        forwarder.start()
        defer { forwarder.stop() }
        let client = try LoopbackClient(port: forwarder.port)
        try client.send("CONNECT example.com:443 HTTP/1.1\r\nX: \(String(repeating: "x", count: 10_000))")
        #expect(try client.response().status == 431)
    }
}
