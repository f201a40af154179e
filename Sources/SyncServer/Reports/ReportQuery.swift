// One report as it was asked for: arguments, the statement for one reader, and the rows as JSON.

import SyncProtocol

struct ReportQuery {
    let report: Report
    /// In the order of the report's arguments.
    let values: [Int64]
    let limit: Int

    /// - Parameter today: What defaults are counted from, days since 1970-01-01.
    /// Throws `bad_request` that names the parameter.
    init(_ report: Report, _ query: [(name: String, value: String)], today: Int64) throws(ErrorReply) {
        self.report = report
        var given: [String: JSONValue] = [:]
        var limit = ReportRequests.limitMax
        var seen: Set<String> = []
        for (name, value) in query {
            guard seen.insert(name).inserted else { throw ListRequest.refuse(name, "comes once") }
            if let argument = report.arguments.first(where: { $0.name == name }) {
                given[name] = try ReportQuery.stored(argument, value)
            } else if name == "limit" {
                guard let number = Decimals.parse(value, scale: 0), (1...Int64(ReportRequests.limitMax)).contains(number) else {
                    throw ListRequest.refuse(name, "is a whole number from 1 to \(ReportRequests.limitMax)")
                }
                limit = Int(number)
            } else {
                throw ListRequest.refuse(
                    name, "is not a parameter of this report: \((report.arguments.map(\.name) + ["limit"]).joined(separator: ", "))")
            }
        }
        do {
            values = try report.values(given, today: today)
        } catch {
            throw ListRequest.refuse(error.field ?? "", error.message)
        }
        self.limit = limit
    }

    private static func stored(_ argument: Report.Argument, _ text: String) throws(ErrorReply) -> JSONValue {
        let raw = Decimals.parse(text, scale: 0).map { JSONValue.integer($0) } ?? .string(text)
        guard let value = try? argument.type.normalized(raw), !value.isNull else {
            let what = if case .date = argument.type { "a date, YYYY-MM-DD or days since 1970-01-01" } else { "a whole number" }
            throw ListRequest.refuse(argument.name, "is \(what)")
        }
        return value
    }

    /// Throws `forbidden` when the reader may not see an entity that the report is about.
    func statement(
        for reader: ReaderAccess, tenant: Identifier, tables: EntityTables, schema: Schema
    ) throws(ErrorReply) -> PostgresStatement {
        let (tenantParameter, readerParameter) = ("$\(values.count + 1)", "$\(values.count + 2)")
        var parameters = values.map { PostgresValue.integer($0) } + [.identifier(tenant)]
        var parts: [String] = []
        var asksReader = false
        for name in report.entities {
            guard let entity = schema.entity(name), let table = tables[name] else {
                throw ErrorReply(.internal, "\(report.name) reads \(name), which there is not")
            }
            try reader.requireRead(entity)
            let condition = reader.rowCondition(of: entity, table: "t", parameter: readerParameter)
            if condition != nil { asksReader = true }
            parts.append(
                """
                \(PostgresIdentifier.quoted(name)) AS NOT MATERIALIZED (SELECT \(table.columns(for: reader)) FROM \(table.name) t \
                WHERE t.tenant = \(tenantParameter)::uuid\(condition.map { " AND \($0)" } ?? ""))
                """)
        }
        if asksReader { parameters.append(reader.parameter) }
        let own = report.statement { "$\($0 + 1)::bigint" }
        return PostgresStatement("WITH \(parts.joined(separator: ", ")) \(own) LIMIT \(limit + 1)", parameters)
    }

    /// As `replica report --json` answers.
    func answer(_ result: PostgresResult) -> JSONValue {
        let count = min(result.rowCount, limit)
        let hasMore = result.rowCount > limit
        let rows = (0..<count).map { row in
            JSONValue.object(
                JSONObject(
                    report.columns.enumerated().map { index, column in
                        let value: JSONValue? =
                            column.type.storage == .integer
                            ? result.integer(row, index).map { .integer($0) } : result.text(row, index).map { .string($0) }
                        return (column.name, value ?? .null)
                    }))
        }
        return [
            "report": .string(report.name),
            "arguments": .object(JSONObject(zip(report.arguments, values).map { ($0.name, .integer($1)) })),
            "data": .array(rows), "total": hasMore ? .null : .integer(Int64(count)), "has_more": .bool(hasMore), "next_cursor": .null,
        ]
    }
}

extension EntityTable {
    /// The columns that a reader gets, under their own names; those that are hidden from this one are null.
    func columns(for reader: ReaderAccess) -> String {
        let fields = entity.fields.filter { !$0.isSecret }.map { field in
            let name = PostgresIdentifier.quoted(field.name)
            return reader.hides(field) ? "NULL::\(EntityTable.columnType(of: field.name, in: entity)) AS \(name)" : "t.\(name)"
        }
        return (EntityTable.documentCommon.map { "t.\(PostgresIdentifier.quoted($0))" } + fields).joined(separator: ", ")
    }
}
