// What the routes that do not follow from the schema say in OpenAPI. A route without words here is listed all the same.

import SyncProtocol

enum FixedOperations {
    static func operation(_ method: String, _ path: String, _ schema: Schema) -> JSONValue {
        if method == "GET", path == "/v1/activity" { return activity(schema) }
        if let known = described["\(method) \(path)"] { return known }
        let name = path.split(separator: "/").joined(separator: "_").filter { $0.isLetter || $0.isNumber || $0 == "_" }
        return operation(
            "\(method.lowercased())_\(name)", "\(method) \(path)", tag: "server", hasToken: path.hasPrefix("/v1/"),
            success: ["description": "Done"], errors: [.badRequest, .unauthorized, .forbidden, .notFound, .conflict])
    }

    private static func operation(
        _ id: String, _ summary: String, _ description: String? = nil, tag: String, hasToken: Bool, parameters: [JSONValue] = [],
        body: JSONValue? = nil, success: JSONValue, errors: [ErrorCode]
    ) -> JSONValue {
        var responses: JSONObject = ["200": success]
        OpenAPIDocument.add(errors, to: &responses)
        var operation: JSONObject = [
            "operationId": .string(id), "summary": .string(summary), "tags": [.string(tag)], "responses": .object(responses),
            "security": hasToken ? [["token": []]] : [],
        ]
        if let description { operation["description"] = .string(description) }
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body { operation["requestBody"] = ["required": true, "content": ["application/json": ["schema": body]]] }
        return .object(operation)
    }

    private static func json(_ description: String, _ schema: JSONValue) -> JSONValue {
        ["description": .string(description), "content": ["application/json": ["schema": schema]]]
    }

    private static func query(_ name: String, _ schema: JSONValue, _ description: String, isRequired: Bool = false) -> JSONValue {
        ["name": .string(name), "in": "query", "schema": schema, "description": .string(description), "required": .bool(isRequired)]
    }

    private static let integer: JSONValue = ["type": "integer", "format": "int64"]
    private static let uuid: JSONValue = ["type": "string", "format": "uuid"]
    private static func text(_ maximum: Int64) -> JSONValue {
        ["type": "string", "minLength": 1, "maxLength": .integer(maximum), "pattern": "^[^\\u0000]*$"]
    }

    private static func offered(_ name: String, _ schema: JSONValue) -> JSONValue {
        let hash: JSONValue = ["type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the set."]
        return ["type": "object", "required": ["hash", .string(name)], "properties": ["hash": hash, name: schema]]
    }

    private static let withdrawn = offered(
        "withdrawn", ["type": "array", "minItems": 2, "maxItems": 2, "description": "[replica, counter] of a set that will never be sent."])
    private static let protocolVersion: JSONValue = ["type": "integer", "const": .integer(ProtocolVersion.current)]
    private static let schemaVersion: JSONValue = ["type": "integer", "minimum": 0, "maximum": .integer(Int64(Int32.max))]

    private static let described: [String: JSONValue] = [
        "POST /v1/enroll": operation(
            "enroll", "Make a replica", "A one-time code becomes a replica with a token.", tag: "sync", hasToken: false,
            body: [
                "type": "object", "required": ["protocol", "code", "label", "schema"],
                "properties": [
                    "protocol": protocolVersion, "code": text(200), "label": text(80),
                    "platform": ["type": "string", "pattern": "^[^\\u0000]*$"],
                    "schema": integer,
                    "attempt": [
                        "type": ["string", "null"], "pattern": "^[0-9a-f]{64}$",
                        "description": "Known to the file alone: with it the same code answers again if the first answer was lost.",
                    ],
                    "continues": [
                        "type": ["object", "null"], "required": ["identity", "counter"],
                        "description": "What a file that was enrolled before is, and the last counter that it has spent.",
                        "properties": [
                            "identity": text(1_000),
                            "counter": ["type": "integer", "minimum": 0, "maximum": .integer(FormerReplica.counterMax)],
                        ],
                    ],
                ],
                // What newer replicas may add is passed over.
                "additionalProperties": ["$ref": "#/components/schemas/FreeForm"],
                "examples": [
                    ["protocol": 1, "code": "4QKX-7MPT-2WZD-9RHB", "label": "farah's laptop", "platform": "linux", "schema": 1]
                ],
            ],
            success: json(
                "The replica and its token",
                [
                    "type": "object",
                    "required": ["token", "tenant", "member", "replica", "role", "replication", "server_time", "schema", "protocol"],
                    "properties": [
                        "token": ["type": "string"], "tenant": uuid, "member": uuid, "replica": uuid,
                        "role": ["type": "string", "enum": .array(Role.allCases.map { .string($0.rawValue) })],
                        "replication": ["type": "string"], "server_time": integer, "schema": integer, "protocol": integer,
                        "identity": ["type": "string", "description": "The server's statement of which replica of whom this is."],
                    ],
                ]), errors: [.badRequest, .forbidden, .codeInvalid, .codeExpired, .protocolUnsupported, .tooManyRequests, .limitReached]),
        "POST /v1/sync/push": operation(
            "push", "Send pending change sets", "Answers the stored outcome of every set, however often it is sent.", tag: "sync",
            hasToken: true,
            body: [
                "type": "object", "required": ["protocol", "schema", "sets"],
                "properties": [
                    "protocol": protocolVersion, "schema": schemaVersion, "cursor": ["type": ["string", "null"]],
                    "recognised": [
                        "type": "array", "maxItems": 64,
                        "items": [
                            "type": "array", "minItems": 3, "maxItems": 3, "description": "[epoch, position, fingerprint], newest first.",
                        ],
                    ],
                    "identity": [
                        "type": ["string", "null"], "description": "Of the replica that sealed the sets, if it is not the one that asks.",
                    ],
                    "sets": [
                        "type": "array", "maxItems": .integer(Int64(Limits.setsPerPush)),
                        "items": [
                            "anyOf": [offered("set", ["type": "object", "description": "The sealed bytes, as they are."]), withdrawn]
                        ],
                    ],
                ],
            ],
            success: json(
                "Outcomes by counter",
                [
                    "type": "object", "required": ["outcomes", "server_time"],
                    "properties": ["server_time": integer, "outcomes": ["type": "array", "items": ["type": "array"]]],
                ]),
            errors: [.badRequest, .unauthorized, .forbidden, .fork, .payloadTooLarge, .protocolUnsupported, .limitReached]),
        "GET /v1/sync/pull": operation(
            "pull", "Fetch what changed", "Current state by position, page by page, and the checkpoint that ends it.", tag: "sync",
            hasToken: true,
            parameters: [
                query("protocol", protocolVersion, "Version of the protocol.", isRequired: true),
                query("schema", schemaVersion, "Version of the replica's schema."),
                query("cursor", ["type": "string"], "next of the page before; none for a first sync."),
                query(
                    "limit", ["type": "integer", "minimum": 1, "maximum": .integer(Int64(Limits.recordsPerPage))], "Records on the page."),
                query(
                    "wait", ["type": "integer", "minimum": 0, "maximum": .integer(Int64(Limits.waitMilliseconds))],
                    "Milliseconds to wait for news."),
                query("outcomes_after", ["type": "integer", "minimum": 0], "Outcomes up to this counter are known."),
                query("versions_after", ["type": "integer", "minimum": 0], "Versions of parts written after this position."),
            ],
            success: json(
                "A page",
                [
                    "type": "object", "required": ["server_time", "entities", "evictions", "next", "has_more"],
                    "properties": [
                        "server_time": integer, "entities": ["type": "array", "items": ["type": "object"]],
                        "evictions": ["type": "array"], "next": ["type": "string"], "has_more": ["type": "boolean"],
                        "checkpoint": ["type": "object"], "outcomes": ["type": "array"],
                    ],
                ]), errors: [.badRequest, .unauthorized, .forbidden, .newEpoch, .resyncRequired, .protocolUnsupported]),
        "GET /v1/sync/digest": operation(
            "digest", "Count and content hash of every entity, or of ranges of one", tag: "sync", hasToken: true,
            parameters: [
                query("entity", ["type": "string"], "Ranges of this entity's records in order of id."),
                query("after", ["type": "string"], "With entity: the records of one stretch, behind this id (empty: from the beginning),"),
                query("through", uuid, "and up to this one."),
            ],
            success: json(
                "Digests",
                [
                    "type": "object", "required": ["position", "epoch"],
                    "properties": [
                        "position": integer, "epoch": integer,
                        "entities": [
                            "type": "object",
                            "additionalProperties": [
                                "type": "object", "required": ["count", "hash"],
                                "properties": ["count": integer, "hash": ["type": "string"]],
                            ],
                        ],
                    ],
                ]), errors: [.badRequest, .unauthorized, .forbidden]),
        "POST /v1/sync/fork": operation(
            "fork", "Go on as a replica of its own", "For a copied or restored file, behind what both copies share.", tag: "sync",
            hasToken: true,
            body: [
                "type": "object", "required": ["protocol", "counter", "label", "schema"],
                "properties": [
                    "protocol": protocolVersion, "counter": ["type": "integer", "format": "int64", "minimum": 0],
                    "label": text(80), "platform": ["type": "string"], "schema": integer,
                    "first": ["type": "string", "minLength": 64, "maxLength": 64],
                ],
            ],
            success: json("The new replica and its token", ["type": "object", "required": ["token", "replica"]]),
            errors: [.badRequest, .unauthorized, .forbidden, .protocolUnsupported, .limitReached]),
        "GET /v1/sync/records": operation(
            "records", "Single records as they are now", "Tombstones included: for a replica that mends a difference.", tag: "sync",
            hasToken: true,
            parameters: [
                query("entity", ["type": "string"], "Entity of the records.", isRequired: true),
                query("ids", ["type": "string"], "Up to \(RecordsRequest.recordsMax) ids, separated by commas.", isRequired: true),
                query(
                    "cursor", ["type": "string"],
                    "Where the reader's pulls stand; refused when its role is another one than then."),
            ],
            success: json(
                "Rows as on a page of pull",
                [
                    "type": "object", "required": ["position", "epoch", "entities"],
                    "properties": ["position": integer, "epoch": integer, "entities": ["type": "array", "items": ["type": "object"]]],
                ]), errors: [.badRequest, .unauthorized, .forbidden, .payloadTooLarge, .resyncRequired]),
        "GET /v1/sync/activity": operation(
            "replica_activity", "The feed for a replica's own copy of the timeline", "Oldest first.", tag: "sync", hasToken: true,
            parameters: [
                query("after", ["type": "integer", "minimum": 0], "Entries behind this position."),
                query("newest", ["type": "integer", "minimum": 0, "maximum": 1_000_000], "Without after: so many of the newest entries."),
                query("since", ["type": "integer", "minimum": 0], "And none older, milliseconds since 1970 UTC."),
                query(
                    "limit", ["type": "integer", "minimum": 1, "maximum": .integer(Int64(ActivityRequest.entriesMax))],
                    "Entries on the page."),
                query(
                    "cursor", ["type": "string"],
                    "Where the reader's pulls stand; refused when its role is another one than then."),
            ], success: json("A page", ["type": "object"]), errors: [.badRequest, .unauthorized, .forbidden, .resyncRequired]),
        "GET /v1/schema": operation(
            "schema", "The schema as a document", tag: "server", hasToken: false,
            success: json("Entities, fields, state machines", ["type": "object", "required": ["version", "entities"]]), errors: []),
        "GET /v1/openapi.json": operation(
            "openapi", "This document", tag: "server", hasToken: false, success: json("OpenAPI 3.1", ["type": "object"]), errors: []),
        "GET /v1/docs": operation(
            "docs", "This document for people", tag: "server", hasToken: false,
            success: ["description": "A page", "content": ["text/html": ["schema": ["type": "string"]]]], errors: []),
        "GET /healthz": operation(
            "health", "Whether the process is up", tag: "server", hasToken: false, success: json("It is", status), errors: []),
        "GET /metrics": operation(
            "metrics", "What the server counts, for Prometheus", tag: "server", hasToken: false,
            success: ["description": "Prometheus text", "content": ["text/plain": ["schema": ["type": "string"]]]], errors: []),
        "GET /readyz": operation(
            "readiness", "Whether the database is reachable and migrated", tag: "server", hasToken: false, success: json("It is", status),
            errors: []),
    ]

    private static func activity(_ schema: Schema) -> JSONValue {
        func choice(_ values: [String]) -> JSONValue { ["type": "string", "enum": .array(values.map { .string($0) })] }
        let entities = schema.entities.filter(\.isServed).map(\.name)
        let anchor = "^(\(entities.joined(separator: "|"))):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
        return operation(
            "activity", "The timeline, newest first",
            "Every accepted change the token's member may see. A page can be short of its limit and still have a next one.",
            tag: "activity", hasToken: true,
            parameters: [
                ["$ref": "#/components/parameters/Limit"], ["$ref": "#/components/parameters/Cursor"],
                query(
                    "anchor", ["type": "string", "pattern": .string(anchor)],
                    "entity:id: what happened to the record and to what belongs to it."),
                query("entity", choice(entities), "Of records of one entity."), query("id", uuid, "Of one record."),
                query("category", choice(schema.categories), "One category of entries."),
                query("kind", choice(KindPattern.choices(schema)), "One kind of entries, or all kinds with one beginning: client.*."),
                query("actor", uuid, "Done by one member."),
                query("level", choice(Schema.timelineLevels), "How much it matters."),
                query("since", time, "Then or later: milliseconds since 1970 UTC or ISO 8601."),
                query("until", time, "Then or earlier: milliseconds since 1970 UTC or ISO 8601."),
            ], success: json("A page", ["$ref": "#/components/schemas/ActivityList"]), errors: [.badRequest, .unauthorized, .forbidden])
    }

    private static let time: JSONValue = .object(ValueSchema.write(.instant, isRequired: true))
    private static let status: JSONValue = ["type": "object", "required": ["status"], "properties": ["status": ["type": "string"]]]
}
