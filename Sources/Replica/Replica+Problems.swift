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
    /// `rejected`, `withdrawn`, or `refused` (written by plain SQL and refused here).
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

    /// Says the same again on the state of now, as a new set with a new clock; transitions start from the present state.
    /// Throws `refused` when that is not possible either; the problem then stays.
    @discardableResult
    public func retry(_ problem: Problem) async throws -> WriteResult<Void> {
        try await resolve(problem, overriding: [:], "retried")
    }

    /// Like ``retry(_:)``, with other values for some fields of the first record that was created or changed.
    @discardableResult
    public func edit(_ problem: Problem, _ fields: [String: JSONValue]) async throws -> WriteResult<Void> {
        try await resolve(problem, overriding: fields, "edited")
    }

    /// Lets the edit go. It leaves the list and is kept in the file.
    public func discard(_ problem: Problem) async throws {
        try await writing("discard") { store in
            try store.connection.immediateTransaction { try store.resolve(try store.requireProblem(problem.id), "discarded") }
        }
    }

    private func resolve(_ problem: Problem, overriding: [String: JSONValue], _ resolution: String) async throws -> WriteResult<Void> {
        let result = try await writing("retry") { [identifiers] store in
            try store.commit(newIdentifier: identifiers.next, summary: nil) { edit in
                let problem = try store.requireProblem(problem.id)
                var overriding = overriding
                for change in problem.changes {
                    switch change.operation {
                    case .create, .patch:
                        try edit.again(change, overriding: overriding)
                        overriding = [:]
                    default: try edit.again(change, overriding: [:])
                    }
                }
                // In the same transaction as the new set.
                try store.resolve(problem, resolution)
            }
        }
        longPoll.interrupt()
        return result
    }
}
