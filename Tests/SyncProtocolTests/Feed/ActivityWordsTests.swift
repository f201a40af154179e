// No entry is without words: every kind of every entity, every field of every type, walked from the schema's declarations.

import SyncProtocol
import TestSupport
import Testing

@Suite struct ActivityWordsTests {
    private static let record = Identifier.version7(milliseconds: 1_773_600_000_000, random: (1, 2))
    private static let member = Identifier.version7(milliseconds: 1_773_600_000_000, random: (3, 4))

    private func entry(_ entity: String, operation: String, kind: String, changes: JSONObject) throws -> ActivityEntry {
        try ActivityEntry(
            json: [
                "position": 42, "epoch": 0, "at": 1_773_648_000_000, "actor_kind": "member", "actor": .string(Self.member.text),
                "entity": .string(entity), "record": .string(Self.record.text), "operation": .string(operation), "kind": .string(kind),
                "category": "relationship", "level": "minor", "changes": .object(changes), "restricted_changes": [:],
                "anchors": [.string("\(entity):\(Self.record.text)")], "scope_keys": ["tenant"], "depth": 0,
                "operation_at": 1_773_648_000_000,
            ])
    }

    private func line(_ entry: ActivityEntry) -> String {
        ActivityText.line(entry, schema: .testing, name: { $0.id == Self.member ? "Farah" : "Harbor" }, currency: { _ in "USD" })
    }

    /// Readable: a sentence that names somebody or something, without identifiers, kinds or names of columns.
    private func check(_ text: String, _ what: String, mentions: String...) {
        #expect(text.first?.isUppercase == true && text.split(separator: " ").count >= 3, "\(what): \(text)")
        #expect(!text.contains(Self.record.text.prefix(8)) && !text.contains("_") && !text.contains("{"), "\(what): \(text)")
        for word in mentions { #expect(text.contains(word), "\(what) without \(word): \(text)") }
    }

    /// Two values of a type, in stored form.
    private func samples(_ type: FieldType) -> (JSONValue, JSONValue) {
        switch type {
        case .text, .rich, .slug: ("before", "after")
        case .integer, .money, .quantity, .basisPoints, .counter: (1_000, 2_500)
        case .date: (20_528, 20_529)
        case .instant: (1_773_648_000_000, 1_773_734_400_000)
        case .bool: (0, 1)
        case .choice(let choices), .anyReferenceEntity(let choices): (.string(choices[0]), .string(choices[choices.count - 1]))
        case .reference, .anyReferenceID, .anyReference: (.string(Self.record.text), .string(Self.member.text))
        case .set(let element, _): (.array([samples(element).0]), .array([samples(element).0, samples(element).1]))
        case .map, .json: (["berth": "1"], ["berth": "2"])
        case .address: (["city": "Boston"], ["city": "Porto"])
        case .email: ("a@b.example", "c@d.example")
        case .phone: ("+15550100", "+15550142")
        case .url: ("https://a.example", "https://b.example")
        case .currency: ("USD", "EUR")
        case .timeZone: ("UTC", "Europe/Lisbon")
        case .hex64: (.string(String(repeating: "a", count: 64)), .string(String(repeating: "b", count: 64)))
        }
    }

    @Test func everyKindOfEveryEntity_hasWords_andAnIcon() throws {
        let schema = Schema.testing
        var seen: Set<String> = ["sync.superseded", "sync.rejected", "sync.epoch_started", FeedEntry.rescoped]
        for entity in schema.entities {
            let noun = entity.name.split(separator: "_").joined(separator: " ")
            for (operation, word) in [("create", "created"), ("delete", "deleted"), ("restore", "restored")] {
                let kind = "\(entity.name).\(word)"
                seen.insert(kind)
                check(
                    line(try entry(entity.name, operation: operation, kind: kind, changes: [:])), kind, mentions: "Farah", word, noun,
                    "Harbor")
            }
            seen.insert("\(entity.name).updated")
            for transition in entity.machine?.transitions ?? [] {
                let field = entity.machine?.field ?? ""
                for from in transition.from {
                    let made = try entry(
                        entity.name, operation: "transition", kind: transition.kind,
                        changes: [field: ["old": .string(from), "new": .string(transition.to)]])
                    check(
                        line(made), transition.kind, mentions: "Farah", "Harbor",
                        transition.to.split(separator: "_").joined(separator: " "))
                }
                seen.insert(transition.kind)
            }
        }
        for kind in schema.activityKinds {
            #expect(kind.icon != Schema.defaultIcon && !kind.icon.isEmpty, "\(kind.name) has no icon of its own")
            guard !seen.contains(kind.name) else { continue }
            // What effects add.
            let entity = String(kind.name.prefix { $0 != "." })
            let made = try entry(entity, operation: "derived", kind: kind.name, changes: ["on_hand_milli": ["new": -1_000]])
            check(line(made), kind.name, mentions: "Harbor")
        }
    }

    @Test func everyField_isNamed_andItsValuesAreThoseOfPeople() throws {
        for entity in Schema.testing.entities {
            for field in entity.fields where !field.isSecret {
                let (old, new) = samples(field.type)
                let what = "\(entity.name).\(field.name)"
                let label = String(field.name.prefix { $0 != "_" })
                for (before, after) in [(old, new), (JSONValue.null, new), (old, JSONValue.null)] {
                    let made = try entry(
                        entity.name, operation: "update", kind: "\(entity.name).updated",
                        changes: [field.name: ["old": before, "new": after]])
                    let text = line(made)
                    switch field.type {
                    case .json: #expect(text.contains("Farah") && text.contains("Harbor"), "\(what): \(text)")
                    case .map:
                        check(text, what, mentions: "Farah", "Harbor")
                        continue
                    default: check(text, what, mentions: "Farah", "Harbor")
                    }
                    #expect(text.contains(label), "\(what): \(text)")
                }
            }
        }
    }

    @Test func engineKinds_haveWords() throws {
        let lost = try entry(
            "client", operation: "derived", kind: "sync.superseded", changes: ["phone": ["lost": "+15550100", "kept": "+15550142"]])
        check(line(lost), "sync.superseded", mentions: "+15550100", "+15550142", "Harbor")
        let refused = try entry(
            "client", operation: "derived", kind: "sync.rejected",
            changes: [
                "violations": [["entity": "client", "code": "required", "field": "name", "message": "name is required"]],
                "changes": [["entity": "client", "id": .string(Self.record.text), "op": "create", "fields": ["name": "Harbor"]]],
            ])
        check(line(refused), "sync.rejected", mentions: "rejected", "name is required")
        let begun = try entry("tenant", operation: "derived", kind: "sync.epoch_started", changes: ["epoch": ["old": 0, "new": 1]])
        check(line(begun), "sync.epoch_started", mentions: "backup", "1")
        check(
            line(try entry("contact", operation: "derived", kind: FeedEntry.rescoped, changes: [:])), FeedEntry.rescoped, mentions: "holds")
    }
}
