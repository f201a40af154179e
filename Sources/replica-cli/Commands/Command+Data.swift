// Data in bulk: import, export, plain SQL for reading, and the schema.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let importRecords = Command(
        name: "import", words: "ENTITY FILE.csv|FILE.jsonl", summary: "create or change many records, one change set each",
        help: """
            CSV: the first line names the fields; sets are separated by ; and parts of objects are dotted columns (address.city). A column `id`
            makes the import repeatable: existing records are changed where they differ, and an empty cell empties the field; columns that
            the file does not have stay as they are. JSONL: one object a line, values in stored form.
            Rows that are refused are listed with their line; the others are imported. Exit code 1 if any was refused.

              replica import client clients.csv
            """, group: .bulk, arguments: [.entity, .file]
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "import ENTITY FILE.csv|FILE.jsonl")
        let entity = try context.entity(words[0])
        let bytes: [UInt8]
        do { bytes = Array(try Data(contentsOf: URL(fileURLWithPath: words[1]))) } catch {
            throw UsageError(
                "cannot read \(words[1]): \(error.localizedDescription)", hint: "usage: replica import ENTITY FILE.csv|FILE.jsonl")
        }
        let rows = words[1].hasSuffix(".jsonl") ? try jsonRows(bytes) : try csvRows(bytes, entity)
        let replica = try context.requireReplica()
        var counts = (created: 0, changed: 0, same: 0)
        var refused: [(line: Int, violations: [Violation])] = []
        var progress = Progress("importing \(entity.name)", terminal: context.terminal)
        var done = 0
        for start in stride(from: 0, to: rows.count, by: importBatch) {
            var edits: [(line: Int, isNew: Bool, body: @Sendable (Edit) throws -> Void)] = []
            for row in rows[start..<min(start + importBatch, rows.count)] {
                do {
                    let id = try row.id.map { text -> Identifier in
                        guard let id = Identifier(text) else {
                            throw Violation(entity: entity.name, id: nil, field: "id", code: .invalidFormat, message: "id is a UUID")
                        }
                        return id
                    }
                    let current = if let id { try await replica.get(entity.name, id) } else { Record?.none }
                    let values = try await context.importValues(row, of: entity, current: current)
                    if let current {
                        edits.append((row.line, false, { try $0.set(entity.name, current.id, values) }))
                    } else {
                        edits.append((row.line, true, { _ = try $0.create(entity.name, values, id: id) }))
                    }
                } catch let unreadable as UnreadableValues {
                    refused.append((row.line, unreadable.violations))
                } catch let violation as Violation {
                    refused.append((row.line, [violation]))
                } catch let error as ReplicaError where error.code == .notFound || error.code == .ambiguous {
                    refused.append(
                        (row.line, [Violation(entity: entity.name, id: nil, field: nil, code: .notFound, message: error.message)]))
                }
            }
            let results = try await replica.writeEach(edits.map(\.body))
            for (edit, result) in zip(edits, results) {
                switch result {
                case .success(let written):
                    if written.counter == nil { counts.same += 1 } else if edit.isNew { counts.created += 1 } else { counts.changed += 1 }
                case .failure(let error): refused.append((edit.line, error.violations))
                }
            }
            done += min(importBatch, rows.count - start)
            progress.update(done, of: rows.count)
        }
        progress.finish()
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "created": .integer(Int64(counts.created)), "changed": .integer(Int64(counts.changed)),
                "unchanged": .integer(Int64(counts.same)),
                "refused": .array(
                    refused.map { ["line": .integer(Int64($0.line)), "violations": .array($0.violations.map(\.json))] }),
            ])
        } else {
            terminal.line(
                "imported \(entity.name): \(counts.created) created, \(counts.changed) changed, \(counts.same) unchanged, \(refused.count) refused"
            )
            for one in refused.prefix(20) {
                terminal.note("line \(one.line): \(one.violations.map(ErrorReport.words).joined(separator: "; "))")
            }
            if refused.count > 20 { terminal.note("and \(refused.count - 20) more; use --json to see all") }
        }
        return refused.isEmpty ? .done : .refused
    }

    /// Rows that share one durable transaction; each still is a change set of its own.
    private static let importBatch = 500

    struct ImportRow: Sendable {
        var line: Int
        var id: String?
        /// From CSV, typed by the schema.
        var assignments: [Assignment] = []
        /// Columns of CSV whose cell is empty.
        var empty: [Assignment] = []
        /// From JSON, in stored form.
        var values: [String: JSONValue] = [:]
    }

    private static func csvRows(_ bytes: [UInt8], _ entity: EntitySchema) throws -> [ImportRow] {
        var reader = CSVReader(bytes)
        guard let header = try reader.next() else { throw UsageError("the file is empty") }
        let columns = header.fields.map { $0.trimmingCharacters(in: .whitespaces) }
        guard Set(columns).count == columns.count else { throw UsageError("line 1 names a column twice") }
        for column in columns where column != "id" { try requireField(column, entity) }
        var rows: [ImportRow] = []
        while let (line, fields) = try reader.next() {
            guard fields.count == columns.count else {
                throw CSVError(line: line, message: "\(fields.count) fields, but line 1 names \(columns.count)")
            }
            var row = ImportRow(line: line)
            for (column, value) in zip(columns, fields) {
                if column == "id" {
                    row.id = value.isEmpty ? nil : value
                } else if value.isEmpty {
                    row.empty.append(try Assignment("\(column)="))
                } else {
                    row.assignments.append(try Assignment("\(column)=\(value)"))
                }
            }
            rows.append(row)
        }
        return rows
    }

    /// Told once for the file rather than once a line.
    private static func requireField(_ column: String, _ entity: EntitySchema) throws {
        let field = column.isEmpty ? "" : try Assignment("\(column)=").field
        guard entity.field(field)?.isSecret != false, entity.field(field + "_id") == nil else { return }
        let known = entity.fields.filter { !$0.isSecret }.map(\.name)
        let near = Near.names(to: field, in: known)
        throw UsageError(
            column.isEmpty ? "line 1: a column has no name" : "line 1: \(entity.name) has no field \(column)",
            hint: near.isEmpty ? "fields: \(known.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
    }

    private static func jsonRows(_ bytes: [UInt8]) throws -> [ImportRow] {
        var rows: [ImportRow] = []
        for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() where !line.isEmpty {
            let object: JSONObject
            do {
                guard let parsed = try JSONValue(parsing: line).objectValue else {
                    throw UsageError("line \(index + 1) is not a JSON object")
                }
                object = parsed
            } catch let error as JSONError {
                throw UsageError("line \(index + 1): \(error.message)")
            }
            var row = ImportRow(line: index + 1)
            for (name, value) in object where !RowLayout.common.contains(name) || name == "id" {
                if name == "id" {
                    // What is not a text is no id either, and is refused with its line.
                    row.id = value.isNull ? nil : FieldText.plain(value)
                } else {
                    row.values[name] = value
                }
            }
            rows.append(row)
        }
        return rows
    }

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
    func importValues(_ row: Command.ImportRow, of entity: EntitySchema, current: Record?) async throws -> [String: JSONValue] {
        guard row.values.isEmpty else { return row.values }
        guard let current else {
            var values = try await values(row.assignments, of: entity, current: nil)
            if !values.isEmpty { try await addCurrency(to: &values, of: entity) }
            return values
        }
        // An empty cell says something only where there is something.
        let emptied = row.empty.filter { one in
            let value = one.part.map { current[one.field][$0] ?? .null } ?? current[one.field]
            return !value.isNull && value.arrayValue?.isEmpty != true && value.objectValue?.isEmpty != true
        }
        var values = try await values(row.assignments + emptied, of: entity, current: current)
        // Of a map keys are emptied, one by one.
        for one in emptied where one.part == nil && entity.field(one.field)?.policy == .lastWriterPerKey {
            let keys = current[one.field].objectValue?.keys.map { ($0, JSONValue.null) } ?? []
            values[one.field] = .object(JSONObject(keys))
        }
        return values
    }

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
