// `GET /v1/sync/records`: single records as they are now, for a replica that mends a difference (protocol §7.8).

import SyncProtocol

struct Records {
    let context: SyncContext
    let connection: PostgresConnection

    /// `{"position","epoch","entities":[block]}` with the rows of a pull page, tombstones included, versions left out.
    /// What the reader does not see is as little there as what does not exist.
    func run(_ request: RecordsRequest, token: AccessToken) throws -> [UInt8] {
        try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            _ = try Authentication.replica(of: principal)
            guard let head = TenantHead(try connection.run(TenantHead.read(token.tenant))) else { throw Authentication.unauthorized }
            let reader = ReaderAccess(principal)
            // What is read in a role that no pull has told of would stay in the file.
            if let cursor = try request.cursor.map({ try context.cursorSeal.open($0, tenant: token.tenant) }) {
                try cursor.requireRole(reader.role)
            }
            guard let table = context.tables.replicated.first(where: { $0.entity.name == request.entity }) else {
                throw ErrorReply(.badRequest, "entity: there is no \(request.entity)")
            }
            let store = RecordStore(tables: context.tables, tenant: token.tenant, epoch: head.position.epoch)
            let result = try connection.run(
                CappedRows.sql(table.selectByID, upTo: String(RecordsRequest.bytesMax)), .identifier(token.tenant),
                .textArray(request.ids.map(\.text)))
            // One that is not in the answer does not exist, so none can be left for another page.
            guard result.byteCount(of: 0) < RecordsRequest.bytesMax else {
                throw ErrorReply(
                    .payloadTooLarge, "these records have more than \(RecordsRequest.bytesMax >> 20) MiB; ask for fewer",
                    details: ["max": .integer(Int64(RecordsRequest.bytesMax))])
            }
            let columns = RowLayout(of: table.entity, audience: .replica).columns
            let rows = try store.states(of: request.entity, in: result).filter { reader.sees($0) }.map { record in
                let shown = reader.hiding(record)
                return JSONValue.array(columns.map { $0 == "versions" ? .null : shown.column($0) })
            }
            let block: JSONValue = [
                "entity": .string(request.entity), "columns": .array(columns.map { .string($0) }), "rows": .array(rows),
            ]
            let reply: JSONValue = [
                "position": .integer(head.position.position), "epoch": .integer(head.position.epoch), "entities": .array([block]),
            ]
            return reply.canonicalBytes()
        }
    }
}
