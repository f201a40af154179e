// The rows of one pull page: everything whose latest position lies in a window, cut at a position so that a reader can
// continue exactly there. Rows are JSON text from the database and are passed on as bytes.

import SyncProtocol

/// Within one snapshot.
struct PageWindow {
    let tenant: Identifier
    let reader: ReaderAccess
    let after: Int64
    let head: Int64
    /// Tombstones up to here are left out, and so is what left the reader: it never held them.
    let floor: Int64
    /// Entities with anything after `after` that the reader may read.
    let tables: [EntityTable]
    /// Rows of one entity that a page looks at to find those that the reader sees: a page may be short, even empty, but it never
    /// costs more than this, and the next one goes on behind it.
    var scanMax: Int64 = 20_000

    struct Rows {
        var blocks: [(entity: String, columns: [String], rows: [[UInt8]])] = []
        /// Records that the reader held, perhaps, and does not see any more.
        var evictions: [RecordKey] = []
        var count = 0
        /// All rows up to this position are on this page or were before.
        var upTo: Int64
        /// Of the feed entry there.
        var fingerprint: String
        /// Of the entry at head.
        var headFingerprint: String
        var isLast: Bool
    }

    /// Those of which the reader sees some rows only.
    private var filtered: [EntityTable] { tables.filter { reader.seesSomeRows(of: $0.entity) } }

    /// What was on no page of this reader so far and has left it since.
    private var exitsAfter: Int64 { max(after, floor) }

    func read(
        limit: Int, bytes bytesMax: Int, versionsAfter: Int64?, on connection: PostgresConnection
    ) throws -> Rows {
        let filtered = filtered
        var (upTo, isLast) = try end(limit: limit, filtered: filtered, on: connection)
        let selects = tables.map { table in
            var parameters: [PostgresValue] = [.identifier(tenant), .integer(after), .integer(upTo), .integer(floor)]
            if let versionsAfter { parameters.append(.integer(versionsAfter)) }
            if reader.seesSomeRows(of: table.entity) { parameters.append(reader.parameter) }
            return PostgresStatement(table.selectPage(for: reader, withVersions: versionsAfter != nil, bytes: bytesMax), parameters)
        }
        let exits = filtered.compactMap { ScopeExits.gone(from: $0, reader: reader, tenant: tenant, after: exitsAfter, upTo: upTo) }
        var results = try connection.batch(selects + exits + [FeedStore.fingerprints(at: [upTo, head], tenant: tenant)])
        let mark = FeedStore.readFingerprints(results.removeLast())
        let gone = results.suffix(exits.count)
        results.removeLast(exits.count)
        var fingerprint = mark[upTo]
        if let cut = cut(results, bytesMax: bytesMax), cut < upTo {
            upTo = cut
            isLast = false
            fingerprint = FeedStore.readFingerprints(try connection.run(FeedStore.fingerprints(at: [upTo], tenant: tenant)))[upTo]
        }
        guard let fingerprint, let headFingerprint = mark[head] else {
            throw ErrorReply(.internal, "the feed has no entry at position \(upTo) or \(head)")
        }
        var rows = Rows(upTo: upTo, fingerprint: fingerprint, headFingerprint: headFingerprint, isLast: isLast)
        for (table, result) in zip(tables, results) {
            let (text, count) = try join(result, table, upTo: upTo, versionsAfter: versionsAfter)
            guard count > 0 else { continue }
            rows.count += count
            rows.blocks.append((table.entity.name, RowLayout(of: table.entity, audience: .replica).columns, [text]))
        }
        rows.evictions = evictions(filtered, gone, upTo: upTo)
        rows.count += rows.evictions.count
        return rows
    }

    /// In the order in which they left.
    private func evictions(_ tables: [EntityTable], _ results: ArraySlice<PostgresResult>, upTo: Int64) -> [RecordKey] {
        var evictions: [(position: Int64, key: RecordKey)] = []
        for (table, result) in zip(tables, results) {
            for row in result.rows {
                guard let position = result.integer(row, 0), let id = result.identifier(row, 1), position <= upTo else { continue }
                evictions.append((position, RecordKey(table.entity.name, id)))
            }
        }
        return evictions.sorted { $0.position < $1.position }.map(\.key)
    }

    // MARK: Where it ends

    private func end(
        limit: Int, filtered: [EntityTable], on connection: PostgresConnection
    ) throws -> (upTo: Int64, isLast: Bool) {
        guard !tables.isEmpty else { return (head, true) }
        var last = head
        if !filtered.isEmpty {
            // Before anything is looked at: whatever plan the page's queries get, they have this many rows to go through.
            let scanned = try connection.batch([TenantSession.planForTablesAsTheyAre, scanned(filtered)])[1]
            last = scanned.integer(0, 0) ?? head
        }
        let ends = try connection.batch([TenantSession.planForTablesAsTheyAre, places(limit: limit, upTo: last, filtered: filtered)])[1]
        // The row at the limit, and whether there is one behind it.
        if ends.rowCount == 2, let position = ends.integer(0, 0) { return (position, false) }
        return (last, last == head)
    }

    /// The position of the last row that fits, and of the one after it: two rows if there is more than one page.
    private func places(limit: Int, upTo last: Int64, filtered: [EntityTable]) -> PostgresStatement {
        var parameters: [PostgresValue] = [
            .identifier(tenant), .integer(after), .integer(last), .integer(Int64(limit) + 1), .integer(Int64(limit) - 1),
        ]
        func add(_ value: PostgresValue) -> String {
            parameters.append(value)
            return "$\(parameters.count)"
        }
        let own = filtered.isEmpty ? "" : add(reader.parameter)
        var parts = tables.map { table in
            let condition = reader.rowCondition(of: table.entity, table: "t", parameter: own)
            return """
                (SELECT position FROM \(table.name) t WHERE tenant = $1::uuid AND position > $2::bigint AND position <= $3::bigint\
                \(condition.map { " AND \($0)" } ?? "") ORDER BY position LIMIT $4::bigint)
                """
        }
        var distinct = ""
        if !filtered.isEmpty {
            parts += ScopeExits.positions(
                tenant: "$1", circles: reader.circles.map { add(.text($0)) }, after: add(.integer(exitsAfter)), upTo: "$3",
                entities: add(.textArray(filtered.map(\.entity.name))), limit: "$4")
            // A record may leave two circles at once.
            distinct = "DISTINCT "
        }
        return PostgresStatement(
            """
            SELECT \(distinct)position FROM (\(parts.joined(separator: " UNION ALL "))) places \
            ORDER BY position OFFSET $5::bigint LIMIT 2
            """, parameters)
    }

    /// The nearest position up to which one of the entities has as many rows as a page looks at; null where none has.
    private func scanned(_ tables: [EntityTable]) -> PostgresStatement {
        let parts = tables.map { table in
            """
            (SELECT position FROM \(table.name) WHERE tenant = $1::uuid AND position > $2::bigint AND position <= $3::bigint \
            ORDER BY position OFFSET $4::bigint LIMIT 1)
            """
        }
        return PostgresStatement(
            "SELECT min(position) FROM (\(parts.joined(separator: " UNION ALL "))) bounds",
            [.identifier(tenant), .integer(after), .integer(head), .integer(scanMax - 1)])
    }

    // MARK: Rows

    /// The position at which the page has become too large; nil when it is not. Of an entity that was cut itself, nothing behind that
    /// is known.
    private func cut(_ results: [PostgresResult], bytesMax: Int) -> Int64? {
        var total = 0
        for result in results {
            for row in result.rows { total += length(result, row) }
        }
        guard total >= bytesMax else { return nil }
        var sizes: [(position: Int64, bytes: Int)] = []
        for result in results {
            for row in result.rows { sizes.append((result.integer(row, 0) ?? 0, length(result, row))) }
        }
        sizes.sort { $0.position < $1.position }
        var sum = 0
        for size in sizes {
            sum += size.bytes
            if sum >= bytesMax { return size.position }
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

    /// The versions that a reader at a position has not heard of, which may be none: then only who holds the record has changed, or
    /// a counter. nil when they all are the record's creation.
    private static func news(_ versions: JSONValue, _ entity: EntitySchema, after: Int64) -> [UInt8]? {
        let news = RecordVersions(json: versions, schema: entity).after(after)
        let tags =
            [news.lifecycle].compactMap { $0 } + news.fields.values + news.elements.values.flatMap { $0.values.flatMap { $0 } }
            + news.keys.values.flatMap { $0.values }
        if let created = news.created, tags.allSatisfy({ $0 == created }) { return nil }
        return news.json(of: entity).canonicalBytes()
    }
}
