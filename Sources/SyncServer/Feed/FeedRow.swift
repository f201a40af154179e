// Rows of the feed as entries for readers.

import SyncProtocol

enum FeedRow {
    /// In the order that ``entry(_:_:)`` reads, of the table `f`.
    static let columns = [
        "position", "epoch", "at", "actor_kind", "actor", "replica", "counter", "entity", "record", "operation", "kind", "category",
        "level", "changes", "restricted_changes", "anchors", "scope_keys", "cause", "depth", "operation_at",
    ].map { $0.hasSuffix("changes") ? "f.\($0)::text AS \($0)" : "f.\($0)" }.joined(separator: ", ")

    /// The column of the changes, before that of the restricted ones.
    static let changes = 13

    /// Throws ``WireError`` for a row that no server wrote.
    static func entry(_ result: PostgresResult, _ row: Int) throws -> ActivityEntry {
        func json(_ column: Int) throws -> JSONValue { try result.withUTF8(row, column) { try JSONValue(parsing: $0) } ?? .null }
        func integer(_ column: Int) -> JSONValue { result.integer(row, column).map { .integer($0) } ?? .null }
        func text(_ column: Int) -> JSONValue { result.text(row, column).map { .string($0) } ?? .null }
        func texts(_ column: Int) -> JSONValue { .array((result.textArray(row, column) ?? []).map { .string($0) }) }
        return try ActivityEntry(
            json: [
                "position": integer(0), "epoch": integer(1), "at": integer(2), "actor_kind": text(3), "actor": text(4), "replica": text(5),
                "counter": integer(6), "entity": text(7), "record": text(8), "operation": text(9), "kind": text(10), "category": text(11),
                "level": text(12), "changes": try json(13), "restricted_changes": try json(14), "anchors": texts(15),
                "scope_keys": texts(16), "cause": integer(17), "depth": integer(18), "operation_at": integer(19),
            ])
    }
}
