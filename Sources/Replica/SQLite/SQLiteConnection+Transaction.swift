// Transactions that either happen entirely or leave nothing behind, and that report the error that mattered.

import CSQLite

extension SQLiteConnection {
    /// Runs `body` in a write transaction that holds the write lock from its start, waiting for it up to the busy timeout.
    /// If `body` throws, everything is rolled back and that error is thrown. Must not be nested: use `savepoint` inside.
    ///
    /// A deferred transaction that turns into a writing one can fail without waiting, whatever the timeout; this one cannot.
    func immediateTransaction<R>(_ body: () throws -> R) throws -> R {
        precondition(scope == .none, "a transaction is already open on this connection: use savepoint")
        try execute("BEGIN IMMEDIATE")
        rollbackCause = nil
        scope = .write
        defer { scope = .none }
        do {
            let result = try body()
            // The body may have swallowed an error upon which SQLite ended the transaction; nothing of it was kept.
            guard isInTransaction else { throw endedTransactionError() }
            if let beforeCommit, !tracker.changedTables.isEmpty { try beforeCommit(tracker.changedTables) }
            try execute("COMMIT")
            return result
        } catch {
            rollBack()
            throw error
        }
    }

    /// Runs `body` so that its writes are undone if it throws, while the surrounding transaction goes on. Outside a transaction
    /// it is an `immediateTransaction`.
    func savepoint<R>(_ body: () throws -> R) throws -> R {
        guard isInTransaction else { return try immediateTransaction(body) }
        savepointDepth += 1
        defer { savepointDepth -= 1 }
        let name = "nested_\(savepointDepth)"
        try execute("SAVEPOINT \(name)")
        let changedBefore = tracker.changedTables
        do {
            let result = try body()
            guard isInTransaction else { throw endedTransactionError() }
            try execute("RELEASE \(name)")
            return result
        } catch {
            // After an automatic rollback of the whole transaction there is no savepoint left to go back to.
            if isInTransaction {
                try? execute("ROLLBACK TO \(name)")
                try? execute("RELEASE \(name)")
                tracker.restore(changedBefore)
            }
            throw error
        }
    }

    /// Runs several queries against one state of the database, whatever other connections commit meanwhile. Writing is
    /// refused. Inside a transaction the queries see that transaction's state.
    func readTransaction<R>(_ body: () throws -> R) throws -> R {
        if isInTransaction { return try body() }
        precondition(scope == .none, "the transaction around this one has ended")
        try execute("BEGIN DEFERRED")
        scope = .read
        defer { scope = .none }
        do {
            let result = try body()
            if isInTransaction { try execute("COMMIT") }
            return result
        } catch {
            rollBack()
            throw error
        }
    }

    func endedTransactionError() -> SQLiteError {
        // SQLITE_ABORT_ROLLBACK, whose macro Swift cannot import.
        let code = SQLITE_ABORT | (2 << 8)
        return rollbackCause ?? SQLiteError(code: code, message: "the transaction was ended inside its body", operation: "transaction")
    }

    // The caller throws the error that led here; a failure to roll back must not take its place. A second try is for an
    // interrupt that arrived while the first one ran.
    private func rollBack() {
        for _ in 0..<2 where isInTransaction {
            try? execute("ROLLBACK")
        }
    }
}
