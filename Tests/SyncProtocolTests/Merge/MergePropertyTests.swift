// Merge laws over random histories: one result for any arrival order of concurrent sets; sequential edits win.

import SyncProtocol
import TestSupport
import Testing

@Suite struct MergePropertyTests {
    /// Everything of a record that must not depend on the order of arrival.
    private func content(_ tenant: ModelTenant) -> [RecordKey: [JSONValue]] { tenant.records.mapValues(\.values) }

    private func randomChange(
        _ random: inout SeededRandom, client: Identifier, part: Identifier, link: Change, assignment: Change
    ) -> Change {
        func pick(_ values: [JSONValue]) -> JSONValue { values.randomElement(using: &random) ?? .null }
        switch Int.random(in: 0..<7, using: &random) {
        case 0: return Change("client", client, .patch(fields: ["phone": pick(["+15550001", "+15550002", .null])], was: [:]))
        case 1:
            let (add, remove) = (pick(["a", "b", "c"]), pick(["a", "b", "c"]))
            return Change("client", client, .patch(fields: ["tags": ["add": [add], "remove": add == remove ? [] : [remove]]], was: [:]))
        case 2:
            return Change(
                "client", client, .patch(fields: ["custom": ["k": pick(["x", "y", .null]), "l": pick(["x", .null])]], was: [:]))
        case 3:
            return Change("part", part, .patch(fields: ["on_hand_milli": .integer(Int64.random(in: -9...9, using: &random))], was: [:]))
        case 4, 5:
            guard case .create(var fields) = assignment.operation else { return assignment }
            if Bool.random(using: &random) { fields["role"] = pick(["lead", "mate"]) }
            if Bool.random(using: &random) { fields["hours"] = .integer(Int64.random(in: 1...9, using: &random)) }
            if Bool.random(using: &random) { fields["skills"] = [pick(["a", "b"]), pick(["b", "c"])] }
            if Bool.random(using: &random) { fields["weeks"] = [pick([1, 10]), pick([2, 10])] }
            if Bool.random(using: &random) { fields["marks"] = ["k": pick(["x", "y", .null]), "l": pick(["x", .null])] }
            return Change(key: assignment.key, operation: .create(fields: fields))
        default:
            guard case .create(var fields) = link.operation else { return link }
            fields["role"] = pick(["Buyer", "Boss"])
            if Bool.random(using: &random) { fields["is_billing"] = pick([0, 1]) }
            return Change(key: link.key, operation: .create(fields: fields))
        }
    }

    private static func link(_ entity: String, _ fields: JSONObject) -> Change {
        let id = Schema.language.entity(entity)?.deterministicID { fields[$0] } ?? .zero
        return Change(entity, id, .create(fields: fields))
    }

    @Test func concurrentSets_convergeInAnyArrivalOrder() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for _ in 0..<150 {
            let base = random.next()
            func makeTenant() -> (ModelTenant, Identifier, Identifier, Change, Change) {
                let tenant = ModelTenant(schema: .language, random: SeededRandom(seed: base))
                let (client, part, contact, job) = (tenant.newID(), tenant.newID(), tenant.newID(), tenant.newID())
                tenant.server([
                    Change("client", client, .create(fields: ["name": "C", "tags": ["a", "b"]])),
                    Change("part", part, .create(fields: ["sku": "p", "name": "P"])),
                    Change("contact", contact, .create(fields: ["last_name": "O"])),
                    Change("job", job, .create(fields: ["name": "J"])),
                    Change(
                        "custom_field", tenant.newID(), .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": "text"])),
                    Change(
                        "custom_field", tenant.newID(), .create(fields: ["entity": "client", "key": "l", "label": "L", "kind": "text"])),
                ])
                let keys: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
                let members: JSONObject = ["job": .string(job.text), "member": .string(tenant.owner.text)]
                return (tenant, client, part, Self.link("client_contact", keys), Self.link("assignment", members))
            }
            let (tenant, client, part, link, assignment) = makeTenant()
            // Each author makes one to three sets that know only the common base and their own earlier ones.
            var queues: [[Submission]] = (0..<3).map { _ in
                var author = ModelAuthor(tenant)
                return (0..<Int.random(in: 1...3, using: &random)).map { _ in
                    author.seal(
                        [randomChange(&random, client: client, part: part, link: link, assignment: assignment)],
                        at: Int64.random(in: 1...50, using: &random))
                }
            }
            // One replica's stamps rise, as its hybrid clock makes them.
            for index in queues.indices {
                let stamps = queues[index].map(\.timestamp).sorted()
                for (position, stamp) in stamps.enumerated() {
                    queues[index][position].timestamp = HybridTimestamp(milliseconds: stamp.milliseconds, logical: Int64(position))
                }
            }
            var results: [[RecordKey: [JSONValue]]] = []
            for _ in 0..<4 {
                let (copy, _, _, _, _) = makeTenant()
                var waiting = queues
                while let lane = waiting.indices.filter({ !waiting[$0].isEmpty }).randomElement(using: &random) {
                    let set = waiting[lane].removeFirst()
                    let outcome = copy.submit(set)
                    #expect(outcome.status != .rejected, "\(outcome.violations)")
                    // A replay changes nothing.
                    if Bool.random(using: &random) { #expect(copy.submit(set) == outcome) }
                }
                results.append(content(copy))
            }
            for result in results.dropFirst() { #expect(result == results[0], "seed \(random.seed)") }
        }
    }

    @Test func sequentialEdits_alwaysWin() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let tenant = ModelTenant()
        let client = tenant.newID()
        tenant.server([Change("client", client, .create(fields: ["name": "C"]))])
        var authors = (0..<3).map { _ in ModelAuthor(tenant) }
        for round in 0..<300 {
            let index = Int.random(in: 0..<3, using: &random)
            authors[index].pull(tenant)
            let value = JSONValue.string("+1555\(1000 + round)")
            let set = authors[index].seal(
                [Change("client", client, .patch(fields: ["phone": value, "notes": value], was: [:]))],
                at: Int64.random(in: 1...1000, using: &random))
            #expect(tenant.submit(set).status == .accepted)
            #expect(tenant.record("client", client)?["phone"] == value && tenant.record("client", client)?["notes"] == value)
        }
    }

    /// Deletes, restores, links made again and transitions depend on the order of arrival; what must hold after each does not.
    @Test func randomHistories_leaveNoLiveReferenceToATombstone_andRejectionsChangeNothing() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for _ in 0..<60 {
            let tenant = ModelTenant(schema: .language, random: SeededRandom(seed: random.next()))
            let clients = (0..<2).map { _ in tenant.newID() }
            let jobs = (0..<2).map { _ in tenant.newID() }
            let contacts = (0..<2).map { _ in tenant.newID() }
            tenant.server(
                clients.map { Change("client", $0, .create(fields: ["name": "C"])) }
                    + contacts.map { Change("contact", $0, .create(fields: ["last_name": "O"])) }
                    + jobs.map { Change("job", $0, .create(fields: ["name": "J", "client": .string(clients[0].text)])) })
            var authors = (0..<3).map { _ in ModelAuthor(tenant) }
            for time in 1...60 {
                let who = Int.random(in: 0..<3, using: &random)
                if Int.random(in: 0..<3, using: &random) == 0 { authors[who].pull(tenant) }
                func pick(_ ids: [Identifier]) -> JSONValue { .string((ids.randomElement(using: &random) ?? .zero).text) }
                let links = [
                    Self.link("client_contact", ["client": pick(clients), "contact": pick(contacts), "is_primary": 1]),
                    Self.link(
                        "assignment", ["job": pick(jobs), "member": .string(tenant.owner.text), "skills": ["a"], "hours": 1]),
                ]
                let deal: JSONObject = ["title": "D", "client": pick(clients), "currency": "USD", "owner": .string(tenant.owner.text)]
                let keys = tenant.records.keys.filter { !["tenant", "member"].contains($0.entity) }.sorted { $0.id < $1.id }
                let key = keys.randomElement(using: &random) ?? RecordKey("client", clients[0])
                let machine = Schema.language.entity(key.entity)?.machine
                let change: Change
                switch Int.random(in: 0..<9, using: &random) {
                case 0, 1: change = Change(key: key, operation: .delete)
                case 2: change = Change(key: key, operation: .restore)
                case 3 where machine != nil:
                    let name = machine?.transitions.randomElement(using: &random)?.name ?? ""
                    let observed = tenant.records[key]?.state ?? ""
                    change = Change(key: key, operation: .transition(name: name, observed: observed, arguments: [:]))
                case 4: change = Change("deal", tenant.newID(), .create(fields: deal))
                case 5: change = Change("client", clients[0], .patch(fields: ["parent": pick(clients)], was: [:]))
                default: change = links.randomElement(using: &random) ?? links[0]
                }
                let before = tenant.records.mapValues { $0.values + [.integer($0.deletedAt ?? 0)] }
                let outcome = tenant.submit(authors[who].seal([change], at: Int64(time)))
                if outcome.status == .rejected || outcome.status == .noop {
                    #expect(tenant.records.mapValues { $0.values + [.integer($0.deletedAt ?? 0)] } == before, "seed \(random.seed)")
                }
                for found in problems(tenant) { Issue.record("\(found) after \(change), seed \(random.seed)") }
            }
        }
    }

    /// What no history may lead to.
    private func problems(_ tenant: ModelTenant) -> [String] {
        var found: [String] = []
        var primaries: Set<JSONValue> = []
        for record in tenant.records.values where record.isLive {
            for field in record.schema.fields {
                for target in field.referencedEntities where !field.type.isSet {
                    guard let id = record.identifier(field.name), let other = tenant.record(target, id) else { continue }
                    if !other.isLive { found.append("\(record.schema.name).\(field.name) points at a deleted \(target)") }
                }
                if field.isRequired, record[field.name].isNull { found.append("\(record.schema.name).\(field.name) is empty") }
            }
            if let machine = record.schema.machine, !machine.states.contains(record.text(machine.field) ?? "") {
                found.append("\(record.schema.name) is in no state")
            }
            if record.schema.name == "client_contact", record["is_primary"] == 1, !primaries.insert(record["client"]).inserted {
                found.append("two primary contacts")
            }
        }
        return found
    }
}
