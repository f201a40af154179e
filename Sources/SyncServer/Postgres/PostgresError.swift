// The one error of the Postgres boundary: every refusal of libpq or of the server becomes this value, once, here.
// It carries what a caller decides on (code, constraint, index, retry) and never what a person typed.

import CPostgres

struct PostgresError: Error, Sendable, CustomStringConvertible {
    /// Five characters. The server's code, or one of the same family for what libpq itself noticed (08xxx: connection).
    let sqlState: String
    /// The primary message, one line. Values of parameters are taken out; DETAIL and CONTEXT are not kept.
    let message: String
    /// What was being done: `connect`, `run`, `batch`, `script`, `begin`, `commit`, `rollback`, `savepoint`.
    let operation: String
    /// Name of the violated constraint, if the server named one.
    let constraint: String?
    /// Index of the failing statement in its batch (for `transaction`: in its prelude).
    let statement: Int?
    /// The same work may succeed when tried again, from the start of its transaction.
    let isRetryable: Bool
    /// The connection is gone: `reset()` before using it again.
    var isConnectionLost: Bool
    /// The connection died while the server may have been committing. Whether the work is stored can only be found out by
    /// looking, so only idempotent work may simply be run again.
    var isOutcomeUnknown: Bool
    /// A prepared statement no longer fits the database (a table was migrated, or a pooler forgot it).
    let isStaleStatement: Bool

    init(
        sqlState: String, message: String, operation: String, constraint: String? = nil, statement: Int? = nil,
        isConnectionLost: Bool = false, isOutcomeUnknown: Bool = false, isStaleStatement: Bool = false
    ) {
        self.sqlState = sqlState
        self.message = PostgresError.redacted(message, sqlState: sqlState)
        self.operation = operation
        self.constraint = constraint
        self.statement = statement
        self.isConnectionLost = isConnectionLost
        self.isOutcomeUnknown = isOutcomeUnknown
        self.isStaleStatement = isStaleStatement
        self.isRetryable = isConnectionLost || isStaleStatement || PostgresError.isRetryable(sqlState: sqlState)
    }

    var code: String { sqlState }

    enum Kind: Sendable, Equatable {
        case connection, serializationFailure, deadlock, lockNotAvailable, canceled, insufficientResources, shutdown
        case uniqueViolation, foreignKeyViolation, notNullViolation, checkViolation, exclusionViolation
        case invalidData, permissionDenied, undefinedObject, duplicateObject, failedTransaction, other
    }

    var kind: Kind {
        switch sqlState {
        case "40001": return .serializationFailure
        case "40P01": return .deadlock
        case "55P03": return .lockNotAvailable
        case "57014": return .canceled
        case "23505": return .uniqueViolation
        case "23503": return .foreignKeyViolation
        case "23502": return .notNullViolation
        case "23514": return .checkViolation
        case "23P01": return .exclusionViolation
        case "42501": return .permissionDenied
        case "42P01", "42703", "42704", "42883", "3D000", "3F000": return .undefinedObject
        case "42P07", "42P04", "42P06", "42701", "42710", "42723": return .duplicateObject
        case "25P02", "40000", "40002": return .failedTransaction
        default: break
        }
        if sqlState.hasPrefix("57P0") { return .shutdown }
        if isConnectionLost || sqlState.hasPrefix("08") { return .connection }
        if sqlState.hasPrefix("53") { return .insufficientResources }
        if sqlState.hasPrefix("22") { return .invalidData }
        return .other
    }

    /// Lost races, a lost connection (08), resources that are used up (53, a full disk among them), a server that stops (57P0),
    /// and disks that fail (58). None of them is about what was asked, so a caller must never hold it against the data.
    static func isRetryable(sqlState: String) -> Bool {
        switch sqlState {
        case "40001", "40P01", "55P03": return true
        default: return ["08", "53", "57P0", "58"].contains { sqlState.hasPrefix($0) }
        }
    }

    var description: String {
        var text = "postgres \(operation) failed [\(sqlState)]: \(message)"
        if let statement { text += " (statement \(statement))" }
        if let constraint { text += " (constraint \(constraint))" }
        if isOutcomeUnknown { text += " (outcome unknown)" }
        return text
    }

    /// Errors of class 22 quote the offending value in their primary message; logs must not.
    private static func redacted(_ message: String, sqlState: String) -> String {
        guard sqlState.hasPrefix("22") else { return message }
        let quotes: Set<Character> = ["\"", "«", "»", "„", "“", "”"]
        guard let first = message.firstIndex(where: quotes.contains),
            let last = message.lastIndex(where: quotes.contains), first < last
        else { return message }
        return message[...first] + "…" + message[last...]
    }
}

extension PostgresError {
    /// Reads the fields of a failed result; the result stays the caller's.
    init(result: OpaquePointer, operation: String, statement: Int?) {
        func field(_ letter: Unicode.Scalar) -> String? {
            PQresultErrorField(result, Int32(letter.value)).map { String(cString: $0) }
        }
        let sqlState = field("C")
        let message = field("M") ?? PostgresError.firstLine(PQresultErrorMessage(result))
        // RevalidateCachedQuery is the only place that refuses a plan whose result type has changed; the code alone (0A000) is too wide.
        let isStale = sqlState == "26000" || (sqlState == "0A000" && field("R") == "RevalidateCachedQuery")
        self.init(
            sqlState: sqlState ?? "08006", message: message, operation: operation, constraint: field("n"),
            statement: statement, isStaleStatement: isStale)
    }

    /// What libpq last said about the connection itself.
    static func connectionLost(_ handle: OpaquePointer?, operation: String, statement: Int? = nil) -> PostgresError {
        let message = handle.map { firstLine(PQerrorMessage($0)) } ?? ""
        return PostgresError(
            sqlState: "08006", message: message.isEmpty ? "the connection was lost" : message, operation: operation,
            statement: statement, isConnectionLost: true)
    }

    static func firstLine(_ text: UnsafePointer<CChar>?) -> String {
        guard let text else { return "" }
        return String(cString: text).split(separator: "\n", maxSplits: 1).first.map(String.init) ?? ""
    }
}
