// Devices heal the server: after a restore from a backup, sets that a checkpoint had covered and the server no longer has go
// from the journal back to pending, as they were sealed (protocol §7.4).

import SyncProtocol

extension Store {
    /// Makes everything that this file holds and the server no longer has pending again, and says of every set from before the
    /// restore what its author had seen of others. Runs in the transaction that applies the first checkpoint of the new epoch,
    /// before the copy of the lost timeline is forgotten.
    func heal(_ checkpoint: Checkpoint, _ outcomes: [ToldOutcome], _ applied: inout Applied) throws {
        try step(.heal)
        // 1. Counters that the server knows with other content, or has passed over: another copy of this file went on after the
        // restore. What was confirmed here lives on under an id of its own.
        if let parted = try journalParts(from: outcomes, checkpoint) { applied.forkedAt = min(applied.forkedAt ?? parted, parted) }
        let acknowledged = min(checkpoint.acknowledged, applied.forkedAt.map { $0 - 1 } ?? .max)
        // 2. From the newest counter down, without gaps: sets, and markers for those that a person has to see to. What lies below a
        // counter that this file has forgotten could not be offered in order.
        var counter = try Metadata(connection: connection).integer(.counter) ?? 0
        while counter > acknowledged {
            if try !isPending(counter) {
                guard let sets = try offerFromJournal(counter) ?? offerMarker(counter) else { break }
                applied.healing += sets
            }
            counter -= 1
        }
        // Sets that waited in the backup, and had been decided since.
        for counter in checkpoint.waiting where try !isPending(counter) {
            applied.healing += try offerFromJournal(counter) ?? 0
        }
        // What was answered under the id of another copy, and lost before a checkpoint covered it, is that one's to bring back.
        let own = try Metadata(connection: connection).requireIdentity("sync").replica
        for row in try pendingRows() {
            if let sealed = row.sealed, let set = try? ChangeSet(sealed: sealed), set.dot.replica != own {
                applied.problems.append(contentsOf: try leaveToOtherCopy(row))
            }
        }
        // 3. What each of them had seen. Positions of the lost history mean nothing any more; its sets do.
        for row in try pendingRows() where row.counter > acknowledged || checkpoint.waiting.contains(row.counter) {
            guard let sealed = row.sealed, let set = try? ChangeSet(sealed: sealed) else { continue }
            let seen = try seenSets(by: set)
            try connection.execute(
                "UPDATE _tideline_pending SET seen = ?2, deferred = ?3 WHERE counter = ?1",
                [
                    .integer(row.counter), .text(JSONValue.array(seen.map(\.json)).canonicalText),
                    .integer(row.counter > acknowledged ? 0 : 1),
                ])
        }
        try forgetActivity()
    }

    /// The first counter that this file confirmed and the server now knows otherwise. Every outcome behind the oldest of the
    /// journal was told (``journalStart()``).
    private func journalParts(from outcomes: [ToldOutcome], _ checkpoint: Checkpoint) throws -> Int64? {
        let told = Dictionary(outcomes.map { ($0.counter, $0.hash) }) { first, _ in first }
        let own = try Metadata(connection: connection).identity()?.replica
        let rows = try connection.query(
            "SELECT counter, hash FROM _tideline_journal WHERE counter <= ?1 AND sealed IS NOT NULL ORDER BY counter",
            [.integer(checkpoint.acknowledged)]
        ) { (counter: $0.integer(0), hash: $0.text(1)) }
        return try rows.first { row in
            guard told[row.counter] != row.hash, !checkpoint.waiting.contains(row.counter) else { return false }
            return try author(ofJournalled: row.counter) == own
        }?.counter
    }

    /// What this file shares with another copy was made under that one's id, and is that one's to bring back.
    private func author(ofJournalled counter: Int64) throws -> Identifier? {
        try connection.first("SELECT sealed FROM _tideline_journal WHERE counter = ?1", [.integer(counter)]) {
            try ChangeSet(sealed: $0.blob(0)).dot.replica
        }
    }

    /// The oldest counter that could be offered again.
    func journalStart() throws -> Int64? { try connection.scalarInteger("SELECT min(counter) FROM _tideline_journal") }

    /// The server misses counters that nothing pending stands for: it was restored, to a backup as far as this file's checkpoint (sets
    /// that change nothing leave no entry), or another copy of this file has pushed in the new epoch, so that none may be passed over.
    func fillGap(from counter: Int64) throws {
        let last = try connection.scalarInteger("SELECT max(counter) FROM _tideline_pending") ?? 0
        // Only a restore takes answered sets from the server; what this file knows nothing of is not papered over without one.
        let mayBeUnknown = try Metadata(connection: connection).checkpoint()?.position.epoch ?? 0 > 0
        for spent in counter..<max(last, counter) where try !isPending(spent) {
            if try offerFromJournal(spent) ?? offerMarker(spent) != nil { continue }
            guard mayBeUnknown else { return }
            try insertAgain(
                spent, hash: ChangeSet.hash(ofSealed: []), sealed: nil, sealedAt: environment.wallMilliseconds(), summary: "",
                feed: .start, undo: nil, undoes: nil)
        }
    }

    /// A set that only the other copy can still send becomes a problem here, until that one has brought it.
    @discardableResult
    func leaveToOtherCopy(_ row: PendingRow) throws -> [Int64] {
        try connection.execute("DELETE FROM _tideline_pending WHERE counter = ?1", [.integer(row.counter)])
        guard let sealed = row.sealed else { return [] }
        return [try insertProblem(row, sealed: sealed, [Self.leftToOtherCopy], .withdrawn)]
    }

    /// What a copy of this file left to the other one, which has brought it now.
    func settleLeft(_ entries: [ActivityEntry]) throws {
        let others = try Metadata(connection: connection).sharedLanes()
        guard !others.isEmpty else { return }
        for case let dot? in entries.map(\.dot) where others[dot.replica] != nil {
            let problems = try connection.query(
                "SELECT id, sealed FROM _tideline_problem WHERE counter = ?1 AND status = 'withdrawn' AND resolved_at IS NULL",
                [.integer(dot.counter)]
            ) { (id: $0.integer(0), dot: try ChangeSet(sealed: $0.blob(1)).dot) }
            for problem in problems where problem.dot == dot { try resolve(try requireProblem(problem.id), "answered") }
        }
    }

    /// Whether sets from before a restore are still on their way.
    func isHealing() throws -> Bool {
        try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE seen IS NOT NULL)") == 1
    }

    private func isPending(_ counter: Int64) throws -> Bool {
        try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE counter = ?1)", [.integer(counter)]) == 1
    }

    /// Returns how many sets that makes, 0 for a marker; nil when the journal has nothing under this counter.
    private func offerFromJournal(_ counter: Int64) throws -> Int? {
        let found = try connection.first(
            "SELECT hash, sealed, sealed_at, summary, undo, undoes FROM _tideline_journal WHERE counter = ?1", [.integer(counter)]
        ) {
            (
                hash: $0.text(0), sealed: $0.optionalBlob(1), sealedAt: $0.integer(2), summary: $0.text(3), undo: $0.optionalText(4),
                undoes: $0.optionalInteger(5)
            )
        }
        guard let found else { return nil }
        let set = try found.sealed.map { try ChangeSet(sealed: $0) }
        if let set, try set.dot.replica != Metadata(connection: connection).identity()?.replica { return nil }
        let feed = set?.clock.feed ?? .start
        try insertAgain(
            counter, hash: found.hash, sealed: found.sealed, sealedAt: found.sealedAt, summary: found.summary, feed: feed,
            undo: found.undo, undoes: found.undoes)
        try connection.execute("DELETE FROM _tideline_journal WHERE counter = ?1", [.integer(counter)])
        return found.sealed == nil ? 0 : 1
    }

    /// In place of a set that was rejected or taken out: its counter is spent.
    private func offerMarker(_ counter: Int64) throws -> Int? {
        let found = try connection.first(
            "SELECT hash, summary, created_at FROM _tideline_problem WHERE counter = ?1 ORDER BY id DESC LIMIT 1", [.integer(counter)]
        ) { (hash: $0.text(0), summary: $0.text(1), createdAt: $0.integer(2)) }
        guard let found else { return nil }
        try insertAgain(
            counter, hash: found.hash, sealed: nil, sealedAt: found.createdAt, summary: found.summary, feed: .start, undo: nil, undoes: nil)
        return 0
    }

    private func insertAgain(
        _ counter: Int64, hash: String, sealed: [UInt8]?, sealedAt: Int64, summary: String, feed: FeedPosition, undo: String?,
        undoes: Int64?
    ) throws {
        try connection.execute(
            """
            INSERT INTO _tideline_pending (counter, hash, sealed, sealed_at, summary, state, feed_epoch, feed_position, undo, undoes) \
            VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?8, ?9)
            """,
            [
                .integer(counter), .text(hash), SQLiteValue(sealed), .integer(sealedAt), .text(summary), .integer(feed.epoch),
                .integer(feed.position), SQLiteValue(undo), SQLiteValue(undoes),
            ])
    }

    /// Sets of others on the records that a set names, up to its author's checkpoint, as the copy of the timeline tells; newest first.
    private func seenSets(by set: ChangeSet) throws -> [SeenSet] {
        var found: [Int64: SeenSet] = [:]
        for id in set.changes.reduce(into: Set<Identifier>(), { $0.formUnion($1.namedIdentifiers) }) {
            let entries = try connection.query(
                """
                SELECT position, entry FROM _tideline_activity WHERE record = ?1 AND position <= ?2 \
                ORDER BY position DESC LIMIT \(SeenSet.maximumCount)
                """, [.text(id.text), .integer(set.clock.feed.position)]
            ) { ($0.integer(0), try ActivityEntry(json: try JSONValue(parsing: $0.text(1)))) }
            for (position, entry) in entries {
                guard let dot = entry.dot, dot.replica != set.dot.replica, entry.kind != "sync.rejected" else { continue }
                found[position] = SeenSet(dot: dot, milliseconds: entry.operationMilliseconds)
            }
        }
        var dots: Set<Dot> = []
        return Array(
            found.sorted { $0.key > $1.key }.map(\.value).filter { dots.insert($0.dot).inserted }.prefix(SeenSet.maximumCount))
    }
}

extension PendingRow {
    /// Of its own entries, when the answer tells.
    func lastPosition() throws -> Int64? {
        guard let outcome else { return nil }
        return Outcome(json: try JSONValue(parsing: outcome))?.positions?.upperBound
    }
}
