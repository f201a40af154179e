// What each role sees and may do, of records, fields and rows. Every route with every kind of token: RouteAccessTests.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AccessTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    @Test func otherTenants_areNotThere() throws {
        let client = try rest.create("client", ["name": "Harbor"]).id
        let other = try rest.otherTenant()
        #expect(try other.get("/v1/client").json["total"] == 0)
        for (method, path) in [
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/transitions/hold"),
        ] {
            let reply = try other.send(method, "/v1/client/\(client)\(path)", method == "PATCH" ? ["name": "mine"] : nil)
            #expect(reply.status == 404 && reply.code == "not_found", "\(method) \(path): \(reply.text)")
        }
        let site = try other.send("POST", "/v1/site", ["client": .string(client), "name": "x", "address": ["city": "y"]])
        #expect(site.fields == ["client reference_missing"])
        #expect(try other.get("/v1/activity?anchor=client:\(client)").rows.isEmpty)
        #expect(try rest.get("/v1/client/\(client)").data["name"] == "Harbor")
    }

    @Test func lowerRoles_mayDoLess() throws {
        let client = try rest.create("client", ["name": "Harbor", "tax_number": "PT9"]).id
        func status(_ role: Role, _ method: String, _ path: String, _ body: JSONValue? = nil) throws -> Int {
            try rest.send(method, path, body, as: try rest.member(role).token).status
        }
        let new: JSONValue = ["name": "New"]
        #expect(try status(.manager, "POST", "/v1/client", new) == 201)
        #expect(try status(.field, "POST", "/v1/client", new) == 403)
        #expect(try status(.viewer, "POST", "/v1/client", new) == 403)
        #expect(try status(.field, "PATCH", "/v1/client/\(client)", ["phone": "+15550100"]) == 200)
        #expect(try status(.viewer, "PATCH", "/v1/client/\(client)", ["phone": "+15550101"]) == 403)
        #expect(try status(.field, "DELETE", "/v1/client/\(client)") == 403)
        #expect(try status(.field, "POST", "/v1/client/\(client)/transitions/hold") == 403)
        #expect(try status(.field, "PATCH", "/v1/client/\(client)", ["tax_number": "x"]) == 403)
        #expect(try status(.manager, "PATCH", "/v1/tenant/\(rest.tenant.id.text)", ["name": "x"]) == 403)
        #expect(try status(.owner, "PATCH", "/v1/tenant/\(rest.tenant.id.text)", ["name": "x"]) == 200)
        #expect(try status(.owner, "POST", "/v1/replica/\(client)/restore") == 404, "replicas are not deleted by anybody")
        #expect(try status(.owner, "DELETE", "/v1/replica/\(client)") == 405)
    }

    @Test func tenantsAndMembers_areMadeByTheServerOnly() throws {
        #expect(try rest.send("POST", "/v1/tenant", ["name": "Second", "base_currency": "USD"]).status == 405)
        #expect(try rest.send("POST", "/v1/member", ["name": "x"]).status == 405)
        let replica = try rest.tenant.enroll()
        let made = try replica.edit([
            Change("tenant", rest.server.newIdentifier(), .create(fields: ["name": "Second", "base_currency": "USD"]))
        ])
        #expect(made.violations.map(\.code) == ["forbidden"])
    }

    @Test func members_editThemselves_only() throws {
        let viewer = try rest.member(.viewer)
        #expect(try rest.send("PATCH", "/v1/member/\(viewer.id.text)", ["phone": "+15550100"], as: viewer.token).status == 200)
        #expect(try rest.send("PATCH", "/v1/member/\(viewer.id.text)", ["role": "owner"], as: viewer.token).status == 403)
        #expect(try rest.send("PATCH", "/v1/member/\(rest.tenant.owner.text)", ["phone": "+15550100"], as: viewer.token).status == 403)
    }

    @Test func restrictedFields_areAbsent_forTheFieldRole() throws {
        let field = try rest.member(.field)
        let client = try rest.create("client", ["name": "Harbor", "tax_number": "PT9", "credit_limit": 100]).id
        let seen = try rest.get("/v1/client/\(client)", as: field.token).data
        #expect(seen["name"] == "Harbor" && seen["tax_number"] == nil && seen["credit_limit"] == nil)
        let listed = try rest.get("/v1/client", as: field.token).rows[0]
        #expect(listed == seen)
        // What others may filter and sort on is no unknown parameter: it is not for this role.
        for query in ["default_tax_rate=\(client)", "default_tax_rate[null]=true", "default_tax_rate[in]=\(client)"] {
            let refused = try rest.get("/v1/client?\(query)", as: field.token)
            #expect(refused.status == 403 && refused.code == "forbidden", "\(query): \(refused.text)")
            #expect(refused.json["error"]?["parameter"]?.stringValue == String(query.split(separator: "=")[0]))
            #expect(try rest.get("/v1/client?\(query)").status == 200)
        }
        let patched = try rest.send("PATCH", "/v1/client/\(client)", ["phone": "+15550100"], as: field.token)
        #expect(patched.data["phone"] == "+15550100" && patched.data["tax_number"] == nil)
        #expect(try rest.get("/v1/client/\(client)").data["tax_number"] == "PT9")
        let activity = try rest.get("/v1/activity?id=\(client)&kind=client.created", as: field.token)
        #expect(activity.rows[0]["changes"]?["name"] != nil && activity.rows[0]["changes"]?["tax_number"] == nil)
        #expect(try rest.get("/v1/activity?id=\(client)&kind=client.created").rows[0]["changes"]?["tax_number"] != nil)
    }

    @Test func secrets_neverAppear() throws {
        let account = rest.server.newIdentifier()
        try rest.tenant.write([
            Change("account", account, .create(fields: ["email": "a@b.example", "password_hash": "hash"]))
        ]).requireAccepted()
        #expect(try rest.get("/v1/account").status == 404)
        #expect(try rest.get("/v1/number_sequence/\(account.text)").status == 404)
        let member = try rest.get("/v1/member/\(rest.tenant.owner.text)").data
        #expect(member["email"] != nil && member["account"] == nil)
        #expect(try rest.get("/v1/activity?entity=account").status == 400)
        #expect(!(try rest.get("/v1/activity?limit=200").text.contains("a@b.example")))
    }

    @Test func rows_followTheScopeOfTheirReader() throws {
        let field = try rest.member(.field)
        let client = try rest.create("client", ["name": "Harbor"]).id
        func deal(_ owner: Identifier) throws -> String {
            try rest.create("deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(owner.text)]).id
        }
        let (own, others) = (try deal(field.id), try deal(rest.tenant.owner))
        let list = try rest.get("/v1/deal", as: field.token)
        #expect(list.ids == [own] && list.json["total"] == 1)
        #expect(try rest.get("/v1/deal/\(others)", as: field.token).status == 404)
        #expect(try rest.send("PATCH", "/v1/deal/\(others)", ["title": "x"], as: field.token).status == 404)
        #expect(try rest.send("PATCH", "/v1/deal/\(own)", ["title": "x"], as: field.token).status == 200)
        #expect(try rest.get("/v1/activity?entity=deal", as: field.token).rows.allSatisfy { $0["record"] == .string(own) })
        #expect(try rest.get("/v1/deal").json["total"] == 2)

        let mine = try rest.tenant.enroll(member: field.id)
        let manager = try rest.member(.manager)
        #expect(try rest.get("/v1/replica", as: field.token).ids == [mine.id.text])
        #expect(try rest.get("/v1/replica", as: manager.token).ids.isEmpty)
        #expect(try rest.get("/v1/replica").ids == [mine.id.text], "an owner looks after all replicas")
        #expect(try rest.send("POST", "/v1/replica/\(mine.id.text)/transitions/revoke").status == 200)
    }

    @Test func replicaToken_worksWithTheRoleOfItsMember() throws {
        let manager = try rest.tenant.addMember(role: .manager)
        let replica = try rest.tenant.enroll(member: manager)
        let made = try rest.send("POST", "/v1/client", ["name": "Harbor"], as: replica.token)
        #expect(made.status == 201 && made.data["created_by"] == .string(manager.text))
        let readonly = try rest.tenant.enroll(member: manager, replication: "readonly")
        #expect(try rest.get("/v1/client", as: readonly.token).json["total"] == 1)
        #expect(try rest.send("POST", "/v1/client", ["name": "x"], as: readonly.token).status == 403)
    }

    @Test(arguments: [
        "/v1/nothing", "/v1/client/x/y", "/v1/client/x/transitions", "/v1/client/x/transitions/fly", "/v1/client/x/restore/y", "/v2/client",
        "/v1/", "/v1", "/v1/client/",
    ])
    func unknownPaths_areNotThere(_ path: String) throws {
        #expect(try rest.get(path).status == 404)
        #expect(try rest.get("/v1/client/not-an-id").status == 404)
        #expect(try rest.send("HEAD", "/v1/client").status == 200)
    }
}
