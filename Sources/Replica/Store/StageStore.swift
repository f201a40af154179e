// Pages of a pull that is not complete yet: kept as they came, shown to nobody until the checkpoint.

import SyncProtocol

/// Why confirmed state is fetched anew.
enum RebuildReason: String, Sendable {
    /// The cursor is older than the tombstones that the server still has.
    case resyncRequired = "resync_required"
    /// The server was restored from a backup.
    case newEpoch = "new_epoch"
    case requested
}

/// A pull as it continues: from where, for what.
struct PullProgress: Sendable {
    var cursor: String?
    /// Versions of parts written after this position are news; nil on a first sync.
    var versionsAfter: Int64?
    var stagedPages: Int
    var rebuild: RebuildReason?
    /// nil until the end of the first sync.
    var checkpoint: FeedPosition?
    var hasCheckpoint: Bool { checkpoint != nil }
}

extension Store {
    func pullProgress() throws -> PullProgress {
        let meta = Metadata(connection: connection)
        let checkpoint = try meta.checkpoint()?.position
        let staged = try connection.scalarInteger("SELECT count(*) FROM _tideline_stage") ?? 0
        let rebuild = try meta.text(.stagePurpose).flatMap(RebuildReason.init(rawValue:))
        if staged > 0 || rebuild != nil {
            return PullProgress(
                cursor: try meta.text(.stageNext), versionsAfter: try meta.integer(.stageVersionsAfter), stagedPages: Int(staged),
                rebuild: rebuild, checkpoint: checkpoint)
        }
        // A later page must not forget what changed between the checkpoint and its own cursor: always counted from the checkpoint.
        let least = try leastKnownPosition()
        let versionsAfter: Int64? = try checkpoint != nil || hasPending() ? least : nil
        return PullProgress(
            cursor: try meta.text(.cursor), versionsAfter: versionsAfter, stagedPages: 0, rebuild: nil, checkpoint: checkpoint)
    }

    /// Keeps a page, and where to go on, durably.
    func stage(_ page: PullPage, versionsAfter: Int64?) throws {
        try connection.immediateTransaction {
            try step(.stagePage)
            let meta = Metadata(connection: connection)
            try connection.execute("INSERT INTO _tideline_stage (bytes) VALUES (?1)", [.blob(page.bytes)])
            try meta.set(.stageNext, page.next)
            try meta.set(.stageVersionsAfter, versionsAfter.map { String($0) })
        }
    }

    /// From now on pulls fetch everything anew, whatever interrupts them.
    func prepareRebuild(_ reason: RebuildReason) throws {
        try connection.immediateTransaction { try noteRebuild(reason) }
    }

    /// Inside a transaction.
    func noteRebuild(_ reason: RebuildReason) throws {
        try step(.prepareRebuild)
        let meta = Metadata(connection: connection)
        // Confirmed sets that go out again after a restore may be older than everything that is pending.
        let least = reason == .newEpoch ? 0 : try leastKnownPosition()
        try clearStage()
        try meta.set(.stagePurpose, reason.rawValue)
        try meta.set(.stageVersionsAfter, least)
        // A restored server may have forgotten what it had answered.
        if reason == .newEpoch { try reoffer(from: 1) }
    }

    func stagedPages() throws -> [Int64] { try connection.query("SELECT page FROM _tideline_stage ORDER BY page") { $0.integer(0) } }

    func stagedPage(_ number: Int64) throws -> [UInt8]? {
        try connection.first("SELECT bytes FROM _tideline_stage WHERE page = ?1", [.integer(number)]) { $0.blob(0) }
    }

    func clearStage() throws {
        let meta = Metadata(connection: connection)
        try connection.execute("DELETE FROM _tideline_stage")
        for key in [Metadata.Key.stageNext, .stagePurpose, .stageVersionsAfter] { try meta.set(key, nil as String?) }
    }
}
