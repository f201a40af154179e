// The model's digests, records and activity (protocol §7.5, §7.8, §7.9).

import SyncProtocol

@testable import Replica

extension ModelServer {
    public func get(_ path: String, _ query: [(name: String, value: String)], token: String) throws -> [UInt8] {
        try lock.withLock {
            let account = try account(token)
            do {
                switch path {
                case "digest": return try digest(DigestRequest(query: query), account)
                case "records": return try records(RecordsRequest(query: query), account)
                case "activity": return try activity(ActivityRequest(query: query), account)
                default: throw refusal(.notFound)
                }
            } catch let error as WireError {
                throw refusal(.badRequest, error.description)
            }
        }
    }

    /// Live records that a reader may hold, as it may hold them, in id order.
    func live(_ entity: String, _ reader: ReaderAccess) -> [RecordState] {
        state.records.values.filter { $0.schema.name == entity && $0.isLive && reader.sees($0) }.sorted { $0.id < $1.id }
            .map(reader.hiding)
    }

    /// Throws `bad_request` for what replicas never hold.
    private func replicated(_ entity: String) throws -> EntitySchema {
        guard let schema = schema.entity(entity), schema.scopes != [.none] else { throw refusal(.badRequest) }
        return schema
    }

    private func digest(_ request: DigestRequest, _ account: Account) throws -> [UInt8] {
        var reply: JSONObject = ["position": .integer(state.position), "epoch": .integer(state.epoch), "schema": .integer(schema.version)]
        let reader = ReaderAccess(member: account.member, role: fault == .comparesWithEverything ? .owner : account.role)
        if let entity = request.entity {
            let schema = try replicated(entity)
            let all = live(entity, reader)
            if request.isStretch {
                let stretch = all.filter { record in
                    if let end = request.through, record.id > end { return false }
                    return record.id > request.after ?? .zero
                }
                guard stretch.count <= DigestRequest.rangeRecords * 2 else { throw refusal(.badRequest) }
                reply["records"] = .array(stretch.map { .array([.string($0.id.text), .string(ContentDigest.hash(of: $0))]) })
            } else {
                var ranges = DigestRanges(of: schema)
                for record in all { ranges.add(record) }
                reply["ranges"] = .array(ranges.finish().map(\.json))
            }
        } else {
            var entities = JSONObject()
            for entity in schema.entities where entity.scopes != [.none] {
                var digest = ContentDigest(of: entity)
                for record in live(entity.name, reader) { digest.add(record) }
                entities[entity.name] = ["count": .integer(digest.count), "hash": .string(digest.finish())]
            }
            reply["entities"] = .object(entities)
        }
        return JSONValue.object(reply).canonicalBytes()
    }

    private func records(_ request: RecordsRequest, _ account: Account) throws -> [UInt8] {
        let columns = RowLayout(of: try replicated(request.entity), audience: .replica).columns
        let reader = ReaderAccess(member: account.member, role: account.role)
        if let cursor = request.cursor, try reading(cursor).role != reader.role { throw refusal(.resyncRequired) }
        let rows = request.ids.compactMap { state.records[RecordKey(request.entity, $0)] }.filter(reader.sees).map(reader.hiding)
            .map { record in JSONValue.array(columns.map { $0 == "versions" ? .null : record.column($0) }) }
        guard JSONValue.array(rows).canonicalBytes().count < recordsBytesMax else { throw refusal(.payloadTooLarge) }
        let block: JSONValue = [
            "entity": .string(request.entity), "columns": .array(columns.map { .string($0) }), "rows": .array(rows),
        ]
        return JSONValue.object(["position": .integer(state.position), "epoch": .integer(state.epoch), "entities": .array([block])])
            .canonicalBytes()
    }

    private func activity(_ request: ActivityRequest, _ account: Account) throws -> [UInt8] {
        let newest = state.feed.suffix(Int(request.newest ?? 1_000_000)).first { $0.atMilliseconds >= request.sinceMilliseconds ?? 0 }
        let after = request.after ?? newest.map { $0.position.position - 1 } ?? state.position
        let reader = ReaderAccess(member: account.member, role: account.role)
        if let cursor = request.cursor, try reading(cursor).role != reader.role { throw refusal(.resyncRequired) }
        let visible = state.feed.filter { $0.position.position > after && reader.sees($0, in: schema) }
        let page = visible.prefix(request.limit)
        let hasMore = visible.count > request.limit
        let entries = page.map { entry in
            var entry = entry
            if account.role == .field { entry.restrictedChanges = JSONObject() }
            return entry.json.canonicalBytes()
        }
        let last = page.last?.position.position ?? after
        return ActivityPage.write(entries: entries, next: hasMore ? last : max(last, state.position), hasMore: hasMore)
    }
}
