// Works out the scope keys of all records of a tenant, in place: for a database that was written by a build which knew other rules.

import SyncProtocol

struct ScopeKeys {
    let tables: EntityTables
    let tenant: Identifier
    let connection: PostgresConnection

    private static let batch: Int64 = 1_000
    /// The longest chain of records that take their scope from each other.
    private static let roundsMax = 8

    /// Inside a transaction of the tenant. Throws ``PostgresError``.
    func refresh() throws {
        for _ in 0..<Self.roundsMax {
            var changed = 0
            for table in tables.all where table.entity.isServed { changed += try refresh(table) }
            if changed == 0 { return }
        }
    }

    /// Returns how many records have other keys now.
    private func refresh(_ table: EntityTable) throws -> Int {
        var store = RecordStore(tables: tables, tenant: tenant, epoch: 0, bytesMax: .max)
        var last = Identifier.zero
        var changed = 0
        while true {
            let found = try connection.run(
                table.selectLiveByID(nil).sql, .identifier(tenant), .identifier(last), .integer(Self.batch))
            let records = try store.states(of: table.entity.name, in: found)
            let keys = try keys(of: records, &store)
            let moved = zip(records, keys).filter { $0.0.scopeKeys != $0.1 }.map { record, keys in
                var record = record
                record.scopeKeys = keys
                return record
            }
            if !moved.isEmpty { try connection.batch(store.write(moved)) }
            changed += moved.count
            last = records.last?.id ?? last
            if found.rowCount < Int(Self.batch), found.byteCount(of: 0) < EntityTable.batchBytes { return changed }
        }
    }

    private func keys(of records: [RecordState], _ store: inout RecordStore) throws -> [[String]] {
        let workspace = Workspace(schema: tables.schema)
        let processor = Processor(
            schema: tables.schema, workspace: workspace, mode: .server, tenant: tenant, nowMilliseconds: 0, head: .start)
        while true {
            let keys = records.map { processor.scopeKeys(of: $0) }
            let missing = workspace.takeMissing()
            if missing.isEmpty { return keys }
            try store.load(missing, into: workspace, on: connection)
        }
    }
}
