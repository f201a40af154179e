// What the feed lane says about restricted fields: nothing, for checkpoints from before they were sent (protocol §3.2).

import SyncProtocol
import TestSupport
import Testing

@Suite struct RestrictedKnowledgeTests {
    let tenant = ModelTenant()
    let client: Identifier

    init() {
        client = tenant.newID()
        tenant.server([Change("client", client, .create(fields: ["name": "Harbor", "notes": "n"]))])
        tenant.server([Change("client", client, .patch(fields: ["tax_number": "DE1", "notes": "m"], was: [:]))])
    }

    private func outcome(_ fields: JSONObject, vouches: Bool, role: Role = .manager) -> [String] {
        var author = ModelAuthor(tenant, role: role)
        var set = author.seal([Change("client", client, .patch(fields: fields, was: [:]))], at: 1)
        set.vouchesForRestricted = vouches
        return tenant.submit(set).violations.map { "\($0.field ?? "") \($0.code)" }
    }

    @Test func guardedRestrictedField_neverSent_isAConflict() {
        #expect(outcome(["tax_number": "DE2"], vouches: false) == ["tax_number conflict"])
        #expect(tenant.record("client", client)?["tax_number"] == "DE1")
        #expect(outcome(["notes": "o"], vouches: false) == [], "what was sent is known")
        #expect(outcome(["tax_number": "DE1"], vouches: false) == [], "the same value is no conflict")
        #expect(outcome(["tax_number": "DE2"], vouches: true) == [])
    }

    @Test func delete_needsToHaveSeenThem_fromWhoCan() {
        var author = ModelAuthor(tenant, role: .manager)
        var set = author.seal([Change("client", client, .delete)], at: 1)
        set.vouchesForRestricted = false
        #expect(tenant.submit(set).violations.map(\.code) == ["delete_conflict"])
        #expect(tenant.submit(author.seal([Change("client", client, .delete)], at: 2)).status == .accepted)
    }
}
