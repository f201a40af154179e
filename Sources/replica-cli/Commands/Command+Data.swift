// Data in bulk: export, plain SQL for reading, and the schema. Import is in Command+Import.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let exportRecords = Command(
        name: "export", words: "ENTITY", summary: "all records of an entity, to standard output",
        help: """
            CSV as import reads it; JSONL is one object a line, values in stored form; --json is one object like that of list.

              replica export client > clients.csv
              replica export site --format jsonl
            """,
        options: [.value("format", "csv|jsonl", "default csv", completes: .word(["csv", "jsonl"]))], group: .bulk, arguments: [.entity]
    ) { context, arguments in
        let entity = try context.entity(try Context.words(arguments, 1...1, "export ENTITY")[0])
        let isDocument = context.terminal.isJSON
        guard !isDocument || arguments.value("format") == nil else {
            throw UsageError("--json and --format are two formats", hint: "--format jsonl prints one object a line, --json one document")
        }
        let format = arguments.value("format") ?? (isDocument ? "json" : "csv")
        guard isDocument || ["csv", "jsonl"].contains(format) else { throw UsageError("--format is csv or jsonl, not \"\(format)\"") }
        let replica = try context.requireReplica()
        let fields = entity.fields.filter { !$0.isSecret }
        let currency = try await context.tenantCurrency()
        if format == "csv" { context.terminal.line(CSVWriter.line(["id"] + fields.flatMap(csvColumns))) }
        var progress = Progress("exporting \(entity.name)", terminal: context.terminal)
        var done = 0
        var cursor: String?
        // Page by page: a document of any size takes the memory of one.
        if isDocument { context.terminal.text("{\"data\":[") }
        repeat {
            let page = try await replica.list(entity.name, limit: 1_000, cursor: cursor)
            for (index, record) in page.data.enumerated() {
                if isDocument {
                    context.terminal.text((done + index == 0 ? "" : ",") + record.json.canonicalText)
                } else if format == "jsonl" {
                    context.terminal.line(record.json.canonicalText)
                } else {
                    let text = FieldText(currency: record.text("currency") ?? currency)
                    context.terminal.line(CSVWriter.line([record.id.text] + fields.flatMap { csvValues(record, $0, text) }))
                }
            }
            done += page.data.count
            if !context.terminal.isInteractive { progress.update(done, of: page.total) }
            cursor = page.hasMore ? page.nextCursor : nil
        } while cursor != nil && !context.terminal.isClosed
        if isDocument { context.terminal.line("],\"has_more\":false,\"next_cursor\":null,\"total\":\(done)}") }
        progress.finish()
        return .done
    }

    static let addressParts = ["line1", "line2", "city", "region", "postal_code", "country"]

    private static func csvColumns(_ field: FieldSchema) -> [String] {
        if case .address = field.type { return addressParts.map { "\(field.name).\($0)" } }
        return [field.name]
    }

    private static func csvValues(_ record: Record, _ field: FieldSchema, _ text: FieldText) -> [String] {
        let value = record[field.name]
        switch (field.type, value) {
        case (.address, _): return addressParts.map { value[$0]?.stringValue ?? "" }
        case (_, .array(let items)): return [items.compactMap(\.stringValue).joined(separator: ";")]
        case (_, .object(let parts)): return [parts.isEmpty ? "" : value.canonicalText]
        case (.money, .integer(let amount)): return [Decimals.format(amount, scale: CurrencyDigits.of(text.currency))]
        case (.instant, .integer(let milliseconds)): return [Instant.iso(fromMilliseconds: milliseconds)]
        case (.basisPoints, .integer(let rate)): return [Decimals.format(rate, scale: 2)]
        case (.quantity, .integer(let amount)): return [Decimals.format(amount, scale: 3)]
        default: return [text.show(value, as: field.type)]
        }
    }

    static let sql = Command(
        name: "sql", words: "QUERY [--write]", summary: "read the file with SQL, or change records with it",
        help: """
            Every entity is a table with the names `replica schema ENTITY` shows; deleted records have deleted_at.

              replica sql "SELECT name, count(*) FROM site WHERE deleted_at IS NULL GROUP BY name ORDER BY 2 DESC LIMIT 5"

            With --write, INSERT, UPDATE and DELETE become changes like any other: what the schema forbids is refused at once, the rest is
            pending, one set a record, or one in all with --summary. Any other SQLite tool can do the same to the file (docs/sql.md).

              replica sql --write "UPDATE contact SET phone = '+15550100' WHERE last_name = 'Ortiz'"
            """,
        options: [
            .flag("write", "change records"), .value("summary", "TEXT", "with --write: make it one set, called so"),
        ],
        group: .bulk, isPaged: true
    ) { context, arguments in
        let query = try Context.words(arguments, 1...1, "sql QUERY")[0]
        if arguments.has("write") { return try await writeSQL(query, arguments.value("summary"), context) }
        if arguments.value("summary") != nil { throw UsageError("--summary belongs to --write") }
        let result = try await context.requireReplica().query(query)
        if context.terminal.isJSON {
            context.terminal.json([
                "data": .array(result.map { row in .object(JSONObject(zip(row.columns, row.values.map(\.json)).map { ($0, $1) })) }),
                "total": .integer(Int64(result.count)), "has_more": false, "next_cursor": .null,
            ])
        } else if let first = result.first {
            context.terminal.table(
                first.columns, result.map { $0.values.map { value in value == .null ? "" : FieldText.plain(value.json) } })
        }
        return .done
    }

    static let schema = Command(
        name: "schema", words: "[ENTITY]", summary: "entities, or the fields and transitions of one",
        help: "  replica schema\n  replica schema deal", opensReplica: false, group: .bulk, arguments: [.entity], isPaged: true
    ) { context, arguments in
        let words = try Context.words(arguments, 0...1, "schema [ENTITY]")
        let terminal = context.terminal
        guard let name = words.first else {
            if terminal.isJSON {
                terminal.json(context.schema.json)
            } else {
                terminal.table(
                    ["entity", "category", "fields", "transitions"],
                    context.schema.entities.filter { $0.scopes != [.none] }.map {
                        [$0.name, $0.category, "\($0.fields.count)", $0.machine?.transitions.map(\.name).joined(separator: " ") ?? ""]
                    })
            }
            return .done
        }
        let entity = try context.entity(name)
        if terminal.isJSON {
            terminal.json(entity.json)
            return .done
        }
        terminal.table(
            ["field", "type", "merge", "", "limits"],
            entity.fields.filter { !$0.isSecret }.map { field in
                let flags = [
                    field.isRequired ? "required" : "", field.isWritable ? "" : "set by the system",
                    field.uniqueWith == nil ? "" : "unique", context.isUsable(field) ? "" : "not in this version",
                ]
                return [
                    field.name, field.type.name, field.policy.rawValue.replacing("_", with: " "),
                    flags.filter { !$0.isEmpty }.joined(separator: ", "),
                    FieldText.plain(field.json.limitsText(field.type)),
                ]
            })
        if let machine = entity.machine {
            terminal.line("\n\(machine.field) begins as \(machine.initial)")
            terminal.table(
                ["transition", "from", "to", "arguments"],
                machine.transitions.map {
                    [
                        $0.name, $0.from.joined(separator: ", "), $0.to,
                        $0.arguments.map { $0.name + ($0.isRequired ? "!" : "") }.joined(separator: " "),
                    ]
                })
        }
        return .done
    }
}

extension Context {
    /// The one currency most companies have need not be typed.
    func addCurrency(to values: inout [String: JSONValue], of entity: EntitySchema) async throws {
        guard entity.field("currency")?.isRequired == true, values["currency"] == nil, let currency = try await tenantCurrency() else {
            return
        }
        values["currency"] = .string(currency)
    }
}

extension JSONValue {
    /// What of a field's document is about its limits, on one line.
    fileprivate func limitsText(_ type: FieldType) -> JSONValue {
        let shown = ["choices", "references", "min", "max", "min_length", "max_length", "min_count", "max_count", "default"]
        let parts = shown.compactMap { name -> String? in
            guard let value = self[name] else { return nil }
            if let number = value.integerValue, number == .min || number == .max || name.hasPrefix("min_") && number == 0 { return nil }
            if let items = value.arrayValue { return items.compactMap(\.stringValue).joined(separator: "|") }
            // Amounts as people type them, in whatever currency the record has.
            return
                "\(name.replacing("_", with: " ")) \(type.isDecimal ? FieldText(currency: nil).show(value, as: type) : FieldText.plain(value))"
        }
        return .string(parts.joined(separator: ", "))
    }
}
