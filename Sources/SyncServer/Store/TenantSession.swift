// The only door to tenants' data: a transaction under the runtime role with one tenant set, both gone when it ends.

import SyncProtocol

enum TenantSession {
    /// Owns nothing and does not bypass row level security.
    static let runtimeRole = "tideline_runtime"

    /// Compiling plans never pays for statements this short.
    private static let settings = "set_config('role', '\(runtimeRole)', true), set_config('jit', 'off', true)"

    /// Comes before statements on entities' tables, which have several indexes: their plans are made for the tables as they
    /// are. One that was made while a table was empty would serve a bulk import badly until the next ANALYZE.
    static let planForTablesAsTheyAre = PostgresStatement("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")

    static func enter(_ tenant: Identifier) -> PostgresStatement {
        PostgresStatement("SELECT \(settings), set_config('tideline.tenant', $1, true)", [.text(tenant.text)])
    }

    /// Names the request that feed entries of this transaction come from.
    static func name(request: String) -> PostgresStatement {
        PostgresStatement("SELECT set_config('tideline.request', $1, true)", [.text(request)])
    }

    /// The runtime role with no tenant yet: sees no rows, may call the functions that find one.
    static let enterWithoutTenant = PostgresStatement(
        "SELECT \(settings), set_config('tideline.tenant', '', true)")
}

extension PostgresConnection {
    /// Runs `body` in a transaction that sees one tenant. Throws what `body` throws, or a ``PostgresError``.
    /// - Parameter requestID: Kept with the feed entries that are written.
    func transaction<R>(
        _ mode: PostgresTransactionMode, tenant: Identifier, requestID: String? = nil, _ body: (PostgresConnection) throws -> R
    ) throws -> R {
        try transaction(mode, prelude: [TenantSession.enter(tenant)] + (requestID.map { [TenantSession.name(request: $0)] } ?? []), body)
    }
}

extension PostgresValue {
    static func identifier(_ id: Identifier) -> PostgresValue { .text(id.text) }
    static func optional(_ id: Identifier?) -> PostgresValue { id.map { .text($0.text) } ?? .null }
}

extension PostgresResult {
    func identifier(_ row: Int, _ column: Int) -> Identifier? {
        withUTF8(row, column) { Identifier(utf8: $0) } ?? nil
    }
}
