// The rules of tenancy and CRM, each by its name in the catalogue.

import SyncProtocol
import TestSupport
import Testing

@Suite struct CRMRuleTests {
    let tenant = ModelTenant()

    private func make(_ entity: String, _ fields: JSONObject) -> Identifier {
        let id = tenant.newID()
        let outcome = tenant.server([Change(entity, id, .create(fields: fields))])
        precondition(outcome.status == .accepted, "\(outcome.violations)")
        return id
    }
    private func codes(_ changes: Change..., role: Role = .owner, member: Identifier? = nil) -> [String] {
        var author = ModelAuthor(tenant, member: member, role: role)
        return tenant.submit(author.seal(changes, at: tenant.nowMilliseconds)).violations.map { "\($0.field ?? "") \($0.code)" }
    }
    private func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: [:]))
    }
    private func move(_ entity: String, _ id: Identifier, _ name: String, _ observed: String, _ arguments: JSONObject = [:]) -> Change {
        Change(entity, id, .transition(name: name, observed: observed, arguments: arguments))
    }

    @Test func r01_setMinimum() {
        let client = make("client", ["name": "A"])
        #expect(codes(patch("client", client, ["kinds": ["add": [], "remove": ["customer"]]])) == ["kinds too_few"])
        #expect(codes(Change("client", tenant.newID(), .create(fields: ["name": "B", "kinds": []]))) == ["kinds too_few"])
    }

    @Test func r02_noCycleOfParents() {
        let a = make("client", ["name": "A"])
        let b = make("client", ["name": "B", "parent": .string(a.text)])
        let c = make("client", ["name": "C", "parent": .string(b.text)])
        #expect(codes(patch("client", a, ["parent": .string(c.text)])) == ["parent hierarchy_cycle"])
        #expect(codes(patch("client", a, ["parent": .string(a.text)])) == ["parent hierarchy_cycle"])
        #expect(codes(patch("client", c, ["parent": .string(a.text)])) == [])
    }

    @Test func r04_onePrimaryContactPerClient() {
        let client = make("client", ["name": "A"])
        var links: [Identifier] = []
        for name in ["One", "Two"] {
            let contact = make("contact", ["last_name": .string(name)])
            let keys: JSONObject = ["client": .string(client.text), "contact": .string(contact.text), "is_primary": 1]
            let id = Schema.testing.entity("client_contact")?.deterministicID { keys[$0] } ?? .zero
            #expect(codes(Change("client_contact", id, .create(fields: keys))) == [])
            links.append(id)
        }
        #expect(links.map { tenant.record("client_contact", $0)?.integer("is_primary") } == [0, 1])
        #expect(codes(patch("client_contact", links[0], ["is_primary": 1])) == [])
        #expect(links.map { tenant.record("client_contact", $0)?.integer("is_primary") } == [1, 0])
    }

    @Test func r05_losingNeedsAReason() {
        let deal = make("deal", dealFields())
        #expect(codes(move("deal", deal, "lose", "lead")) == ["lost_reason required"])
        #expect(codes(move("deal", deal, "lose", "lead", ["reason": "  "])) == ["lost_reason required"])
    }

    private func dealFields(_ more: JSONObject = [:]) -> JSONObject {
        var fields: JSONObject = ["title": "Roof", "currency": "USD", "owner": .string(tenant.owner.text)]
        for (name, value) in more { fields[name] = value }
        if fields["client"] == nil { fields["client"] = .string(make("client", ["name": "K"]).text) }
        return fields
    }

    @Test func r06_winNeedsAmountAndActiveClient() {
        let client = make("client", ["name": "A"])
        let deal = make("deal", dealFields(["client": .string(client.text)]))
        tenant.server([move("deal", deal, "qualify", "lead"), move("client", client, "hold", "active")])
        #expect(codes(move("deal", deal, "win", "qualified")) == ["amount guard_failed", "client guard_failed"])
        tenant.server([patch("deal", deal, ["amount": 1]), move("client", client, "release", "on_hold")])
        #expect(codes(move("deal", deal, "win", "qualified")) == [])
    }

    @Test func r07_customValuesMatchDefinitions() {
        func define(_ key: String, _ kind: String, _ more: JSONObject = [:]) {
            var fields: JSONObject = ["entity": "client", "key": .string(key), "label": .string(key), "kind": .string(kind)]
            for (name, value) in more { fields[name] = value }
            _ = make("custom_field", fields)
        }
        let old = make("client", ["name": "Before"])
        define("code", "text", ["max": 4])
        define("level", "choice", ["choices": ["low", "high"]])
        define("floors", "integer", ["min": 1, "max": 99])
        define("labels", "multi_choice", ["choices": ["x", "y"]])
        define("site", "url")
        define("old", "text", ["archived": 1])
        func custom(_ values: JSONObject) -> [String] { codes(patch("client", old, ["custom": .object(values)])) }
        #expect(custom(["nope": "x"]) == ["custom.nope unknown_custom_field"])
        #expect(custom(["old": "x"]) == ["custom.old unknown_custom_field"])
        #expect(custom(["code": "12345"]) == ["custom.code too_long"])
        #expect(custom(["code": 5]) == ["custom.code invalid_format"])
        #expect(custom(["level": "mid"]) == ["custom.level invalid_choice"])
        #expect(custom(["floors": 0]) == ["custom.floors out_of_range"])
        #expect(custom(["labels": ["x", "z"]]) == ["custom.labels invalid_choice"])
        #expect(custom(["labels": ["x", "x"]]) == ["custom.labels invalid_format"], "each once")
        #expect(custom(["labels": ["x", "y", "x"]]) == ["custom.labels too_many"], "no more than there are choices")
        #expect(custom(["labels": ["y", "x"]]) == [])
        #expect(custom(["site": "ftp://x"]) == ["custom.site invalid_format"])
        #expect(custom(["code": "1234", "level": "low", "floors": 3, "labels": ["x"], "site": "https://example.com"]) == [])
        define("must", "text", ["required": 1])
        #expect(codes(Change("client", tenant.newID(), .create(fields: ["name": "New"]))) == ["custom.must required"])
        #expect(custom(["code": "9"]) == [], "a definition made later does not bar edits of older records")
        #expect(custom(["must": "v"]) == [])
        #expect(custom(["must": .null]) == ["custom.must required"])
    }

    @Test func r07_definitionsOfAnEntity_areAsManyAsAMapHasKeys() {
        func definition(_ number: Int, of entity: String = "client", _ more: JSONObject = [:]) -> Change {
            var fields: JSONObject = [
                "entity": .string(entity), "key": .string("k\(number)"), "label": "K", "kind": "text",
            ]
            for (name, value) in more { fields[name] = value }
            return Change("custom_field", tenant.newID(), .create(fields: fields))
        }
        let most = FieldType.mapKeysMax
        // The last but one is archived: it is there, and can be brought back.
        let all = (1..<most).map { definition($0, ["archived": .integer($0 == 1 ? 1 : 0)]) }
        #expect(tenant.server(all).status == .accepted)
        #expect(codes(definition(most), definition(most + 1)) == ["entity too_many", "entity too_many"], "a set is judged as a whole")
        #expect(codes(definition(most)) == [])
        #expect(codes(definition(most + 1)) == ["entity too_many"])
        #expect(codes(definition(1, of: "deal")) == [], "another entity has its own")
        // Those that are there can be changed; one that is deleted makes room, and does not come back then.
        #expect(codes(patch("custom_field", all[5].key.id, ["label": "L", "archived": 1])) == [])
        #expect(codes(Change("custom_field", all[7].key.id, .delete)) == [])
        #expect(codes(definition(most + 1)) == [])
        #expect(codes(Change("custom_field", all[7].key.id, .restore)) == ["entity too_many"])
    }

    @Test func r07_textsHaveAtMostTwentyThousandCharacters() {
        func define(_ kind: String, _ most: Int64) -> Change {
            Change(
                "custom_field", tenant.newID(),
                .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": .string(kind), "max": .integer(most)]))
        }
        #expect(codes(define("text", 20_001)) == ["max out_of_range"])
        #expect(codes(define("integer", 20_001)) == [], "of a number it says something else")
        let text = make("custom_field", ["entity": "client", "key": "long", "label": "L", "kind": "text", "max": 20_000])
        #expect(codes(patch("custom_field", text, ["max": 1_000_000])) == ["max out_of_range"])
        let client = make("client", ["name": "A"])
        func write(_ count: Int) -> [String] {
            codes(patch("client", client, ["custom": ["long": .string(String(repeating: "x", count: count))]]))
        }
        #expect(write(20_000) == [])
        #expect(write(20_001) == ["custom.long too_long"])
    }

    @Test func r08_deleteClientOnlyWithoutDeals() {
        let client = make("client", ["name": "A"])
        let deal = make("deal", dealFields(["client": .string(client.text)]))
        #expect(codes(Change("client", client, .delete)) == ["id referenced"])
        #expect(codes(Change("deal", deal, .delete)) == [])
        #expect(codes(Change("client", client, .delete)) == [])
    }

    @Test func r09_archiveClientOnlyWithoutOpenDeals() {
        let client = make("client", ["name": "A"])
        let deal = make("deal", dealFields(["client": .string(client.text)]))
        #expect(codes(move("client", client, "archive", "active")) == ["status open_children"])
        tenant.server([move("deal", deal, "lose", "lead", ["reason": "price"])])
        #expect(codes(move("client", client, "archive", "active")) == [])
    }

    @Test func r17_reopenOnlyWithoutEngagement() {
        let engagements = Domain(
            "engagements",
            entities: [
                EntitySchema(
                    "engagement", category: "agreement", access: .manage, scopes: [.full], titleField: "code",
                    fields: [.text("code", 30), .reference("deal", "deal", onDelete: .nullify).indexed])
            ])
        let other = ModelTenant(schema: Schema(version: 1, domains: [.tenancy, .crm, engagements]))
        let (client, deal, engagement) = (other.newID(), other.newID(), other.newID())
        other.server([
            Change("client", client, .create(fields: ["name": "A"])),
            Change(
                "deal", deal,
                .create(fields: ["title": "T", "client": .string(client.text), "currency": "USD", "owner": .string(other.owner.text)])),
            move("deal", deal, "lose", "lead", ["reason": "x"]),
            Change("engagement", engagement, .create(fields: ["code": "ENG-0001", "deal": .string(deal.text)])),
        ])
        var author = ModelAuthor(other)
        let refused = other.submit(author.seal([move("deal", deal, "reopen", "lost")], at: 1))
        #expect(refused.violations.map(\.message) == ["engagement ENG-0001 exists"])
        other.server([Change("engagement", engagement, .delete)])
        author.pull(other)
        #expect(other.submit(author.seal([move("deal", deal, "reopen", "lost")], at: 2)).status == .accepted)
        #expect(other.record("deal", deal)?["lost_reason"] == .null && other.record("deal", deal)?["closed_at"] == .null)
    }

    @Test func r90_lastOwnerStays() {
        #expect(codes(patch("member", tenant.owner, ["role": "manager"])) == ["role last_owner"])
        #expect(codes(move("member", tenant.owner, "disable", "active")) == ["status last_owner"])
        let deleted = codes(Change("member", tenant.owner, .delete))
        #expect(deleted == ["id last_owner"])
        let second = make("member", ["name": "M", "email": "m@example.com", "role": "owner", "status": "active"])
        #expect(codes(patch("member", tenant.owner, ["role": "manager"])) == [])
        #expect(codes(move("member", second, "disable", "active")) == ["status last_owner"])
    }

    @Test func r90_ownerWhoNeverEnrolled_isNobodyWhoCouldTakeOver() {
        let invited = make("member", ["name": "I", "email": "i@example.com", "role": "owner"])
        #expect(codes(patch("member", tenant.owner, ["role": "manager"])) == ["role last_owner"])
        #expect(codes(move("member", tenant.owner, "disable", "active")) == ["status last_owner"])
        #expect(codes(Change("member", tenant.owner, .delete)) == ["id last_owner"])
        #expect(codes(Change("member", invited, .delete)) == [], "an invitation is taken back while somebody owns the tenant")
    }

    @Test func r90_beforeTheFirstEnrolment_oneOwnerIsKept() {
        let second = make("member", ["name": "I", "email": "i@example.com", "role": "owner"])
        // As `tenant create` leaves it: nobody has enrolled.
        tenant.server([patch("member", tenant.owner, ["status": "invited"])])
        #expect(tenant.record("member", tenant.owner)?["status"] == "invited")
        #expect(codes(move("member", second, "disable", "invited")) == [])
        #expect(codes(move("member", tenant.owner, "disable", "invited")) == ["status last_owner"])
        #expect(codes(Change("member", tenant.owner, .delete)) == ["id last_owner"])
    }

    @Test func r92_uniqueAmongLiveRows() {
        _ = make("member", ["name": "M", "email": "m@example.com"])
        let outcome = tenant.server([Change("member", tenant.newID(), .create(fields: ["name": "N", "email": " M@Example.com"]))])
        #expect(outcome.violations.map { "\($0.field ?? "") \($0.code)" } == ["email duplicate"])
        _ = make("custom_field", ["entity": "client", "key": "k", "label": "K", "kind": "text"])
        #expect(
            codes(Change("custom_field", tenant.newID(), .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": "text"])))
                == ["key duplicate"])
        #expect(
            codes(Change("custom_field", tenant.newID(), .create(fields: ["entity": "deal", "key": "k", "label": "K", "kind": "text"])))
                == [])
    }

    @Test func roles_fieldStaffAndSelfEdits() {
        let client = make("client", ["name": "A"])
        let farah = make("member", ["name": "Farah", "email": "farah@example.com", "status": "active"])
        #expect(codes(patch("client", client, ["phone": "+15550100"]), role: .field, member: farah) == [])
        #expect(codes(patch("client", client, ["tax_number": "1"]), role: .field, member: farah) == ["tax_number forbidden"])
        #expect(codes(Change("client", client, .delete), role: .field, member: farah) == [" forbidden"])
        #expect(codes(move("client", client, "hold", "active"), role: .field, member: farah) == ["status forbidden"])
        #expect(codes(patch("member", farah, ["phone": "+15550100"]), role: .field, member: farah) == [])
        #expect(codes(patch("member", farah, ["role": "owner"]), role: .field, member: farah) == ["role forbidden"])
        let skills: JSONObject = ["skills": ["add": ["roofing"], "remove": []]]
        #expect(codes(patch("member", farah, skills), role: .field, member: farah) == ["skills forbidden"], "only last-writer fields")
        #expect(codes(patch("member", tenant.owner, ["phone": "+15550100"]), role: .field, member: farah) == [" forbidden"])
        let own = make("deal", dealFields(["owner": .string(farah.text)]))
        let others = make("deal", dealFields())
        #expect(codes(patch("deal", own, ["amount": 5]), role: .field, member: farah) == [])
        #expect(codes(patch("deal", others, ["amount": 5]), role: .field, member: farah) == ["id not_found"], "not theirs to see")
        #expect(codes(move("deal", own, "qualify", "lead"), role: .field, member: farah) == [])
        #expect(codes(Change("account", tenant.newID(), .create(fields: ["email": "a@b.co"]))) == ["entity forbidden"])
    }
}
