// Looking back: the company's timeline, one record's history, and taking back what one did. All of it works without a network.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let history = Command(
        name: "history", words: "ENTITY ID", summary: "who changed which field of a record, from what to what",
        help: """
            Everything that was said about the record, oldest first: also values that lost to a later one, and your own edits that wait
            or were rejected. Needs no network; it reaches back as far as this file keeps the timeline (90 days or 10,000 entries).

              replica history client "Pier 9"
            """,
        group: .records, arguments: [.entity, .record], isPaged: true
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "history ENTITY ID")
        let entity = try context.entity(words[0])
        let (id, title, events) = try await told(entity, words[1], context)
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(events.map(\.json)), "total": .integer(Int64(events.count)), "has_more": false, "next_cursor": .null,
            ])
            return .done
        }
        terminal.line(terminal.styled("\(entity.name) \(title)", .bold) + "  \(id.text)")
        if events.isEmpty { terminal.line("this file keeps nothing about it; the timeline comes with the next sync") }
        for event in events {
            let mark = event.mark
            terminal.line(
                "\(FieldText.time(event.entry.operationMilliseconds))  \(event.text)"
                    + (mark.map { "  " + terminal.styled("(\($0.text))", $0.style) } ?? ""))
            for (name, old, new) in event.longTexts(entity) {
                for (title, value) in [("was", old), ("now", new)] where !value.isNull {
                    let words = DisplayWidth.harmless(FieldText.plain(value).split(whereSeparator: \.isNewline).joined(separator: " ⏎ "))
                    let lead = "                  \(name) \(title): "
                    let room = terminal.width.map { max(20, $0 - DisplayWidth.of(lead)) } ?? longTextMax
                    terminal.line(lead + DisplayWidth.shortened(words, to: min(room, longTextMax)))
                }
            }
            for violation in event.violations { terminal.line("                  \(ErrorReport.words(violation))") }
        }
        return .done
    }

    /// Also of a record that is not here any more, or never came to be because its creation was refused: by its whole id.
    private static func told(
        _ entity: EntitySchema, _ name: String, _ context: Context
    ) async throws -> (id: Identifier, title: String, events: [HistoryEvent]) {
        let replica = try context.requireReplica()
        do {
            let record = try await context.record(entity.name, name, includingDeleted: true)
            return (record.id, record.title, try await replica.history(entity.name, record.id))
        } catch let error as HintedError where error.error.code == .notFound {
            guard let id = Identifier(name) else { throw error }
            let events = try await replica.history(entity.name, id)
            guard !events.isEmpty else { throw error }
            return (id, "that is not among the records here", events)
        }
    }

    /// Columns of a long text in a history; `--json` has all of it.
    private static let longTextMax = 200

    static let log = Command(
        name: "log", words: "", summary: "the timeline: what happened in the company, newest first",
        help: """
            From this file's own copy, so it works without a network. With --entity and --id: everything on that record's timeline, what
            happened to the records around it included (a client's contacts, sites, deals). sync keeps the last 90 days of it, 10,000
            entries at most; TIDELINE_LOG_DAYS and TIDELINE_LOG_ENTRIES change that.

              replica log
              replica log --entity client --id "Pier 9" --since -7d
              replica log --kind 'deal.*' --level major --limit 20

            --since and --until take a day, the whole of it, or a time, both included: 2026-03-16, yesterday, -7d, "2026-03-16 14:30", -2h.
            """,
        options: [
            .value("entity", "ENTITY", "entries about this entity"), .value("id", "ID", "with --entity: one record's timeline"),
            .value("category", "C", "relationship, admin, sync, …"), .value("kind", "K", "client.updated, or client.* for all"),
            .value("actor", "MEMBER", "what this member did"), .value("level", "LEVEL", "major or minor"),
            .value("since", "T", "from then on"), .value("until", "T", "up to then"),
            .value("limit", "N", "at most so many (50)"), .value("cursor", "CURSOR", "go on where a page ended"),
        ],
        isPaged: true
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "log")
        var filter = ActivityFilter(
            category: arguments.value("category"), kind: arguments.value("kind"), level: arguments.value("level"))
        do throws(UnknownTimelineChoice) { try filter.check(context.schema) } catch {
            throw UsageError("--\(error.name) \(error.requirement), not \"\(arguments.value(error.name) ?? "")\"")
        }
        let replica = try context.requireReplica()
        if let name = arguments.value("entity") { filter.entity = try context.entity(name).name }
        if let id = arguments.value("id") {
            guard let entity = filter.entity else { throw UsageError("--id needs --entity", hint: "replica log --entity client --id ID") }
            filter.id = try await context.record(entity, id, includingDeleted: true).id
        }
        if let actor = arguments.value("actor") { filter.actor = try await context.record("member", actor, includingDeleted: true).id }
        filter.since = try time(arguments, "since", isEnd: false)
        filter.until = try time(arguments, "until", isEnd: true)
        let list = try await replica.activity(
            filter, limit: Int(try number(arguments, "limit", 1...1_000) ?? 50), before: try number(arguments, "cursor", 1...Int64.max))
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(list.data.map(\.json)), "has_more": .bool(list.hasMore),
                "next_cursor": list.next.map { .string(String($0)) } ?? .null,
            ])
            return .done
        }
        if list.data.isEmpty { terminal.line("nothing to show; the timeline comes with the next sync") }
        for item in list.data {
            let line = "\(FieldText.time(item.entry.atMilliseconds))  \(item.text)"
            terminal.line(item.entry.isMajor ? terminal.styled(line, .bold) : line)
        }
        if let next = list.next { terminal.note("more: --cursor \(next)") }
        return .done
    }

    /// A moment, or a whole day of this place: from its beginning, or to its end.
    private static func time(_ arguments: ParsedArguments, _ name: String, isEnd: Bool) throws -> Int64? {
        guard let text = arguments.value(name) else { return nil }
        let moment = Moment.now
        if let milliseconds = DateWords.instant(text, moment) { return milliseconds }
        guard let day = DateWords.day(text, moment) else {
            throw UsageError("--\(name): \"\(text)\" is not a time", hint: "\(DateWords.timeHint); or a day: 2026-03-16, yesterday, -7d")
        }
        let beginning = Moment.instant(day: isEnd ? day + 1 : day, minutes: 0, in: moment.zone)
        return isEnd ? beginning - 1 : beginning
    }

    private static func number(_ arguments: ParsedArguments, _ name: String, _ range: ClosedRange<Int64>) throws -> Int64? {
        guard let text = arguments.value(name) else { return nil }
        guard let number = Int64(text), range.contains(number) else {
            throw UsageError(
                "--\(name) is a whole number from \(range.lowerBound)\(range.upperBound == .max ? "" : " to \(range.upperBound)")")
        }
        return number
    }

    static let undo = Command(
        name: "undo", words: "[SET]", summary: "take back the last thing you did, or a named set",
        help: """
            A new change restores the old values where they are still in place, and says where someone has gone on from there. Undoing
            again goes further back; SET is a number that `replica pending` or an earlier command showed.

              replica undo
              replica undo 17
            """,
        group: .problems, arguments: [.ownSet]
    ) { context, arguments in
        let words = try Context.words(arguments, 0...1, "undo [SET]")
        var counter: Int64?
        if let word = words.first {
            guard let number = Int64(word), number > 0 else {
                throw UsageError("\"\(word)\" is not the number of a set", hint: "replica pending shows them")
            }
            counter = number
        }
        let replica = try context.requireReplica()
        let report: UndoReport
        do { report = try await replica.undo(counter) } catch let error as ReplicaError where counter == nil && error.code == .refused {
            // The newest set would be tried again and again.
            let sets = try await replica.undoableSets(limit: 2)
            guard let first = sets.first, let earlier = sets.dropFirst().first else { throw error }
            throw HintedError(
                error: error,
                hint: "set \(first.counter) stays as it is; the one before it (\(earlier.summary)): replica undo \(earlier.counter)")
        }
        // What cannot be taken back would be offered again by every further undo.
        var earlier: OwnSet?
        if report.counter == nil, counter == nil { earlier = try await replica.undoableSets().first { $0.counter < report.undone } }
        let terminal = context.terminal
        if terminal.isJSON {
            func parts(_ parts: [UndoReport.Part]) -> JSONValue {
                .array(
                    parts.map { part in
                        var object: JSONObject = ["entity": .string(part.key.entity), "id": .string(part.key.id.text)]
                        if let field = part.field { object["field"] = .string(field) }
                        if !part.reason.isEmpty { object["reason"] = .string(part.reason) }
                        return .object(object)
                    })
            }
            terminal.json([
                "undone": .integer(report.undone), "set": report.counter.map { .integer($0) } ?? .null,
                "restored": parts(report.restored), "kept": parts(report.kept), "earlier": earlier.map { .integer($0.counter) } ?? .null,
            ])
            return report.counter == nil ? .refused : .done
        }
        if let counter = report.counter {
            terminal.line("took back set \(report.undone) (\(report.summary)); pending as set \(counter)")
        } else {
            terminal.line("nothing of set \(report.undone) (\(report.summary)) could be taken back")
        }
        for part in report.kept {
            terminal.line(terminal.styled("kept \(part.title)\(part.field.map { ", \($0)" } ?? ""): \(part.reason)", .yellow))
        }
        if let earlier { terminal.line("the one before it (\(earlier.summary)): replica undo \(earlier.counter)") }
        return report.counter == nil ? .refused : .done
    }

    static func writeSQL(_ sql: String, _ summary: String?, _ context: Context) async throws -> ExitCode {
        let result = try await context.requireReplica().writeSQL(sql, summary: summary)
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "sets": .array(result.sets.map { .integer($0) }), "problems": .array(result.problems.map(\.json)),
            ])
        } else {
            let count = result.sets.count
            terminal.line(
                count == 0
                    ? "nothing changed"
                    : count == 1 ? "1 change is pending; replica sync sends it" : "\(count) changes are pending; replica sync sends them")
            for problem in result.problems {
                let headline = try await context.headline(of: problem)
                for violation in problem.violations {
                    let words = DisplayWidth.harmless("\(headline): \(ErrorReport.words(violation))")
                    terminal.line(terminal.styled("problem \(problem.id): \(words)", .red))
                }
            }
        }
        return result.problems.isEmpty ? .done : .refused
    }
}

extension HistoryEvent {
    /// What changed in fields of which the sentence only says that they changed.
    fileprivate func longTexts(_ entity: EntitySchema) -> [(name: String, old: JSONValue, new: JSONValue)] {
        let changes = entry.allChanges
        return entity.fields.compactMap { field in
            guard let change = changes[field.name] else { return nil }
            switch field.type {
            case .rich, .json: break
            default: return nil
            }
            let (old, new) = (change["old"] ?? .null, change["new"] ?? .null)
            return old.isNull && new.isNull ? nil : (field.name, old, new)
        }
    }

    fileprivate var mark: (text: String, style: Terminal.Style)? {
        switch status {
        case .confirmed: nil
        case .superseded: ("lost to a later edit", .yellow)
        case .pending: ("pending as set \(counter ?? 0)", .dim)
        case .predicted: ("pending, would be rejected", .red)
        case .rejected: (problem.map { "rejected, problem \($0)" } ?? "rejected", .red)
        case .withdrawn: ("taken out, problem \(problem ?? 0)", .red)
        case .refused: ("refused, problem \(problem ?? 0)", .red)
        }
    }

    fileprivate var json: JSONValue {
        var object: JSONObject = [
            "status": .string(status.rawValue), "text": .string(text), "actor": .string(actor),
            "at": .integer(entry.operationMilliseconds), "kind": .string(entry.kind), "changes": .object(entry.allChanges),
        ]
        if let counter { object["set"] = .integer(counter) }
        if let problem { object["problem"] = .integer(problem) }
        if !violations.isEmpty { object["violations"] = .array(violations.map(\.json)) }
        if entry.position != .unconfirmed { object["position"] = .integer(entry.position.position) }
        return .object(object)
    }
}

extension ActivityItem {
    fileprivate var json: JSONValue {
        guard var object = entry.json.objectValue else { return .null }
        object["text"] = .string(text)
        object["actor_name"] = .string(actor)
        object["title"] = .string(title)
        object["restricted_changes"] = Optional.none
        object["changes"] = .object(entry.allChanges)
        return .object(object)
    }
}
