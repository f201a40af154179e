// Changes of a random history: few records and few values, so that edits meet; now and then something that is wrong.

import SyncProtocol
import TestSupport

struct HistoryChanges {
    var chance: Chance
    /// Everything that was ever to be created, by entity.
    private(set) var ids: [String: [Identifier]] = [:]
    private var generator: IdentifierGenerator

    init(seed: UInt64) {
        chance = Chance(seed: seed)
        let random = Locked(SeededRandom(seed: seed ^ 0x1D5))
        generator = IdentifierGenerator(random: { random.with { $0.next() } })
    }

    mutating func newID(_ entity: String, at milliseconds: Int64) -> Identifier {
        let id = generator.next(milliseconds: milliseconds)
        ids[entity, default: []].append(id)
        return id
    }

    private mutating func one(_ entity: String) -> Identifier? { chance.pick(ids[entity] ?? []) }
    private mutating func text() -> JSONValue { chance.percent(8) ? .null : .string("v\(chance.below(6))") }
    private mutating func some<T>(_ values: [T]) -> [T] {
        let first = chance.below(values.count)
        return Array(values[first...].prefix(1 + chance.below(3)))
    }

    /// `state`: of a record as it is now; observed wrong now and then.
    mutating func next(members: [Identifier], at now: Int64, _ state: (RecordKey) -> String?) -> [Change] {
        var changes: [Change] = []
        for _ in 0..<chance.weighted([(70, 1), (20, 2), (10, 3)]) {
            if let change = change(members: members, at: now, state) { changes.append(change) }
        }
        return changes
    }

    private enum Kind {
        case client, contact, part, movement, document, line, issue, deal, stage, status, link, site, note, delete, restore, wrong
    }

    private mutating func change(members: [Identifier], at now: Int64, _ state: (RecordKey) -> String?) -> Change? {
        let kind = chance.weighted([
            (24, Kind.client), (8, .contact), (10, .part), (5, .movement), (6, .document), (7, .line), (4, .issue), (5, .deal), (6, .stage),
            (3, .status), (8, .link), (5, .site), (4, .note), (6, .delete), (5, .restore), (2, .wrong),
        ])
        switch kind {
        case .client: return chance.percent(12) ? createClient(at: now) : one("client").map { Edit.patch("client", $0, clientFields()) }
        case .contact:
            if chance.percent(15) { return Edit.create("contact", newID("contact", at: now), ["last_name": text(), "tags": ["a"]]) }
            return one("contact").map { Edit.patch("contact", $0, someOf(["last_name": text(), "notes": text(), "tags": elements()])) }
        case .part: return part(at: now)
        case .movement:
            guard let part = one("part") else { return nil }
            let quantity = chance.within(-300...900)
            let isRight = chance.percent(90)
            return Edit.create(
                "movement", newID("movement", at: now),
                [
                    "part": .string(part.text), "kind": (quantity > 0) == isRight ? "receive" : "use",
                    "quantity_milli": .integer(quantity),
                ])
        case .document:
            if chance.percent(15) { return Edit.create("document", newID("document", at: now), ["title": text(), "due_on": 20_000]) }
            return one("document").map {
                Edit.patch("document", $0, someOf(["title": text(), "memo": text(), "due_on": .integer(chance.within(20_000...20_002))]))
            }
        case .line: return line(at: now)
        case .issue:
            let name = chance.weighted([(6, "issue"), (3, "send"), (1, "void")])
            return move("document", name, state, name == "void" ? ["reason": "wrong"] : [:])
        case .deal:
            guard chance.percent(30), let client = one("client"), let owner = chance.pick(members) else {
                return one("deal").map {
                    Edit.patch(
                        "deal", $0,
                        someOf(["title": text(), "amount": .integer(chance.within(0...2)), "notes": text(), "tags": elements()]))
                }
            }
            return Edit.create(
                "deal", newID("deal", at: now),
                [
                    "title": text(), "client": .string(client.text), "currency": "USD", "owner": .string(owner.text),
                    "amount": .integer(chance.within(0...2)),
                ])
        case .stage:
            let name = chance.pick(["qualify", "propose", "negotiate", "win", "lose", "reopen", "fly"]) ?? ""
            return move("deal", name, state, name == "lose" && chance.percent(80) ? ["reason": "price"] : [:])
        case .status: return move("client", chance.pick(["hold", "release", "archive", "reactivate"]) ?? "", state)
        case .link: return link()
        case .site:
            if chance.percent(40), let client = one("client") {
                return Edit.create(
                    "site", newID("site", at: now), ["client": .string(client.text), "name": text(), "address": ["line1": "Quay 1"]])
            }
            let contact = one("contact")
            return one("site").map {
                Edit.patch(
                    "site", $0, someOf(["name": text(), "access_notes": text(), "contact": contact.map { .string($0.text) } ?? .null]))
            }
        case .note:
            if chance.percent(40), let part = one("part") {
                return Edit.create(
                    "note", newID("note", at: now), ["subject_type": "part", "subject_id": .string(part.text), "body": text()])
            }
            return one("note").map { Edit.patch("note", $0, someOf(["body": text(), "secret_remark": text(), "read_at": .integer(5)])) }
        case .delete:
            let entity = chance.pick(["client", "contact", "site", "deal", "document", "note", "part"]) ?? ""
            return one(entity).map { Edit.delete(entity, $0) }
        case .restore:
            let entity = chance.pick(["client", "client", "contact", "site", "deal", "document", "note", "part"]) ?? ""
            return one(entity).map { Edit.restore(entity, $0) }
        case .wrong:
            guard let client = one("client") else { return nil }
            switch chance.below(4) {
            case 0: return Edit.patch("spaceship", client, ["name": "x"])
            case 1: return Edit.patch("client", client, ["colour": "x", "phone": "+15550100"])
            case 2: return Edit.patch("client", client, ["status": "archived"])
            default: return Edit.patch("client", newID("nowhere", at: now), ["legal_name": "x"])
            }
        }
    }

    private mutating func someOf(_ fields: JSONObject) -> JSONObject {
        let names = some(fields.keys)
        return JSONObject(names.compactMap { name in fields[name].map { (name, $0) } })
    }

    private mutating func elements() -> JSONValue {
        let all = ["a", "b", "c", "d"]
        let (adding, removing) = (some(all), some(all))
        switch chance.below(3) {
        case 0: return ["add": .array(adding.map { .string($0) }), "remove": []]
        case 1: return ["add": [], "remove": .array(removing.map { .string($0) })]
        default: return ["add": .array(adding.map { .string($0) }), "remove": .array(removing.map { .string($0) })]
        }
    }

    private mutating func createClient(at now: Int64) -> Change {
        var fields: JSONObject = ["name": text(), "tags": ["a", "b"]]
        if chance.percent(50) { fields["notes"] = text() }
        if chance.percent(30) { fields["custom"] = ["k": "v1"] }
        if chance.percent(20) { fields["credit_limit"] = .integer(chance.within(0...3)) }
        return Edit.create("client", newID("client", at: now), fields)
    }

    private mutating func clientFields() -> JSONObject {
        var custom = JSONObject()
        for key in some(["k", "l"]) { custom[key] = text() }
        let kinds: JSONValue = chance.percent(50) ? ["add": ["partner"], "remove": []] : ["add": [], "remove": ["customer"]]
        return someOf([
            "name": text(), "legal_name": text(), "phone": .string("+1555010\(chance.below(4))"), "notes": text(), "tags": elements(),
            "kinds": kinds, "custom": .object(custom), "credit_limit": .integer(chance.within(0...3)), "tax_number": text(),
            "payment_terms_days": .integer(chance.within(0...400)),
        ])
    }

    private mutating func part(at now: Int64) -> Change? {
        if chance.percent(12) {
            return Edit.create(
                "part", newID("part", at: now), ["sku": .string("sku\(chance.below(5))"), "name": text(), "on_hand_milli": .integer(5)])
        }
        let colours: JSONValue = chance.percent(50) ? ["blue", "red"] : ["green"]
        let fields = someOf([
            "on_hand_milli": .integer(chance.within(-400...400)), "name": text(), "reorder_milli": .integer(chance.within(0...3)),
            "detail": ["size": .integer(chance.within(0...2))], "colours": colours, "sku": "other",
        ])
        return one("part").map { Edit.patch("part", $0, fields) }
    }

    private mutating func line(at now: Int64) -> Change? {
        if chance.percent(40), let document = one("document") {
            return Edit.create(
                "document_line", newID("document_line", at: now),
                ["document": .string(document.text), "label": text(), "price": .integer(chance.within(-1...9))])
        }
        guard let id = one("document_line") else { return nil }
        if chance.percent(15) { return Edit.delete("document_line", id) }
        return Edit.patch("document_line", id, someOf(["label": text(), "price": .integer(chance.within(0...9)), "line_order": 2]))
    }

    private mutating func link() -> Change? {
        guard let client = one("client"), let contact = one("contact"),
            let link = try? Edit.link("client_contact", ("client", client), ("contact", contact))
        else { return nil }
        let more = someOf(["role": text(), "is_primary": .integer(chance.within(0...1)), "is_billing": .integer(chance.within(0...1))])
        switch chance.below(8) {
        case 0: return Edit.delete("client_contact", link.key.id)
        case 1: return Edit.restore("client_contact", link.key.id)
        case 2, 3: return Edit.patch("client_contact", link.key.id, more)
        default: return try? Edit.link("client_contact", ("client", client), ("contact", contact), more)
        }
    }

    private mutating func move(_ entity: String, _ name: String, _ state: (RecordKey) -> String?, _ arguments: JSONObject = [:]) -> Change?
    {
        guard let id = one(entity), let machine = Schema.testing.entity(entity)?.machine else { return nil }
        var observed = state(RecordKey(entity, id)) ?? machine.initial
        if chance.percent(25) { observed = chance.pick(machine.states) ?? observed }
        return Edit.move(entity, id, name, from: observed, arguments)
    }
}
