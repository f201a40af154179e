// What is asked now and then beside push and pull: digests by ranges of ids, single records, and the feed's past
// (protocol §7.5, §7.8, §7.9).

/// One stretch of an entity's live records in id order: everything behind the stretch before it, up to `through`.
public struct DigestRange: Hashable, Sendable {
    /// nil: to the end.
    public var through: Identifier?
    public var count: Int64
    /// As ``ContentDigest``, lower-case hex.
    public var hash: String

    public init(through: Identifier?, count: Int64, hash: String) {
        self.through = through
        self.count = count
        self.hash = hash
    }

    public var json: JSONValue { .array([through.map { .string($0.text) } ?? .null, .integer(count), .string(hash)]) }

    public init?(json: JSONValue) {
        guard let parts = json.arrayValue, parts.count == 3, let count = parts[1].integerValue, let hash = parts[2].stringValue else {
            return nil
        }
        self.init(through: parts[0].stringValue.flatMap { Identifier($0) }, count: count, hash: hash)
        if through == nil, !parts[0].isNull { return nil }
    }
}

/// `GET /v1/sync/digest` with `entity`: the ranges of one entity, or the records of one stretch.
public struct DigestRequest: Hashable, Sendable {
    /// Records in a range.
    public static let rangeRecords = 1_000

    public var entity: String?
    /// Bounds of a stretch whose records are wanted one by one: behind `after`, up to `through` (nil: to the end).
    public var isStretch = false
    public var after: Identifier?
    public var through: Identifier?

    public init(entity: String? = nil) { self.entity = entity }

    public init(entity: String, after: Identifier?, through: Identifier?) {
        self.entity = entity
        isStretch = true
        self.after = after
        self.through = through
    }

    public var query: [(name: String, value: String)] {
        var query: [(name: String, value: String)] = []
        if let entity { query.append(("entity", entity)) }
        if isStretch { query.append(("after", after?.text ?? "")) }
        if let through { query.append(("through", through.text)) }
        return query
    }

    public init(query: [(name: String, value: String)]) throws(WireError) {
        self.init()
        for (name, value) in query {
            switch name {
            case "entity": entity = value
            case "after":
                isStretch = true
                if !value.isEmpty {
                    guard let id = Identifier(value) else { throw WireError(name, "is a UUID, or empty for the beginning") }
                    after = id
                }
            case "through":
                guard let id = Identifier(value) else { throw WireError(name, "is a UUID") }
                through = id
            default: throw WireError(name, "is not a parameter of digest")
            }
        }
        if entity == nil, isStretch || through != nil { throw WireError("entity", "is needed with after and through") }
        if !isStretch, through != nil { throw WireError("after", "is needed with through") }
    }
}

/// `GET /v1/sync/records`: records of one entity as they are now, tombstones included.
public struct RecordsRequest: Hashable, Sendable {
    public static let recordsMax = 100
    /// Bytes of the records of one answer. With more of them it is refused, `payload_too_large`: ask for fewer.
    public static let bytesMax = 16 << 20

    public var entity: String
    public var ids: [Identifier]
    /// Where the reader's pulls stand: records are told only to whoever still is what they were when they got it.
    public var cursor: String?

    public init(entity: String, ids: [Identifier], cursor: String? = nil) {
        self.entity = entity
        self.ids = ids
        self.cursor = cursor
    }

    public var query: [(name: String, value: String)] {
        var query = [("entity", entity), ("ids", ids.map(\.text).joined(separator: ","))]
        if let cursor { query.append(("cursor", cursor)) }
        return query.map { (name: $0.0, value: $0.1) }
    }

    public init(query: [(name: String, value: String)]) throws(WireError) {
        self.init(entity: "", ids: [])
        for (name, value) in query {
            switch name {
            case "entity": entity = value
            case "cursor": cursor = value
            case "ids":
                for part in value.split(separator: ",") {
                    guard let id = Identifier(String(part)) else { throw WireError(name, "is a list of UUIDs") }
                    ids.append(id)
                }
            default: throw WireError(name, "is not a parameter of records")
            }
        }
        guard !entity.isEmpty else { throw WireError("entity", "names an entity") }
        guard !ids.isEmpty, ids.count <= Self.recordsMax else { throw WireError("ids", "names 1 to \(Self.recordsMax) records") }
    }
}

/// `GET /v1/sync/activity`: entries of the feed in position order, for a replica's own copy of the timeline.
public struct ActivityRequest: Hashable, Sendable {
    public static let entriesMax = 1_000
    public static let entriesDefault = 500

    /// Entries behind this position; nil: from where `newest` and `since` allow.
    public var after: Int64?
    /// Without `after`: at most so many of the newest entries,
    public var newest: Int64?
    /// and none older than this, milliseconds since 1970 UTC.
    public var sinceMilliseconds: Int64?
    public var limit: Int
    /// Where the reader's pulls stand: entries are told only to whoever still is what they were when they got it.
    public var cursor: String?

    public init(
        after: Int64? = nil, newest: Int64? = nil, sinceMilliseconds: Int64? = nil, limit: Int = entriesDefault, cursor: String? = nil
    ) {
        self.after = after
        self.newest = newest
        self.sinceMilliseconds = sinceMilliseconds
        self.limit = limit
        self.cursor = cursor
    }

    public var query: [(name: String, value: String)] {
        var query: [(name: String, value: String)] = [("limit", String(limit))]
        if let after { query.append(("after", String(after))) }
        if let newest { query.append(("newest", String(newest))) }
        if let sinceMilliseconds { query.append(("since", String(sinceMilliseconds))) }
        if let cursor { query.append(("cursor", cursor)) }
        return query
    }

    public init(query: [(name: String, value: String)]) throws(WireError) {
        self.init()
        for (name, value) in query {
            func number(_ range: ClosedRange<Int64>) throws(WireError) -> Int64 { try WireError.number(value, named: name, range) }
            switch name {
            case "cursor": cursor = value
            case "after": after = try number(0...Int64.max)
            case "newest": newest = try number(0...1_000_000)
            case "since": sinceMilliseconds = try number(0...Int64.max)
            case "limit": limit = Int(try number(1...Int64(Self.entriesMax)))
            default: throw WireError(name, "is not a parameter of activity")
            }
        }
    }
}

/// Its reply: `{"entries":[entry…],"next":position,"has_more":bool}`.
public struct ActivityPage: Sendable {
    public var entries: [ActivityEntry]
    /// Where the next page goes on, also when there is nothing more now.
    public var next: Int64
    public var hasMore: Bool

    public init(parsing bytes: [UInt8]) throws {
        let json = try JSONValue(parsing: bytes)
        guard let list = json["entries"]?.arrayValue, let next = json["next"]?.integerValue, let hasMore = json["has_more"]?.boolValue
        else {
            throw WireError("entries", "a page has entries, next and has_more")
        }
        entries = try list.map { try ActivityEntry(json: $0) }
        self.next = next
        self.hasMore = hasMore
    }

    /// Writes a page around entries that are JSON text already.
    public static func write(entries: [[UInt8]], next: Int64, hasMore: Bool) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 256 + entries.reduce(0) { $0 + $1.count + 1 })
        writer.beginObject()
        writer.key("entries")
        writer.beginArray()
        for entry in entries { writer.raw(entry) }
        writer.endArray()
        writer.key("next")
        writer.integer(next)
        writer.key("has_more")
        writer.bool(hasMore)
        writer.endObject()
        return writer.bytes
    }
}
