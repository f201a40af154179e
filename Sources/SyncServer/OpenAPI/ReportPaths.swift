// Reports in OpenAPI: one path for each that the schema declares, with its own arguments and columns.

import SyncProtocol

enum ReportPaths {
    static func all(_ schema: Schema) -> [(path: String, operation: JSONValue)] {
        [("/v1/reports", list)] + schema.reports.map { ("/v1/reports/\($0.name)", operation($0)) }
    }

    private static let list: JSONValue = {
        let described: JSONValue = ["type": "object", "required": ["name", "type"], "properties": ["name": text, "type": text]]
        let report: JSONValue = [
            "type": "object", "required": ["name", "title", "reads", "arguments", "columns"],
            "properties": [
                "name": text, "title": text, "reads": ["type": "array", "items": text],
                "arguments": ["type": "array", "items": described], "columns": ["type": "array", "items": described],
            ],
        ]
        return operation(
            "list_reports", "The reports there are", "Questions about many records that the schema declares.", parameters: [],
            reply: [
                "type": "object", "required": ["data", "total", "has_more", "next_cursor"],
                "properties": [
                    "data": ["type": "array", "items": report], "total": ["type": "integer", "minimum": 0],
                    "has_more": ["type": "boolean"], "next_cursor": ["type": "null"],
                ],
            ])
    }()

    private static func operation(_ report: Report) -> JSONValue {
        var parameters: [JSONValue] = report.arguments.map { argument in
            [
                "name": .string(argument.name), "in": "query", "required": false, "description": .string(argument.summary),
                "schema": schema(argument.type),
            ]
        }
        parameters.append([
            "name": "limit", "in": "query", "required": false, "description": "Rows.",
            "schema": [
                "type": "integer", "minimum": 1, "maximum": .integer(Int64(ReportRequests.limitMax)),
                "default": .integer(Int64(ReportRequests.limitMax)),
            ],
        ])
        let number: JSONValue = ["type": "integer", "format": "int64"]
        let columns = JSONObject(
            report.columns.map { column in
                let type = column.type.storage == .integer ? "integer" : "string"
                return (column.name, ["type": [.string(type), "null"]])
            })
        return operation(
            "report_\(report.name)", report.title.prefix(1).uppercased() + report.title.dropFirst(),
            "Counts what the token's member may read of \(report.entities.joined(separator: ", ")), and nothing else.",
            parameters: parameters,
            reply: [
                "type": "object", "required": ["report", "arguments", "data", "total", "has_more", "next_cursor"],
                "properties": [
                    "report": ["const": .string(report.name)],
                    "arguments": [
                        "type": "object", "required": .array(report.arguments.map { .string($0.name) }),
                        "properties": .object(JSONObject(report.arguments.map { ($0.name, number) })),
                        "description": "As they were used, in stored form.",
                    ],
                    "data": [
                        "type": "array", "maxItems": .integer(Int64(ReportRequests.limitMax)),
                        "items": [
                            "type": "object", "required": .array(columns.keys.map { .string($0) }), "properties": .object(columns),
                        ],
                    ],
                    "total": ["type": ["integer", "null"], "minimum": 0, "description": "Null when there are more."],
                    "has_more": ["type": "boolean"], "next_cursor": ["type": "null"],
                ],
            ])
    }

    private static func schema(_ type: FieldType) -> JSONValue {
        if case .date = type {
            return ["anyOf": [["type": "integer", "minimum": -719_162, "maximum": 2_932_896], ["type": "string", "format": "date"]]]
        }
        return .object(ValueSchema.write(type, isRequired: true))
    }

    private static let text: JSONValue = ["type": "string"]

    private static func operation(
        _ id: String, _ summary: String, _ description: String, parameters: [JSONValue], reply: JSONValue
    ) -> JSONValue {
        var responses: JSONObject = [
            "200": ["description": "The answer", "content": ["application/json": ["schema": reply]]]
        ]
        OpenAPIDocument.add([.badRequest, .unauthorized, .forbidden], to: &responses)
        return [
            "operationId": .string(id), "summary": .string(summary), "description": .string(description), "tags": ["reports"],
            "security": [["token": []]], "parameters": .array(parameters), "responses": .object(responses),
        ]
    }
}
