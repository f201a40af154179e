// What every request of the sync protocol needs besides its connection: made once per process, shared by all workers.

import SyncProtocol

/// How much one request may ask of the server.
struct WorkLimits: Sendable {
    /// Milliseconds that a list or a page of the timeline may take in the database. Statements that nobody can make long have the session's 30 s.
    var list: Int64 = 5_000
    /// The same of a report.
    var report: Int64 = 10_000
    /// Bytes of the feed entries that one push or write makes.
    var entryBytes = ChangePipeline.entryBytesMax
    /// Bytes of the records that the decision about it loads.
    var loadedBytes = RecordStore.loadedBytesMax
}

struct SyncContext: Sendable {
    let tables: EntityTables
    let cursorSeal: CursorSeal
    /// Server time, milliseconds since 1970 UTC.
    let now: @Sendable () -> Int64
    let identifiers: IdentifierSource
    /// Called after a commit that moved a tenant's head: wakes who waits for news, here and in other processes.
    let announce: @Sendable (Identifier) -> Void
    let log: @Sendable (LogEntry) -> Void
    let metrics: Metrics
    /// Called at each point of a push that a test may want to be the last.
    let pushStep: @Sendable (PushStep) -> Void
    /// The same of everything else.
    let step: @Sendable (ServerStep) -> Void
    /// Consumers that this process can run itself.
    let builtins: [BuiltinConsumer]
    let waitingLimits: WaitingLimits
    let workLimits: WorkLimits
    var storageQuota: StorageQuota

    var schema: Schema { tables.schema }

    init(
        tables: EntityTables, cursorSeal: CursorSeal, now: @escaping @Sendable () -> Int64,
        identifiers: IdentifierSource = IdentifierSource(),
        announce: @escaping @Sendable (Identifier) -> Void = { _ in }, log: @escaping @Sendable (LogEntry) -> Void = { _ in },
        metrics: Metrics = Metrics(), pushStep: @escaping @Sendable (PushStep) -> Void = { _ in },
        step: @escaping @Sendable (ServerStep) -> Void = { _ in },
        builtins: [BuiltinConsumer] = BuiltinConsumer.all, waitingLimits: WaitingLimits = WaitingLimits(),
        workLimits: WorkLimits = WorkLimits(), storageQuota: StorageQuota = StorageQuota()
    ) {
        self.tables = tables
        self.cursorSeal = cursorSeal
        self.now = now
        self.identifiers = identifiers
        self.announce = announce
        self.log = log
        self.metrics = metrics
        self.pushStep = pushStep
        self.step = step
        self.builtins = builtins
        self.waitingLimits = waitingLimits
        self.workLimits = workLimits
        self.storageQuota = storageQuota
    }
}
