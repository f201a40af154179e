// Records as rows: one column list per entity, then arrays. What pull pages, row loading and digests have in common.

/// The columns of an entity in wire order. Unknown columns of a newer peer are kept, so neither side must match exactly.
public struct RowLayout: Sendable, Hashable {
    public enum Audience: Sendable, Hashable {
        /// Everything a replica may hold.
        case replica
        /// Also secret fields and scope keys: between the server and its own tables.
        case server
    }

    public var entity: String
    /// `id, position, created_at, created_by, updated_at, deleted_at, deleted_cause, …fields, extra, versions` (server: also `scope_keys`).
    public var columns: [String]

    public static let common = ["id", "position", "created_at", "created_by", "updated_at", "deleted_at", "deleted_cause"]

    public init(of schema: EntitySchema, audience: Audience) {
        entity = schema.name
        let fields = schema.fields.filter { audience == .server || !$0.isSecret }.map(\.name)
        columns = RowLayout.common + fields + ["extra", "versions"] + (audience == .server ? ["scope_keys"] : [])
    }
}

extension RecordState {
    /// Builds a state from a row. Fields the schema does not know go to `extra`; missing ones stay null.
    public init(schema: EntitySchema, columns: [String], row: [JSONValue], epoch: Int64) throws(WireError) {
        guard row.count == columns.count, let idIndex = columns.firstIndex(of: "id"), let text = row[idIndex].stringValue,
            let id = Identifier(text)
        else { throw WireError("\(schema.name) row", "has \(row.count) values for \(columns.count) columns, or no id") }
        self.init(schema: schema, id: id)
        for (column, value) in zip(columns, row) {
            switch column {
            case "id": break
            case "position": position = FeedPosition(epoch: epoch, position: value.integerValue ?? 0)
            case "created_at": createdAt = value.integerValue ?? 0
            case "created_by": createdBy = value.stringValue.flatMap { Identifier($0) }
            case "updated_at": updatedAt = value.integerValue ?? 0
            case "deleted_at": deletedAt = value.integerValue
            case "deleted_cause": deletedCause = value.stringValue
            case "extra": for (name, value) in value.objectValue ?? JSONObject() { extra[name] = value }
            case "versions": versions = RecordVersions(json: value, schema: schema)
            case "scope_keys": scopeKeys = (value.arrayValue ?? []).compactMap(\.stringValue)
            default:
                if let index = schema.index(of: column) { values[index] = value } else { extra[column] = value }
            }
        }
    }

    /// The value of one column in stored form.
    public func column(_ name: String) -> JSONValue {
        switch name {
        case "id": .string(id.text)
        case "position": .integer(position.position)
        case "created_at": .integer(createdAt)
        case "created_by": createdBy.map { .string($0.text) } ?? .null
        case "updated_at": .integer(updatedAt)
        case "deleted_at": deletedAt.map { .integer($0) } ?? .null
        case "deleted_cause": deletedCause.map { .string($0) } ?? .null
        case "extra": .object(extra)
        case "versions": versions.json(of: schema)
        case "scope_keys": .array(scopeKeys.map { .string($0) })
        default: self[name]
        }
    }
}

/// Content hash of one entity's live records: SHA-256 over the canonical rows in id order (protocol §7.5). Equal hashes
/// mean equal content, whatever the engine.
public struct ContentDigest: Sendable {
    public private(set) var count: Int64 = 0
    private var hash = SHA256()
    private let columns: [String]

    public init(of schema: EntitySchema) { columns = ContentDigest.columns(of: schema) }

    /// The columns that count: identity, provenance and every field that a replica holds, by name.
    public static func columns(of schema: EntitySchema) -> [String] {
        ["id", "created_at", "created_by", "updated_at"] + schema.fields.filter { !$0.isSecret }.map(\.name).sorted()
    }

    /// Adds the next record, in ascending order of id. Tombstones do not count.
    public mutating func add(_ record: RecordState) {
        guard record.isLive else { return }
        count += 1
        hash.update(ContentDigest.row(record, columns))
        hash.update([0x0A])
    }

    private static func row(_ record: RecordState, _ columns: [String]) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 512)
        writer.beginArray()
        for column in columns { writer.value(record.column(column)) }
        writer.endArray()
        return writer.bytes
    }

    /// Of one record alone: the first 16 digits of the hash of its row.
    public static func hash(of record: RecordState) -> String {
        String(Hex.encode(SHA256.hash(row(record, columns(of: record.schema)))).prefix(16))
    }

    /// Lower-case hex.
    public mutating func finish() -> String { Hex.encode(hash.finalize()) }
}

/// The digests of an entity by ranges of ids, with a fixed number of live records each: where two copies differ, only a few of
/// them do. The side that compares cuts its own records at the bounds of the other.
public struct DigestRanges: Sendable {
    private let schema: EntitySchema
    private var finished: [DigestRange] = []
    private var current: ContentDigest
    private var last: Identifier?

    public init(of schema: EntitySchema) {
        self.schema = schema
        current = ContentDigest(of: schema)
    }

    /// Adds the next record, in ascending order of id. Tombstones do not count.
    public mutating func add(_ record: RecordState) {
        guard record.isLive else { return }
        if current.count == Int64(DigestRequest.rangeRecords) { close(through: last) }
        current.add(record)
        last = record.id
    }

    /// The last range reaches to the end.
    public mutating func finish() -> [DigestRange] {
        close(through: nil)
        return finished
    }

    private mutating func close(through id: Identifier?) {
        finished.append(DigestRange(through: id, count: current.count, hash: current.finish()))
        current = ContentDigest(of: schema)
    }
}
