// Merge laws over random histories: one result for any arrival order of concurrent sets; sequential edits win.

import SyncProtocol
import TestSupport
import Testing

@Suite struct MergePropertyTests {
    /// Everything of a record that must not depend on the order of arrival.
    private func content(_ tenant: ModelTenant) -> [RecordKey: [JSONValue]] { tenant.records.mapValues(\.values) }

    private func randomChange(_ random: inout SeededRandom, client: Identifier, part: Identifier, link: Change) -> Change {
        func pick(_ values: [JSONValue]) -> JSONValue { values.randomElement(using: &random) ?? .null }
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return Change("client", client, .patch(fields: ["phone": pick(["+15550001", "+15550002", .null])], was: [:]))
        case 1:
            let (add, remove) = (pick(["a", "b", "c"]), pick(["a", "b", "c"]))
            return Change("client", client, .patch(fields: ["tags": ["add": [add], "remove": add == remove ? [] : [remove]]], was: [:]))
        case 2:
            return Change(
                "client", client, .patch(fields: ["custom": ["k": pick(["x", "y", .null]), "l": pick(["x", .null])]], was: [:]))
        case 3:
            return Change("part", part, .patch(fields: ["on_hand_milli": .integer(Int64.random(in: -9...9, using: &random))], was: [:]))
        default:
            guard case .create(var fields) = link.operation else { return link }
            fields["role"] = pick(["Buyer", "Boss"])
            if Bool.random(using: &random) { fields["is_billing"] = pick([0, 1]) }
            return Change(key: link.key, operation: .create(fields: fields))
        }
    }

    @Test func concurrentSets_convergeInAnyArrivalOrder() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for _ in 0..<150 {
            let base = random.next()
            func makeTenant() -> (ModelTenant, Identifier, Identifier, Change) {
                let tenant = ModelTenant(random: SeededRandom(seed: base))
                let (client, part, contact) = (tenant.newID(), tenant.newID(), tenant.newID())
                tenant.server([
                    Change("client", client, .create(fields: ["name": "C", "tags": ["a", "b"]])),
                    Change("part", part, .create(fields: ["sku": "p", "name": "P"])),
                    Change("contact", contact, .create(fields: ["last_name": "O"])),
                    Change(
                        "custom_field", tenant.newID(), .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": "text"])),
                    Change(
                        "custom_field", tenant.newID(), .create(fields: ["entity": "client", "key": "l", "label": "L", "kind": "text"])),
                ])
                let keys: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
                let id = Schema.testing.entity("client_contact")?.deterministicID { keys[$0] } ?? .zero
                return (tenant, client, part, Change("client_contact", id, .create(fields: keys)))
            }
            let (tenant, client, part, link) = makeTenant()
            // Each author makes one to three sets that know only the common base and their own earlier ones.
            var queues: [[Submission]] = (0..<3).map { _ in
                var author = ModelAuthor(tenant)
                return (0..<Int.random(in: 1...3, using: &random)).map { _ in
                    author.seal(
                        [randomChange(&random, client: client, part: part, link: link)], at: Int64.random(in: 1...50, using: &random))
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
                let (copy, _, _, _) = makeTenant()
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
}
