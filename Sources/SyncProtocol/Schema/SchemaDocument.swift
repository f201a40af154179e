// The schema as a document: what `GET /v1/schema` answers and `replica schema` shows.

extension Schema {
    public var json: JSONValue {
        [
            "version": .integer(version), "protocol": .integer(ProtocolVersion.current), "entities": .array(entities.map(\.json)),
            "reports": .array(reports.map(\.json)),
        ]
    }
}

extension Report {
    public var json: JSONValue {
        [
            "name": .string(name), "title": .string(title), "reads": .array(entities.map { .string($0) }),
            "arguments": .array(
                arguments.map { ["name": .string($0.name), "type": .string($0.type.name), "summary": .string($0.summary)] }),
            "columns": .array(columns.map { ["name": .string($0.name), "type": .string($0.type.name)] }),
        ]
    }
}

extension EntitySchema {
    public var json: JSONValue {
        var object: JSONObject = [
            "name": .string(name), "category": .string(category), "access": .string(access.rawValue),
            "fields": .array(fields.filter { !$0.isSecret }.map(\.json)),
        ]
        if !deterministicKeys.isEmpty { object["deterministic_id"] = .array(deterministicKeys.map { .string($0) }) }
        if let aggregateRoot { object["aggregate_root"] = .string(aggregateRoot) }
        if let titleField { object["title"] = .string(titleField) }
        if let machine {
            object["machine"] = [
                "field": .string(machine.field), "initial": .string(machine.initial), "states": .array(machine.states.map { .string($0) }),
                "rebases": .bool(machine.rebases),
                "transitions": .array(
                    machine.transitions.map { transition in
                        [
                            "name": .string(transition.name), "from": .array(transition.from.map { .string($0) }),
                            "to": .string(transition.to),
                            "mode": .string(transition.mode.rawValue), "kind": .string(transition.kind), "icon": .string(transition.icon),
                            "arguments": .array(
                                transition.arguments.map {
                                    ["name": .string($0.name), "type": .string($0.type.name), "required": .bool($0.isRequired)]
                                }),
                        ]
                    }),
            ]
        }
        return .object(object)
    }
}

extension FieldSchema {
    public var json: JSONValue {
        var object: JSONObject = ["name": .string(name), "type": .string(type.name), "policy": .string(policy.rawValue)]
        if isRequired { object["required"] = true }
        if isRequired, requiredSince > 0 { object["required_since"] = .integer(requiredSince) }
        if isIndexed { object["indexed"] = true }
        if isSearchable { object["searchable"] = true }
        if isRestricted { object["restricted"] = true }
        if let uniqueWith { object["unique_with"] = .array(uniqueWith.map { .string($0) }) }
        if uniqueIgnoresCase { object["unique_ignores_case"] = true }
        if isUniqueGlobally { object["unique_globally"] = true }
        if let defaultValue { object["default"] = defaultValue }
        for (name, value) in type.limits { object[name] = value }
        return .object(object)
    }
}

extension FieldType {
    /// Limits by name, for the schema document.
    var limits: JSONObject {
        switch self {
        case .text(let range): ["min_length": .integer(Int64(range.lowerBound)), "max_length": .integer(Int64(range.upperBound))]
        case .rich(let maximum), .slug(let maximum): ["max_length": .integer(Int64(maximum))]
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range):
            ["min": .integer(range.lowerBound), "max": .integer(range.upperBound)]
        case .choice(let choices), .anyReferenceEntity(let choices): ["choices": .array(choices.map { .string($0) })]
        case .reference(let entity, let action): ["references": .array([.string(entity)]), "on_delete": .string(action.rawValue)]
        case .anyReferenceID(let entities): ["references": .array(entities.map { .string($0) })]
        case .set(let element, let count):
            [
                "element": .object((["type": .string(element.name)] as JSONObject).merging(element.limits)),
                "min_count": .integer(Int64(count.lowerBound)),
                "max_count": .integer(Int64(count.upperBound)),
            ]
        case .map(let keys): keys.isEmpty ? [:] : ["keys": .array(keys.map { .string($0) })]
        default: [:]
        }
    }
}

extension JSONObject {
    func merging(_ other: JSONObject) -> JSONObject {
        var merged = self
        for (key, value) in other { merged[key] = value }
        return merged
    }
}
