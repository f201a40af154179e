// The table of who may do what: every route with every kind of token and every role, and every push alike. The rows are held
// against the routes that the server has, so that a new route, entity, operation or transition without a row fails.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AccessTableTests {
    // MARK: The table

    enum Need: String {
        case nothing, replica, member, owner
    }

    /// The routes that do not follow from the schema.
    private static let routes: [String: Need] = [
        "POST /v1/enroll": .nothing, "GET /v1/openapi.json": .nothing, "GET /v1/docs": .nothing, "GET /v1/schema": .nothing,
        "GET /healthz": .nothing, "GET /readyz": .nothing, "GET /metrics": .nothing,
        "POST /v1/sync/push": .replica, "GET /v1/sync/pull": .replica, "POST /v1/sync/fork": .replica, "GET /v1/sync/digest": .replica,
        "GET /v1/sync/records": .replica, "GET /v1/sync/activity": .replica,
        "GET /v1/activity": .member,
        "GET /v1/consumers": .owner, "POST /v1/consumers": .owner, "GET /v1/consumers/{name}": .owner,
        "DELETE /v1/consumers/{name}": .owner, "POST /v1/consumers/{name}/pause": .owner, "POST /v1/consumers/{name}/resume": .owner,
        "POST /v1/consumers/{name}/replay": .owner, "POST /v1/consumers/{name}/rotate-secret": .owner,
        "GET /v1/consumers/{name}/attempts": .owner, "GET /v1/consumers/{name}/events": .owner, "POST /v1/consumers/{name}/ack": .owner,
        "GET /v1/consumers/{name}/dead": .owner, "POST /v1/consumers/{name}/dead/replay": .owner,
        "POST /v1/consumers/{name}/dead/discard": .owner, "GET /v1/consumers/{name}/dead/{position}": .owner,
        "POST /v1/consumers/{name}/dead/{position}/replay": .owner, "POST /v1/consumers/{name}/dead/{position}/discard": .owner,
    ]

    /// Who may, by first letter: viewer, field, manager, owner. `hidden` to those behind the slash: to them there is no such record.
    private static let entities: [String: [String: String]] = [
        "tenant": ["list": "vfmo", "get": "vfmo", "patch": "o"],
        "member": [
            "list": "vfmo", "get": "vfmo", "patch": "o", "delete": "o", "restore": "o", "accept": "", "disable": "o", "enable": "o",
        ],
        "replica": ["list": "vfmo", "get": "o/vfm", "patch": "o/vfm", "revoke": "o/vfm"],
        "custom_field": ["list": "vfmo", "get": "vfmo", "create": "o", "patch": "o", "delete": "o", "restore": "o"],
        "client": [
            "list": "vfmo", "get": "vfmo", "create": "mo", "patch": "fmo", "delete": "mo", "restore": "mo", "hold": "mo", "release": "mo",
            "archive": "mo", "reactivate": "mo",
        ],
        "contact": ["list": "vfmo", "get": "vfmo", "create": "mo", "patch": "fmo", "delete": "mo", "restore": "mo"],
        "client_contact": ["list": "vfmo", "get": "vfmo", "create": "mo", "patch": "fmo", "delete": "mo", "restore": "mo"],
        "site": ["list": "vfmo", "get": "vfmo", "create": "mo", "patch": "fmo", "delete": "mo", "restore": "mo"],
        "deal": [
            "list": "vfmo", "get": "vmo/f", "create": "mo", "patch": "mo/f", "delete": "mo/f", "restore": "mo/f", "qualify": "mo/f",
            "propose": "mo/f", "negotiate": "mo/f", "win": "mo/f", "lose": "mo/f", "reopen": "mo/f",
        ],
        "deal_contact": ["list": "vfmo", "get": "vmo/f", "create": "mo", "patch": "mo/f", "delete": "mo/f", "restore": "mo/f"],
        "part": ["list": "vfmo", "get": "vfmo", "create": "mo", "patch": "mo", "delete": "mo", "restore": "mo"],
        "movement": ["list": "vfmo", "get": "vmo/f", "create": "fmo"],
        "document": [
            "list": "vfmo", "get": "vmo/f", "create": "mo", "patch": "mo/f", "delete": "mo/f", "restore": "mo/f", "issue": "mo/f",
            "send": "mo/f", "void": "o/f",
        ],
        "document_line": ["list": "vfmo", "get": "vmo/f", "create": "mo", "patch": "mo/f", "delete": "mo/f", "restore": "mo/f"],
        // Field staff change the notes that they made; these are somebody else's.
        "note": ["list": "vfmo", "get": "vfmo", "create": "fmo", "patch": "mo", "delete": "mo", "restore": "mo"],
    ]

    private static let letters: [Role: Character] = [.viewer: "v", .field: "f", .manager: "m", .owner: "o"]

    private enum Verdict { case allowed, refused, hidden }

    private static func verdict(_ entity: String, _ operation: String, _ role: Role) -> Verdict {
        let parts = (entities[entity]?[operation] ?? "").split(separator: "/", omittingEmptySubsequences: false)
        guard let letter = letters[role] else { return .refused }
        if parts.count == 2, parts[1].contains(letter) { return .hidden }
        return parts.first?.contains(letter) == true ? .allowed : .refused
    }

    /// Operations by the words of the table, as the server derives them from the schema.
    private static func operations(_ entity: EntitySchema) -> [String] {
        entity.restOperations.flatMap { $0 == .transition ? entity.restTransitions.map(\.name) : [$0.rawValue] }
    }

    @Test func table_hasARow_forEveryRoute() {
        let routes =
            Route.all.map { "\($0.method) /\($0.path.joined(separator: "/"))" } + ConsumerPaths.all.map { "\($0.method) \($0.path)" }
        #expect(Set(routes) == Set(Self.routes.keys))
        for entity in Schema.testing.entities {
            #expect(
                Set(Self.entities[entity.name]?.keys.map { $0 } ?? []) == Set(entity.isServed ? Self.operations(entity) : []),
                "\(entity.name)")
        }
    }

    // MARK: Records

    private let rest: RestUnderTest
    private let records: AccessRecords

    init() throws {
        rest = try RestUnderTest()
        records = AccessRecords(tenant: rest.tenant)
    }

    private static func method(_ operation: String) -> String {
        switch operation {
        case "list", "get": "GET"
        case "patch": "PATCH"
        case "delete": "DELETE"
        default: "POST"
        }
    }

    private func target(_ entity: EntitySchema, _ operation: String, _ id: Identifier) -> String {
        switch operation {
        case "list", "create": "/v1/\(entity.name)"
        case "get", "patch", "delete": "/v1/\(entity.name)/\(id.text)"
        case "restore": "/v1/\(entity.name)/\(id.text)/restore"
        default: "/v1/\(entity.name)/\(id.text)/transitions/\(operation)"
        }
    }

    private func body(_ entity: EntitySchema, _ operation: String) throws -> JSONValue? {
        switch operation {
        case "create": .object(try records.fields(entity.name))
        case "patch": .object(AccessRecords.patch[entity.name] ?? [:])
        case "list", "get", "delete", "restore": nil
        default: ["arguments": .object(AccessRecords.arguments(operation))]
        }
    }

    // MARK: Tests

    /// Methods and targets of all routes, those of the schema with records that exist.
    private func everything() throws -> [(method: String, target: String, need: Need)] {
        _ = try rest.send("POST", "/v1/consumers", ["name": "hook", "kind": "pull"])
        var all: [(method: String, target: String, need: Need)] = Self.routes.map { route, need in
            let parts = route.split(separator: " ")
            return (
                String(parts[0]), String(parts[1]).replacing("{name}", with: "hook").replacing("{position}", with: "7"), need
            )
        }
        for entity in Schema.testing.entities where entity.isServed {
            for operation in Self.operations(entity) {
                let id = try records.make(entity.name, for: operation)
                all.append((Self.method(operation), target(entity, operation, id), .member))
            }
        }
        return all.sorted { ($0.target, $0.method) < ($1.target, $1.method) }
    }

    @Test func everyRoute_letsNobodyIn_withoutAGoodToken() throws {
        let now = rest.server.context.now()
        let expired = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner, expiresAt: now - 1)
        let revoked = try RestUnderTest.token(rest.tenant, member: rest.tenant.owner)
        _ = try rest.server.connection.run(
            "UPDATE tideline.token SET revoked_at = $2 WHERE hash = $1::bytea", .bytes(revoked.hash), .integer(now))
        let stranger = AccessToken(tenant: rest.tenant.id, secret: [UInt8](repeating: 7, count: 32))
        let tokens: [(name: String, token: String?)] = [
            ("none", nil), ("malformed", "tdl_x"), ("empty", ""), ("of nobody", stranger.text), ("expired", expired.text),
            ("revoked", revoked.text),
        ]
        let other = try rest.otherTenant()
        for (method, target, need) in try everything() {
            for (name, token) in tokens {
                let reply = try rest.send(method, target, token: token)
                #expect((reply.status == 401) == (need != .nothing), "\(method) \(target), token \(name): \(reply.status) \(reply.text)")
                if reply.status == 401 { #expect(reply.code == "unauthorized" && reply.header("WWW-Authenticate") == "Bearer") }
            }
            let reply = try other.send(method, target)
            switch need {
            case .nothing: break
            case .replica: #expect(reply.status == 403, "\(method) \(target): \(reply.text)")
            default:
                // What is this tenant's is not there for another; what is made with a body that names its records is refused.
                let isList = method == "GET" && !reply.rows.contains { $0["id"] != nil && target != "/v1/tenant" && target != "/v1/member" }
                #expect(
                    [404, 400, 409].contains(reply.status) || (reply.status == 200 && isList),
                    "\(method) \(target): \(reply.status) \(reply.text)")
            }
        }
    }

    @Test(arguments: [Role.viewer, .field, .manager, .owner]) func everyRoute_isForTheRolesOfItsRow(_ role: Role) throws {
        _ = try rest.send("POST", "/v1/consumers", ["name": "hook", "kind": "pull"])
        let member = role == .owner ? rest.tenant.owner : try rest.tenant.addMember(role: role)
        let token = try RestUnderTest.token(rest.tenant, member: member)
        let replica = try rest.tenant.enroll(member: member)
        for (route, need) in Self.routes {
            let parts = route.split(separator: " ")
            let target = String(parts[1]).replacing("{name}", with: "hook").replacing("{position}", with: "7")
            let isAllowed = need == .nothing || need == .member || (need == .owner && role == .owner)
            let status = try rest.send(String(parts[0]), target, as: token).status
            #expect((status != 401 && status != 403) == isAllowed, "\(role) \(route): \(status)")
            guard need == .replica else { continue }
            let synced = try rest.send(String(parts[0]), target, as: replica.token).status
            #expect(synced == 400 || synced == 200, "\(role) \(route) with a replica's token: \(synced)")
        }
        for entity in Schema.testing.entities where entity.isServed {
            for operation in Self.operations(entity) {
                let id = try records.make(entity.name, for: operation)
                let reply = try rest.send(Self.method(operation), target(entity, operation, id), body(entity, operation), as: token)
                let line = "\(role) \(operation) \(entity.name): \(reply.status) \(reply.text.prefix(300))"
                switch Self.verdict(entity.name, operation, role) {
                case .allowed: #expect([200, 201, 400, 409].contains(reply.status), "\(line)")
                case .refused: #expect(reply.status == 403 && reply.code == "forbidden", "\(line)")
                case .hidden: #expect(reply.status == 404 && reply.code == "not_found", "\(line)")
                }
            }
        }
    }

    /// The same rows decide about a push; what REST does not offer at all, and what never leaves the server, is refused to everybody.
    @Test(arguments: [Role.viewer, .field, .manager, .owner]) func everyPush_isForTheRolesOfItsRow(_ role: Role) throws {
        let member = role == .owner ? rest.tenant.owner : try rest.tenant.addMember(role: role)
        let replica = try rest.tenant.enroll(member: member)
        for entity in Schema.testing.entities {
            let transitions = entity.machine?.transitions.map(\.name) ?? []
            for operation in ["create", "patch", "delete", "restore"] + transitions {
                // Everything a patch could change is written once.
                if operation == "patch", AccessRecords.patch[entity.name] == nil { continue }
                // What is never deleted is not restored either: nothing happens.
                if operation == "restore", !entity.isDeletable { continue }
                let change = try records.change(entity, operation)
                let line = "\(role) \(operation) \(entity.name)"
                guard role != .viewer else {
                    #expect(refusal { try replica.push([replica.seal([change])]) }?.code == "forbidden", "\(line)")
                    replica.counter -= 1
                    continue
                }
                let outcome = try replica.edit([change])
                // What only the server may set is refused as such.
                let isRefused = outcome.violations.contains { $0.code == "forbidden" || (operation == "create" && $0.code == "read_only") }
                let isAllowed = Self.verdict(entity.name, operation, role) == .allowed
                #expect(isRefused != isAllowed, "\(line): \(outcome.status) \(outcome.violations)")
                if isRefused { #expect(outcome.status == .rejected, "\(line)") }
            }
        }
    }
}

/// Records for the table: fresh ones for each row, in the state that the operation starts from.
struct AccessRecords {
    let tenant: TenantUnderTest

    static let patch: [String: JSONObject] = [
        "tenant": ["name": "New"], "member": ["job_title": "Inspector"], "replica": ["label": "new"], "custom_field": ["label": "New"],
        "client": ["phone": "+15550100"], "contact": ["job_title": "Buyer"], "client_contact": ["role": "Buyer"], "site": ["name": "Pier"],
        "deal": ["title": "New"], "deal_contact": ["role": "user"], "part": ["name": "New"], "document": ["memo": "New"],
        "document_line": ["line_order": 3], "note": ["body": "New"],
    ]

    static func arguments(_ transition: String) -> JSONObject { ["lose", "void"].contains(transition) ? ["reason": "price"] : [:] }

    private func text(_ id: Identifier) -> JSONValue { .string(id.text) }
    private func made(_ entity: String) throws -> JSONValue { text(try make(entity)) }

    /// Of a new record, with the records it refers to.
    func fields(_ entity: String) throws -> JSONObject {
        let unique = tenant.server.newIdentifier().text.suffix(12)
        switch entity {
        case "tenant": return ["name": "Second", "base_currency": "USD"]
        case "member":
            return ["name": "Nina", "email": .string("\(unique)@example.com"), "role": "viewer", "status": "invited"]
        case "replica": return ["member": text(tenant.owner), "label": "laptop", "replication": "full"]
        case "custom_field": return ["entity": "client", "key": .string("k\(unique)"), "label": "Key", "kind": "text"]
        case "client": return ["name": "Harbor"]
        case "contact": return ["last_name": "Ortiz"]
        case "client_contact": return ["client": try made("client"), "contact": try made("contact")]
        case "site": return ["client": try made("client"), "name": "Pier 9", "address": ["city": "Boston"]]
        case "deal": return ["title": "Roof", "client": try made("client"), "currency": "USD", "owner": text(tenant.owner)]
        case "deal_contact": return ["deal": try made("deal"), "contact": try made("contact")]
        case "part": return ["sku": .string("p\(unique)"), "name": "Valve"]
        case "movement": return ["part": try made("part"), "kind": "receive", "quantity_milli": 5]
        case "document": return ["title": "Offer"]
        case "document_line": return ["document": try made("document"), "label": "Line", "price": 5]
        case "note": return ["subject_type": "part", "subject_id": try made("part"), "body": "Text"]
        case "account": return ["email": .string("\(unique)@example.com")]
        case "number_sequence": return ["kind": .string("k\(unique)"), "year": 2026]
        default: throw RestFailure(description: "no fields for \(entity): add them to the table")
        }
    }

    private func id(_ entity: EntitySchema, _ fields: JSONObject) -> Identifier {
        entity.deterministicID { fields[$0] } ?? tenant.server.newIdentifier()
    }

    /// A record that the operation can start from: deleted for `restore`, in the right state for a transition.
    func make(_ name: String, for operation: String = "get") throws -> Identifier {
        if name == "tenant" { return tenant.id }
        guard let entity = Schema.testing.entity(name) else { throw Missing() }
        let fields = try fields(name)
        let id = id(entity, fields)
        try tenant.write([Change(name, id, .create(fields: fields))]).requireAccepted()
        if operation == "restore", entity.isDeletable { try tenant.write([Change(name, id, .delete)]).requireAccepted() }
        if let machine = entity.machine, let transition = machine.transitions.first(where: { $0.name == operation }) {
            _ = try tenant.server.connection.run(
                "UPDATE public.\(name) SET \(machine.field) = $3 WHERE tenant = $1::uuid AND id = $2::uuid", .identifier(tenant.id),
                .identifier(id), .text(transition.from[0]))
        }
        return id
    }

    /// The operation as a change of a push.
    func change(_ entity: EntitySchema, _ operation: String) throws -> Change {
        if operation == "create" {
            let fields = try fields(entity.name)
            return Change(entity.name, id(entity, fields), .create(fields: fields))
        }
        let id = try make(entity.name, for: operation)
        switch operation {
        case "patch": return Change(entity.name, id, .patch(fields: Self.patch[entity.name] ?? [:], was: JSONObject()))
        case "delete": return Change(entity.name, id, .delete)
        case "restore": return Change(entity.name, id, .restore)
        default:
            let from = entity.machine?.transitions.first { $0.name == operation }?.from[0] ?? ""
            return Change(
                entity.name, id, .transition(name: operation, observed: from, arguments: Self.arguments(operation)))
        }
    }
}
