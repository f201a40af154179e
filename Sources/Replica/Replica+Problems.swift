// What is on its way, and what did not make it: sets that wait for a checkpoint, and sets that wait for a person.

import SyncProtocol

/// A change set that no checkpoint covers yet.
public struct PendingSet: Sendable {
    public let counter: Int64
    public let summary: String
    /// By the author's corrected clock, milliseconds since 1970 UTC.
    public let sealedAt: Int64
    /// Why it would be rejected as things stand now; then it does not show in the view. Empty: it would be accepted.
    public let predicted: [Violation]
    /// The server's answer, when a push brought one that no checkpoint covers yet.
    public let outcome: Outcome?
    /// Empty for a withdrawn set.
    public let changes: [Change]
    public let isWithdrawn: Bool
    /// The server was restored from a backup and waits for what this set builds on, which another replica still has.
    public let isDeferred: Bool
    /// Of a withdrawn set: the open problem that has what it said.
    public let problem: Int64?
}

/// A change set that did not take effect and waits for a person.
public struct Problem: Sendable {
    public let id: Int64
    public let counter: Int64
    public let summary: String
    /// What the server said. Parameters of a `conflict` hold `base`, `server` and `yours`.
    public let violations: [Violation]
    /// The original edit.
    public let changes: [Change]
    /// `rejected`, `withdrawn`, `refused` (written by plain SQL and refused here), or `predicted` (still pending).
    public let status: String
    /// Open problems whose sets would have created what this one builds on: see to those first.
    public internal(set) var dependsOn: [Int64] = []
    /// Milliseconds since 1970 UTC.
    public let createdAt: Int64

    /// Finds which of them build on which: by the records they create, change and refer to.
    static func linked(_ problems: [Problem]) -> [Problem] {
        var creator: [Identifier: Int64] = [:]
        for problem in problems {
            for change in problem.changes { if case .create = change.operation { creator[change.key.id] = problem.id } }
        }
        guard !creator.isEmpty else { return problems }
        return problems.map { problem in
            let named = problem.changes.reduce(into: Set<Identifier>()) { $0.formUnion($1.namedIdentifiers) }
            var linked = problem
            linked.dependsOn = Set(named.compactMap { creator[$0] }).subtracting([problem.id]).sorted()
            return linked
        }
    }

    public var isWithdrawn: Bool { status == ProblemStatus.withdrawn.rawValue }

    /// The set is pending and would be rejected as things stand. It can be settled before the server has said so.
    public var isPredicted: Bool { status == Self.predicted }
    static let predicted = "predicted"

    /// The change that other values go into: of the record that was complained about, else the first that creates or changes a record,
    /// else the first transition with arguments.
    public var editable: Change? {
        let named = violations.lazy.compactMap { violation in violation.id.flatMap { editable(RecordKey(violation.entity, $0)) } }.first
        return named ?? editable(among: changes)
    }

    /// The same of one of its records; nil when nothing of it takes values.
    public func editable(_ key: RecordKey) -> Change? { editable(among: changes.filter { $0.key == key }) }

    private func editable(among changes: [Change]) -> Change? {
        func first(_ isMeant: (Change.Operation) -> Bool) -> Change? { changes.first { isMeant($0.operation) } }
        let transition = first { if case .transition = $0 { true } else { false } }
        // What is wrong may be an argument of it, or be missing there.
        if violations.contains(where: { $0.id == transition?.key.id && $0.parameters["argument"] != nil }), transition != nil {
            return transition
        }
        return first { if case .create = $0 { true } else if case .patch = $0 { true } else { false } } ?? transition
    }
}

extension Replica {
    /// Oldest first.
    public func pending() async throws -> [PendingSet] {
        try await reading("pending") { store in
            try store.pendingRows().map { row in
                let predicted = try row.predicted.map { try JSONValue(parsing: $0).arrayValue ?? [] } ?? []
                return PendingSet(
                    counter: row.counter, summary: row.summary, sealedAt: row.sealedAt,
                    predicted: predicted.compactMap(Violation.init(json:)),
                    outcome: try row.outcome.flatMap { Outcome(json: try JSONValue(parsing: $0)) },
                    changes: try row.sealed.map { try ChangeSet(sealed: $0).changes } ?? [], isWithdrawn: row.sealed == nil,
                    isDeferred: row.isDeferred && row.outcome == nil, problem: row.sealed == nil ? try store.openProblem(of: row) : nil)
            }
        }
    }

    /// Open problems, oldest first.
    public func problems() async throws -> [Problem] {
        try await reading("problems") { store in
            let problems = try store.connection.query(
                "SELECT \(Store.problemColumns) FROM _tideline_problem WHERE resolved_at IS NULL ORDER BY id"
            ) { try store.problem($0) }
            return Problem.linked(problems)
        }
    }

    /// Pending sets that would be rejected as things stand, oldest first: what ``problems()`` will have unless something changes.
    /// ``retry(_:)``, ``edit(_:_:of:)`` and ``discard(_:)`` take them, too: the set is taken out of what is to be sent.
    public func predictedProblems() async throws -> [Problem] {
        try await reading("problems") { store in
            try store.pendingRows().compactMap { row in
                guard row.isPredicted, let predicted = row.predicted, let sealed = row.sealed else { return nil }
                let violations = try JSONValue(parsing: predicted).arrayValue ?? []
                return Problem(
                    id: row.counter, counter: row.counter, summary: row.summary, violations: violations.compactMap(Violation.init(json:)),
                    changes: try ChangeSet(sealed: sealed).changes, status: Problem.predicted, createdAt: row.sealedAt)
            }
        }
    }

    /// Says the same again on the state of now, as a new set with a new clock; transitions start from the present state.
    /// Throws `refused` when that is not possible either; the problem then stays.
    @discardableResult
    public func retry(_ problem: Problem) async throws -> WriteResult<Void> {
        try await resolve(problem, overriding: [:], "retried")
    }

    /// Like ``retry(_:)``, with other values for some fields of one record: `record`, or the one that ``Problem/editable`` names.
    @discardableResult
    public func edit(_ problem: Problem, _ fields: [String: JSONValue], of record: RecordKey? = nil) async throws -> WriteResult<Void> {
        try await resolve(problem, overriding: fields, of: record, "edited")
    }

    /// Lets the edit go. It leaves the list and is kept in the file.
    public func discard(_ problem: Problem) async throws {
        try await writing("discard") { store in
            try store.sealedTransaction {
                try store.resolve(try store.opened(problem), "discarded")
            }
        }
        longPoll.interrupt()
    }

    /// What was written could not be read: there is nothing to say again, and the words themselves stay with the problem.
    private static func nothingToRepeat(_ problem: Problem) -> ReplicaError {
        .refused(
            [
                Violation(
                    entity: problem.changes.first?.key.entity ?? "", id: problem.changes.first?.key.id, field: "set", code: .invalidSyntax,
                    message:
                        "problem \(problem.id) says nothing that could be done again: edit it with the values that were meant, or discard it"
                )
            ], operation: "retry")
    }

    private static func unsaid(_ fields: [String], _ problem: Problem) -> ReplicaError {
        .refused(
            fields.map { field in
                Violation(
                    entity: problem.changes.first?.key.entity ?? "", id: problem.changes.first?.key.id, field: field, code: .invalidSyntax,
                    message: "could not be read: edit problem \(problem.id) with the value that was meant, or discard it")
            }, operation: "retry")
    }

    private func resolve(
        _ problem: Problem, overriding: [String: JSONValue], of record: RecordKey? = nil, _ resolution: String
    ) async throws -> WriteResult<Void> {
        let result = try await writing("retry") { [identifiers] store in
            try store.commit(newIdentifier: identifiers.next, summary: nil) { edit in
                let problem = try store.opened(problem)
                let isEmpty = problem.changes.allSatisfy { if case .patch(let fields, _) = $0.operation { fields.isEmpty } else { false } }
                guard !isEmpty || !overriding.isEmpty else { throw Self.nothingToRepeat(problem) }
                let unsaid = problem.unreadableFields.filter { field in
                    !overriding.keys.contains { $0 == field || $0.hasPrefix(field + ".") }
                }
                guard unsaid.isEmpty else { throw Self.unsaid(unsaid.sorted(), problem) }
                let target = overriding.isEmpty ? nil : record.map { problem.editable($0) } ?? problem.editable
                guard overriding.isEmpty || target != nil else {
                    throw ReplicaError(.invalidQuery, "problem \(problem.id) has no values to edit", operation: "edit")
                }
                let meant = problem.changes.firstIndex { $0 == target }
                for (index, change) in problem.changes.enumerated() {
                    try edit.again(change, overriding: index == meant ? overriding : [:])
                }
                // In the same transaction as the new set.
                try store.resolve(problem, resolution)
            }
        }
        longPoll.interrupt()
        return result
    }
}
