// Records: list, show, add, set, do, remove, restore. Each writing command is one change set.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let list = Command(
        name: "list", words: "ENTITY [--where 'FIELD OP VALUE']…", summary: "records of an entity",
        help: """
            Every --where must hold; OP is = != < <= > >= or ~ (contains). The last column tells what is pending or deleted. On a terminal
            the table fits the window: long texts are shortened, then columns left out; show has everything.

              replica list client
              replica list client --where 'tags = vip' --sort name
              replica list deal --where 'client = Pier 9' --where 'amount >= 1,000' --sort -amount --limit 20
              replica list deal --where 'expected_close < today' --columns title,client,amount,custom.region
            """,
        options: [
            .value("where", "'FIELD OP VALUE'", "only records for which this holds", repeatable: true, completes: .condition),
            .value("sort", "[-]FIELD", "order; - for descending; records without the value come last", completes: .sortField),
            .value("columns", "FIELD,…", "these columns instead of the usual ones", completes: .fields),
            .value("limit", "N", "at most so many, 1 to 200; default 50"),
            .value("cursor", "C", "continue where an earlier list ended"),
            .flag("deleted", "also deleted records"),
        ], group: .records, arguments: [.entity], isPaged: true
    ) { context, arguments in
        let name = try Context.words(arguments, 1...1, "list ENTITY")[0]
        let entity = try context.entity(name)
        let replica = try context.requireReplica()
        let conditions = try await context.conditions(arguments.all("where"), of: entity)
        let sort = try arguments.value("sort").map { try context.sort($0, of: entity) }
        let columns = try arguments.value("columns").map { try context.chosenColumns($0, of: entity) } ?? context.columns(of: entity)
        let page = try await replica.list(
            name, where: conditions.filters, sort: sort, limit: try arguments.number("limit", in: 1...200) ?? 50,
            cursor: arguments.value("cursor"), includingDeleted: arguments.has("deleted") || conditions.includesDeleted)
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(page.data.map(\.json)), "total": .integer(Int64(page.total)), "has_more": .bool(page.hasMore),
                "next_cursor": page.nextCursor.map { .string($0) } ?? .null,
            ])
            return .done
        }
        guard !page.data.isEmpty else {
            let isFiltered = !conditions.filters.isEmpty || arguments.value("cursor") != nil
            terminal.line(isFiltered ? "no \(name) fits" : "there is no \(name) here yet")
            return .done
        }
        var rows: [[String]] = []
        for record in page.data {
            var row = [String(record.id.text.suffix(12))]
            for column in columns { row.append(try await context.shown(record, column)) }
            row.append(record.marks)
            rows.append(row)
        }
        let table = Table(
            columns: [.init(title: "… id", isRigid: true)] + columns.map { context.tableColumn($0, of: entity) } + [
                .init(title: "", isRigid: true)
            ],
            rows: rows)
        let hidden = terminal.table(table)
        let noRoom = hidden.isEmpty ? "" : "; no room for \(hidden.joined(separator: ", "))"
        let rest = page.hasMore ? "; continue with --cursor \(page.nextCursor ?? "")" : ""
        for line in DisplayWidth.wrapped("\(page.data.count) of \(page.total)\(noRoom)\(rest)", to: terminal.width ?? .max) {
            terminal.line(terminal.styled(line, .dim))
        }
        return .done
    }

    static let show = Command(
        name: "show", words: "ENTITY RECORD", summary: "one record, every field",
        help:
            "RECORD is an id, the beginning or end of one, or what the record is called or begins with.\n\n  replica show client \"Pier 9\"",
        group: .records, arguments: [.entity, .record], isPaged: true
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "show ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity.name, words[1])
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json(record.json)
            return .done
        }
        let flags = record.marks
        terminal.line(
            terminal.styled(DisplayWidth.harmless(record.title), .bold)
                + (flags.isEmpty ? "" : "  " + terminal.styled("(\(flags))", .yellow)))
        var rows = [("id", record.id.text)]
        let moment = Moment.now
        for field in entity.fields where !field.isSecret && !record[field.name].isNull {
            var value = try await context.shown(record, field.name)
            if value.isEmpty { continue }
            if case .date = field.type, let day = record.integer(field.name) { value += "  (\(DateWords.distance(of: day, moment)))" }
            rows.append((field.name, value))
        }
        rows.append(("created_at", try await context.shown(record, "created_at")))
        let author = try await context.shown(record, "created_by")
        if !author.isEmpty { rows.append(("created_by", author)) }
        rows.append(("updated_at", try await context.shown(record, "updated_at")))
        if record.isDeleted { rows.append(("deleted_at", try await context.shown(record, "deleted_at"))) }
        terminal.pairs(rows.map { (name: $0.0, value: $0.1) })
        return .done
    }

    static let add = Command(
        name: "add", words: "ENTITY FIELD=VALUE…", summary: "create a record",
        help: """
            References are typed by name, sets with commas, parts with a dot. `replica schema ENTITY` lists the fields.

              replica add client name="Pier 9 Marina" tags=marina,vip billing_address.city=Oslo
              replica add deal title="Winter refit" client="Pier 9" amount=1,250.00 owner=olivia@example.com expected_close=+30d
            """, group: .records, arguments: [.entity, .assignment]
    ) { context, arguments in
        let words = try Context.words(arguments, 1...1000, "add ENTITY FIELD=VALUE…")
        let entity = try context.entity(words[0])
        let assignments = try words.dropFirst().map { try Assignment($0) }
        var values = try await context.values(assignments, of: entity, current: nil)
        try await context.addCurrency(to: &values, of: entity)
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
            """, group: .records, arguments: [.entity, .record, .assignment]
    ) { context, arguments in
        let words = try Context.words(arguments, 3...1000, "set ENTITY RECORD FIELD=VALUE…")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity.name, words[1])
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
            """, group: .records, arguments: [.transition, .entity, .record, .transitionArgument]
    ) { context, arguments in
        let words = try Context.words(arguments, 3...100, "do TRANSITION ENTITY RECORD [ARGUMENT=VALUE…]")
        let entity = try context.entity(words[1])
        let record = try await context.record(entity.name, words[2])
        guard let transition = entity.machine?.transition(words[0]) else {
            let names = entity.machine?.transitions.map(\.name) ?? []
            let near = Near.names(to: words[0], in: names)
            throw UsageError(
                names.isEmpty ? "\(entity.name) has no transitions" : "\(entity.name) has no transition \(words[0])",
                hint: names.isEmpty
                    ? "replica schema lists which entities have some"
                    : near.isEmpty ? "transitions: \(names.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
        }
        let values = try await context.arguments(try words.dropFirst(3).map { try Assignment($0) }, of: transition, record, entity)
        let result: WriteResult<Void>
        do {
            result = try await context.requireReplica().write { edit in
                try edit.transition(transition.name, entity.name, record.id, values)
            }
        } catch let error as ReplicaError where error.violations.contains(where: { $0.code == ViolationCode.onlineOnly.rawValue }) {
            throw HintedError(error: error, hint: try await context.way(to: transition.name, record))
        }
        let state =
            result.counter == nil ? "\(record.title) is \(record.state.state ?? "") already" : "\(record.title) is \(transition.to) now"
        context.report(result.outcome, set: result.counter, id: record.id, did: state)
        return .done
    }

    static let remove = Command(
        name: "remove", words: "ENTITY RECORD", summary: "delete a record",
        help: "What belongs to it goes with it; `replica restore` brings all of that back.\n\n  replica remove site \"Old mill\"",
        group: .records, arguments: [.entity, .record]
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "remove ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity.name, words[1])
        let result = try await context.requireReplica().write { edit in try edit.delete(entity.name, record.id) }
        context.report(result.outcome, set: result.counter, id: record.id, did: "removed \(record.title)")
        return .done
    }

    static let restore = Command(
        name: "restore", words: "ENTITY RECORD", summary: "bring a deleted record back",
        help: "Owners and managers only. `replica list ENTITY --deleted` shows what was deleted.\n\n  replica restore site \"Old mill\"",
        group: .records, arguments: [.entity, .deletedRecord]
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "restore ENTITY RECORD")
        let entity = try context.entity(words[0])
        let record = try await context.record(entity.name, words[1], includingDeleted: true)
        let result = try await context.requireReplica().write { edit in try edit.restore(entity.name, record.id) }
        context.report(result.outcome, set: result.counter, id: record.id, did: "restored \(record.title)")
        return .done
    }
}

extension Record {
    /// What there is to know beside its values: `deleted`, `pending`, or both.
    fileprivate var marks: String {
        [isDeleted ? "deleted" : "", isPending ? "pending" : ""].filter { !$0.isEmpty }.joined(separator: ", ")
    }
}

extension Context {
    /// How a move that only the server makes is made there.
    fileprivate func way(to transition: String, _ record: Record) async throws -> String {
        let entity = record.schema.name
        if entity == "replica", transition == "revoke" {
            let tenant = try await requireReplica().tenant?.text ?? "ID"
            return "where the server runs: sync-server replica revoke --tenant \(tenant) \(record.id.text)"
        }
        let server = try await requireReplica().status().server ?? "https://SERVER"
        return """
            with a connection: curl -X POST -H "Authorization: Bearer TOKEN" \(server)/v1/\(entity)/\(record.id.text)/transitions/\(transition) \
            (TOKEN: sync-server token create)
            """
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
            // Amounts say their currency.
            case .currency where entity.fields.contains(where: { $0.type.name == "money" }): continue
            default: if field.isIndexed || field.isRequired || ["email", "phone", "tags"].contains(field.name) { names.append(field.name) }
            }
        }
        if let state = entity.machine?.field, !names.contains(state) { names.append(state) }
        return names
    }

    /// Columns that somebody asked for.
    func chosenColumns(_ text: String, of entity: EntitySchema) throws -> [String] {
        let names = FieldText.elements(text)
        guard !names.isEmpty else {
            throw UsageError("--columns names fields, with commas between them", hint: "--columns name,phone,custom.gate_code")
        }
        for name in names {
            let root = String(name.prefix { $0 != "." })
            guard entity.field(root)?.isSecret == false || RowLayout.common.contains(name) else {
                throw missing(name, entity, "--columns")
            }
        }
        return names
    }

    /// `name`, or `-name` for descending order.
    func sort(_ text: String, of entity: EntitySchema) throws -> Sort {
        let name = text.hasPrefix("-") ? String(text.dropFirst()) : text
        guard entity.field(String(name.prefix { $0 != "." }))?.isSecret == false || RowLayout.common.contains(name) || name == "pending"
        else {
            throw missing(name, entity, "--sort")
        }
        return Sort(name, descending: text.hasPrefix("-"))
    }

    private func missing(_ name: String, _ entity: EntitySchema, _ option: String) -> UsageError {
        let known = usableFields(of: entity).map(\.name) + RowLayout.common
        let near = Near.names(to: name, in: known)
        return UsageError(
            "\(option): \(entity.name) has no field \(name)",
            hint: near.isEmpty ? "fields: \(known.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
    }

    func tableColumn(_ name: String, of entity: EntitySchema) -> Table.Column {
        var column = Table.Column(title: name, isKey: name == entity.titleField)
        switch entity.field(name)?.type {
        case .integer, .counter, .money, .quantity, .basisPoints: (column.isRight, column.isRigid) = (true, true)
        case .date, .instant, .bool, .currency, .phone: column.isRigid = true
        case .choice: (column.isRigid, column.isKey) = (true, name == entity.machine?.field)
        default: column.isRigid = name == "id" || name.hasSuffix("_at")
        }
        return column
    }

    /// A value for people: references by what they are called.
    func shown(_ record: Record, _ name: String) async throws -> String {
        guard let field = record.schema.field(name) else {
            if name.hasSuffix("_at"), let milliseconds = record.integer(name) { return FieldText.time(milliseconds) }
            if name == "created_by", let id = record.identifier(name) { return try await title("member", id) }
            if let dot = name.firstIndex(of: "."), record.schema.field(String(name[..<dot]))?.type.isMap == true {
                let type = try? await customType(String(name[name.index(after: dot)...]), record.schema)
                if let type { return try await fieldText(for: record).show(record[name], as: type) }
            }
            return record[name].isNull ? "" : FieldText.plain(record[name])
        }
        switch field.type {
        case .reference(let target, _):
            if let id = record.identifier(name) { return try await title(target, id) }
        case .anyReferenceID:
            if let target = record.text(name.replacing("_id", with: "_type")), let id = record.identifier(name) {
                return try await title(target, id)
            }
        default: break
        }
        return try await fieldText(for: record).show(record[name], as: field.type)
    }

    func title(_ entity: String, _ id: Identifier) async throws -> String {
        guard entities.contains(where: { $0.name == entity }) else { return String(id.text.suffix(12)) }
        return try await requireReplica().get(entity, id)?.title ?? String(id.text.suffix(12))
    }
}

extension Context {
    /// What a transition is told, typed as it declares; a usage error for what it does not take.
    func arguments(
        _ assignments: [Assignment], of transition: Transition, _ record: Record?, _ entity: EntitySchema
    ) async throws -> [String: JSONValue] {
        let text = if let record { try await fieldText(for: record) } else { FieldText(currency: try await tenantCurrency()) }
        var given: [String: JSONValue] = [:]
        for assignment in assignments {
            let names = transition.arguments.map(\.name)
            guard let type = transition.arguments.first(where: { $0.name == assignment.field })?.type else {
                let near = Near.names(to: assignment.field, in: names)
                throw UsageError(
                    "\(transition.name) takes no \(assignment.field)",
                    hint: names.isEmpty
                        ? "it takes no arguments"
                        : near.isEmpty ? "it takes \(names.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
            }
            do { given[assignment.field] = try text.parse(assignment.text, as: type, field: assignment.field) } catch var violation
                as Violation
            {
                (violation.entity, violation.id) = (entity.name, record?.id)
                throw UnreadableValues(violations: [violation])
            }
        }
        return given
    }
}
