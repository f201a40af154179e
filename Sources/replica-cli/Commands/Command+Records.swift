// Records: list, show, add, set, do, remove, restore. Each writing command is one change set.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let list = Command(
        name: "list", words: "ENTITY [--where 'FIELD OP VALUE']…", summary: "records of an entity",
        help: """
            OP is =, !=, <, <=, >, >=, contains (texts and sets) or is (with null). Several --where all hold.

              replica list client
              replica list client --where 'tags contains vip' --sort name
              replica list deal --where 'stage = qualified' --where 'amount >= 1000.00' --sort -amount --limit 20
            """,
        options: [
            .value("where", "'FIELD OP VALUE'", "only records for which this holds", repeatable: true),
            .value("sort", "[-]FIELD", "order; - for descending"),
            .value("limit", "N", "at most so many, 1 to 200; default 50"),
            .value("cursor", "C", "continue where an earlier list ended"),
            .flag("deleted", "also deleted records"),
        ]
    ) { context, arguments in
        let name = try Context.words(arguments, 1...1, "list ENTITY")[0]
        let entity = try context.entity(name)
        let replica = try context.requireReplica()
        let text = FieldText(currency: try await context.tenantCurrency())
        var filters: [Filter] = []
        for condition in arguments.all("where") { filters.append(try await context.filter(condition, entity, text)) }
        let sort = arguments.value("sort").map { Sort($0.hasPrefix("-") ? String($0.dropFirst()) : $0, descending: $0.hasPrefix("-")) }
        let page = try await replica.list(
            name, where: filters, sort: sort, limit: try arguments.number("limit", in: 1...200) ?? 50, cursor: arguments.value("cursor"),
            includingDeleted: arguments.has("deleted"))
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(page.data.map(\.json)), "total": .integer(Int64(page.total)), "has_more": .bool(page.hasMore),
                "next_cursor": page.nextCursor.map { .string($0) } ?? .null,
            ])
            return .done
        }
        let columns = context.columns(of: entity)
        var rows: [[String]] = []
        for record in page.data {
            var row = [String(record.id.text.suffix(12))]
            for column in columns { row.append(try await context.shown(record, column)) }
            row.append(record.isPending ? "pending" : record.isDeleted ? "deleted" : "")
            rows.append(row)
        }
        terminal.table(["… id"] + columns + [""], rows)
        let rest = page.hasMore ? "; continue with --cursor \(page.nextCursor ?? "")" : ""
        terminal.line(terminal.styled("\(page.data.count) of \(page.total)\(rest)", .dim))
        return .done
    }

    static let show = Command(
        name: "show", words: "ENTITY RECORD", summary: "one record, every field",
        help:
            "RECORD is an id, the beginning or end of one, or what the record is called or begins with.\n\n  replica show client \"Pier 9\""
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "show ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity, words[1])
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json(record.json)
            return .done
        }
        terminal.line(
            terminal.styled(record.title, .bold) + (record.isPending ? "  (pending)" : "") + (record.isDeleted ? "  (deleted)" : ""))
        terminal.line("\("id".padding(toLength: 22, withPad: " ", startingAt: 0))\(record.id.text)")
        for field in entity.fields where !field.isSecret && !record[field.name].isNull {
            let value = try await context.shown(record, field.name)
            if value.isEmpty { continue }
            terminal.line("\(field.name.padding(toLength: 22, withPad: " ", startingAt: 0))\(value)")
        }
        terminal.line("\("updated".padding(toLength: 22, withPad: " ", startingAt: 0))\(FieldText.time(record.updatedAt))")
        return .done
    }

    static let add = Command(
        name: "add", words: "ENTITY FIELD=VALUE…", summary: "create a record",
        help: """
            References are typed by name, sets with commas, parts with a dot. `replica schema ENTITY` lists the fields.

              replica add client name="Pier 9 Marina" tags=marina,vip billing_address.city=Oslo
              replica add deal title="Winter refit" client="Pier 9" amount=1250.00 currency=USD owner=olivia@example.com
            """
    ) { context, arguments in
        let words = try Context.words(arguments, 1...1000, "add ENTITY FIELD=VALUE…")
        let entity = try context.entity(words[0])
        let assignments = try words.dropFirst().map { try Assignment($0) }
        var values = try await context.values(assignments, of: entity, current: nil)
        // The one currency most companies have need not be typed.
        if entity.field("currency")?.isRequired == true, values["currency"] == nil, let currency = try await context.tenantCurrency() {
            values["currency"] = .string(currency)
        }
        let given = values
        let result = try await context.requireReplica().write { edit in try edit.create(entity.name, given) }
        context.report(result.outcome, set: result.counter, id: result.value, did: "added \(entity.name) \(result.value.text)")
        return .done
    }

    static let set = Command(
        name: "set", words: "ENTITY RECORD FIELD=VALUE…", summary: "change fields of a record",
        help: """
            += and -= change a set, FIELD= empties a field, custom.KEY is a field your company defined.

              replica set client "Pier 9" phone=+15550142 tags+=vip tags-=prospect
              replica set site "Pier 9 north" custom.gate_code=7781 access_notes=
            """
    ) { context, arguments in
        let words = try Context.words(arguments, 3...1000, "set ENTITY RECORD FIELD=VALUE…")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity, words[1])
        let values = try await context.values(try words.dropFirst(2).map { try Assignment($0) }, of: entity, current: record)
        let result = try await context.requireReplica().write { edit in try edit.set(entity.name, record.id, values) }
        context.report(
            result.outcome, set: result.counter, id: record.id, did: result.counter == nil ? "nothing to change" : "changed \(record.title)"
        )
        return .done
    }

    static let transition = Command(
        name: "do", words: "TRANSITION ENTITY RECORD [ARGUMENT=VALUE…]", summary: "move a record to its next state",
        help: """
            `replica schema ENTITY` lists the transitions.

              replica do qualify deal "Winter refit"
              replica do lose deal "Winter refit" reason="too expensive"
            """
    ) { context, arguments in
        let words = try Context.words(arguments, 3...100, "do TRANSITION ENTITY RECORD [ARGUMENT=VALUE…]")
        let entity = try context.entity(words[1])
        let record = try await context.record(entity, words[2])
        guard let transition = entity.machine?.transition(words[0]) else {
            let names = entity.machine?.transitions.map(\.name) ?? []
            throw UsageError(
                names.isEmpty ? "\(entity.name) has no transitions" : "\(entity.name) has no transition \(words[0])",
                hint: names.isEmpty ? nil : "transitions: \(names.joined(separator: ", "))")
        }
        let text = try await context.fieldText(for: record)
        var given: [String: JSONValue] = [:]
        for word in words.dropFirst(3) {
            let assignment = try Assignment(word)
            let type = transition.arguments.first { $0.name == assignment.field }?.type
            given[assignment.field] =
                try type.map { try text.parse(assignment.text, as: $0, field: assignment.field) } ?? .string(assignment.text)
        }
        let values = given
        let result = try await context.requireReplica().write { edit in try edit.transition(transition.name, entity.name, record.id, values)
        }
        let state =
            result.counter == nil ? "\(record.title) is \(record.state.state ?? "") already" : "\(record.title) is \(transition.to) now"
        context.report(result.outcome, set: result.counter, id: record.id, did: state)
        return .done
    }

    static let remove = Command(
        name: "remove", words: "ENTITY RECORD", summary: "delete a record",
        help: "What belongs to it goes with it; `replica restore` brings all of that back.\n\n  replica remove site \"Old mill\""
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "remove ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity, words[1])
        let result = try await context.requireReplica().write { edit in try edit.delete(entity.name, record.id) }
        context.report(result.outcome, set: result.counter, id: record.id, did: "removed \(record.title)")
        return .done
    }

    static let restore = Command(
        name: "restore", words: "ENTITY RECORD", summary: "bring a deleted record back",
        help: "Owners and managers only. `replica list ENTITY --deleted` shows what was deleted.\n\n  replica restore site 0190"
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "restore ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity, words[1], includingDeleted: true)
        let result = try await context.requireReplica().write { edit in try edit.restore(entity.name, record.id) }
        context.report(result.outcome, set: result.counter, id: record.id, did: "restored \(record.title)")
        return .done
    }
}

extension Context {
    func record(_ entity: EntitySchema, _ name: String, includingDeleted: Bool = false) async throws -> Record {
        let replica = try requireReplica()
        return try await replica.resolve(entity.name, name, includingDeleted: includingDeleted)
    }

    func report(_ outcome: Outcome, set: Int64?, id: Identifier, did: String) {
        if terminal.isJSON {
            terminal.json([
                "id": .string(id.text), "set": set.map { .integer($0) } ?? .null, "status": .string(outcome.status.rawValue),
                "warnings": .array(outcome.warnings.map(\.json)),
            ])
            return
        }
        terminal.line(did)
        for warning in outcome.warnings { terminal.note("warning: \(ErrorReport.words(warning))") }
    }

    /// The columns a table shows: what names a record, then its state and what is most asked for.
    func columns(of entity: EntitySchema) -> [String] {
        var names: [String] = []
        if let title = entity.titleField { names.append(title) }
        for field in entity.fields where names.count < 6 && !names.contains(field.name) && !field.isSecret {
            switch field.type {
            case .rich, .map, .json, .address: continue
            default: if field.isIndexed || field.isRequired || ["email", "phone", "tags"].contains(field.name) { names.append(field.name) }
            }
        }
        if let state = entity.machine?.field, !names.contains(state) { names.append(state) }
        return names
    }

    /// A value for people: references by what they are called.
    func shown(_ record: Record, _ name: String) async throws -> String {
        guard let field = record.schema.field(name) else { return FieldText.plain(record[name]) }
        if case .reference(let target, _) = field.type, let id = record.identifier(name) {
            return try await requireReplica().get(target, id)?.title ?? String(id.text.prefix(8))
        }
        return try await fieldText(for: record).show(record[name], as: field.type)
    }

    /// `FIELD OP VALUE` as a filter.
    func filter(_ text: String, _ entity: EntitySchema, _ fieldText: FieldText) async throws -> Filter {
        let parts = text.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true).map(String.init)
        let symbols: [String: Filter.Operator] = ["contains": .contains, "is": .equal]
        guard parts.count == 3, let comparison = symbols[parts[1]] ?? Filter.Operator(rawValue: parts[1]) else {
            throw UsageError(
                "\"\(text)\" is not FIELD OP VALUE", hint: "operators: = != < <= > >= contains is; example: 'amount >= 1000.00'")
        }
        let (name, value) = (parts[0], parts[2])
        if value == "null" { return Filter(name, comparison, .null) }
        guard let field = entity.field(name) else {
            let isCommon = RowLayout.common.contains(name) || name.hasPrefix("custom.")
            guard isCommon else {
                throw UsageError(
                    "\(entity.name) has no field \(name)", hint: "fields: \(entity.fields.map(\.name).joined(separator: ", "))")
            }
            return Filter(name, comparison, Int64(value).map { .integer($0) } ?? .string(value))
        }
        do {
            switch field.type {
            case .reference(let target, _): return Filter(name, comparison, .string(try await resolve(target, value).text))
            case .set, .map, .json, .address: return Filter(name, comparison, .string(value))
            default:
                return Filter(
                    name, comparison, comparison == .contains ? .string(value) : try fieldText.parse(value, as: field.type, field: name))
            }
        } catch let violation as Violation {
            throw UsageError("--where: \(violation.message)")
        }
    }
}
