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
    /// Of a set from before a restore of the server: what its author had seen of others on the records it names.
    var seen: [SeenSet] = []
    /// The server waits for what it builds on (protocol §7.4); later sets may have been answered.
    var isDeferred = false
    /// The stamp that it counts with for the server, where that is not its own.
    var timestamp: HybridTimestamp?
    /// Who has sealed it, when that was not this replica but one whose file this was: it goes out in that one's name.
    var author: Identifier?

    /// Would be rejected as things stand, and nothing has been heard of it. What others have sealed only they take out.
    var isPredicted: Bool { predicted != nil && outcome == nil && author == nil }
}

/// What one push offers: sets of one author.
struct PendingBatch: Sendable {
    /// nil: this replica.
    var author: Identifier?
    var sets: [OfferedSet] = []
}

extension Store {
    private static let pendingColumns =
        "counter, hash, sealed, sealed_at, summary, state, outcome, predicted, feed_epoch, feed_position, undo, undoes, seen, deferred, author, stamp"

    private func pendingRow(_ row: borrowing SQLiteRow) throws -> PendingRow {
        PendingRow(
            counter: row.integer(0), hash: row.text(1), sealed: row.optionalBlob(2), sealedAt: row.integer(3), summary: row.text(4),
            isAnswered: row.text(5) != "pending", outcome: row.optionalText(6), predicted: row.optionalText(7),
            feed: FeedPosition(epoch: row.integer(8), position: row.integer(9)), undo: row.optionalText(10),
            undoes: row.optionalInteger(11),
            seen: try row.optionalText(12).map { SeenSet.list(try JSONValue(parsing: $0)) } ?? [], isDeferred: row.boolean(13),
            timestamp: try row.optionalText(15).flatMap { HybridTimestamp(json: try JSONValue(parsing: $0)) },
            author: row.optionalText(14).flatMap { Identifier($0) })
    }

    func pendingRows(after counter: Int64 = 0) throws -> [PendingRow] {
        try connection.query(
            "SELECT \(Self.pendingColumns) FROM _tideline_pending WHERE counter > ?1 ORDER BY counter", [.integer(counter)]
        ) { try pendingRow($0) }
    }

    /// Sets that the server has not decided, as far as this file knows: what the view shows on top of what is confirmed.
    func undecidedRows(acknowledged: Int64) throws -> [PendingRow] {
        try connection.query(
            "SELECT \(Self.pendingColumns) FROM _tideline_pending WHERE counter > ?1 OR deferred = 1 ORDER BY counter",
            [.integer(acknowledged)]
        ) { try pendingRow($0) }
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

    /// The next sets to offer, oldest first, of one author, within the limits of one push. What another replica has sealed comes
    /// before anything of this one: its counters are lower.
    func nextBatch(maximumSets: Int) throws -> PendingBatch {
        var batch = PendingBatch()
        var bytes = 1024
        try connection.withStatement(
            "SELECT counter, hash, sealed, seen, author, stamp, numbers FROM _tideline_pending WHERE state = 'pending' ORDER BY counter LIMIT ?1"
        ) { statement in
            try statement.bind(1, min(maximumSets, Limits.setsPerPush))
            while try statement.step() {
                let row = statement.row
                let author = row.optionalText(4).flatMap { Identifier($0) }
                if batch.sets.isEmpty { batch.author = author } else if batch.author != author { break }
                let sealed = row.optionalBlob(2)
                let seen = try row.optionalText(3).map { SeenSet.list(try JSONValue(parsing: $0)) } ?? []
                bytes += (sealed?.count ?? 64) + 128 + seen.count * 72
                // One set always fits: its own limit is far below that of a push.
                if bytes > Limits.bytesPerPush, !batch.sets.isEmpty { break }
                let stamp = try row.optionalText(5).flatMap { HybridTimestamp(json: try JSONValue(parsing: $0)) }
                var offered = OfferedSet(counter: row.integer(0), hash: row.text(1), sealed: sealed, after: seen, timestamp: stamp)
                if let numbers = row.optionalText(6) { offered.numbers = try HeldNumbers.read(numbers) }
                bytes += offered.numbers.count * 96
                batch.sets.append(offered)
            }
            statement.reset()
        }
        return batch
    }

    /// Keeps the answers of a push. The sets stay until a checkpoint covers them.
    /// Returns how many of them were told to wait.
    @discardableResult
    func recordOutcomes(_ outcomes: [(counter: Int64, outcome: [UInt8])]) throws -> Int {
        var deferred = 0
        for (counter, outcome) in outcomes {
            let told = try Outcome(json: JSONValue(parsing: outcome))
            if told?.status == .deferred {
                deferred += 1
                try connection.execute(
                    "UPDATE _tideline_pending SET state = 'deferred', deferred = 1 WHERE counter = ?1", [.integer(counter)])
                continue
            }
            try connection.execute(
                "UPDATE _tideline_pending SET state = 'answered', outcome = ?2, stamp = coalesce(?3, stamp) WHERE counter = ?1",
                [
                    .integer(counter), .text(String(decoding: outcome, as: UTF8.self)),
                    SQLiteValue(told?.timestamp?.json.canonicalText),
                ])
        }
        return deferred
    }

    /// Sets that were told to wait are asked about once a sync.
    func reofferDeferred() throws {
        // Most syncs have none, and must not wait for a tool that holds the file.
        guard try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE state = 'deferred')") == 1 else { return }
        try connection.execute("UPDATE _tideline_pending SET state = 'pending' WHERE state = 'deferred'")
    }

    /// Until a first checkpoint confirms them, answered sets go out again with every sync: nothing else of this file could tell that the
    /// server was restored meanwhile, and a new epoch lets counters be passed over.
    func reofferUnconfirmed() throws {
        guard try Metadata(connection: connection).checkpoint() == nil else { return }
        let isAnswered = "SELECT EXISTS (SELECT 1 FROM _tideline_pending WHERE state = 'answered')"
        if try connection.scalarInteger(isAnswered) == 1 { try reoffer(from: 1) }
    }

    /// Makes sets that the server has forgotten go out again.
    func reoffer(from counter: Int64) throws {
        try connection.execute(
            "UPDATE _tideline_pending SET state = 'pending', outcome = NULL WHERE counter >= ?1", [.integer(counter)])
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
        // What waits is answered by a push, when it is.
        let first = try connection.scalarInteger(
            "SELECT min(counter) FROM _tideline_pending WHERE outcome IS NULL AND deferred = 0 AND author IS NULL")
        return try first.map { $0 - 1 } ?? meta.integer(.counter) ?? 0
    }

    func checkpointMarks() throws -> [CheckpointMark] {
        try connection.query("SELECT epoch, position, fingerprint FROM _tideline_checkpoint_mark ORDER BY position DESC") {
            CheckpointMark(position: FeedPosition(epoch: $0.integer(0), position: $0.integer(1)), fingerprint: $0.text(2))
        }
    }
}
