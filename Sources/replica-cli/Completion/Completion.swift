// What may come next on the command line: from the command table, the schema, and the names in the local file.

import Replica
import SyncProtocol

/// Something the shell can offer.
struct Candidate: Sendable, Hashable {
    var text: String
    var note = ""
}

/// Works out what fits; never fails, because nobody wants to read errors while typing.
struct Completion {
    /// The shell completes names of files itself.
    static let files = Candidate(text: ":files")
    private static let most = 60

    private let context: Context
    private let replica: Replica?
    private let current: String

    init(_ context: Context, _ replica: Replica?, current: String) {
        self.context = context
        self.replica = replica
        self.current = current
    }

    /// The file that was named before, so that its records are offered.
    static func database(in words: [String]) -> String? {
        for (index, word) in words.enumerated() {
            if word == "--db", index + 1 < words.count { return words[index + 1] }
            if word.hasPrefix("--db=") { return String(word.dropFirst(5)) }
        }
        return nil
    }

    func candidates(after words: [String]) async -> [Candidate] {
        let offered = await offers(after: words)
        if offered == [Self.files] { return offered }
        let typed = current.lowercased()
        var seen: Set<String> = []
        return Array(offered.filter { $0.text.lowercased().hasPrefix(typed) && seen.insert($0.text).inserted }.prefix(Self.most))
    }

    private func offers(after words: [String]) async -> [Candidate] {
        // What is left without global options is the command and its words.
        var rest: [String] = []
        var isValue = false
        for word in words {
            if isValue {
                isValue = false
            } else if word == "--db" {
                isValue = true
            } else if !["--json", "--no-pager", "--help", "--version", "-h"].contains(word), !word.hasPrefix("--db=") {
                rest.append(word)
            }
        }
        if isValue { return [Self.files] }
        guard let name = rest.first else {
            return current.hasPrefix("-")
                ? GlobalOptions.specifications.map(Self.option) : Commands.shown.map { Candidate(text: $0.name, note: $0.summary) }
        }
        guard let command = Commands.named(name) else { return [] }
        return await offers(for: command, after: Array(rest.dropFirst()))
    }

    private func offers(for command: Command, after rest: [String]) async -> [Candidate] {
        var words: [String] = []
        var waiting: OptionSpecification?
        for word in rest {
            if waiting != nil {
                waiting = nil
            } else if word.hasPrefix("--"), word.count > 2 {
                waiting = command.options.first { "--\($0.name)" == word && $0.value != nil }
            } else {
                words.append(word)
            }
        }
        if let option = waiting { return await values(option.completes, words, command, prefix: "") }
        if current.hasPrefix("--") {
            if let equals = current.firstIndex(of: "="),
                let option = command.options.first(where: { "--\($0.name)" == current[..<equals] && $0.value != nil })
            {
                let prefix = String(current[...equals])
                return await values(option.completes, words, command, prefix: prefix)
            }
            return (command.options + GlobalOptions.specifications).map(Self.option)
        }
        guard let kind = words.count < command.arguments.count ? command.arguments[words.count] : command.arguments.last,
            words.count < command.arguments.count || [.assignment, .transitionArgument, .reportArgument].contains(kind)
        else { return [] }
        return await values(kind, words, command, prefix: "")
    }

    private static func option(_ option: OptionSpecification) -> Candidate { Candidate(text: "--\(option.name)", note: option.summary) }

    /// - Parameter prefix: stands before the value in the same word, as in `--sort=`.
    private func values(_ kind: ArgumentKind, _ words: [String], _ command: Command, prefix: String) async -> [Candidate] {
        let typed = String(current.dropFirst(prefix.count))
        let entity = named(in: words, of: command)
        let offered: [Candidate]
        switch kind {
        case .text: offered = []
        case .file: return [Self.files]
        case .word(let choices): offered = choices.map { Candidate(text: $0) }
        case .shell: offered = Shell.allCases.map { Candidate(text: $0.rawValue) }
        case .command:
            offered =
                Commands.shown.map { Candidate(text: $0.name, note: $0.summary) }
                + HelpTopic.all.map { Candidate(text: $0.name, note: $0.summary) }
        case .entity: offered = entities(words, command).map { Candidate(text: $0.name, note: $0.category) }
        case .transition:
            var names: [Candidate] = []
            for entity in context.entities {
                for transition in entity.machine?.transitions ?? [] {
                    names.append(Candidate(text: transition.name, note: "\(entity.name) → \(transition.to)"))
                }
            }
            offered = names
        case .record, .deletedRecord:
            guard let entity else { return [] }
            let from = command.name == Command.transition.name ? entity.machine?.transition(words[0])?.from : nil
            offered = await records(entity, typed, isDeleted: kind == .deletedRecord, states: from)
        case .assignment: offered = await assignments(entity, typed, words, command)
        case .transitionArgument:
            let transition = words.first.flatMap { entity?.machine?.transition($0) }
            offered = transition?.arguments.map { Candidate(text: $0.name + "=", note: $0.type.name) } ?? []
        case .report: offered = context.schema.reports.map { Candidate(text: $0.name, note: $0.title) }
        case .reportArgument: offered = reportArguments(words.first.flatMap { context.schema.report($0) }, typed)
        case .sortField: offered = sortFields(entity, typed)
        case .fields:
            let done = typed.lastIndex(of: ",").map { String(typed[...$0]) } ?? ""
            offered = fields(entity).map { Candidate(text: done + $0.text, note: $0.note) }
        case .condition: offered = await conditions(entity, typed)
        case .ownSet:
            let sets = (try? await replica?.undoableSets()) ?? []
            offered = sets.map { Candidate(text: "\($0.counter)", note: $0.summary) }
        case .problem:
            let problems = (try? await replica?.problems()) ?? []
            offered = problems.map { Candidate(text: "\($0.id)", note: $0.summary) }
        }
        return offered.map { Candidate(text: prefix + $0.text, note: $0.note) }
    }

    private func reportArguments(_ report: Report?, _ typed: String) -> [Candidate] {
        guard typed.contains("=") else { return report?.arguments.map { Candidate(text: $0.name + "=", note: $0.summary) } ?? [] }
        let lead = typed.prefix { $0 != "=" } + "="
        return ["today", "yesterday", "-1m", "-1y"].map { Candidate(text: lead + $0) }
    }

    // MARK: What was said before

    private func entities(_ words: [String], _ command: Command) -> [EntitySchema] {
        guard command.name == Command.transition.name, let name = words.first else { return context.entities }
        return context.entities.filter { $0.machine?.transition(name) != nil }
    }

    /// The entity among the words.
    private func named(in words: [String], of command: Command) -> EntitySchema? {
        guard let index = command.arguments.firstIndex(of: .entity), index < words.count else { return nil }
        return context.entities.first { $0.name == words[index] }
    }

    // MARK: Names in the file

    private func records(_ entity: EntitySchema, _ typed: String, isDeleted: Bool = false, states: [String]? = nil) async -> [Candidate] {
        guard let replica, let title = entity.titleField, entity.field(title)?.isSecret == false else { return [] }
        let names = ["code", "number", "email", "sku", "key"].filter { entity.field($0)?.isSecret == false && $0 != title }
        let columns = ([title] + names).map { "\"\($0)\"" }
        let length = typed.unicodeScalars.count
        let fits = columns.map { "substr(\($0), 1, \(length)) = ?1 COLLATE NOCASE" } + ["substr(id, 25, \(length)) = lower(?1)"]
        var sql = "SELECT id, \(columns.joined(separator: ", ")) FROM \"\(entity.name)\" WHERE deleted_at IS \(isDeleted ? "NOT " : "")NULL"
        if let states, let field = entity.machine?.field {
            sql += " AND \"\(field)\" IN (\(states.map { "'\($0)'" }.joined(separator: ", ")))"
        }
        sql += " AND (\(fits.joined(separator: " OR "))) ORDER BY updated_at DESC LIMIT \(Self.most)"
        guard let rows = try? await replica.query(sql, [.text(typed)]) else { return [] }
        return rows.compactMap { row in
            guard let id = row["id"]?.textValue else { return nil }
            let name = row[title]?.textValue ?? ""
            // What is typed decides: the title, another name, or the end of the id.
            let texts = [name] + names.compactMap { row[$0]?.textValue }
            let end = String(id.suffix(12))
            let match = texts.first { $0.lowercased().hasPrefix(typed.lowercased()) && !$0.isEmpty && !$0.contains(where: \.isNewline) }
            guard let match else { return Candidate(text: end, note: DisplayWidth.harmless(name)) }
            return Candidate(text: match, note: match == name ? end : DisplayWidth.harmless(name))
        }
    }

    // MARK: Fields and values

    private func fields(_ entity: EntitySchema?) -> [Candidate] {
        guard let entity else { return [] }
        return context.usableFields(of: entity).map { Candidate(text: $0.name, note: $0.type.name) }
            + ["created_at", "updated_at"].map { Candidate(text: $0, note: "instant") }
    }

    private func sortFields(_ entity: EntitySchema?, _ typed: String) -> [Candidate] {
        let sign = typed.hasPrefix("-") ? "-" : ""
        return fields(entity).map { Candidate(text: sign + $0.text, note: $0.note) }
    }

    /// `field=`, then the values it takes.
    private func assignments(_ entity: EntitySchema?, _ typed: String, _ words: [String], _ command: Command) async -> [Candidate] {
        let given = if let entity { entity } else { await problemEntity(words, command) }
        guard let entity = given else { return [] }
        guard let equals = typed.firstIndex(of: "=") else { return await writable(entity, typed) }
        var name = String(typed[..<equals])
        if name.hasSuffix("+") || name.hasSuffix("-") { name.removeLast() }
        return await values(of: name, entity, after: String(typed[...equals]), String(typed[typed.index(after: equals)...]))
    }

    private func problemEntity(_ words: [String], _ command: Command) async -> EntitySchema? {
        guard command.arguments.first == .problem, let id = words.first.flatMap({ Int64($0) }) else { return nil }
        let problem = ((try? await replica?.problems()) ?? []).first { $0.id == id }
        return problem?.changes.first.flatMap { change in context.entities.first { $0.name == change.key.entity } }
    }

    private func writable(_ entity: EntitySchema, _ typed: String) async -> [Candidate] {
        var offered: [Candidate] = []
        for field in context.usableFields(of: entity) where field.isWritable {
            switch field.type {
            case .address: offered += Command.addressParts.map { Candidate(text: "\(field.name).\($0)=", note: "text") }
            case .map: offered += await parts(of: field, entity).map { Candidate(text: "\($0.text)=", note: $0.note) }
            case .set:
                offered += ["=", "+=", "-="].map { Candidate(text: field.name + $0, note: "set") }
            case .anyReferenceEntity, .anyReferenceID:
                if field.name.hasSuffix("_id") { offered.append(Candidate(text: field.name.dropLast(3) + "=", note: "reference")) }
            default: offered.append(Candidate(text: field.name + "=", note: field.type.name))
            }
        }
        // Three ways to write a set are two too many before one of them is begun.
        return typed.isEmpty ? offered.filter { !$0.text.hasSuffix("+=") && !$0.text.hasSuffix("-=") } : offered
    }

    private func parts(of field: FieldSchema, _ entity: EntitySchema) async -> [Candidate] {
        if case .map(let keys) = field.type, !keys.isEmpty { return keys.map { Candidate(text: "\(field.name).\($0)") } }
        let defined = try? await replica?.list("custom_field", where: [.init("entity", .equal, .string(entity.name))], limit: 200)
        return (defined?.data ?? []).compactMap { one in one.text("key").map { Candidate(text: "\(field.name).\($0)", note: one.title) } }
    }

    private func values(of name: String, _ entity: EntitySchema, after prefix: String, _ typed: String) async -> [Candidate] {
        func plain(_ texts: [String]) -> [Candidate] { texts.map { Candidate(text: prefix + $0) } }
        func named(_ target: String, _ lead: String = "") async -> [Candidate] {
            guard let target = context.entities.first(where: { $0.name == target }) else { return [] }
            let begun = String(typed.dropFirst(lead.count))
            return await records(target, begun).map { Candidate(text: prefix + lead + $0.text, note: $0.note) }
        }
        guard let field = entity.field(name) else {
            guard let target = entity.field(name + "_id") else { return [] }
            guard let colon = typed.firstIndex(of: ":") else { return plain(target.referencedEntities.map { $0 + ":" }) }
            return await named(String(typed[..<colon]), String(typed[...colon]))
        }
        switch field.type {
        case .choice(let choices), .anyReferenceEntity(let choices): return plain(choices)
        case .bool: return plain(["yes", "no"])
        case .date: return plain(["today", "tomorrow", "+7d", "+1m"])
        case .instant: return plain(["now", "+2h"])
        case .reference(let target, _): return await named(target)
        case .currency: return plain((try? await context(replica).tenantCurrency()).map { $0.map { [$0] } ?? [] } ?? [])
        case .set(let element, _):
            let lead = typed.lastIndex(of: ",").map { String(typed[...$0]) } ?? ""
            switch element {
            case .choice(let choices): return plain(choices.map { lead + $0 })
            case .reference(let target, _): return await named(target, lead)
            default:
                // What others have used before.
                let sql = """
                    SELECT value, count(*) FROM \"\(entity.name)\", json_each(\"\(entity.name)\".\"\(name)\")
                    WHERE deleted_at IS NULL GROUP BY value ORDER BY 2 DESC LIMIT \(Self.most)
                    """
                let rows = (try? await replica?.query(sql)) ?? []
                return rows.compactMap { row in row["value"]?.textValue.map { Candidate(text: prefix + lead + $0) } }
            }
        default: return []
        }
    }

    private func context(_ replica: Replica?) -> Context {
        Context(terminal: context.terminal, databasePath: context.databasePath, replica: replica)
    }

    /// `field=`, then what it may be.
    private func conditions(_ entity: EntitySchema?, _ typed: String) async -> [Candidate] {
        guard let entity else { return [] }
        let name = typed.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }
        let rest = typed.dropFirst(name.count)
        guard !rest.isEmpty else {
            var offered = fields(entity).map { Candidate(text: $0.text + "=", note: $0.note) }
            for field in entity.fields where field.type.isMap {
                offered += await parts(of: field, entity).map { Candidate(text: "\($0.text)=", note: $0.note) }
            }
            return offered + ["deleted=", "pending="].map { Candidate(text: $0, note: "bool") }
        }
        let operators = rest.prefix { "=!<>~ ".contains($0) }
        guard operators.contains(where: { $0 != " " }) else { return [] }
        let lead = String(name + operators)
        if ["deleted", "pending"].contains(String(name)) { return ["yes", "no"].map { Candidate(text: lead + $0) } }
        return await values(of: String(name), entity, after: lead, String(rest.dropFirst(operators.count)))
    }
}

extension SQLiteValue {
    var textValue: String? { if case .text(let text) = self { text } else { nil } }
}
