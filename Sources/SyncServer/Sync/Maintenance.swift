// What the server does by the clock: forgets tombstones, and who lost sight of what, that every regular replica has heard of long ago.

import SyncProtocol

struct Maintenance {
    let context: SyncContext
    let connection: PostgresConnection

    static let tombstoneDays: Int64 = 90
    /// Rows that one transaction forgets: whoever has deleted millions must not hold up their tenant's writers, nor run into the time
    /// that a statement has.
    static let forgottenAtATime: Int64 = 10_000

    /// Removes tombstones older than the horizon and moves it; returns how many. Short transactions, each with the horizon that covers
    /// what it took, until there is nothing left.
    /// A replica whose cursor is below the horizon afterwards gets `resync_required`.
    @discardableResult
    func pruneTombstones(
        tenant: Identifier, olderThanDays days: Int64 = Maintenance.tombstoneDays, atATime: Int64 = Maintenance.forgottenAtATime
    ) throws -> Int {
        let limit = context.now() - days * 86_400_000
        var pruned = 0
        while true {
            let (tombstones, isDone) = try pruneSome(tenant, before: limit, atATime)
            pruned += tombstones
            if isDone { return pruned }
        }
    }

    private func pruneSome(_ tenant: Identifier, before limit: Int64, _ atATime: Int64) throws -> (tombstones: Int, isDone: Bool) {
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            guard var head = TenantHead(try connection.run(TenantHead.lock(tenant))) else { return (0, true) }
            // By position as well: a tombstone that has moved with its parent since is news to whoever had not pulled by then.
            let old = try connection.run(
                "SELECT position FROM tideline.feed WHERE tenant = $1::uuid AND at < $2 ORDER BY at DESC, position DESC LIMIT 1",
                .identifier(tenant), .integer(limit))
            guard !old.isEmpty, let reached = old.integer(0, 0) else { return (0, true) }
            var room = atATime
            for table in context.tables.all where room > 0 {
                let result = try connection.run(
                    """
                    WITH gone AS (DELETE FROM \(table.name) WHERE tenant = $1::uuid AND ctid = ANY(ARRAY(SELECT ctid FROM \(table.name) \
                    WHERE tenant = $1::uuid AND deleted_at < $2 AND position <= $4 LIMIT $3)) RETURNING position) SELECT count(*), max(position) FROM gone
                    """, .identifier(tenant), .integer(limit), .integer(room), .integer(reached))
                room -= result.integer(0, 0) ?? 0
                head.horizon = max(head.horizon, result.integer(0, 1) ?? 0)
            }
            context.step(.tombstonesForgotten)
            let exits = try connection.run(ScopeExits.prune(tenant, upTo: reached, atATime: atATime))
            let horizon = max(head.horizon, exits.integer(0, 1) ?? 0)
            let isMoved = horizon > head.horizon
            head.horizon = horizon
            if room < atATime || isMoved { _ = try connection.run(head.write(tenant, nowMilliseconds: context.now())) }
            context.step(.horizonMoved)
            return (Int(atATime - room), room > 0 && exits.integer(0, 0) ?? 0 < atATime)
        }
    }

    /// Removes stored answers of writes that nobody will repeat any more.
    func pruneIdempotencyKeys(tenant: Identifier) throws {
        let limit = context.now() - IdempotencyKey.keptMilliseconds
        var isDone = false
        while !isDone {
            isDone = try connection.transaction(.readWrite, tenant: tenant) { connection in
                // The head first, as those do who keep an answer.
                _ = try connection.run(TenantHead.lock(tenant))
                let gone = try connection.run(IdempotencyKey.prune(tenant: tenant, beforeMilliseconds: limit))
                context.step(.keysForgotten)
                return gone.isEmpty || (gone.integer(0, 0) ?? 0) < IdempotencyKey.prunedAtATime
            }
        }
    }

    /// Forgets codes and tokens that stopped working long ago.
    func pruneCredentials(tenant: Identifier) throws {
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            try EnrollmentCode.prune(tenant: tenant, nowMilliseconds: context.now(), on: connection)
            try AccessToken.prune(tenant: tenant, nowMilliseconds: context.now(), on: connection)
        }
    }

    /// All tenants, through the function that returns their ids only.
    func run() throws -> Int {
        let tenants = try Maintenance.tenants(on: connection)
        for tenant in tenants { try pruneIdempotencyKeys(tenant: tenant) }
        for tenant in tenants { try pruneCredentials(tenant: tenant) }
        for tenant in tenants { try pruneAttempts(tenant: tenant) }
        return try tenants.reduce(0) { count, tenant in
            let pruned = try pruneTombstones(tenant: tenant)
            context.step(.maintenanceCommitted)
            return count + pruned
        }
    }

    /// Of deliveries; the log is for looking, not for working.
    @discardableResult
    func pruneAttempts(tenant: Identifier) throws -> Int {
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            let pruned = try AttemptLog.prune(tenant: tenant, nowMilliseconds: context.now(), on: connection)
            context.step(.attemptsForgotten)
            return pruned
        }
    }

    static func tenants(on connection: PostgresConnection) throws -> [Identifier] {
        try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) { connection in
            let result = try connection.run("SELECT tenant FROM tideline.heads_changed(0)")
            return result.rows.compactMap { result.identifier($0, 0) }
        }
    }
}
