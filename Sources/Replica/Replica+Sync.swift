// Syncing: push what is pending, pull what is new, once or for as long as the program runs.

import SyncProtocol

extension Replica {
    /// One sync to the checkpoint. Everything that was written before it began is offered.
    ///
    /// When pushing fails but pulling works the report says so (`pushFailure`) and nothing is thrown: the sets stay pending.
    /// Throws `notEnrolled`, `syncInProgress`, `unreachable`, `notAllowed`, `serverRefused`, `forked`, `outdated`, `storage`.
    @discardableResult
    public func sync(_ options: SyncOptions = SyncOptions()) async throws -> SyncReport {
        do {
            let server = try await file.read { try Metadata(connection: $0.connection).requireIdentity("sync").server }
            return try await driver.sync(try transport(to: server, "sync"), options)
        } catch {
            throw ReplicaError.translated(error, operation: "sync")
        }
    }

    /// Syncs until its task is cancelled: waits for news at the server, sends local edits at once, and after failures tries
    /// again with growing pauses (1 s to 5 min). Throws only what a person must see to: `notAllowed`, `forked`, `outdated`, …
    /// - Parameters:
    ///   - options: `waitMilliseconds` is how long one request waits for news.
    ///   - onReport: Called after each sync.
    public func syncContinuously(
        _ options: SyncOptions = SyncOptions(waitMilliseconds: 25_000), onReport: (@Sendable (SyncReport) -> Void)? = nil
    ) async throws {
        guard options.watchesFile else { return try await syncRepeatedly(options, onReport) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.watchFile() }
            group.addTask { try await self.syncRepeatedly(options, onReport) }
            // The watch ends by itself only when its file is gone.
            defer { group.cancelAll() }
            try await group.next()
            if !Task.isCancelled, isReplaced {
                throw ReplicaError(
                    .storage, "another file was put in the place of \(path): open that one; what this one held is where it was moved to",
                    operation: "sync")
            }
        }
    }

    private func syncRepeatedly(_ options: SyncOptions, _ onReport: (@Sendable (SyncReport) -> Void)?) async throws {
        var failures = 0
        var refusal = PushRefusal()
        while !Task.isCancelled {
            let reason: String
            do {
                var once = options
                if let left = refusal.millisecondsLeft(environment.wallMilliseconds()) {
                    once.pushes = false
                    once.waitMilliseconds = min(options.waitMilliseconds, Int(left))
                }
                let report = try await sync(once)
                onReport?(report)
                failures = 0
                if let failure = report.pushFailure {
                    // The checkpoint was reached: only what goes up waits, what comes down stays live.
                    refusal.note(failure.message, environment.wallMilliseconds(), random: environment.random())
                } else {
                    // What was refused may have arrived all the same, and is acknowledged then.
                    var isSent = once.pushes
                    if !isSent { isSent = try await !hasUnsent }
                    if isSent { refusal = PushRefusal() }
                }
                if let reason = refusal.reason { states.send(.refused(reason: reason)) }
                continue
            } catch let error as ReplicaError where error.isRetryable {
                if error.code == .cancelled { continue }
                reason = error.message
            } catch {
                states.send(.stopped(reason: String(describing: error)))
                throw error
            }
            failures += 1
            let delay = Backoff.betweenSyncs.delay(attempt: failures, random: environment.random())
            states.send(.waiting(milliseconds: delay, reason: reason))
            do { try await environment.sleep(delay) } catch { break }
        }
        states.send(.idle)
    }

    private var hasUnsent: Bool {
        get async throws { try await reading("sync") { try $0.unansweredCount() > 0 } }
    }

    /// Which entities changed, after each commit made through this value: by edits, syncs, resolutions. Commits of other processes
    /// are told while ``watchFile(every:)`` runs, as it does in ``syncContinuously(_:onReport:)``.
    public func changes() -> AsyncStream<ChangeNotice> { file.changes.stream() }

    /// What sync is doing; begins with the present state.
    public var state: AsyncStream<SyncState> { states.stream(bufferingNewest: 16) }
}

/// How long a continuous sync keeps from offering what the server would not take.
private struct PushRefusal {
    private(set) var reason: String?
    private var attempts = 0
    private var since: Int64 = 0
    private var delay: Int64 = 0

    mutating func note(_ reason: String, _ now: Int64, random: UInt64) {
        attempts += 1
        (self.reason, since, delay) = (reason, now, Backoff.betweenSyncs.delay(attempt: attempts, random: random))
    }

    /// nil: it is time to offer again. A clock that was set back does not make it later.
    func millisecondsLeft(_ now: Int64) -> Int64? {
        guard reason != nil, now >= since, now - since < delay else { return nil }
        return delay - (now - since)
    }
}
