// One page of an entity's records: keyset or offset, exact total where it is free, never a query without bounds.

import SyncProtocol

struct RecordList {
    let context: SyncContext
    let connection: PostgresConnection
    let entity: EntitySchema

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        do {
            return try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
                let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
                let reader = ReaderAccess(principal)
                try reader.requireRead(entity)
                let list = try ListRequest(request.query, entity: entity) { reader.hides($0) }
                return try page(list, reader: reader, tenant: token.tenant)
            }
        } catch let error as PostgresError where error.kind == .canceled {
            throw ErrorReply(
                .unavailable,
                "the database needs more than \(context.workLimits.list) ms for this list; narrow it with a filter on an indexed field",
                details: ["retry_after": 60])
        }
    }

    private func page(_ list: ListRequest, reader: ReaderAccess, tenant: Identifier) throws -> HTTPResponse {
        guard let table = context.tables[entity.name] else { throw RecordWrite.notFound(entity) }
        let fingerprint = list.fingerprint(of: entity)
        let place = try list.cursor.map { try ListPlace($0, context.cursorSeal, tenant: tenant, fingerprint: fingerprint) }
        var query = ListQuery(table: table, list: list, reader: reader, tenant: tenant)
        let opening = try connection.batch(
            [
                PostgresStatement("SELECT set_config('statement_timeout', $1, true)", [.integer(context.workLimits.list)]),
                TenantSession.planForTablesAsTheyAre, TenantHead.read(tenant),
                PostgresStatement(
                    "SELECT live FROM tideline.entity_head WHERE tenant = $1::uuid AND entity = $2",
                    [.identifier(tenant), .text(entity.name)]),
            ] + query.lookUps)
        guard let head = TenantHead(opening[2]) else { throw Authentication.unauthorized }
        query.narrow(by: Array(opening.dropFirst(4)))
        let live = opening[3].isEmpty ? 0 : opening[3].integer(0, 0) ?? 0
        let countsNothing = list.isUnfiltered && reader.seesEveryRow(of: entity)
        var counted: Int64 = 0
        if !countsNothing {
            counted = try connection.batch([query.count])[0].integer(0, 0) ?? 0
            query.setCourse(counted: counted, live: live)
        }
        let page = query.page(after: place)
        let capped = PostgresStatement(
            CappedRows.sql(page.sql, counting: ["document"], upTo: String(ListRequest.pageBytesMax)), page.parameters)
        let rows = try connection.batch([query.planning, capped])[1]
        let count = min(rows.rowCount, list.limit)
        let hasMore = rows.rowCount > list.limit || rows.byteCount(of: 0) >= ListRequest.pageBytesMax
        var writer = JSONWriter(reservingCapacity: 200 + count * 600)
        writer.beginObject()
        writer.key("data")
        writer.beginArray()
        for row in 0..<count { if let text = rows.utf8(row, 0) { writer.raw(text) } }
        writer.endArray()
        writer.key("total")
        if countsNothing {
            writer.integer(live)
        } else {
            // A page can show more than was counted, if that was among some only.
            let known = max(counted, count == 0 ? 0 : Int64(list.offset + count + (hasMore ? 1 : 0)))
            writer.integer(min(query.countsAmongSome ? known : counted, Int64(ListRequest.countedMax)))
            if counted > ListRequest.countedMax || query.countsAmongSome {
                writer.key("total_is_lower_bound")
                writer.bool(true)
            }
        }
        writer.key("has_more")
        writer.bool(hasMore)
        writer.key("next_cursor")
        if hasMore, let id = rows.identifier(count - 1, 1) {
            let value = try rows.withUTF8(count - 1, 2) { try JSONValue(parsing: $0) } ?? .null
            writer.string(ListPlace(value: value, id: id).sealed(context.cursorSeal, tenant: tenant, fingerprint: fingerprint))
        } else {
            writer.null()
        }
        writer.key("as_of")
        writer.string(EntityTag.place(head.position, for: reader))
        writer.endObject()
        return RestAnswer.json(200, writer.bytes, etag: nil)
    }
}
