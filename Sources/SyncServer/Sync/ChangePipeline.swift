// What push and the server's own writes have in common: decide sets on loaded records, then write everything in one batch
// (protocol §6). Runs inside a transaction that holds the tenant's head.

import SyncProtocol

struct ChangePipeline {
    let context: SyncContext
    let tenant: Identifier
    let nowMilliseconds: Int64
    let connection: PostgresConnection

    /// A decision that has not come to rest after so many rounds of loading never will.
    static let passesMax = 16
    /// Of the feed entries that one request writes: old and new values, and what was told of refusals. A change of a few bytes can make an
    /// entry of many, because what it replaces or meets may be long.
    static let entryBytesMax = 64 << 20

    /// What was decided, in order, with what has to be written for it.
    struct Decided {
        var decisions: [Decision]
        /// Head afterwards.
        var head: TenantHead
        var entries: [FeedEntry]
        /// Everything the sets wrote, as it will be stored.
        var records: [RecordState]
        var statements: [PostgresStatement]
    }

    /// The rules asked for more and more records.
    struct Unsettled: Error {}

    /// More bytes than one request may write or read. Nothing was written.
    struct TooLarge: Error {
        let words: String
        let max: Int
        var details: JSONObject { ["max": .integer(Int64(max))] }

        /// Of the feed.
        init(entryBytes max: Int) {
            self.max = max
            words = "what this changes is more than \(max >> 20) MiB in the feed"
        }

        init(_ loading: RecordStore.TooLarge) {
            max = loading.max
            words = loading.description
        }
    }

    /// Decides sets one after another, as if nothing else happened meanwhile: the head is locked.
    /// Throws ``PostgresError``, ``Unsettled`` or ``TooLarge``; rejections are decisions.
    /// - Parameters:
    ///   - held: Records that waiting sets of the same replica name.
    ///   - rejectedCreations: Of sets that this request rejected before; they are not stored yet.
    func decide(
        _ submissions: [Submission], from head: TenantHead, holding held: Set<Identifier> = [], rejectedCreations: [Identifier] = []
    ) throws -> Decided {
        let workspace = Workspace(schema: context.schema)
        workspace.supply(waiting: held)
        for id in rejectedCreations { workspace.supply(rejectedCreation: id, wasRejected: true) }
        var store = RecordStore(
            tables: context.tables, tenant: tenant, epoch: head.position.epoch, bytesMax: context.workLimits.loadedBytes)
        func load(_ reads: [Read]) throws {
            do { try store.load(reads, into: workspace, on: connection) } catch let error as RecordStore.TooLarge { throw TooLarge(error) }
        }
        func processor() -> Processor {
            Processor(
                schema: context.schema, workspace: workspace, mode: .server, tenant: tenant, nowMilliseconds: nowMilliseconds,
                head: head.position)
        }
        try load(processor().declaredReads(of: submissions.flatMap(\.changes)))
        for _ in 0..<ChangePipeline.passesMax {
            var processor = processor()
            let decisions = submissions.map { processor.decide($0) }
            let missing = workspace.takeMissing()
            guard missing.isEmpty else {
                try load(missing)
                workspace.discardWrites()
                continue
            }
            var after = head
            after.position = processor.head
            for (submission, decision) in zip(submissions, decisions) where decision.outcome.status != .deferred {
                after.timestamp = max(after.timestamp, submission.timestamp)
            }
            let entries = decisions.flatMap(\.entries)
            var bytes = 0
            for entry in entries {
                bytes += entry.saidBytes
                guard bytes <= context.workLimits.entryBytes else { throw TooLarge(entryBytes: context.workLimits.entryBytes) }
            }
            after.count(entries)
            let written = workspace.writtenRecords
            var statements = store.write(written)
            if let heads = store.writeHeads(written, before: { workspace.original($0) }) { statements.append(heads) }
            if let exits = ScopeExits.write(written, tenant: tenant, before: { workspace.original($0) }) { statements.append(exits) }
            if let feed = FeedStore.append(entries, tenant: tenant) { statements.append(feed) }
            return Decided(decisions: decisions, head: after, entries: entries, records: written, statements: statements)
        }
        throw Unsettled()
    }
}

extension PostgresError {
    /// The database refused the data itself: bad values (22), broken constraints (23), limits (54), triggers (P0, 44).
    /// Everything else (a missing table, rights, time-outs, losses) says nothing about the set, and nothing may be stored for it.
    var isRefusalOfData: Bool {
        !isRetryable && ["22", "23", "44", "54", "P0"].contains { sqlState.hasPrefix($0) }
    }
}
