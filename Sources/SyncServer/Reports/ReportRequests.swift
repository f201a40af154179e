// `GET /v1/reports` and `GET /v1/reports/{name}`: the reports that the schema declares, over what the token's member may read.
//
//   WITH every entity the report reads AS (its rows for this reader) … the report's own SQL, which knows no tenants and no roles

import SyncProtocol

struct ReportRequests {
    let context: SyncContext
    let connection: PostgresConnection

    static let limitMax = 1_000

    /// The name in a path below `/v1/reports`: nil in the list of all; nil altogether when the path is something else.
    static func name(_ segments: [String]) -> String?? {
        guard segments.count >= 2, segments[0] == "v1", segments[1] == "reports", segments.count <= 3 else { return nil }
        return .some(segments.count == 3 ? segments[2] : nil)
    }

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func list(_ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
            _ = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
        }
        if let (name, _) = request.query.first { throw ListRequest.refuse(name, "is not a parameter of this request") }
        let reports = context.schema.reports.map(\.json)
        let answer: JSONValue = [
            "data": .array(reports), "total": .integer(Int64(reports.count)), "has_more": false, "next_cursor": .null,
        ]
        return RestAnswer.json(200, answer.canonicalBytes(), etag: nil)
    }

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ name: String, _ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        do {
            return try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
                let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
                guard let report = context.schema.report(name) else { throw ErrorReply(.notFound, "there is no report \(name)") }
                let asked = try ReportQuery(report, request.query, today: context.now().dividedDown(by: 86_400_000))
                let reader = ReaderAccess(principal)
                let statement = try asked.statement(for: reader, tenant: token.tenant, tables: context.tables, schema: context.schema)
                let results = try connection.batch([
                    PostgresStatement(
                        // Without its schema no table is found: what a report does not say it reads, it does not read.
                        "SELECT set_config('statement_timeout', $1, true), set_config('search_path', 'pg_catalog', true)",
                        [.integer(context.workLimits.report)]),
                    TenantSession.planForTablesAsTheyAre, statement,
                ])
                return RestAnswer.json(200, asked.answer(results[2]).canonicalBytes(), etag: nil)
            }
        } catch let error as PostgresError where error.kind == .canceled {
            throw ErrorReply(
                .unavailable, "the database needs more than \(context.workLimits.report) ms for this report",
                details: ["retry_after": 60])
        }
    }
}

extension Int64 {
    /// Rounded to the past, also before 1970.
    fileprivate func dividedDown(by divisor: Int64) -> Int64 { self / divisor - (self % divisor < 0 ? 1 : 0) }
}
