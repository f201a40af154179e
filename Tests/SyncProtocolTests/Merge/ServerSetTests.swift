// Sets without a dot (REST, workflows, administration): what one change of such a set did, the next ones know.

import SyncProtocol
import TestSupport
import Testing

@Suite struct ServerSetTests {
    private let tenant = ModelTenant()
    private var owner: Author { Author(member: tenant.owner, role: .owner) }

    private func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: [:]))
    }

    @Test func guardedField_createdAndEditedInOneSet() {
        let client = tenant.newID()
        let outcome = tenant.server(
            [
                Change("client", client, .create(fields: ["name": "Harbor", "notes": "first", "tags": ["a"]])),
                patch("client", client, ["notes": "second", "name": "Harbour", "tags": ["remove": ["a"]]]),
                patch("client", client, ["notes": "third"]),
            ], author: owner)
        #expect(outcome.status == .accepted && outcome.superseded.isEmpty, "\(outcome.violations)")
        #expect(tenant.record("client", client)?["notes"] == "third" && tenant.record("client", client)?["name"] == "Harbour")
        #expect(tenant.record("client", client)?["tags"] == [])
    }

    @Test func record_createdEditedAndDeletedInOneSet() {
        let client = tenant.newID()
        let outcome = tenant.server(
            [
                Change("client", client, .create(fields: ["name": "Harbor"])), patch("client", client, ["notes": "x"]),
                Change("client", client, .delete), Change("client", client, .restore), Change("client", client, .delete),
            ], author: owner)
        #expect(outcome.status == .accepted, "\(outcome.violations)")
        #expect(tenant.record("client", client)?.isLive == false)
    }

    @Test func aggregate_madeAndLockedInOneSet() {
        let (document, line) = (tenant.newID(), tenant.newID())
        let outcome = tenant.server(
            [
                Change("document", document, .create(fields: ["title": "Offer"])),
                Change("document_line", line, .create(fields: ["document": .string(document.text), "label": "Valve", "price": 100])),
                patch("document_line", line, ["price": 120]),
                Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:])),
            ], author: owner)
        #expect(outcome.status == .accepted, "\(outcome.violations)")
        #expect(tenant.record("document", document)?.state == "issued")
    }

    @Test func olderKnowledge_coversTheSetItself_butNotWhatOthersDid() {
        let (mine, theirs) = (tenant.newID(), tenant.newID())
        tenant.server([Change("client", theirs, .create(fields: ["name": "Theirs"]))])
        let seen = tenant.head
        tenant.server([patch("client", theirs, ["notes": "by someone else"])])
        func write(_ changes: [Change]) -> Outcome {
            tenant.nowMilliseconds += 1
            return tenant.submit(
                Submission(
                    changes: changes, author: owner, dot: nil, clock: VectorClock(feed: seen),
                    timestamp: HybridTimestamp(milliseconds: tenant.nowMilliseconds)))
        }
        let own = write([Change("client", mine, .create(fields: ["name": "Mine", "notes": "a"])), patch("client", mine, ["notes": "b"])])
        #expect(own.status == .accepted, "\(own.violations)")
        #expect(write([patch("client", theirs, ["notes": "mine"])]).violations.map(\.code) == ["conflict"])
        #expect(write([Change("client", theirs, .delete)]).violations.map(\.code) == ["delete_conflict"])
    }
}
