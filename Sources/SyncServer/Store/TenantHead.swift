// The head of a tenant's feed: the row whose lock makes commit order position order.

import SyncProtocol

struct TenantHead: Sendable, Hashable {
    var position: FeedPosition
    /// Highest position of a tombstone that was pruned; whoever has not passed it cannot catch up.
    var horizon: Int64
    /// The greatest hybrid timestamp stored.
    var timestamp: HybridTimestamp
    /// What is kept of the tenant, as ``StorageQuota`` counts it.
    var storedBytes: Int64

    private static let columns = "epoch, position, horizon, max_stamp_ms, max_stamp_logical, stored_bytes"

    static func read(_ tenant: Identifier) -> PostgresStatement {
        PostgresStatement("SELECT \(columns) FROM tideline.tenant_head WHERE tenant = $1::uuid", [.identifier(tenant)])
    }

    /// All writers of a tenant pass here one after another, until the transaction ends.
    static func lock(_ tenant: Identifier) -> PostgresStatement {
        PostgresStatement("SELECT \(columns) FROM tideline.tenant_head WHERE tenant = $1::uuid FOR UPDATE", [.identifier(tenant)])
    }

    /// nil when the tenant is not there (or not this session's).
    init?(_ result: PostgresResult) {
        guard !result.isEmpty, let epoch = result.integer(0, 0), let position = result.integer(0, 1), let horizon = result.integer(0, 2),
            let milliseconds = result.integer(0, 3), let logical = result.integer(0, 4), let bytes = result.integer(0, 5)
        else { return nil }
        self.position = FeedPosition(epoch: epoch, position: position)
        self.horizon = horizon
        timestamp = HybridTimestamp(milliseconds: milliseconds, logical: logical)
        storedBytes = bytes
    }

    func write(_ tenant: Identifier, nowMilliseconds: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            UPDATE tideline.tenant_head SET epoch = $2, position = $3, horizon = $4, max_stamp_ms = $5, max_stamp_logical = $6, \
            changed_at = $7, stored_bytes = $8 WHERE tenant = $1::uuid
            """,
            [
                .identifier(tenant), .integer(position.epoch), .integer(position.position), .integer(horizon),
                .integer(timestamp.milliseconds), .integer(timestamp.logical), .integer(nowMilliseconds), .integer(storedBytes),
            ])
    }

    /// To be called for whatever is appended to the feed, before the head is written.
    mutating func count(_ entries: [FeedEntry]) { storedBytes += entries.reduce(0) { $0 + $1.storedBytes } }

    static func create(_ tenant: Identifier, nowMilliseconds: Int64) -> PostgresStatement {
        PostgresStatement(
            "INSERT INTO tideline.tenant_head (tenant, epoch, position, changed_at) VALUES ($1::uuid, 0, 0, $2)",
            [.identifier(tenant), .integer(nowMilliseconds)])
    }
}
