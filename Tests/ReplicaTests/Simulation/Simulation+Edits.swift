// What people and tools do to their replicas.

import Foundation
import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// Text fields by entity: where tokens are written. Guarded, last-writer and map fields; sets are written by element.
    private static let texts: [(entity: String, fields: [String])] = [
        ("client", ["name", "legal_name", "notes", "custom.k", "tax_number"]), ("contact", ["job_title", "notes", "last_name"]),
        ("site", ["name", "access_notes"]), ("client_contact", ["role"]), ("deal", ["title", "notes"]),
        ("part", ["name", "bin", "remark"]),
        ("document", ["title", "memo", "terms"]), ("document_line", ["label", "unit"]), ("note", ["body", "mood", "secret_remark"]),
        ("gadget", ["label", "notes"]),
    ]
    private static let creatable = [
        "client", "contact", "client_contact", "site", "deal", "part", "movement", "document", "document_line", "note", "gadget",
    ]
    private static let sets: [(entity: String, field: String)] = [
        ("client", "tags"), ("contact", "tags"), ("deal", "tags"), ("part", "labels"),
    ]

    /// A text field that the site's build knows.
    private func text(_ site: SimulatedSite) -> (entity: String, field: String)? {
        let isGuarded = profile == .steady && chance.percent(90)
        guard let (entity, _) = chance.pick(Self.texts), let schema = site.build.entity(entity),
            let field = chance.pick(texts(site, of: entity).filter { !isGuarded || schema.field($0)?.policy == .guarded })
        else { return nil }
        return (entity, field)
    }

    private func texts(_ site: SimulatedSite, of entity: String) -> [String] {
        guard let schema = site.build.entity(entity) else { return [] }
        return (Self.texts.first { $0.entity == entity }?.fields ?? []).filter { schema.field(String($0.prefix { $0 != "." })) != nil }
    }

    /// A record of the site's view, live or dead; never one of the pair.
    private func anyRecord(_ site: SimulatedSite, _ entity: String, live: Bool = true) async throws -> Identifier? {
        guard site.build.entity(entity) != nil else { return nil }
        let rows = try await site.replica.query(
            "SELECT id FROM \"\(entity)\" WHERE deleted_at IS \(live ? "" : "NOT ")NULL ORDER BY id")
        let ids = rows.compactMap { row -> Identifier? in
            if case .text(let text)? = row["id"] { Identifier(text) } else { nil }
        }
        return chance.pick(ids.filter { !pair.contains($0) })
    }

    /// Keeps the tokens of an edit that became a set, and looks whether the person sees what they wrote (I6).
    private func took(_ tokens: [String], _ site: SimulatedSite) {
        ledger.took(tokens)
        site.tokens.formUnion(tokens)
        site.unsealed = []
    }

    private func expectShown(_ site: SimulatedSite, _ entity: String, _ id: Identifier, _ field: String, _ token: String) async throws {
        let record = try await site.replica.get(entity, id)
        guard record?[field] == .string(token) else {
            throw BrokenInvariant(
                name: "I6", detail: "\(site.name) wrote \(token) to \(entity).\(field) and reads \(record?[field] ?? .null)")
        }
    }

    // MARK: The library

    func write(_ site: SimulatedSite) async throws -> String {
        let checkpoint = try await plantBeforeWrite(site)
        if profile == .steady, let what = try await writeSteadily(site) {
            try plantAfterWrite(site, checkpoint: checkpoint)
            return what
        }
        let what =
            switch chance.below(12) {
            case 0, 1, 2: try await create(site)
            case 3, 4, 5: try await setText(site)
            case 6: try await changeSet(site)
            case 7: try await increment(site)
            case 8: try await transition(site)
            case 9: try await compose(site)
            case 10: try await point(site)
            default: try await deleteOrRestore(site)
            }
        try plantAfterWrite(site, checkpoint: checkpoint)
        return what
    }

    /// In a steady run people set texts, delete and bring back more than anything else.
    private func writeSteadily(_ site: SimulatedSite) async throws -> String? {
        switch chance.below(20) {
        case 0...9: try await setText(site)
        case 10...13: try await deleteOrRestore(site)
        default: nil
        }
    }

    private func create(_ site: SimulatedSite) async throws -> String {
        guard let entity = chance.pick(Self.creatable), site.build.entity(entity) != nil else { return "nothing" }
        let token = ledger.token()
        guard let fields = try await fieldsOfANew(entity, site, token) else { return "nothing to attach a \(entity) to" }
        return try await attempt(site) {
            let result = try await site.replica.write { try $0.create(entity, fields) }
            guard result.counter != nil else { return "\(entity) changes nothing" }
            if fields.values.contains(.string(token)) {
                took([token], site)
                let field = fields.first { $0.value == .string(token) }?.key ?? ""
                try await expectShown(site, entity, result.value, field, token)
            }
            return "creates \(entity) \(token) as set \(result.counter ?? 0)"
        }
    }

    private func fieldsOfANew(_ entity: String, _ site: SimulatedSite, _ token: String) async throws -> [String: JSONValue]? {
        func some(_ entity: String) async throws -> JSONValue? {
            guard let id = try await anyRecord(site, entity) else { return Optional.none }
            return .string(id.text)
        }
        switch entity {
        case "client": return ["name": .string(token), "tags": ["a", "b"], "payment_terms_days": 14]
        case "contact": return ["last_name": .string(token), "email": .string("\(token)@example.com")]
        case "client_contact":
            guard let client = try await some("client"), let contact = try await some("contact") else { return nil }
            return ["client": client, "contact": contact, "role": .string(token), "is_primary": .integer(Int64(chance.below(2)))]
        case "site":
            guard let client = try await some("client") else { return nil }
            return ["client": client, "name": .string(token), "address": ["line1": "Pier 1", "city": "Harbor"]]
        case "deal":
            guard let client = try await some("client") else { return nil }
            return [
                "client": client, "title": .string(token), "currency": "USD", "owner": .string(site.member.text),
                "amount": .integer(Int64(chance.below(2) * 500)),
            ]
        case "part": return ["sku": .string(chance.percent(20) ? "bolt" : token), "name": .string(token)]
        case "movement":
            guard let part = try await some("part") else { return nil }
            let quantity = chance.within(-5...9) * 1_000
            return ["part": part, "kind": quantity > 0 ? "receive" : "use", "quantity_milli": .integer(quantity)]
        case "document": return document(["title": .string(token)], site.build)
        case "gadget": return try await some("part").map { ["label": .string(token), "part": $0] } ?? ["label": .string(token)]
        case "document_line":
            guard let document = try await some("document") else { return nil }
            return ["document": document, "label": .string(token), "price": .integer(chance.within(1...900))]
        default:
            let about = chance.percent(50) ? "part" : "document"
            guard let subject = try await some(about) else { return nil }
            return ["subject_type": .string(about), "subject_id": subject, "body": .string(token)]
        }
    }

    /// A text of a record; often the one that everybody writes, or there would be few conflicts.
    private func somewhere(_ site: SimulatedSite) async throws -> (entity: String, field: String, id: Identifier)? {
        if chance.percent(50), try await site.replica.get("client", busyClient)?.isDeleted == false {
            return ("client", "notes", busyClient)
        }
        guard let (entity, field) = text(site), let id = try await anyRecord(site, entity) else { return nil }
        return (entity, field, id)
    }

    /// What is written when a record is made stays, whatever way somebody tries; whoever does is told, and nothing else happens.
    private func setOnce(_ site: SimulatedSite) async throws -> String {
        let rows = try await site.replica.query("SELECT id, sku FROM part WHERE deleted_at IS NULL ORDER BY id LIMIT 1")
        guard let row = rows.first, case .text(let text)? = row["id"], let id = Identifier(text) else { return "nothing to set" }
        return try await attempt(site) {
            var isTold = false
            do {
                if chance.percent(50) {
                    try await site.replica.write { try $0.set("part", id, ["sku": "another"]) }
                } else {
                    let summary = chance.percent(50) ? "by hand" : nil
                    _ = try await site.replica.writeSQL("UPDATE part SET sku = 'another' WHERE id = '\(text)'", summary: summary)
                }
            } catch let error as ReplicaError where [.refused, .firstSyncIncomplete].contains(error.code) {
                isTold = true
            }
            let after = try await site.replica.query("SELECT sku FROM part WHERE id = '\(text)'")
            guard isTold, after.first?["sku"] == row["sku"] else {
                throw BrokenInvariant(name: "I8", detail: "\(site.name) wrote what is written once, told: \(isTold), and reads \(after)")
            }
            return "nothing to set, and what is written once stays"
        }
    }

    private func setText(_ site: SimulatedSite) async throws -> String {
        guard let (entity, field, id) = try await somewhere(site) else { return try await setOnce(site) }
        return try await setText(site, entity, field, id)
    }

    /// To a record that the site has; nil where it has no text.
    func write(_ site: SimulatedSite, to key: RecordKey) async throws -> String? {
        guard let record = try await site.replica.get(key.entity, key.id), !record.isDeleted, !pair.contains(key.id),
            let field = chance.pick(texts(site, of: key.entity))
        else { return nil }
        return try await setText(site, key.entity, field, key.id)
    }

    private func setText(_ site: SimulatedSite, _ entity: String, _ field: String, _ id: Identifier) async throws -> String {
        var values = [field: ledger.token()]
        // Two values of one command, as in a form.
        if profile == .steady, chance.percent(40), let other = chance.pick(texts(site, of: entity).filter({ $0 != field })) {
            values[other] = ledger.token()
        }
        for (field, token) in values.sorted(by: { $0.key < $1.key }) { try await look(site, entity, id, field, before: token) }
        let position = try await place(site, entity, id)
        let new = values.mapValues { JSONValue.string($0) }
        return try await attempt(site) {
            let result = try await site.replica.write { try $0.set(entity, id, new) }
            let names = new.keys.sorted().joined(separator: " and ")
            guard let counter = result.counter else { return "\(entity).\(names) changes nothing" }
            took(Array(values.values), site)
            try await checkClock(site, counter, covers: position)
            for (field, token) in values { try await expectShown(site, entity, id, field, token) }
            return "sets \(entity).\(names) \(values.values.sorted().joined(separator: " and ")) as set \(counter)"
        }
    }

    private func changeSet(_ site: SimulatedSite) async throws -> String {
        guard let (entity, field) = chance.pick(Self.sets), site.build.entity(entity)?.field(field) != nil,
            let id = try await anyRecord(site, entity), let element = chance.pick(["a", "b", "c", "d"])
        else { return "no set to change" }
        let adds = chance.percent(60)
        return try await attempt(site) {
            let result = try await site.replica.write { edit in
                if adds { try edit.add(entity, id, field, [element]) } else { try edit.remove(entity, id, field, [element]) }
            }
            guard let counter = result.counter else { return "\(element) is as it was" }
            let isThere = try await site.replica.get(entity, id)?.elements(field).contains(element)
            guard isThere == adds else {
                throw BrokenInvariant(name: "I6", detail: "\(site.name) does not see \(element) of \(entity) change")
            }
            return "\(adds ? "adds" : "removes") \(element) of \(entity) as set \(counter)"
        }
    }

    private func increment(_ site: SimulatedSite) async throws -> String {
        guard let id = try await anyRecord(site, "part") else { return "no part" }
        let delta = chance.within(-9...9)
        return try await attempt(site) {
            let before = try await site.replica.get("part", id)?.integer("on_hand_milli") ?? 0
            let result = try await site.replica.write { try $0.increment("part", id, "on_hand_milli", by: delta) }
            guard let counter = result.counter else { return "adds nothing" }
            let after = try await site.replica.get("part", id)?.integer("on_hand_milli") ?? 0
            guard after == before + delta else { throw BrokenInvariant(name: "I6", detail: "\(before) + \(delta) shows as \(after)") }
            return "adds \(delta) as set \(counter)"
        }
    }

    private func transition(_ site: SimulatedSite) async throws -> String {
        guard let entity = chance.pick(["client", "deal", "deal", "document", "document"]), let id = try await anyRecord(site, entity),
            let name = chance.pick(Schema.testing.entity(entity)?.machine?.transitions.map(\.name) ?? [])
        else { return "nothing to move" }
        let arguments: [String: JSONValue] = ["lose", "void"].contains(name) ? ["reason": "price"] : [:]
        return try await attempt(site) {
            let result = try await site.replica.write { try $0.transition(name, entity, id, arguments) }
            return "\(name) \(entity) as set \(result.counter ?? 0)"
        }
    }

    /// Several records in one set: a document with its lines, perhaps issued and sent at once.
    private func compose(_ site: SimulatedSite) async throws -> String {
        let (title, label) = (ledger.token(), ledger.token())
        let fields = document(["title": .string(title)], site.build)
        let moves = ["issue", "send"].prefix(chance.below(3))
        return try await attempt(site) {
            let result = try await site.replica.write { edit in
                let id = try edit.create("document", fields)
                try edit.create("document_line", ["document": .string(id.text), "label": .string(label), "price": 250])
                for move in moves { try edit.transition(move, "document", id) }
                return id
            }
            took([title, label], site)
            try await expectShown(site, "document", result.value, "title", title)
            return "creates document \(title) with line \(label)\(moves.map { ", \($0)" }.joined()) as set \(result.counter ?? 0)"
        }
    }

    /// References that become null with what they refer to, and a whole set that is guarded.
    private func point(_ site: SimulatedSite) async throws -> String {
        let (entity, field, target) = chance.weighted([(1, ("site", "contact", "contact")), (1, ("part", "colours", ""))])
        guard let id = try await anyRecord(site, entity) else { return "nothing to point" }
        var value: JSONValue = .array(["blue", "green", "red"].filter { _ in chance.percent(50) }.map { .string($0) })
        if !target.isEmpty { value = try await anyRecord(site, target).map { .string($0.text) } ?? .null }
        let new = value
        return try await attempt(site) {
            let result = try await site.replica.write { try $0.set(entity, id, [field: new]) }
            guard let counter = result.counter else { return "\(entity).\(field) stays" }
            let shown = try await site.replica.get(entity, id)?[field] ?? .null
            guard shown == new else {
                throw BrokenInvariant(name: "I6", detail: "\(site.name) wrote \(new) to \(entity).\(field), reads \(shown)")
            }
            return "sets \(entity).\(field) as set \(counter)"
        }
    }

    private func deleteOrRestore(_ site: SimulatedSite) async throws -> String {
        let deletes = chance.percent(65)
        var entities = ["client", "contact", "site", "client_contact", "deal", "part", "document", "document_line", "note", "gadget"]
        if profile == .steady {
            var some: [String] = []
            for entity in entities where try await anyRecord(site, entity, live: deletes) != nil { some.append(entity) }
            entities = some
        }
        guard let entity = chance.pick(entities),
            let id = try await anyRecord(site, entity, live: deletes)
        else { return "nothing to delete or restore" }
        return try await attempt(site) {
            let result = try await site.replica.write { edit in
                if deletes { try edit.delete(entity, id) } else { try edit.restore(entity, id) }
            }
            return "\(deletes ? "deletes" : "restores") \(entity) as set \(result.counter ?? 0)"
        }
    }

    /// One value into both of the pair, always in one set.
    func writePair(_ site: SimulatedSite) async throws -> String {
        let token = ledger.token()
        let pair = pair
        return try await attempt(site) {
            let result = try await site.replica.write { edit in
                for id in pair { try edit.set("client", id, ["legal_name": .string(token)]) }
            }
            took([token], site)
            for id in pair { try await expectShown(site, "client", id, "legal_name", token) }
            return "\(token) into both as set \(result.counter ?? 0)"
        }
    }

    func undo(_ site: SimulatedSite) async throws -> String {
        try await attempt(site) {
            let report = try await site.replica.undo()
            site.unsealed = []
            return "takes back set \(report.undone) by set \(report.counter ?? 0), keeps \(report.kept.count)"
        }
    }

    // MARK: Problems

    func resolve(_ site: SimulatedSite) async throws -> String {
        guard let problem = chance.pick(try await site.replica.problems()) else { return "no problems" }
        return try await attempt(site) {
            switch chance.below(3) {
            case 0:
                let found = try await sights(site, of: problem, editing: nil)
                let result = try await site.replica.retry(problem)
                site.unsealed = []
                site.openProblems.remove(problem.id)
                if let counter = result.counter { try await note(found, of: counter, site) }
                return "retries \(problem.id) as set \(result.counter ?? 0)"
            case 1:
                guard let change = problem.changes.first,
                    let field = Self.texts.first(where: { $0.entity == change.key.entity })?.fields.first
                else { return "nothing to edit in \(problem.id)" }
                let token = ledger.token()
                let found = try await sights(site, of: problem, editing: field)
                let result = try await site.replica.edit(problem, [field: .string(token)])
                site.openProblems.remove(problem.id)
                if let counter = result.counter { try await note(found, of: counter, site) }
                if result.counter != nil, Self.firstWrite(problem)?.key.entity == change.key.entity { took([token], site) }
                return "edits \(problem.id) as set \(result.counter ?? 0)"
            default:
                try await site.replica.discard(problem)
                site.openProblems.remove(problem.id)
                return "discards \(problem.id)"
            }
        }
    }

    /// The change that an edit of the problem overrides.
    private static func firstWrite(_ problem: Problem) -> Change? {
        problem.changes.first { change in
            switch change.operation {
            case .create, .patch: true
            default: false
            }
        }
    }

    // MARK: SQL

    func writeSQL(_ site: SimulatedSite) async throws -> String {
        let isGroup = chance.percent(40)
        var statements: [String] = []
        var tokens: [String] = []
        for _ in 0..<(1 + chance.below(3)) {
            guard let (statement, token) = try await statement(site, avoiding: []) else { continue }
            for earlier in tokens { look(at: earlier, before: token) }
            statements.append(statement)
            tokens.append(token)
        }
        guard !statements.isEmpty else { return "nothing to say" }
        let script = statements.joined(separator: "; ")
        return try await attempt(site) {
            let result = try await site.replica.writeSQL(script, summary: isGroup ? "by hand" : nil)
            // A later statement may have replaced what an earlier one of the same record said.
            let held = try await tokensHeld(by: site)
            took(tokens.filter(held.contains), site)
            return "\(statements.count) statements\(isGroup ? " in one group" : ""): sets \(result.sets), \(result.problems.count) problems"
        }
    }

    /// A tool that nobody told anything: what it writes is sealed by whatever comes next.
    func editByTool(_ site: SimulatedSite) async throws -> String {
        guard let (statement, token) = try await statement(site, avoiding: site.unsealed) else { return "nothing to edit" }
        let isTaken = try runByTool(statement, site)
        guard isTaken else { return "the gates refuse \(token)" }
        ledger.took([token])
        site.tokens.insert(token)
        return "writes \(token)"
    }

    /// False when a gate refuses.
    private func runByTool(_ statement: String, _ site: SimulatedSite) throws -> Bool {
        let connection = try SQLiteConnection(path: site.path, mode: .readWrite, busyTimeoutMilliseconds: 30_000)
        defer { connection.close() }
        do { try connection.immediateTransaction { try connection.script(statement) } } catch is SQLiteError { return false }
        return true
    }

    private func statement(_ site: SimulatedSite, avoiding: Set<Identifier>) async throws -> (String, String)? {
        let token = ledger.token()
        if chance.percent(25) {
            let id = Identifier.version7(milliseconds: clock.now, random: (entropy.next(), entropy.next()))
            site.unsealed.insert(id)
            return ("INSERT INTO client (id, name, tags) VALUES ('\(id.text)', '\(token)', '[\"a\"]')", token)
        }
        guard let (entity, field) = text(site), !field.contains("."),
            let id = try await anyRecord(site, entity), !avoiding.contains(id)
        else { return nil }
        site.unsealed.insert(id)
        try await look(site, entity, id, field, before: token)
        return ("UPDATE \"\(entity)\" SET \"\(field)\" = '\(token)' WHERE id = '\(id.text)'", token)
    }

    // MARK: The server's own

    /// REST or a workflow: no dot, known by the feed alone.
    func serverWrite() async throws -> String {
        if chance.percent(30), let record = server.record("client", busyClient), record.isLive {
            return writeAtServer(record, "notes")
        }
        guard let entity = chance.pick(["client", "contact", "deal", "part", "document", "note"]),
            let record = chance.pick(
                server.snapshot().records.values.filter { $0.schema.name == entity && $0.isLive && !pair.contains($0.id) }.sorted {
                    $0.id < $1.id
                }),
            let field = chance.pick(
                Self.texts.first { $0.entity == entity }?.fields.filter { server.schema.entity(entity)?.field($0) != nil } ?? [])
        else { return "nothing to write" }
        return writeAtServer(record, field)
    }

    private func writeAtServer(_ record: RecordState, _ field: String) -> String {
        let token = ledger.token()
        let outcome = serverWrites([Change(key: record.key, operation: .patch(fields: [field: .string(token)], was: [:]))])
        if outcome.status == .accepted { ledger.took([token]) }
        return "\(record.schema.name).\(field) \(token) \(outcome.status.rawValue)"
    }
}
