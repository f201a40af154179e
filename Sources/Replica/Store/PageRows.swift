// The rows of a page on their way into tables. The hot path of a first sync: tokens are bound as they are read, without
// trees or strings. While sets are pending, rows take the careful path, which keeps bases and versions.

import SyncProtocol

struct PageRows {
    private let store: Store
    private let versionsAfter: Int64
    private let careful: CarefulRows?
    private(set) var records = 0
    private(set) var evicted = 0

    init(store: Store, versionsAfter: Int64) throws {
        self.store = store
        self.versionsAfter = versionsAfter
        careful = try CarefulRows(store: store, versionsAfter: versionsAfter)
    }

    mutating func apply(_ page: PullPage) throws {
        for block in page.blocks {
            if let table = store.tables[block.entity] {
                if let careful {
                    for range in block.rows { try careful.apply(page.bytes[range], block.columns, table) }
                } else {
                    try bind(block, of: page, to: table)
                }
            } else if store.schema.entity(block.entity) == nil {
                try keepUnknown(block, of: page)
            }
            records += block.rows.count
        }
        for key in page.evictions {
            try evict(key)
            evicted += 1
        }
    }

    /// Rows of an entity that only a newer build knows.
    private func keepUnknown(_ block: PullPage.Block, of page: PullPage) throws {
        guard let idColumn = block.columns.firstIndex(of: "id") else { return }
        for range in block.rows {
            let row = try JSONValue(parsing: page.bytes[range]).arrayValue ?? []
            guard row.count == block.columns.count, let id = row[idColumn].stringValue else {
                throw WireError("entities", "a row of \(block.entity) has other columns than its block")
            }
            try store.connection.execute(
                """
                INSERT INTO _tideline_unknown (entity, id, image) VALUES (?1, ?2, ?3) \
                ON CONFLICT (entity, id) DO UPDATE SET image = excluded.image
                """,
                [.text(block.entity), .text(id), .text(RecordImage.encode(columns: block.columns, row: row))])
        }
    }

    private func evict(_ key: RecordKey) throws {
        guard store.tables[key.entity] != nil else {
            try store.connection.execute("DELETE FROM _tideline_unknown WHERE entity = ?1 AND id = ?2", key.bindings)
            return
        }
        if careful?.hasBase(key) == true {
            // It goes when the last own edit of it has been answered.
            try store.connection.execute("UPDATE _tideline_base SET evicted = 1 WHERE entity = ?1 AND id = ?2", key.bindings)
        } else {
            try store.remove(key)
        }
    }

    // MARK: The fast path

    private enum Target {
        case parameter(Int, RecordTable.Storage)
        case extra
        case ignored
        case unknown(String)
    }

    private func bind(_ block: PullPage.Block, of page: PullPage, to table: RecordTable) throws {
        let targets = block.columns.map { name -> Target in
            if name == "extra" { return .extra }
            if name == "versions" { return .ignored }
            guard let parameter = table.parameter[name] else { return .unknown(name) }
            return .parameter(parameter, table.columns[parameter - 1].storage)
        }
        let extraParameter = table.columns.count
        // Columns that an older server does not send stay as they are: it will not send the record again when it has been updated.
        let absent = table.columnsAbsent(from: block.columns)
        try page.bytes.withUnsafeBufferPointer { whole in
            try store.connection.withStatement(table.upsert(leaving: absent)) { statement in
                for range in block.rows {
                    try statement.bindNull(extraParameter)
                    let row = UnsafeBufferPointer(rebasing: whole[range])
                    var extra: JSONObject?
                    var column = 0
                    try JSONReader.read(row) { reader in
                        try reader.beginArray()
                        while try reader.nextElement() {
                            guard column < targets.count else { throw PageRows.wrongCount(block) }
                            switch targets[column] {
                            case .parameter(let parameter, let storage):
                                try PageRows.bind(&reader, row, statement, parameter, storage)
                            case .ignored: _ = try reader.skipValue()
                            case .extra: try PageRows.collect(&reader, into: &extra)
                            case .unknown(let name):
                                let value = try reader.readValue()
                                if !value.isNull { extra = PageRows.adding(name, value, to: extra) }
                            }
                            column += 1
                        }
                    }
                    guard column == targets.count else { throw PageRows.wrongCount(block) }
                    if let extra { try statement.bind(extraParameter, JSONValue.object(extra).canonicalText) }
                    try statement.run()
                }
            }
        }
    }

    private static func adding(_ name: String, _ value: JSONValue, to extra: JSONObject?) -> JSONObject {
        var extra = extra ?? JSONObject()
        extra[name] = value
        return extra
    }

    private static func collect(_ reader: inout JSONReader, into extra: inout JSONObject?) throws {
        if try reader.readIfNull() { return }
        for (name, value) in try reader.readValue().objectValue ?? JSONObject() { extra = adding(name, value, to: extra) }
    }

    private static func wrongCount(_ block: PullPage.Block) -> WireError {
        WireError("entities", "a row of \(block.entity) has other columns than its block")
    }

    private static func bind(
        _ reader: inout JSONReader, _ row: UnsafeBufferPointer<UInt8>, _ statement: SQLiteStatement, _ parameter: Int,
        _ storage: RecordTable.Storage
    ) throws {
        switch try reader.peekKind() {
        case .null:
            try reader.readNull()
            try statement.bindNull(parameter)
        case .string:
            try reader.readStringBytes { text in
                // Text without escapes lies in the page, which outlives the step; unescaped text does not.
                if let start = text.baseAddress, let first = row.baseAddress, start >= first, start + text.count <= first + row.count {
                    try statement.bind(parameter, borrowedUTF8: text)
                } else {
                    try statement.bind(parameter, utf8: text)
                }
            }
        case .number:
            let value = try reader.readValue()
            try statement.bind(parameter, SQLiteValue(json: value))
        case .bool: try statement.bind(parameter, try reader.readBool())
        case .array, .object:
            let range = try reader.skipValue()
            if range.count == 2 {
                try statement.bind(parameter, borrowedUTF8: UnsafeBufferPointer(rebasing: row[range]))
            } else {
                try statement.bind(parameter, JSONValue(parsing: UnsafeBufferPointer(rebasing: row[range])).canonicalText)
            }
        }
    }
}

/// The path of rows while sets are pending: confirmed images and versions are kept apart from the view.
struct CarefulRows {
    private let store: Store
    private let versionsAfter: Int64
    private let bases: Set<RecordKey>
    /// Records created by sets that are still here: their versions carry own dots.
    private let creations: [Identifier: (dot: Dot, milliseconds: Int64)]
    private let member: Identifier?

    /// nil when nothing is pending, so that rows can go the fast path.
    init?(store: Store, versionsAfter: Int64) throws {
        let pending = try store.pendingRows()
        let bases = try store.bases()
        guard !pending.isEmpty || !bases.isEmpty else { return nil }
        self.store = store
        self.versionsAfter = versionsAfter
        self.bases = Set(bases.map(\.key))
        var creations: [Identifier: (dot: Dot, milliseconds: Int64)] = [:]
        for row in pending {
            guard let sealed = row.sealed, let set = try? ChangeSet(sealed: sealed) else { continue }
            for change in set.changes {
                if case .create = change.operation { creations[change.key.id] = (set.dot, set.timestamp.milliseconds) }
            }
        }
        self.creations = creations
        member = try Metadata(connection: store.connection).identity()?.member
    }

    func hasBase(_ key: RecordKey) -> Bool { bases.contains(key) }

    func apply(_ bytes: ArraySlice<UInt8>, _ columns: [String], _ table: RecordTable) throws {
        let row = try JSONValue(parsing: bytes).arrayValue ?? []
        var record = try RecordState(schema: table.schema, columns: columns, row: row, epoch: 0)
        let absent = table.columnsAbsent(from: columns)
        if !absent.isEmpty, let known = try hasBase(record.key) ? store.baseRecord(record.key) : store.record(record.key) {
            for field in absent where table.schema.index(of: field) != nil { record[field] = known[field] }
        }
        if record.position.position > versionsAfter {
            // `{}`: no part of it was written since; only who holds it has changed, or a counter.
            let saysNothing = columns.firstIndex(of: "versions").map { $0 >= row.count || row[$0].isNull } ?? true
            if saysNothing { record.versions = creationVersions(of: record) }
            if !record.versions.isEmpty { try store.overlayVersions(record.key, table.schema, record.versions) }
        }
        if hasBase(record.key) {
            try store.updateBase(record.key, image: RecordImage.encode(record))
        } else {
            try store.put(record)
        }
    }

    /// Without versions a row says: created after what was known, and not written since. Who did it follows from the row.
    private func creationVersions(of record: RecordState) -> RecordVersions {
        var dot: Dot?
        var timestamp = HybridTimestamp(milliseconds: record.createdAt)
        if let creation = creations[record.id], creation.milliseconds == record.createdAt, record.createdBy == member {
            dot = creation.dot
            timestamp = HybridTimestamp(milliseconds: creation.milliseconds)
        }
        let tag = VersionTag(position: record.position, dot: dot, timestamp: timestamp, actor: record.createdBy)
        var versions = RecordVersions(created: tag)
        if !record.schema.deterministicKeys.isEmpty {
            for field in record.schema.fields where !record[field.name].isNull && field.isWritable { versions.fields[field.name] = tag }
        }
        return versions
    }
}
