// `GET /v1/sync/activity`: the feed in position order for a replica's own copy of the timeline (protocol §7.9).

import SyncProtocol

struct Activity {
    let context: SyncContext
    let connection: PostgresConnection

    private static let pageBytes = 4 << 20
    /// Entries that a page looks at.
    private static let scanMax: Int64 = 20_000

    func run(_ request: ActivityRequest, token: AccessToken) throws -> [UInt8] {
        try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            let tenant = token.tenant
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            _ = try Authentication.replica(of: principal)
            guard let head = TenantHead(try connection.run(TenantHead.read(tenant))) else { throw Authentication.unauthorized }
            let after = try request.after ?? start(request, tenant: tenant, on: connection)
            let reader = ReaderAccess(principal)
            // Its copy of the timeline is thrown away when a pull tells of another role. A role that was another one only in between
            // no pull will tell of, so whoever reads with it gets nothing that would stay.
            if let cursor = try request.cursor.map({ try context.cursorSeal.open($0, tenant: tenant) }) {
                try cursor.requireRole(reader.role)
            }
            var parameters: [PostgresValue] = [
                .identifier(tenant), .integer(after), .integer(Self.scanMax), .integer(Int64(request.limit) + 1),
                .bool(reader.hidesRestricted),
            ]
            let conditions = reader.feedConditions(context.schema, table: "f") { value in
                parameters.append(value)
                return "$\(parameters.count)"
            }
            let results = try connection.batch([
                PostgresStatement(
                    CappedRows.sql(
                        """
                        SELECT position, row_to_json(e)::text AS row FROM (\
                        SELECT position, epoch, at, actor_kind, actor, replica, counter, entity, record, operation, kind, category, level, \
                        changes, CASE WHEN $5::boolean THEN '{}'::jsonb ELSE restricted_changes END AS restricted_changes, anchors, \
                        scope_keys, cause, depth, operation_at FROM (SELECT * FROM tideline.feed WHERE tenant = $1::uuid \
                        AND position > $2::bigint ORDER BY position LIMIT $3::bigint) f WHERE \(conditions.joined(separator: " AND ")) \
                        ORDER BY position LIMIT $4::bigint) e
                        """, upTo: String(Self.pageBytes)), parameters),
                PostgresStatement(
                    """
                    SELECT position FROM tideline.feed WHERE tenant = $1::uuid AND position > $2::bigint \
                    ORDER BY position OFFSET $3::bigint LIMIT 1
                    """, [.identifier(tenant), .integer(after), .integer(Self.scanMax - 1)]),
            ])
            let found = results[0]
            // Where it was looked through to, if there is more: a page may be short, but costs no more than this.
            let scanned = results[1].isEmpty ? nil : results[1].integer(0, 0)
            var entries: [[UInt8]] = []
            var next = after
            var bytes = 0
            var isCut = found.rowCount > request.limit || found.byteCount(of: 1) >= Self.pageBytes
            for row in found.rows.prefix(request.limit) {
                guard let position = found.integer(row, 0), let entry = found.utf8(row, 1) else { continue }
                bytes += entry.count
                if bytes > Self.pageBytes, !entries.isEmpty {
                    isCut = true
                    break
                }
                entries.append(entry)
                next = position
            }
            // What lies behind the last visible entry need not be looked through again.
            if !isCut { next = max(next, scanned ?? head.position.position) }
            return ActivityPage.write(entries: entries, next: next, hasMore: isCut || next < head.position.position)
        }
    }

    /// The position before the first of the newest entries that are wanted.
    private func start(_ request: ActivityRequest, tenant: Identifier, on connection: PostgresConnection) throws -> Int64 {
        let found = try connection.run(
            """
            SELECT min(position) - 1 FROM (SELECT position, at FROM tideline.feed WHERE tenant = $1::uuid ORDER BY position DESC \
            LIMIT $2::bigint) n WHERE at >= $3::bigint
            """, .identifier(tenant), .integer(request.newest ?? 1_000_000), .integer(request.sinceMilliseconds ?? 0))
        if let start = found.isEmpty ? nil : found.integer(0, 0) { return start }
        return TenantHead(try connection.run(TenantHead.read(tenant)))?.position.position ?? 0
    }
}
