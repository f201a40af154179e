// The pure decisions of the outbox: when to try again, when to give up, which deliveries may go now.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct DeliveryDecisionTests {
    private let schedule = RetrySchedule()

    @Test func schedule_triplesUpToItsLongest() {
        #expect((1...10).map { schedule.step(afterAttempts: $0) / 1000 } == [5, 15, 45, 135, 405, 1215, 3645, 10_935, 21_600, 21_600])
        #expect(schedule.step(afterAttempts: .max) == schedule.longestMilliseconds)
    }

    @Test func schedule_spreadsByAFifth() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        var seen: Set<Int64> = []
        for attempts in Int64(1)...12 {
            for _ in 0..<200 {
                let wait = schedule.wait(afterAttempts: attempts, using: &random)
                let step = schedule.step(afterAttempts: attempts)
                #expect(wait >= step * 4 / 5 - 1 && wait <= step * 6 / 5 + 1)
                seen.insert(wait)
            }
        }
        #expect(seen.count > 1_000, "waits must differ")
    }

    private func verdict(_ result: AttemptResult, attempts: Int64 = 1) -> DeliveryVerdict {
        var random = SeededRandom(seed: 1)
        return .after(result, attempts: attempts, attemptsMax: 3, nowMilliseconds: 1_000_000, schedule: schedule, using: &random)
    }

    @Test func verdict_followsTheAnswer() {
        #expect(verdict(.delivered(status: 204)) == .delivered)
        #expect(verdict(.delivered(status: 200), attempts: 3) == .delivered)
        #expect(verdict(.refused(status: 410, retryAfter: nil)) == .gone)
        #expect(verdict(.refused(status: 500, retryAfter: nil), attempts: 3) == .dead)
        #expect(verdict(.failed(.timeout, ""), attempts: 3) == .dead)
        guard case .retry(let at) = verdict(.failed(.dns, "")) else {
            Issue.record("not retried")
            return
        }
        #expect((1_004_000...1_006_000).contains(at))
        guard case .retry(let asked) = verdict(.refused(status: 429, retryAfter: .seconds(60))) else {
            Issue.record("not retried")
            return
        }
        #expect(asked == 1_060_000)
        guard case .retry(let bounded) = verdict(.refused(status: 503, retryAfter: .seconds(.max))) else {
            Issue.record("not retried")
            return
        }
        #expect(bounded == 1_000_000 + RetrySchedule.retryAfterMaxMilliseconds)
    }

    @Test func answerWithoutABody_isNotWaitedFor() throws {
        func length(_ head: String) throws -> Int? {
            var bytes = Array("HTTP/1.1 \(head)\r\n\r\n".utf8)
            return try AnswerHead(taking: &bytes)?.contentLength
        }
        #expect(try length("204 No Content") == 0)
        #expect(try length("304 Not Modified\r\nContent-Length: 12") == 0)
        #expect(try length("200 OK") == nil, "its body ends with the connection")
        #expect(try length("200 OK\r\nContent-Length: 2") == 2)
    }

    @Test func answer_readsRetryAfter_onlyWhereItMeansSomething() {
        #expect(WebhookAnswer.result(status: 429, retryAfter: "7") == .refused(status: 429, retryAfter: .seconds(7)))
        #expect(WebhookAnswer.result(status: 503, retryAfter: "0") == .refused(status: 503, retryAfter: .seconds(0)))
        #expect(WebhookAnswer.result(status: 500, retryAfter: "7") == .refused(status: 500, retryAfter: nil))
        #expect(WebhookAnswer.result(status: 500, retryAfter: Self.dates[0]) == .refused(status: 500, retryAfter: nil))
        for text in ["", "-1", "+7", "7 ", "7.5", "soon"] {
            #expect(WebhookAnswer.result(status: 429, retryAfter: text) == .refused(status: 429, retryAfter: nil), "\(text)")
        }
        #expect(WebhookAnswer.result(status: 302, retryAfter: nil) == .refused(status: 302, retryAfter: nil))
        #expect(WebhookAnswer.result(status: 299, retryAfter: nil).isDelivered)
    }

    /// One moment in the three forms.
    private static let dates = ["Wed, 21 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT", "Wed Oct 21 07:28:00 2026"]

    @Test(arguments: dates) func retryAfterADate_waitsUntilThen_byTheServersOwnClock(text: String) throws {
        let moment = try required(Instant.milliseconds(fromISO8601: "2026-10-21T07:28:00Z"))
        func at(_ now: Int64) -> DeliveryVerdict {
            var random = SeededRandom(seed: 1)
            return .after(
                WebhookAnswer.result(status: 503, retryAfter: text), attempts: 1, attemptsMax: 3, nowMilliseconds: now, schedule: schedule,
                using: &random)
        }
        #expect(at(moment - 600_000) == .retry(atMilliseconds: moment))
        let day = RetrySchedule.retryAfterMaxMilliseconds
        #expect(at(moment - day) == .retry(atMilliseconds: moment))
        #expect(at(moment - 9 * day) == .retry(atMilliseconds: moment - 8 * day), "bounded as seconds are")
        // Over already: the schedule's own wait.
        for now in [moment, moment + 9 * day] {
            guard case .retry(let next) = at(now) else {
                Issue.record("not retried")
                return
            }
            #expect((4_000...6_000).contains(next - now))
        }
    }

    @Test func retryAfterInSeconds_isBounded_howeverLongItIs() {
        for text in ["86401", "9223372036854775807", "99999999999999999999999999"] {
            #expect(RetryAfter(text)?.wait(nowMilliseconds: 5) == RetrySchedule.retryAfterMaxMilliseconds, "\(text)")
        }
    }

    private func open(_ position: Int64, _ record: UInt64 = 1, due: Int64 = 0, leased: Int64 = 0) -> DeliverySelection.Open {
        .init(position: position, record: Identifier(high: 0, low: record), dueAt: due, leasedUntil: leased)
    }

    @Test func tenantOrder_stopsAtTheFirstThatIsNotDue() {
        let rows = [open(1), open(2, 2), open(3, due: 900), open(4, 4)]
        #expect(
            DeliverySelection.choose(rows, orderedBy: .tenant, nowMilliseconds: 100, limit: 9)
                == DeliverySelection(positions: [1, 2], nextAt: 900))
        let leased = [open(1, leased: 500), open(2, 2)]
        #expect(
            DeliverySelection.choose(leased, orderedBy: .tenant, nowMilliseconds: 100, limit: 9)
                == DeliverySelection(positions: [], nextAt: 500))
        #expect(
            DeliverySelection.choose(leased, orderedBy: .tenant, nowMilliseconds: 500, limit: 1)
                == DeliverySelection(positions: [1], nextAt: 500))
    }

    @Test func recordOrder_letsOthersPassAStuckRecord() {
        let rows = [open(1, 1, due: 900), open(2, 2), open(3, 1), open(4, 2), open(5, 3, leased: 300), open(6, 3)]
        let chosen = DeliverySelection.choose(rows, orderedBy: .record, nowMilliseconds: 100, limit: 9)
        #expect(chosen == DeliverySelection(positions: [2, 4], nextAt: 300))
    }

    @Test func recordOrder_leavesTheOtherTakersTheirShare() {
        let rows = (1...12).map { open($0, UInt64($0)) }
        func choose(_ ordering: Consumer.Ordering, takers: Int, limit: Int = 20) -> DeliverySelection {
            .choose(rows, orderedBy: ordering, nowMilliseconds: 100, limit: limit, takers: takers)
        }
        #expect(choose(.record, takers: 3) == DeliverySelection(positions: [1, 2, 3, 4], nextAt: 100))
        #expect(choose(.record, takers: 16) == DeliverySelection(positions: [1], nextAt: 100))
        #expect(choose(.record, takers: 3, limit: 2) == DeliverySelection(positions: [1, 2], nextAt: 100))
        #expect(choose(.record, takers: 1).positions.count == 12)
        #expect(choose(.tenant, takers: 3).positions.count == 12, "one lane is one taker's")
        #expect(choose(.record, takers: 3, limit: 0).positions.isEmpty)
    }

    @Test func selection_neverOvertakesWithinALane() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for _ in 0..<500 {
            let rows = (1...Int64.random(in: 1...30, using: &random)).map {
                open(
                    $0, UInt64.random(in: 1...4, using: &random), due: Int64.random(in: 0...3, using: &random) * 100,
                    leased: Int64.random(in: 0...3, using: &random) * 100)
            }
            let now = Int64.random(in: 0...3, using: &random) * 100
            for ordering in Consumer.Ordering.allCases {
                let chosen = DeliverySelection.choose(rows, orderedBy: ordering, nowMilliseconds: now, limit: 8, takers: Int(now / 100) + 1)
                #expect(chosen.positions == chosen.positions.sorted() && chosen.positions.count <= 8)
                for position in chosen.positions {
                    guard let row = rows.first(where: { $0.position == position }) else {
                        Issue.record("unknown")
                        continue
                    }
                    #expect(row.dueAt <= now && row.leasedUntil <= now)
                    let earlier = rows.filter { $0.position < position && (ordering == .tenant || $0.record == row.record) }
                    #expect(earlier.allSatisfy { chosen.positions.contains($0.position) })
                }
                // Whatever is not chosen is looked at again some time.
                #expect(chosen.positions.count == rows.count || chosen.nextAt != nil)
            }
        }
    }

    @Test func filter_matchesKindsAndTheirBeginnings() throws {
        let filter = try EventFilter(checking: ["client.*", "deal.won", "deal.won"], schema: .tideline)
        #expect(filter.patterns == ["client.*", "deal.won"])
        for kind in ["client.created", "client.updated", "deal.won", "sync.epoch_started"] { #expect(filter.matches(kind)) }
        for kind in ["client_contact.created", "deal.lost", "contact.created"] { #expect(!filter.matches(kind)) }
        #expect(try EventFilter(checking: [], schema: .tideline).matches("anything.at_all"))
    }

    /// What the database looks for is a beginning, whatever stands in it.
    @Test func beginning_isNoPattern_whereKindsAreLookedFor() throws {
        let connection = try ServerUnderTest().connection
        for (prefix, kind, isOne) in [
            ("client_contact.", "client_contact.created", true), ("client_contact.", "clientXcontact.created", false),
            ("100%", "100 percent", false), ("100%", "100% off", true), ("a\\", "a\\b", true), ("a\\_", "a\\xb", false),
        ] {
            let found = try connection.run("SELECT $1::text LIKE $2::text", .text(kind), .text(DeliveryStore.likePattern(prefix)))
            #expect(found.bool(0, 0) == isOne, "\(prefix) \(kind)")
        }
    }

    @Test(arguments: [
        "client", "client.", ".created", "cliént.*", "nothing.created", "client.created.twice", "number_sequence.*", "client.%",
    ])
    func filter_namesItsField_whenAPatternIsNone(pattern: String) {
        let error = refusal { try EventFilter(checking: [pattern], schema: .tideline) }
        #expect(error?.knownCode == .validationFailed && error?.details["field"] == "kinds", "\(pattern)")
    }

    @Test func answerHead_isReadWhole_orNotAtAll() throws {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Away\r\nRetry-After: 30\r\nContent-Length: 2\r\n\r\nno"
        var heads: [AnswerHead] = []
        var buffer: [UInt8] = []
        for byte in text.utf8 {
            buffer.append(byte)
            if let head = try AnswerHead(taking: &buffer) { heads.append(head) }
        }
        #expect(heads.map(\.status) == [100, 503])
        #expect(heads.last?.retryAfter == "30" && heads.last?.contentLength == 2)
        #expect(buffer == Array("no".utf8))
    }

    @Test(arguments: ["220 mail\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1 +20 x\r\n\r\n"])
    func answerHead_isRefused_whenItIsNotHTTP(text: String) {
        var buffer = Array(text.utf8)
        #expect(throws: AttemptFailure.self) { try AnswerHead(taking: &buffer) }
    }
}
