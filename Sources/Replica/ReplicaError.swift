// The one error of the library's boundary: everything below is translated into it before it reaches an app.

import SyncProtocol

/// Why a call did not do what was asked. Unless the code says otherwise nothing was changed, and local work is never lost.
public struct ReplicaError: Error, Sendable, Hashable {
    public enum Code: String, Sendable, CaseIterable {
        /// The schema or a rule says no; see ``ReplicaError/violations``.
        case refused
        case notEnrolled = "not_enrolled"
        case alreadyEnrolled = "already_enrolled"
        /// Records that came from the server are read-only until the first sync has reached its checkpoint.
        case firstSyncIncomplete = "first_sync_incomplete"
        case notFound = "not_found"
        /// A name fits several records.
        case ambiguous
        /// A filter, sort, cursor or SQL text that makes no sense.
        case invalidQuery = "invalid_query"
        /// Another process is syncing this file.
        case syncInProgress = "sync_in_progress"
        /// The server could not be reached, or gave no answer that could be understood.
        case unreachable
        /// The server does not accept the enrolment code or the token (401), or the member or replica may not sync (403).
        case notAllowed = "not_allowed"
        /// The server refused the request itself; the message has its code.
        case serverRefused = "server_refused"
        /// This file is a copy or an old state of another one that has synced since.
        case forked
        /// The server needs a newer build.
        case outdated
        /// The server is older than this build: what is pending waits until it has been updated.
        case serverOutdated = "server_outdated"
        /// The file was written by a newer build.
        case newerFile = "newer_file"
        case storage
        case cancelled
    }

    public var code: Code
    public var message: String
    /// What was being done: `open`, `write`, `sync`, …
    public var operation: String
    /// The same call may succeed later without anything else being done.
    public var isRetryable: Bool
    public var violations: [Violation]
    /// Of `storage`: which kind of trouble, where SQLite told.
    public internal(set) var trouble: Trouble?
    /// For whoever mends the program: SQLite's name for what happened, the step and the statement, without values.
    public internal(set) var detail: String?

    public init(_ code: Code, _ message: String, operation: String, isRetryable: Bool = false, violations: [Violation] = []) {
        self.code = code
        self.message = message
        self.operation = operation
        self.isRetryable = isRetryable
        self.violations = violations
    }

    static func refused(_ violations: [Violation], operation: String = "write") -> ReplicaError {
        let words = violations.prefix(3).map(\.message).joined(separator: "; ")
        return ReplicaError(.refused, words, operation: operation, violations: violations)
    }

    /// The refusals, when this is one: `catch let error as ReplicaError`, `if let violations = error.refusedViolations`.
    public var refusedViolations: [Violation]? { code == .refused ? violations : nil }

    /// What any error below means to the caller.
    static func translated(_ error: any Error, operation: String) -> ReplicaError {
        switch error {
        case let error as ReplicaError: return error
        case let error as SQLiteError:
            return error.isInterrupted
                ? ReplicaError(.cancelled, "interrupted; nothing was written", operation: operation)
                : .storage(error, operation: operation)
        case let error as TransportFailure: return error.replicaError(operation: operation)
        case let error as Violation: return .refused([error], operation: operation)
        case is CancellationError: return ReplicaError(.cancelled, "cancelled", operation: operation, isRetryable: true)
        default: return ReplicaError(.storage, String(describing: error), operation: operation)
        }
    }
}

extension ReplicaError: CustomStringConvertible {
    public var description: String { "\(operation): \(code.rawValue): \(message)" + (detail.map { " (\($0))" } ?? "") }
}
