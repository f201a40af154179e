// One entity's typed table: its columns, its SQL (written once), and how a row becomes a record state and back.

import SyncProtocol

struct RecordTable: Sendable {
    enum Storage: Sendable { case text, integer, json }

    struct Column: Sendable {
        let name: String
        let storage: Storage
        /// Index into the values of a record state; nil for common columns.
        let field: Int?
    }

    let schema: EntitySchema
    let columns: [Column]
    /// The parameter (from 1) of a column.
    let parameter: [String: Int]
    let select: String
    let upsert: String
    let delete: String
    let deleteAll: String

    static let extraColumn = "_extra"

    init(_ schema: EntitySchema) {
        self.schema = schema
        let common: [Column] = RowLayout.common.map { name in
            let isInteger = ["position", "created_at", "updated_at", "deleted_at"].contains(name)
            return Column(name: name, storage: isInteger ? .integer : .text, field: nil)
        }
        let fields: [Column] = schema.fields.enumerated().filter { !$0.element.isSecret }.map { index, field in
            let storage: Storage =
                switch field.type.storage {
                case .integer: .integer
                case .text, .identifier: .text
                case .textSet, .json: .json
                }
            return Column(name: field.name, storage: storage, field: index)
        }
        columns = common + fields + [Column(name: Self.extraColumn, storage: .json, field: nil)]
        parameter = Dictionary(uniqueKeysWithValues: columns.enumerated().map { ($1.name, $0 + 1) })
        let names = columns.map { "\"\($0.name)\"" }
        let table = "\"\(schema.name)\""
        select = "SELECT \(names.joined(separator: ", ")) FROM \(table)"
        upsert =
            "INSERT INTO \(table) (\(names.joined(separator: ", "))) VALUES (\(names.map { _ in "?" }.joined(separator: ", ")))"
            + " ON CONFLICT (id) DO UPDATE SET " + names.dropFirst().map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
        delete = "DELETE FROM \(table) WHERE id = ?1"
        deleteAll = "DELETE FROM \(table)"
    }

    /// The fields that rows with these columns say nothing of.
    func columnsAbsent(from names: [String]) -> Set<String> {
        let named = Set(names)
        return Set(columns.filter { $0.field != nil && !named.contains($0.name) }.map(\.name))
    }

    /// The upsert that leaves some columns as they are: those that an older server does not send. Parameters keep their numbers.
    func upsert(leaving absent: Set<String>) -> String {
        guard !absent.isEmpty else { return upsert }
        let named = columns.enumerated().filter { !absent.contains($0.element.name) }
        let names = named.map { "\"\($0.element.name)\"" }
        return
            "INSERT INTO \"\(schema.name)\" (\(names.joined(separator: ", "))) VALUES (\(named.map { "?\($0.offset + 1)" }.joined(separator: ", ")))"
            + " ON CONFLICT (id) DO UPDATE SET " + names.dropFirst().map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
    }

    /// No constraint but the primary key: nothing the server sends can jam a pull.
    var create: String {
        let definitions = columns.map { column in
            let type = column.storage == .integer ? "INTEGER" : "TEXT"
            let key = " NOT NULL PRIMARY KEY DEFAULT \(CaptureTable.newIdentifier)"
            return "\"\(column.name)\" \(type)\(column.name == "id" ? key : "")"
        }
        return "CREATE TABLE IF NOT EXISTS \"\(schema.name)\" (\(definitions.joined(separator: ", ")))"
    }

    var indexes: [String] {
        schema.fields.filter { !$0.isSecret && $0.type.storage != .textSet && $0.type.storage != .json }.compactMap { field in
            let isReference = !field.referencedEntities.isEmpty
            guard field.isIndexed || isReference || field.uniqueWith != nil else { return nil }
            let name = "\"_tideline_\(schema.name)_\(field.name)\""
            let rows = isReference ? " WHERE \"\(field.name)\" IS NOT NULL" : ""
            return "CREATE INDEX IF NOT EXISTS \(name) ON \"\(schema.name)\" (\"\(field.name)\")\(rows)"
        }
    }

    // MARK: Rows

    /// Reads a row of `select`.
    func record(_ row: borrowing SQLiteRow) throws -> RecordState {
        guard let id = row.withUTF8(0, { Identifier(utf8: $0) }) else {
            throw ReplicaError(.storage, "\(schema.name) has a row whose id is not a UUID", operation: "read")
        }
        var record = RecordState(schema: schema, id: id)
        record.position = FeedPosition(epoch: 0, position: row.integer(1))
        record.createdAt = row.integer(2)
        record.createdBy = row.isNull(3) ? nil : row.withUTF8(3) { Identifier(utf8: $0) }
        record.updatedAt = row.integer(4)
        record.deletedAt = row.optionalInteger(5)
        record.deletedCause = row.optionalText(6)
        for (index, column) in columns.enumerated().dropFirst(RowLayout.common.count) where !row.isNull(index) {
            let value: JSONValue
            switch column.storage {
            case .integer: value = .integer(row.integer(index))
            case .text: value = .string(row.text(index))
            case .json: value = try json(row, index, column.name, id)
            }
            if let field = column.field {
                record.values[field] = value
            } else {
                record.extra = value.objectValue ?? JSONObject()
            }
        }
        return record
    }

    private func json(_ row: borrowing SQLiteRow, _ index: Int, _ column: String, _ id: Identifier) throws -> JSONValue {
        try row.withUTF8(index) { bytes in
            do { return try JSONValue(parsing: bytes) } catch {
                throw ReplicaError(.storage, "\(schema.name) \(id.text): \(column) is not JSON: \(error)", operation: "read")
            }
        }
    }

    func bind(_ record: RecordState, to statement: SQLiteStatement) throws {
        try statement.bind(1, record.id.text)
        try statement.bind(2, record.position == .unconfirmed ? Int64.max : record.position.position)
        try statement.bind(3, record.createdAt)
        try statement.bind(4, record.createdBy?.text)
        try statement.bind(5, record.updatedAt)
        try statement.bind(6, record.deletedAt)
        try statement.bind(7, record.deletedCause)
        for (index, column) in columns.enumerated().dropFirst(RowLayout.common.count) {
            if let field = column.field {
                try statement.bind(index + 1, SQLiteValue(json: record.values[field]))
            } else {
                try statement.bind(index + 1, record.extra.isEmpty ? .null : SQLiteValue(json: .object(record.extra)))
            }
        }
    }
}

extension SQLiteValue {
    /// How a stored-form value is kept: numbers as numbers, texts as texts, everything else as canonical JSON.
    init(json value: JSONValue) {
        switch value {
        case .null: self = .null
        case .bool(let flag): self = .integer(flag ? 1 : 0)
        case .integer(let number): self = .integer(number)
        case .string(let text), .decimal(let text): self = .text(text)
        case .array, .object: self = .text(value.canonicalText)
        }
    }
}

/// All tables of a schema that a replica holds.
struct ReplicaTables: Sendable {
    let schema: Schema
    /// In schema order; entities that never leave the server have none.
    let all: [RecordTable]
    private let byName: [String: RecordTable]

    init(_ schema: Schema) {
        self.schema = schema
        all = schema.entities.filter { $0.scopes != [.none] }.map(RecordTable.init)
        byName = Dictionary(uniqueKeysWithValues: all.map { ($0.schema.name, $0) })
    }

    subscript(entity: String) -> RecordTable? { byName[entity] }
}
