// The feed as consumers read it, behind either store: what a page holds, and a built-in consumer for tests.

import SyncProtocol

@testable import SyncServer

/// What `GET /v1/consumers/{name}/events` answers.
public struct ConsumerPage: Sendable, Equatable {
    public var events: [ConsumerEvent]
    /// To be acknowledged when the events are done with; it may lie beyond the last of them.
    public var position: Int64
    public var epoch: Int64
    /// Of the entry there; nil when there is none.
    public var fingerprint: String?
    public var hasMore: Bool
}

public struct ConsumerEvent: Sendable, Equatable {
    /// The same every time the event is told.
    public var id: String
    public var position: FeedPosition
    public var kind: String
    /// Everything that it says besides its id and the request that it came with.
    public var body: [UInt8]

    /// nil for what no server tells.
    init?(_ json: JSONValue) {
        guard var event = json.objectValue, let id = event["id"]?.stringValue, let kind = event["type"]?.stringValue,
            var data = event["data"]?.objectValue, let position = data["position"]?.integerValue, let epoch = data["epoch"]?.integerValue
        else { return nil }
        event["id"] = nil
        data["request_id"] = nil
        event["data"] = .object(data)
        (self.id, self.kind, self.position) = (id, kind, FeedPosition(epoch: epoch, position: position))
        body = JSONValue.object(event).canonicalBytes()
    }

    /// What must be told of an entry of the feed. nil: nothing, it is of what never leaves the server.
    public init?(of entry: ActivityEntry, tenant: Identifier, schema: Schema) {
        if schema.entity(entry.key.entity)?.access == .secret { return nil }
        self.init(OutboxEvent(entry, tenant: tenant, fingerprint: "").capped.json)
    }
}

extension OutboxEvent {
    init(_ entry: ActivityEntry, tenant: Identifier, fingerprint: String, includesRestricted: Bool = false) {
        self.init(
            tenant: tenant, position: entry.position, fingerprint: fingerprint, atMilliseconds: entry.atMilliseconds,
            actorKind: entry.actorKind.rawValue, actor: entry.actor, replica: entry.dot?.replica, counter: entry.dot?.counter,
            entity: entry.key.entity, record: entry.key.id, operation: entry.operation.rawValue, kind: entry.kind,
            category: entry.category, level: entry.level, changes: .object(entry.changes),
            restrictedChanges: includesRestricted ? .object(entry.restrictedChanges) : nil, anchors: entry.anchors, cause: entry.cause,
            depth: Int64(entry.depth), operationMilliseconds: entry.operationMilliseconds, requestID: nil)
    }
}

/// Where the process of a built-in consumer dies: at a step of the entry of that number, counted from 1 in one look.
public struct BuiltinDeath: Sendable {
    public enum Step: String, Sendable, CaseIterable { case taken, written, settling, committed }

    public var entry: Int
    public var step: Step

    public init(entry: Int, step: Step) {
        self.entry = entry
        self.step = step
    }
}

/// A built-in consumer that both stores know besides those of the product: it keeps the number of entries about clients in the label of
/// a record that nobody else writes. Done twice or left out, it shows.
public enum TallyingConsumer {
    public static let handler = "tally_clients"
    /// The custom field whose label is the number.
    public static let record = Identifier(high: 0x7A11_0000_0000_7000, low: 0x8000_0000_0000_0001)
    public static let creation = Change(
        "custom_field", record, .create(fields: ["entity": "deal", "key": "tally", "label": "0", "kind": "text"]))

    public static func counts(_ kind: String) -> Bool { kind.hasPrefix("client.") }

    static let consumer = BuiltinConsumer(handler, summary: "counts what happens to clients", kinds: ["client.*"]) { _, workspace in
        guard let found = workspace.record("custom_field", record), let count = Int64(found.text("label") ?? "") else { return [] }
        return [Change("custom_field", record, .patch(fields: ["label": .string(String(count + 1))], was: JSONObject()))]
    }

    static let all = BuiltinConsumer.all + [consumer]
}
