// Reports on a replica: from what it holds, pending edits included.

import Foundation
import SyncProtocol
import Testing

@testable import Replica

@Suite struct ReportTests {
    private let today: Int64 = 20_600

    @Test func everyReport_hasTheColumnsItDeclares() async throws {
        let world = try World()
        let site = try await world.replica("one")
        for report in Schema.testing.reports {
            let sql = report.statement { "?\($0 + 1)" }
            let columns = try await site.replica.query(
                "SELECT * FROM (SELECT 1) LEFT JOIN (\(sql)) ON 1 = 1",
                try report.values([:], today: today).map { .integer($0) })
            #expect(columns.first?.columns.dropFirst().map { $0 } == report.columns.map(\.name), "\(report.name)")
        }
    }

    @Test func pipeline_countsOpenDeals_byCurrencyAndStage() async throws {
        let world = try World()
        let site = try await world.replica("one")
        let client = try await site.client("Pier 9")
        let owner = try #require(try await site.replica.list("member").data.first?.id)
        func deal(_ amount: Int64, _ currency: String, _ probability: Int64?, closes: Int64) async throws -> Identifier {
            try await site.create(
                "deal",
                [
                    "title": .string("Deal \(amount)"), "client": .string(client.text), "owner": .string(owner.text),
                    "amount": .integer(amount),
                    "currency": .string(currency), "probability": probability.map { .integer($0) } ?? .null,
                    "expected_close": .integer(closes),
                ])
        }
        _ = try await deal(1_001, "EUR", 50, closes: today - 1)
        _ = try await deal(2_000, "EUR", nil, closes: today)
        let moved = try await deal(300, "EUR", 10, closes: today)
        let won = try await deal(5_000, "USD", 100, closes: today)
        let gone = try await deal(9_000, "USD", 100, closes: today)
        try await site.replica.write {
            try $0.transition("qualify", "deal", moved)
            try $0.transition("qualify", "deal", won)
            try $0.transition("win", "deal", won)
            try $0.delete("deal", gone)
        }
        let result = try await site.replica.report("pipeline", today: today)
        #expect(
            result.rows == [
                // 1,001 at one half is 500.5 and rounds up; a lead of which nobody has said more is worth a tenth.
                ["EUR", "lead", 2, 3_001, 701, 1], ["EUR", "qualified", 1, 300, 30, 0],
            ])
        #expect(!result.hasMore && result.arguments.map(\.value) == [today])
        #expect(result.objects.first?["weighted"] == 701)
        #expect(try await site.replica.report("pipeline", ["as_of": .integer(today - 1)], today: today).rows.first?[5] == 0)

        let overview = try await site.replica.report("client_overview", today: today)
        #expect(overview.rows == [[.string(client.text), "active", 0, 0, 3]])
        // The deal was closed on the day of the replica's clock.
        let instant = try #require(try await site.replica.get("deal", won)?.integer("closed_at"))
        let day = instant / 86_400_000
        let closed = try await site.replica.report("closed_deals", ["from": .integer(day), "until": .integer(day)], today: today)
        #expect(closed.rows == [[.string(owner.text), "USD", 1, 5_000, 0, 0]])
        let before = try await site.replica.report("closed_deals", ["from": 0, "until": .integer(day - 1)], today: today)
        #expect(before.rows.isEmpty)
    }

    @Test func report_isBounded_andSaysThatThereIsMore() async throws {
        let world = try World()
        let site = try await world.replica("one")
        for index in 0..<5 { try await site.client("c\(index)") }
        let some = try await site.replica.report("client_overview", today: today, limit: 3)
        #expect(some.rows.count == 3 && some.hasMore)
        let all = try await site.replica.report("client_overview", today: today, limit: 5)
        #expect(all.rows.count == 5 && !all.hasMore)
    }

    @Test func unknownReport_orArgument_isRefusedByName() async throws {
        let world = try World()
        let site = try await world.replica("one")
        #expect(try await replicaError { _ = try await site.replica.report("profit", today: today) }?.code == .notFound)
        let error = try await replicaError { _ = try await site.replica.report("pipeline", ["when": 1], today: today) }
        #expect(error?.code == .refused && error?.violations.first?.field == "when")
    }
}
