// The components of the paths under `/v1/consumers`: what registers one, and what the server says of consumers, attempts,
// dead letters and events. Beside ConsumerDocument, which reads and writes the same shapes.

import SyncProtocol

enum ConsumerSchemas {
    static func all(_ schema: Schema) -> [(String, JSONValue)] {
        [
            ("ConsumerCreate", creation(schema)), ("Consumer", consumer(withSecret: false)),
            ("ConsumerCreated", consumer(withSecret: true)),
            ("ConsumerList", list("Consumer", hasTotal: true)), ("ConsumerRemoved", reply(["removed": name])), ("FeedEvent", event(schema)),
            ("EventPage", eventPage), ("Acknowledged", reply(["position": position, "epoch": position])),
            ("DeliveryAttempt", attempt), ("DeliveryAttemptList", list("DeliveryAttempt", hasTotal: false)),
            ("DeadLetter", deadLetter(isWhole: false)), ("DeadLetterWhole", deadLetter(isWhole: true)),
            ("DeadLetterList", list("DeadLetter", hasTotal: true)), ("Replayed", reply(["replayed": count])),
            ("Discarded", reply(["discarded": count])),
        ]
    }

    // MARK: Requests

    static let name: JSONValue = ["type": "string", "pattern": "^[a-z][a-z0-9_-]{0,59}$"]

    /// Where a consumer begins, or begins again.
    static let start: JSONValue = [
        "anyOf": [
            ["type": "string", "enum": ["now", "beginning"]], position, ["type": "string", "pattern": "^[0-9]{1,18}$"],
            ["type": "string", "format": "date-time"],
        ],
        "description": "now, beginning, a position (begin after it), or a time. A position beyond the end of the feed is a conflict.",
    ]

    static let replay: JSONValue = body(["from": start], required: ["from"], example: ["from": "beginning"])
    static let acknowledgement: JSONValue = body(
        ["position": position, "epoch": nullable(position), "fingerprint": nullable(text)], required: ["position"],
        example: ["position": 42, "epoch": 0, "fingerprint": .null])
    static let pause: JSONValue = body(
        ["reason": ["type": ["string", "null"], "maxLength": .integer(Int64(ConsumerRequests.reasonMax)), "pattern": "^[^\\u0000]*$"]],
        required: [], example: ["reason": "the receiver is being moved"])

    private static func body(_ properties: JSONObject, required: [String], example: JSONValue) -> JSONValue {
        var schema: JSONObject = [
            "type": "object", "additionalProperties": false, "properties": .object(properties), "examples": [example],
        ]
        if !required.isEmpty { schema["required"] = .array(required.map { .string($0) }) }
        return .object(schema)
    }

    /// One alternative for each thing that needs another: a webhook has a URL, and several requests at a time need the order of records.
    private static func creation(_ schema: Schema) -> JSONValue {
        let entities = schema.entities.filter { $0.access != .secret }.map(\.name) + ["sync"]
        let kinds: JSONValue = [
            "type": ["array", "null"], "maxItems": .integer(Int64(EventFilter.patternsMax)),
            "items": [
                "type": "string", "pattern": .string("^(\\*|(\(entities.joined(separator: "|")))\\.(\\*|[a-z][a-z0-9_]{0,59}))$"),
            ], "description": "client.created, client.*, *; left out: everything.",
        ]
        let common: JSONObject = [
            "name": name, "kinds": kinds, "from": nullable(start), "max_attempts": nullable(range(Consumer.attemptsRange)),
            "rate_per_minute": nullable(range(Consumer.rateRange)), "includes_restricted": ["type": ["boolean", "null"]],
        ]
        func alternative(_ title: String, webhook: Bool, parallel: Bool, example: JSONValue) -> JSONValue {
            var properties = common
            properties["kind"] = webhook ? nullable(["const": "webhook"]) : ["const": "pull"]
            if webhook {
                properties["url"] = [
                    "type": "string", "maxLength": .integer(Int64(WebhookURL.bytesMax)), "pattern": .string(url),
                    "description": "http or https, without user name and fragment; other characters percent-encoded.",
                ]
            }
            properties["ordered_by"] = parallel ? ["const": "record"] : ["enum": ["tenant", "record", .null]]
            properties["concurrency"] = parallel ? range(Consumer.concurrencyRange) : nullable(["const": 1])
            var required = ["name"] + (webhook ? ["url"] : ["kind"])
            if parallel { required += ["ordered_by", "concurrency"] }
            return [
                "title": .string(title), "type": "object", "additionalProperties": false, "properties": .object(properties),
                "required": .array(required.map { .string($0) }), "examples": [example],
            ]
        }
        return [
            "anyOf": [
                alternative(
                    "Webhook, one event after another", webhook: true, parallel: false,
                    example: ["name": "billing", "url": "https://billing.example/hooks", "kinds": ["deal.won", "client.*"]]),
                alternative(
                    "Webhook, in order for each record", webhook: true, parallel: true,
                    example: ["name": "search", "url": "https://search.example/hooks", "ordered_by": "record", "concurrency": 4]),
                alternative(
                    "Pull consumer", webhook: false, parallel: false, example: ["name": "warehouse", "kind": "pull", "from": "beginning"]),
                alternative(
                    "Pull consumer, in order for each record", webhook: false, parallel: true,
                    example: ["name": "mirror", "kind": "pull", "ordered_by": "record", "concurrency": 1]),
                builtin("Built-in consumer", common, parallel: false),
                builtin("Built-in consumer, in order for each record", common, parallel: true),
            ]
        ]
    }

    /// It is told what its handler is for.
    private static func builtin(_ title: String, _ common: JSONObject, parallel: Bool) -> JSONValue {
        var properties = common
        properties["kinds"] = ["type": ["array", "null"], "maxItems": 0]
        properties["kind"] = nullable(["const": "builtin"])
        properties["handler"] = [
            "type": "string", "enum": .array(BuiltinConsumer.all.map { .string($0.name) }),
            "description": .string(BuiltinConsumer.all.map { "\($0.name): \($0.summary)." }.joined(separator: " ")),
        ]
        properties["ordered_by"] = parallel ? ["const": "record"] : ["enum": ["tenant", "record", .null]]
        properties["concurrency"] = parallel ? range(Consumer.concurrencyRange) : nullable(["const": 1])
        var example: JSONObject = ["name": "offboarding", "handler": .string(BuiltinConsumer.all[0].name)]
        if parallel { (example["ordered_by"], example["concurrency"]) = ("record", 2) }
        return [
            "title": .string(title), "type": "object", "additionalProperties": false, "properties": .object(properties),
            "required": .array((["name", "handler"] + (parallel ? ["ordered_by", "concurrency"] : [])).map { .string($0) }),
            "examples": [.object(example)],
        ]
    }

    private static let port = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    private static let url = "^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:\(port))?([/?][!$-;=?-\\[\\]-~]*)?$"

    // MARK: Parts

    private static let position: JSONValue = ["type": "integer", "format": "int64", "minimum": 0]
    private static let count: JSONValue = ["type": "integer", "minimum": 0]
    private static let time: JSONValue = ["type": "string", "format": "date-time"]
    private static let text: JSONValue = ["type": "string"]

    private static func range(_ range: ClosedRange<Int64>) -> JSONValue {
        ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
    }

    private static func nullable(_ schema: JSONValue) -> JSONValue { ["anyOf": [schema, ["type": "null"]]] }
    private static func choices(_ values: [String]) -> JSONValue { ["type": "string", "enum": .array(values.map { .string($0) })] }
    private static func reference(_ name: String) -> JSONValue { ["$ref": .string("#/components/schemas/\(name)")] }

    private static func object(_ properties: JSONObject, optional: Set<String> = []) -> JSONValue {
        [
            "type": "object", "properties": .object(properties),
            "required": .array(properties.keys.filter { !optional.contains($0) }.map { .string($0) }),
        ]
    }

    private static func reply(_ properties: JSONObject) -> JSONValue { object(properties) }

    private static func list(_ component: String, hasTotal: Bool) -> JSONValue {
        var properties: JSONObject = ["data": ["type": "array", "items": reference(component)]]
        if hasTotal { properties["total"] = count }
        return object(properties)
    }

    // MARK: Replies

    private static func consumer(withSecret: Bool) -> JSONValue {
        var properties: JSONObject = [
            "name": name, "kind": choices(Consumer.Kind.allCases.map(\.rawValue)),
            "status": choices(Consumer.Status.allCases.map(\.rawValue)), "kinds": ["type": "array", "items": text],
            "ordered_by": choices(Consumer.Ordering.allCases.map(\.rawValue)), "max_attempts": range(Consumer.attemptsRange),
            "concurrency": range(Consumer.concurrencyRange), "includes_restricted": ["type": "boolean"], "epoch": position,
            "position": ["type": "integer", "format": "int64", "minimum": -1, "description": "Everything up to here is done."],
            "head": ["type": "integer", "format": "int64", "minimum": 0, "description": "Where the feed ends."],
            "lag": ["type": "integer", "format": "int64", "minimum": 0, "description": "Entries that are not done."],
            "lag_seconds": ["type": "integer", "minimum": 0, "description": "Age of the first of them."],
            "open": ["type": "integer", "minimum": 0, "description": "Deliveries taken up and not done."], "dead": count,
            "failures": ["type": "integer", "minimum": 0, "description": "Failed batches in a row."], "created_at": time,
            "last_attempt_at": ["type": ["string", "null"], "format": "date-time"],
            "last_success_at": ["type": ["string", "null"], "format": "date-time"], "url": text,
            "handler": ["type": "string", "description": "Of a built-in consumer."],
            "rate_per_minute": range(Consumer.rateRange),
            "reason": ["type": "string", "description": "Why it is paused or disabled."], "previous_secret_until": time,
            "blocked_until": time,
        ]
        var optional: Set<String> = ["url", "handler", "rate_per_minute", "reason", "previous_secret_until", "blocked_until"]
        if withSecret {
            properties["secret"] = ["type": "string", "pattern": "^whsec_", "description": "Of a webhook; shown this once."]
            optional.insert("secret")
        }
        return object(properties, optional: optional)
    }

    private static let eventPage: JSONValue = object([
        "data": ["type": "array", "items": reference("FeedEvent"), "maxItems": .integer(PulledEvents.limitMax)],
        "position": ["type": "integer", "format": "int64", "minimum": 0, "description": "To acknowledge once these are dealt with."],
        "epoch": position, "has_more": ["type": "boolean"],
        "fingerprint": [
            "type": ["string", "null"], "description": "Of the entry at that position, to be sent along: it tells a restored server apart.",
        ],
    ])

    private static let attempt: JSONValue = object(
        [
            "position": position, "attempt": ["type": "integer", "minimum": 1], "at": time, "duration_ms": count,
            "result": choices(["delivered", "refused"] + AttemptResult.Failure.allCases.map(\.rawValue)),
            "status": ["type": "integer", "description": "Of the answer, if there was one."], "error": text,
            "request_id": ["type": "string", "description": "Of this attempt: the header `x-request-id`."],
            "event_request_id": ["type": "string", "description": "Of the request that caused the event: `request_id` in its data."],
        ], optional: ["status", "error", "request_id", "event_request_id"])

    private static func deadLetter(isWhole: Bool) -> JSONValue {
        var properties: JSONObject = [
            "position": position, "id": text, "kind": text, "entity": text, "record": ["type": "string", "format": "uuid"], "at": time,
            "attempts": count, "died_at": time, "error": text, "status": ["type": "integer"],
        ]
        if isWhole { properties["event"] = reference("FeedEvent") }
        return object(properties, optional: ["status"])
    }

    /// A CloudEvents 1.0 event: the body of a webhook, and an element of a pulled page.
    private static func event(_ schema: Schema) -> JSONValue {
        let uuid: JSONValue = ["type": "string", "format": "uuid"]
        let data = object(
            [
                "position": position, "epoch": position, "kind": text, "category": choices(schema.categories),
                "level": choices(["major", "minor"]), "entity": text, "record": uuid, "operation": text, "depth": count,
                "anchors": ["type": "array", "items": text], "made_at": time,
                "actor": object(["kind": choices(["member", "portal", "system"]), "member": uuid], optional: ["member"]),
                "change_set": object(["replica": uuid, "counter": ["type": "integer", "minimum": 1]]), "cause": position,
                "request_id": text, "changes": ["type": "object", "additionalProperties": true],
                "restricted_changes": ["type": "object", "additionalProperties": true], "truncated": ["type": "boolean"],
            ], optional: ["change_set", "cause", "request_id", "changes", "restricted_changes", "truncated"])
        return object([
            "specversion": ["const": "1.0"], "id": ["type": "string", "description": "The same in attempts, replays and all consumers."],
            "source": text, "type": text, "subject": text, "time": time,
            "sequence": ["type": "string", "pattern": "^[0-9]{20}$"], "datacontenttype": ["const": "application/json"], "data": data,
        ])
    }
}
