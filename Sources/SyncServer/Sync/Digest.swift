// `GET /v1/sync/digest`: count and content hash of every entity, of the ranges of one, or of single records, to compare with a
// replica and to find where they differ (protocol §7.5).

import SyncProtocol

struct Digest {
    let context: SyncContext
    let connection: PostgresConnection

    /// `{"position","epoch"}` and `entities`, `ranges` or `records`, all in one snapshot.
    func run(_ request: DigestRequest = DigestRequest(), token: AccessToken) throws -> [UInt8] {
        try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            _ = try Authentication.replica(of: principal)
            guard let head = TenantHead(try connection.run(TenantHead.read(token.tenant))) else { throw Authentication.unauthorized }
            let reader = LiveRecords(
                store: RecordStore(tables: context.tables, tenant: token.tenant, epoch: head.position.epoch),
                reader: ReaderAccess(principal), connection: connection)
            var reply: JSONObject = [
                "position": .integer(head.position.position), "epoch": .integer(head.position.epoch),
                "schema": .integer(context.schema.version),
            ]
            if let entity = request.entity {
                guard let table = context.tables.replicated.first(where: { $0.entity.name == entity }) else {
                    throw ErrorReply(.badRequest, "entity: there is no \(entity)")
                }
                if request.isStretch {
                    reply["records"] = try records(table, reader, request)
                } else {
                    reply["ranges"] = try ranges(table, reader)
                }
            } else {
                var entities = JSONObject()
                for table in context.tables.replicated {
                    var digest = ContentDigest(of: table.entity)
                    try reader.forEach(table) { digest.add($0) }
                    entities[table.entity.name] = ["count": .integer(digest.count), "hash": .string(digest.finish())]
                }
                reply["entities"] = .object(entities)
            }
            return JSONValue.object(reply).canonicalBytes()
        }
    }

    private func ranges(_ table: EntityTable, _ reader: LiveRecords) throws -> JSONValue {
        var ranges = DigestRanges(of: table.entity)
        try reader.forEach(table) { ranges.add($0) }
        return .array(ranges.finish().map(\.json))
    }

    /// `[[id, hash]…]` of one stretch.
    private func records(_ table: EntityTable, _ reader: LiveRecords, _ request: DigestRequest) throws -> JSONValue {
        var records: [JSONValue] = []
        try reader.forEach(table, after: request.after, through: request.through) { record in
            guard records.count < DigestRequest.rangeRecords * 2 else {
                throw ErrorReply(.badRequest, "through: the stretch has more than \(DigestRequest.rangeRecords * 2) records")
            }
            records.append(.array([.string(record.id.text), .string(ContentDigest.hash(of: record))]))
        }
        return .array(records)
    }
}

/// Live records of one entity that a replica may hold, as it may hold them, in id order, a batch in memory at a time.
struct LiveRecords {
    private static let batch: Int64 = 2_000

    let store: RecordStore
    let reader: ReaderAccess
    let connection: PostgresConnection

    func forEach(
        _ table: EntityTable, after first: Identifier? = nil, through end: Identifier? = nil, _ body: (RecordState) throws -> Void
    ) throws {
        // There are none for this reader: a file that holds any differs.
        guard reader.mayRead(table.entity) else { return }
        var last = first ?? Identifier.zero
        let (select, isConditional) = table.selectLiveByID(reader)
        while true {
            var parameters: [PostgresValue] = [.identifier(store.tenant), .identifier(last), .integer(Self.batch)]
            if isConditional { parameters.append(reader.parameter) }
            let result = try connection.run(PostgresStatement(select, parameters))
            for record in try store.states(of: table.entity.name, in: result) {
                if let end, record.id > end { return }
                try body(reader.hiding(record))
                last = record.id
            }
            if result.rowCount < Int(Self.batch), result.byteCount(of: 0) < EntityTable.batchBytes { return }
        }
    }
}
