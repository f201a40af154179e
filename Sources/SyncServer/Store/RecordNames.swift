// Titles of records, many at a time, for sentences about them. Tombstones have titles too.

import SyncProtocol

struct RecordNames: Sendable {
    private var titles: [RecordKey: String] = [:]
    private var currencies: [RecordKey: String] = [:]
    /// Of the tenant.
    private var baseCurrency: String?

    func title(_ key: RecordKey) -> String? { titles[key] }
    /// The record's own currency, else the tenant's.
    func currency(_ key: RecordKey) -> String? { currencies[key] ?? baseCurrency }

    /// One round trip, one statement an entity. Rows that the reader may not see have no title.
    static func load(
        _ keys: Set<RecordKey>, tenant: Identifier, tables: EntityTables, reader: ReaderAccess, on connection: PostgresConnection
    ) throws -> RecordNames {
        var names = RecordNames()
        let byEntity = Dictionary(grouping: keys, by: \.entity)
        let wanted = byEntity.keys.sorted().compactMap { entity in
            tables[entity].flatMap { reader.mayRead($0.entity) ? $0 : nil }
        }
        var statements = [
            PostgresStatement("SELECT base_currency FROM public.tenant WHERE tenant = $1::uuid AND id = $1::uuid", [.identifier(tenant)])
        ]
        for table in wanted {
            let fields = table.entity.titleFields.filter { name in table.entity.field(name).map { !reader.hides($0) } ?? false }
            let parts = fields.map { "nullif(\(PostgresIdentifier.quoted($0))::text, '')" }
            let title = parts.isEmpty ? "NULL" : "nullif(concat_ws(' ', \(parts.joined(separator: ", "))), '')"
            let currency = table.entity.field("currency") == nil ? "NULL" : "currency"
            let condition = reader.rowCondition(of: table.entity, table: "t", parameter: "$3").map { " AND \($0)" } ?? ""
            var parameters: [PostgresValue] = [
                .identifier(tenant), .textArray((byEntity[table.entity.name] ?? []).map(\.id.text)),
            ]
            if !condition.isEmpty { parameters.append(reader.parameter) }
            statements.append(
                PostgresStatement(
                    """
                    SELECT r.id, r.title, r.currency FROM unnest($2::uuid[]) k(id) CROSS JOIN LATERAL \
                    (SELECT t.id, \(title) AS title, \(currency) AS currency FROM \(table.name) t \
                    WHERE t.tenant = $1::uuid AND t.id = k.id\(condition) OFFSET 0) r
                    """, parameters))
        }
        let results = try connection.batch(statements)
        names.baseCurrency = results[0].isEmpty ? nil : results[0].text(0, 0)
        for (table, result) in zip(wanted, results.dropFirst()) {
            for row in result.rows {
                guard let id = result.identifier(row, 0) else { continue }
                let key = RecordKey(table.entity.name, id)
                names.titles[key] = result.text(row, 1) ?? String(id.text.prefix(8))
                if let currency = result.text(row, 2) { names.currencies[key] = currency }
            }
        }
        return names
    }
}
