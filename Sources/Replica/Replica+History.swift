// What happened: the company's timeline as far as this file holds it, and everything that was ever said about one record,
// own edits included that did not make it. Works without a network.

import SyncProtocol

/// One line of the timeline.
public struct ActivityItem: Sendable {
    public let entry: ActivityEntry
    /// One sentence, names looked up in this file.
    public let text: String
    /// Who did it.
    public let actor: String
    /// What it is about.
    public let title: String
}

public struct ActivityList: Sendable {
    public let data: [ActivityItem]
    public let hasMore: Bool
    /// Pass it on as `before` to go further back.
    public let next: Int64?
}

/// One thing that was said about a record.
public struct HistoryEvent: Sendable {
    public enum Status: String, Sendable {
        /// In the feed: everyone has it.
        case confirmed
        /// Accepted, and lost to a later value; both are in the entry's `lost` and `kept`.
        case superseded
        /// Not yet covered by a checkpoint.
        case pending
        /// Pending, and would be rejected as things stand.
        case predicted
        /// The server said no; `problem` tells whether a person still has to see to it.
        case rejected
        /// Taken out because the server could not answer it.
        case withdrawn
        /// Written by plain SQL and refused here.
        case refused
    }

    public let status: Status
    /// `{field: {old, new}}` and the rest; own edits that are not confirmed carry the position "unconfirmed".
    public let entry: ActivityEntry
    public let text: String
    public let actor: String
    /// Own set, when it is one.
    public let counter: Int64?
    public let problem: Int64?
    /// Why it was rejected, or would be.
    public let violations: [Violation]
}

extension Replica {
    /// The timeline, newest first.
    /// - Parameters:
    ///   - filter: Everything that is set must hold.
    ///   - limit: 1 to 1,000.
    ///   - before: `next` of the page before.
    public func activity(_ filter: ActivityFilter = ActivityFilter(), limit: Int = 50, before: Int64? = nil) async throws -> ActivityList {
        guard (1...1_000).contains(limit) else { throw ReplicaError(.invalidQuery, "limit is 1 to 1000", operation: "log") }
        return try await reading("log") { store in
            if let entity = filter.entity, store.schema.entity(entity) == nil { throw Listing.unknown(entity) }
            do throws(UnknownTimelineChoice) { try filter.check(store.schema) } catch {
                throw ReplicaError(.invalidQuery, "\(error.name) \(error.requirement)", operation: "log")
            }
            var entries = try store.activity(filter, before: before, limit: limit + 1)
            let hasMore = entries.count > limit
            if hasMore { entries.removeLast() }
            let names = NameBook(store)
            let items = entries.map { entry in
                ActivityItem(
                    entry: entry, text: names.line(entry), actor: ActivityText.actor(entry, name: names.title),
                    title: ActivityText.title(entry, schema: store.schema, name: names.title))
            }
            return ActivityList(data: items, hasMore: hasMore, next: hasMore ? entries.last?.position.position : nil)
        }
    }

    /// Everything that was said about one record, oldest first: the feed's entries as far back as this file keeps them, then own
    /// edits that wait, and own edits that did not make it, at their time.
    public func history(_ entity: String, _ id: Identifier) async throws -> [HistoryEvent] {
        try await reading("history") { store in
            guard store.schema.entity(entity) != nil else { throw Listing.unknown(entity) }
            return try store.history(RecordKey(entity, id))
        }
    }
}

extension Store {
    fileprivate func history(_ key: RecordKey) throws -> [HistoryEvent] {
        let names = NameBook(self)
        var events: [HistoryEvent] = []
        func add(
            _ status: HistoryEvent.Status, _ entry: ActivityEntry, counter: Int64? = nil, problem: Int64? = nil,
            _ violations: [Violation] = []
        ) {
            events.append(
                HistoryEvent(
                    status: status, entry: entry, text: names.line(entry), actor: ActivityText.actor(entry, name: names.title),
                    counter: counter, problem: problem, violations: violations))
        }
        let identity = try Metadata(connection: connection).identity()
        var author: Author?
        if let identity { author = try self.author(identity) }
        func own(_ sealed: [UInt8], _ undo: String?) throws -> [ActivityEntry] {
            guard let author, let set = try? ChangeSet(sealed: sealed) else { return [] }
            var before: JSONValue?
            if let undo { before = try JSONValue(parsing: undo) }
            return set.entries(author: author, schema: schema, undo: before).filter { $0.key == key }
        }
        // 1. What everyone has.
        var told: Set<Dot> = []
        for entry in try activity(of: key) {
            if entry.kind == "sync.rejected" {
                // The problem below says more, when this file has it.
                guard entry.dot?.replica != identity?.replica else { continue }
                add(.rejected, entry)
                continue
            }
            if let dot = entry.dot { told.insert(dot) }
            // An edit that lost in everything it said: the entry of what it lost follows.
            if entry.operation == .update, entry.allChanges.isEmpty { continue }
            add(entry.kind == "sync.superseded" ? .superseded : .confirmed, entry, counter: ownCounter(entry, identity))
        }
        // 2. What did not make it, resolved or not.
        try connection.forEach(
            "SELECT id, counter, sealed, violations, status, undo FROM _tideline_problem ORDER BY id"
        ) { row in
            let violations = (try JSONValue(parsing: row.text(3)).arrayValue ?? []).compactMap(Violation.init(json:))
            for entry in try own(row.blob(2), row.optionalText(5)) {
                add(
                    HistoryEvent.Status(rawValue: row.text(4)) ?? .rejected, entry, counter: row.integer(1), problem: row.integer(0),
                    violations)
            }
        }
        // 3. Accepted, but the timeline has not come yet, or reaches less far back.
        let oldest = try connection.scalarInteger("SELECT min(at) FROM _tideline_activity") ?? .max
        try connection.forEach("SELECT counter, sealed, undo, confirmed_at FROM _tideline_journal WHERE sealed IS NOT NULL") { row in
            let counter = row.integer(0)
            for entry in try own(row.blob(1), row.optionalText(2)) {
                guard let dot = entry.dot, !told.contains(dot), row.integer(3) < oldest || oldest == .max else { continue }
                add(.confirmed, entry, counter: counter)
            }
        }
        // 4. What waits.
        for row in try pendingRows() {
            guard let sealed = row.sealed else { continue }
            var predicted: [Violation] = []
            if let text = row.predicted { predicted = (try JSONValue(parsing: text).arrayValue ?? []).compactMap(Violation.init(json:)) }
            for entry in try own(sealed, row.undo) {
                if let dot = entry.dot, told.contains(dot) { continue }
                add(predicted.isEmpty ? .pending : .predicted, entry, counter: row.counter, predicted)
            }
        }
        // Entries of one moment stay in the order in which they were told.
        let ordered = events.enumerated().sorted { one, other in
            let (mine, theirs) = (one.element.entry.operationMilliseconds, other.element.entry.operationMilliseconds)
            return mine == theirs ? one.offset < other.offset : mine < theirs
        }
        return ordered.map(\.element)
    }

    private func ownCounter(_ entry: ActivityEntry, _ identity: ReplicaIdentity?) -> Int64? {
        guard let dot = entry.dot, dot.replica == identity?.replica else { return nil }
        return dot.counter
    }
}
