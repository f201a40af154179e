// What is on its way, and what came back: pending, problems, retry, edit, discard.

import Replica
import SyncProtocol

extension Command {
    static let pending = Command(
        name: "pending", words: "", summary: "what the server has not confirmed yet",
        help: "One line per change set, oldest first. `replica sync` sends them.", group: .problems, isPaged: true
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "pending")
        let sets = try await context.requireReplica().pending()
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(
                    sets.map { set in
                        [
                            "set": .integer(set.counter), "summary": .string(set.summary), "at": .integer(set.sealedAt),
                            "answered": .bool(set.outcome != nil), "waiting": .bool(set.isDeferred),
                            "predicted": .array(set.predicted.map(\.json)),
                            "withdrawn": .bool(set.isWithdrawn), "problem": set.problem.map { .integer($0) } ?? .null,
                        ]
                    }),
                "total": .integer(Int64(sets.count)), "has_more": false, "next_cursor": .null,
            ])
            return .done
        }
        guard !sets.isEmpty else {
            terminal.line("nothing is pending")
            return .done
        }
        let rows = sets.map { set in
            let state =
                set.isDeferred
                ? "waits for another replica's work"
                : set.isWithdrawn
                    ? "taken out" + (set.problem.map { ", see problem \($0)" } ?? "")
                    : set.predicted.first.map { "would be rejected: \($0.message)" } ?? (set.outcome == nil ? "" : "answered")
            return ["\(set.counter)", FieldText.time(set.sealedAt), set.summary, state]
        }
        terminal.table(
            Table(
                columns: [
                    .init(title: "set", isRight: true, isRigid: true), .init(title: "when", isRigid: true), .init(title: "what"),
                    .init(title: ""),
                ], rows: rows))
        return .done
    }

    static let problems = Command(
        name: "problems", words: "[PROBLEM]", summary: "what was rejected, why, and both values",
        help: """
            Each problem keeps what you did, and has the number of its change set; also those that are pending and would be rejected
            as things stand. Under its name are the records it is about, by their whole ids, as history and show take them. Choose one of
              replica retry PROBLEM                   do it again on today's data
              replica edit PROBLEM FIELD=VALUE…       do it again with other values
              replica discard PROBLEM                 give it up
            """, group: .problems, arguments: [.problem], isPaged: true
    ) { context, arguments in
        let words = try Context.words(arguments, 0...1, "problems [PROBLEM]")
        let replica = try context.requireReplica()
        var problems = try await open(replica)
        if let word = words.first {
            let id = try problemID(word)
            problems = problems.filter { $0.id == id }
            if problems.isEmpty {
                throw HintedError(
                    error: ReplicaError(.notFound, "there is no open problem \(id)", operation: "problems"),
                    hint: "replica problems lists them")
            }
        }
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json([
                "data": .array(problems.map(\.json)), "total": .integer(Int64(problems.count)), "has_more": false, "next_cursor": .null,
            ])
            return .done
        }
        if problems.isEmpty { terminal.line("no problems") }
        for problem in problems { try await context.show(problem) }
        return .done
    }

    /// The one record of a problem whose id begins so.
    private static func changedRecord(beginning text: String, _ problem: Problem) throws -> RecordKey {
        var keys: [RecordKey] = []
        for change in problem.changes where !keys.contains(change.key) { keys.append(change.key) }
        let found = keys.filter { !text.isEmpty && $0.id.text.hasPrefix(text.lowercased()) }
        guard found.count == 1 else {
            let shown = keys.prefix(5).map { "\($0.entity) \($0.id.text)" }.joined(separator: ", ")
            throw UsageError(
                "problem \(problem.id) is about \(found.isEmpty ? "no record" : "\(found.count) records") whose id begins with \"\(text)\"",
                hint: "it is about \(shown)\(keys.count > 5 ? " and \(keys.count - 5) more; replica --json problems \(problem.id)" : "")")
        }
        return found[0]
    }

    private static func problemID(_ word: String) throws -> Int64 {
        guard let id = Int64(word), id > 0 else { throw UsageError("\"\(word)\" is not the number of a problem", hint: "replica problems") }
        return id
    }

    /// What is known to be refused, and what is about to be.
    private static func open(_ replica: Replica) async throws -> [Problem] {
        let problems = try await replica.problems()
        let known = Set(problems.map(\.id))
        return problems + (try await replica.predictedProblems().filter { !known.contains($0.id) })
    }

    private static func openProblem(_ word: String, _ context: Context) async throws -> Problem {
        let id = try problemID(word)
        guard let problem = try await open(context.requireReplica()).first(where: { $0.id == id }) else {
            throw HintedError(
                error: ReplicaError(.notFound, "there is no open problem \(id)", operation: "problems"), hint: "replica problems lists them"
            )
        }
        return problem
    }

    static let retry = Command(
        name: "retry", words: "PROBLEM", summary: "do a rejected change again, on today's data",
        help: "What you did is made anew as a pending change that knows everything fetched since.\n\n  replica retry 3", group: .problems,
        arguments: [.problem]
    ) { context, arguments in
        let problem = try await openProblem(try Context.words(arguments, 1...1, "retry PROBLEM")[0], context)
        let result = try await context.requireReplica().retry(problem)
        context.report(result, problem: problem.id, did: "done again")
        return .done
    }

    static let edit = Command(
        name: "edit", words: "PROBLEM FIELD=VALUE…", summary: "do a rejected change again with other values",
        help: """
            The values replace those of the record that was complained about; --record names another one of the same change.

              replica edit 3 access_notes="Ask for Sam; key at desk"
              replica edit 3 --record 0195c2 phone=+15550142
            """,
        options: [.value("record", "ID", "the record that gets the values: its id or the beginning of it")],
        group: .problems, arguments: [.problem, .assignment]
    ) { context, arguments in
        let words = try Context.words(arguments, 2...1000, "edit PROBLEM FIELD=VALUE…")
        let replica = try context.requireReplica()
        let problem = try await openProblem(words[0], context)
        let named = try arguments.value("record").map { try changedRecord(beginning: $0, problem) }
        guard let change = named.map({ problem.editable($0) }) ?? problem.editable else {
            throw UsageError("problem \(problem.id) has no values to edit", hint: "replica retry \(problem.id), or discard it")
        }
        let entity = try context.entity(change.key.entity)
        let given = try words.dropFirst().map { try Assignment($0) }
        let values: [String: JSONValue]
        let record = try await replica.get(entity.name, change.key.id)
        if case .transition(let name, _, _) = change.operation, let transition = entity.machine?.transition(name) {
            values = try await context.arguments(given, of: transition, record, entity)
        } else {
            values = try await context.values(given, of: entity, current: record)
        }
        let result = try await replica.edit(problem, values, of: change.key)
        context.report(result, problem: problem.id, did: "done again with other values")
        return .done
    }

    static let discard = Command(
        name: "discard", words: "PROBLEM", summary: "give a rejected change up",
        help: "The server's values stand. What you did stays in the file's history.\n\n  replica discard 3", group: .problems,
        arguments: [.problem]
    ) { context, arguments in
        let problem = try await openProblem(try Context.words(arguments, 1...1, "discard PROBLEM")[0], context)
        let headline = try await context.headline(of: problem)
        try await context.requireReplica().discard(problem)
        if context.terminal.isJSON {
            context.terminal.json(["problem": .integer(problem.id), "status": "discarded"])
        } else {
            context.terminal.line("discarded problem \(problem.id): \(DisplayWidth.harmless(headline))")
        }
        return .done
    }
}

extension Context {
    func report(_ result: WriteResult<Void>, problem: Int64, did: String) {
        if terminal.isJSON {
            terminal.json([
                "problem": .integer(problem), "set": result.counter.map { .integer($0) } ?? .null,
                "status": .string(result.outcome.status.rawValue),
            ])
        } else {
            terminal.line(
                result.counter == nil
                    ? "nothing was left to do; problem \(problem) is closed" : "\(did); it is pending as set \(result.counter ?? 0)")
        }
    }
}
