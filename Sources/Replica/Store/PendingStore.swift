// Sealed sets on their way: offered in counter order until answered, kept until a checkpoint covers the answer.

import SyncProtocol

struct PendingRow: Sendable {
    var counter: Int64
    var hash: String
    /// nil: withdrawn, only its marker is still to be offered.
    var sealed: [UInt8]?
    var sealedAt: Int64
    var summary: String
    var isAnswered: Bool
    var outcome: String?
    var predicted: String?
    var feed: FeedPosition
    var undo: String?
    var undoes: Int64?
}

extension Store {
    private static let pendingColumns =
        "counter, hash, sealed, sealed_at, summary, state, outcome, predicted, feed_epoch, feed_position, undo, undoes"

    private func pendingRow(_ row: borrowing SQLiteRow) -> PendingRow {
        PendingRow(
            counter: row.integer(0), hash: row.text(1), sealed: row.optionalBlob(2), sealedAt: row.integer(3), summary: row.text(4),
            isAnswered: row.text(5) == "answered", outcome: row.optionalText(6), predicted: row.optionalText(7),
            feed: FeedPosition(epoch: row.integer(8), position: row.integer(9)), undo: row.optionalText(10), undoes: row.optionalInteger(11)
        )
    }

    func pendingRows(after counter: Int64 = 0) throws -> [PendingRow] {
        try connection.query(
            "SELECT \(Self.pendingColumns) FROM _tideline_pending WHERE counter > ?1 ORDER BY counter", [.integer(counter)]
        ) { pendingRow($0) }
    }

    func hasPending() throws -> Bool { try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_pending)") == 1 }

    func unansweredCount() throws -> Int64 {
        try connection.scalarInteger("SELECT count(*) FROM _tideline_pending WHERE state = 'pending'") ?? 0
    }

    /// - Parameter undo: what the named parts were before, one entry a change; nil when that is not known.
    func insertPending(_ set: ChangeSet, sealed: [UInt8], hash: String, summary: String, undo: JSONValue?, undoes: Int64? = nil) throws {
        try connection.execute(
            """
            INSERT INTO _tideline_pending (counter, hash, sealed, sealed_at, summary, state, feed_epoch, feed_position, undo, undoes) \
            VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?8, ?9)
            """,
            [
                .integer(set.dot.counter), .text(hash), .blob(sealed), .integer(set.timestamp.milliseconds), .text(summary),
                .integer(set.clock.feed.epoch), .integer(set.clock.feed.position), SQLiteValue(undo?.canonicalText),
                SQLiteValue(undoes),
            ])
    }

    /// The next sets to offer, oldest first, within the limits of one push.
    func nextBatch(maximumSets: Int) throws -> [OfferedSet] {
        var batch: [OfferedSet] = []
        var bytes = 1024
        try connection.withStatement(
            "SELECT counter, hash, sealed FROM _tideline_pending WHERE state = 'pending' ORDER BY counter LIMIT ?1"
        ) { statement in
            try statement.bind(1, min(maximumSets, Limits.setsPerPush))
            while try statement.step() {
                let row = statement.row
                let sealed = row.optionalBlob(2)
                bytes += (sealed?.count ?? 64) + 128
                // One set always fits: its own limit is far below that of a push.
                if bytes > Limits.bytesPerPush, !batch.isEmpty { break }
                batch.append(OfferedSet(counter: row.integer(0), hash: row.text(1), sealed: sealed))
            }
            statement.reset()
        }
        return batch
    }

    /// Keeps the answers of a push. The sets stay until a checkpoint covers them.
    func recordOutcomes(_ outcomes: [(counter: Int64, outcome: [UInt8])]) throws {
        for (counter, outcome) in outcomes {
            try connection.execute(
                "UPDATE _tideline_pending SET state = 'answered', outcome = ?2 WHERE counter = ?1",
                [.integer(counter), .text(String(decoding: outcome, as: UTF8.self))])
        }
    }

    /// Makes sets that the server has forgotten go out again.
    func reoffer(from counter: Int64) throws {
        try connection.execute(
            "UPDATE _tideline_pending SET state = 'pending', outcome = NULL WHERE counter >= ?1", [.integer(counter)])
    }

    /// Offers markers for spent counters from this one on that nothing pending stands for: the server has lost their answers. Either
    /// they went down with a history, and another copy of this file has pushed in the new epoch already, so that none may be skipped
    /// any more; or they left nothing in the feed (a marker, a set that changed nothing), so that their loss starts no epoch.
    func offerMarkers(from counter: Int64) throws {
        let first = try connection.scalarInteger("SELECT min(counter) FROM _tideline_pending WHERE counter >= ?1", [.integer(counter)])
        guard let first, first > counter else { return }
        let hasBeenRestored = try Metadata(connection: connection).checkpoint()?.position.epoch ?? 0 > 0
        var hashes: [String] = []
        for spent in counter..<first {
            let hash = try connection.scalarText(
                "SELECT hash FROM _tideline_journal WHERE counter = ?1 UNION ALL SELECT hash FROM _tideline_problem WHERE counter = ?1",
                [.integer(spent)])
            // A counter of which this file knows nothing is a fault that must not be papered over, unless a restore explains it.
            guard hash != nil || hasBeenRestored else { return }
            hashes.append(hash ?? ChangeSet.hash(ofSealed: []))
        }
        for (spent, hash) in zip(counter..<first, hashes) {
            try connection.execute(
                """
                INSERT INTO _tideline_pending (counter, hash, sealed_at, summary, state, feed_epoch, feed_position) \
                VALUES (?1, ?2, ?3, '', 'pending', 0, 0)
                """,
                [.integer(spent), .text(hash), .integer(environment.wallMilliseconds())])
        }
    }

    /// The position from which on news of versions matter: what the least informed author, present or coming, knew.
    func leastKnownPosition() throws -> Int64 {
        let checkpoint = try Metadata(connection: connection).checkpoint()?.position.position ?? 0
        let pending = try connection.scalarInteger("SELECT min(feed_position) FROM _tideline_pending WHERE sealed IS NOT NULL")
        return min(checkpoint, pending ?? checkpoint)
    }

    /// Outcomes up to this counter need not be told again.
    func outcomesKnownUpTo() throws -> Int64 {
        let meta = Metadata(connection: connection)
        let first = try connection.scalarInteger("SELECT min(counter) FROM _tideline_pending WHERE outcome IS NULL")
        return try first.map { $0 - 1 } ?? meta.integer(.counter) ?? 0
    }

    func checkpointMarks() throws -> [CheckpointMark] {
        try connection.query("SELECT epoch, position, fingerprint FROM _tideline_checkpoint_mark ORDER BY position DESC") {
            CheckpointMark(position: FeedPosition(epoch: $0.integer(0), position: $0.integer(1)), fingerprint: $0.text(2))
        }
    }
}
