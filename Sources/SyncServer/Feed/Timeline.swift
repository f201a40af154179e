// `GET /v1/activity`: the feed for people, newest first, a page at a time.

import SyncProtocol

struct Timeline {
    let context: SyncContext
    let connection: PostgresConnection

    /// Entries one request looks at. A filter that matches less of them than a page holds gets a short page and a cursor.
    static let scannedMax: Int64 = 20_000
    private static let scannedFirst: Int64 = 500

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        do {
            return try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
                let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
                let wanted = try TimelineRequest(request.query, schema: context.schema)
                return try page(wanted, reader: ReaderAccess(principal), tenant: token.tenant)
            }
        } catch let error as PostgresError where error.kind == .canceled {
            throw ErrorReply(
                .unavailable,
                "the database needs more than \(context.workLimits.list) ms for this page of the timeline; narrow it to a record or a time",
                details: ["retry_after": 60])
        }
    }

    private func page(_ wanted: TimelineRequest, reader: ReaderAccess, tenant: Identifier) throws -> HTTPResponse {
        let seal = context.cursorSeal
        let before = try wanted.cursor.map { try TimelinePlace($0, seal, tenant: tenant, fingerprint: wanted.fingerprint).position }
        let opening = try connection.batch([
            PostgresStatement("SELECT set_config('statement_timeout', $1, true)", [.integer(context.workLimits.list)]),
            TenantSession.planForTablesAsTheyAre, TenantHead.read(tenant), bound(wanted.since, tenant, isLower: true),
            bound(wanted.until, tenant, isLower: false),
        ])
        guard let head = TenantHead(opening[2]) else { throw Authentication.unauthorized }
        let lowest = wanted.since == nil ? 0 : opening[3].isEmpty ? Int64.max : opening[3].integer(0, 0) ?? 0
        let highest = wanted.until == nil ? Int64.max : opening[4].isEmpty ? 0 : opening[4].integer(0, 0) ?? 0
        let range = TimelineQuery.Range(after: lowest - 1, before: min(before ?? .max, highest == .max ? .max : highest + 1))
        let query = TimelineQuery(wanted: wanted, reader: reader, schema: context.schema, tenant: tenant, range: range)
        // Most pages are full after a short walk; one that is not is walked again to the end of what a request may look at.
        var scanned = Timeline.scannedFirst
        var rows = try connection.run(query.page(scanning: scanned))
        if rows.rowCount <= wanted.limit, !TimelineQuery.isCut(rows), try !connection.run(query.end(scanning: scanned)).isEmpty {
            scanned = Timeline.scannedMax
            rows = try connection.run(query.page(scanning: scanned))
        }
        var entries = try rows.rows.prefix(wanted.limit).map { try FeedRow.entry(rows, $0) }
        if reader.hidesRestricted { for index in entries.indices { entries[index].restrictedChanges = JSONObject() } }
        var next = rows.rowCount > wanted.limit || TimelineQuery.isCut(rows) ? entries.last?.position.position : nil
        if next == nil {
            // Where looking ended, if there was more to look at.
            let end = try connection.run(query.end(scanning: scanned))
            if let position = end.isEmpty ? nil : end.integer(0, 0) { next = position }
        }
        let names = try RecordNames.load(
            Set(entries.flatMap { ActivityText.namedRecords($0, schema: context.schema) }), tenant: tenant, tables: context.tables,
            reader: reader, on: connection)
        let data = entries.map { document($0, names) }
        var reply: JSONObject = [
            "data": .array(data), "has_more": .bool(next != nil), "next_cursor": .null,
            "as_of": .string(EntityTag.place(head.position, for: reader)),
        ]
        if let next {
            reply["next_cursor"] = .string(TimelinePlace(position: next).sealed(seal, tenant: tenant, fingerprint: wanted.fingerprint))
        }
        return RestAnswer.json(200, JSONValue.object(reply).canonicalBytes(), etag: nil)
    }

    /// The position at a time; times of entries rise with positions.
    private func bound(_ time: Int64?, _ tenant: Identifier, isLower: Bool) -> PostgresStatement {
        let (operation, direction) = isLower ? (">=", "ASC") : ("<=", "DESC")
        return PostgresStatement(
            """
            SELECT position FROM tideline.feed WHERE tenant = $1::uuid AND at \(operation) $2::bigint \
            ORDER BY at \(direction), position \(direction) LIMIT 1
            """,
            [.identifier(tenant), .integer(time ?? 0)])
    }

    private func document(_ entry: ActivityEntry, _ names: RecordNames) -> JSONValue {
        var actor: JSONObject = ["kind": .string(entry.actorKind.rawValue), "name": .string(ActivityText.actor(entry, name: names.title))]
        actor["member"] = .null
        if let member = entry.actor { actor["member"] = .string(member.text) }
        var object: JSONObject = [
            "event": .string(entry.eventID), "position": .integer(entry.position.position), "epoch": .integer(entry.position.epoch),
            "at": .integer(entry.atMilliseconds), "operation_at": .integer(entry.operationMilliseconds), "actor": .object(actor),
            "entity": .string(entry.key.entity), "record": .string(entry.key.id.text),
            "title": .string(ActivityText.title(entry, schema: context.schema, name: names.title)),
            "operation": .string(entry.operation.rawValue), "kind": .string(entry.kind), "category": .string(entry.category),
            "level": .string(entry.level), "icon": .string(context.schema.icon(ofKind: entry.kind)),
            "changes": .object(entry.allChanges), "anchors": .array(entry.anchors.map { .string($0) }), "cause": .null,
            "text": .string(ActivityText.line(entry, schema: context.schema, name: names.title, currency: names.currency)),
        ]
        if let cause = entry.cause { object["cause"] = .integer(cause) }
        return .object(object)
    }
}

/// The entry before which a page begins.
private struct TimelinePlace {
    var position: Int64

    private static let format = "activity1"

    init(position: Int64) { self.position = position }

    /// Throws `invalid_cursor`.
    init(_ text: String, _ seal: CursorSeal, tenant: Identifier, fingerprint: String) throws(ErrorReply) {
        let bytes = try seal.open(text)
        guard let parts = (try? JSONValue(parsing: bytes))?.arrayValue, parts.count == 4, parts[0] == .string(TimelinePlace.format),
            parts[1] == .string(tenant.text), let position = parts[3].integerValue
        else { throw seal.invalid }
        guard parts[2] == .string(fingerprint) else {
            throw ErrorReply(
                .invalidCursor, "this cursor belongs to another list: keep the filters as they were", details: ["parameter": "cursor"])
        }
        self.position = position
    }

    func sealed(_ seal: CursorSeal, tenant: Identifier, fingerprint: String) -> String {
        let parts: JSONValue = [.string(TimelinePlace.format), .string(tenant.text), .string(fingerprint), .integer(position)]
        return seal.seal(parts.canonicalBytes())
    }
}
