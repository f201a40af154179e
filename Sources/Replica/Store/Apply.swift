// Merge in: one transaction takes pages of server state, settles the sets they cover, and shows the result.
// A reader sees the file before all of it or after all of it.

import SyncProtocol

/// What applying did.
struct Applied: Sendable {
    var records = 0
    var evicted = 0
    var accepted = 0
    var noop = 0
    var rejected = 0
    var superseded = 0
    var withdrawn = 0
    var predictedRejections = 0
    /// Ids of problems that arose.
    var problems: [Int64] = []
    /// The first counter that another copy of this file used for something else.
    var forkedAt: Int64?
    /// Sets that another copy has sent and this one never had.
    var unknownSets = 0
    /// Those of them that were rejected.
    var unknownRejected = 0
    /// Sets that the server had answered and does not have any more: they go out again.
    var forgotten = 0
    /// Sets that a checkpoint had covered before the server was restored, and that go out again.
    var healing = 0
}

extension Store {
    static let journalDays: Int64 = 7
    static let checkpointMarksMax = 16

    /// Applies staged pages, if any, and `page`. With `rebuilding`, confirmed state is replaced by what the pages hold.
    func apply(_ page: PullPage, afterStaged usesStage: Bool, rebuilding: Bool, versionsAfter: Int64) throws -> Applied {
        // 1. Edits made before this moment know nothing of what arrives now.
        try sealedTransaction {
            let meta = Metadata(connection: connection)
            var applied = Applied()
            // 2. A rebuild begins from nothing; pending sets stay. What records were called is told to a restored server.
            var numbers = HeldNumbers()
            if rebuilding {
                if let mark = page.checkpoint?.mark, let last = try meta.checkpoint(), last.position.epoch < mark.position.epoch {
                    numbers = try HeldNumbers(self)
                    try numbers.report(in: meta)
                }
                try step(.applyForget)
                try forgetConfirmed()
            }
            // 3. Rows.
            try step(.applyRows)
            var rows = try PageRows(store: self, versionsAfter: versionsAfter)
            if usesStage {
                for number in try stagedPages() {
                    guard let bytes = try stagedPage(number) else { continue }
                    try rows.apply(try PullPage(parsing: bytes))
                }
            }
            try rows.apply(page)
            applied.records = rows.records
            applied.evicted = rows.evicted
            // 4. Sets the checkpoint covers leave pending.
            if let checkpoint = page.checkpoint {
                try step(.applyOutcomes)
                try settle(page.outcomes, checkpoint, at: page.serverMilliseconds, &applied)
                if let last = try meta.checkpoint()?.position, last.epoch < checkpoint.mark.position.epoch {
                    try heal(checkpoint, page.outcomes, numbers, &applied)
                }
                // The role may be another one, which may not read what the copy of the timeline tells: it is fetched anew as well.
                // Whatever it is for: a rebuild that was asked for has no cursor to tell it of a change of role.
                if rebuilding { try forgetActivity() }
                // What another copy of this file was answered says nothing about sets made here: they stay in the view, and so do those
                // that the server acknowledges without an answer, because a copy has skipped their counters.
                let unanswered = try firstUnanswered(upTo: checkpoint.acknowledged)
                let first = min(applied.forkedAt ?? .max, unanswered ?? .max)
                try meta.set(.acknowledged, first == .max ? checkpoint.acknowledged : min(checkpoint.acknowledged, first - 1))
                // 5. The rest is replayed on what is confirmed now.
                applied.predictedRejections = try replay()
            }
            // 6. How far this replica is now.
            try step(.applyCheckpoint)
            try meta.set(.cursor, page.next)
            var clock = try meta.clock()
            if let checkpoint = page.checkpoint {
                try remember(checkpoint.mark)
                clock.receive(checkpoint.timestamp)
                try meta.set(.syncedAt, environment.wallMilliseconds())
            }
            clock.learn(serverMilliseconds: page.serverMilliseconds, wallMilliseconds: environment.wallMilliseconds())
            try meta.set(clock)
            // 7. What is not needed any more.
            try step(.applyCleanup)
            if usesStage || rebuilding { try clearStage() }
            if page.checkpoint != nil {
                try pruneJournal(at: page.serverMilliseconds)
                try pruneSettledProblems(at: page.serverMilliseconds)
            }
            return applied
        }
    }

    /// Drops confirmed records. Those with pending sets keep their base row, without an image until the pages bring one.
    private func forgetConfirmed() throws {
        for table in tables.all { try connection.execute(table.deleteAll) }
        try connection.execute("DELETE FROM _tideline_unknown")
        try connection.execute("DELETE FROM _tideline_version")
        try connection.execute("UPDATE _tideline_base SET image = NULL, evicted = 0")
    }

    /// Sets up to `acknowledged` whose outcome is known leave pending; one whose answer is still unknown is asked for again.
    private func settle(
        _ outcomes: [ToldOutcome], _ checkpoint: Checkpoint, at serverMilliseconds: Int64, _ applied: inout Applied
    ) throws {
        let acknowledged = checkpoint.acknowledged
        var told: [Int64: ToldOutcome] = [:]
        for outcome in outcomes { told[outcome.counter] = outcome }
        // Acknowledged beyond what was ever offered here: this file is a copy, or was restored from one.
        let counter = try Metadata(connection: connection).integer(.counter) ?? 0
        if acknowledged > counter {
            applied.forkedAt = counter + 1
            applied.unknownSets = Int(acknowledged - counter)
            applied.unknownRejected = outcomes.count { told in
                told.counter > counter
                    && (try? JSONValue(parsing: told.outcome)).flatMap(Outcome.init(json:))?.status == .rejected
            }
        }
        // Told to wait in an answer that never came.
        for counter in checkpoint.waiting {
            try connection.execute("UPDATE _tideline_pending SET deferred = 1 WHERE counter = ?1 AND outcome IS NULL", [.integer(counter)])
        }
        let common = try lastInCommon(outcomes)
        for var row in try pendingRows() where row.counter <= acknowledged {
            // Of a set that another replica has sealed a checkpoint says nothing: the counter may be spent in both lanes.
            let answer = row.author == nil ? told[row.counter] : nil
            if row.author == nil, row.counter < common, answer.map({ $0.hash != row.hash }) ?? (row.outcome == nil && !row.isDeferred) {
                applied.problems += try leaveToOtherCopy(row, Self.passedOverByOtherCopy)
                continue
            }
            // An outcome given to another set with this counter is not this one's.
            if let answer, answer.hash != row.hash {
                applied.forkedAt = min(applied.forkedAt ?? row.counter, row.counter)
                continue
            }
            if let forkedAt = applied.forkedAt, row.counter >= forkedAt { continue }
            // What waited, or came by a courier, was decided late; only a checkpoint behind its entries covers it.
            if row.isDeferred || row.author != nil, let last = try row.lastPosition(), last > checkpoint.mark.position.position { continue }
            guard let text = answer.map({ String(decoding: $0.outcome, as: UTF8.self) }) ?? row.outcome else { continue }
            guard let outcome = Outcome(json: try JSONValue(parsing: text)) else {
                throw WireError("outcomes", "the outcome of set \(row.counter) has no status this build knows")
            }
            switch outcome.status {
            case .accepted: applied.accepted += 1
            case .noop: applied.noop += 1
            case .withdrawn: applied.withdrawn += 1
            case .rejected: applied.rejected += 1
            case .deferred: continue
            }
            applied.superseded += outcome.superseded.count
            if row.sealed == nil, outcome.status != .withdrawn { try settleWithdrawn(&row) }
            if outcome.status == .rejected, let sealed = row.sealed {
                applied.problems.append(try insertProblem(row, sealed: sealed, outcome.violations, .rejected))
            } else if outcome.status == .withdrawn, let sealed = row.sealed {
                // Another copy of this file took it out; its problems are not here.
                applied.problems.append(try insertProblem(row, sealed: sealed, [Self.withdrawal], .withdrawn))
            } else {
                // A marker never takes the place of the set it stands for.
                let verb = row.sealed == nil ? "INSERT OR IGNORE" : "INSERT OR REPLACE"
                try connection.execute(
                    """
                    \(verb) INTO _tideline_journal (counter, hash, sealed, sealed_at, summary, outcome, confirmed_at, undo, undoes) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                    """,
                    [
                        .integer(row.counter), .text(row.hash), SQLiteValue(row.sealed), .integer(row.sealedAt), .text(row.summary),
                        .text(text), .integer(serverMilliseconds), SQLiteValue(row.undo),
                        SQLiteValue(row.undoes),
                    ])
            }
            try connection.execute("DELETE FROM _tideline_pending WHERE counter = ?1", [.integer(row.counter)])
        }
        // What a copy has skipped goes along: under the old id nobody will ever be told of it.
        if let forkedAt = applied.forkedAt, let first = try firstUnanswered(upTo: forkedAt - 1) { applied.forkedAt = first }
        // Answers that a checkpoint does not cover come from a history that the server has lost: it was restored from a backup taken
        // between this replica's last checkpoint and the answer, so that the cursor is still good.
        applied.forgotten = Int(
            try connection.scalarInteger(
                "SELECT count(*) FROM _tideline_pending WHERE counter > ?1 AND state = 'answered'", [.integer(acknowledged)]) ?? 0)
        if applied.forgotten > 0 { try reoffer(from: acknowledged + 1) }
    }

    private func firstUnanswered(upTo counter: Int64) throws -> Int64? {
        try connection.scalarInteger(
            """
            SELECT min(counter) FROM _tideline_pending \
            WHERE counter <= ?1 AND outcome IS NULL AND sealed IS NOT NULL AND deferred = 0 AND author IS NULL
            """, [.integer(counter)])
    }

    private func remember(_ mark: CheckpointMark) throws {
        try Metadata(connection: connection).set(.checkpoint, mark.json.canonicalText)
        try connection.execute(
            """
            INSERT INTO _tideline_checkpoint_mark (position, epoch, fingerprint) VALUES (?1, ?2, ?3) \
            ON CONFLICT (position) DO UPDATE SET epoch = excluded.epoch, fingerprint = excluded.fingerprint
            """,
            [.integer(mark.position.position), .integer(mark.position.epoch), .text(mark.fingerprint)])
        try connection.execute(
            """
            DELETE FROM _tideline_checkpoint_mark WHERE position NOT IN \
            (SELECT position FROM _tideline_checkpoint_mark ORDER BY position DESC LIMIT \(Self.checkpointMarksMax))
            """)
    }

    /// By the server's time: a device whose clock jumps would forget in one sync what only it can give back.
    private func pruneJournal(at serverMilliseconds: Int64) throws {
        let horizon = serverMilliseconds - Self.journalDays * 86_400_000
        // From the oldest on and without gaps: after a restore of the server the journal is offered again in counter order. What waits
        // since such a restore comes back to it below what was confirmed meanwhile. Each minimum on its own is found at once, that of both
        // together only by reading the whole journal.
        try connection.execute(
            """
            DELETE FROM _tideline_journal WHERE counter < \
            min(coalesce((SELECT min(counter) FROM _tideline_journal WHERE confirmed_at >= ?1), \(Int64.max)), \
            coalesce((SELECT min(counter) FROM _tideline_pending WHERE author IS NULL), \(Int64.max)))
            """, [.integer(horizon)])
    }
}
