// Records in and out of their tables: answers what the core asked for in one round trip, writes what it decided in one batch.

import SyncProtocol

/// For one tenant within one transaction.
struct RecordStore {
    let tables: EntityTables
    let tenant: Identifier
    /// Of the tenant's head; only positions are compared, so older rows may carry it too.
    let epoch: Int64
    /// Entities whose hierarchy was asked for: from then on a record comes with all its parents, so that a chain of any
    /// length costs one more round trip and not one a level.
    private var hierarchies: [String: String] = [:]
    private let bytesMax: Int
    /// Of what ``load(_:into:on:)`` may still bring.
    private var bytesLeft: Int

    /// Of all records that one decision needs, as the text they are read in.
    static let loadedBytesMax = 64 << 20

    /// More was to be loaded than one decision may need: few ids can name many long records, and one a thousand others.
    struct TooLarge: Error, CustomStringConvertible {
        let max: Int
        var description: String { "what this concerns is more than \(max >> 20) MiB of records" }
    }

    /// - Parameter bytesMax: Of everything that is loaded here.
    init(tables: EntityTables, tenant: Identifier, epoch: Int64, bytesMax: Int = RecordStore.loadedBytesMax) {
        self.tables = tables
        self.tenant = tenant
        self.epoch = epoch
        self.bytesMax = bytesMax
        bytesLeft = bytesMax
    }

    // MARK: Loading

    private struct FieldLookup: Hashable {
        let entity: String
        let field: String
        let includingDeleted: Bool
        let isNull: Bool
    }

    private enum Answer {
        case records(entity: String, keys: [RecordKey])
        case ancestors(entity: String, reads: [(read: Read, key: RecordKey)], parent: String)
        case lookup(FieldLookup, values: [JSONValue])
        case rejected([Identifier])
    }

    /// Loads everything asked for and hands it to the workspace, absences included. Throws ``PostgresError`` or ``TooLarge``; then part of
    /// it may have been handed over.
    mutating func load(_ reads: [Read], into workspace: Workspace, on connection: PostgresConnection) throws {
        var records: [String: [RecordKey]] = [:]
        var ancestors: [String: [(read: Read, key: RecordKey)]] = [:]
        var lookups: [FieldLookup: [JSONValue]] = [:]
        var rejected: [Identifier] = []
        for case .ancestors(let key, let parent) in reads { hierarchies[key.entity] = parent }
        var seen: Set<Read> = []
        for read in reads where seen.insert(read).inserted {
            switch read {
            case .record(let key):
                if hierarchies[key.entity] != nil {
                    ancestors[key.entity, default: []].append((read, key))
                } else {
                    records[key.entity, default: []].append(key)
                }
            case .ancestors(let key, _): ancestors[key.entity, default: []].append((read, key))
            case .lookup(let entity, let field, let value, let includingDeleted):
                let lookup = FieldLookup(entity: entity, field: field, includingDeleted: includingDeleted, isNull: value.isNull)
                lookups[lookup, default: []].append(value)
            case .rejectedCreation(let id): rejected.append(id)
            }
        }

        var questions: [Question] = []
        for (entity, keys) in records {
            guard let table = tables[entity] else { continue }
            questions.append(Question(table.selectByID, .textArray(keys.map(\.id.text)), .records(entity: entity, keys: keys)))
        }
        for (entity, wanted) in ancestors {
            guard let table = tables[entity], let parent = hierarchies[entity], table.entity.field(parent) != nil else { continue }
            questions.append(
                Question(
                    table.selectAncestors(through: parent), .textArray(wanted.map(\.key.id.text)),
                    .ancestors(entity: entity, reads: wanted, parent: parent)))
        }
        for (lookup, values) in lookups {
            guard let table = tables[lookup.entity], let field = table.entity.field(lookup.field) else { continue }
            questions.append(
                lookup.isNull
                    ? Question(
                        table.selectWhereNull(field, includingDeleted: lookup.includingDeleted), .null, .lookup(lookup, values: values))
                    : Question(
                        table.selectByField(field, includingDeleted: lookup.includingDeleted),
                        RecordStore.array(values, field.type.storage), .lookup(lookup, values: values)))
        }
        try ask(questions, rejected: rejected, for: workspace, on: connection)
    }

    /// What is asked for in one statement.
    private struct Question {
        let sql: String
        /// Ids or values.
        let wanted: PostgresValue
        let answer: Answer

        init(_ query: String, _ wanted: PostgresValue, _ answer: Answer) {
            sql = EntityTable.capped(query)
            self.wanted = wanted
            self.answer = answer
        }
    }

    /// Everything in one round trip, each answer with its share of the bytes that are left. One that needs more is asked for again, alone.
    private mutating func ask(
        _ questions: [Question], rejected: [Identifier], for workspace: Workspace, on connection: PostgresConnection
    ) throws {
        let share = max(bytesLeft / max(questions.count, 1), min(bytesLeft, RecordStore.shareMin))
        var statements = [TenantSession.planForTablesAsTheyAre] + questions.map { statement($0, bytes: share) }
        if !rejected.isEmpty {
            statements.append(
                PostgresStatement(
                    "SELECT DISTINCT unnest(created_ids) FROM tideline.change_set WHERE tenant = $1::uuid AND created_ids && $2::uuid[]",
                    [.identifier(tenant), .textArray(rejected.map(\.text))]))
        }
        guard statements.count > 1 else { return }
        var results = try connection.batch(statements)
        if !rejected.isEmpty { try supply(.rejected(rejected), from: results.removeLast(), to: workspace) }
        var larger: [Question] = []
        for (question, result) in zip(questions, results.dropFirst()) {
            if let bytes = Self.whole(result, within: share) {
                bytesLeft -= bytes
                try supply(question.answer, from: result, to: workspace)
            } else {
                larger.append(question)
            }
        }
        for question in larger {
            let result = try connection.run(statement(question, bytes: bytesLeft))
            guard let bytes = Self.whole(result, within: bytesLeft) else { throw TooLarge(max: bytesMax) }
            bytesLeft -= bytes
            try supply(question.answer, from: result, to: workspace)
        }
    }

    private static let shareMin = 1 << 20

    private func statement(_ question: Question, bytes: Int) -> PostgresStatement {
        PostgresStatement(
            question.sql, [.identifier(tenant), question.wanted, .integer(Int64(bytes)), .integer(Int64(Self.rows(of: bytes)))])
    }

    /// So many are more bytes than that: the database need not read on.
    private static func rows(of bytes: Int) -> Int { bytes / EntityTable.rowBytesMin + 1 }

    /// The bytes of an answer that nothing is missing from.
    private static func whole(_ result: PostgresResult, within max: Int) -> Int? {
        let bytes = result.byteCount(of: 0)
        return bytes < max && result.rowCount < rows(of: max) ? bytes : nil
    }

    private func supply(_ answer: Answer, from result: PostgresResult, to workspace: Workspace) throws {
        switch answer {
        case .records(let entity, let keys):
            let found = Dictionary(uniqueKeysWithValues: try states(of: entity, in: result).map { ($0.key, $0) })
            for key in keys { workspace.supply(.record(key), records: found[key].map { [$0] } ?? []) }
        case .ancestors(let entity, let reads, let parent):
            let all = try states(of: entity, in: result)
            for (read, key) in reads {
                workspace.supply(read, records: all)
                workspace.supply(.record(key), records: [])
                workspace.supply(.ancestors(key, parent: parent), records: [])
            }
        case .lookup(let lookup, let values):
            let isSet = tables[lookup.entity]?.entity.field(lookup.field)?.type.isSet ?? false
            var found: [JSONValue: [RecordState]] = [:]
            for record in try states(of: lookup.entity, in: result) {
                let held = isSet ? record[lookup.field].arrayValue ?? [] : [record[lookup.field]]
                for value in held { found[value, default: []].append(record) }
            }
            for value in values {
                let read = Read.lookup(entity: lookup.entity, field: lookup.field, value: value, includingDeleted: lookup.includingDeleted)
                workspace.supply(read, records: found[value] ?? [])
            }
        case .rejected(let ids):
            let found = Set(result.rows.compactMap { result.identifier($0, 0) })
            for id in ids { workspace.supply(rejectedCreation: id, wasRejected: found.contains(id)) }
        }
    }

    private static func array(_ values: [JSONValue], _ storage: FieldType.Storage) -> PostgresValue {
        switch storage {
        case .integer: .integerArray(values.compactMap(\.integerValue))
        // A text that is no UUID equals no reference; passed on it would fail the statement.
        case .identifier: .textArray(values.compactMap { $0.stringValue.flatMap { Identifier($0) }?.text })
        case .text, .textSet: .textArray(values.compactMap(\.stringValue))
        case .json: .utf8Array(values.map { $0.canonicalBytes() })
        }
    }

    /// Rows in server layout, as the text of a JSON array in the first column.
    func states(of entity: String, in result: PostgresResult) throws -> [RecordState] {
        guard let table = tables[entity] else { return [] }
        return try result.rows.compactMap { row in
            try result.withUTF8(row, 0) { text in
                try RecordState(
                    schema: table.entity, columns: table.layout.columns, row: try JSONValue(parsing: text).arrayValue ?? [], epoch: epoch)
            }
        }
    }

    // MARK: Writing

    /// Whole rows, one statement an entity.
    func write(_ records: [RecordState]) -> [PostgresStatement] {
        let byEntity = Dictionary(grouping: records, by: \.schema.name)
        return byEntity.keys.sorted().compactMap { entity in
            guard let table = tables[entity], let rows = byEntity[entity] else { return nil }
            var writer = JSONWriter(reservingCapacity: rows.count * 1024)
            writer.beginArray()
            for record in rows {
                writer.beginObject()
                for column in table.layout.columns {
                    let value = record.column(column)
                    if value.isNull { continue }
                    writer.key(column)
                    writer.value(value)
                }
                writer.endObject()
            }
            writer.endArray()
            return PostgresStatement(table.upsert, [.identifier(tenant), .utf8(writer.bytes)])
        }
    }

    /// Last position and number of live records of each entity that was written.
    func writeHeads(_ records: [RecordState], before: (RecordKey) -> RecordState?) -> PostgresStatement? {
        guard !records.isEmpty else { return nil }
        var heads: [String: (position: Int64, live: Int64)] = [:]
        for record in records {
            let wasLive = before(record.key)?.isLive ?? false
            var head = heads[record.schema.name] ?? (0, 0)
            head.position = max(head.position, record.position.position)
            head.live += (record.isLive ? 1 : 0) - (wasLive ? 1 : 0)
            heads[record.schema.name] = head
        }
        let names = heads.keys.sorted()
        return PostgresStatement(
            """
            INSERT INTO tideline.entity_head (tenant, entity, position, live) \
            SELECT $1::uuid, e, p, l FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS r(e, p, l) \
            ON CONFLICT (tenant, entity) DO UPDATE SET position = greatest(entity_head.position, excluded.position), \
            live = entity_head.live + excluded.live
            """,
            [
                .identifier(tenant), .textArray(names), .integerArray(names.map { heads[$0]?.position ?? 0 }),
                .integerArray(names.map { heads[$0]?.live ?? 0 }),
            ])
    }
}
