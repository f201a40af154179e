// A tenant's state read from copies of its tables.

import SyncProtocol

extension ServerState {
    /// Fills everything that is looked at from ``tables``. Throws for rows that no server wrote.
    mutating func readTables(_ schema: Schema) throws {
        if let head = try rows("tideline.tenant_head").first {
            epoch = head["epoch"]?.integerValue ?? 0
            position = head["position"]?.integerValue ?? 0
            storedBytes = head["stored_bytes"]?.integerValue ?? 0
        }
        for entity in schema.entities {
            for row in try rows("public.\(entity.name)") {
                let columns = row.keys.filter { $0 != "tenant" }
                let record = try RecordState(schema: entity, columns: columns, row: columns.map { row[$0] ?? .null }, epoch: epoch)
                records[record.key] = record
            }
        }
        for row in try rows("tideline.replica") {
            guard let id = row.identifier("id") else { continue }
            acknowledged[id] = row["acknowledged"]?.integerValue ?? 0
        }
        for row in try rows("tideline.change_set") {
            guard let replica = row.identifier("replica"), let counter = row["counter"]?.integerValue,
                let hash = row["hash"]?.stringValue, let outcome = row["outcome"]?.stringValue
            else { continue }
            outcomes[replica, default: [:]][counter] = (hash, Array(outcome.utf8))
        }
        feed = try rows("tideline.feed").map { try ActivityEntry(json: .object($0)) }.sorted { $0.position < $1.position }
        try countApplications()
    }

    /// A set that was decided twice left entries outside of the positions that its outcome names.
    private mutating func countApplications() throws {
        var positions: [Dot: ClosedRange<Int64>] = [:]
        for (replica, stored) in outcomes {
            for (counter, one) in stored {
                guard let outcome = Outcome(json: try JSONValue(parsing: one.bytes)) else { continue }
                let dot = Dot(replica: replica, counter: counter)
                positions[dot] = outcome.positions
                if outcome.status != .withdrawn { applications[dot] = 1 }
            }
        }
        for entry in feed {
            guard let dot = entry.dot, positions[dot]?.contains(entry.position.position) != true else { continue }
            applications[dot] = 2
        }
    }

    /// ``storedBytes`` again, from the rows themselves.
    public func recountedBytes() throws -> Int64 {
        let entries = try rows("tideline.feed").map { row in
            StorageQuota.bytes(
                ofEntryWith: FeedEntry.saidBytes(
                    row["changes"]?.objectValue ?? JSONObject(), row["restricted_changes"]?.objectValue ?? JSONObject()))
        }
        let sets = try rows("tideline.change_set").map { StorageQuota.bytes(ofSetWith: $0["outcome"]?.stringValue?.utf8.count ?? 0) }
        let replicas = try rows("tideline.replica").map { _ in StorageQuota.replicaBytes }
        return (entries + sets + replicas).reduce(0, +)
    }

    private func rows(_ table: String) throws -> [JSONObject] {
        guard let bytes = tables[table] else { return [] }
        return (try JSONValue(parsing: bytes).arrayValue ?? []).compactMap(\.objectValue)
    }
}

extension JSONObject {
    fileprivate func identifier(_ name: String) -> Identifier? { self[name]?.stringValue.flatMap { Identifier($0) } }
}
