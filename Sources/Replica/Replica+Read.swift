// Reading: always local, always the view: confirmed state with this replica's own pending edits on top.

import SyncProtocol

extension Replica {
    /// The record, tombstones included; nil when this replica holds none.
    public func get(_ entity: String, _ id: Identifier) async throws -> Record? {
        try await reading("get") { store in
            let key = RecordKey(entity, id)
            guard store.tables[entity] != nil else { throw Listing.unknown(entity) }
            return try store.record(key).map { Record($0, isPending: try store.hasBase(key)) }
        }
    }

    /// Records that pass every filter.
    /// - Parameters:
    ///   - entity: An entity of the schema.
    ///   - filters: All of them must hold.
    ///   - sort: nil: by id.
    ///   - limit: Records on the page, 1 to 10,000.
    ///   - offset: Rows to skip, for numbered pages; not together with a cursor.
    ///   - cursor: `nextCursor` of the page before; stays right while records come and go.
    ///   - includingDeleted: Tombstones, too.
    public func list(
        _ entity: String, where filters: [Filter] = [], sort: Sort? = nil, limit: Int = 50, offset: Int = 0, cursor: String? = nil,
        includingDeleted: Bool = false
    ) async throws -> RecordList {
        try await reading("list") { store in
            try Listing(store, entity, filters, sort, includingDeleted: includingDeleted).page(limit: limit, offset: offset, cursor: cursor)
        }
    }

    public func count(_ entity: String, where filters: [Filter] = []) async throws -> Int {
        try await reading("count") { try Listing($0, entity, filters, nil, includingDeleted: false).count() }
    }

    /// Runs one SQL statement that reads, on a connection that cannot write. Entities are tables, sets and maps JSON columns.
    /// - Parameters:
    ///   - sql: One statement; anything that would write is `invalidQuery`.
    ///   - arguments: Values of its parameters, in order.
    ///   - maximumRows: More rows are an error, so that a slip does not fill the memory.
    public func query(_ sql: String, _ arguments: [SQLiteValue] = [], maximumRows: Int = 100_000) async throws -> [Row] {
        try await reading("query") { store in
            var rows: [Row] = []
            do {
                try store.connection.withStatement(sql) { statement in
                    guard statement.isReadOnly else { throw ReplicaError(.invalidQuery, "the statement would write", operation: "query") }
                    try statement.bind(arguments)
                    var names: [String] = []
                    while try statement.step() {
                        let row = statement.row
                        if names.isEmpty { names = (0..<row.columnCount).map { row.name($0) } }
                        guard rows.count < maximumRows else {
                            throw ReplicaError(.invalidQuery, "more than \(maximumRows) rows: add a LIMIT", operation: "query")
                        }
                        rows.append(Row(columns: names, values: row.values()))
                    }
                }
            } catch let error as SQLiteError where !error.isRetryable && !error.isCorrupt && !error.isInterrupted {
                throw ReplicaError(.invalidQuery, error.message, operation: "query")
            }
            return rows
        }
    }

    /// The record that a person means: by id, by `code`, `number`, `email`, `sku`, `key` or title, by the unique beginning or
    /// end of an id or the beginning of its last part (at least four characters), or by the unique beginning of a title; capitals ignored.
    /// Throws `notFound` or `ambiguous`.
    public func resolve(_ entity: String, _ name: String, includingDeleted: Bool = false) async throws -> Record {
        try await reading("resolve") { try Resolution(store: $0, entity: entity).record(name, includingDeleted: includingDeleted) }
    }
}

/// One row of a query.
public struct Row: Sendable, Hashable {
    public let columns: [String]
    public let values: [SQLiteValue]

    /// The value of a column; nil when there is no such column.
    public subscript(column: String) -> SQLiteValue? { columns.firstIndex(of: column).map { values[$0] } }
}
