// What may stand in one set with a record of what happened.

import SyncProtocol
import TestSupport
import Testing

@Suite struct FactsApartTests {
    private static let (part, other, note, document) = (
        Identifier(high: 1, low: 1), Identifier(high: 1, low: 2), Identifier(high: 1, low: 3), Identifier(high: 1, low: 4)
    )
    private static let fact = Change("note", note, .create(fields: ["subject": "part:x", "body": "b"]))

    static let rows: [(beside: [Change], isRefused: Bool)] = [
        ([], false),
        ([Change("part", part, .patch(fields: ["colours": ["add": ["red"]]], was: [:]))], true),
        ([Change("part", part, .patch(fields: ["name": "N"], was: [:]))], false),
        ([Change("part", part, .delete)], true),
        ([Change("part", part, .restore)], false),
        ([Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:]))], true),
        ([Change("part", other, .create(fields: ["sku": "A"])), Change("part", other, .patch(fields: ["detail": 1], was: [:]))], false),
        ([Change("part", other, .create(fields: ["sku": "A"])), Change("part", part, .patch(fields: ["detail": 1], was: [:]))], true),
        ([Change("movement", other, .create(fields: [:]))], false),
        ([Change("note", note, .patch(fields: ["body": "c"], was: [:]))], false),
        ([Change("unknown", other, .patch(fields: ["x": 1], was: [:]))], false),
    ]

    @Test(arguments: rows.indices) func set_keepsFactsApartFromWhatCanBeRefused(index: Int) {
        let row = Self.rows[index]
        for changes in [[Self.fact] + row.beside, row.beside + [Self.fact]] {
            let violation = FactsApart.violation(in: changes, .testing)
            #expect((violation != nil) == row.isRefused, "\(changes)")
            if let violation { #expect(violation.code == "fact_bundled" && violation.id == Self.note && violation.field == "set") }
        }
        #expect(FactsApart.violation(in: row.beside.filter { $0.key.entity != "movement" }, .testing) == nil, "without a fact all goes")
    }
}
