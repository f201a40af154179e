// Observing: results that keep up with the file. A query runs again only when a table that it reads has changed.

import SyncProtocol

extension Replica {
    /// The rows of a query now, and again after each change of a table that it reads; equal results are not repeated.
    ///
    /// Ends when the replica is closed or the consumer stops; throws `invalidQuery` for SQL that makes no sense.
    public func observe(_ sql: String, _ arguments: [SQLiteValue] = []) -> AsyncThrowingStream<[Row], any Error> {
        observing({ try await self.tables(readBy: sql) }, { try await self.query(sql, arguments) }, isSame: ==)
    }

    /// The first page of a list now, and again after each change of its entity.
    public func observeList(
        _ entity: String, where filters: [Filter] = [], sort: Sort? = nil, limit: Int = 50
    ) -> AsyncThrowingStream<RecordList, any Error> {
        observing(
            { [entity] }, { try await self.list(entity, where: filters, sort: sort, limit: limit) },
            isSame: { $0.total == $1.total && $0.hasMore == $1.hasMore && $0.data.map(\.shown) == $1.data.map(\.shown) })
    }

    /// One record now, and again after each change of it; nil while there is none.
    public func observe(_ entity: String, _ id: Identifier) -> AsyncThrowingStream<Record?, any Error> {
        observing({ [entity] }, { try await self.get(entity, id) }, isSame: { $0?.shown == $1?.shown })
    }

    /// The tables that a statement reads, views and triggers resolved.
    func tables(readBy sql: String) async throws -> Set<String> {
        try await reading("observe") { store in
            do { return try store.connection.tablesRead(by: sql) } catch let error as SQLiteError where !error.isRetryable {
                throw ReplicaError(.invalidQuery, error.message, operation: "observe")
            }
        }
    }

    private func observing<Value: Sendable>(
        _ tables: @escaping @Sendable () async throws -> Set<String>, _ fetch: @escaping @Sendable () async throws -> Value,
        isSame: @escaping @Sendable (Value, Value) -> Bool
    ) -> AsyncThrowingStream<Value, any Error> {
        // Listening begins before the first look, so that no change falls between.
        let notices = file.changes.stream()
        return AsyncThrowingStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let task = Task {
                do {
                    let tables = try await tables()
                    var last = try await fetch()
                    continuation.yield(last)
                    for await notice in notices where !notice.entities.isDisjoint(with: tables) {
                        let next = try await fetch()
                        if isSame(last, next) { continue }
                        last = next
                        continuation.yield(next)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: ReplicaError.translated(error, operation: "observe"))
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }
}

extension Record {
    /// What an observer would see of it.
    fileprivate var shown: JSONValue { [json, .bool(isPending)] }
}
