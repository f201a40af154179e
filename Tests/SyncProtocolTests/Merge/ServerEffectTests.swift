// Effects that only the server has: what they write is known through the feed and through nothing else (protocol §3.2).

import SyncProtocol
import TestSupport
import Testing

@Suite struct ServerEffectTests {
    /// A gauge that the server checks: each reading sets the guarded verdict of its gauge, and that one a stamp on the gauge's site.
    private static let inspection = Domain(
        "inspection",
        entities: [
            EntitySchema(
                "station", category: "stock", access: .manage, scopes: [.tenant], titleField: "label",
                fields: [.text("label", 50).required, .text("remark", 50).guarded, .text("mood", 50)]),
            EntitySchema(
                "gauge", category: "stock", access: .manage, scopes: [.tenant], titleField: "label",
                fields: [
                    .text("label", 50).required, .reference("station", "station").required.writeOnce,
                    .text("verdict", 50).guarded, .text("colour", 50), .text("seen", 50).guarded,
                ]),
            EntitySchema(
                "reading", category: "stock", access: .log, scopes: [.tenant], titleField: "value",
                fields: [.reference("gauge", "gauge").required.writeOnce, .text("value", 50).required.writeOnce, .text("own", 50)]),
        ],
        effects: [
            Effect(
                "server.verdict", on: "reading", .write([]), side: .server,
                writes: { subject, _ in
                    guard subject.before == nil, let gauge = subject.record.identifier("gauge") else { return [] }
                    let key = RecordKey("gauge", gauge)
                    return [
                        .set(key, field: "verdict", "checked"), .set(key, field: "colour", "green"),
                        .set(subject.record.key, field: "own", "noted"),
                    ]
                }),
            // Of both sides, but here it follows from what only the server wrote.
            Effect(
                "both.remark", on: "gauge", .write(["verdict"]), side: .both,
                writes: { subject, _ in
                    guard let station = subject.record.identifier("station"), !subject.record["verdict"].isNull else { return [] }
                    return [
                        .set(RecordKey("station", station), field: "remark", "seen to"), .set(subject.record.key, field: "seen", "yes"),
                    ]
                }),
        ])

    private let tenant = ModelTenant(schema: Schema(version: 1, domains: [.tenancy, .crm, ServerEffectTests.inspection]))
    private let station: Identifier
    private let gauge: Identifier

    init() {
        (station, gauge) = (tenant.newID(), tenant.newID())
        tenant.server([
            Change("station", station, .create(fields: ["label": "North"])),
            Change("gauge", gauge, .create(fields: ["label": "P1", "station": .string(station.text)])),
        ])
    }

    private func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: [:]))
    }

    private func reading() -> Change {
        Change("reading", tenant.newID(), .create(fields: ["gauge": .string(gauge.text), "value": "7"]))
    }

    @Test func authorWhoHasNotPulled_doesNotKnowWhatTheServerWrote() throws {
        var author = ModelAuthor(tenant)
        #expect(tenant.submit(author.seal([reading()], at: 1)).status == .accepted)
        #expect(tenant.record("gauge", gauge)?["verdict"] == "checked" && tenant.record("station", station)?["remark"] == "seen to")

        let verdict = tenant.submit(author.seal([patch("gauge", gauge, ["verdict": "broken"])], at: 2))
        #expect(verdict.violations.map { "\($0.field ?? "") \($0.code)" } == ["verdict conflict"])
        let seen = tenant.submit(author.seal([patch("gauge", gauge, ["seen": "no"])], at: 3))
        #expect(seen.violations.map(\.code) == ["conflict"], "an effect of both sides is the server's alone when its cause is")
        let remark = tenant.submit(author.seal([patch("station", station, ["remark": "mine"])], at: 4))
        #expect(remark.violations.map(\.code) == ["conflict"])
        #expect(tenant.record("gauge", gauge)?["verdict"] == "checked" && tenant.record("station", station)?["remark"] == "seen to")
        // A last-writer field: the earlier stamp does not win over what it never saw.
        let colour = tenant.submit(author.seal([patch("gauge", gauge, ["colour": "red"])], at: 0))
        #expect(colour.superseded.contains { $0.field == "colour" } && tenant.record("gauge", gauge)?["colour"] == "green")

        author.pull(tenant)
        #expect(tenant.submit(author.seal([patch("gauge", gauge, ["verdict": "broken"])], at: 5)).status == .accepted)
        #expect(tenant.submit(author.seal([patch("station", station, ["remark": "mine"])], at: 6)).status == .accepted)
    }

    @Test func versions_ofWhatTheServerWrote_haveAPositionAndNoDot() throws {
        var author = ModelAuthor(tenant)
        let change = reading()
        #expect(tenant.submit(author.seal([change], at: 1)).status == .accepted)
        let record = try #require(tenant.record("gauge", gauge))
        for field in ["verdict", "colour", "seen"] {
            let tag = try #require(record.versions.fields[field], "\(field)")
            #expect(tag.dot == nil && tag.position.position > 0, "\(field): \(tag)")
        }
        #expect(tenant.record("station", station)?.versions.fields["remark"]?.dot == nil)
        #expect(tenant.record("reading", change.key.id)?.versions.fields["own"]?.dot == nil)
        #expect(tenant.record("reading", change.key.id)?.versions.created?.dot == Dot(replica: author.replica, counter: 1))
    }
}
