// Every role × entity × operation, pushed and over HTTP alike, held against a table of access classes that stands here: nothing of it
// is read from the code under test, so a class that changes there has to be changed here, too.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AccessTableTests {
    /// Create, read, update, delete. Who may delete brings back as well, if they are an owner or a manager.
    private static let classes: [String: [Role: String]] = [
        "config": [.owner: "crud", .manager: "r", .field: "r", .viewer: "r"],
        "manage": [.owner: "crud", .manager: "crud", .field: "r", .viewer: "r"],
        "collab": [.owner: "crud", .manager: "crud", .field: "ru", .viewer: "r"],
        "fact": [.owner: "crud", .manager: "crud", .field: "cr", .viewer: "r"],
        "log": [.owner: "cr", .manager: "cr", .field: "cr", .viewer: "r"],
        "money": [.owner: "crud", .manager: "crud", .field: "r", .viewer: "r"],
        "own": [.owner: "r", .manager: "r", .field: "r", .viewer: "r"],
    ]

    /// One kind of record as one kind of person meets it.
    struct Row {
        var entity: String
        var accessClass: String
        /// Theirs: themselves, their device, their deal, what they wrote.
        var isOwn = false
        /// What they may do beyond the class, because it is theirs.
        var more: [Role: String] = [:]
        /// What nobody may do, whatever the class.
        var nobody = ""
        /// Who does not see it at all.
        var hidden: Set<Role> = []
        var transitions: [Move] = []
    }

    struct Move {
        var name: String
        var from: String
        var by: Set<Role>
        var arguments: JSONObject = [:]
    }

    private static let everyone = Set(Role.allCases)
    private static let leaders: Set<Role> = [.owner, .manager]

    private static func stages(by dealers: Set<Role>) -> [Move] {
        [
            Move(name: "qualify", from: "lead", by: dealers), Move(name: "propose", from: "lead", by: dealers),
            Move(name: "negotiate", from: "proposal", by: dealers), Move(name: "win", from: "negotiation", by: dealers),
            Move(name: "lose", from: "lead", by: dealers, arguments: ["reason": "price"]), Move(name: "reopen", from: "won", by: leaders),
        ]
    }

    private static let rows: [Row] = [
        Row(entity: "tenant", accessClass: "config", nobody: "cd"),
        Row(
            entity: "member", accessClass: "config", nobody: "c",
            transitions: [
                Move(name: "accept", from: "invited", by: []), Move(name: "disable", from: "active", by: [.owner]),
                Move(name: "enable", from: "disabled", by: [.owner]),
            ]),
        // An owner who disables or deletes themselves could not ask for anything more.
        Row(
            entity: "member", accessClass: "config", isOwn: true, more: [.manager: "u", .field: "u", .viewer: "u"], nobody: "c",
            transitions: [Move(name: "accept", from: "invited", by: everyone), Move(name: "enable", from: "disabled", by: [.owner])]),
        Row(
            entity: "replica", accessClass: "own", hidden: [.manager, .field, .viewer],
            transitions: [Move(name: "revoke", from: "active", by: [.owner])]),
        Row(
            entity: "replica", accessClass: "own", isOwn: true, more: [.owner: "u", .manager: "u", .field: "u", .viewer: "u"],
            transitions: [Move(name: "revoke", from: "active", by: everyone)]),
        Row(entity: "custom_field", accessClass: "config"),
        Row(
            entity: "client", accessClass: "collab",
            transitions: [
                Move(name: "hold", from: "active", by: leaders), Move(name: "release", from: "on_hold", by: leaders),
                Move(name: "archive", from: "active", by: leaders), Move(name: "reactivate", from: "archived", by: leaders),
            ]),
        Row(entity: "contact", accessClass: "collab"), Row(entity: "client_contact", accessClass: "collab"),
        Row(entity: "site", accessClass: "collab"),
        Row(entity: "deal", accessClass: "manage", hidden: [.field], transitions: stages(by: leaders)),
        Row(entity: "deal", accessClass: "manage", isOwn: true, more: [.field: "cud"], transitions: stages(by: everyone)),
        Row(entity: "deal_contact", accessClass: "manage", hidden: [.field]),
        Row(entity: "deal_contact", accessClass: "manage", isOwn: true),
        Row(entity: "part", accessClass: "manage"), Row(entity: "movement", accessClass: "log", hidden: [.field]),
        Row(
            entity: "document", accessClass: "money", hidden: [.field],
            transitions: [
                Move(name: "issue", from: "draft", by: leaders), Move(name: "send", from: "issued", by: leaders),
                Move(name: "void", from: "issued", by: [.owner], arguments: ["reason": "wrong"]),
            ]),
        Row(entity: "document_line", accessClass: "money", hidden: [.field]), Row(entity: "note", accessClass: "fact"),
        Row(entity: "note", accessClass: "fact", isOwn: true, more: [.field: "ud"]),
    ]

    enum Deed {
        case read, create, patch, delete, restore
        case move(Move)
    }

    private enum Answer: Hashable { case done, forbidden, hidden }

    private static func answer(_ row: Row, _ deed: Deed, _ role: Role) throws -> Answer {
        let byClass = try required(classes[row.accessClass]?[role])
        let letters = Set(byClass + (row.more[role] ?? "")).subtracting(row.nobody)
        let may: Bool
        switch deed {
        case .read: may = letters.contains("r")
        // Nobody is told of a record that is not there yet.
        case .create: return letters.contains("c") ? .done : .forbidden
        case .patch: may = letters.contains("u")
        case .delete: may = letters.contains("d")
        case .restore: may = Set(byClass).subtracting(row.nobody).contains("d") && leaders.contains(role)
        case .move(let move): may = move.by.contains(role)
        }
        return row.hidden.contains(role) ? .hidden : may ? .done : .forbidden
    }

    private struct Case {
        var row: Row
        var deed: Deed
        var change: Change
        var expected: Answer
        var told: String { "\(row.isOwn ? "own " : "")\(row.entity) \(deed)" }
    }

    private static func cases(_ stage: inout Stage, includingReads: Bool) throws -> [Case] {
        var cases: [Case] = []
        for row in rows {
            var deeds: [Deed] = [.create, .patch, .restore] + row.transitions.map { .move($0) }
            if includingReads { deeds.append(.read) }
            // Whoever deletes themselves asks for nothing any more.
            if !(row.entity == "member" && row.isOwn && stage.role == .owner) { deeds.append(.delete) }
            for deed in deeds {
                cases.append(
                    Case(row: row, deed: deed, change: try stage.change(row, deed), expected: try answer(row, deed, stage.role)))
            }
        }
        return cases
    }

    /// The table has every entity that is served, and every transition that a person may do.
    @Test func table_isWhole() {
        for entity in Schema.testing.entities where entity.access != .secret {
            let rows = Self.rows.filter { $0.entity == entity.name }
            #expect(!rows.isEmpty, "\(entity.name)")
            for transition in entity.machine?.transitions ?? [] {
                #expect(rows.contains { $0.transitions.contains { $0.name == transition.name } }, "\(entity.name) \(transition.name)")
            }
        }
    }

    // MARK: Both ways in

    @Test(arguments: Role.allCases) func push_answersByTheTable(role: Role) throws {
        let rest = try RestUnderTest()
        let caller = try rest.member(role).id
        var stage = try Stage(rest, role, caller: caller)
        let cases = try Self.cases(&stage, includingReads: false)
        let replica = try rest.tenant.enroll(member: caller)
        try stage.write()
        try replica.pull()
        if role == .viewer {
            // Who may only read pushes nothing at all, whatever it is.
            let before = try rest.tenant.head.position
            for one in cases {
                let refused = refusal { try replica.edit([one.change]) }
                #expect(refused?.knownCode == .forbidden, "\(one.told)")
                replica.counter -= 1
            }
            #expect(try rest.tenant.head.position == before)
            return
        }
        let reply = try replica.push(cases.map { replica.seal([$0.change]) })
        #expect(reply.outcomes.count == cases.count)
        var seen: [Answer: Int] = [:]
        for (index, one) in cases.enumerated() {
            let outcome = try replica.outcome(reply, index)
            let codes = Set(outcome.violations.map(\.code))
            let told = "\(role) \(one.told): \(outcome.status) \(outcome.violations.map { "\($0.code) \($0.message)" })"
            switch one.expected {
            case .done: #expect(outcome.status != .rejected, "\(told)")
            // What nobody may do is refused for what it is, or there is nothing to it: a tenant has no tombstone to bring back.
            case .forbidden where try Self.isNobodys(one):
                #expect(outcome.status == .noop || !codes.isDisjoint(with: ["forbidden", "read_only"]), "\(told)")
            case .forbidden: #expect(outcome.status == .rejected && codes.contains("forbidden"), "\(told)")
            case .hidden: #expect(outcome.status == .rejected && codes.contains("not_found") && !codes.contains("forbidden"), "\(told)")
            }
            seen[one.expected, default: 0] += 1
        }
        try Self.expectAll(seen, role)
    }

    @Test(arguments: Role.allCases) func rest_answersByTheTable(role: Role) throws {
        let rest = try RestUnderTest()
        let (caller, token) = try rest.member(role)
        var stage = try Stage(rest, role, caller: caller)
        let cases = try Self.cases(&stage, includingReads: true)
        try stage.write()
        var seen: [Answer: Int] = [:]
        for one in cases {
            let record = "/v1/\(one.row.entity)/\(one.change.key.id.text)"
            let reply: RestReply
            switch (one.deed, one.change.operation) {
            case (.read, _): reply = try rest.get(record, as: token)
            case (_, .create(var fields)):
                fields["id"] = .string(one.change.key.id.text)
                reply = try rest.send("POST", "/v1/\(one.row.entity)", .object(fields), as: token)
            case (_, .patch(let fields, _)): reply = try rest.send("PATCH", record, .object(fields), as: token)
            case (_, .delete): reply = try rest.send("DELETE", record, as: token)
            case (_, .restore): reply = try rest.send("POST", "\(record)/restore", as: token)
            case (_, .transition(let name, let observed, let arguments)):
                reply = try rest.send(
                    "POST", "\(record)/transitions/\(name)", ["observed": .string(observed), "arguments": .object(arguments)], as: token)
            }
            let told = "\(role) \(one.told): \(reply.status) \(reply.text)"
            switch one.expected {
            case .done: #expect([200, 201].contains(reply.status), "\(told)")
            case _ where try Self.isNobodys(one): #expect([403, 404, 405].contains(reply.status), "\(told)")
            case .forbidden: #expect(reply.status == 403 && reply.code == "forbidden", "\(told)")
            case .hidden: #expect(reply.status == 404 && reply.code == "not_found", "\(told)")
            }
            seen[one.expected, default: 0] += 1
        }
        try Self.expectAll(seen, role)
    }

    /// What no role may do to any record of the entity: then it has no route.
    private static func isNobodys(_ one: Case) throws -> Bool {
        try Role.allCases.allSatisfy { role in
            try rows.filter { $0.entity == one.row.entity }.allSatisfy { try answer($0, one.deed, role) != .done }
        }
    }

    /// Every answer occurs for whom it can: a table that only ever said yes would prove nothing.
    private static func expectAll(_ seen: [Answer: Int], _ role: Role) throws {
        #expect(try required(seen[.done]) > 10 && required(seen[.forbidden]) > 5)
        #expect((seen[.hidden] ?? 0 > 0) == (role != .owner))
    }
}
