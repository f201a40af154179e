// Writing by SQL through the library: the same way in as any other tool has, with the same gates, for programs that think in SQL.

import CSQLite
import Foundation
import SyncProtocol

/// What a piece of SQL became.
public struct SQLWriteResult: Sendable {
    /// Counters of the new pending sets.
    public let sets: [Int64]
    /// What was refused when it was sealed.
    public let problems: [Problem]
}

extension Replica {
    /// Runs one or more statements that change records, all in one transaction, and seals what they did: one set a record, the
    /// rows of an aggregate together, or one set in all when a summary is given.
    ///
    /// Throws `refused` with code and field when a gate says no, `invalidQuery` for SQL that makes no sense or touches anything but
    /// records; nothing has changed then. What only rules can judge comes back as a problem.
    public func writeSQL(_ sql: String, summary: String? = nil) async throws -> SQLWriteResult {
        do {
            let before = try await writing("sql") { store -> Int64 in
                try store.sealIfCaptured()
                return try Metadata(connection: store.connection).integer(.counter) ?? 0
            }
            try await runAsTool(sql, summary)
            let result = try await writing("sql") { store -> SQLWriteResult in
                try store.sealIfCaptured()
                let sets = try store.connection.query(
                    "SELECT counter FROM _tideline_pending WHERE counter > ?1 AND sealed IS NOT NULL ORDER BY counter", [.integer(before)]
                ) { $0.integer(0) }
                let problems = try store.connection.query(
                    "SELECT \(Store.problemColumns) FROM _tideline_problem WHERE counter > ?1 AND status = 'refused' ORDER BY id",
                    [.integer(before)]
                ) { try store.problem($0) }
                // The result tells them.
                try store.connection.execute(
                    "UPDATE _tideline_problem SET told = 1 WHERE counter > ?1 AND status = 'refused'", [.integer(before)])
                return SQLWriteResult(sets: sets, problems: problems)
            }
            longPoll.interrupt()
            return result
        } catch let error as SQLiteError where !error.isRetryable && !error.isCorrupt && !error.isInterrupted {
            let isForbidden = error.primaryCode == SQLITE_AUTH
            throw Self.refusal(error)
                ?? ReplicaError(
                    .invalidQuery,
                    isForbidden ? "SQL may change records here, and nothing else: no engine tables, no schema, no settings" : error.message,
                    operation: "sql")
        } catch {
            throw ReplicaError.translated(error, operation: "sql")
        }
    }

    /// On a connection of its own, which closes when this returns: the library's writing one runs no triggers.
    private func runAsTool(_ sql: String, _ summary: String?) async throws {
        let gate = try await SQLiteGate.open { [path] in
            let connection = try SQLiteConnection(path: path, mode: .readWrite, busyTimeoutMilliseconds: 30_000)
            connection.tracker.protectedPrefix = "_tideline"
            return connection
        }
        try await gate.run { connection in
            try connection.immediateTransaction {
                if let summary { try connection.execute("INSERT INTO tideline_group (summary) VALUES (?1)", [.text(summary)]) }
                try connection.script(sql)
                if summary != nil { try connection.execute("DELETE FROM tideline_group") }
            }
        }
    }

    /// A gate's `code: entity.field: message` as what it is.
    private static func refusal(_ error: SQLiteError) -> ReplicaError? {
        let parts = error.message.split(separator: ":", maxSplits: 2).map { $0.trimmingCharacters(in: .whitespaces) }
        guard parts.count == 3, let place = parts[1].split(separator: ".", maxSplits: 1).first,
            ViolationCode(rawValue: parts[0]) != nil || parts[0] == "not_enrolled" || parts[0] == "first_sync_incomplete"
        else { return nil }
        let field = parts[1].contains(".") ? String(parts[1].dropFirst(place.count + 1)) : nil
        return .refused(
            [
                Violation(
                    entity: String(place), id: nil, field: field, code: parts[0], message: parts[2], parameters: JSONObject())
            ], operation: "sql")
    }
}
