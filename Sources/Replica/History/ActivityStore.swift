// The replica's own copy of the timeline: the newest entries of the feed, bounded in number and age, readable without a network.

import SyncProtocol

enum ActivityTable {
    static let engineTables = [
        """
        CREATE TABLE IF NOT EXISTS _tideline_activity (position INTEGER PRIMARY KEY, at INTEGER NOT NULL, entity TEXT NOT NULL, \
        record TEXT NOT NULL, kind TEXT NOT NULL, category TEXT NOT NULL, level TEXT NOT NULL, actor TEXT, entry TEXT NOT NULL)
        """,
        "CREATE INDEX IF NOT EXISTS _tideline_activity_record ON _tideline_activity (record, position)",
        """
        CREATE TABLE IF NOT EXISTS _tideline_activity_anchor (anchor TEXT NOT NULL, position INTEGER NOT NULL, \
        PRIMARY KEY (anchor, position)) WITHOUT ROWID
        """,
    ]
}

/// Which entries of the timeline are wanted; everything that is nil passes. The words are those of `GET /v1/activity`, and mean the same.
public struct ActivityFilter: Sendable, Hashable {
    public var entity: String?
    /// With `entity`: everything that stands on this record's timeline, entries of the records around it included.
    /// Alone: the record's own entries.
    public var id: Identifier?
    public var category: String?
    /// A kind such as `client.updated`, or all kinds with one beginning as `client.*`.
    public var kind: String?
    public var actor: Identifier?
    /// `major` or `minor`.
    public var level: String?
    /// Milliseconds since 1970 UTC, both included.
    public var since: Int64?
    public var until: Int64?

    public init(
        entity: String? = nil, id: Identifier? = nil, category: String? = nil, kind: String? = nil, actor: Identifier? = nil,
        level: String? = nil, since: Int64? = nil, until: Int64? = nil
    ) {
        self.entity = entity
        self.id = id
        self.category = category
        self.kind = kind
        self.actor = actor
        self.level = level
        self.since = since
        self.until = until
    }
}

extension ActivityFilter {
    /// Throws for a word that no entry of the schema can carry. `kind`, `category` and `level` only.
    public func check(_ schema: Schema) throws(UnknownTimelineChoice) {
        if let kind { _ = try KindPattern(kind, schema: schema) }
        if let category { try schema.requireCategory(category) }
        if let level { try schema.requireLevel(level) }
    }
}

extension Store {
    func insertActivity(_ entries: [ActivityEntry]) throws {
        for entry in entries {
            try connection.execute(
                """
                INSERT OR REPLACE INTO _tideline_activity (position, at, entity, record, kind, category, level, actor, entry) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                """,
                [
                    .integer(entry.position.position), .integer(entry.atMilliseconds), .text(entry.key.entity), .text(entry.key.id.text),
                    .text(entry.kind), .text(entry.category), .text(entry.level), SQLiteValue(entry.actor?.text),
                    .text(entry.json.canonicalText),
                ])
            for anchor in entry.anchors {
                try connection.execute(
                    "INSERT OR IGNORE INTO _tideline_activity_anchor (anchor, position) VALUES (?1, ?2)",
                    [.text(anchor), .integer(entry.position.position)])
            }
        }
    }

    /// Forgets entries beyond the number and older than the time.
    func pruneActivity(keeping count: Int, sinceMilliseconds: Int64) throws {
        let newest = try connection.scalarInteger(
            "SELECT position FROM _tideline_activity ORDER BY position DESC LIMIT 1 OFFSET ?1", [.integer(Int64(count))])
        let old = try connection.scalarInteger(
            "SELECT max(position) FROM _tideline_activity WHERE at < ?1", [.integer(sinceMilliseconds)])
        guard let last = [newest, old].compactMap({ $0 }).max() else { return }
        try connection.execute("DELETE FROM _tideline_activity WHERE position <= ?1", [.integer(last)])
        try connection.execute("DELETE FROM _tideline_activity_anchor WHERE position <= ?1", [.integer(last)])
    }

    /// The server's history is another one now, or the role that reads it: the next sync fetches the newest entries again.
    func forgetActivity() throws {
        try connection.execute("DELETE FROM _tideline_activity")
        try connection.execute("DELETE FROM _tideline_activity_anchor")
        try Metadata(connection: connection).set(.activityNext, nil as String?)
    }

    /// Newest first, behind `before`.
    func activity(_ filter: ActivityFilter, before: Int64?, limit: Int) throws -> [ActivityEntry] {
        var conditions: [String] = []
        var bindings: [SQLiteValue] = []
        func add(_ condition: String, _ value: SQLiteValue) {
            bindings.append(value)
            conditions.append(condition + " ?\(bindings.count)")
        }
        var source = "_tideline_activity a"
        if let entity = filter.entity, let id = filter.id {
            source = "_tideline_activity_anchor n JOIN _tideline_activity a ON a.position = n.position"
            add("n.anchor =", .text("\(entity):\(id.text)"))
        } else if let entity = filter.entity {
            add("a.entity =", .text(entity))
        } else if let id = filter.id {
            add("a.record =", .text(id.text))
        }
        if let category = filter.category { add("a.category =", .text(category)) }
        if let kind = try filter.kind.map({ try KindPattern($0, schema: schema) }) {
            if let beginning = kind.beginning {
                add("substr(a.kind, 1, \(beginning.unicodeScalars.count)) =", .text(beginning))
            } else {
                add("a.kind =", .text(kind.text))
            }
        }
        if let actor = filter.actor { add("a.actor =", .text(actor.text)) }
        if let level = filter.level { add("a.level =", .text(level)) }
        if let since = filter.since { add("a.at >=", .integer(since)) }
        if let until = filter.until { add("a.at <=", .integer(until)) }
        if let before { add("a.position <", .integer(before)) }
        let condition = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        return try connection.query(
            "SELECT a.entry FROM \(source)\(condition) ORDER BY a.position DESC LIMIT \(limit)", bindings
        ) { try ActivityEntry(json: try JSONValue(parsing: $0.text(0))) }
    }

    /// Entries about the record itself, oldest first.
    func activity(of key: RecordKey) throws -> [ActivityEntry] {
        try connection.query(
            "SELECT entry FROM _tideline_activity WHERE record = ?1 AND entity = ?2 ORDER BY position",
            [.text(key.id.text), .text(key.entity)]
        ) { try ActivityEntry(json: try JSONValue(parsing: $0.text(0))) }
    }
}

/// Titles and currencies as this file knows them, each looked up once.
final class NameBook {
    private let store: Store
    private var titles: [RecordKey: String?] = [:]
    private var baseCurrency: String??

    init(_ store: Store) { self.store = store }

    func title(_ key: RecordKey) -> String? {
        if let known = titles[key] { return known }
        let title = (try? store.record(key))?.title
        titles[key] = .some(title)
        return title
    }

    func currency(_ key: RecordKey) -> String? {
        if let own = (try? store.record(key))?.text("currency") { return own }
        if let baseCurrency { return baseCurrency }
        var found: String?
        if let tenant = (try? Metadata(connection: store.connection).identity())?.tenant {
            found = (try? store.record(RecordKey("tenant", tenant)))?.text("base_currency")
        }
        baseCurrency = .some(found)
        return found
    }

    func line(_ entry: ActivityEntry) -> String {
        ActivityText.line(entry, schema: store.schema, name: title, currency: currency)
    }
}
