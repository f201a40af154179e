// From what a person types to the record they mean.

import SyncProtocol

struct Resolution {
    let store: Store
    let entity: String

    static let prefixMin = 4
    /// Where the part of an id begins that lists show.
    private static let shownFrom = 25
    private static let naming = ["code", "number", "email", "sku", "key"]

    func record(_ name: String, includingDeleted: Bool) throws -> Record {
        guard let table = store.tables[entity] else { throw Listing.unknown(entity) }
        let live = includingDeleted ? "" : " AND deleted_at IS NULL"
        if let id = Identifier(name) {
            if let found = try store.record(RecordKey(entity, id)) { return try shown(found) }
            throw missing(name)
        }
        for expression in names(table.schema) {
            let found = try matches(table, "\(expression) = ?1 COLLATE NOCASE\(live)", name)
            if let record = try only(found, name) { return record }
        }
        if name.utf8.count >= Self.prefixMin, name.utf8.allSatisfy({ $0 == 0x2D || Character(Unicode.Scalar($0)).isHexDigit }) {
            // A range instead of LIKE, so that the primary key is used.
            let found = try matches(table, "id >= ?1 AND id < ?1 || 'g'\(live)", name.lowercased())
            if let record = try only(found, name) { return record }
            // Ids begin with a time and so alike; lists show the part behind the last dash, and of that either side may be typed.
            let length = name.utf8.count
            let ending = try matches(
                table, "(substr(id, -\(length)) = ?1 OR substr(id, \(Self.shownFrom), \(length)) = ?1)\(live)", name.lowercased())
            if let record = try only(ending, name) { return record }
        }
        if !name.isEmpty {
            for expression in titles(table.schema) {
                let found = try matches(table, "substr(\(expression), 1, \(name.unicodeScalars.count)) = ?1 COLLATE NOCASE\(live)", name)
                if let record = try only(found, name) { return record }
            }
        }
        throw missing(name)
    }

    /// What names a record whole: what people call its kind by, whatever else is unique, its title.
    private func names(_ schema: EntitySchema) -> [String] {
        let naming = Self.naming.filter { schema.field($0)?.isSecret == false }
        let unique = schema.fields.filter { $0.uniqueWith == [] && !$0.isSecret && $0.type.storage == .text && !naming.contains($0.name) }
        return (naming + unique.map(\.name)).map { "\"\($0)\"" } + titles(schema)
    }

    /// The title; of people, first and last name as well.
    private func titles(_ schema: EntitySchema) -> [String] {
        let title = schema.titleField.map { ["\"\($0)\""] } ?? []
        let isPerson = schema.field("first_name") != nil && schema.field("last_name") != nil
        return title + (isPerson ? ["(first_name || ' ' || last_name)"] : [])
    }

    private func matches(_ table: RecordTable, _ condition: String, _ name: String) throws -> [RecordState] {
        try store.connection.query(table.select + " WHERE " + condition + " ORDER BY id LIMIT 6", [.text(name)]) { try table.record($0) }
    }

    private func only(_ found: [RecordState], _ name: String) throws -> Record? {
        guard found.count > 1 else { return try found.first.map { try shown($0) } }
        let candidates = found.prefix(5).map { "\($0.title) (\($0.id.text))" }.joined(separator: ", ")
        throw ReplicaError(
            .ambiguous, "\(name) fits several \(entity) records: \(candidates)\(found.count > 5 ? ", …" : "")", operation: "resolve")
    }

    private func shown(_ record: RecordState) throws -> Record { Record(record, isPending: try store.hasBase(record.key)) }

    private func missing(_ name: String) -> ReplicaError {
        ReplicaError(.notFound, "there is no \(entity) \(name)", operation: "resolve")
    }
}
