// The rows of one pull page: everything whose latest position lies in a window, cut at a position so that a reader can
// continue exactly there. Rows are JSON text from the database and are passed on as bytes.

import SyncProtocol

/// Within one snapshot.
struct PageWindow {
    let tenant: Identifier
    let after: Int64
    let head: Int64
    /// Tombstones up to here are left out.
    let floor: Int64
    /// Entities with anything after `after`.
    let tables: [EntityTable]

    struct Rows {
        var blocks: [(entity: String, columns: [String], rows: [[UInt8]])] = []
        var count = 0
        /// All rows up to this position are on this page or were before.
        var upTo: Int64
        /// Of the feed entry there.
        var fingerprint: String
        var isLast: Bool
    }

    func read(
        limit: Int, bytes bytesMax: Int, versionsAfter: Int64?, hidesRestricted: Bool, on connection: PostgresConnection
    ) throws -> Rows {
        var upTo = head
        var isLast = true
        if !tables.isEmpty {
            let ends = try connection.batch([TenantSession.planForTablesAsTheyAre, end(limit: limit)])[1]
            // The row at the limit, and whether there is one behind it.
            if ends.rowCount == 2, let position = ends.integer(0, 0) {
                upTo = position
                isLast = false
            }
        }
        let selects = tables.map { table in
            var parameters: [PostgresValue] = [.identifier(tenant), .integer(after), .integer(upTo), .integer(floor)]
            if let versionsAfter { parameters.append(.integer(versionsAfter)) }
            return PostgresStatement(
                table.selectPage(hidesRestricted: hidesRestricted, withVersions: versionsAfter != nil), parameters)
        }
        var results = try connection.batch(selects + [FeedStore.fingerprints(at: [upTo], tenant: tenant)])
        let mark = results.removeLast()
        var fingerprint = FeedStore.readFingerprints(mark)[upTo]
        if let cut = cut(results, bytesMax: bytesMax), cut < upTo {
            upTo = cut
            isLast = false
            fingerprint = FeedStore.readFingerprints(try connection.run(FeedStore.fingerprints(at: [upTo], tenant: tenant)))[upTo]
        }
        guard let fingerprint else { throw ErrorReply(.internal, "the feed has no entry at position \(upTo)") }
        var rows = Rows(upTo: upTo, fingerprint: fingerprint, isLast: isLast)
        for (table, result) in zip(tables, results) {
            let (text, count) = try join(result, table, upTo: upTo, versionsAfter: versionsAfter)
            guard count > 0 else { continue }
            rows.count += count
            rows.blocks.append((table.entity.name, RowLayout(of: table.entity, audience: .replica).columns, [text]))
        }
        return rows
    }

    /// The position of the last row that fits, and of the one after it: two rows if there is more than one page.
    private func end(limit: Int) -> PostgresStatement {
        let parts = tables.map {
            """
            (SELECT position FROM \($0.name) WHERE tenant = $1::uuid AND position > $2::bigint AND position <= $3::bigint \
            ORDER BY position LIMIT $4::bigint)
            """
        }
        return PostgresStatement(
            "SELECT position FROM (\(parts.joined(separator: " UNION ALL "))) places ORDER BY position OFFSET $5::bigint LIMIT 2",
            [.identifier(tenant), .integer(after), .integer(head), .integer(Int64(limit) + 1), .integer(Int64(limit) - 1)])
    }

    /// The position at which the page has become too large; nil when it is not.
    private func cut(_ results: [PostgresResult], bytesMax: Int) -> Int64? {
        var total = 0
        for result in results {
            for row in result.rows { total += length(result, row) }
        }
        guard total > bytesMax else { return nil }
        var sizes: [(position: Int64, bytes: Int)] = []
        for result in results {
            for row in result.rows { sizes.append((result.integer(row, 0) ?? 0, length(result, row))) }
        }
        sizes.sort { $0.position < $1.position }
        var sum = 0
        for size in sizes {
            sum += size.bytes
            if sum > bytesMax { return size.position }
        }
        return nil
    }

    private func length(_ result: PostgresResult, _ row: Int) -> Int {
        (result.withUTF8(row, 1) { $0.count } ?? 0) + (result.withUTF8(row, 2) { $0.count } ?? 0)
    }

    /// All rows of one entity up to a position, joined by commas.
    private func join(
        _ result: PostgresResult, _ table: EntityTable, upTo: Int64, versionsAfter: Int64?
    ) throws -> (text: [UInt8], count: Int) {
        var text: [UInt8] = []
        text.reserveCapacity(result.rows.reduce(0) { $0 + length(result, $1) + 6 })
        var count = 0
        for row in result.rows {
            guard let position = result.integer(row, 0), position <= upTo else { break }
            if count > 0 { text.append(0x2C) }
            _ = result.withUTF8(row, 1) { text.append(contentsOf: $0) }
            let news = try versionsAfter.flatMap { after in
                try result.withUTF8(row, 2) { try PageWindow.news(JSONValue(parsing: $0), table.entity, after: after) } ?? nil
            }
            if let news { text.append(contentsOf: news) } else { text.append(contentsOf: [0x6E, 0x75, 0x6C, 0x6C]) }
            text.append(0x5D)
            count += 1
        }
        return (text, count)
    }

    /// The versions that a reader at a position has not heard of; nil when they all are the record's creation.
    private static func news(_ versions: JSONValue, _ entity: EntitySchema, after: Int64) -> [UInt8]? {
        let news = RecordVersions(json: versions, schema: entity).after(after)
        let tags =
            [news.lifecycle].compactMap { $0 } + news.fields.values + news.elements.values.flatMap { $0.values.flatMap { $0 } }
            + news.keys.values.flatMap { $0.values }
        if let created = news.created, tags.allSatisfy({ $0 == created }) { return nil }
        if news.created == nil, tags.isEmpty { return nil }
        return news.json(of: entity).canonicalBytes()
    }
}
