// The paths under `/v1/consumers` in OpenAPI: who reads the feed, what could not be delivered, pulled events.

import SyncProtocol

enum ConsumerPaths {
    /// Method, path and what it does; the shapes of bodies are open, what is wrong in one is said by the answer.
    static let all: [(method: String, path: String, summary: String)] = [
        ("GET", "/v1/consumers", "List consumers"),
        ("POST", "/v1/consumers", "Register a consumer; the secret of a webhook is shown once"),
        ("GET", "/v1/consumers/{name}", "One consumer"),
        ("DELETE", "/v1/consumers/{name}", "Remove a consumer"),
        ("POST", "/v1/consumers/{name}/pause", "Stop delivering for a while"),
        ("POST", "/v1/consumers/{name}/resume", "Go on delivering"),
        ("POST", "/v1/consumers/{name}/replay", "Deliver again, from the beginning, a position or a time"),
        ("POST", "/v1/consumers/{name}/rotate-secret", "Make a new signing secret; the old one signs along for a while"),
        ("GET", "/v1/consumers/{name}/attempts", "The newest attempts"),
        ("GET", "/v1/consumers/{name}/events", "Events to pull, oldest first"),
        ("POST", "/v1/consumers/{name}/ack", "Say up to where pulled events were dealt with"),
        ("GET", "/v1/consumers/{name}/dead", "Dead letters"),
        ("POST", "/v1/consumers/{name}/dead/replay", "Deliver all dead letters again"),
        ("POST", "/v1/consumers/{name}/dead/discard", "Forget all dead letters"),
        ("GET", "/v1/consumers/{name}/dead/{position}", "One dead letter"),
        ("POST", "/v1/consumers/{name}/dead/{position}/replay", "Deliver one dead letter again"),
        ("POST", "/v1/consumers/{name}/dead/{position}/discard", "Forget one dead letter"),
    ]

    /// Query parameters by the last part of the path.
    private static let parameters: [String: [(name: String, schema: JSONValue)]] = [
        "attempts": [("limit", ["type": "integer", "minimum": 1, "maximum": 1_000])],
        "events": [
            ("limit", ["type": "integer", "minimum": 1, "maximum": .integer(PulledEvents.limitMax)]),
            ("wait", ["type": "integer", "minimum": 0, "maximum": .integer(Int64(PulledEvents.waitMax))]),
        ],
        "dead": [
            ("limit", ["type": "integer", "minimum": 1, "maximum": .integer(DeadLetters.pageMax)]),
            ("after", ["type": "integer", "minimum": 0]),
        ],
    ]

    static func operation(_ method: String, _ path: String, _ summary: String) -> JSONValue {
        let parts = path.split(separator: "/").map(String.init)
        let isNew = method == "POST" && parts.last == "consumers"
        var responses: JSONObject = [
            isNew ? "201" : "200": [
                "description": "Done", "content": ["application/json": ["schema": ["type": "object"]]],
            ]
        ]
        OpenAPIDocument.add([.badRequest, .unauthorized, .forbidden, .notFound, .conflict], to: &responses)
        var given: [JSONValue] = parts.filter { $0.hasPrefix("{") }.map { part in
            let name = String(part.dropFirst().dropLast())
            let schema: JSONValue = name == "position" ? ["type": "integer", "minimum": 0] : ["type": "string", "minLength": 1]
            return ["name": .string(name), "in": "path", "required": true, "schema": schema]
        }
        if method == "GET", let last = parts.last {
            for (name, schema) in parameters[last] ?? [] { given.append(["name": .string(name), "in": "query", "schema": schema]) }
        }
        let id = parts.dropFirst().map { $0.hasPrefix("{") ? "one" : $0 }.joined(separator: "_")
        var operation: JSONObject = [
            "operationId": .string("\(method.lowercased())_\(id)"), "summary": .string(summary), "tags": ["consumers"],
            "responses": .object(responses), "security": [["token": []]],
        ]
        if !given.isEmpty { operation["parameters"] = .array(given) }
        if method == "POST", isNew || ["replay", "ack", "pause"].contains(parts.last), !path.contains("/dead/") {
            operation["requestBody"] = [
                "required": .bool(parts.last != "pause"), "content": ["application/json": ["schema": ["type": "object"]]],
            ]
        }
        return .object(operation)
    }
}
