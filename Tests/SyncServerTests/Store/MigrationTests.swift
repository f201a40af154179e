// The migration on real databases: from nothing, again, at once, and from an older schema.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct MigrationTests {
    private func fresh() throws -> (url: String, connection: PostgresConnection) {
        let url = try PostgresFixture.shared().freshDatabase()
        return (url, try PostgresConnection(PostgresConfiguration(url: url)))
    }

    private func columns(_ connection: PostgresConnection, _ table: String) throws -> Set<String> {
        let result = try connection.run(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1", .text(table))
        return Set(result.rows.compactMap { result.text($0, 0) })
    }

    private static let older = Schema(
        version: 1,
        domains: [
            .tenancy,
            Domain(
                "yard",
                entities: [
                    EntitySchema("crane", category: "yard", access: .manage, scopes: [.tenant], fields: [.text("name", 50).required])
                ]),
        ])
    private static let newer = Schema(
        version: 2,
        domains: [
            .tenancy,
            Domain(
                "yard",
                entities: [
                    EntitySchema(
                        "crane", category: "yard", access: .manage, scopes: [.tenant],
                        fields: [.text("name", 50).required.indexed, .integer("tons"), .set("tags", of: .text(1...20), 0...5)]),
                    EntitySchema("dock", category: "yard", access: .manage, scopes: [.tenant], fields: [.reference("crane", "crane")]),
                ]),
        ])

    @Test func migration_changesNothing_whenRunTwice() throws {
        let (_, connection) = try fresh()
        let migration = Migration(.tideline)
        #expect(try migration.run(connection).didRun)
        let key = try CursorSeal.load(from: connection).seal(Self.cursor)
        #expect(try migration.run(connection).didRun == false)
        #expect(try migration.run(connection, isForced: true).didRun)
        // Cursors handed out before still open.
        let opened = try CursorSeal.load(from: connection).open(key, tenant: .zero)
        #expect(opened == Self.cursor)
        #expect(try migration.isCurrent(connection))
    }

    private static let cursor = Cursor(
        tenant: .zero, mark: CheckpointMark(position: FeedPosition(epoch: 0, position: 7), fingerprint: "f"), tombstoneFloor: 3,
        role: .owner)

    @Test func migration_succeedsForAll_whenServersStartAtOnce() async throws {
        let (url, _) = try fresh()
        let reports = try await withThrowingTaskGroup(of: MigrationReport.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    try await onOwnThread {
                        let connection = try PostgresConnection(PostgresConfiguration(url: url))
                        defer { connection.close() }
                        return try Migration(.tideline).run(connection)
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(reports.count == 3)
        #expect(reports.filter(\.didRun).count == 1)
    }

    @Test func migration_addsEntitiesFieldsAndIndexes_whenTheSchemaGainedThem() throws {
        let (_, connection) = try fresh()
        try Migration(Self.older).run(connection)
        try connection.run(
            "INSERT INTO public.crane (tenant, id, position, created_at, updated_at, versions, name) VALUES ($1, $1, 1, 1, 1, '{}', 'Old')",
            .identifier(.zero))
        #expect(try Migration(Self.newer).isCurrent(connection) == false)
        #expect(try Migration(Self.newer).run(connection).didRun)
        #expect(try columns(connection, "crane").isSuperset(of: ["name", "tons", "tags"]))
        #expect(try columns(connection, "dock").contains("crane"))
        let indexes = try connection.run("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
        let names = Set(indexes.rows.compactMap { indexes.text($0, 0) })
        #expect(names.isSuperset(of: ["crane_name_id_idx", "dock_crane_idx", "crane_position_idx"]))
        #expect(try connection.run("SELECT name FROM public.crane").text(0, 0) == "Old")
        // An older server beside a newer one drops nothing, and does not turn the version back.
        try Migration(Self.older).run(connection)
        #expect(try columns(connection, "crane").contains("tons"))
        #expect(try connection.run("SELECT value FROM tideline.meta WHERE key = 'schema_version'").text(0, 0) == "2")
    }

    /// A database of a build that kept nothing of sets that are sealed anew.
    @Test func migration_addsEngineTables_toADatabaseOfBefore() throws {
        let (_, connection) = try fresh()
        try Migration(.tideline).run(connection)
        _ = try connection.run("DROP TABLE tideline.resealed_set")
        _ = try connection.run("UPDATE tideline.meta SET value = 'of before' WHERE key = 'definition'")
        #expect(try Migration(.tideline).run(connection).didRun)
        // What was decided is not rewritten by the running server.
        let rights = try connection.run(
            """
            SELECT string_agg(privilege_type, ' ' ORDER BY privilege_type) FROM information_schema.role_table_grants \
            WHERE table_schema = 'tideline' AND table_name = 'resealed_set' AND grantee = $1
            """, .text(TenantSession.runtimeRole))
        #expect(rights.text(0, 0) == "INSERT SELECT")
        let isGuarded = try connection.run(
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = 'tideline.resealed_set'::regclass")
        #expect(isGuarded.bool(0, 0) == true)
    }

    @Test func everyTable_leadsWithTenantAndForcesRowSecurity() throws {
        let (_, connection) = try fresh()
        try Migration(.testing).run(connection)
        let result = try connection.run(
            """
            SELECT n.nspname || '.' || c.relname, a.attname, c.relrowsecurity AND c.relforcerowsecurity, \
            (SELECT k.attname FROM pg_index i JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = i.indkey[0] \
             WHERE i.indrelid = c.oid AND i.indisprimary), \
            (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) \
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 \
            WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'tideline') ORDER BY 1
            """)
        var names: Set<String> = []
        for row in result.rows {
            let name = result.text(row, 0) ?? ""
            if name == "tideline.meta" { continue }
            names.insert(name)
            #expect(result.text(row, 1) == "tenant", "\(name)")
            #expect(result.bool(row, 2) == true, "\(name)")
            #expect(result.text(row, 3) == "tenant", "\(name)")
            #expect((result.integer(row, 4) ?? 0) >= 1, "\(name)")
        }
        #expect(names == Set(EngineTables.guarded.map { "tideline.\($0)" } + Schema.testing.entities.map { "public.\($0.name)" }))
    }
}
