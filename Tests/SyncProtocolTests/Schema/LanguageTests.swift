// What the schema language says about access, scope, uniqueness and sets, decided by the core on the smallest entity that has it.

import SyncProtocol
import TestSupport
import Testing

@Suite struct LanguageTests {
    let tenant = ModelTenant(schema: .language)
    let client: Identifier
    let job: Identifier
    let farah: Identifier

    init() {
        (client, job, farah) = (tenant.newID(), tenant.newID(), tenant.newID())
        let outcome = tenant.server([
            Change("client", client, .create(fields: ["name": "Harbor"])),
            Change("job", job, .create(fields: ["name": "Roof", "client": .string(client.text)])),
            Change(
                "member", farah, .create(fields: ["name": "Farah", "email": "farah@example.com", "role": "field", "status": "active"])),
        ])
        precondition(outcome.status == .accepted, "\(outcome.violations)")
    }

    private func make(_ entity: String, _ fields: JSONObject, id: Identifier? = nil) -> Identifier {
        let id = id ?? tenant.newID()
        let outcome = tenant.server([Change(entity, id, .create(fields: fields))])
        precondition(outcome.status == .accepted, "\(outcome.violations)")
        return id
    }
    private func codes(_ change: Change, role: Role = .owner, member: Identifier? = nil) -> [String] {
        var author = ModelAuthor(tenant, member: member, role: role)
        return tenant.submit(author.seal([change], at: tenant.nowMilliseconds)).violations.map { "\($0.field ?? "") \($0.code)" }
    }
    private func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: [:]))
    }
    private func keys(_ entity: String, _ id: Identifier) -> [String] { tenant.record(entity, id)?.scopeKeys ?? [] }

    // MARK: Scopes

    @Test func scope_ofAProject_andOfWhatBelongsToIt() throws {
        #expect(keys("job", job) == ["project:\(job.text)"])
        let fields: JSONObject = ["job": .string(job.text), "member": .string(farah.text)]
        let id = try #require(Schema.language.entity("assignment")?.deterministicID { fields[$0] })
        _ = make("assignment", fields, id: id)
        #expect(keys("assignment", id) == ["member:\(farah.text)", "project:\(job.text)"])
    }

    @Test func scope_ofTheSubject_elseTheAlternative() {
        let about = make("folder", ["name": "Plans", "holder_type": "job", "holder_id": .string(job.text)])
        #expect(keys("folder", about) == ["project:\(job.text)"])
        #expect(keys("folder", make("folder", ["name": "Everybody's"])) == ["tenant"])
        let thread = make("thread", ["title": "T", "participants": [.string(farah.text), .string(tenant.owner.text)]])
        #expect(keys("thread", thread) == ["member:\(farah.text)", "member:\(tenant.owner.text)"].sorted())
        let aboutClient = make(
            "thread", ["participants": [.string(farah.text)], "subject_type": "client", "subject_id": .string(client.text)])
        #expect(keys("thread", aboutClient) == ["client:\(client.text)"])
    }

    @Test func scope_throughLinks_isThatOfEverySubject() throws {
        let folder = make("folder", ["name": "F"])
        let paper = make("paper", ["name": "P", "folder": .string(folder.text)])
        #expect(keys("paper", paper) == ["tenant"])
        for (entity, id) in [("client", client), ("job", job)] {
            let fields: JSONObject = ["paper": .string(paper.text), "subject_type": .string(entity), "subject_id": .string(id.text)]
            let link = try #require(Schema.language.entity("attachment")?.deterministicID { fields[$0] })
            _ = make("attachment", fields, id: link)
            #expect(keys("attachment", link) == keys(entity, id))
        }
        #expect(codes(patch("paper", paper, ["name": "Q"])) == [])
        #expect(keys("paper", paper) == ["client:\(client.text)", "project:\(job.text)"])
    }

    @Test func scope_inCertainStates_beginsWithThem() {
        let receipt = make("receipt", ["direction": "in", "client": .string(client.text)])
        #expect(keys("receipt", receipt) == ["full"])
        #expect(codes(Change("receipt", receipt, .transition(name: "issue", observed: "draft", arguments: [:]))) == [])
        #expect(keys("receipt", receipt) == ["client:\(client.text)"])
    }

    // MARK: Access

    @Test func accessNotes_replaceTheClassForTheirRole() {
        let fields: JSONObject = ["direction": "out", "client": .string(client.text)]
        #expect(codes(Change("receipt", tenant.newID(), .create(fields: fields)), role: .field, member: farah) == [" forbidden"])
        var incoming = fields
        incoming["direction"] = "in"
        #expect(codes(Change("receipt", tenant.newID(), .create(fields: incoming)), role: .field, member: farah) == [])
        #expect(codes(Change("receipt", tenant.newID(), .create(fields: fields)), role: .manager) == [])

        let budget = make("budget", ["name": "B"])
        #expect(codes(patch("budget", budget, ["name": "C"]), role: .manager) == [])
        #expect(codes(Change("budget", budget, .delete), role: .manager) == [" forbidden"])
        #expect(codes(Change("budget", tenant.newID(), .create(fields: ["name": "D"])), role: .manager) == [" forbidden"])
        let schema = Schema.language.entity("budget")
        #expect(schema?.allows(.read, .field) == false && schema?.allows(.read, .viewer) == true)

        let blocked = make("blocked_address", ["address": "a@example.com"])
        #expect(codes(Change("blocked_address", blocked, .delete), role: .manager) == [" forbidden"])
        #expect(codes(Change("blocked_address", blocked, .delete)) == [])
        #expect(codes(Change("blocked_address", blocked, .restore)) == [], "who may delete may bring back")
        #expect(codes(patch("blocked_address", blocked, ["address": "b@example.com"])) == [" forbidden"])
    }

    @Test func ownRecords_areEditedInTheirLastWriterFieldsOnly() {
        let own = make("reminder", ["member": .string(farah.text), "title": "Call"])
        let others = make("reminder", ["member": .string(tenant.owner.text), "title": "Call"])
        #expect(codes(patch("reminder", own, ["read_at": 5]), role: .field, member: farah) == [])
        #expect(codes(patch("reminder", own, ["reason": "x"]), role: .field, member: farah) == ["reason forbidden"])
        #expect(codes(patch("reminder", own, ["marks": ["add": ["x"], "remove": []]]), role: .field, member: farah) == ["marks forbidden"])
        #expect(codes(patch("reminder", others, ["read_at": 5]), role: .field, member: farah) == ["id not_found"], "not theirs to see")
        #expect(codes(patch("reminder", others, ["read_at": 5]), role: .manager, member: farah) == ["id not_found"])
    }

    // MARK: Sight

    /// Where a set touches on a record that its author does not see, it hears that there is one, and nothing of what is in it.
    @Test func unseenRecord_isNeitherMergedWith_norNamed() throws {
        let secret = make("thread", ["title": "Secret", "participants": [.string(tenant.owner.text)]])
        let paper = make("paper", ["name": "Plan", "folder": .string(make("folder", ["name": "Everybody's"]).text)])
        var fields: JSONObject = ["paper": .string(paper.text), "subject_type": "thread", "subject_id": .string(secret.text)]
        let link = try #require(Schema.language.entity("attachment")?.deterministicID { fields[$0] })
        fields["role"] = "receipt"
        _ = make("attachment", fields, id: link)
        fields["role"] = "general"
        let again = Change("attachment", link, .create(fields: fields))
        #expect(codes(again, role: .field, member: farah) == ["id duplicate"], "a write to what is there, like any other")
        #expect(codes(again, role: .manager) == [])
        #expect(codes(patch("thread", secret, ["title": "Mine"]), role: .field, member: farah) == ["id not_found"])
        // A creation outside of its author's scope is one all the same.
        func attach(_ thread: Identifier) throws -> Outcome {
            let fields: JSONObject = ["paper": .string(paper.text), "subject_type": "thread", "subject_id": .string(thread.text)]
            let id = try #require(Schema.language.entity("attachment")?.deterministicID { fields[$0] })
            var author = ModelAuthor(tenant, member: farah, role: .field)
            return tenant.submit(author.seal([Change("attachment", id, .create(fields: fields))], at: tenant.nowMilliseconds))
        }
        func unseenThread() -> Identifier { make("thread", ["title": "Other", "participants": [.string(tenant.owner.text)]]) }
        #expect(try attach(unseenThread()).status == .accepted)
        let gone = unseenThread()
        #expect(tenant.server([Change("thread", gone, .delete)]).status == .accepted)
        let outcome = try attach(gone)
        #expect(outcome.violations.map(\.code) == ["reference_deleted"])
        #expect(outcome.violations.first?.message == "a thread that you do not see was deleted")
    }

    /// An entity that a role reads nothing of says so, whether the record is there or not.
    @Test func unreadableEntity_isForbidden_thereOrNot() {
        let budget = make("budget", ["name": "2026"])
        for id in [budget, tenant.newID()] {
            #expect(codes(patch("budget", id, ["name": "x"]), role: .field, member: farah) == [" forbidden"])
            #expect(codes(Change("budget", id, .delete), role: .field, member: farah) == [" forbidden"])
        }
    }

    // MARK: References

    @Test func deletingAMember_leavesSetsOfThem_orIsRefusedByThem() {
        let thread = make("thread", ["participants": [.string(farah.text), .string(tenant.owner.text)]])
        let holding = make("thread", ["approvers": [.string(farah.text)]])
        #expect(codes(Change("member", farah, .delete)) == ["id referenced"])
        #expect(codes(patch("thread", holding, ["approvers": ["add": [], "remove": [.string(farah.text)]]])) == [])
        #expect(codes(Change("member", farah, .delete)) == [])
        #expect(tenant.record("thread", thread)?["participants"] == [.string(tenant.owner.text)])
        #expect(tenant.record("thread", thread)?.versions.elements["participants"]?[farah.text] == nil)
    }

    @Test func anyReference_carriesEverythingItsFieldSays() throws {
        let thread = try #require(Schema.language.entity("thread"))
        for name in ["verdict_type", "verdict_id"] {
            let field = try #require(thread.field(name))
            #expect(field.isRestricted && field.isPortalVisible && !field.isSecret && field.policy == .serverAssigned)
        }
        #expect(thread.field("token_type")?.isSecret == true && thread.field("token_id")?.isSecret == true)
        let later = EntitySchema(
            "x", category: "x", access: .config, scopes: [.tenant],
            fields: [
                .text("name", 9).unique(with: "about"),
                .anyReference("about", ["client"]).required(since: 2).indexed.guarded.unique(with: "name"),
            ])
        for name in ["about_type", "about_id"] {
            #expect(later.field(name)?.isRequired == true && later.field(name)?.requiredSince == 2 && later.field(name)?.policy == .guarded)
        }
        #expect(later.field("about_id")?.isIndexed == true && later.field("about_type")?.isIndexed == false)
        #expect(later.field("about_id")?.uniqueWith == ["about_type", "name"])
        #expect(later.field("name")?.uniqueWith == ["about_type", "about_id"])
        #expect(Schema.language.entity("attachment")?.deterministicKeys == ["paper", "subject_type", "subject_id"])
    }

    // MARK: Uniqueness, sets

    @Test func uniqueName_ignoresCase_amongSiblings_alsoWhenMoved() {
        let top = make("folder", ["name": "Plans"])
        #expect(codes(Change("folder", tenant.newID(), .create(fields: ["name": "PLANS"]))) == ["name duplicate"])
        let inside = make("folder", ["name": "plans", "parent": .string(top.text)])
        #expect(codes(patch("folder", inside, ["parent": .null])) == ["name duplicate"], "moved beside one of that name")
        #expect(codes(patch("folder", top, ["name": "PLANS"])) == [], "its own name in other letters")
    }

    @Test func setOfNumbers_holdsTheirDigits() throws {
        let weeks = FieldType.set(of: .integer(1...53), count: 0...9)
        #expect(try weeks.normalized([12, "3", 3]) == ["12", "3"])
        #expect(try weeks.normalized(weeks.normalized([12, 3])) == ["12", "3"])
        for wrong: JSONValue in [[54], ["x"], [true], [.null], [.decimal("1.5")]] {
            #expect(throws: ValueRefusal.self) { try weeks.normalized(wrong) }
        }
        let fields: JSONObject = ["job": .string(job.text), "member": .string(farah.text), "weeks": [3, 12]]
        let id = try #require(Schema.language.entity("assignment")?.deterministicID { fields[$0] })
        _ = make("assignment", fields, id: id)
        #expect(codes(patch("assignment", id, ["weeks": ["add": [4], "remove": [12]]])) == [])
        #expect(tenant.record("assignment", id)?["weeks"] == ["3", "4"])
        #expect(codes(patch("assignment", id, ["weeks": ["add": [60], "remove": []]])) == ["weeks out_of_range"])
    }
}
