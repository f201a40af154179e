// The rule of who reads what (``ReaderAccess``) as SQL over rows and over the feed.

import SyncProtocol

extension ReaderAccess {
    init(_ principal: Principal) { self.init(member: principal.member, role: principal.role) }

    /// SQL over the column `scope_keys` of `table`, nil when all rows are visible. `parameter` is ``parameter``.
    func rowCondition(of entity: EntitySchema, table: String, parameter: String) -> String? {
        if seesEveryRow(of: entity) { return nil }
        if role != .field { return "\(parameter)::text = ANY(\(table).scope_keys)" }
        return ReaderAccess.fieldCondition(table: table, parameter: parameter)
    }

    /// Field staff hold what is theirs and what belongs to clients and projects, never what is for full replicas only.
    private static func fieldCondition(table: String, parameter: String) -> String {
        """
        EXISTS (SELECT 1 FROM unnest(\(table).scope_keys) k WHERE k IN ('tenant', \(parameter)::text) \
        OR starts_with(k, 'client:') OR starts_with(k, 'project:'))
        """
    }

    /// The column that names this reader in every row that they see, where the scopes of the entity leave no other way to see one. It
    /// follows from ``rowCondition(of:table:parameter:)``, and has an index.
    func memberColumn(of entity: EntitySchema) -> String? {
        guard !seesEveryRow(of: entity) else { return nil }
        var found: String?
        for scope in entity.scopes {
            switch scope {
            case .full where role == .field: continue
            case .member(let name):
                // Without a value the record is its maker's.
                guard found == nil, let field = entity.field(name), field.isRequired, field.requiredSince == 0,
                    field.type.storage == .identifier
                else { return nil }
                found = name
            default: return nil
            }
        }
        return found
    }

    /// The value for ``rowCondition(of:table:parameter:)``.
    var parameter: PostgresValue { .text(ownKey) }

    /// SQL over rows `table` of the feed that this reader may read, each to hold.
    /// - Parameter add: Takes a parameter and returns its name.
    func feedConditions(_ schema: Schema, table: String, add: (PostgresValue) -> String) -> [String] {
        let readable = schema.entities.filter { mayRead($0) }.map(\.name)
        var conditions = [
            "\(table).kind <> '\(FeedEntry.rescoped)'", "\(table).entity = ANY(\(add(.textArray(readable)))::text[])",
        ]
        let own = add(parameter)
        if role == .field {
            conditions.append(ReaderAccess.fieldCondition(table: table, parameter: own))
        } else {
            // What concerns one member only is that member's; an owner looks after everybody's replicas.
            let cared = role == .owner ? schema.entities.filter { $0.access == .own }.map(\.name) : []
            conditions.append(
                """
                (\(table).scope_keys = '{}' OR \(table).entity = ANY(\(add(.textArray(cared)))::text[]) \
                OR EXISTS (SELECT 1 FROM unnest(\(table).scope_keys) k WHERE NOT starts_with(k, 'member:') OR k = \(own)::text))
                """)
        }
        return conditions
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
