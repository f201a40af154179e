// Transactions on one connection: opened with their settings in one round trip, rolled back on any throw, and honest about a COMMIT whose answer was lost.

import CPostgres

enum PostgresTransactionMode: Sendable {
    case readWrite
    /// One unchanging view of the database for all statements (repeatable read, read only).
    case readOnlySnapshot

    var begin: String {
        switch self {
        case .readWrite: return "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
        case .readOnlySnapshot: return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        }
    }
}

extension PostgresConnection {
    /// Runs `body` in a transaction. BEGIN and `prelude` (role, tenant, settings) go out together; results of the prelude are dropped.
    /// Throws what `body` threw, after ROLLBACK, or a `PostgresError`. If the connection dies in COMMIT, `isOutcomeUnknown` is set.
    /// Transactions do not nest: use `savepoint`.
    @discardableResult
    func transaction<R>(
        _ mode: PostgresTransactionMode, prelude: [PostgresStatement] = [], _ body: (PostgresConnection) throws -> R
    ) throws -> R {
        _ = try usableHandle(operation: "begin")
        precondition(isOutsideTransaction, "transactions do not nest")
        var opening = [PostgresStatement(mode.begin)]
        if !configuration.usesPreparedStatements { opening.append(configuration.timeoutStatement(isLocal: true)) }
        let preludeStart = opening.count
        do {
            _ = try execute(opening + prelude, operation: "begin", mayCommit: false)
        } catch {
            rollBack()
            throw error.inPrelude(startingAt: preludeStart)
        }
        let value: R
        do {
            value = try body(self)
        } catch {
            rollBack()
            throw error
        }
        try commit(mayLoseWrites: mode == .readWrite)
        return value
    }

    /// Runs `body` so that a failure inside it leaves the surrounding transaction usable. Must be inside `transaction`.
    @discardableResult
    func savepoint<R>(_ body: (PostgresConnection) throws -> R) throws -> R {
        precondition(!isOutsideTransaction || !isHealthy, "a savepoint needs a transaction")
        _ = try execute([PostgresStatement("SAVEPOINT tideline")], operation: "savepoint", mayCommit: false)
        do {
            let value = try body(self)
            _ = try execute([PostgresStatement("RELEASE SAVEPOINT tideline")], operation: "savepoint", mayCommit: false)
            return value
        } catch {
            if isHealthy {
                // A name used twice means the innermost one; RELEASE uncovers the outer one again.
                let undo = ["ROLLBACK TO SAVEPOINT tideline", "RELEASE SAVEPOINT tideline"].map { PostgresStatement($0) }
                _ = try execute(undo, operation: "savepoint", mayCommit: false)
            }
            throw error
        }
    }

    private func commit(mayLoseWrites: Bool) throws(PostgresError) {
        let results = try execute([PostgresStatement("COMMIT")], operation: "commit", mayCommit: mayLoseWrites)
        // COMMIT of a failed transaction is not an error to Postgres: it answers ROLLBACK. The caller must not take that for stored.
        guard results.first?.commandTag == "COMMIT" else {
            throw PostgresError(
                sqlState: "25P02", message: "an earlier error had already undone the transaction", operation: "commit")
        }
    }

    /// Clean-up on the way out of an error: if it fails too, the session is dropped, which rolls back just as well.
    private func rollBack() {
        guard let handle, PQstatus(handle) == CONNECTION_OK, !isOutsideTransaction else { return }
        do {
            _ = try execute([PostgresStatement("ROLLBACK")], operation: "rollback", mayCommit: false)
        } catch {
            close()
        }
    }
}

extension PostgresError {
    fileprivate func inPrelude(startingAt start: Int) -> PostgresError {
        PostgresError(
            sqlState: sqlState, message: message, operation: operation, constraint: constraint,
            statement: statement.flatMap { $0 >= start ? $0 - start : nil }, isConnectionLost: isConnectionLost,
            isOutcomeUnknown: isOutcomeUnknown, isStaleStatement: isStaleStatement)
    }
}
