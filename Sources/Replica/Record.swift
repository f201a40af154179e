// A record as an app sees it: confirmed state with this replica's own pending edits on top.

import SyncProtocol

/// One record. Values are in stored form (money in minor units, dates in days, booleans as 0 or 1, …).
public struct Record: Sendable {
    public let state: RecordState
    /// Some of what it shows is not confirmed by the server yet.
    public let isPending: Bool

    init(_ state: RecordState, isPending: Bool) {
        self.state = state
        self.isPending = isPending
    }

    public var entity: String { state.schema.name }
    public var schema: EntitySchema { state.schema }
    public var id: Identifier { state.id }
    /// What a person calls it.
    public var title: String { state.title }
    public var isDeleted: Bool { !state.isLive }
    /// Milliseconds since 1970 UTC, by the author's clock.
    public var createdAt: Int64 { state.createdAt }
    public var createdBy: Identifier? { state.createdBy }
    public var updatedAt: Int64 { state.updatedAt }
    public var deletedAt: Int64? { state.deletedAt }

    /// A field, a common column such as `updated_at`, or one key of a map as `custom.key`; null when there is none.
    public subscript(field: String) -> JSONValue {
        if state.schema.index(of: field) != nil { return state[field] }
        if let path = MapPath(field) { return state[path.field][path.key] ?? .null }
        if RowLayout.common.contains(field) { return state.column(field) }
        return state.extra[field] ?? .null
    }

    public func text(_ field: String) -> String? { self[field].stringValue }
    public func integer(_ field: String) -> Int64? { self[field].integerValue }
    public func identifier(_ field: String) -> Identifier? { text(field).flatMap { Identifier($0) } }
    /// The elements of a set.
    public func elements(_ field: String) -> [String] { state.elements(field) }

    /// Common columns, then fields, by name; what `show --json` prints.
    public var json: JSONValue {
        var object = JSONObject()
        for column in RowLayout.common + schema.fields.filter({ !$0.isSecret }).map(\.name) { object[column] = state.column(column) }
        for (name, value) in state.extra { object[name] = value }
        return .object(object)
    }
}

/// `custom.key`: one key of a map field.
struct MapPath {
    let field: String
    let key: String

    init?(_ name: String) {
        guard let dot = name.utf8.firstIndex(of: 0x2E) else { return nil }
        field = String(name[..<dot])
        key = String(name[name.index(after: dot)...])
        guard !field.isEmpty, !key.isEmpty else { return nil }
    }
}
