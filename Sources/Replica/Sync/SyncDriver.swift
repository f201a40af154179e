// Carries out what a SyncSession says: the only place where files and network meet.

import Foundation
import SyncProtocol

actor SyncDriver {
    private let file: OpenFile
    private let state: Broadcast<SyncState>
    private let longPoll: LongPollInterruption
    private var running: Task<SyncReport, any Error>?

    init(file: OpenFile, state: Broadcast<SyncState>, longPoll: LongPollInterruption) {
        self.file = file
        self.state = state
        self.longPoll = longPoll
    }

    /// One sync at a time: a second caller gets its own after the first.
    func sync(_ transport: any SyncTransport, _ options: SyncOptions) async throws -> SyncReport {
        while let current = running { _ = await current.result }
        let task = Task { try await self.run(transport, options) }
        running = task
        defer { running = nil }
        return try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    private func run(_ transport: any SyncTransport, _ options: SyncOptions) async throws -> SyncReport {
        let started = file.environment.wallMilliseconds()
        let lock = try SyncLock(path: file.path + ".sync-lock")
        defer { withExtendedLifetime(lock) {} }
        defer { state.send(.idle) }
        var work = SyncWork(file: file, transport: transport, options: options, state: state, longPoll: longPoll)
        try await work.begin()
        try await work.run()
        work.report.durationMilliseconds = max(0, file.environment.wallMilliseconds() - started - work.waitedMilliseconds)
        return work.report
    }
}

/// The running of one sync.
struct SyncWork {
    let file: OpenFile
    let transport: any SyncTransport
    let options: SyncOptions
    let state: Broadcast<SyncState>
    let longPoll: LongPollInterruption
    var report = SyncReport()

    /// Spent waiting for news, which is no part of how long a sync takes.
    private(set) var waitedMilliseconds: Int64 = 0

    private var session: SyncSession
    private var identity: ReplicaIdentity?
    private var page: PullPage?
    private var mayWait = true
    /// The last push brought no good answer: what is fetched then tells whether the server answers at all, and waits for no news.
    private var hasFailedToPush = false
    private var unknown = (sets: 0, rejected: 0)
    /// Sets that this sync took out and whose markers no checkpoint covers yet.
    private var unsettledMarkers = 0

    init(
        file: OpenFile, transport: any SyncTransport, options: SyncOptions, state: Broadcast<SyncState>, longPoll: LongPollInterruption
    ) {
        self.file = file
        self.transport = transport
        self.options = options
        self.state = state
        self.longPoll = longPoll
        session = SyncSession(pushes: options.pushes)
    }

    mutating func begin() async throws {
        let rebuilds = options.rebuilds
        identity = try await file.write { store in
            let identity = try Metadata(connection: store.connection).requireIdentity("sync")
            try store.sealIfCaptured()
            try store.reofferDeferred()
            try store.reofferUnconfirmed()
            if rebuilds { try store.prepareRebuild(.requested) }
            return identity
        }
    }

    mutating func run() async throws {
        var instruction = session.handle(.started(try await progress()))
        while true {
            switch instruction {
            case .push(let maximumSets): instruction = session.handle(try await push(maximumSets))
            case .pull: instruction = session.handle(try await pull())
            case .stage:
                try await stage()
                instruction = session.handle(.staged)
            case .apply:
                let applied = try await apply()
                instruction = session.handle(.applied(forkedAt: applied?.forkedAt, hasForgotten: applied?.forgotten ?? 0 > 0))
            case .fork(let counter): instruction = session.handle(try await fork(at: counter))
            case .prepareRebuild(let reason):
                try await file.write { try $0.prepareRebuild(reason) }
                instruction = session.handle(.rebuildPrepared)
            case .reoffer(let counter):
                try await file.write { store in
                    try store.connection.immediateTransaction {
                        try store.reoffer(from: counter)
                        try store.fillGap(from: counter)
                    }
                }
                instruction = session.handle(.reoffered)
            case .withdrawFirst:
                if let problem = try await file.write({ try $0.withdrawFirst() }) {
                    report.withdrawn += 1
                    unsettledMarkers += 1
                    report.newProblems.append(try await file.write { try $0.requireProblem(problem) })
                    instruction = session.handle(.withdrawn)
                } else {
                    instruction = session.handle(.nothingToWithdraw)
                }
            case .wait(let attempt):
                let delay = Backoff.withinSync.delay(attempt: attempt, random: file.environment.random())
                state.send(.waiting(milliseconds: delay, reason: session.pushFailure.map(String.init(describing:)) ?? ""))
                try await file.environment.sleep(delay)
                instruction = session.handle(.waited)
            case .finish:
                report.pushFailure = session.unresolvedPushFailure?.replicaError(operation: "push")
                report.newProblems += try await file.write { try $0.takeUntoldRefusals() }
                await fetchActivity()
                return
            case .stop(let failure):
                throw failure.replicaError(operation: "sync")
            }
        }
    }

    // MARK: Push

    private struct Offer: Sendable {
        var author: Identifier?
        var sets: [OfferedSet]
        var bytes: [UInt8]
        var token: String
    }

    private static func offer(_ batch: PendingBatch, _ store: Store) throws -> Offer {
        let meta = Metadata(connection: store.connection)
        let identity = try meta.requireIdentity("push")
        // Clocks of a lost history are capped by the newest checkpoint that the server still recognises.
        let epoch = try meta.checkpoint()?.position.epoch ?? 0
        let isOlder = try store.connection.scalarInteger(
            "SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE sealed IS NOT NULL AND feed_position > 0 AND feed_epoch < ?1)",
            [.integer(epoch)])
        let request = PushRequest(
            schemaVersion: store.schema.version, cursor: try meta.text(.cursor),
            recognised: isOlder == 1 ? try store.checkpointMarks() : [], isHealing: try store.isHealing(),
            identity: try batch.author.flatMap { try meta.formerIdentities()[$0] }, numbers: try HeldNumbers.reported(in: meta),
            sets: batch.sets)
        return Offer(
            author: batch.author, sets: batch.sets, bytes: request.bytes(replica: batch.author ?? identity.replica), token: identity.token)
    }

    private mutating func push(_ maximumSets: Int) async throws -> SyncSession.Event {
        let offer = try await file.write { store -> Offer? in
            try store.sealIfCaptured()
            let batch = maximumSets == 0 ? PendingBatch() : try store.nextBatch(maximumSets: maximumSets)
            let hasReport = try Metadata(connection: store.connection).text(.numbers) != nil
            if batch.sets.isEmpty, maximumSets > 0, !hasReport { return nil }
            let offer = try Self.offer(batch, store)
            // From here on something may be known under the id of this file.
            if batch.author == nil, !batch.sets.isEmpty { try Metadata(connection: store.connection).set(.unoffered, nil) }
            return offer
        }
        guard let offer else { return .pushed(0) }
        state.send(.pushing(pendingSets: offer.sets.count))
        do {
            try Task.checkCancellation()
            report.bytesSent += offer.bytes.count
            let bytes = try await transport.push(offer.bytes, token: offer.token)
            report.bytesReceived += bytes.count
            let reply: PushReply
            do { reply = try PushReply(parsing: bytes) } catch { throw TransportFailure.malformed(String(describing: error)) }
            let offered = Set(offer.sets.map(\.counter))
            guard Set(reply.outcomes.map(\.counter)).isSuperset(of: offered) else {
                throw TransportFailure.malformed("not every set was answered")
            }
            for (_, outcome) in reply.outcomes where (try? JSONValue(parsing: outcome)).flatMap(Outcome.init(json:)) == nil {
                throw TransportFailure.malformed("an outcome has no known status")
            }
            report.deferred += try await file.write { store in
                try store.connection.immediateTransaction {
                    try store.step(.recordOutcomes)
                    let deferred = try store.recordOutcomes(reply.outcomes.filter { offered.contains($0.counter) })
                    try store.learn(serverMilliseconds: reply.serverMilliseconds)
                    try Metadata(connection: store.connection).set(.numbers, nil)
                    return deferred
                }
            }
            report.pushed += offer.sets.count
            // Who has something to report does not wait for news: what was pushed may be none (a marker, a set that changed nothing).
            (mayWait, hasFailedToPush) = (false, false)
            return .pushed(offer.sets.count)
        } catch let failure as TransportFailure {
            hasFailedToPush = true
            if let author = offer.author, case .reply(let reply, _) = failure, try await settleCourier(reply, of: author) {
                return .pushed(offer.sets.count)
            }
            return .pushFailed(failure, sets: offer.sets.count)
        } catch is CancellationError {
            return .pushFailed(.cancelled, sets: offer.sets.count)
        }
    }

    /// Whether a refusal of what another replica has sealed is dealt with: then the next sets go out.
    private mutating func settleCourier(_ reply: ErrorReply, of author: Identifier) async throws -> Bool {
        let (isSettled, problems) = try await file.write { store in
            try store.connection.immediateTransaction {
                let newest = try store.connection.scalarInteger("SELECT max(id) FROM _tideline_problem") ?? 0
                let isSettled = try store.settleCourier(reply, of: author)
                let ids = try store.connection.query(
                    "SELECT id FROM _tideline_problem WHERE id > ?1 ORDER BY id", [.integer(newest)]
                ) { $0.integer(0) }
                return (isSettled, try ids.map { try store.requireProblem($0) })
            }
        }
        report.newProblems += problems
        return isSettled
    }

    // MARK: Pull

    private func progress() async throws -> PullProgress { try await file.write { try $0.pullProgress() } }

    private mutating func pull() async throws -> SyncSession.Event {
        let progress = try await progress()
        let outcomesAfter = try await file.write { store in
            let known = try store.outcomesKnownUpTo()
            // A restored server may not know any more what it has said.
            return progress.rebuild == nil ? known : min(known, try store.heldStart().map { $0 - 1 } ?? known)
        }
        guard let token = identity?.token else { throw ReplicaError(.notEnrolled, "not enrolled", operation: "sync") }
        let wait =
            mayWait && !hasFailedToPush && progress.hasCheckpoint && progress.stagedPages == 0 && progress.rebuild == nil
            ? options.waitMilliseconds : 0
        let request = PullRequest(
            cursor: progress.cursor, limit: min(max(options.pageLimit, 1), Limits.recordsPerPage), waitMilliseconds: wait > 0 ? wait : nil,
            outcomesAfter: outcomesAfter, versionsAfter: progress.versionsAfter, schemaVersion: file.tables.schema.version)
        state.send(.pulling(records: report.pulledRecords))
        do {
            try Task.checkCancellation()
            let asked = file.environment.wallMilliseconds()
            let bytes = try await fetch(request, token, isLongPoll: wait > 0)
            if wait > 0 { waitedMilliseconds += max(0, file.environment.wallMilliseconds() - asked) }
            report.bytesReceived += bytes.count
            let page: PullPage
            do { page = try PullPage(parsing: bytes) } catch { throw TransportFailure.malformed(String(describing: error)) }
            // An answer that was meant for an earlier request must not turn time back.
            if progress.rebuild == nil, let new = page.checkpoint?.mark.position, let old = progress.checkpoint, new < old {
                throw TransportFailure.malformed("the page ends at \(new.position), before the checkpoint \(old.position)")
            }
            if !page.hasMore, let restored = try await restoreBehindRebuild(progress, page, token) { return .pullFailed(restored) }
            mayWait = false
            report.pages += 1
            self.page = page
            return .received(page)
        } catch let failure as TransportFailure {
            return .pullFailed(failure)
        } catch is CancellationError {
            return .pullFailed(.cancelled)
        }
    }

    /// A pull from nothing tells the server nothing of this replica's past, so a restore would go unnoticed, and clocks of lost
    /// history would claim to know new history. So the last cursor is shown before what was pulled replaces anything: at the end,
    /// because pages may be days apart. Only a later epoch than one's own needs no proof: a rebuild for a new epoch may be interrupted
    /// and meet a server that was restored once more, to before that epoch. Returns the refusal that tells of a restore.
    private func restoreBehindRebuild(_ progress: PullProgress, _ page: PullPage, _ token: String) async throws -> TransportFailure? {
        guard progress.rebuild != nil, let reached = page.checkpoint?.mark.position.epoch else { return nil }
        // Before the end of a first sync the file claims to know nothing, and what was answered goes out again by itself. The place where
        // that sync was interrupted may be in a history that is known to be lost: it proves nothing new, for ever.
        guard let checkpoint = progress.checkpoint, reached <= checkpoint.epoch else { return nil }
        guard let cursor = try await file.read({ try Metadata(connection: $0.connection).text(.cursor) }) else { return nil }
        let request = PullRequest(
            cursor: cursor, limit: 1, outcomesAfter: try await file.write { try $0.outcomesKnownUpTo() },
            schemaVersion: file.tables.schema.version)
        do {
            _ = try await transport.pull(request, token: token)
        } catch TransportFailure.reply(let reply, let status) {
            if reply.knownCode == .resyncRequired || reply.knownCode == .invalidCursor { return nil }
            return .reply(reply, status: status)
        }
        return nil
    }

    private func fetch(_ request: PullRequest, _ token: String, isLongPoll: Bool) async throws -> [UInt8] {
        guard isLongPoll else { return try await transport.pull(request, token: token) }
        let task = Task { [transport] in try await transport.pull(request, token: token) }
        longPoll.during(task)
        defer { longPoll.during(nil) }
        return try await withTaskCancellationHandler {
            // An edit may have been made between the push and this line: it must not wait for the poll.
            let isWorkWaiting = try await file.write { [pushes = options.pushes] store in
                try store.sealIfCaptured()
                return try pushes && store.unansweredCount() > 0
            }
            if isWorkWaiting { task.cancel() }
            return try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    private mutating func stage() async throws {
        guard let page else { return }
        let versionsAfter = try await progress().versionsAfter
        try await file.write { try $0.stage(page, versionsAfter: versionsAfter) }
    }

    private mutating func apply() async throws -> Applied? {
        guard let page else { return nil }
        self.page = nil
        state.send(.applying)
        let isRebuilding = session.isRebuilding
        let applied = try await file.write { store -> (Applied, [Problem]) in
            let progress = try store.pullProgress()
            let applied = try store.apply(
                page, afterStaged: progress.stagedPages > 0, rebuilding: isRebuilding, versionsAfter: progress.versionsAfter ?? 0)
            return (applied, try applied.problems.map { try store.requireProblem($0) })
        }
        report.add(applied.0)
        // A set that this sync took out was counted then; the markers of edits that were refused here are counted now.
        report.withdrawn += max(0, applied.0.withdrawn - unsettledMarkers)
        unsettledMarkers = max(0, unsettledMarkers - applied.0.withdrawn)
        report.newProblems += applied.1
        if isRebuilding { report.isResync = true }
        if applied.0.forkedAt != nil { unknown = (applied.0.unknownSets, applied.0.unknownRejected) }
        return applied.0
    }

    // MARK: Timeline

    /// Brings the copy of the timeline up to the checkpoint. It is told after the data, and its failing fails nothing: the next
    /// sync goes on where this one stopped.
    private mutating func fetchActivity() async {
        guard options.activityEntries > 0, !Task.isCancelled, let token = identity?.token else { return }
        let count = options.activityEntries
        do {
            let now = try await file.read { try Metadata(connection: $0.connection).clock().serverTime($0.environment.wallMilliseconds()) }
            let since = now - Int64(options.activityDays) * 86_400_000
            while true {
                let next = try await file.read { store -> (next: Int64?, isDue: Bool, cursor: String?) in
                    let meta = Metadata(connection: store.connection)
                    let next = try meta.integer(.activityNext)
                    let isDue = try meta.checkpoint().map { next ?? -1 < $0.position.position } ?? false
                    return (next, isDue, try meta.text(.cursor))
                }
                guard next.isDue else { return }
                let request = ActivityRequest(
                    after: next.next, newest: next.next == nil ? Int64(count) : nil,
                    sinceMilliseconds: next.next == nil ? max(0, since) : nil,
                    limit: ActivityRequest.entriesMax, cursor: next.cursor)
                let page = try ActivityPage(parsing: try await transport.get("activity", request.query, token: token))
                guard page.next > next.next ?? -1 else { return }
                try await file.write { store in
                    try store.connection.immediateTransaction {
                        try store.insertActivity(page.entries)
                        try store.settleLeft(page.entries)
                        try Metadata(connection: store.connection).set(.activityNext, page.next)
                        if !page.hasMore { try store.pruneActivity(keeping: count, sinceMilliseconds: since) }
                    }
                }
            }
        } catch {
            report.activityFailure = ReplicaError.translated(error, operation: "activity")
        }
    }

    // MARK: Fork

    /// Sets below the counter are shared and have their outcomes; the others, and all to come, are a new replica's.
    private mutating func fork(at first: Int64) async throws -> SyncSession.Event {
        var counter = first
        do {
            // 1. What both copies share was answered long ago: fetch those answers while the id is still this one.
            while let shared = try await sharedOffer(below: counter) {
                let bytes: [UInt8]
                do { bytes = try await transport.push(shared.bytes, token: shared.token) } catch TransportFailure.reply(
                    let reply, let status)
                {
                    // A pull tells of the other copy only what it still has outcomes for: the copies may part earlier.
                    guard reply.knownCode == .fork, let earlier = reply.details["counter"]?.integerValue, earlier < counter else {
                        throw TransportFailure.reply(reply, status: status)
                    }
                    counter = earlier
                    continue
                }
                let reply: PushReply
                do { reply = try PushReply(parsing: bytes) } catch { throw TransportFailure.malformed(String(describing: error)) }
                guard Set(reply.outcomes.map(\.counter)).isSuperset(of: shared.sets.map(\.counter)) else {
                    throw TransportFailure.malformed("not every set was answered")
                }
                try await file.write { store in
                    _ = try store.connection.immediateTransaction { try store.recordOutcomes(reply.outcomes) }
                }
            }
            // 2. A replica id of its own.
            let identity = try await file.read { try Metadata(connection: $0.connection).requireIdentity("fork") }
            let request = ForkRequest(
                counter: counter - 1, label: String("copy on \(ProcessInfo.processInfo.hostName)".prefix(80)), platform: Replica.platform,
                schemaVersion: file.tables.schema.version, first: try await file.write { [counter] in try $0.firstToMove(from: counter) })
            let reply = try await transport.fork(request, token: identity.token)
            // 3. Move.
            let moved = try await file.write { [counter] in try $0.fork(to: reply, at: counter) }
            self.identity = try await file.read { try Metadata(connection: $0.connection).requireIdentity("fork") }
            report.fork = ForkReport(
                movedSets: moved, unknownSets: unknown.sets, unknownRejected: unknown.rejected, replica: reply.replica)
            return .forked
        } catch let failure as TransportFailure {
            return .forkFailed(failure)
        } catch is CancellationError {
            return .forkFailed(.cancelled)
        }
    }

    private func sharedOffer(below counter: Int64) async throws -> Offer? {
        try await file.write { store -> Offer? in
            var batch = try store.nextBatch(maximumSets: Limits.setsPerPush)
            batch.sets = batch.sets.filter { $0.counter < counter }
            return batch.sets.isEmpty ? nil : try Self.offer(batch, store)
        }
    }
}
