// One record for a reader, with the place in the feed it was read at as its entity tag.

import SyncProtocol

struct RecordRead {
    let context: SyncContext
    let connection: PostgresConnection
    let entity: EntitySchema
    let id: String

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        let (deleted, ifNoneMatch) = try Authentication.first(token, context: context, connection: connection) {
            (
                try DeletedRecords(request.query),
                try EntityTag.condition(request.headers.values("If-None-Match"), header: "If-None-Match")
            )
        }
        return try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            let reader = ReaderAccess(principal)
            try reader.requireRead(entity)
            guard let id = Identifier(id), let table = context.tables[entity.name] else { throw RecordWrite.notFound(entity) }
            let condition = reader.rowCondition(of: entity, table: "t", parameter: "$3").map { " AND \($0)" } ?? ""
            let document = reader.hidesRestricted ? table.fieldRoleDocument : table.document
            var parameters: [PostgresValue] = [.identifier(token.tenant), .identifier(id)]
            if !condition.isEmpty { parameters.append(reader.parameter) }
            let results = try connection.batch([
                TenantHead.read(token.tenant),
                PostgresStatement(
                    "SELECT \(document), position FROM \(table.name) t WHERE tenant = $1::uuid AND id = $2::uuid\(deleted.condition)\(condition)",
                    parameters),
            ])
            guard let head = TenantHead(results[0]) else { throw Authentication.unauthorized }
            guard !results[1].isEmpty, let text = results[1].utf8(0, 0), let position = results[1].integer(0, 1) else {
                throw RecordWrite.notFound(entity)
            }
            let etag = EntityTag.text(head.position, for: reader)
            if let ifNoneMatch, EntityTag.isUnchanged(ifNoneMatch, position: position, head: head.position, for: reader) {
                return RestAnswer.notModified(etag: etag)
            }
            return RestAnswer.json(200, Array("{\"data\":".utf8) + text + [0x7D], etag: etag)
        }
    }
}

/// Whether tombstones are meant: `deleted=only|include`; without it they are not.
enum DeletedRecords: String, Sendable, CaseIterable {
    case exclude, include, only

    static let name = "deleted"

    /// Of a request that has no other parameter. Throws `bad_request`.
    init(_ query: [(name: String, value: String)]) throws(ErrorReply) {
        if let (name, _) = query.first(where: { $0.name != DeletedRecords.name }) {
            throw ErrorReply(.badRequest, "\(name) is not a parameter of this request", details: ["parameter": .string(name)])
        }
        guard query.count <= 1 else {
            throw ErrorReply(.badRequest, "deleted comes once", details: ["parameter": .string(DeletedRecords.name)])
        }
        try self.init(query.first?.value)
    }

    init(_ value: String?) throws(ErrorReply) {
        guard let value else {
            self = .exclude
            return
        }
        guard let known = DeletedRecords(rawValue: value) else {
            throw ErrorReply(
                .badRequest, "deleted is \(DeletedRecords.allCases.map(\.rawValue).joined(separator: ", "))",
                details: ["parameter": .string(DeletedRecords.name)])
        }
        self = known
    }

    /// SQL to follow another condition.
    var condition: String {
        switch self {
        case .exclude: " AND deleted_at IS NULL"
        case .include: ""
        case .only: " AND deleted_at IS NOT NULL"
        }
    }
}
