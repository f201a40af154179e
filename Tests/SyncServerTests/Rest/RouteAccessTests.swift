// Every route the server has, taken from its own document, with every kind of token: none, bad ones, other tenants', lower roles'.
// A route that is added is in these tables by itself.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RouteAccessTests {
    private let rest: RestUnderTest
    private let document: JSONValue
    /// One record of each entity, of nobody in particular.
    private let records: [String: String]

    init() throws {
        rest = try RestUnderTest()
        document = OpenAPIDocument(.testing).json
        let client = try rest.create("client", ["name": "Quayside"]).id
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        let owner = JSONValue.string(rest.tenant.owner.text)
        let deal = try rest.create("deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": owner]).id
        records = [
            "client": client, "contact": contact, "deal": deal, "tenant": rest.tenant.id.text, "member": rest.tenant.owner.text,
            "client_contact": try rest.create("client_contact", ["client": .string(client), "contact": .string(contact)]).id,
            "deal_contact": try rest.create("deal_contact", ["deal": .string(deal), "contact": .string(contact)]).id,
            "site": try rest.create("site", ["client": .string(client), "name": "Pier 9", "address": ["city": "Boston"]]).id,
            "custom_field": try rest.create("custom_field", ["entity": "site", "key": "gate", "label": "Gate", "kind": "text"]).id,
            "replica": try rest.tenant.enroll().id.text,
        ]
        #expect(try rest.send("POST", "/v1/consumers", ["name": "pulled", "kind": "pull"]).status == 201)
    }

    private struct Case {
        var method: String
        var path: String
        var target: String
        var body: JSONValue?
        var needsToken: Bool
        var entity: EntitySchema?
    }

    /// Every path and method of the document, as a request that is right in itself wherever the document has an example.
    private var cases: [Case] {
        let entities = Schema.testing.entities
        var cases: [Case] = []
        for (path, item) in document["paths"]?.objectValue ?? JSONObject() {
            for (method, operation) in item.objectValue ?? JSONObject() where method != "parameters" {
                let parts = path.split(separator: "/").map(String.init)
                let entity = parts.count > 1 ? entities.first { $0.name == parts[1] } : nil
                let target = parts.map { part in
                    switch part {
                    case "{id}": entity.flatMap { records[$0.name] } ?? rest.server.newIdentifier().text
                    case "{name}": "pulled"
                    case "{position}": "1"
                    default: part
                    }
                }.joined(separator: "/")
                var schema = operation["requestBody"]?["content"]?["application/json"]?["schema"]
                if let reference = schema?["$ref"]?.stringValue {
                    schema = reference.dropFirst(2).split(separator: "/").reduce(document) { $0[String($1)] ?? .null }
                }
                let body = schema.map { $0["examples"]?[0] ?? $0["anyOf"]?[0]?["examples"]?[0] ?? [:] }
                cases.append(
                    Case(
                        method: method.uppercased(), path: path, target: "/" + target, body: body,
                        needsToken: operation["security"]?.arrayValue?.isEmpty != true, entity: entity))
            }
        }
        return cases
    }

    /// Beside these everything needs a token.
    private static let open: Set<String> = [
        "POST /v1/enroll", "GET /v1/openapi.json", "GET /v1/docs", "GET /v1/schema", "GET /healthz", "GET /readyz", "GET /metrics",
    ]

    @Test func table_hasEveryRoute() {
        let all = Set(cases.map { "\($0.method) \($0.path)" })
        for route in Route.all { #expect(all.contains("\(route.method) /\(route.path.joined(separator: "/"))")) }
        for one in ConsumerPaths.all { #expect(all.contains("\(one.method) \(one.path)")) }
        for report in Schema.testing.reports { #expect(all.contains("GET /v1/reports/\(report.name)")) }
        #expect(Set(cases.filter { !$0.needsToken }.map { "\($0.method) \($0.path)" }) == Self.open)
        for entity in Schema.testing.entities where entity.isServed {
            for operation in entity.restOperations where operation != .transition {
                #expect(cases.contains { $0.entity?.name == entity.name && $0.method == operation.method }, "\(entity.name) \(operation)")
            }
            for transition in entity.restTransitions {
                #expect(all.contains("POST /v1/\(entity.name)/{id}/transitions/\(transition.name)"))
            }
        }
    }

    @Test func everyRoute_refusesEveryBadToken() throws {
        let now = rest.server.context.now()
        let expired = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner, expiresAt: now - 1)
        let revoked = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner)
        _ = try rest.server.connection.run(
            "UPDATE tideline.token SET revoked_at = $2 WHERE hash = $1::bytea", .bytes(revoked.hash), .integer(now))
        let gone = try rest.tenant.enroll()
        try rest.tenant.write([
            Change("replica", gone.id, .transition(name: "revoke", observed: "active", arguments: [:]))
        ]).requireAccepted()
        let disabled = try rest.member(.manager)
        try rest.tenant.write([
            Change("member", disabled.id, .transition(name: "disable", observed: "active", arguments: [:]))
        ]).requireAccepted()
        let stranger = AccessToken(tenant: rest.tenant.id, secret: [UInt8](repeating: 7, count: 32))
        let nowhere = AccessToken(tenant: .zero, secret: [UInt8](repeating: 7, count: 32))
        let tokens: [(name: String, token: String?, code: String)] = [
            ("none", nil, "unauthorized"), ("malformed", "tdl_x", "unauthorized"), ("empty", "", "unauthorized"),
            ("of nobody", stranger.text, "unauthorized"), ("of no tenant", nowhere.text, "unauthorized"),
            ("expired", expired.text, "unauthorized"), ("revoked", revoked.text, "unauthorized"),
            ("of a revoked replica", gone.token.text, "replica_revoked"), ("of a disabled member", disabled.token.text, "forbidden"),
        ]
        for one in cases where one.needsToken {
            for (name, token, code) in tokens {
                // What is sent is judged after who sends it, so nonsense makes no difference.
                for body in [one.body?.canonicalBytes() ?? [], Array("{nonsense".utf8)] where one.method != "GET" || body.isEmpty {
                    let reply = try rest.send(one.method, one.target, body, token: token)
                    #expect(reply.code == code, "\(one.method) \(one.target), token \(name): \(reply.status) \(reply.text)")
                    #expect(reply.status == (code == "unauthorized" ? 401 : 403))
                }
            }
        }
        let two = try rest.send(
            "GET", "/v1/client", headers: [("Authorization", "Bearer \(rest.token.text)")], token: stranger.text)
        #expect(two.status == 401, "which of two is meant, nobody can say")
        for one in cases where !one.needsToken && one.method == "GET" {
            #expect(try rest.send(one.method, one.target, token: "tdl_x").status == 200, "\(one.target) asks for no token")
        }
    }

    @Test func everyRoute_hidesOneTenantFromAnother() throws {
        let other = try rest.otherTenant()
        let before = try rest.tenant.head.position
        for one in cases where one.needsToken && one.path.contains("{") {
            let reply = try other.send(one.method, one.target, one.body?.canonicalBytes() ?? [], token: other.token.text)
            #expect([404, 400].contains(reply.status), "\(one.method) \(one.target): \(reply.status) \(reply.text)")
            for secret in ["Quayside", "Ortiz", "Pier 9"] { #expect(!reply.text.contains(secret)) }
        }
        for one in cases where one.needsToken && one.method == "GET" && !one.path.contains("{") {
            let reply = try other.send(one.method, one.target, token: other.token.text)
            for secret in ["Quayside", "Ortiz", "Pier 9", "pulled"] { #expect(!reply.text.contains(secret), "\(one.target)") }
        }
        #expect(try rest.tenant.head.position == before, "nothing happened to the tenant meanwhile")
    }

    @Test(arguments: Role.allCases) func everyRoute_letsARoleDoWhatItsClassAllows(role: Role) throws {
        let caller = try rest.member(role)
        for one in cases where one.needsToken {
            let reply = try rest.send(one.method, one.target, one.body?.canonicalBytes() ?? [], token: caller.token.text)
            let told = "\(role) \(one.method) \(one.target): \(reply.status) \(reply.text)"
            #expect(reply.status != 401 && reply.status < 500, "\(told)")
            guard let entity = one.entity else {
                if one.path.hasPrefix("/v1/consumers") {
                    #expect((reply.status == 403) == (role != .owner), "\(told)")
                } else if one.path.hasPrefix("/v1/sync") {
                    #expect([400, 403].contains(reply.status), "only replicas sync: \(told)")
                } else {
                    #expect(reply.status == 200, "\(told)")
                }
                continue
            }
            let parts = one.path.split(separator: "/")
            let operation: AccessOperation? =
                switch (one.method, parts.count) {
                case ("GET", _): .read
                case ("POST", 2): .create
                case ("PATCH", _): .update
                case ("DELETE", _): .delete
                case ("POST", 4): .restore
                default: nil
                }
            // Transitions, rows of members' own and rows of owners in their scope, each with its own answer: AccessTableTests.
            guard let operation, entity.access != .own, entity.ownerField == nil || role != .field else { continue }
            if entity.allows(operation, role) {
                #expect(reply.status != 403, "\(told)")
            } else {
                #expect([403, 404].contains(reply.status), "\(told)")
            }
        }
    }
}
