// What only the test schema says yet, on real tables: sets found by element, keys of scopes, uniqueness among tenants.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct LanguageStoreTests {
    private static let template = Result { try MigratedDatabase(.language) }
    private static let tables = EntityTables(.language)
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let owner: ReplicaUnderTest

    init() throws {
        server = try ServerUnderTest(url: try Self.template.get().copy(), tables: Self.tables)
        tenant = try server.makeTenant()
        owner = try tenant.enroll()
        try owner.pull()
    }

    private func create(_ entity: String, _ fields: JSONObject) throws -> Identifier {
        let id = Schema.language.entity(entity)?.deterministicID { fields[$0] } ?? server.newIdentifier()
        try tenant.write([Change(entity, id, .create(fields: fields))]).requireAccepted()
        return id
    }

    @Test func everyEntityOfTheLanguage_isStoredAndReadBack() throws {
        let client = try create("client", ["name": "Harbor"])
        let job = try create("job", ["name": "Roof", "client": .string(client.text)])
        let fields: JSONObject = [
            "job": .string(job.text), "member": .string(tenant.owner.text), "skills": ["roofing"], "weeks": [12, 3], "hours": 2,
            "marks": ["k": "v"], "rate": "high",
        ]
        let assignment = try create("assignment", fields)
        let stored = try required(try tenant.record("assignment", assignment))
        #expect(stored["weeks"] == ["12", "3"] && stored["marks"] == ["k": "v"] && stored["hours"] == 2)
        #expect(stored.scopeKeys == ["member:\(tenant.owner.text)", "project:\(job.text)"])
        #expect(try owner.edit([Change("assignment", assignment, .create(fields: fields))]).status == .accepted, "the same link once more")
        #expect(try tenant.record("assignment", assignment)?["hours"] == 4)
        let paper = try create("paper", ["name": "P", "folder": .string(try create("folder", ["name": "F"]).text)])
        let link = try create("attachment", ["paper": .string(paper.text), "subject_type": "job", "subject_id": .string(job.text)])
        #expect(try tenant.record("attachment", link)?.scopeKeys == ["project:\(job.text)"])
        let row = try owner.pull().compactMap { try $0.row("assignment", assignment) }.first
        #expect(row?["weeks"] == ["12", "3"] && row?["rate"] == "high")
    }

    @Test func setsOfMembers_areFoundByTheirElements() throws {
        let (one, two) = (try tenant.addMember(role: .manager), try tenant.addMember(role: .manager))
        let thread = try create("thread", ["participants": [.string(one.text), .string(two.text)], "approvers": [.string(two.text)]])
        _ = try create("thread", ["participants": [.string(tenant.owner.text)]])
        try owner.pull()
        #expect(try owner.edit([Change("member", two, .delete)]).violations.map(\.code) == ["referenced"])
        #expect(try owner.edit([Change("member", one, .delete)]).status == .accepted)
        #expect(try tenant.record("thread", thread)?["participants"] == [.string(two.text)])
    }

    @Test func siblings_haveNamesOfTheirOwn_whateverTheCase() throws {
        let top = try create("folder", ["name": "Plans"])
        let same = Change("folder", server.newIdentifier(), .create(fields: ["name": "plans"]))
        #expect(try owner.edit([same]).violations.map { "\($0.field ?? "") \($0.code)" } == ["name duplicate"])
        let inside = Change("folder", same.key.id, .create(fields: ["name": "plans", "parent": .string(top.text)]))
        #expect(try owner.edit([inside]).status == .accepted)
    }

    @Test func valueUniqueAmongTenants_isADuplicate_inWhicheverTenant() throws {
        let other = try server.makeTenant()
        let address: JSONObject = ["address": "a@example.com"]
        _ = try create("blocked_address", address)
        let error = refusal { try other.write([Change("blocked_address", server.newIdentifier(), .create(fields: address))]) }
        #expect(error?.knownCode == .validationFailed)
        #expect(error?.violations.map { "\($0.entity).\($0.field ?? "") \($0.code)" } == ["blocked_address.address duplicate"])
        let mine = try required(
            try tenant.server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { connection in
                try connection.run("SELECT id FROM public.blocked_address").identifier(0, 0)
            })
        try tenant.write([Change("blocked_address", mine, .delete)]).requireAccepted()
        try other.write([Change("blocked_address", server.newIdentifier(), .create(fields: address))]).requireAccepted()
    }
}
