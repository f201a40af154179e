// What a member may read: entities, fields, rows. The same answer as SQL for lists and as a test of one record for writes.

import SyncProtocol

struct ReaderAccess: Sendable {
    let member: Identifier
    let role: Role

    init(_ principal: Principal) { self.init(member: principal.member, role: principal.role) }

    init(member: Identifier, role: Role) {
        self.member = member
        self.role = role
    }

    func mayRead(_ entity: EntitySchema) -> Bool {
        entity.isServed && (entity.allows(.read, role) || (role == .field && entity.ownerField != nil))
    }

    var hidesRestricted: Bool { !role.seesRestricted }

    func hides(_ field: FieldSchema) -> Bool { field.isSecret || (field.isRestricted && hidesRestricted) }

    /// The fields of an entity that this reader gets.
    func fields(of entity: EntitySchema) -> [FieldSchema] { entity.fields.filter { !hides($0) } }

    // MARK: Rows

    private var ownKey: String { "member:\(member.text)" }

    /// True when every row of the entity is visible, so that its count needs no counting.
    func seesEveryRow(of entity: EntitySchema) -> Bool {
        if role == .field { return entity.scopes.contains(.tenant) }
        return !isPersonal(entity) || seesPersonalRowsOfOthers(entity)
    }

    /// Rows that only their member holds.
    private func isPersonal(_ entity: EntitySchema) -> Bool {
        entity.scopes.allSatisfy { if case .member = $0 { true } else { false } }
    }

    /// An owner looks after everybody's replicas.
    private func seesPersonalRowsOfOthers(_ entity: EntitySchema) -> Bool { role == .owner && entity.access == .own }

    /// SQL over the column `scope_keys` of `table`, nil when all rows are visible. `parameter` is ``parameter``.
    func rowCondition(of entity: EntitySchema, table: String, parameter: String) -> String? {
        if seesEveryRow(of: entity) { return nil }
        if role != .field { return "\(parameter)::text = ANY(\(table).scope_keys)" }
        return ReaderAccess.fieldCondition(table: table, parameter: parameter)
    }

    /// Field staff hold what is theirs and what belongs to clients and projects, never what is for full replicas only.
    static func fieldCondition(table: String, parameter: String) -> String {
        """
        EXISTS (SELECT 1 FROM unnest(\(table).scope_keys) k WHERE k IN ('tenant', \(parameter)::text) \
        OR starts_with(k, 'client:') OR starts_with(k, 'project:'))
        """
    }

    /// The value for ``rowCondition(of:table:parameter:)``.
    var parameter: PostgresValue { .text(ownKey) }

    func sees(_ record: RecordState) -> Bool {
        guard mayRead(record.schema) else { return false }
        if seesEveryRow(of: record.schema) { return true }
        if role != .field { return record.scopeKeys.contains(ownKey) }
        return record.scopeKeys.contains {
            $0 == "tenant" || $0 == ownKey || $0.hasPrefix("client:") || $0.hasPrefix("project:")
        }
    }

    func requireRead(_ entity: EntitySchema) throws(ErrorReply) {
        guard mayRead(entity) else {
            throw ErrorReply(.forbidden, "a \(role.rawValue) may not see \(entity.name) records", details: ["role": .string(role.rawValue)])
        }
    }
}

extension RecordState {
    /// The JSON object that a reader gets: values in stored form, hidden fields absent.
    func document(for reader: ReaderAccess) -> JSONValue {
        let names = EntityTable.documentCommon + reader.fields(of: schema).map(\.name)
        return .object(JSONObject(names.map { ($0, column($0)) }))
    }
}
