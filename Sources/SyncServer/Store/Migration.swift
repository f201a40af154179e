// Brings a database to the schema of this build: creates and adds what is missing, never drops. Run at start and by `migrate`.

import SyncProtocol

struct MigrationReport: Sendable, Equatable {
    /// False when the database already was what this build wants, and nothing was looked at further.
    var didRun: Bool
    var schemaVersion: Int64
}

/// Idempotent; two servers that start at once wait for each other.
struct Migration {
    let tables: EntityTables
    /// Called at each point that a test may want to be the last.
    var step: @Sendable (ServerStep) -> Void = { _ in }

    init(_ schema: Schema) { self.init(tables: EntityTables(schema)) }
    init(tables: EntityTables) { self.tables = tables }

    /// Any number, the same in every build.
    private static let lock: Int64 = 0x7469_6465_6c69_6e65

    /// Unless `isForced`, a database whose definition this build made before is left alone, at the cost of one query.
    /// Throws ``PostgresError``, or ``MigrationError`` when the role may not do what is needed.
    @discardableResult
    func run(_ connection: PostgresConnection, isForced: Bool = false) throws -> MigrationReport {
        if !isForced, try isCurrent(connection) { return MigrationReport(didRun: false, schemaVersion: tables.schema.version) }
        let report = try connection.transaction(.readWrite) { connection in
            // Another server may need as long as it needs.
            try connection.run("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
            try connection.run("SELECT pg_advisory_xact_lock($1)", .integer(Migration.lock))
            if !isForced, try isCurrent(connection) {
                return MigrationReport(didRun: false, schemaVersion: tables.schema.version)
            }
            step(.migrationLocked)
            try connection.script("SET LOCAL client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS tideline")
            try createExtension(connection)
            try createRole(connection)
            try connection.script(definition.joined(separator: ";\n"))
            step(.migrationDefined)
            try guardRows(connection)
            try connection.script(grants.joined(separator: ";\n"))
            step(.migrationGuarded)
            try fillTimelines(connection)
            try fillScopes(connection)
            try fillStorage(connection)
            step(.migrationFilled)
            try writeMeta(connection)
            step(.migrationWritten)
            return MigrationReport(didRun: true, schemaVersion: tables.schema.version)
        }
        step(.migrationCommitted)
        return report
    }

    /// Whether the database was brought to exactly this definition.
    func isCurrent(_ connection: PostgresConnection) throws(PostgresError) -> Bool {
        // Reading the catalog also hears of what others have just committed; looking the name up alone may remember that there
        // was nothing.
        let exists = try connection.run(
            """
            SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = 'tideline' AND c.relname = 'meta')
            """)
        guard exists.bool(0, 0) == true else { return false }
        let hash = try connection.run("SELECT value FROM tideline.meta WHERE key = 'definition'")
        return !hash.isEmpty && hash.text(0, 0) == fingerprint
    }

    private var definition: [String] {
        EngineTables.definition + tables.all.flatMap(\.definition) + EngineTables.functions + searchFunctions.map(\.definition)
    }

    private var searchFunctions: [(signature: String, definition: String)] { tables.all.flatMap(\.searchFunctions) }

    private var fingerprint: String {
        Hex.encode(SHA256.hash(Array((definition + grants + [Migration.policyCondition, Migration.scopes]).joined(separator: ";").utf8)))
    }

    private var guardedTables: [(schema: String, table: String)] {
        EngineTables.guarded.map { ("tideline", $0) } + tables.all.map { ("public", $0.entity.name) }
    }

    // MARK: Steps

    /// pgcrypto is trusted since Postgres 13: whoever may create in the database may create it.
    private func createExtension(_ connection: PostgresConnection) throws {
        do {
            try connection.savepoint { connection in
                try connection.script("CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA tideline")
            }
        } catch let error as PostgresError where !error.isRetryable {
            throw MigrationError(
                "the extension pgcrypto is missing and could not be created (\(error.message)); "
                    + "install postgresql-contrib and let a superuser run CREATE EXTENSION pgcrypto",
                isPermission: error.kind == .permissionDenied)
        }
        // An older installation may have put it elsewhere.
        let home = try connection.run(
            "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgcrypto'")
        guard !home.isEmpty, let schema = home.text(0, 0) else { throw MigrationError("the extension pgcrypto is missing") }
        try connection.script(
            """
            CREATE OR REPLACE FUNCTION tideline.random_bytes(count integer) RETURNS bytea LANGUAGE sql VOLATILE AS \
            'SELECT \(PostgresIdentifier.quoted(schema)).gen_random_bytes($1)'
            """)
    }

    /// Roles belong to the cluster, not to the database: another database's migration may create it at the same moment.
    private func createRole(_ connection: PostgresConnection) throws {
        let role = TenantSession.runtimeRole
        do {
            try connection.savepoint { connection in
                try connection.script(
                    """
                    DO $$ BEGIN
                      IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '\(role)') THEN CREATE ROLE \(role) NOLOGIN; END IF;
                    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                    END $$;
                    DO $$ BEGIN
                      IF NOT pg_has_role(current_user, '\(role)', CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
                      THEN EXECUTE format('GRANT \(role) TO %I', current_user); END IF;
                    END $$
                    """)
            }
        } catch let error as PostgresError where error.kind == .permissionDenied {
            throw MigrationError(
                "the role \(role) is missing or not granted (\(error.message)); let a superuser run "
                    + "CREATE ROLE \(role) NOLOGIN and GRANT \(role) TO the server's role", isPermission: true)
        }
    }

    private static let policyCondition = "tenant = nullif(current_setting('tideline.tenant', true), '')::uuid"

    /// One policy for all commands and roles on every table, plus a reading one for the owner where functions cross tenants.
    private func guardRows(_ connection: PostgresConnection) throws {
        let known = try connection.run(
            "SELECT schemaname || '.' || tablename || '.' || policyname FROM pg_policies WHERE policyname LIKE 'tideline_%'")
        let existing = Set(known.rows.compactMap { known.text($0, 0) })
        var statements: [String] = []
        for (schema, table) in guardedTables {
            let name = "\(PostgresIdentifier.quoted(schema)).\(PostgresIdentifier.quoted(table))"
            statements.append("ALTER TABLE \(name) ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
            if !existing.contains("\(schema).\(table).tideline_tenant") {
                statements.append(
                    "CREATE POLICY tideline_tenant ON \(name) USING (\(Migration.policyCondition)) WITH CHECK (\(Migration.policyCondition))"
                )
            }
        }
        for table in EngineTables.crossTenant where !existing.contains("tideline.\(table).tideline_owner") {
            statements.append("CREATE POLICY tideline_owner ON tideline.\(table) FOR SELECT TO current_user USING (true)")
        }
        for table in tables.all where !table.searchFunctions.isEmpty && !existing.contains("public.\(table.entity.name).tideline_owner") {
            statements.append("CREATE POLICY tideline_owner ON \(table.name) FOR SELECT TO current_user USING (true)")
        }
        try connection.script(statements.joined(separator: ";\n"))
    }

    private static let appendOnly = ["feed", "feed_anchor", "change_set", "resealed_set"]

    private var grants: [String] {
        let role = TenantSession.runtimeRole
        var statements = [
            "GRANT USAGE ON SCHEMA tideline, public TO \(role)", "GRANT SELECT ON tideline.meta TO \(role)",
            "GRANT EXECUTE ON FUNCTION tideline.random_bytes(integer), tideline.joined(text[]) TO \(role)",
            // What happened stays: the feed and stored outcomes cannot be rewritten by the running server.
            "GRANT SELECT, INSERT ON \(Migration.appendOnly.map { "tideline.\($0)" }.joined(separator: ", ")) TO \(role)",
        ]
        for function in EngineTables.functionSignatures + searchFunctions.map(\.signature) {
            statements += ["REVOKE ALL ON FUNCTION \(function) FROM PUBLIC", "GRANT EXECUTE ON FUNCTION \(function) TO \(role)"]
        }
        let writable =
            EngineTables.guarded.filter { !Migration.appendOnly.contains($0) }.map { "tideline.\($0)" }
            + tables.all.map(\.name)
        statements.append("GRANT SELECT, INSERT, UPDATE, DELETE ON \(writable.joined(separator: ", ")) TO \(role)")
        return statements
    }

    /// Timelines of what happened before they had a table of their own; done once.
    private func fillTimelines(_ connection: PostgresConnection) throws {
        let isDone = try connection.run("SELECT 1 FROM tideline.meta WHERE key = 'timelines'")
        guard isDone.isEmpty else { return }
        let tenants = try connection.run("SELECT tenant FROM tideline.tenant_head")
        for tenant in tenants.rows.compactMap({ tenants.identifier($0, 0) }) {
            try connection.run("SELECT set_config('tideline.tenant', $1, true)", .text(tenant.text))
            try connection.run(
                """
                INSERT INTO tideline.feed_anchor (tenant, anchor, position) \
                SELECT DISTINCT f.tenant, a, f.position FROM tideline.feed f CROSS JOIN LATERAL unnest(f.anchors) a \
                WHERE f.tenant = $1::uuid AND a <> f.entity || ':' || f.record ON CONFLICT DO NOTHING
                """, .identifier(tenant))
        }
        try connection.run("SELECT set_config('tideline.tenant', '', true)")
        try connection.run("INSERT INTO tideline.meta (key, value) VALUES ('timelines', 'filled')")
    }

    /// How scope keys follow from records; another text has them all worked out anew.
    private static let scopes = "scopes that follow what they depend on"

    /// Keys of records from before they followed what they depend on. Positions stay: cursors of before are not good any more.
    private func fillScopes(_ connection: PostgresConnection) throws {
        let done = try connection.run("SELECT value FROM tideline.meta WHERE key = 'scopes'")
        guard done.isEmpty || done.text(0, 0) != Migration.scopes else { return }
        let tenants = try connection.run("SELECT tenant FROM tideline.tenant_head")
        for tenant in tenants.rows.compactMap({ tenants.identifier($0, 0) }) {
            try connection.run("SELECT set_config('tideline.tenant', $1, true)", .text(tenant.text))
            try ScopeKeys(tables: tables, tenant: tenant, connection: connection).refresh()
        }
        try connection.run("SELECT set_config('tideline.tenant', '', true)")
        try connection.run(
            "INSERT INTO tideline.meta (key, value) VALUES ('scopes', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            .text(Migration.scopes))
    }

    /// How much tenants store, from before it was counted; done once. The texts of what was said are about as long as what is counted now.
    private func fillStorage(_ connection: PostgresConnection) throws {
        let isDone = try connection.run("SELECT 1 FROM tideline.meta WHERE key = 'storage'")
        guard isDone.isEmpty else { return }
        let tenants = try connection.run("SELECT tenant FROM tideline.tenant_head")
        for tenant in tenants.rows.compactMap({ tenants.identifier($0, 0) }) {
            try connection.run("SELECT set_config('tideline.tenant', $1, true)", .text(tenant.text))
            try connection.run(
                """
                UPDATE tideline.tenant_head SET stored_bytes = \
                (SELECT coalesce(sum($2 + octet_length(changes::text) + octet_length(restricted_changes::text)), 0)::bigint \
                FROM tideline.feed WHERE tenant = $1::uuid) \
                + (SELECT coalesce(sum($3 + octet_length(outcome)), 0)::bigint FROM tideline.change_set WHERE tenant = $1::uuid) \
                + (SELECT $4 * count(*) FROM tideline.replica WHERE tenant = $1::uuid) WHERE tenant = $1::uuid
                """, .identifier(tenant), .integer(StorageQuota.entryBytes), .integer(StorageQuota.setBytes),
                .integer(StorageQuota.replicaBytes))
        }
        try connection.run("SELECT set_config('tideline.tenant', '', true)")
        try connection.run("INSERT INTO tideline.meta (key, value) VALUES ('storage', 'counted')")
    }

    private func writeMeta(_ connection: PostgresConnection) throws {
        try connection.run(
            """
            INSERT INTO tideline.meta (key, value) VALUES ('definition', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value
            """, .text(fingerprint))
        try connection.run(
            """
            INSERT INTO tideline.meta (key, value) VALUES ('schema_version', $1) ON CONFLICT (key) \
            DO UPDATE SET value = greatest(meta.value::bigint, excluded.value::bigint)::text
            """, .text(String(tables.schema.version)))
        // Made once and kept: cursors must outlive every restart.
        try connection.run(
            """
            INSERT INTO tideline.meta (key, value) VALUES ('cursor_key', encode(tideline.random_bytes(32), 'hex')) \
            ON CONFLICT (key) DO NOTHING
            """)
    }
}

/// The database cannot be brought to this build's schema until an operator does what the message says.
struct MigrationError: Error, Sendable, CustomStringConvertible {
    let message: String
    let operation = "migrate"
    let code = "migration_failed"
    let isRetryable = false

    /// Somebody with more rights has to do something first.
    let isPermission: Bool

    init(_ message: String, isPermission: Bool = false) {
        self.message = message
        self.isPermission = isPermission
    }
    var description: String { message }
}
