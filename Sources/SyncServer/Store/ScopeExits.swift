// Which records have left which readers, and when: what a pull needs to say that they are gone (protocol §7.3). A row is a
// circle of readers (``ReaderAccess/circles``), and the position at which the record was taken from it.

import SyncProtocol

enum ScopeExits {
    static func write(
        _ written: [RecordState], tenant: Identifier, before: (RecordKey) -> RecordState?
    ) -> PostgresStatement? {
        var rows: (circles: [String], positions: [Int64], entities: [String], ids: [String]) = ([], [], [], [])
        for record in written {
            for circle in ReaderAccess.circlesLeft(by: record, before: before(record.key)) {
                rows.circles.append(circle)
                rows.positions.append(record.position.position)
                rows.entities.append(record.schema.name)
                rows.ids.append(record.id.text)
            }
        }
        guard !rows.circles.isEmpty else { return nil }
        return PostgresStatement(
            """
            INSERT INTO tideline.scope_exit (tenant, scope_key, position, entity, id) \
            SELECT $1::uuid, c, p, e, i FROM unnest($2::text[], $3::bigint[], $4::text[], $5::uuid[]) AS r(c, p, e, i) \
            ON CONFLICT DO NOTHING
            """,
            [
                .identifier(tenant), .textArray(rows.circles), .integerArray(rows.positions), .textArray(rows.entities),
                .textArray(rows.ids),
            ])
    }

    /// Positions at which something left the reader, in order, the nearest of each circle. The index has them in that order.
    /// - Parameters: Names of SQL parameters: tenant, circles (one each), from after, up to, names of entities, how many.
    static func positions(
        tenant: String, circles: [String], after: String, upTo: String, entities: String, limit: String
    ) -> [String] {
        circles.map { circle in
            """
            (SELECT position FROM tideline.scope_exit WHERE tenant = \(tenant)::uuid AND scope_key = \(circle)::text \
            AND position > \(after)::bigint AND position <= \(upTo)::bigint AND entity = ANY(\(entities)::text[]) \
            ORDER BY position LIMIT \(limit)::bigint)
            """
        }
    }

    /// `(position, id)` of the records of one entity that left the reader in a window and are not back, as they left.
    static func gone(
        from table: EntityTable, reader: ReaderAccess, tenant: Identifier, after: Int64, upTo: Int64
    ) -> PostgresStatement? {
        guard let isVisible = reader.rowCondition(of: table.entity, table: "t", parameter: "$6") else { return nil }
        return PostgresStatement(
            """
            SELECT e.position, e.id FROM (SELECT min(position) AS position, id FROM tideline.scope_exit WHERE tenant = $1::uuid \
            AND scope_key = ANY($2::text[]) AND position > $3::bigint AND position <= $4::bigint AND entity = $5 GROUP BY id) e \
            WHERE NOT EXISTS (SELECT 1 FROM \(table.name) t WHERE t.tenant = $1::uuid AND t.id = e.id AND \(isVisible)) ORDER BY e.position
            """,
            [
                .identifier(tenant), .textArray(reader.circles), .integer(after), .integer(upTo), .text(table.entity.name),
                reader.parameter,
            ])
    }

    /// Forgets some of what left up to a position. Returns of how many, and the position up to which not all is known any more; whoever has
    /// not passed it has to start again.
    static func prune(_ tenant: Identifier, upTo position: Int64, atATime: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            WITH gone AS (DELETE FROM tideline.scope_exit WHERE tenant = $1::uuid AND ctid = ANY(ARRAY(SELECT ctid \
            FROM tideline.scope_exit WHERE tenant = $1::uuid AND position <= $2 LIMIT $3)) \
            RETURNING position) SELECT count(*), max(position) FROM gone
            """, [.identifier(tenant), .integer(position), .integer(atATime)])
    }
}
