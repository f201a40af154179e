// Reports as declarations: arguments, defaults, and the SQL for both engines.

import Testing

@testable import SyncProtocol

@Suite struct ReportTests {
    private let report = Report(
        "turnover", title: "turnover", reads: ["deal"],
        arguments: [
            .day("from", "first day", orDaysAgo: 30), .day("from_year", "another"),
            .init(name: "least", type: .integer(0...100), summary: "rows with less are left out", fallback: .value(7)),
        ],
        columns: [.init("n")], sql: "SELECT :from + :from_year + :least + :from")

    private func problem(_ given: [String: JSONValue]) -> Violation? {
        do {
            _ = try report.values(given, today: 100)
            return nil
        } catch { return error }
    }

    @Test func statement_numbersArguments_alsoThoseThatBeginAlike() {
        #expect(report.statement { "?\($0 + 1)" } == "SELECT ?1 + ?2 + ?3 + ?1")
        #expect(report.statement { "$\($0 + 1)::bigint" } == "SELECT $1::bigint + $2::bigint + $3::bigint + $1::bigint")
    }

    @Test func values_takeWhatIsGiven_andDefaultsForTheRest() throws {
        #expect(try report.values([:], today: 100) == [70, 100, 7])
        #expect(try report.values(["from": -5, "least": .null], today: 100) == [-5, 100, 7])
    }

    @Test func values_thatDoNotFit_nameTheArgument() {
        #expect(problem(["form": 1])?.code == "unknown_field" && problem(["form": 1])?.field == "form")
        #expect(problem(["from": "yesterday"])?.code == "invalid_format" && problem(["from": "yesterday"])?.field == "from")
        #expect(problem(["from": .integer(.max)])?.code == "out_of_range")
        #expect(problem(["least": 101])?.code == "out_of_range")
    }

    @Test func everyReport_readsWhatThereIs_andHasANameOfItsOwn() {
        let reports = Schema.tideline.reports
        #expect(Set(reports.map(\.name)).count == reports.count && !reports.isEmpty)
        for report in reports {
            for entity in report.entities { #expect(Schema.tideline.entity(entity) != nil, "\(report.name) reads \(entity)") }
            // What it does not declare it does not read: readers of the schema rely on it.
            for entity in Schema.tideline.entities where !report.entities.contains(entity.name) {
                #expect(!report.sql.contains(" \(entity.name) "), "\(report.name) reads \(entity.name)")
            }
            #expect(report.sql.contains("ORDER BY"), "\(report.name)")
            #expect(!report.statement { _ in "?" }.contains(":"), "\(report.name) has an argument it does not declare")
        }
    }
}
