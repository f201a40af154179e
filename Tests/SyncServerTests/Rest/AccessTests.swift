// Who gets what: every route with every kind of token, and what each role sees and may do.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AccessTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    /// Every request that needs a token: of all entities, with ids that exist where there are any.
    private func requests() throws -> [(method: String, target: String, body: JSONValue?)] {
        let client = try rest.create("client", ["name": "Harbor"]).id
        var requests: [(method: String, target: String, body: JSONValue?)] = [
            ("GET", "/v1/activity", nil), ("GET", "/v1/sync/pull?protocol=1", nil), ("GET", "/v1/sync/digest", nil),
            ("POST", "/v1/sync/push", ["protocol": 1, "schema": 1, "sets": []]),
        ]
        for entity in rest.server.context.schema.entities where entity.isServed {
            let id = entity.name == "client" ? client : rest.server.newIdentifier().text
            for operation in entity.restOperations {
                switch operation {
                case .list, .create: requests.append((operation.method, "/v1/\(entity.name)", operation == .create ? [:] : nil))
                case .get, .patch, .delete:
                    requests.append((operation.method, "/v1/\(entity.name)/\(id)", operation == .patch ? [:] : nil))
                case .restore: requests.append(("POST", "/v1/\(entity.name)/\(id)/restore", nil))
                case .transition:
                    for transition in entity.restTransitions {
                        requests.append(("POST", "/v1/\(entity.name)/\(id)/transitions/\(transition.name)", nil))
                    }
                }
            }
        }
        return requests
    }

    @Test func everyRoute_refusesEveryTokenThatIsNotGood() throws {
        let requests = try requests()
        #expect(requests.count > 60)
        let now = rest.server.context.now()
        let expired = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner, expiresAt: now - 1)
        let revoked = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner)
        _ = try rest.server.connection.run(
            "UPDATE tideline.token SET revoked_at = $2 WHERE hash = $1::bytea", .bytes(revoked.hash), .integer(now))
        let stranger = AccessToken(tenant: rest.tenant.id, secret: [UInt8](repeating: 7, count: 32))
        let nowhere = AccessToken(tenant: .zero, secret: [UInt8](repeating: 7, count: 32))
        let disabled = try rest.member(.manager)
        try rest.tenant.write([
            Change("member", disabled.id, .transition(name: "disable", observed: "active", arguments: [:]))
        ]).requireAccepted()
        let cases: [(name: String, token: String?, status: Int)] = [
            ("no token", nil, 401), ("malformed", "tdl_x", 401), ("empty", "", 401), ("of nobody", stranger.text, 401),
            ("of no tenant", nowhere.text, 401), ("expired", expired.text, 401), ("revoked", revoked.text, 401),
            ("of a disabled member", disabled.token.text, 403),
        ]
        for (method, target, body) in requests {
            for one in cases {
                let reply = try rest.send(method, target, body?.canonicalBytes() ?? [], token: one.token)
                #expect(reply.status == one.status, "\(method) \(target) with a token \(one.name): \(reply.status) \(reply.text)")
                #expect(reply.code == (one.status == 401 ? "unauthorized" : "forbidden"))
                if one.status == 401 { #expect(reply.header("WWW-Authenticate") == "Bearer") }
            }
        }
    }

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
