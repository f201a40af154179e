// The paths under `/v1/consumers` in OpenAPI: who reads the feed, what could not be delivered, pulled events.

import SyncProtocol

struct ConsumerPaths {
    let method: String
    let path: String
    let summary: String
    /// The component that a success answers with.
    let reply: String
    var body: JSONValue?
    var isBodyRequired = true

    private init(_ method: String, _ path: String, _ summary: String, reply: String, body: JSONValue? = nil, isBodyRequired: Bool = true) {
        self.method = method
        self.path = "/v1/consumers" + path
        self.summary = summary
        self.reply = reply
        self.body = body
        self.isBodyRequired = isBodyRequired
    }

    static let all: [ConsumerPaths] = [
        .init("GET", "", "List consumers", reply: "ConsumerList"),
        .init(
            "POST", "", "Register a consumer; the secret of a webhook is shown once", reply: "ConsumerCreated",
            body: ["$ref": "#/components/schemas/ConsumerCreate"]),
        .init("GET", "/{name}", "One consumer", reply: "Consumer"),
        .init("DELETE", "/{name}", "Remove a consumer", reply: "ConsumerRemoved"),
        .init(
            "POST", "/{name}/pause", "Stop delivering for a while", reply: "Consumer", body: ConsumerSchemas.pause, isBodyRequired: false),
        .init("POST", "/{name}/resume", "Go on delivering", reply: "Consumer"),
        .init(
            "POST", "/{name}/replay", "Deliver again, from the beginning, a position or a time", reply: "Consumer",
            body: ConsumerSchemas.replay),
        .init(
            "POST", "/{name}/rotate-secret", "Make a new signing secret; the old one signs along for a day", reply: "ConsumerCreated"),
        .init("GET", "/{name}/attempts", "The newest attempts", reply: "DeliveryAttemptList"),
        .init("GET", "/{name}/events", "Events to pull, oldest first", reply: "EventPage"),
        .init(
            "POST", "/{name}/ack", "Say up to where pulled events were dealt with", reply: "Acknowledged",
            body: ConsumerSchemas.acknowledgement),
        .init("GET", "/{name}/dead", "Dead letters", reply: "DeadLetterList"),
        .init("POST", "/{name}/dead/replay", "Deliver all dead letters again", reply: "Replayed"),
        .init("POST", "/{name}/dead/discard", "Forget all dead letters", reply: "Discarded"),
        .init("GET", "/{name}/dead/{position}", "One dead letter, with its event", reply: "DeadLetterWhole"),
        .init("POST", "/{name}/dead/{position}/replay", "Deliver one dead letter again", reply: "Replayed"),
        .init("POST", "/{name}/dead/{position}/discard", "Forget one dead letter", reply: "Discarded"),
    ]

    private var parts: [String] { path.split(separator: "/").map(String.init) }
    private var id: String {
        let id = parts.dropFirst().map { $0.hasPrefix("{") ? "one" : $0 }.joined(separator: "_")
        return "\(method.lowercased())_\(id)"
    }

    private var isNew: Bool { method == "POST" && parts.last == "consumers" }

    /// Query parameters by the last part of the path.
    private static let parameters: [String: [(name: String, schema: JSONValue)]] = [
        "attempts": [("limit", ["type": "integer", "minimum": 1, "maximum": 1_000])],
        "events": [
            ("limit", ["type": "integer", "minimum": 1, "maximum": .integer(PulledEvents.limitMax)]),
            ("wait", ["type": "integer", "minimum": 0, "maximum": .integer(Int64(PulledEvents.waitMax))]),
        ],
        "dead": [
            ("limit", ["type": "integer", "minimum": 1, "maximum": .integer(DeadLetters.pageMax)]),
            ("after", ["type": "integer", "format": "int64", "minimum": 0]),
        ],
    ]

    var operation: JSONValue {
        var success: JSONObject = [
            "description": "Done",
            "content": ["application/json": ["schema": ["$ref": .string("#/components/schemas/\(reply)")]]],
        ]
        if isNew { success["links"] = .object(ConsumerPaths.linksToNew) }
        if parts.last == "events" { success["links"] = .object(ConsumerPaths.linksToAcknowledge) }
        var responses: JSONObject = [isNew ? "201" : "200": .object(success)]
        OpenAPIDocument.add([.badRequest, .unauthorized, .forbidden, .notFound, .conflict], to: &responses)
        var given: [JSONValue] = parts.filter { $0.hasPrefix("{") }.map { part in
            let name = String(part.dropFirst().dropLast())
            let schema = name == "position" ? ["type": "integer", "format": "int64", "minimum": 0] : ConsumerSchemas.name
            return ["name": .string(name), "in": "path", "required": true, "schema": schema]
        }
        if method == "GET", let last = parts.last {
            for (name, schema) in ConsumerPaths.parameters[last] ?? [] {
                given.append(["name": .string(name), "in": "query", "schema": schema])
            }
        }
        var operation: JSONObject = [
            "operationId": .string(id), "summary": .string(summary), "tags": ["consumers"], "responses": .object(responses),
            "security": [["token": []]],
        ]
        if !given.isEmpty { operation["parameters"] = .array(given) }
        if let body {
            operation["requestBody"] = ["required": .bool(isBodyRequired), "content": ["application/json": ["schema": body]]]
        }
        return .object(operation)
    }

    // MARK: Links

    /// From a new consumer to everything that names it.
    private static var linksToNew: JSONObject {
        let named = all.filter { $0.path.contains("{name}") && !$0.path.contains("{position}") }
        return JSONObject(
            named.map {
                ($0.id, ["operationId": .string($0.id), "parameters": ["name": "$response.body#/name"]] as JSONValue)
            })
    }

    /// From pulled events to the acknowledgement of the page.
    private static let linksToAcknowledge: JSONObject = [
        "acknowledge": [
            "operationId": "post_consumers_one_ack", "parameters": ["name": "$request.path.name"],
            "requestBody": [
                "position": "$response.body#/position", "epoch": "$response.body#/epoch", "fingerprint": "$response.body#/fingerprint",
            ],
        ]
    ]
}
