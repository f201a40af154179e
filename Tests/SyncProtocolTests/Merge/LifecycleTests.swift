// Creation, links, delete, cascade, restore, transitions, aggregates (protocol §5.6–5.9).

import SyncProtocol
import TestSupport
import Testing

@Suite struct LifecycleTests {
    let tenant = ModelTenant()
    let client: Identifier
    let contact: Identifier

    init() {
        client = tenant.newID()
        contact = tenant.newID()
        tenant.server([
            Change("client", client, .create(fields: ["name": "Harbor"])),
            Change("contact", contact, .create(fields: ["last_name": "Ortiz"])),
        ])
    }

    private func link(_ fields: JSONObject = [:]) -> Change {
        var all: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
        for (name, value) in fields { all[name] = value }
        let id = Schema.testing.entity("client_contact")?.deterministicID { all[$0] } ?? .zero
        return Change("client_contact", id, .create(fields: all))
    }
    private func deal(_ fields: JSONObject = [:]) -> Change {
        var all: JSONObject = ["title": "Roof", "client": .string(client.text), "currency": "USD", "owner": .string(tenant.owner.text)]
        for (name, value) in fields { all[name] = value }
        return Change("deal", tenant.newID(), .create(fields: all))
    }

    @Test func create_fillsDefaults_andReportsEverythingWrongAtOnce() {
        var a = ModelAuthor(tenant)
        let id = tenant.newID()
        #expect(tenant.submit(a.seal([Change("client", id, .create(fields: ["name": " Café "]))], at: 1)).status == .accepted)
        let record = tenant.record("client", id)
        #expect(record?["kinds"] == ["customer"] && record?["status"] == "active" && record?["name"] == "Café" && record?["tags"] == [])
        let bad = tenant.submit(
            a.seal(
                [
                    Change(
                        "site", tenant.newID(),
                        .create(fields: ["client": .string(tenant.newID().text), "latitude_e6": 91_000_000, "phone": "x"]))
                ], at: 2))
        #expect(
            Set(bad.violations.map { "\($0.field ?? "") \($0.code)" }) == [
                "name required", "address required", "latitude_e6 out_of_range", "phone unknown_field", "client reference_missing",
            ])
    }

    @Test func createdTwice_isADuplicate() {
        var a = ModelAuthor(tenant)
        let outcome = tenant.submit(a.seal([Change("client", client, .create(fields: ["name": "Again"]))], at: 1))
        #expect(outcome.violations.map(\.code) == ["duplicate"])
    }

    @Test(arguments: [true, false])
    func linkCreatedTwice_isOneRow_mergedFieldByField_inEitherOrder(reversed: Bool) {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        let one = a.seal([link(["role": "Buyer", "is_billing": 1])], at: 100)
        let two = b.seal([link(["role": "Director"])], at: 200)
        for set in reversed ? [two, one] : [one, two] { #expect(tenant.submit(set).status == .accepted) }
        let rows = tenant.records.values.filter { $0.schema.name == "client_contact" }
        #expect(rows.count == 1)
        #expect(rows.first?["role"] == "Director" && rows.first?["is_billing"] == 1)
    }

    @Test func linkId_mustFollowFromItsKeys() {
        var a = ModelAuthor(tenant)
        var change = link()
        change.key.id = tenant.newID()
        #expect(tenant.submit(a.seal([change], at: 1)).violations.map(\.code) == ["invalid_format"])
    }

    @Test func linkOverATombstone_isRestored() {
        var a = ModelAuthor(tenant)
        tenant.submit(a.seal([link(["role": "Buyer"])], at: 1))
        a.pull(tenant)
        tenant.submit(a.seal([Change(key: link().key, operation: .delete)], at: 2))
        #expect(tenant.record("client_contact", link().key.id)?.isLive == false)
        a.pull(tenant)
        #expect(tenant.submit(a.seal([link(["role": "Owner"])], at: 3)).status == .accepted)
        #expect(tenant.record("client_contact", link().key.id)?.isLive == true)
        #expect(tenant.record("client_contact", link().key.id)?["role"] == "Owner")
    }

    @Test func deleteFirst_thenEdit_isRecordDeleted_withRestoreOffered() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("client", client, .delete)], at: 1))
        let edit = tenant.submit(b.seal([Change("client", client, .patch(fields: ["phone": "+15550101"], was: [:]))], at: 2))
        #expect(edit.violations.first?.code == "record_deleted" && edit.violations.first?.parameters["offer"] == "restore")
    }

    @Test func editFirst_thenDelete_isDeleteConflict() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("client", client, .patch(fields: ["phone": "+15550101"], was: [:]))], at: 1))
        let delete = tenant.submit(b.seal([Change("client", client, .delete)], at: 2))
        #expect(delete.violations.first?.code == "delete_conflict")
        #expect(delete.violations.first?.parameters["fields"] == ["phone"])
        #expect(tenant.record("client", client)?.isLive == true)
    }

    @Test func deletedTwice_isNoop() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("client", client, .delete)], at: 1))
        #expect(tenant.submit(b.seal([Change("client", client, .delete)], at: 2)).status == .noop)
    }

    @Test func delete_takesPlainLinksUnseen_butNotOtherChildren() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(b.seal([link()], at: 1))
        let deleted = tenant.submit(a.seal([Change("client", client, .delete)], at: 2))
        #expect(deleted.status == .accepted)
        #expect(tenant.record("client_contact", link().key.id)?.isLive == false)
        #expect(tenant.record("contact", contact)?.isLive == true, "the contact keeps what was edited on it")

        let other = tenant.newID()
        tenant.server([Change("client", other, .create(fields: ["name": "North"]))])
        a.pull(tenant)
        tenant.server([
            Change("site", tenant.newID(), .create(fields: ["client": .string(other.text), "name": "Pier", "address": ["city": "Oslo"]]))
        ])
        let refused = tenant.submit(a.seal([Change("client", other, .delete)], at: 3))
        #expect(refused.violations.first?.code == "delete_conflict" && refused.violations.first?.parameters["entity"] == "site")
    }

    @Test func delete_isReferenced_whileALiveDealPointsAtIt() {
        tenant.server([deal()])
        var a = ModelAuthor(tenant)
        let outcome = tenant.submit(a.seal([Change("client", client, .delete)], at: 1))
        #expect(outcome.violations.first?.code == "referenced")
        #expect(outcome.violations.first?.parameters["by"]?[0]?["entity"] == "deal")
    }

    @Test func clientDeletedWhileADealIsCreated_secondLosesInEitherOrder() {
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("client", client, .delete)], at: 1))
        #expect(tenant.submit(b.seal([deal()], at: 2)).violations.map { "\($0.field ?? "") \($0.code)" } == ["client reference_deleted"])
        let other = ModelTenant()
        let id = other.newID()
        other.server([Change("client", id, .create(fields: ["name": "N"]))])
        var c = ModelAuthor(other)
        var d = ModelAuthor(other)
        let create = Change(
            "deal", other.newID(),
            .create(fields: ["title": "T", "client": .string(id.text), "currency": "USD", "owner": .string(other.owner.text)]))
        #expect(other.submit(c.seal([create], at: 1)).status == .accepted)
        #expect(other.submit(d.seal([Change("client", id, .delete)], at: 2)).violations.map(\.code) == ["referenced"])
    }

    @Test func restore_revivesExactlyWhatTheDeleteTook() {
        let (kept, removedBefore) = (tenant.newID(), tenant.newID())
        for id in [kept, removedBefore] {
            tenant.server([Change("site", id, .create(fields: ["client": .string(client.text), "name": "S", "address": ["city": "X"]]))])
        }
        var a = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("site", removedBefore, .delete)], at: 1))
        tenant.submit(a.seal([Change("client", client, .delete)], at: 2))
        #expect(tenant.record("site", kept)?.isLive == false)
        a.pull(tenant)
        #expect(tenant.submit(a.seal([Change("client", client, .restore)], at: 3)).status == .accepted)
        #expect(tenant.record("client", client)?.isLive == true && tenant.record("site", kept)?.isLive == true)
        #expect(tenant.record("site", removedBefore)?.isLive == false)
    }

    @Test func delete_nullifiesWeakReferences() {
        let site = tenant.newID()
        tenant.server([
            Change(
                "site", site,
                .create(fields: ["client": .string(client.text), "name": "S", "address": ["city": "X"], "contact": .string(contact.text)]))
        ])
        var a = ModelAuthor(tenant)
        #expect(tenant.submit(a.seal([Change("contact", contact, .delete)], at: 1)).status == .accepted)
        #expect(tenant.record("site", site)?["contact"] == .null && tenant.record("site", site)?.isLive == true)
    }

    @Test func whatDependsOnARejectedCreation_saysSo() {
        var a = ModelAuthor(tenant)
        let id = tenant.newID()
        let rejected = tenant.submit(a.seal([Change("client", id, .create(fields: ["name": "", "email": "x"]))], at: 1))
        #expect(rejected.status == .rejected)
        let site = Change("site", tenant.newID(), .create(fields: ["client": .string(id.text), "name": "S", "address": ["city": "X"]]))
        #expect(tenant.submit(a.seal([site], at: 2)).violations.map(\.code) == ["depends_on_rejected"])
        let edit = Change("client", id, .patch(fields: ["phone": "+15550101"], was: [:]))
        #expect(tenant.submit(a.seal([edit], at: 3)).violations.map(\.code) == ["depends_on_rejected"])
        let unknown = Change("client", tenant.newID(), .patch(fields: ["phone": "+15550101"], was: [:]))
        #expect(tenant.submit(a.seal([unknown], at: 4)).violations.map(\.code) == ["not_found"])
        let missing = Change(
            "site", tenant.newID(), .create(fields: ["client": .string(tenant.newID().text), "name": "S", "address": ["city": "X"]]))
        #expect(tenant.submit(a.seal([missing], at: 5)).violations.map(\.code) == ["reference_missing"])
    }

    @Test func referenceToAnUndeclaredEntity_isMissing() {
        var a = ModelAuthor(tenant)
        let patch = Change("client", client, .patch(fields: ["default_tax_rate": .string(tenant.newID().text)], was: [:]))
        #expect(
            tenant.submit(a.seal([patch], at: 1)).violations.map { "\($0.field ?? "") \($0.code)" } == [
                "default_tax_rate reference_missing"
            ])
        let empty = Change("client", client, .patch(fields: ["default_tax_rate": .null, "phone": "+15550101"], was: [:]))
        #expect(tenant.submit(a.seal([empty], at: 2)).status == .accepted)
    }

    @Test func rejectedSet_leavesNothingBehind() {
        var a = ModelAuthor(tenant)
        let before = tenant.records.count
        let outcome = tenant.submit(
            a.seal(
                [
                    Change("client", tenant.newID(), .create(fields: ["name": "Fine"])),
                    Change("contact", contact, .patch(fields: ["email": "bad"], was: [:])),
                ], at: 1))
        #expect(outcome.status == .rejected && tenant.records.count == before)
        #expect(tenant.feed.last?.kind == "sync.rejected")
    }

    // MARK: Transitions

    private func move(_ id: Identifier, _ name: String, from observed: String, _ arguments: JSONObject = [:]) -> Change {
        Change("deal", id, .transition(name: name, observed: observed, arguments: arguments))
    }

    @Test func transition_appliesRebasesOrIsStale() {
        let created = deal(["amount": 5_000])
        let id = created.key.id
        tenant.server([created])
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        #expect(tenant.submit(a.seal([move(id, "qualify", from: "lead")], at: 1)).status == .accepted)
        #expect(tenant.submit(b.seal([move(id, "qualify", from: "lead")], at: 2)).status == .noop, "two people did the same")
        let rebased = tenant.submit(b.seal([move(id, "propose", from: "lead")], at: 3))
        #expect(rebased.status == .accepted && rebased.rebased)
        tenant.submit(a.seal([move(id, "win", from: "proposal")], at: 4))
        #expect(tenant.record("deal", id)?["closed_at"] == 4)
        let stale = tenant.submit(b.seal([move(id, "lose", from: "proposal", ["reason": "price"])], at: 5))
        #expect(stale.violations.first?.code == "stale_transition")
        #expect(stale.violations.first?.parameters["observed"] == "proposal" && stale.violations.first?.parameters["current"] == "won")
        #expect(tenant.feed.filter { $0.kind == "deal.stage_changed" }.count == 2)
    }

    @Test func machinesWithoutRebase_refuseAStaleObservation() {
        let document = tenant.newID()
        tenant.server([
            Change("document", document, .create(fields: ["title": "D"])),
            Change("document_line", tenant.newID(), .create(fields: ["document": .string(document.text), "label": "L", "price": 1])),
        ])
        var a = ModelAuthor(tenant)
        var b = ModelAuthor(tenant)
        let issue = Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:]))
        #expect(tenant.submit(a.seal([issue], at: 1)).status == .accepted)
        #expect(tenant.record("document", document)?.text("number")?.hasPrefix("DOC-") == true)
        let send = Change("document", document, .transition(name: "send", observed: "draft", arguments: [:]))
        #expect(tenant.submit(b.seal([send], at: 2)).violations.map(\.code) == ["stale_transition"])
        let again = Change("document", document, .transition(name: "send", observed: "issued", arguments: [:]))
        #expect(tenant.submit(b.seal([again], at: 3)).status == .accepted)
        let repeated = Change("document", document, .transition(name: "send", observed: "sent", arguments: [:]))
        #expect(tenant.submit(b.seal([repeated], at: 4)).status == .accepted, "a transition from its own target may be repeated")
        #expect(tenant.feed.filter { $0.kind == "document.sent" }.count == 2)
    }

    @Test func transition_checksNameArgumentsAndRole() {
        let created = deal()
        tenant.server([created])
        var a = ModelAuthor(tenant)
        #expect(
            tenant.submit(a.seal([move(created.key.id, "explode", from: "lead")], at: 1)).violations.map(\.code) == ["unknown_transition"])
        let silent = tenant.submit(a.seal([move(created.key.id, "lose", from: "lead")], at: 2))
        #expect(silent.violations.map { "\($0.field ?? "") \($0.code)" } == ["lost_reason required"])
        let extra = tenant.submit(a.seal([move(created.key.id, "qualify", from: "lead", ["why": "x"])], at: 3))
        #expect(extra.violations.map(\.code) == ["unknown_field"])
        var viewer = ModelAuthor(tenant, role: .viewer)
        viewer.author.member = tenant.newID()
        #expect(tenant.submit(viewer.seal([move(created.key.id, "qualify", from: "lead")], at: 4)).violations.map(\.code) == ["forbidden"])
        #expect(tenant.submit(a.seal([move(created.key.id, "lose", from: "lead", ["reason": "price"])], at: 5)).status == .accepted)
        #expect(tenant.record("deal", created.key.id)?["lost_reason"] == "price")
        let typed = Change("deal", created.key.id, .patch(fields: ["stage": "won"], was: [:]))
        #expect(tenant.submit(a.seal([typed], at: 6)).violations.map(\.code) == ["read_only"])
    }

    // MARK: Aggregates

    @Test func lockingTransition_needsTheWholeDocumentSeen() {
        let (document, line) = (tenant.newID(), tenant.newID())
        tenant.server([
            Change("document", document, .create(fields: ["title": "D"])),
            Change("document_line", line, .create(fields: ["document": .string(document.text), "label": "L", "price": 100])),
        ])
        var issuer = ModelAuthor(tenant)
        var editor = ModelAuthor(tenant)
        tenant.submit(editor.seal([Change("document_line", line, .patch(fields: ["price": 200], was: ["price": 100]))], at: 1))
        let issue = Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:]))
        let refused = tenant.submit(issuer.seal([issue], at: 2))
        #expect(refused.violations.map { "\($0.field ?? "") \($0.code)" } == ["$aggregate conflict"])
        issuer.pull(tenant)
        #expect(tenant.submit(issuer.seal([issue], at: 3)).status == .accepted)
        let late = tenant.submit(editor.seal([Change("document_line", line, .patch(fields: ["price": 300], was: [:]))], at: 4))
        #expect(late.violations.map(\.code) == ["locked"])
        let rootEdit = Change("document", document, .patch(fields: ["title": "New", "memo": "open"], was: [:]))
        #expect(tenant.submit(editor.seal([rootEdit], at: 5)).violations.map { "\($0.field ?? "") \($0.code)" } == ["title locked"])
        let memo = Change("document", document, .patch(fields: ["memo": "open"], was: [:]))
        #expect(tenant.submit(editor.seal([memo], at: 6)).status == .accepted)
        let added = Change(
            "document_line", tenant.newID(), .create(fields: ["document": .string(document.text), "label": "x", "price": 1]))
        #expect(tenant.submit(editor.seal([added], at: 7)).violations.map(\.code) == ["locked"])
        #expect(tenant.submit(editor.seal([Change("document", document, .delete)], at: 8)).violations.map(\.code) == ["locked"])
    }

    /// As after a restore that took what the author knew: the record it saw may not be this one.
    @Test func lockingTransition_ofADocumentNeverSeen_conflicts() {
        var issuer = ModelAuthor(tenant)
        let (document, line) = (tenant.newID(), tenant.newID())
        tenant.server([Change("document", document, .create(fields: ["title": "D"]))])
        // The line is the issuer's own, so only the root is unseen.
        let fields: JSONObject = ["document": .string(document.text), "label": "L", "price": 100]
        #expect(tenant.submit(issuer.seal([Change("document_line", line, .create(fields: fields))], at: 1)).status == .accepted)
        let issue = Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:]))
        let refused = tenant.submit(issuer.seal([issue], at: 2))
        #expect(refused.violations.map { "\($0.field ?? "") \($0.code)" } == ["$aggregate conflict"])
        #expect(refused.violations.first?.parameters["unseen"]?.arrayValue?.first?["fields"] == ["title"])
        issuer.pull(tenant)
        #expect(tenant.submit(issuer.seal([issue], at: 3)).status == .accepted)
    }

    // MARK: Effects

    @Test func effects_runInTheSameSet_andEnterTheFeedAfterTheirCause() throws {
        let part = tenant.newID()
        tenant.server([Change("part", part, .create(fields: ["sku": "filter", "name": "F", "on_hand_milli": 1_000]))])
        var a = ModelAuthor(tenant)
        let use = Change(
            "movement", tenant.newID(), .create(fields: ["part": .string(part.text), "kind": "use", "quantity_milli": -2_000]))
        let outcome = tenant.submit(a.seal([use], at: 1))
        #expect(tenant.record("part", part)?["on_hand_milli"] == -1_000)
        let positions = try #require(outcome.positions)
        let entries = tenant.feed.filter { positions.contains($0.position.position) }
        #expect(entries.map(\.kind) == ["movement.created", "part.updated", "part.stock_negative"])
        #expect(entries[1].cause == entries[0].position.position && entries[2].cause == entries[1].position.position)
        let wrong = Change("movement", tenant.newID(), .create(fields: ["part": .string(part.text), "kind": "use", "quantity_milli": 5]))
        #expect(tenant.submit(a.seal([wrong], at: 2)).violations.map(\.code) == ["out_of_range"])
        #expect(tenant.record("part", part)?["on_hand_milli"] == -1_000)
    }

    @Test func feed_isDense_andEntriesCarryAnchorsAndScopes() {
        tenant.server([link()])
        var a = ModelAuthor(tenant)
        tenant.submit(a.seal([Change("contact", contact, .patch(fields: ["phone": "+15550142"], was: [:]))], at: 1))
        #expect(tenant.feed.map(\.position.position) == Array(1...Int64(tenant.feed.count)))
        let entry = tenant.feed.last
        #expect(entry?.anchors == ["contact:\(contact.text)", "client:\(client.text)"], "a client's timeline shows its contacts' edits")
        #expect(entry?.scopeKeys == ["client:\(client.text)"])
        #expect(
            entry?.category == "relationship" && entry?.changes["phone"]?["new"] == "+15550142" && entry?.changes["phone"]?["old"] == .null)
    }

    @Test func anyReferenceAndElementReferences_areChecked() {
        var a = ModelAuthor(tenant)
        func note(_ fields: JSONObject) -> [String] {
            var all: JSONObject = ["body": "hi"]
            for (name, value) in fields { all[name] = value }
            return tenant.submit(a.seal([Change("note", tenant.newID(), .create(fields: all))], at: 1)).violations.map {
                "\($0.field ?? "") \($0.code)"
            }
        }
        #expect(Set(note([:])) == ["subject_id required", "subject_type required"])
        #expect(note(["subject_type": "client", "subject_id": .string(client.text)]) == ["subject_type invalid_choice"])
        #expect(note(["subject_type": "part", "subject_id": .string(client.text)]) == ["subject_id reference_missing"])
        let part = tenant.newID()
        tenant.server([Change("part", part, .create(fields: ["sku": "a", "name": "A"]))])
        #expect(
            note(["subject_type": "part", "subject_id": .string(part.text), "mentions": [.string(tenant.newID().text)]]) == [
                "mentions reference_missing"
            ])
        #expect(note(["subject_type": "part", "subject_id": .string(part.text), "mentions": [.string(tenant.owner.text)]]) == [])
    }
}
