// report: questions that the schema declares, from the records in the file.

import Replica
import SyncProtocol

extension Command {
    static let report = Command(
        name: "report", words: "[NAME [ARG=VALUE]…]", summary: "the reports there are, or one of them",
        help: """
            Answers from the records in this file, changes that are not sent yet included. Dates may be typed as anywhere else.

              replica report
              replica report pipeline
              replica report closed_deals from=2026-01-01 until=today
              replica report client_overview --limit 20
            """,
        options: [.value("limit", "N", "at most so many rows, 1 to 100000; default 1000")],
        group: .bulk, arguments: [.report, .reportArgument], isPaged: true
    ) { context, arguments in
        guard let name = arguments.words.first else { return listReports(context) }
        let report = try context.report(name)
        let given = try context.values(of: report, arguments.words.dropFirst().map { try Assignment($0) })
        let result = try await context.requireReplica().report(
            name, given, today: Moment.now.today, limit: try arguments.number("limit", in: 1...100_000) ?? 1_000)
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "report": .string(name), "arguments": .object(JSONObject(result.arguments.map { ($0.name, .integer($0.value)) })),
                "data": .array(result.objects), "total": result.hasMore ? .null : .integer(Int64(result.rows.count)),
                "has_more": .bool(result.hasMore), "next_cursor": .null,
            ])
            return .done
        }
        guard !result.rows.isEmpty else {
            terminal.line("nothing to report")
            return .done
        }
        var rows: [[String]] = []
        for row in result.rows { rows.append(try await context.shown(row, of: report)) }
        terminal.table(Table(columns: report.columns.map(\.tableColumn), rows: rows))
        if result.hasMore { terminal.line(terminal.styled("more rows than \(result.rows.count): ask with --limit", .dim)) }
        return .done
    }

    private static func listReports(_ context: Context) -> ExitCode {
        let reports = context.schema.reports
        if context.terminal.isJSON {
            context.terminal.json([
                "data": .array(reports.map(\.json)), "total": .integer(Int64(reports.count)), "has_more": false, "next_cursor": .null,
            ])
        } else {
            context.terminal.table(
                ["report", "arguments", "what it tells"],
                reports.map { [$0.name, $0.arguments.map { "\($0.name)=" }.joined(separator: " "), $0.title] })
        }
        return .done
    }
}

extension Context {
    fileprivate func report(_ name: String) throws -> Report {
        if let report = schema.report(name) { return report }
        let known = schema.reports.map(\.name)
        let near = Near.names(to: name, in: known)
        throw UsageError(
            "there is no report \(name)",
            hint: near.isEmpty ? "reports: \(known.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
    }

    /// What was typed, in stored form.
    fileprivate func values(of report: Report, _ assignments: [Assignment]) throws -> [String: JSONValue] {
        var values: [String: JSONValue] = [:]
        for assignment in assignments {
            guard let argument = report.arguments.first(where: { $0.name == assignment.field }), assignment.part == nil,
                assignment.action == .set
            else {
                let known = report.arguments.map { "\($0.name)=  \($0.summary)" }
                throw UsageError(
                    "\(report.name) has no argument \(assignment.field)",
                    hint: known.isEmpty ? "it takes none" : known.joined(separator: "\n"))
            }
            do {
                values[argument.name] = try FieldText().parse(assignment.text, as: argument.type, field: argument.name)
            } catch let violation as Violation {
                throw UsageError(violation.message)
            }
        }
        return values
    }

    /// A row as people read it: records by what they are called, amounts in the row's currency.
    fileprivate func shown(_ row: [JSONValue], of report: Report) async throws -> [String] {
        let currency = report.columns.firstIndex { $0.name == "currency" }.flatMap { row[$0].stringValue }
        let text = FieldText(currency: currency)
        var cells: [String] = []
        for (column, value) in zip(report.columns, row) {
            if case .reference(let target, _) = column.type, let id = value.stringValue.flatMap({ Identifier($0) }) {
                cells.append(try await title(target, id))
            } else {
                cells.append(text.show(value, as: column.type))
            }
        }
        return cells
    }
}

extension Report.Column {
    fileprivate var tableColumn: Table.Column {
        let title = name.replacing("_", with: " ")
        switch type {
        case .integer, .money, .quantity, .basisPoints: return .init(title: title, isRight: true, isRigid: true)
        case .reference: return .init(title: title, isKey: true)
        default: return .init(title: title, isRigid: true)
        }
    }
}
