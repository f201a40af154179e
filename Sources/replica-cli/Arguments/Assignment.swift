// `field=value` words: typed by the schema, references by name, sets by `+=` and `-=`, parts of objects by a dot.

import Replica
import SyncProtocol

struct Assignment: Sendable, Hashable {
    enum Operator: Sendable, Hashable { case set, add, remove }

    var field: String
    /// After the dot: the key of a map or the part of an address.
    var part: String?
    var action: Operator
    var text: String

    init(_ word: String) throws {
        guard let equals = word.firstIndex(of: "=") else {
            throw UsageError(
                "\"\(word)\" is not field=value",
                hint: "examples: name=\"Pier 9\"  tags+=vip  custom.gate_code=7781  phone=   (a value with spaces is written in quotes)")
        }
        var name = String(word[..<equals])
        text = String(word[word.index(after: equals)...])
        action = .set
        if name.hasSuffix("+") { action = .add } else if name.hasSuffix("-") { action = .remove }
        if action != .set { name.removeLast() }
        let parts = name.split(separator: ".", maxSplits: 1).map(String.init)
        guard let first = parts.first, !first.isEmpty else { throw UsageError("\"\(word)\" has no field name") }
        field = first
        part = parts.count == 2 ? parts[1] : nil
    }
}

extension Context {
    /// Values by field for `edit.create` and `edit.set`. Fields that there are not and values that cannot be read are collected
    /// into one error; what the schema and its rules say of values that can be read is the library's matter.
    func values(_ assignments: [Assignment], of entity: EntitySchema, current: Record?) async throws -> [String: JSONValue] {
        var values: [String: JSONValue] = [:]
        var violations: [Violation] = []
        let text = try await fieldText(for: current, given: assignments.first { $0.field == "currency" && $0.part == nil }?.text)
        for assignment in assignments {
            do {
                try await take(assignment, of: entity, text: text, current: current, into: &values)
            } catch var violation as Violation {
                violation.entity = entity.name
                violation.id = current?.id
                violations.append(violation)
            }
        }
        guard violations.isEmpty else { throw UnreadableValues(violations: violations, hint: hint(violations, entity)) }
        return values
    }

    /// What may have been meant by the first field that there is not.
    private func hint(_ violations: [Violation], _ entity: EntitySchema) -> String? {
        guard let unknown = violations.first(where: { $0.code == ViolationCode.unknownField.rawValue })?.field else { return nil }
        let known = usableFields(of: entity).map(\.name)
        let near = Near.names(to: unknown, in: known)
        return near.isEmpty ? "replica schema \(entity.name) lists the fields" : "did you mean \(near.joined(separator: " or "))?"
    }

    /// Fields that people see and that mean something in this version.
    func usableFields(of entity: EntitySchema) -> [FieldSchema] { entity.fields.filter { !$0.isSecret && isUsable($0) } }

    /// A field may refer to an entity that a later version brings. It keeps its place in files and on the wire; there is nothing
    /// yet that it could be set to.
    func isUsable(_ field: FieldSchema) -> Bool {
        let targets = field.referencedEntities
        return targets.isEmpty || targets.contains { schema.entity($0) != nil }
    }

    private func take(
        _ assignment: Assignment, of entity: EntitySchema, text: FieldText, current: Record?, into values: inout [String: JSONValue]
    ) async throws {
        let name = assignment.field
        guard let field = entity.field(name) else {
            // A reference to one of several entities is typed as one word: subject=client:Pier.
            if entity.field(name + "_id") != nil {
                let parts = assignment.text.split(separator: ":", maxSplits: 1).map(String.init)
                let targets = entity.field(name + "_id")?.referencedEntities ?? []
                guard parts.count == 2, targets.contains(parts[0]) else {
                    throw Violation(
                        entity: entity.name, id: nil, field: name, code: .invalidFormat,
                        message: "\(name) is ENTITY:RECORD with one of \(targets.joined(separator: ", "))")
                }
                values[name + "_type"] = .string(parts[0])
                values[name + "_id"] = .string(try await resolve(parts[0], parts[1]).text)
                return
            }
            throw unknown(name, "\(entity.name) has no field \(name)")
        }
        guard !field.isSecret else { throw unknown(name, "\(entity.name) has no field \(name)") }
        guard isUsable(field) else {
            // A table that was exported and comes back says what is there.
            if assignment.text == current?[name].stringValue { return }
            throw unknown(name, "\(name) refers to \(field.referencedEntities.joined(separator: ", ")), which this version does not have")
        }
        if let part = assignment.part {
            switch field.type {
            case .address:
                guard Command.addressParts.contains(part) else {
                    throw unknown("\(name).\(part)", "an address has no \(part), it has \(Command.addressParts.joined(separator: ", "))")
                }
                var address = (values[name] ?? current?[name])?.objectValue ?? JSONObject()
                address[part] = .string(assignment.text)
                values[name] = .object(address)
            case .map(let keys):
                guard keys.isEmpty || keys.contains(part) else {
                    throw unknown("\(name).\(part)", "\(name) has no \(part), it has \(keys.joined(separator: ", "))")
                }
                var map = values[name]?.objectValue ?? JSONObject()
                map[part] = try await customValue(assignment, part, entity)
                values[name] = .object(map)
            default: throw Violation(entity: entity.name, id: nil, field: name, code: .invalidFormat, message: "\(name) has no parts")
            }
            return
        }
        if case .set(let element, _) = field.type {
            var elements = FieldText.elements(assignment.text)
            if case .reference(let target, _) = element {
                var ids: [String] = []
                for name in elements { ids.append(try await resolve(target, name).text) }
                elements = ids
            }
            let items = JSONValue.array(elements.map { .string($0) })
            guard field.policy == .addWinsSet, assignment.action != .set || values[name]?.objectValue != nil else {
                guard assignment.action == .set else {
                    throw Violation(
                        entity: entity.name, id: nil, field: name, code: .invalidFormat, message: "\(name) is set whole: \(name)=a;b")
                }
                values[name] = items
                return
            }
            // A creation has no set to add to yet.
            if current == nil {
                values[name] = .array((values[name]?.arrayValue ?? []) + (items.arrayValue ?? []))
                return
            }
            var change = values[name]?.objectValue ?? JSONObject()
            let member = assignment.action == .remove ? "remove" : "add"
            change[member] = .array((change[member]?.arrayValue ?? []) + (items.arrayValue ?? []))
            values[name] = .object(change)
            return
        }
        guard assignment.action == .set else {
            throw Violation(
                entity: entity.name, id: nil, field: name, code: .invalidFormat, message: "\(name) is not a set: write \(name)=value")
        }
        if case .reference(let target, _) = field.type, !assignment.text.isEmpty {
            values[name] = .string(try await resolve(target, assignment.text).text)
            return
        }
        values[name] = try text.parse(assignment.text, as: field.type, field: name)
    }

    private func unknown(_ field: String, _ message: String) -> Violation {
        Violation(entity: "", id: nil, field: field, code: .unknownField, message: message)
    }

    /// A custom value typed by its definition. A value whose definition is gone can still be emptied.
    private func customValue(_ assignment: Assignment, _ key: String, _ entity: EntitySchema) async throws -> JSONValue {
        if assignment.text.isEmpty { return .null }
        guard let definition = try await customDefinition(key, entity) else {
            let known = try await customKeys(of: entity)
            throw unknown(
                "custom.\(key)",
                known.isEmpty
                    ? "your company has defined no fields of its own for \(entity.name)"
                    : "there is no custom field \(key), there are \(known.joined(separator: ", "))")
        }
        let text = FieldText(currency: try await tenantCurrency())
        return try text.parse(assignment.text, as: Self.type(ofCustom: definition), field: "custom.\(key)")
    }

    private func customDefinition(_ key: String, _ entity: EntitySchema) async throws -> Record? {
        try await requireReplica().list(
            "custom_field", where: [.init("entity", .equal, .string(entity.name)), .init("key", .equal, .string(key))], limit: 1
        ).data.first
    }

    /// What a field that the company defined holds. Throws when there is none of that name.
    func customType(_ key: String, _ entity: EntitySchema) async throws -> FieldType {
        if let definition = try await customDefinition(key, entity) { return Self.type(ofCustom: definition) }
        let keys = try await customKeys(of: entity)
        throw UsageError(
            "\(entity.name) has no custom field \(key)",
            hint: keys.isEmpty ? "your company has defined none for \(entity.name)" : "custom fields: \(keys.joined(separator: ", "))")
    }

    private func customKeys(of entity: EntitySchema) async throws -> [String] {
        let known = try await requireReplica().list("custom_field", where: [.init("entity", .equal, .string(entity.name))], limit: 200)
        return known.data.compactMap { $0.text("key") }.sorted()
    }

    private static func type(ofCustom definition: Record) -> FieldType {
        switch definition.text("kind") {
        case "integer": .integer(.min ... .max)
        case "money": .money(.min ... .max)
        case "date": .date
        case "bool": .bool
        case "multi_choice": .set(of: .text(1...80), count: 0...100)
        default: .text(0...2_000)
        }
    }
}

/// Fields that there are not, and values that cannot be read as what they are for: mistakes in how the program was called, in the
/// shape of the library's refusals. Exit code 2.
struct UnreadableValues: Error {
    var violations: [Violation]
    var hint: String?
}
