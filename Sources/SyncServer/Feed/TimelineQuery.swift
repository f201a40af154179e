// The SQL of the timeline: one walk down an index, newest first, with filters on what it meets.

import SyncProtocol

struct TimelineQuery {
    /// Positions strictly between.
    struct Range: Sendable {
        var after: Int64
        var before: Int64
    }

    /// The walk: every entry, those of a record, or those on a timeline.
    private let walk: (_ limit: String) -> String
    private var conditions: [String] = []
    private var parameters: [PostgresValue]
    private let walkParameters: [PostgresValue]
    private let limit: Int

    init(wanted: TimelineRequest, reader: ReaderAccess, schema: Schema, tenant: Identifier, range: Range) {
        var walkParameters: [PostgresValue] = [.identifier(tenant), .integer(range.after), .integer(range.before)]
        let bounds = "w.tenant = $1::uuid AND w.position > $2::bigint AND w.position < $3::bigint"
        if let anchor = wanted.anchor {
            walkParameters += [.text("\(anchor.entity):\(anchor.id.text)"), .identifier(anchor.id), .text(anchor.entity)]
            // The record's own entries, and those of what belongs to it: each walk ends where the page must have ended.
            walk = { limit in
                """
                SELECT u.position FROM ((SELECT w.position FROM tideline.feed_anchor w WHERE \(bounds) AND w.anchor = $4 \
                ORDER BY w.position DESC LIMIT \(limit)) \
                UNION ALL (SELECT w.position FROM tideline.feed w WHERE \(bounds) AND w.record = $5::uuid AND w.entity = $6 \
                ORDER BY w.position DESC LIMIT \(limit))) u ORDER BY u.position DESC LIMIT \(limit)
                """
            }
        } else if let id = wanted.id {
            walkParameters.append(.identifier(id))
            walk = { "SELECT w.position FROM tideline.feed w WHERE \(bounds) AND w.record = $4::uuid ORDER BY w.position DESC LIMIT \($0)" }
        } else {
            walk = { "SELECT w.position FROM tideline.feed w WHERE \(bounds) ORDER BY w.position DESC LIMIT \($0)" }
        }
        self.walkParameters = walkParameters
        parameters = walkParameters
        limit = wanted.limit
        if wanted.anchor != nil, let id = wanted.id { conditions.append("f.record = \(add(.identifier(id)))::uuid") }
        if let entity = wanted.entity { conditions.append("f.entity = \(add(.text(entity)))") }
        if let category = wanted.category { conditions.append("f.category = \(add(.text(category)))") }
        if let kind = wanted.kind {
            if let beginning = kind.beginning {
                conditions.append("starts_with(f.kind, \(add(.text(beginning)))::text)")
            } else {
                conditions.append("f.kind = \(add(.text(kind.text)))")
            }
        }
        if let actor = wanted.actor { conditions.append("f.actor = \(add(.identifier(actor)))::uuid") }
        if let isMajor = wanted.isMajor { conditions.append("f.level = \(add(.text(isMajor ? "major" : "minor")))") }
        if let since = wanted.since { conditions.append("f.at >= \(add(.integer(since)))::bigint") }
        if let until = wanted.until { conditions.append("f.at <= \(add(.integer(until)))::bigint") }
        let readable = reader.feedConditions(schema, table: "f") { add($0) }
        conditions += readable
    }

    private mutating func add(_ value: PostgresValue) -> String {
        parameters.append(value)
        return "$\(parameters.count)"
    }

    /// Bytes of changes on a page; it is shorter then.
    static let bytesMax = 4 << 20

    /// Whether entries may be missing from a page for their bytes.
    static func isCut(_ page: PostgresResult) -> Bool {
        page.byteCount(of: FeedRow.changes, FeedRow.changes + 1) >= bytesMax
    }

    /// ``FeedRow/columns``, one row more than the page, among so many entries of the walk. Fewer if they are many bytes.
    func page(scanning count: Int64) -> PostgresStatement {
        var query = self
        let limit = query.add(.integer(Int64(limit) + 1))
        let scanned = query.add(.integer(count))
        return PostgresStatement(
            CappedRows.sql(
                """
                SELECT \(FeedRow.columns) FROM (\(walk("\(scanned)::bigint"))) s CROSS JOIN LATERAL \
                (SELECT f.* FROM tideline.feed f WHERE f.tenant = $1::uuid AND f.position = s.position OFFSET 0) f \
                WHERE \(conditions.joined(separator: " AND ")) ORDER BY s.position DESC LIMIT \(limit)::bigint
                """, counting: ["changes", "restricted_changes"], upTo: String(TimelineQuery.bytesMax)), query.parameters)
    }

    /// The last position that ``page(scanning:)`` may have looked at, if there is anything behind it.
    func end(scanning count: Int64) -> PostgresStatement {
        let number = walkParameters.count
        return PostgresStatement(
            """
            SELECT (array_agg(position ORDER BY position DESC))[1] FROM \
            (SELECT e.position FROM (\(walk("$\(number + 1)::bigint"))) e ORDER BY e.position DESC OFFSET $\(number + 2)::bigint) e \
            HAVING count(*) = 2
            """, walkParameters + [.integer(count + 1), .integer(count - 1)])
    }
}
