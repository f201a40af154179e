// One entity as a typed table: its DDL and the SQL that reads and writes its rows. Built once per process, read by all workers.

import SyncProtocol

/// The texts never vary with data, so that each connection prepares them once.
struct EntityTable: Sendable {
    let entity: EntitySchema
    /// Quoted, with its schema: `public."client"`.
    let name: String
    let layout: RowLayout
    /// False for what never leaves the server.
    let isReplicated: Bool

    /// A row as the text of a JSON array in `layout` order.
    private let serverRow: String
    /// The same without secrets, ending before `versions`: the reader decides how much of them to send.
    private let replicaRowHead: String
    private let fieldRoleRowHead: String
    /// A row as the text of a JSON object by column, without secrets: what REST answers.
    let document: String
    /// The same without restricted fields.
    let fieldRoleDocument: String
    let upsert: String

    init(_ entity: EntitySchema) {
        self.entity = entity
        name = "public." + PostgresIdentifier.quoted(entity.name)
        layout = RowLayout(of: entity, audience: .server)
        isReplicated = entity.scopes != [.none]
        for field in entity.fields {
            precondition(!EntityTable.reserved.contains(field.name), "\(entity.name).\(field.name) is the name of a common column")
        }
        func rowText(_ columns: [String], _ hidden: (FieldSchema) -> Bool) -> String {
            let parts = columns.map { column in
                if let field = entity.field(column), hidden(field) { return "'null'" }
                return EntityTable.jsonText(of: column, in: entity)
            }
            return "'['||" + parts.joined(separator: "||','||")
        }
        serverRow = rowText(layout.columns) { _ in false } + "||']'"
        let sent = RowLayout(of: entity, audience: .replica).columns.dropLast()
        replicaRowHead = rowText(Array(sent)) { _ in false }
        fieldRoleRowHead = rowText(Array(sent)) { $0.isRestricted }
        func documentText(_ fields: [FieldSchema]) -> String {
            let members = (EntityTable.documentCommon + fields.map(\.name)).map { column in
                "\"\(column)\":'||\(EntityTable.jsonText(of: column, in: entity))"
            }
            return "'{" + members.joined(separator: "||',") + "||'}'"
        }
        document = documentText(entity.fields.filter { !$0.isSecret })
        fieldRoleDocument = documentText(entity.fields.filter { !$0.isSecret && !$0.isRestricted })
        let columns = layout.columns.map { PostgresIdentifier.quoted($0) }
        let typed = layout.columns.map { "\(PostgresIdentifier.quoted($0)) \(EntityTable.columnType(of: $0, in: entity))" }
        let updates = columns.filter { $0 != "\"id\"" }.map { "\($0) = excluded.\($0)" }
        upsert = """
            INSERT INTO \(name) (tenant, \(columns.joined(separator: ", "))) \
            SELECT $1::uuid, \(columns.map { "r.\($0)" }.joined(separator: ", ")) \
            FROM jsonb_to_recordset($2::jsonb) AS r(\(typed.joined(separator: ", "))) \
            ON CONFLICT (tenant, id) DO UPDATE SET \(updates.joined(separator: ", "))
            """
    }

    /// The members of every document, before its fields.
    static let documentCommon = ["id", "position", "created_at", "created_by", "updated_at", "deleted_at"]

    private static let reserved: Set<String> = Set(RowLayout.common + ["tenant", "extra", "versions", "scope_keys"])

    // MARK: Reading

    // Each id or value is one probe of one index (OFFSET 0 keeps the planner from turning them into a join): with few
    // statistics about a new tenant, scanning all of its rows can look as cheap as a look-up.

    /// No row of any entity is shorter.
    static let rowBytesMin = 80
    /// Of one batch of rows in id order; it is shorter then.
    static let batchBytes = 16 << 20

    /// Of a query for rows that a decision needs; none says how many there are. `$3` bytes, `$4` rows.
    static func capped(_ query: String) -> String { CappedRows.sql("\(query) LIMIT $4::bigint", upTo: "$3::bigint") }

    /// `$1` tenant, `$2` ids.
    var selectByID: String {
        """
        SELECT r.row FROM unnest($2::uuid[]) k(id) CROSS JOIN LATERAL \
        (SELECT \(serverRow) AS row FROM \(name) t WHERE t.tenant = $1::uuid AND t.id = k.id OFFSET 0) r
        """
    }

    /// `$1` tenant, `$2` distinct values.
    func selectByField(_ field: FieldSchema, includingDeleted: Bool) -> String {
        let column = "t." + PostgresIdentifier.quoted(field.name)
        let (values, condition) =
            switch field.type.storage {
            case .integer: ("bigint[]", "\(column) = k.value")
            case .identifier: ("uuid[]", "\(column) = k.value")
            case .text: ("text[]", "\(column) = k.value")
            // No index serves these under row level security (decision 0012): who is in a set is asked when that record is deleted.
            case .textSet: ("text[]", "\(column) @> ARRAY[k.value]")
            case .json: ("jsonb[]", "to_jsonb(\(column)) = k.value")
            }
        return """
            SELECT r.row FROM unnest($2::\(values)) k(value) CROSS JOIN LATERAL \
            (SELECT \(serverRow) AS row FROM \(name) t WHERE t.tenant = $1::uuid AND \(condition)\
            \(includingDeleted ? "" : " AND t.deleted_at IS NULL") OFFSET 0) r
            """
    }

    /// `$1` tenant, `$2` null, where others have what they look for. For look-ups of "not set".
    func selectWhereNull(_ field: FieldSchema, includingDeleted: Bool) -> String {
        """
        SELECT \(serverRow) AS row FROM \(name) t WHERE t.tenant = $1::uuid AND $2::text IS NULL \
        AND t.\(PostgresIdentifier.quoted(field.name)) IS NULL\(includingDeleted ? "" : " AND t.deleted_at IS NULL")
        """
    }

    /// The records and all their parents. UNION ends at a cycle. `$1` tenant, `$2` ids.
    func selectAncestors(through parent: String) -> String {
        let column = PostgresIdentifier.quoted(parent)
        return """
            WITH RECURSIVE chain(id) AS (SELECT unnest($2::uuid[]) UNION SELECT e.parent FROM chain CROSS JOIN LATERAL \
            (SELECT t.\(column) AS parent FROM \(name) t WHERE t.tenant = $1::uuid AND t.id = chain.id OFFSET 0) e \
            WHERE e.parent IS NOT NULL) \
            SELECT r.row FROM chain CROSS JOIN LATERAL \
            (SELECT \(serverRow) AS row FROM \(name) t WHERE t.tenant = $1::uuid AND t.id = chain.id OFFSET 0) r
            """
    }

    /// Live rows in id order, from after an id, that a reader may see; nil: all of them. Fewer than asked for if they are many bytes
    /// (``batchBytes``): the end is an answer without rows. `$1` tenant, `$2` id, `$3` count; `$4` is the reader's parameter, where there
    /// is a condition.
    func selectLiveByID(_ reader: ReaderAccess?) -> (sql: String, isConditional: Bool) {
        let condition = reader?.rowCondition(of: entity, table: "t", parameter: "$4")
        return (
            CappedRows.sql(
                """
                SELECT \(serverRow) AS row, id FROM \(name) t WHERE tenant = $1::uuid AND id > $2::uuid AND deleted_at IS NULL\
                \(condition.map { " AND \($0)" } ?? "") ORDER BY id LIMIT $3::bigint
                """, upTo: String(EntityTable.batchBytes)), condition != nil
        )
    }

    /// `(position, row up to but without its versions, versions or NULL when there is no news in them)`.
    /// They end with the row that passes `bytes`. `$1` tenant, `$2` after position, `$3` up to position, `$4` tombstone floor; then versions
    /// after position, if wanted, and the reader's parameter, if some rows are not for it.
    func selectPage(for reader: ReaderAccess, withVersions: Bool, bytes: Int) -> String {
        // Null: nothing newer than `$5`, or the creation is the only version there is and itself news.
        let versions =
            withVersions
            ? """
            CASE WHEN position <= $5::bigint OR ((versions - '*') = '{}'::jsonb AND (versions->'*'->>1)::bigint > $5::bigint) \
            THEN NULL ELSE versions::text END
            """
            : "NULL"
        let condition = reader.rowCondition(of: entity, table: "t", parameter: withVersions ? "$6" : "$5")
        return CappedRows.sql(
            """
            SELECT position, \(reader.hidesRestricted ? fieldRoleRowHead : replicaRowHead)||',' AS row, \(versions) AS news FROM \(name) t \
            WHERE tenant = $1::uuid AND position > $2::bigint AND position <= $3::bigint \
            AND (deleted_at IS NULL OR position > $4::bigint)\(condition.map { " AND \($0)" } ?? "") ORDER BY position
            """, counting: ["row", "news"], upTo: String(bytes))
    }

    fileprivate static func jsonText(of column: String, in entity: EntitySchema) -> String {
        let quoted = "t." + PostgresIdentifier.quoted(column)
        switch column {
        case "id": return "'\"'||t.id||'\"'"
        case "position", "created_at", "updated_at": return quoted
        default: break
        }
        switch storage(of: column, in: entity) {
        case .integer: return "coalesce(\(quoted)::text,'null')"
        case .identifier: return "coalesce('\"'||\(quoted)||'\"','null')"
        case .text, .textSet: return "coalesce(to_json(\(quoted))::text,'null')"
        case .json: return "coalesce(\(quoted)::text,'null')"
        }
    }

    // MARK: Columns

    private static func storage(of column: String, in entity: EntitySchema) -> FieldType.Storage {
        switch column {
        case "id", "created_by": .identifier
        case "position", "created_at", "updated_at", "deleted_at": .integer
        case "extra", "versions": .json
        case "scope_keys": .textSet
        case "deleted_cause": .text
        default: entity.field(column)?.type.storage ?? .text
        }
    }

    static func columnType(of column: String, in entity: EntitySchema) -> String {
        switch storage(of: column, in: entity) {
        case .text: "text"
        case .integer: "bigint"
        case .identifier: "uuid"
        case .textSet: "text[]"
        case .json: "jsonb"
        }
    }

    // MARK: DDL

    /// Creates the table or adds what the schema gained; never drops, never changes a type.
    var definition: [String] {
        var statements = [
            """
            CREATE TABLE IF NOT EXISTS \(name) (tenant uuid NOT NULL, id uuid NOT NULL, position bigint NOT NULL, created_at bigint NOT NULL, \
            created_by uuid, updated_at bigint NOT NULL, deleted_at bigint, deleted_cause text, extra jsonb NOT NULL DEFAULT '{}', \
            versions jsonb NOT NULL, scope_keys text[] NOT NULL DEFAULT '{}', PRIMARY KEY (tenant, id))
            """
        ]
        let columns = entity.fields.map {
            "ADD COLUMN IF NOT EXISTS \(PostgresIdentifier.quoted($0.name)) \(EntityTable.columnType(of: $0.name, in: entity))"
        }
        // Statistics about tenants mislead: the planner must not take a tenant it has not met for an empty one.
        statements.append("ALTER TABLE \(name) ALTER COLUMN tenant SET STATISTICS 0")
        if !columns.isEmpty { statements.append("ALTER TABLE \(name) \(columns.joined(separator: ", "))") }
        statements.append(index("position", on: "(tenant, position)"))
        for field in entity.fields {
            let column = PostgresIdentifier.quoted(field.name)
            let isReference = field.type.storage == .identifier
            guard field.isIndexed || field.uniqueWith != nil || isReference else { continue }
            switch field.type.storage {
            case .textSet: statements.append(index(field.name, on: "USING gin (\(column))"))
            case .json: statements.append(index(field.name, on: "USING gin (\(column) jsonb_path_ops)"))
            case .text:
                // A B-tree entry holds at most a third of a page.
                if EntityTable.mayExceedIndexEntry(field.type) { continue }
                statements.append(scalarIndex(field))
            case .integer, .identifier: statements.append(scalarIndex(field))
            }
        }
        // Rules decide about what is unique within a tenant; nobody holds a lock on all tenants, so here the database does.
        for field in entity.fields where field.isUniqueGlobally {
            statements.append(
                "CREATE UNIQUE INDEX IF NOT EXISTS \(PostgresIdentifier.quoted(globalIndex(field))) ON \(name) "
                    + "(\(PostgresIdentifier.quoted(field.name))) WHERE deleted_at IS NULL")
        }
        if let words = searchedWords { statements.append(index("words", on: "USING gin (to_tsvector('simple', \(words)))")) }
        return statements
    }

    /// Lists sort on it and continue from any row, so the id ends it: equal values are in order too.
    private func scalarIndex(_ field: FieldSchema) -> String {
        let column = PostgresIdentifier.quoted(field.name)
        return field.isIndexed ? index(field.name + "_id", on: "(tenant, \(column), id)") : index(field.name, on: "(tenant, \(column))")
    }

    /// Whether lists can be sorted on a field and continue anywhere at the same cost.
    static func isSortable(_ field: FieldSchema) -> Bool {
        guard field.isIndexed, !field.isSecret else { return false }
        switch field.type.storage {
        case .integer, .identifier: return true
        case .text: return !mayExceedIndexEntry(field.type)
        case .textSet, .json: return false
        }
    }

    private func globalIndex(_ field: FieldSchema) -> String { EntityTable.indexName(entity.name, field.name + "_everywhere") }

    /// The field whose uniqueness among all tenants a constraint guards.
    func globallyUniqueField(constraint: String) -> FieldSchema? {
        entity.fields.first { $0.isUniqueGlobally && globalIndex($0) == constraint }
    }

    private func index(_ column: String, on target: String) -> String {
        "CREATE INDEX IF NOT EXISTS \(PostgresIdentifier.quoted(EntityTable.indexName(entity.name, column))) ON \(name) \(target)"
    }

    /// Postgres cuts names at 63 bytes, which could make two of them one.
    private static func indexName(_ entity: String, _ column: String) -> String {
        let full = "\(entity)_\(column)_idx"
        guard full.utf8.count > 63 else { return full }
        return String(full.prefix(46)) + "_" + String(Hex.encode(SHA256.hash(Array(full.utf8))).prefix(16))
    }

    private static func mayExceedIndexEntry(_ type: FieldType) -> Bool {
        switch type {
        case .text(let range): range.upperBound > 600
        case .rich(let maximum), .slug(let maximum): maximum > 600
        case .url: true
        default: false
        }
    }
}

/// Every entity's table.
struct EntityTables: Sendable {
    let schema: Schema
    let all: [EntityTable]
    private let byName: [String: EntityTable]

    init(_ schema: Schema) {
        self.schema = schema
        all = schema.entities.map(EntityTable.init)
        byName = Dictionary(uniqueKeysWithValues: all.map { ($0.entity.name, $0) })
    }

    subscript(_ entity: String) -> EntityTable? { byName[entity] }
    var replicated: [EntityTable] { all.filter(\.isReplicated) }

    /// What a refusal of the database says about the data, where the database is the one to say it; nil for all others.
    func violation(of error: PostgresError) -> Violation? {
        guard error.kind == .uniqueViolation, let constraint = error.constraint else { return nil }
        for table in all {
            guard let field = table.globallyUniqueField(constraint: constraint) else { continue }
            return Violation(
                entity: table.entity.name, id: nil, field: field.name, code: .duplicate, message: "\(field.name) is already in use")
        }
        return nil
    }
}
