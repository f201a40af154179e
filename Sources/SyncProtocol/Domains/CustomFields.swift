// Custom values match the tenant's live definitions (rule R07), for every entity that has a `custom` map.

enum CustomFieldRules {
    /// Characters that a text may have, whatever its definition says.
    static let textMax: Int64 = 20_000
    /// Of a text whose definition says nothing.
    private static let textMaxDefault: Int64 = 2_000

    /// All definitions of an entity are read with each write of a custom value, archived ones too, and no map has more keys.
    static let definitionsAreSoMany = Rule(
        "R07", on: "custom_field", .write(["entity"]),
        reads: { subject in
            [.lookup(entity: "custom_field", field: "entity", value: subject.record["entity"], includingDeleted: false)]
        },
        check: { subject, workspace in
            let others = workspace.lookup("custom_field", "entity", subject.record["entity"]).filter { $0.id != subject.record.id }
            guard others.count >= FieldType.mapKeysMax else { return [] }
            return [
                Finding(
                    "entity", .tooMany,
                    "there are \(FieldType.mapKeysMax) custom fields for \(subject.record.text("entity") ?? "it") already; "
                        + "delete those that nobody needs, archived ones count",
                    ["max": .integer(Int64(FieldType.mapKeysMax)), "count": .integer(Int64(others.count))])
            ]
        })

    static let textsAreSoLong = Rule(
        "R07", on: "custom_field", .write(["max"]),
        check: { subject, _ in
            guard subject.record.text("kind") == "text", subject.record.integer("max") ?? 0 > textMax else { return [] }
            return [Finding("max", .outOfRange, "a text has at most \(textMax) characters", ["max": .integer(textMax)])]
        })

    /// The rule for one entity.
    static func rule(on entity: String) -> Rule {
        Rule(
            "R07", on: entity, .write(["custom"]),
            reads: { _ in [.lookup(entity: "custom_field", field: "entity", value: .string(entity), includingDeleted: false)] },
            check: { subject, workspace in
                let definitions = workspace.lookup("custom_field", "entity", .string(entity)).filter { $0.integer("archived") != 1 }
                let values = subject.record["custom"].objectValue ?? JSONObject()
                let before = subject.before?["custom"].objectValue ?? JSONObject()
                var findings: [Finding] = []
                for (key, value) in values where before[key] != value {
                    guard let definition = definitions.first(where: { $0.text("key") == key }) else {
                        let known = definitions.compactMap { $0.text("key") }.sorted()
                        findings.append(
                            Finding(
                                "custom.\(key)", .unknownCustomField, "there is no custom field \(key)",
                                ["known": .array(known.map { .string($0) })]))
                        continue
                    }
                    if let finding = check(value, definition, key) { findings.append(finding) }
                }
                for definition in definitions where definition.integer("required") == 1 {
                    guard let key = definition.text("key"), values[key] == nil else { continue }
                    // A definition made after the record does not bar edits of other keys; removing the value does.
                    guard subject.before == nil || before[key] != nil else { continue }
                    findings.append(Finding("custom.\(key)", .required, "\(definition.text("label") ?? key) is required"))
                }
                return findings
            })
    }

    private static func check(_ value: JSONValue, _ definition: RecordState, _ key: String) -> Finding? {
        let field = "custom.\(key)"
        let minimum = definition.integer("min")
        let maximum = definition.integer("max")
        func invalid(_ message: String) -> Finding { Finding(field, .invalidFormat, "\(definition.text("label") ?? key) \(message)") }
        func number(_ what: String) -> Finding? {
            guard let number = value.integerValue else { return invalid("is \(what)") }
            if number < minimum ?? .min || number > maximum ?? .max {
                return Finding(
                    field, .outOfRange, "\(definition.text("label") ?? key) is out of range",
                    ["min": minimum.map { .integer($0) } ?? .null, "max": maximum.map { .integer($0) } ?? .null])
            }
            return nil
        }
        let choices = Set(definition.elements("choices"))
        switch definition.text("kind") {
        case "text":
            guard let text = value.stringValue else { return invalid("is a text") }
            let length = Int64(TextNormalization.scalarCount(text))
            let longest = min(maximum ?? textMaxDefault, textMax)
            if length > longest {
                return Finding(
                    field, .tooLong, "\(definition.text("label") ?? key) has at most \(longest) characters", ["max": .integer(longest)])
            }
            if length < minimum ?? 0 {
                return Finding(
                    field, .tooShort, "\(definition.text("label") ?? key) has at least \(minimum ?? 0) characters",
                    ["min": .integer(minimum ?? 0)])
            }
            return nil
        case "integer": return number("a whole number")
        case "money": return number("an amount in minor units")
        case "date": return number("a date in days since 1970-01-01")
        case "bool":
            return value == .integer(0) || value == .integer(1) || value.boolValue != nil ? nil : invalid("is true or false")
        case "choice":
            guard let text = value.stringValue else { return invalid("is a text") }
            return choices.contains(text) ? nil : notAChoice(field, text, choices)
        case "multi_choice":
            guard let items = value.arrayValue else { return invalid("is a list") }
            guard items.count <= choices.count else {
                return Finding(
                    field, .tooMany, "\(definition.text("label") ?? key) has at most each of its \(choices.count) choices",
                    ["max": .integer(Int64(choices.count))])
            }
            var chosen: Set<String> = []
            for item in items {
                guard let text = item.stringValue else { return invalid("is a list of texts") }
                if !choices.contains(text) { return notAChoice(field, text, choices) }
                guard chosen.insert(text).inserted else { return invalid("has each choice once, not \(text) twice") }
            }
            return nil
        case "url":
            return value.stringValue.map(Formats.isURL) == true ? nil : invalid("is an http or https address")
        default: return nil
        }
    }

    private static func notAChoice(_ field: String, _ text: String, _ choices: Set<String>) -> Finding {
        Finding(
            field, .invalidChoice, "\(text) is not one of \(choices.sorted().joined(separator: ", "))",
            ["choices": .array(choices.sorted().map { .string($0) })])
    }
}
