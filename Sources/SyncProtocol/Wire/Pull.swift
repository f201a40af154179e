// Pull: current state by position, page by page, and the checkpoint that ends it (protocol §7.3).

/// `GET /v1/sync/pull` as query parameters.
public struct PullRequest: Hashable, Sendable {
    /// nil for a first sync.
    public var cursor: String?
    public var limit: Int?
    /// How long to wait for news when there is none, milliseconds.
    public var waitMilliseconds: Int?
    /// Outcomes up to this counter are already known.
    public var outcomesAfter: Int64
    /// Versions of parts written after this position are wanted; nil: after the cursor.
    public var versionsAfter: Int64?
    public var schemaVersion: Int64

    public init(
        cursor: String?, limit: Int? = nil, waitMilliseconds: Int? = nil, outcomesAfter: Int64 = 0, versionsAfter: Int64? = nil,
        schemaVersion: Int64
    ) {
        self.cursor = cursor
        self.limit = limit
        self.waitMilliseconds = waitMilliseconds
        self.outcomesAfter = outcomesAfter
        self.versionsAfter = versionsAfter
        self.schemaVersion = schemaVersion
    }

    public var query: [(name: String, value: String)] {
        var query: [(name: String, value: String)] = [
            ("protocol", String(ProtocolVersion.current)), ("schema", String(schemaVersion)),
            ("outcomes_after", String(outcomesAfter)),
        ]
        if let cursor { query.append(("cursor", cursor)) }
        if let limit { query.append(("limit", String(limit))) }
        if let waitMilliseconds { query.append(("wait", String(waitMilliseconds))) }
        if let versionsAfter { query.append(("versions_after", String(versionsAfter))) }
        return query
    }

    /// Reads query parameters; an unknown or malformed one is an error that names it.
    public init(query: [(name: String, value: String)]) throws(WireError) {
        self.init(cursor: nil, schemaVersion: 0)
        var version: Int64 = 0
        for (name, value) in query {
            func number(_ range: ClosedRange<Int64>) throws(WireError) -> Int64 { try WireError.number(value, named: name, range) }
            switch name {
            case "protocol": version = try number(0...Int64(Int32.max))
            case "schema": schemaVersion = try number(0...Int64(Int32.max))
            case "cursor": cursor = value
            case "limit": limit = Int(try number(1...Int64(Limits.recordsPerPage)))
            case "wait": waitMilliseconds = Int(try number(0...Int64(Limits.waitMilliseconds)))
            case "outcomes_after": outcomesAfter = try number(0...Int64.max)
            case "versions_after": versionsAfter = try number(0...Int64.max)
            default: throw WireError(name, "is not a parameter of pull")
            }
        }
        guard version == ProtocolVersion.current else { throw WireError("protocol", "is \(ProtocolVersion.current)") }
    }
}

/// What ends a pull: the feed position up to which the replica is complete, all read in one snapshot.
public struct Checkpoint: Hashable, Sendable {
    public var mark: CheckpointMark
    /// The greatest hybrid timestamp of the tenant: the replica's clock moves past it.
    public var timestamp: HybridTimestamp
    /// This replica's highest processed counter.
    public var acknowledged: Int64
    /// Counters up to there that are not decided: after a restore they wait for what they build on.
    public var waiting: [Int64]

    public init(mark: CheckpointMark, timestamp: HybridTimestamp, acknowledged: Int64, waiting: [Int64] = []) {
        self.mark = mark
        self.timestamp = timestamp
        self.acknowledged = acknowledged
        self.waiting = waiting
    }
}

/// A stored outcome with the hash of the set it was given to: of two copies of a file only one made that set.
public struct ToldOutcome: Hashable, Sendable {
    public var counter: Int64
    /// The exact bytes.
    public var outcome: [UInt8]
    public var hash: String

    public init(counter: Int64, outcome: [UInt8], hash: String) {
        self.counter = counter
        self.outcome = outcome
        self.hash = hash
    }
}

/// One pull reply. Rows stay raw, validated slices of `bytes`, so that a page can be staged and bound without a tree.
///
/// ```
/// {"server_time":ms,"entities":[{"entity":"client","columns":[…],"rows":[[…]…]}…],"evictions":[["client",id]…],
///  "next":cursor,"has_more":bool,
///  "checkpoint":{"at":[epoch,position,fingerprint],"timestamp":[ms,logical],"acknowledged":n},"outcomes":[[counter,outcome,hash]…]}
/// ```
/// `checkpoint` and `outcomes` are there only when `has_more` is false.
public struct PullPage: Sendable {
    public struct Block: Sendable {
        public var entity: String
        public var columns: [String]
        /// Ranges of `bytes`, one JSON array each.
        public var rows: [Range<Int>]
    }

    public var bytes: [UInt8]
    public var serverMilliseconds: Int64 = 0
    public var blocks: [Block] = []
    public var evictions: [RecordKey] = []
    public var next: String = ""
    public var hasMore = false
    public var checkpoint: Checkpoint?
    public var outcomes: [ToldOutcome] = []

    public var rowCount: Int { blocks.reduce(0) { $0 + $1.rows.count } }

    public init(parsing bytes: [UInt8]) throws {
        self.bytes = bytes
        var page = PullPageParts()
        try JSONReader.read(bytes) { reader in
            try reader.beginObject()
            while let key = try reader.nextKey() {
                switch key {
                case "server_time": page.serverMilliseconds = try reader.readInteger()
                case "entities":
                    try reader.beginArray()
                    while try reader.nextElement() { page.blocks.append(try PullPage.readBlock(&reader)) }
                case "evictions":
                    for item in try reader.readValue().arrayValue ?? [] {
                        guard let parts = item.arrayValue, parts.count == 2, let entity = parts[0].stringValue,
                            let id = parts[1].stringValue.flatMap({ Identifier($0) })
                        else { throw WireError("evictions", "is a list of [entity, id]") }
                        page.evictions.append(RecordKey(entity, id))
                    }
                case "next": page.next = try reader.readString()
                case "has_more": page.hasMore = try reader.readBool()
                case "checkpoint": page.checkpoint = try PullPage.checkpoint(try reader.readValue())
                case "outcomes": page.outcomes = try PullPage.readOutcomes(&reader, bytes)
                default: _ = try reader.skipValue()
                }
            }
        }
        guard let next = page.next, let hasMore = page.hasMore else { throw WireError("next", "a page has next and has_more") }
        guard hasMore || page.checkpoint != nil else { throw WireError("checkpoint", "the last page has a checkpoint") }
        guard let time = page.serverMilliseconds else { throw WireError("server_time", "is missing") }
        serverMilliseconds = time
        blocks = page.blocks
        evictions = page.evictions
        self.next = next
        self.hasMore = hasMore
        checkpoint = page.checkpoint
        outcomes = page.outcomes
    }

    private struct PullPageParts {
        var serverMilliseconds: Int64?
        var blocks: [Block] = []
        var evictions: [RecordKey] = []
        var next: String?
        var hasMore: Bool?
        var checkpoint: Checkpoint?
        var outcomes: [ToldOutcome] = []
    }

    private static func readBlock(_ reader: inout JSONReader) throws -> Block {
        var block = Block(entity: "", columns: [], rows: [])
        try reader.beginObject()
        while let key = try reader.nextKey() {
            switch key {
            case "entity": block.entity = try reader.readString()
            case "columns":
                try reader.beginArray()
                while try reader.nextElement() { block.columns.append(try reader.readString()) }
            case "rows":
                try reader.beginArray()
                while try reader.nextElement() { block.rows.append(try reader.skipValue()) }
            default: _ = try reader.skipValue()
            }
        }
        guard !block.entity.isEmpty, block.columns.contains("id") else { throw WireError("entities", "a block names entity and columns") }
        return block
    }

    private static func checkpoint(_ json: JSONValue) throws -> Checkpoint {
        guard let mark = json["at"].flatMap(CheckpointMark.init(json:)), let timestamp = HybridTimestamp(json: json["timestamp"]),
            let acknowledged = json["acknowledged"]?.integerValue
        else { throw WireError("checkpoint", "has at, timestamp and acknowledged") }
        let waiting = (json["waiting"]?.arrayValue ?? []).compactMap(\.integerValue)
        return Checkpoint(mark: mark, timestamp: timestamp, acknowledged: acknowledged, waiting: waiting)
    }

    /// Writes a page around rows that are JSON text already.
    public static func write(
        serverMilliseconds: Int64, blocks: [(entity: String, columns: [String], rows: [[UInt8]])], evictions: [RecordKey] = [],
        next: String, checkpoint: Checkpoint?, outcomes: [ToldOutcome]
    ) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 1024 + blocks.reduce(0) { $0 + $1.rows.reduce(200) { $0 + $1.count } })
        writer.beginObject()
        writer.key("server_time")
        writer.integer(serverMilliseconds)
        writer.key("entities")
        writer.beginArray()
        for block in blocks {
            writer.beginObject()
            writer.key("entity")
            writer.string(block.entity)
            writer.key("columns")
            writer.beginArray()
            for column in block.columns { writer.string(column) }
            writer.endArray()
            writer.key("rows")
            // Each item is one row, or several joined by commas as the database concatenated them.
            writer.beginArray()
            for row in block.rows { writer.raw(row) }
            writer.endArray()
            writer.endObject()
        }
        writer.endArray()
        writer.key("evictions")
        writer.value(.array(evictions.map { .array([.string($0.entity), .string($0.id.text)]) }))
        writer.key("next")
        writer.string(next)
        writer.key("has_more")
        writer.bool(checkpoint == nil)
        if let checkpoint {
            writer.key("checkpoint")
            var object: JSONObject = [
                "at": checkpoint.mark.json, "timestamp": checkpoint.timestamp.json, "acknowledged": .integer(checkpoint.acknowledged),
            ]
            if !checkpoint.waiting.isEmpty { object["waiting"] = .array(checkpoint.waiting.map { .integer($0) }) }
            writer.value(.object(object))
            writer.key("outcomes")
            writer.beginArray()
            for told in outcomes {
                writer.beginArray()
                writer.integer(told.counter)
                writer.raw(told.outcome)
                writer.string(told.hash)
                writer.endArray()
            }
            writer.endArray()
        }
        writer.endObject()
        return writer.bytes
    }

    private static func readOutcomes(_ reader: inout JSONReader, _ bytes: [UInt8]) throws -> [ToldOutcome] {
        let malformed = WireError("outcomes", "an outcome is [counter, outcome, hash]")
        var outcomes: [ToldOutcome] = []
        try reader.beginArray()
        while try reader.nextElement() {
            try reader.beginArray()
            guard try reader.nextElement() else { throw malformed }
            let counter = try reader.readInteger()
            guard try reader.nextElement() else { throw malformed }
            let range = try reader.skipValue()
            guard try reader.nextElement() else { throw malformed }
            outcomes.append(ToldOutcome(counter: counter, outcome: Array(bytes[range]), hash: try reader.readString()))
            guard try !reader.nextElement() else { throw malformed }
        }
        return outcomes
    }
}
