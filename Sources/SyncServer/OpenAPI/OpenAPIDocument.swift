// `GET /v1/openapi.json`: OpenAPI 3.1, put together from the schema and the table of routes, so that it cannot fall behind.

import Foundation
import SyncProtocol

struct OpenAPIDocument: Sendable {
    let schema: Schema
    let json: JSONValue

    init(_ schema: Schema) {
        self.schema = schema
        var paths = JSONObject()
        // First what the table of routes has, whether or not it is described; then what follows from the schema.
        for route in Route.all {
            let path = "/" + route.path.joined(separator: "/")
            var operations = paths[path]?.objectValue ?? JSONObject()
            operations[route.method.lowercased()] = FixedOperations.operation(route.method, path, schema)
            paths[path] = .object(operations)
        }
        for one in ConsumerPaths.all {
            var operations = paths[one.path]?.objectValue ?? JSONObject()
            operations[one.method.lowercased()] = one.operation
            paths[one.path] = .object(operations)
        }
        for one in ReportPaths.all(schema) { paths[one.path] = ["get": one.operation] }
        var schemas = JSONObject(SharedSchemas.all(schema) + ConsumerSchemas.all(schema))
        var tags: [JSONValue] = []
        for entity in schema.entities where entity.isServed {
            let described = EntityPaths(entity: entity)
            for (name, schema) in described.schemas { schemas[name] = schema }
            for (path, operations) in described.paths { paths[path] = .object(operations) }
            tags.append(["name": .string(entity.name), "description": .string("Access class \(entity.access.rawValue).")])
        }
        json = [
            "openapi": "3.1.0",
            "info": [
                "title": "Tideline", "version": .string(Configuration.version),
                "description":
                    "Values travel in stored form: money in minor units, quantities in thousandths, rates in hundredths of a percent, dates as days since 1970-01-01, instants as milliseconds since 1970 UTC, booleans as 0 or 1. Requests may also send dates and instants in ISO 8601 and booleans as true and false.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/"]], "tags": .array(tags), "paths": .object(paths),
            "components": [
                "schemas": .object(schemas), "parameters": SharedSchemas.parameters, "headers": SharedSchemas.headers,
                "responses": SharedSchemas.responses,
                "securitySchemes": [
                    "token": [
                        "type": "http", "scheme": "bearer",
                        "description":
                            "Of a member: sync-server token create. The token of a replica works too, with the role of its member.",
                    ]
                ],
            ],
        ]
    }

    /// What any request can meet: beside the server's own troubles, refusals of the HTTP layer (docs/operations.md, limits).
    static let anyRequest: [(status: Int, code: String)] = [
        (408, "request_timeout"), (413, "body_too_large"), (414, "request_line_too_long"), (431, "headers_too_large"), (500, "internal"),
        (503, "unavailable"),
    ]

    /// Responses for the codes, and for what any request can meet.
    static func add(_ errors: [ErrorCode], to responses: inout JSONObject) {
        for status in Set(errors.map(\.status) + anyRequest.map(\.status)) {
            responses[String(status)] = ["$ref": .string("#/components/responses/Error\(status)")]
        }
    }
}

/// The components that every path may refer to.
enum SharedSchemas {
    static func all(_ schema: Schema) -> [(String, JSONValue)] {
        [
            ("Error", error), ("Violation", violation), ("Outcome", outcome), ("ActivityEntry", activityEntry(schema)),
            ("ActivityList", activityList), ("Currency", choices(Formats.currencies, "ISO 4217.")),
            ("Country", choices(Formats.countries, "ISO 3166-1 alpha-2.")),
            ("FreeForm", freeForm),
            ("TimeZone", choices(timeZones, "IANA time zone name; former names of zones are accepted as well.")),
        ]
    }

    /// What maps and json values hold; the levels are beyond what a schema can say.
    private static let freeForm: JSONValue = [
        "type": ["null", "boolean", "integer", "string", "array", "object"], "minimum": .integer(.min), "maximum": .integer(.max),
        "items": ["$ref": "#/components/schemas/FreeForm"], "additionalProperties": ["$ref": "#/components/schemas/FreeForm"],
        "description": .string(
            "Any JSON whose numbers are whole ones of 64 bits, at most \(FieldType.freeFormLevelsMax) levels deep."),
    ]

    private static let timeZones = (TimeZone.knownTimeZoneIdentifiers + ["UTC"]).filter(Formats.isTimeZone).sorted()

    private static func choices(_ values: [String], _ description: String) -> JSONValue {
        ["type": "string", "enum": .array(values.map { .string($0) }), "description": .string(description)]
    }

    private static let error: JSONValue = [
        "type": "object", "required": ["error"],
        "properties": [
            "error": [
                "type": "object", "required": ["code", "message", "request_id"], "additionalProperties": true,
                "properties": [
                    "code": [
                        "type": "string",
                        "description": .string(
                            "One of: \(ErrorCode.allCases.map(\.rawValue).joined(separator: ", ")); or of the HTTP layer."),
                    ],
                    "message": ["type": "string"], "request_id": ["type": "string"],
                    "fields": ["type": "array", "items": ["$ref": "#/components/schemas/Violation"]],
                ],
            ]
        ],
        "examples": [
            [
                "error": [
                    "code": "validation_failed", "message": "client.name: name is required",
                    "request_id": "01900000-0000-7000-8000-0000000000ff",
                    "fields": [
                        [
                            "entity": "client", "id": "01900000-0000-7000-8000-00000000000c", "field": "name", "code": "required",
                            "message": "name is required",
                        ]
                    ],
                ]
            ]
        ],
    ]

    private static let violation: JSONValue = [
        "type": "object", "required": ["entity", "code", "message"],
        "properties": [
            "entity": ["type": "string"], "id": ["type": "string", "format": "uuid"], "field": ["type": "string"],
            "code": [
                "type": "string",
                "description": .string(
                    "One of: \(ViolationCode.allCases.map(\.rawValue).joined(separator: ", ")); or of a rule of the domain."),
            ],
            "message": ["type": "string"], "params": ["type": "object", "additionalProperties": true],
        ],
    ]

    private static let outcome: JSONValue = [
        "type": "object", "required": ["status"],
        "properties": [
            "status": ["type": "string", "enum": ["accepted", "noop", "rejected", "withdrawn"]],
            "positions": ["type": "array", "items": ["type": "integer"], "minItems": 2, "maxItems": 2],
            "superseded": ["type": "array", "items": ["type": "object"]], "rebased": ["type": "boolean"],
            "warnings": ["type": "array", "items": ["$ref": "#/components/schemas/Violation"]],
            "violations": ["type": "array", "items": ["$ref": "#/components/schemas/Violation"]], "request_id": ["type": "string"],
        ],
    ]

    private static func activityEntry(_ schema: Schema) -> JSONValue {
        let integer: JSONValue = ["type": "integer", "format": "int64"]
        let uuid: JSONValue = ["type": "string", "format": "uuid"]
        let operations = ["create", "update", "delete", "restore", "transition", "derived"]
        let properties: JSONObject = [
            "event": ["type": "string", "description": "epoch-position, unique for ever."], "position": integer, "epoch": integer,
            "at": integer, "operation_at": integer,
            "actor": [
                "type": "object", "required": ["kind", "member", "name"],
                "properties": [
                    "kind": ["type": "string", "enum": ["member", "portal", "system"]],
                    "member": ["type": ["string", "null"], "format": "uuid"], "name": ["type": "string"],
                ],
            ],
            "entity": ["type": "string"], "record": uuid, "title": ["type": "string"],
            "operation": ["type": "string", "enum": .array(operations.map { .string($0) })],
            "kind": ["type": "string"], "category": ["type": "string", "enum": .array(schema.categories.map { .string($0) })],
            "level": ["type": "string", "enum": ["major", "minor"]], "icon": ["type": "string", "description": "Lucide icon name."],
            "changes": ["type": "object", "additionalProperties": true, "description": "{field: {old, new}}"],
            "anchors": ["type": "array", "items": ["type": "string"]], "cause": ["type": ["integer", "null"], "format": "int64"],
            "text": ["type": "string", "examples": ["Farah set phone of Nina Ortiz from +15550100 to +15550142"]],
        ]
        return ["type": "object", "properties": .object(properties), "required": .array(properties.keys.map { .string($0) })]
    }

    private static let activityList: JSONValue = [
        "type": "object", "required": ["data", "has_more", "next_cursor", "as_of"],
        "properties": [
            "data": ["type": "array", "items": ["$ref": "#/components/schemas/ActivityEntry"]], "has_more": ["type": "boolean"],
            "next_cursor": ["type": ["string", "null"]], "as_of": ["type": "string"],
        ],
    ]

    /// RFC 9110 §8.8.3, as far as ASCII goes; elements of a list may be empty (§5.6.1).
    private static let entityTag = "(W/)?\"[!#-~]*\""
    private static let entityTags =
        "^(\\*|[ \t,]*(\(entityTag)([ \t]*,[ \t,]*\(entityTag)){0,\(EntityTag.tagsMax - 1)}([ \t]*,[ \t,]*)?)?)$"

    static let parameters: JSONValue = [
        "Limit": [
            "name": "limit", "in": "query",
            "schema": [
                "type": "integer", "minimum": 1, "maximum": .integer(Int64(ListRequest.limitMax)),
                "default": .integer(Int64(ListRequest.limitDefault)),
            ],
        ],
        "Offset": [
            "name": "offset", "in": "query", "description": "Not together with cursor.",
            "schema": ["type": "integer", "minimum": 0, "maximum": .integer(Int64(ListRequest.offsetMax)), "default": 0],
        ],
        "Cursor": [
            "name": "cursor", "in": "query", "description": "next_cursor of the page before, of the same list.",
            "schema": ["type": "string", "minLength": 1],
        ],
        "Deleted": [
            "name": "deleted", "in": "query", "description": "Whether tombstones are meant.",
            "schema": ["type": "string", "enum": ["exclude", "include", "only"], "default": "exclude"],
        ],
        "IfMatch": [
            "name": "If-Match", "in": "header",
            "description":
                "The ETag the record was read with. 412 if it was changed since; and the edit counts as made by someone who had seen everything up to there, and nothing later.",
            "schema": ["type": "string", "pattern": .string(entityTags), "examples": ["\"0.41\""]],
        ],
        "IfNoneMatch": [
            "name": "If-None-Match", "in": "header", "description": "304 if nothing has changed the record since.",
            "schema": ["type": "string", "pattern": .string(entityTags)],
        ],
        "IdempotencyKey": [
            "name": "Idempotency-Key", "in": "header",
            "description":
                "A text of your own for this write, kept for 24 hours: repeating the request with it repeats the answer, not the write.",
            "schema": [
                "type": "string", "minLength": 1, "maxLength": .integer(Int64(IdempotencyKey.charactersMax)), "pattern": "^[!-~]+$",
            ],
        ],
    ]

    static let headers: JSONValue = [
        "ETag": [
            "description": "Place in the feed, \"epoch.position\", that the answer is the state at.",
            "schema": ["type": "string"],
        ]
    ]

    static var responses: JSONValue {
        var responses = JSONObject()
        let all = ErrorCode.allCases.map { (status: $0.status, code: $0.rawValue) } + OpenAPIDocument.anyRequest
        for (status, codes) in Dictionary(grouping: all, by: \.status) {
            responses["Error\(status)"] = [
                "description": .string(Set(codes.map(\.code)).sorted().joined(separator: ", ")),
                "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Error"]]],
            ]
        }
        return .object(responses)
    }
}
