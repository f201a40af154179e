// How much a server that was restored lets wait, and how it says that there is no room for more.

/// How much may wait after a restore of the server (protocol §7.4). A device makes some hundred sets a day, and its journal reaches back
/// a week; what waits is looked at with every push that heals, so it is bounded in number and in what it names.
public struct WaitingLimits: Sendable {
    /// Sets of one replica.
    public var setsPerReplica: Int
    /// Sets of a tenant.
    public var setsPerTenant: Int
    /// Records that the waiting sets of a tenant name, each set counting its own.
    public var recordsPerTenant: Int

    public init(setsPerReplica: Int = 10_000, setsPerTenant: Int = 100_000, recordsPerTenant: Int = 1_000_000) {
        self.setsPerReplica = setsPerReplica
        self.setsPerTenant = setsPerTenant
        self.recordsPerTenant = recordsPerTenant
    }

    /// A limit that is passed.
    public struct Exceeded: Sendable {
        let name: String
        let max: Int

        /// - Parameter fits: How many sets of the push, from the first on, there is room for.
        public func refusal(fits: Int) -> ErrorReply {
            .limitReached(
                name, max: max, field: "sets", retryAfterSeconds: 60, details: ["fits": .integer(Int64(fits))],
                "as many sets wait for other devices as may since the server was restored; those devices have to sync first, "
                    + "or three days to pass")
        }
    }

    /// nil: so much may wait.
    /// - Parameters:
    ///   - own: Waiting sets of the replica.
    ///   - all: Waiting sets of the tenant.
    ///   - records: Records that those name.
    public func exceeded(own: Int, all: Int, records: Int) -> Exceeded? {
        if own > setsPerReplica { return Exceeded(name: "waiting_sets_per_replica", max: setsPerReplica) }
        if all > setsPerTenant { return Exceeded(name: "waiting_sets_per_tenant", max: setsPerTenant) }
        if records > recordsPerTenant { return Exceeded(name: "waiting_records_per_tenant", max: recordsPerTenant) }
        return nil
    }
}
