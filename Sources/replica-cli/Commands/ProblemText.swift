// A problem for people: what was done to which record, what was typed and what stands against it, who and when.

import Replica
import SyncProtocol

extension Context {
    /// One line: what was to happen to which record. Summaries call a record that is not here by a piece of its id.
    func headline(of problem: Problem) async throws -> String {
        guard let first = problem.changes.first else { return problem.summary }
        let (id, name) = (first.key.id.text, try await name(of: first.key, in: problem))
        return [id.prefix(8), id.suffix(12)].reduce(problem.summary) { $0.replacing(String($1), with: name) }
    }

    /// What a record is called here, or would be called if the problem's change had been taken.
    private func name(of key: RecordKey, in problem: Problem) async throws -> String {
        guard let entity = schema.entity(key.entity) else { return String(key.id.text.suffix(12)) }
        let record = entities.contains { $0.name == entity.name } ? try await requireReplica().get(entity.name, key.id) : nil
        func text(_ field: String) -> String? { record?.text(field) ?? Self.typed(field, key, problem)?.stringValue }
        let title = entity.titleFields.compactMap(text)
        if !title.isEmpty { return title.joined(separator: " ") }
        // Links are called by what they connect.
        var connected: [String] = []
        for field in entity.deterministicKeys {
            guard case .reference(let target, _)? = entity.field(field)?.type, let id = text(field).flatMap({ Identifier($0) }) else {
                continue
            }
            connected.append(try await self.title(target, id))
        }
        return connected.isEmpty ? String(key.id.text.suffix(12)) : connected.joined(separator: " – ")
    }

    /// What the problem's changes say about a field, `custom.key` and arguments of transitions included.
    private static func typed(_ field: String, _ key: RecordKey?, _ problem: Problem) -> JSONValue? {
        for change in problem.changes where key == nil || change.key == key {
            if let value = change.said[field] { return value }
            let parts = field.split(separator: ".", maxSplits: 1).map(String.init)
            if parts.count == 2, let value = change.said[parts[0]]?[parts[1]] { return value }
        }
        return nil
    }

    func show(_ problem: Problem) async throws {
        let heading = DisplayWidth.harmless(try await headline(of: problem))
        terminal.line(
            terminal.styled("\(problem.id)  \(heading)", .bold) + "  \(FieldText.time(problem.createdAt))"
                + (problem.isPredicted ? "  " + terminal.styled("still pending; would be rejected as things stand", .yellow) : ""))
        var keys: [RecordKey] = []
        for change in problem.changes where !keys.contains(change.key) { keys.append(change.key) }
        for key in keys.prefix(5) {
            let name = keys.count == 1 ? "" : "  \(DisplayWidth.harmless(try await self.name(of: key, in: problem)))"
            terminal.line(terminal.styled("   \(key.entity) \(key.id.text)\(name)", .dim))
        }
        if keys.count > 5 { terminal.line("   and \(keys.count - 5) more records; replica --json problems \(problem.id)") }
        if !problem.dependsOn.isEmpty {
            let numbers = problem.dependsOn.map { "\($0)" }.joined(separator: ", ")
            terminal.line("   builds on problem \(numbers): see to that first, then retry this one")
        }
        for violation in problem.violations { try await show(violation, of: problem) }
    }

    private func show(_ violation: Violation, of problem: Problem) async throws {
        terminal.line("   \(DisplayWidth.harmless(ErrorReport.words(violation)))")
        let key = violation.id.map { RecordKey(violation.entity, $0) }
        let type = try await type(of: violation.field ?? "", violation.entity)
        let text = FieldText(currency: try await tenantCurrency())
        var values = ["base": "was", "server": "server", "yours": "yours", "text": "written"].reduce(into: [String: JSONValue]()) {
            $0[$1.value] = violation.parameters[$1.key]
        }
        if values["yours"] == nil, values["written"] == nil, let field = violation.field {
            values["yours"] = Self.typed(field, key, problem)
        }
        for title in ["was", "server", "yours", "written"] {
            guard let value = values[title] else { continue }
            let shown = type.map { text.show(value, as: $0) } ?? FieldText.plain(value)
            let padded = title.padding(toLength: 8, withPad: " ", startingAt: 0)
            terminal.line("     \(padded)\(shown.isEmpty ? "(empty)" : DisplayWidth.harmless(shown))")
        }
        if let (who, when) = try await author(violation, key) {
            terminal.line("     by      \(DisplayWidth.harmless(who))\(when.map { " at \(FieldText.time($0))" } ?? "")")
        }
    }

    private func type(of field: String, _ entity: String) async throws -> FieldType? {
        if let known = schema.entity(entity)?.field(field) { return known.type }
        guard field.hasPrefix("custom."), let owner = schema.entity(entity) else { return nil }
        do { return try await customType(String(field.dropFirst("custom.".count)), owner) } catch is UsageError { return nil }
    }

    /// Who did what stands in the way: as the server said, or, of a deletion, as the timeline of this file tells.
    private func author(_ violation: Violation, _ key: RecordKey?) async throws -> (who: String, when: Int64?)? {
        let replica = try requireReplica()
        let when = violation.parameters["at"]?.integerValue ?? violation.parameters["deleted_at"]?.integerValue
        if let by = violation.parameters["by"]?.stringValue.flatMap({ Identifier($0) }) {
            guard let member = try await replica.get("member", by) else { return ("member \(by.text)", when) }
            return (member.title, when)
        }
        guard violation.code == ViolationCode.recordDeleted.rawValue, let key, schema.entity(key.entity) != nil else { return nil }
        let deletion = try await replica.history(key.entity, key.id).last { $0.entry.operation == .delete }
        return deletion.map { ($0.actor, $0.entry.operationMilliseconds) }
    }
}

extension Change {
    /// Values by field, and those that a transition was told.
    fileprivate var said: JSONObject {
        switch operation {
        case .create(let fields), .patch(let fields, _): fields
        case .transition(_, _, let arguments): arguments
        case .delete, .restore: JSONObject()
        }
    }
}
