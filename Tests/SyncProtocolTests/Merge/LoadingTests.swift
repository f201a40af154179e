// How often a shell must load: not at all beyond what changes declare for everyday sets, and by depth, not by rows, otherwise.

import SyncProtocol
import TestSupport
import Testing

@Suite struct LoadingTests {
    let tenant = ModelTenant()

    private func loads(_ changes: Change...) -> Int {
        let outcome = tenant.server(changes, author: Author(member: tenant.owner, role: .owner))
        #expect(outcome.status == .accepted, "\(outcome.violations)")
        return tenant.lastLoadCount
    }

    @Test func everydaySets_areDecidedOnTheDeclaredReads() {
        let (client, contact, site) = (tenant.newID(), tenant.newID(), tenant.newID())
        #expect(loads(Change("client", client, .create(fields: ["name": "A", "owner": .string(tenant.owner.text), "tags": ["x"]]))) == 0)
        #expect(loads(Change("contact", contact, .create(fields: ["last_name": "O", "email": "o@example.com"]))) == 0)
        #expect(loads(Change("site", site, .create(fields: ["client": .string(client.text), "name": "S", "address": ["city": "X"]]))) == 0)
        #expect(loads(Change("client", client, .patch(fields: ["phone": "+15550100", "tags": ["add": ["y"]]], was: [:]))) == 0)
        #expect(loads(Change("contact", contact, .patch(fields: ["phone": "+15550100"], was: [:]))) == 0)
        #expect(loads(Change("site", site, .patch(fields: ["access_notes": "k"], was: [:]))) == 0)
    }

    @Test func cascade_loadsByDepth_notByRows() {
        let client = tenant.newID()
        _ = loads(Change("client", client, .create(fields: ["name": "A"])))
        for _ in 0..<50 {
            _ = loads(
                Change("site", tenant.newID(), .create(fields: ["client": .string(client.text), "name": "S", "address": ["city": "X"]])))
        }
        #expect(loads(Change("client", client, .delete)) <= 3)
    }

    @Test func hierarchy_loadsOnce_whateverItsDepth() {
        var parent: Identifier?
        for _ in 0..<20 {
            let id = tenant.newID()
            _ = loads(Change("client", id, .create(fields: ["name": "A", "parent": parent.map { .string($0.text) } ?? .null])))
            parent = id
        }
        let child = tenant.newID()
        #expect(loads(Change("client", child, .create(fields: ["name": "A", "parent": .string(parent?.text ?? "")]))) <= 2)
    }

    /// A first pass without all records may reject what the next one judges otherwise: of it nothing stays.
    @Test func rejection_forWantOfARecord_isForgottenWhenItIsLoaded() {
        let document = tenant.newID()
        let outcome = tenant.server(
            [
                Change("document", document, .create(fields: ["title": "D"])),
                Change("document", document, .transition(name: "issue", observed: "draft", arguments: [:])),
            ], author: Author(member: tenant.owner, role: .field))
        #expect(tenant.lastLoadCount > 0)
        #expect(outcome.violations.map(\.code) == ["forbidden", "not_found"])
    }
}
