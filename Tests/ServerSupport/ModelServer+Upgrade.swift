// A newer build takes over the model server's data, as `sync-server migrate` lets it.

import SyncProtocol

@testable import Replica

extension ModelServer {
    /// From now on the server works with this schema. Fields that it has gained are empty.
    public func upgrade(to newer: Schema) {
        lock.withLock {
            schema = newer
            for (key, record) in state.records { state.records[key] = Self.upgraded(record, to: newer) }
            ordered = nil
        }
    }

    /// A backup that an older build made, as the newer one reads it.
    func readable(_ old: ServerState) -> ServerState {
        var state = old
        for (key, record) in old.records { state.records[key] = Self.upgraded(record, to: schema) }
        return state
    }

    private static func upgraded(_ record: RecordState, to newer: Schema) -> RecordState {
        guard let entity = newer.entity(record.schema.name), entity !== record.schema else { return record }
        var upgraded = RecordState(schema: entity, id: record.id)
        for field in record.schema.fields where entity.index(of: field.name) != nil { upgraded[field.name] = record[field.name] }
        (upgraded.extra, upgraded.position, upgraded.versions) = (record.extra, record.position, record.versions)
        (upgraded.createdAt, upgraded.createdBy, upgraded.updatedAt) = (record.createdAt, record.createdBy, record.updatedAt)
        (upgraded.deletedAt, upgraded.deletedCause, upgraded.scopeKeys) = (record.deletedAt, record.deletedCause, record.scopeKeys)
        return upgraded
    }
}
