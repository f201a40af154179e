// Numbers as texts: what is written can be read, and nothing else is taken for one.

import SyncProtocol
import TestSupport
import Testing

@Suite struct NumberingTests {
    private let numbering = Numbering("invoice", field: "number", on: ["issue"], kind: "invoice", prefix: "INV-")

    @Test func number_isReadAsItWasWritten() {
        #expect(numbering.text(year: 2026, place: 7) == "INV-2026-0007")
        #expect(numbering.text(year: 2026, place: 123_456) == "INV-2026-123456")
        var random = SeededRandom(seed: 26)
        for _ in 0..<200 {
            let (year, place) = (Int64.random(in: 1000...9999, using: &random), Int64.random(in: 1...1_000_000_000, using: &random))
            let found = numbering.read(numbering.text(year: year, place: place))
            #expect(found?.year == year && found?.place == place)
        }
    }

    @Test(arguments: [
        "", "INV-", "INV-2026", "INV-2026-", "INV-2026-7", "INV-2026-0000", "INV-2026-00007", "INV-26-0007", "inv-2026-0007",
        "INV-2026-0007-1", "INV-2026-+007", "INV-2026--007", " INV-2026-0007", "OFF-2026-0007", "INV-2026-99999999999999999999",
    ])
    func anythingElse_isNoNumber(text: String) { #expect(numbering.read(text) == nil) }

    @Test func report_isReadAsItWasWritten_andNothingElseIs() {
        let report = NumberReport(kind: "invoice", year: 2026, last: 7)
        #expect(NumberReport(json: report.json) == report)
        for bad: JSONValue in [[], ["invoice", 2026], ["invoice", 2026, 0], ["invoice", -1, 7], ["invoice", 10_000, 7], [7, 2026, 7]] {
            #expect(NumberReport(json: bad) == nil)
        }
        #expect(report.key == NumberReport(kind: "invoice", year: 2026, last: 9).key)
        #expect(report.key != NumberReport(kind: "invoice", year: 2027, last: 7).key)
    }
}
