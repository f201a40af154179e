// Sets that will not take effect as they are: rejected by the server, withdrawn because it could never answer them, or
// refused here.

import SyncProtocol

enum ProblemStatus: String, Sendable {
    case rejected, withdrawn
    /// Written by plain SQL and refused here when it was sealed; never sent.
    case refused
}

extension Store {
    static let problemColumns = "id, counter, sealed, summary, violations, status, created_at"

    /// A problem has the number of its set, unless another one has it: that of a set made before the file became another replica.
    func insertProblem(_ row: PendingRow, sealed: [UInt8], _ violations: [Violation], _ status: ProblemStatus) throws -> Int64 {
        let created = (try? ChangeSet(sealed: sealed))?.changes.compactMap { change -> JSONValue? in
            if case .create = change.operation { .string(change.key.id.text) } else { nil }
        }
        try connection.execute(
            """
            INSERT INTO _tideline_problem (id, counter, hash, sealed, summary, violations, created, status, created_at, undo) \
            VALUES (CASE WHEN EXISTS (SELECT 1 FROM _tideline_problem WHERE id = ?1) THEN NULL ELSE ?1 END, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
            """,
            [
                .integer(row.counter), .text(row.hash), .blob(sealed), .text(row.summary),
                .text(JSONValue.array(violations.map(\.json)).canonicalText), .text(JSONValue.array(created ?? []).canonicalText),
                .text(status.rawValue), .integer(environment.wallMilliseconds()), SQLiteValue(row.undo),
            ])
        return connection.lastInsertRowID
    }

    static let withdrawal = Violation(
        entity: "", id: nil, field: "set", code: .withdrawn,
        message: "the server could not answer this set; it was taken out so that the rest can sync")

    static let leftToOtherCopy = Violation(
        entity: "", id: nil, field: "set", code: .withdrawn,
        message: "another copy of this file has this set too and sends it when the server can take it; retry only if that copy is gone")

    static let passedOverByOtherCopy = Violation(
        entity: "", id: nil, field: "set", code: .withdrawn,
        message: "the server lost this set, and another copy of this file, which had forgotten it, passed it over; retry does it anew")

    static let partedFromOtherCopy = Violation(
        entity: "", id: nil, field: "set", code: .withdrawn,
        message: "another copy of this file went another way before this set and was there first; retry does it on what is there now")

    /// A set that was taken out because no answer came, or that a server rejected before it was restored, was processed all the
    /// same: its own answer stands, and what waited for a person is settled by it. The row gets the set back, for the journal or a
    /// new problem.
    func settleWithdrawn(_ row: inout PendingRow) throws {
        let found = try connection.first(
            """
            SELECT id, sealed, undo FROM _tideline_problem \
            WHERE counter = ?1 AND hash = ?2 AND status IN ('withdrawn', 'rejected') AND resolved_at IS NULL
            """,
            [.integer(row.counter), .text(row.hash)]
        ) { (id: $0.integer(0), sealed: $0.blob(1), undo: $0.optionalText(2)) }
        guard let found else { return }
        (row.sealed, row.undo) = (found.sealed, found.undo)
        try resolve(try requireProblem(found.id), "answered")
    }

    /// Takes the first unanswered set out: its marker is offered instead, the set itself waits for a person.
    func withdrawFirst() throws -> Int64? {
        try sealedTransaction {
            try step(.withdraw)
            let rows = try pendingRows()
            guard let row = rows.first(where: { !$0.isAnswered }), let sealed = row.sealed else { return nil }
            return try takeOut(row, sealed, [Self.withdrawal])
        }
    }

    /// From now on its marker is offered in its place, and the view does without it. Returns the problem that keeps it.
    private func takeOut(_ row: PendingRow, _ sealed: [UInt8], _ violations: [Violation]) throws -> Int64 {
        let problem = try insertProblem(row, sealed: sealed, violations, .withdrawn)
        try connection.execute(
            "UPDATE _tideline_pending SET sealed = NULL, predicted = NULL WHERE counter = ?1", [.integer(row.counter)])
        try replay()
        return problem
    }

    /// The problem to settle, inside the transaction that does. One that was only predicted is taken out first.
    func opened(_ problem: Problem) throws -> Problem {
        guard problem.isPredicted else { return try requireProblem(problem.id) }
        try step(.withdraw)
        guard let row = try pendingRows(after: problem.counter - 1).first, row.counter == problem.counter, row.isPredicted,
            let sealed = row.sealed
        else {
            throw ReplicaError(
                .notFound, "set \(problem.counter) is not about to be rejected any more; replica pending and problems show where it is",
                operation: "problems")
        }
        return try requireProblem(try takeOut(row, sealed, problem.violations))
    }

    func problem(_ row: borrowing SQLiteRow) throws -> Problem {
        let violations = try JSONValue(parsing: row.text(4)).arrayValue ?? []
        return Problem(
            id: row.integer(0), counter: row.integer(1), summary: row.text(3), violations: violations.compactMap(Violation.init(json:)),
            changes: try ChangeSet(sealed: row.blob(2)).changes, status: row.text(5), createdAt: row.integer(6))
    }

    func requireProblem(_ id: Int64) throws -> Problem {
        let found = try connection.first(
            "SELECT \(Self.problemColumns) FROM _tideline_problem WHERE id = ?1 AND resolved_at IS NULL", [.integer(id)]
        ) { try problem($0) }
        guard let found else { throw ReplicaError(.notFound, "there is no open problem \(id)", operation: "problems") }
        return found
    }

    /// How long the file keeps what somebody has seen to; it is in its history until then.
    static let settledDays: Int64 = 90

    /// Forgets what was settled long ago, by the server's time, as the journal does: counted from the checkpoint that met it settled, so
    /// that no device's clock has a say in it. What is open stays, however old it is, and so does what lies above a set that could be
    /// offered again: a marker stands for it then.
    func pruneSettledProblems(at serverMilliseconds: Int64) throws {
        try connection.execute(
            "DELETE FROM _tideline_problem WHERE resolved_at IS NOT NULL AND settled_at < ?1 AND counter < ?2",
            [.integer(serverMilliseconds - Self.settledDays * 86_400_000), .integer(try heldStart() ?? .max)])
        try connection.execute(
            "UPDATE _tideline_problem SET settled_at = ?1 WHERE resolved_at IS NOT NULL AND settled_at IS NULL",
            [.integer(serverMilliseconds)])
    }

    func resolve(_ problem: Problem, _ resolution: String) throws {
        try connection.execute(
            "UPDATE _tideline_problem SET resolved_at = ?2, resolution = ?3 WHERE id = ?1",
            [.integer(problem.id), .integer(environment.wallMilliseconds()), .text(resolution)])
    }
}
