// `GET /v1/sync/digest`: count and content hash of every entity, to compare with a replica (protocol §7.5).

import SyncProtocol

struct Digest {
    let context: SyncContext
    let connection: PostgresConnection

    /// Rows in memory at a time.
    private static let batch: Int64 = 2_000

    /// `{"position":n,"epoch":e,"entities":{"client":{"count":n,"hash":hex}}}`, all in one snapshot.
    func run(token: AccessToken) throws -> [UInt8] {
        try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            _ = try Authentication.replica(of: principal)
            guard let head = TenantHead(try connection.run(TenantHead.read(token.tenant))) else { throw Authentication.unauthorized }
            let store = RecordStore(tables: context.tables, tenant: token.tenant, epoch: head.position.epoch)
            var entities = JSONObject()
            for table in context.tables.replicated {
                let digest = try digest(table, store: store, hidesRestricted: principal.role == .field, on: connection)
                entities[table.entity.name] = ["count": .integer(digest.count), "hash": .string(digest.hash)]
            }
            let reply: JSONValue = [
                "position": .integer(head.position.position), "epoch": .integer(head.position.epoch), "entities": .object(entities),
            ]
            return reply.canonicalBytes()
        }
    }

    private func digest(
        _ table: EntityTable, store: RecordStore, hidesRestricted: Bool, on connection: PostgresConnection
    ) throws -> (count: Int64, hash: String) {
        var digest = ContentDigest(of: table.entity)
        var last = Identifier.zero
        let hidden = hidesRestricted ? table.entity.fields.filter(\.isRestricted).map(\.name) : []
        while true {
            let result = try connection.run(
                table.selectLiveByID, .identifier(store.tenant), .identifier(last), .integer(Digest.batch))
            for var record in try store.states(of: table.entity.name, in: result) {
                for field in hidden { record[field] = .null }
                digest.add(record)
                last = record.id
            }
            if result.rowCount < Int(Digest.batch) { break }
        }
        return (digest.count, digest.finish())
    }
}
