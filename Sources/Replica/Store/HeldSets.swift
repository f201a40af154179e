// What a file holds under its counters: what is on its way, what was confirmed (the journal), and what waits for a person. After a
// restore of the server it is gone through in counter order; it is read a page at a time.

import SyncProtocol

struct HeldSets {
    struct Held {
        enum Place: Int64 {
            case pending, journal
            /// The server has rejected it: its counter is spent, a marker stands for it.
            case rejected
            /// Taken out here, or left to another copy of the file. Only the replica that has sealed it may say that it is spent.
            case withdrawn
        }

        var place: Place
        var hash: String
        /// Of a confirmed set.
        var sealed: [UInt8]?
        var sealedAt: Int64
        var summary: String
        var undo: String?
        var undoes: Int64?
        /// Of a confirmed set: what the server said of it.
        var outcome: String?
        /// What `sealed` says.
        var set: ChangeSet?
        /// Of what is on its way: in whose name, nil for this replica's.
        var author: Identifier?
    }

    private let connection: SQLiteConnection
    private var page: Range<Int64> = 0..<0
    private var found: [Int64: Held] = [:]

    static let pageSize: Int64 = 500

    init(_ store: Store) {
        connection = store.connection
    }

    /// As it was when its page was read: whoever goes one way and changes only what is behind sees the present state.
    mutating func at(_ counter: Int64) throws -> Held? {
        if !page.contains(counter) { try read(around: counter) }
        return found[counter]
    }

    private mutating func read(around counter: Int64) throws {
        let first = (counter / Self.pageSize) * Self.pageSize
        page = first..<(first + Self.pageSize)
        found = [:]
        // What is pending stands before what is in the journal, and the newest problem before older ones.
        try connection.forEach(
            """
            SELECT counter, 0 AS place, hash, NULL, 0, summary, NULL, NULL, 0 AS age, author, NULL FROM _tideline_pending \
            WHERE counter >= ?1 AND counter < ?2 \
            UNION ALL SELECT counter, 1, hash, sealed, sealed_at, summary, undo, undoes, 0, NULL, outcome FROM _tideline_journal \
            WHERE counter >= ?1 AND counter < ?2 \
            UNION ALL SELECT counter, CASE status WHEN 'rejected' THEN 2 ELSE 3 END, hash, NULL, created_at, \
            summary, NULL, NULL, -id, NULL, NULL FROM _tideline_problem WHERE counter >= ?1 AND counter < ?2 ORDER BY 2, 9
            """, [.integer(page.lowerBound), .integer(page.upperBound)]
        ) { row in
            let counter = row.integer(0)
            guard found[counter] == nil, let place = Held.Place(rawValue: row.integer(1)) else { return }
            let sealed = row.optionalBlob(3)
            found[counter] = Held(
                place: place, hash: row.text(2), sealed: sealed, sealedAt: row.integer(4), summary: row.text(5), undo: row.optionalText(6),
                undoes: row.optionalInteger(7), outcome: row.optionalText(10), set: try sealed.map { try ChangeSet(sealed: $0) },
                author: row.optionalText(9).flatMap { Identifier($0) })
        }
    }
}

extension Store {
    /// Puts what the file holds under a counter back on its way: a set as it was sealed, or a marker. Returns how many sets that
    /// makes, 0 for a marker; nil when there is nothing of that author.
    /// - Parameter author: Who has sealed it; nil: this replica, `own`.
    func offerAgain(_ counter: Int64, _ held: HeldSets.Held?, own: Identifier, author: Identifier? = nil) throws -> Int? {
        guard let held else { return nil }
        switch held.place {
        // In somebody else's name it does not fill a gap of the author's.
        case .pending: return author == nil || held.author == author ? 0 : nil
        case .withdrawn where author != nil: return nil
        case .rejected, .withdrawn:
            try insertAgain(counter, held, author: author)
            return 0
        case .journal:
            if let set = held.set, set.dot.replica != author ?? own { return nil }
            try insertAgain(counter, held, author: author)
            try connection.execute("DELETE FROM _tideline_journal WHERE counter = ?1", [.integer(counter)])
            return held.sealed == nil ? 0 : 1
        }
    }

    /// A marker for a counter of which the file knows nothing more.
    func offerUnknown(_ counter: Int64) throws {
        let unknown = HeldSets.Held(
            place: .withdrawn, hash: Self.unknownHash, sealedAt: environment.wallMilliseconds(), summary: "")
        try insertAgain(counter, unknown, author: nil)
    }

    /// What markers carry when the set itself is forgotten.
    static let unknownHash = ChangeSet.hash(ofSealed: [])

    private func insertAgain(_ counter: Int64, _ held: HeldSets.Held, author: Identifier?) throws {
        let feed = held.set?.clock.feed ?? .start
        let stamp = try held.outcome.flatMap { Outcome(json: try JSONValue(parsing: $0))?.timestamp }
        try connection.execute(
            """
            INSERT INTO _tideline_pending (counter, hash, sealed, sealed_at, summary, state, feed_epoch, feed_position, undo, undoes, author, stamp) \
            VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?8, ?9, ?10, ?11)
            """,
            [
                .integer(counter), .text(held.hash), SQLiteValue(held.sealed), .integer(held.sealedAt), .text(held.summary),
                .integer(feed.epoch), .integer(feed.position), SQLiteValue(held.undo), SQLiteValue(held.undoes),
                SQLiteValue(author?.text), SQLiteValue(stamp?.json.canonicalText),
            ])
    }
}
