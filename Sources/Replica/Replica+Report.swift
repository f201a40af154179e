// Reports: questions that the schema declares, answered from what this replica holds, pending edits included.

import SyncProtocol

/// The answer to a report.
public struct ReportResult: Sendable {
    public let report: Report
    /// By name, as they were used.
    public let arguments: [(name: String, value: Int64)]
    /// Values in stored form, one for each of the report's columns.
    public let rows: [[JSONValue]]
    /// There are more rows than were asked for.
    public let hasMore: Bool

    /// One object a row, by the names of the columns.
    public var objects: [JSONValue] {
        rows.map { row in .object(JSONObject(zip(report.columns, row).map { ($0.name, $1) })) }
    }
}

extension Replica {
    /// Asks one of the schema's `reports`. A replica that holds a part of the company's records answers for that part.
    /// - Parameters:
    ///   - name: Of a report; another one is `notFound`.
    ///   - arguments: In stored form, days since 1970-01-01 for dates; what is left out has the report's default.
    ///   - today: The day that defaults are counted from, days since 1970-01-01.
    ///   - limit: Rows, 1 to 100,000.
    /// - Throws: ``ReplicaError``: `notFound`, `refused` with the argument's name for a name or value that does not fit.
    public func report(
        _ name: String, _ arguments: [String: JSONValue] = [:], today: Int64, limit: Int = 1_000
    ) async throws -> ReportResult {
        guard let report = schema.report(name) else {
            throw ReplicaError(.notFound, "there is no report \(name)", operation: "report")
        }
        let values: [Int64]
        do {
            values = try report.values(arguments, today: today)
        } catch {
            throw ReplicaError.refused([error])
        }
        let limit = min(max(limit, 1), 100_000)
        let sql = "SELECT * FROM (\(report.statement { "?\($0 + 1)" })) LIMIT \(limit + 1)"
        let rows = try await query(sql, values.map { .integer($0) }, maximumRows: limit + 1)
        return ReportResult(
            report: report, arguments: zip(report.arguments, values).map { ($0.name, $1) },
            rows: rows.prefix(limit).map { $0.values.map(\.json) }, hasMore: rows.count > limit)
    }
}
