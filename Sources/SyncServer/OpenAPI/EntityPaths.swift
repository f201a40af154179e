// The paths of one entity: what RestTarget answers, said in OpenAPI.

import SyncProtocol

struct EntityPaths {
    let entity: EntitySchema

    /// `client_contact` → `ClientContact`.
    static func component(_ entity: String) -> String {
        entity.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }

    private var component: String { EntityPaths.component(entity.name) }
    private var noun: String { entity.name.split(separator: "_").joined(separator: " ") }

    // MARK: Components

    var schemas: [(String, JSONValue)] {
        var schemas: [(String, JSONValue)] = [(component, .object(record)), (component + "List", list), (component + "Reply", reply)]
        let operations = entity.restOperations
        if operations.contains(.create) { schemas.append((component + "Create", .object(creation))) }
        if operations.contains(.patch) { schemas.append((component + "Patch", .object(patch))) }
        return schemas
    }

    private var record: JSONObject {
        var properties: JSONObject = [
            "id": .object(ValueSchema.identifier("UUID, made by the creator or the server.")),
            "position": ["type": "integer", "format": "int64", "description": "Feed position of the last change."],
            "created_at": ["type": "integer", "format": "int64", "description": "By the author's clock, milliseconds since 1970 UTC."],
            "created_by": ["type": ["string", "null"], "format": "uuid", "description": "Member; null for the server."],
            "updated_at": [
                "type": "integer", "format": "int64", "description": "Server time of the last change, milliseconds since 1970 UTC.",
            ],
            "deleted_at": ["type": ["integer", "null"], "format": "int64", "description": "Set on a tombstone."],
        ]
        var required = EntityTable.documentCommon
        for field in entity.fields where !field.isSecret {
            properties[field.name] = .object(ValueSchema.read(field))
            // Restricted fields are absent for readers who may not see them.
            if !field.isRestricted { required.append(field.name) }
        }
        return [
            "type": "object", "properties": .object(properties), "required": .array(required.map { .string($0) }),
            "additionalProperties": true,
        ]
    }

    private var creation: JSONObject {
        var properties = JSONObject()
        // That of a link follows from what it connects.
        if entity.deterministicKeys.isEmpty {
            properties["id"] = .object(
                ValueSchema.orNull(
                    ValueSchema.identifier("Chosen by you, so that a lost reply cannot become a second record; else made by the server."),
                    unless: false))
        }
        var example = JSONObject()
        var required: [String] = []
        for field in entity.fields where field.isWritable && !field.isSecret {
            properties[field.name] = .object(ValueSchema.create(field))
            if field.isRequired, field.defaultValue == nil {
                required.append(field.name)
                example[field.name] = ValueSchema.example(field)
            }
        }
        var schema: JSONObject = [
            "type": "object", "properties": .object(properties), "additionalProperties": false, "examples": [.object(example)],
        ]
        if !required.isEmpty { schema["required"] = .array(required.map { .string($0) }) }
        return schema
    }

    private var patch: JSONObject {
        var properties = JSONObject()
        var example = JSONObject()
        for field in entity.fields where !field.isSecret {
            guard let schema = ValueSchema.patch(field) else { continue }
            properties[field.name] = .object(schema)
            if example.isEmpty, case .text = field.type { example[field.name] = ValueSchema.example(field) }
        }
        return ["type": "object", "properties": .object(properties), "additionalProperties": false, "examples": [.object(example)]]
    }

    private var list: JSONValue {
        [
            "type": "object", "required": ["data", "total", "has_more", "next_cursor", "as_of"],
            "properties": [
                "data": ["type": "array", "items": reference(component), "maxItems": .integer(Int64(ListRequest.limitMax))],
                "total": [
                    "type": "integer", "minimum": 0,
                    "description": .string(
                        "Exact, unless total_is_lower_bound: matches of a filter are counted up to \(ListRequest.countedMax)."),
                ],
                "total_is_lower_bound": ["type": "boolean"], "has_more": ["type": "boolean"],
                "next_cursor": ["type": ["string", "null"], "description": "Opaque; goes on with the same list only."],
                "as_of": ["type": "string", "description": "Place in the feed this was read at; in quotes it is an entity tag."],
            ],
        ]
    }

    private var reply: JSONValue {
        [
            "type": "object", "required": ["data"],
            "properties": ["data": reference(component), "outcome": reference("Outcome")],
        ]
    }

    private func reference(_ name: String) -> JSONValue { ["$ref": .string("#/components/schemas/\(name)")] }

    // MARK: Paths

    var paths: [(path: String, operations: JSONObject)] {
        let base = "/v1/\(entity.name)"
        let operations = entity.restOperations
        var collection = JSONObject()
        if operations.contains(.list) { collection["get"] = listOperation }
        if operations.contains(.create) { collection["post"] = createOperation }
        var record: JSONObject = ["parameters": [idParameter]]
        if operations.contains(.get) { record["get"] = getOperation }
        if operations.contains(.patch) { record["patch"] = patchOperation }
        if operations.contains(.delete) { record["delete"] = deleteOperation }
        var paths: [(path: String, operations: JSONObject)] = [(base, collection), (base + "/{id}", record)]
        if operations.contains(.restore) {
            paths.append((base + "/{id}/restore", ["parameters": [idParameter], "post": restoreOperation]))
        }
        for transition in entity.restTransitions {
            paths.append(
                (
                    base + "/{id}/transitions/\(transition.name)",
                    ["parameters": [idParameter], "post": transitionOperation(transition)]
                ))
        }
        return paths
    }

    private var idParameter: JSONValue {
        ["name": "id", "in": "path", "required": true, "schema": ["type": "string", "format": "uuid"]]
    }

    private func operation(
        _ name: String, _ summary: String, _ description: String, parameters: [JSONValue] = [], body: JSONValue? = nil,
        isBodyRequired: Bool = true, success: [(Int, String)], schema: String, errors: [ErrorCode]
    ) -> JSONValue {
        var responses = JSONObject()
        for (status, text) in success {
            var response: JSONObject = [
                "description": .string(text), "content": ["application/json": ["schema": reference(schema)]],
            ]
            var headers: JSONObject = [:]
            if name != "list" { headers["ETag"] = ["$ref": "#/components/headers/ETag"] }
            if status == 201 { headers["Location"] = ["schema": ["type": "string"]] }
            if !headers.isEmpty { response["headers"] = .object(headers) }
            let links = EntityLinks(entity: entity).after(name)
            if !links.isEmpty { response["links"] = .object(links) }
            responses[String(status)] = .object(response)
        }
        OpenAPIDocument.add(errors, to: &responses)
        var operation: JSONObject = [
            "operationId": .string("\(name)_\(entity.name)"), "summary": .string(summary), "description": .string(description),
            "tags": [.string(entity.name)], "responses": .object(responses), "security": [["token": []]],
        ]
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body {
            operation["requestBody"] = ["required": .bool(isBodyRequired), "content": ["application/json": ["schema": body]]]
        }
        return .object(operation)
    }

    private static let writing: [ErrorCode] = [
        .badRequest, .unauthorized, .forbidden, .conflict, .preconditionFailed, .payloadTooLarge, .unsupportedMediaType,
        .idempotencyKeyReused, .limitReached,
    ]
    private static let headers: [JSONValue] = ["IfMatch", "IdempotencyKey"].map { ["$ref": .string("#/components/parameters/\($0)")] }

    private var getOperation: JSONValue {
        var object = getting.objectValue ?? JSONObject()
        var responses = object["responses"]?.objectValue ?? JSONObject()
        responses["304"] = ["description": "Nothing has changed it since", "headers": ["ETag": ["$ref": "#/components/headers/ETag"]]]
        object["responses"] = .object(responses)
        return .object(object)
    }

    private var getting: JSONValue {
        operation(
            "get", "One \(noun)", "The record as it is now.",
            parameters: [["$ref": "#/components/parameters/Deleted"], ["$ref": "#/components/parameters/IfNoneMatch"]],
            success: [(200, "The record")], schema: component + "Reply", errors: [.badRequest, .unauthorized, .forbidden, .notFound])
    }

    private var createOperation: JSONValue {
        operation(
            "create", "Create a \(noun)",
            entity.deterministicKeys.isEmpty
                ? "Defaults fill what is left out." : "Creating a link that exists merges into it; over a deleted one it restores it.",
            parameters: [["$ref": "#/components/parameters/IdempotencyKey"]], body: reference(component + "Create"),
            success: entity.deterministicKeys.isEmpty ? [(201, "Created")] : [(201, "Created"), (200, "There was such a link already")],
            schema: component + "Reply", errors: EntityPaths.writing.filter { $0 != .preconditionFailed })
    }

    private var patchOperation: JSONValue {
        operation(
            "patch", "Change a \(noun)", "Fields that are left out stay as they are; null empties.",
            parameters: EntityPaths.headers, body: reference(component + "Patch"), success: [(200, "The record afterwards")],
            schema: component + "Reply", errors: EntityPaths.writing + [.notFound])
    }

    private var deleteOperation: JSONValue {
        operation(
            "delete", "Delete a \(noun)", "Leaves a tombstone that can be restored, with what goes along.",
            parameters: EntityPaths.headers, success: [(200, "The tombstone")], schema: component + "Reply",
            errors: EntityPaths.writing + [.notFound])
    }

    private var restoreOperation: JSONValue {
        operation(
            "restore", "Restore a \(noun)", "Revives exactly what one delete took.", parameters: EntityPaths.headers,
            success: [(200, "The record")], schema: component + "Reply", errors: EntityPaths.writing + [.notFound])
    }

    private func transitionOperation(_ transition: Transition) -> JSONValue {
        var properties = JSONObject()
        var required: [JSONValue] = []
        var example = JSONObject()
        for argument in transition.arguments {
            let schema = ValueSchema.write(argument.type, isRequired: argument.isRequired)
            properties[argument.name] = .object(ValueSchema.orNull(schema, unless: argument.isRequired))
            if argument.isRequired {
                required.append(.string(argument.name))
                example[argument.name] = ValueSchema.example(FieldSchema(argument.name, argument.type, policy: .lastWriter))
            }
        }
        var arguments: JSONObject = ["type": "object", "properties": .object(properties), "additionalProperties": false]
        if !required.isEmpty { arguments["required"] = .array(required) }
        var body: JSONObject = [
            "type": "object", "additionalProperties": false,
            "properties": [
                "observed": [
                    "type": ["string", "null"], "pattern": "^[^\\u0000]*$",
                    "description":
                        "The state you saw; if it is another one now and the move is no longer legal, that is a conflict. Left out: the state it is in.",
                ],
                "arguments": .object(ValueSchema.orNull(arguments, unless: !required.isEmpty)),
            ],
        ]
        if !required.isEmpty {
            body["required"] = ["arguments"]
            body["examples"] = [["arguments": .object(example)]]
        }
        let from = transition.from.joined(separator: ", ")
        return operation(
            transition.name, "\(transition.name.prefix(1).uppercased() + transition.name.dropFirst()) a \(noun)",
            "Moves \(entity.machine?.field ?? "the state") from \(from) to \(transition.to). In \(transition.to) already: nothing happens.",
            parameters: EntityPaths.headers, body: .object(body), isBodyRequired: !required.isEmpty,
            success: [(200, "The record afterwards")], schema: component + "Reply", errors: EntityPaths.writing + [.notFound])
    }

    private var listOperation: JSONValue {
        let columns = ListColumn.all(of: entity) { $0.isSecret }
        let sortable = columns.filter(\.isSortable).flatMap { [$0.name, "-" + $0.name] }
        var parameters: [JSONValue] = [
            ["$ref": "#/components/parameters/Limit"], ["$ref": "#/components/parameters/Offset"],
            ["$ref": "#/components/parameters/Cursor"], ["$ref": "#/components/parameters/Deleted"],
            [
                "name": "sort", "in": "query", "description": "- before the name: descending. Equal values are in order of id.",
                "schema": ["type": "string", "enum": .array(sortable.map { .string($0) }), "default": "id"],
            ],
        ]
        let searched = entity.fields.filter { $0.isSearchable && !$0.isSecret && !$0.isRestricted }
        if !searched.isEmpty {
            parameters.append([
                "name": "q", "in": "query",
                "description": .string("Words, or beginnings of words, in \(searched.map(\.name).joined(separator: ", "))."),
                "schema": [
                    "type": "string", "minLength": 1, "maxLength": .integer(Int64(ListRequest.searchCharactersMax)),
                    "pattern": .string(ValueSchema.somethingToSearch),
                ],
            ])
        }
        for column in columns {
            for (index, filter) in column.operators.enumerated() {
                var parameter: JSONObject = [
                    "name": .string(index == 0 ? column.name : "\(column.name)[\(filter.rawValue)]"), "in": "query",
                    "schema": .object(EntityPaths.filterSchema(column, filter)), "description": .string(EntityPaths.meaning(filter)),
                ]
                if filter == .in { (parameter["style"], parameter["explode"]) = ("form", false) }
                parameters.append(.object(parameter))
            }
        }
        return operation(
            "list", "List \(noun) records", "Pages by limit with offset or cursor. Two conditions on one field make a range.",
            parameters: parameters, success: [(200, "A page")], schema: component + "List",
            errors: [.badRequest, .unauthorized, .forbidden])
    }

    private static func filterSchema(_ column: ListColumn, _ filter: ListFilter.Operator) -> JSONObject {
        let element = if case .set(let element, _) = column.type { element } else { column.type }
        switch filter {
        case .null: return ["type": "string", "enum": ["true", "false"]]
        case .in:
            var items = JSONValue.object(ValueSchema.write(element, isRequired: true))
            // A value with a comma in it would be two.
            if case .text = element { items = ["allOf": [items, ["not": ["type": "string", "pattern": ","]]]] }
            return [
                "type": "array", "minItems": 1, "maxItems": .integer(Int64(ListRequest.valuesMax)), "items": items,
            ]
        default: return ValueSchema.write(element, isRequired: true)
        }
    }

    private static func meaning(_ filter: ListFilter.Operator) -> String {
        switch filter {
        case .eq: "Equal."
        case .ne: "Not equal, or without a value."
        case .lt: "Less."
        case .lte: "Less or equal."
        case .gt: "Greater."
        case .gte: "Greater or equal."
        case .in: "One of several, separated by commas."
        case .has: "The set contains the element."
        case .null: "true: without a value."
        }
    }
}
