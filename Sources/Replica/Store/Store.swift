// Everything that is done with an open file goes through a Store: the connection with what it takes to read it.
// It lives only inside a block of the gate.

import SyncProtocol

struct Store {
    let connection: SQLiteConnection
    let tables: ReplicaTables
    let environment: ReplicaEnvironment
    /// Set while a part of the capture log is sealed: what reads and writes records does so as if these had not happened yet.
    var unsealed: UnsealedRows?

    var schema: Schema { tables.schema }

    func step(_ step: StorageStep) throws { try environment.storageStep(step) }

    // MARK: Records of the view

    func record(_ key: RecordKey) throws -> RecordState? {
        guard let table = tables[key.entity] else { return nil }
        if let unsealed, unsealed.cover(key) { return try recordBefore(unsealed, key) }
        return try connection.first(table.select + " WHERE id = ?1", [.text(key.id.text)]) { try table.record($0) }
    }

    func put(_ record: RecordState) throws {
        guard let table = tables[record.schema.name] else { return }
        if let unsealed, unsealed.cover(record.key) { throw PartNotApart() }
        try connection.withStatement(table.upsert) { statement in
            try table.bind(record, to: statement)
            try statement.run()
        }
    }

    func remove(_ key: RecordKey) throws {
        guard let table = tables[key.entity] else { return }
        try connection.execute(table.delete, [.text(key.id.text)])
    }

    /// Records whose field equals a value, in id order.
    func lookup(_ entity: String, _ field: String, _ value: JSONValue, includingDeleted: Bool) throws -> [RecordState] {
        guard let table = tables[entity], table.parameter[field] != nil else { return [] }
        // A set is found by each of its elements.
        let isSet = table.schema.field(field)?.type.isSet ?? false
        let condition =
            isSet ? "EXISTS (SELECT 1 FROM json_each(\"\(field)\") e WHERE e.value = ?1)" : "\"\(field)\" \(value.isNull ? "IS" : "=") ?1"
        let sql = table.select + " WHERE \(condition)\(includingDeleted ? "" : " AND deleted_at IS NULL") ORDER BY id"
        let found = try connection.query(sql, [SQLiteValue(json: value)]) { try table.record($0) }
        guard let unsealed else { return found }
        return try before(unsealed, found, table, field, value, includingDeleted: includingDeleted)
    }
}
