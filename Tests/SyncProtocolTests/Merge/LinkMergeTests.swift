// The second creation of a link: every field merges by its own policy, over a tombstone too (protocol §5.6).

import SyncProtocol
import TestSupport
import Testing

@Suite struct LinkMergeTests {
    let tenant = ModelTenant(schema: .language)
    let job: Identifier
    let client: Identifier

    init() {
        (job, client) = (tenant.newID(), tenant.newID())
        tenant.server([
            Change("client", client, .create(fields: ["name": "Harbor"])),
            Change("job", job, .create(fields: ["name": "Roof", "client": .string(client.text)])),
        ])
    }

    private func assignment(_ fields: JSONObject) -> Change {
        var all: JSONObject = ["job": .string(job.text), "member": .string(tenant.owner.text)]
        for (name, value) in fields { all[name] = value }
        let id = Schema.language.entity("assignment")?.deterministicID { all[$0] } ?? .zero
        return Change("assignment", id, .create(fields: all))
    }

    private var row: RecordState? { tenant.record("assignment", assignment([:]).key.id) }

    @Test(arguments: [false, true])
    func secondCreation_mergesSetsCountersAndMapsByTheirPolicies_inEitherOrder(reversed: Bool) {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        let one = a.seal(
            [assignment(["role": "lead", "hours": 3, "skills": ["roofing"], "weeks": [3], "marks": ["k": "a", "gone": .null]])], at: 10)
        let two = b.seal(
            [assignment(["hours": 4, "skills": ["welding"], "weeks": [3, 12], "marks": ["k": "b", "l": "c", "gone": "x"]])], at: 20)
        for set in reversed ? [two, one] : [one, two] { #expect(tenant.submit(set).status == .accepted) }
        #expect(row?["role"] == "lead" && row?["hours"] == 7)
        #expect(row?["skills"] == ["roofing", "welding"] && row?["weeks"] == ["12", "3"])
        #expect(row?["marks"] == ["gone": "x", "k": "b", "l": "c"])
    }

    @Test func setElement_addedByBothCreations_survivesARemovalThatKnewOnlyOne() {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        tenant.submit(a.seal([assignment(["skills": ["roofing"]])], at: 10))
        a.pull(tenant)
        tenant.submit(b.seal([assignment(["skills": ["roofing"]])], at: 20))
        let removal = Change(
            "assignment", assignment([:]).key.id, .patch(fields: ["skills": ["add": [], "remove": ["roofing"]]], was: [:]))
        #expect(tenant.submit(a.seal([removal], at: 30)).status == .accepted)
        #expect(row?["skills"] == ["roofing"])
    }

    @Test func secondCreation_withAnotherGuardedOrWriteOnceValue_isRefused() {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        #expect(tenant.submit(a.seal([assignment(["brief": "north side", "grade": 2])], at: 10)).status == .accepted)
        let other = tenant.submit(b.seal([assignment(["brief": "south side", "grade": 3, "role": "lead"])], at: 20))
        #expect(Set(other.violations.map { "\($0.field ?? "") \($0.code)" }) == ["brief conflict", "grade immutable"])
        #expect(row?["role"] == .null, "all of the set, or none")
        #expect(tenant.submit(b.seal([assignment(["brief": "north side", "grade": 2])], at: 30)).status == .accepted)
        #expect(tenant.submit(b.seal([assignment(["role": "lead"])], at: 40)).status == .accepted, "who names neither is not refused")
    }

    @Test func creationOverATombstone_takesWhatWasSetOnceOrGuarded() {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        tenant.submit(a.seal([assignment(["brief": "north side", "grade": 2, "skills": ["roofing"]])], at: 10))
        a.pull(tenant)
        tenant.submit(a.seal([Change(key: assignment([:]).key, operation: .delete)], at: 20))
        #expect(row?.isLive == false)
        #expect(
            tenant.submit(b.seal([assignment(["brief": "south side", "grade": 3, "skills": ["welding"]])], at: 30)).status == .accepted)
        #expect(row?.isLive == true && row?["brief"] == "south side" && row?["grade"] == 3)
        #expect(row?["skills"] == ["roofing", "welding"])
    }

    @Test func creationOverATombstone_isRefused_whileWhatItConnectsIsDeleted() {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        tenant.submit(a.seal([assignment(["role": "lead"])], at: 10))
        a.pull(tenant)
        tenant.submit(a.seal([Change("job", job, .delete)], at: 20))
        #expect(row?.isLive == false)
        let outcome = tenant.submit(b.seal([assignment(["role": "lead"])], at: 30))
        #expect(outcome.violations.map { "\($0.field ?? "") \($0.code)" } == ["job reference_deleted"])
        #expect(row?.isLive == false)
    }

    @Test func restoredPrimary_takesOverAgain() {
        let contacts = [tenant.newID(), tenant.newID()]
        for contact in contacts { tenant.server([Change("contact", contact, .create(fields: ["last_name": "O"]))]) }
        let links = contacts.map { contact -> Change in
            let fields: JSONObject = ["client": .string(client.text), "contact": .string(contact.text), "is_primary": 1]
            let id = Schema.language.entity("client_contact")?.deterministicID { fields[$0] } ?? .zero
            return Change("client_contact", id, .create(fields: fields))
        }
        tenant.server([links[0]])
        tenant.server([Change(key: links[0].key, operation: .delete)])
        tenant.server([links[1]])
        #expect(
            tenant.server([Change(key: links[0].key, operation: .restore)], author: Author(member: tenant.owner, role: .owner)).status
                == .accepted)
        #expect(links.map { tenant.record("client_contact", $0.key.id)?["is_primary"] } == [1, 0])
    }
}
