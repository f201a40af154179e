// Writing: one closure, one change set, durable before it returns.

import SyncProtocol

extension Replica {
    /// Everything that `body` does to the edit becomes one change set: it takes effect here at once, whole or not at all, and
    /// goes to the server with the next sync. An edit that changes nothing makes no set.
    ///
    /// Throws `refused` with all violations when the schema or a rule says no, and whatever `body` throws; nothing has changed then.
    /// - Parameters:
    ///   - summary: One line for the list of what is pending; nil: made from the changes.
    ///   - body: Runs with the file locked for writing: keep it short, and do not wait in it.
    @discardableResult
    public func write<Value: Sendable>(
        summary: String? = nil, _ body: @escaping @Sendable (Edit) throws -> Value
    ) async throws -> WriteResult<Value> {
        let result = try await writing("write") { [identifiers] store in
            try store.commit(newIdentifier: identifiers.next, summary: summary, body)
        }
        if result.counter != nil { longPoll.interrupt() }
        return result
    }

    /// Many edits, each a change set of its own, made durable together: for imports. One that is refused is told so in its
    /// place and changes nothing; any other error undoes all of them.
    public func writeEach(
        _ bodies: [@Sendable (Edit) throws -> Void]
    ) async throws -> [Result<WriteResult<Void>, ReplicaError>] {
        let results = try await writing("write") { [identifiers] store in
            try store.commitEach(newIdentifier: identifiers.next, bodies)
        }
        longPoll.interrupt()
        return results
    }
}
