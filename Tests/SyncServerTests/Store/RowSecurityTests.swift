// The runtime role against every table: it sees one tenant at a time, and nothing without one.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RowSecurityTests {
    private static let tables = EngineTables.guarded.map { "tideline.\($0)" } + Schema.testing.entities.map { "public.\($0.name)" }

    /// One database for these tests: none of them changes anything for good.
    private static let prepared = Result { () throws -> (url: String, first: Identifier, second: Identifier) in
        let server = try ServerUnderTest(isIsolated: true)
        let (first, second) = try twoTenants(server)
        return (server.url, first.id, second.id)
    }

    private let server: ServerUnderTest
    private let first: Identifier
    private let second: Identifier

    init() throws {
        let prepared = try Self.prepared.get()
        server = try ServerUnderTest(url: prepared.url)
        (first, second) = (prepared.first, prepared.second)
    }

    /// Two tenants with work in them, and a row in every table of the first, whatever its constraints.
    private static func twoTenants(_ server: ServerUnderTest) throws -> (TenantUnderTest, TenantUnderTest) {
        let (first, second) = (try server.makeTenant(), try server.makeTenant())
        for tenant in [first, second] {
            let replica = try tenant.enroll()
            try replica.edit([Edit.client(server.newIdentifier())])
        }
        for table in Self.tables {
            let known = try first.count("SELECT count(*) FROM \(table) WHERE tenant = $1::uuid", .identifier(first.id))
            if known > 0 { continue }
            // Not-null columns of any type take a value made from the id.
            let columns = try server.connection.run(
                """
                SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute \
                WHERE attrelid = $1::text::regclass AND attnum > 0 AND attnotnull AND NOT atthasdef AND attname <> 'tenant'
                """, .text(table))
            let names = columns.rows.compactMap { columns.text($0, 0) }
            let values = columns.rows.map { row in
                switch columns.text(row, 1) {
                case "uuid": "'\(first.id.text)'"
                case "bigint": "1"
                case "jsonb": "'{}'"
                case "text[]", "uuid[]": "'{}'"
                case "bytea": "'x'"
                default: "'text'"
                }
            }
            try server.connection.run(
                "INSERT INTO \(table) (\((["tenant"] + names).joined(separator: ", "))) VALUES (\((["'\(first.id.text)'"] + values).joined(separator: ", ")))"
            )
        }
        return (first, second)
    }

    @Test func runtimeRole_seesNoRows_withoutATenant() throws {
        for enter in [TenantSession.enterWithoutTenant, PostgresStatement("SET LOCAL ROLE \(TenantSession.runtimeRole)")] {
            try server.connection.transaction(.readWrite, prelude: [enter]) { connection in
                for table in Self.tables {
                    let seen = try connection.run("SELECT count(*) FROM \(table)").integer(0, 0)
                    #expect(seen == 0, "\(table)")
                }
            }
        }
    }

    @Test func runtimeRole_seesOnlyItsTenant_inEveryTable() throws {
        try server.connection.transaction(.readWrite, tenant: first) { connection in
            for table in Self.tables {
                let result = try connection.run(
                    "SELECT count(*), count(*) FILTER (WHERE tenant <> $1::uuid) FROM \(table)", .identifier(first))
                #expect((result.integer(0, 0) ?? 0) > 0, "\(table) is empty: nothing was shown")
                #expect(result.integer(0, 1) == 0, "\(table)")
                let stolen = try connection.run("SELECT count(*) FROM \(table) WHERE tenant = $1::uuid", .identifier(second))
                #expect(stolen.integer(0, 0) == 0, "\(table)")
            }
        }
    }

    @Test func runtimeRole_isRefused_whenItWritesForAnotherTenant() throws {
        for table in Self.tables {
            let insert = PostgresTesting.error {
                try server.connection.transaction(.readWrite, tenant: first) { connection in
                    try connection.run("INSERT INTO \(table) (tenant) VALUES ($1::uuid)", .identifier(second))
                }
            }
            #expect(insert?.sqlState == "42501", "\(table): \(String(describing: insert))")
            let move = PostgresTesting.error {
                try server.connection.transaction(.readWrite, tenant: first) { connection in
                    try connection.run("UPDATE \(table) SET tenant = $1::uuid", .identifier(second))
                }
            }
            #expect(move?.sqlState == "42501", "\(table): \(String(describing: move))")
        }
    }

    @Test func runtimeRole_cannotRewriteHistory() throws {
        for statement in [
            "UPDATE tideline.feed SET kind = 'x'", "DELETE FROM tideline.feed", "UPDATE tideline.change_set SET outcome = 'x'",
            "DELETE FROM tideline.change_set", "DELETE FROM tideline.resealed_set", "UPDATE tideline.resealed_set SET origin = 'x'",
            "UPDATE tideline.meta SET value = 'x'", "DROP TABLE public.client",
            "ALTER TABLE public.client DISABLE ROW LEVEL SECURITY",
        ] {
            let error = PostgresTesting.error {
                try server.connection.transaction(.readWrite, tenant: first) { try $0.run(PostgresStatement(statement)) }
            }
            #expect(error?.sqlState == "42501", "\(statement)")
        }
    }
}
