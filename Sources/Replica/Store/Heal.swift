// Devices heal the server: after a restore from a backup, sets that a checkpoint had covered and the server no longer has go
// from the journal back to pending, as they were sealed (protocol §7.4). Sets that others have sealed are in Couriers.swift, counters
// that the server asks for in CounterGaps.swift.

import SyncProtocol

extension Store {
    /// Makes everything that this file holds and the server no longer has pending again, and says of every set from before the
    /// restore what its author had seen of others. Runs in the transaction that applies the first checkpoint of the new epoch,
    /// before the copy of the lost timeline is forgotten.
    func heal(
        _ checkpoint: Checkpoint, _ outcomes: [ToldOutcome], _ numbers: HeldNumbers, _ applied: inout Applied
    ) throws {
        try step(.heal)
        // 1. Counters that the server knows with other content, or has passed over: another copy of this file went on after the
        // restore. What was confirmed here lives on under an id of its own.
        if let parted = try journalParts(from: outcomes, checkpoint, &applied) {
            applied.forkedAt = min(applied.forkedAt ?? parted, parted)
        }
        let acknowledged = min(checkpoint.acknowledged, applied.forkedAt.map { $0 - 1 } ?? .max)
        try tellOfRefusals(outcomes.filter { $0.counter <= acknowledged }, &applied)
        // 2. From the newest counter down, without gaps: sets, and markers for those that a person has to see to. What lies below a
        // counter that this file has forgotten could not be offered in order.
        let meta = Metadata(connection: connection)
        let own = try meta.requireIdentity("sync").replica
        var held = HeldSets(self)
        var counter = try meta.integer(.counter) ?? 0
        while counter > acknowledged, let sets = try offerAgain(counter, held.at(counter), own: own) {
            applied.healing += sets
            counter -= 1
        }
        // Sets that waited in the backup, and had been decided since.
        for counter in checkpoint.waiting where counter <= acknowledged {
            applied.healing += try offerAgain(counter, held.at(counter), own: own) ?? 0
            // A marker for what a person was given to see to since waits there as well, far below what comes next.
            try connection.execute(
                "UPDATE _tideline_pending SET deferred = 1 WHERE counter = ?1 AND author IS NULL AND sealed IS NULL", [.integer(counter)])
        }
        applied.healing += try offerForOthers(&applied)
        // 3. What each of them had seen. Positions of the lost history mean nothing any more; its sets do.
        for row in try pendingRows()
        where row.counter > acknowledged || row.author != nil || checkpoint.waiting.contains(row.counter) {
            guard let sealed = row.sealed, let set = try? ChangeSet(sealed: sealed) else { continue }
            let seen = try seenSets(by: set)
            let isDeferred = row.author != nil ? row.isDeferred : row.counter <= acknowledged
            try connection.execute(
                "UPDATE _tideline_pending SET seen = ?2, deferred = ?3, numbers = coalesce(?4, numbers) WHERE counter = ?1",
                [
                    .integer(row.counter), .text(JSONValue.array(seen.map(\.json)).canonicalText), .integer(isDeferred ? 1 : 0),
                    SQLiteValue(numbers.given(by: set)),
                ])
        }
        try forgetActivity()
    }

    /// The newest counter whose set the server has just as this file has it, 0 for none: up to there all copies of the file have one
    /// past. What the server lacks of that was passed over by a copy that had forgotten it. It is nobody's any more and may be in
    /// further copies, so nobody seals it anew by themselves.
    func lastInCommon(_ outcomes: [ToldOutcome]) throws -> Int64 {
        for told in outcomes.sorted(by: { $0.counter > $1.counter }) {
            let isHeld = try connection.scalarInteger(
                """
                SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE counter = ?1 AND hash = ?2 AND sealed IS NOT NULL AND author IS NULL) \
                OR EXISTS (SELECT 1 FROM _tideline_journal WHERE counter = ?1 AND hash = ?2 AND sealed IS NOT NULL)
                """, [.integer(told.counter), .text(told.hash)])
            if isHeld == 1 { return told.counter }
        }
        return 0
    }

    /// The first counter that this file confirmed and the server now knows otherwise. Every outcome behind the oldest that is
    /// held was told (``heldStart()``). What this file shares with another copy was made under that one's id, and is not told.
    /// What was only passed over becomes a problem.
    private func journalParts(from outcomes: [ToldOutcome], _ checkpoint: Checkpoint, _ applied: inout Applied) throws -> Int64? {
        let common = try lastInCommon(outcomes)
        let told = Dictionary(outcomes.map { ($0.counter, $0.hash) }) { first, _ in first }
        let own = try Metadata(connection: connection).identity()?.replica
        var parted: Int64?
        var passedOver: [Int64] = []
        try connection.forEach(
            "SELECT counter, hash, sealed FROM _tideline_journal WHERE counter <= ?1 AND sealed IS NOT NULL ORDER BY counter",
            [.integer(checkpoint.acknowledged)]
        ) { row in
            let counter = row.integer(0)
            guard parted == nil, told[counter] != row.text(1), !checkpoint.waiting.contains(counter) else { return }
            guard try ChangeSet(sealed: row.blob(2)).dot.replica == own else { return }
            if counter < common { passedOver.append(counter) } else { parted = counter }
        }
        var held = HeldSets(self)
        for counter in passedOver {
            guard let own, try offerAgain(counter, held.at(counter), own: own) != nil else { continue }
            for row in try pendingRows(after: counter - 1) where row.counter == counter {
                applied.problems += try leaveToOtherCopy(row, Self.passedOverByOtherCopy)
            }
        }
        return parted
    }

    /// What the lost history had accepted and this one has refused when it came back is a problem. It came back by this file before it was
    /// put back from an older copy of itself, or by another copy: who was told of the refusal is gone, or is not here.
    private func tellOfRefusals(_ outcomes: [ToldOutcome], _ applied: inout Applied) throws {
        for told in outcomes {
            guard let outcome = Outcome(json: try JSONValue(parsing: told.outcome)),
                outcome.status == .rejected || outcome.status == .withdrawn
            else { continue }
            let row = try connection.first(
                "SELECT hash, sealed, sealed_at, summary, undo, undoes FROM _tideline_journal WHERE counter = ?1 AND sealed IS NOT NULL",
                [.integer(told.counter)]
            ) {
                PendingRow(
                    counter: told.counter, hash: $0.text(0), sealed: $0.blob(1), sealedAt: $0.integer(2), summary: $0.text(3),
                    isAnswered: true, feed: .start, undo: $0.optionalText(4), undoes: $0.optionalInteger(5))
            }
            guard let row, row.hash == told.hash, let sealed = row.sealed else { continue }
            let isRejected = outcome.status == .rejected
            applied.problems.append(
                try insertProblem(
                    row, sealed: sealed, isRejected ? outcome.violations : [Self.withdrawal], isRejected ? .rejected : .withdrawn))
            try connection.execute("DELETE FROM _tideline_journal WHERE counter = ?1", [.integer(told.counter)])
        }
    }

    /// The oldest counter that could be offered again: what was confirmed, and what was answered and no checkpoint has covered yet.
    func heldStart() throws -> Int64? {
        try connection.scalarInteger(
            """
            SELECT min(counter) FROM (SELECT min(counter) AS counter FROM _tideline_journal \
            UNION ALL SELECT min(counter) FROM _tideline_pending WHERE author IS NULL)
            """)
    }

    /// Whether sets from before a restore are still on their way.
    func isHealing() throws -> Bool {
        try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE seen IS NOT NULL)") == 1
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
