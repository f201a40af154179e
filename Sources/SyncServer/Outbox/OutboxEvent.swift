// A feed entry as consumers get it: a CloudEvents 1.0 event with an id that no other event ever has. Pure.

import SyncProtocol

struct OutboxEvent: Sendable {
    var tenant: Identifier
    var position: FeedPosition
    var fingerprint: String
    var atMilliseconds: Int64
    var actorKind: String
    var actor: Identifier?
    var replica: Identifier?
    var counter: Int64?
    var entity: String
    var record: Identifier
    var operation: String
    var kind: String
    var category: String
    var level: String
    var changes: JSONValue
    /// nil: the consumer does not get them.
    var restrictedChanges: JSONValue?
    var anchors: [String]
    var cause: Int64?
    var depth: Int64
    var operationMilliseconds: Int64
    var requestID: String?
    /// The changes were not even read, for they are too many bytes.
    var leavesOutChanges = false

    /// Bytes of a body; an event with more leaves its changes out and says so.
    static let bytesMax = 256 << 10
    /// Bytes of the changes as the database writes them, with a space after each colon and comma, which are more bytes of a body than it
    /// may have.
    private static let changesBytesMax = bytesMax / 2 * 3

    /// The same at every attempt and for every consumer. Position alone would not do: after a restore it may be used again,
    /// and before anyone has noticed even within an epoch; the fingerprint tells the two apart. No full stop: it separates
    /// the parts of what is signed.
    var id: String { "evt_\(tenant.text)_\(position.epoch)_\(position.position)_\(fingerprint)" }

    /// Sorts like positions, as the CloudEvents extension wants it.
    private var sequence: String {
        let digits = String(position.position)
        return String(repeating: "0", count: max(0, 20 - digits.count)) + digits
    }

    func json(includesChanges: Bool = true) -> JSONValue {
        var data: JSONObject = [
            "position": .integer(position.position), "epoch": .integer(position.epoch), "kind": .string(kind),
            "category": .string(category), "level": .string(level), "entity": .string(entity), "record": .string(record.text),
            "operation": .string(operation), "depth": .integer(depth), "anchors": .array(anchors.map { .string($0) }),
            "made_at": .string(Instant.iso(fromMilliseconds: operationMilliseconds)),
        ]
        var who: JSONObject = ["kind": .string(actorKind)]
        if let actor { who["member"] = .string(actor.text) }
        data["actor"] = .object(who)
        if let replica, let counter { data["change_set"] = ["replica": .string(replica.text), "counter": .integer(counter)] }
        if let cause { data["cause"] = .integer(cause) }
        if let requestID { data["request_id"] = .string(requestID) }
        if includesChanges {
            data["changes"] = changes
            if let restrictedChanges { data["restricted_changes"] = restrictedChanges }
        } else {
            data["truncated"] = true
        }
        return [
            "specversion": "1.0", "id": .string(id), "source": .string("/tenants/\(tenant.text)"), "type": .string(kind),
            "subject": .string("\(entity)/\(record.text)"), "time": .string(Instant.iso(fromMilliseconds: atMilliseconds)),
            "datacontenttype": "application/json", "sequence": .string(sequence), "data": .object(data),
        ]
    }

    func body() -> [UInt8] { capped.bytes }

    /// The event, and its bytes, without its changes if they are too many.
    var capped: (json: JSONValue, bytes: [UInt8]) {
        if !leavesOutChanges {
            let whole = json()
            let bytes = whole.canonicalBytes()
            if bytes.count <= OutboxEvent.bytesMax { return (whole, bytes) }
        }
        let short = json(includesChanges: false)
        return (short, short.canonicalBytes())
    }
}

extension OutboxEvent {
    /// What is read of the changes, which may be long.
    enum ChangesRead { case all, thatFit, none }

    /// In the order `init(row:)` reads them. Changes that are not read are null.
    /// - Parameter feed: Rows of the feed; of changes that fit, with their ``texts(_:includesRestricted:)``.
    static func columns(_ feed: String, includesRestricted: Bool, changes read: ChangesRead) -> String {
        let size = "octet_length(\(feed).changes_text)" + (includesRestricted ? " + octet_length(\(feed).restricted_text)" : "")
        func column(_ name: String, _ text: String) -> String {
            switch read {
            case .all: "\(feed).\(name)"
            case .thatFit: "CASE WHEN \(size) <= \(changesBytesMax) THEN \(feed).\(text) END AS \(name)"
            case .none: "NULL"
            }
        }
        let changes = column("changes", "changes_text")
        let restricted = includesRestricted ? column("restricted_changes", "restricted_text") : "NULL::text AS restricted_changes"
        return """
            \(feed).position, \(feed).epoch, \(feed).fingerprint, \(feed).at, \(feed).actor_kind, \(feed).actor, \(feed).replica, \
            \(feed).counter, \(feed).entity, \(feed).record, \(feed).operation, \(feed).kind, \(feed).category, \(feed).level, \
            \(changes), \(restricted), \(feed).anchors, \(feed).cause, \(feed).depth, \(feed).operation_at, \(feed).request_id
            """
    }

    /// The changes as text, made once: for their length, and to be read.
    private static func texts(_ feed: String, includesRestricted: Bool) -> String {
        "\(feed).changes::text AS changes_text" + (includesRestricted ? ", \(feed).restricted_changes::text AS restricted_text" : "")
    }

    /// The entries at the positions given, in that order; one probe of the feed each, whatever Postgres knows of it.
    static func read(
        at positions: [Int64], tenant: Identifier, includesRestricted: Bool, changes: ChangesRead = .thatFit
    ) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT \(columns("f", includesRestricted: includesRestricted, changes: changes)) FROM unnest($2::bigint[]) WITH ORDINALITY k(position, place) \
            CROSS JOIN LATERAL (SELECT e.*\(changes == .thatFit ? ", " + texts("e", includesRestricted: includesRestricted) : "") \
            FROM tideline.feed e WHERE e.tenant = $1::uuid AND e.position = k.position OFFSET 0) f \
            ORDER BY k.place
            """, [.identifier(tenant), .integerArray(positions)])
    }

    /// Bytes of the changes at the positions given, as the database writes them.
    static func sizes(at positions: [Int64], tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT k.position, f.size FROM unnest($2::bigint[]) k(position) CROSS JOIN LATERAL \
            (SELECT octet_length(e.changes::text) + octet_length(e.restricted_changes::text) AS size FROM tideline.feed e \
            WHERE e.tenant = $1::uuid AND e.position = k.position OFFSET 0) f
            """, [.identifier(tenant), .integerArray(positions)])
    }

    /// How many of the positions, from the first on, have no more than so many bytes together; one at least.
    static func countFitting(_ sizes: PostgresResult, _ positions: [Int64], bytesMax: Int64) -> Int {
        var bytesAt: [Int64: Int64] = [:]
        for row in sizes.rows { if let position = sizes.integer(row, 0) { bytesAt[position] = sizes.integer(row, 1) } }
        var sum: Int64 = 0
        let count = positions.prefix { position in
            sum += bytesAt[position] ?? 0
            return sum <= bytesMax
        }.count
        return max(1, count)
    }

    /// Throws ``JSONError``; nil when the row is not one of the feed.
    init?(_ result: PostgresResult, row: Int, tenant: Identifier) throws {
        guard let position = result.integer(row, 0), let epoch = result.integer(row, 1), let fingerprint = result.text(row, 2),
            let at = result.integer(row, 3), let actorKind = result.text(row, 4), let entity = result.text(row, 8),
            let record = result.identifier(row, 9), let operation = result.text(row, 10), let kind = result.text(row, 11),
            let category = result.text(row, 12), let level = result.text(row, 13),
            let anchors = result.textArray(row, 16), let depth = result.integer(row, 18), let made = result.integer(row, 19)
        else { return nil }
        self.tenant = tenant
        self.position = FeedPosition(epoch: epoch, position: position)
        self.fingerprint = fingerprint
        atMilliseconds = at
        self.actorKind = actorKind
        actor = result.identifier(row, 5)
        replica = result.identifier(row, 6)
        counter = result.integer(row, 7)
        self.entity = entity
        self.record = record
        self.operation = operation
        self.kind = kind
        self.category = category
        self.level = level
        // A feed entry always has some, if only an empty object.
        leavesOutChanges = result.isNull(row, 14)
        changes = try result.withUTF8(row, 14) { try JSONValue(parsing: $0) } ?? .object(JSONObject())
        restrictedChanges = try result.utf8(row, 15).map { try JSONValue(parsing: $0) }
        self.anchors = anchors
        cause = result.integer(row, 17)
        self.depth = depth
        operationMilliseconds = made
        requestID = result.text(row, 20)
    }
}
