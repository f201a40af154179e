// The model's pull: current state by position, and the cursors that say where a reader goes on (protocol §7.3, §7.4).

import SyncProtocol

@testable import Replica

extension ModelServer {
    public func pull(_ request: PullRequest, token: String) throws -> [UInt8] { try lock.withLock { try pullLocked(request, token) } }

    private func pullLocked(_ request: PullRequest, _ token: String) throws -> [UInt8] {
        let account = try account(token)
        let cursor = try place(request.cursor)
        let after = cursor?.mark.position.position ?? 0
        let floor = cursor?.floor ?? state.position
        if after < state.horizon, floor < state.horizon { throw refusal(.resyncRequired) }
        let reader = ReaderAccess(member: account.member, role: account.role)
        if let cursor, cursor.role != reader.role { throw refusal(.resyncRequired) }
        state.restrictedSince[account.replica] =
            reader.hidesRestricted ? nil : state.restrictedSince[account.replica] ?? state.position
        let limit = request.limit ?? Limits.recordsPerPageDefault
        let all = inOrder()
        let start = all.partitioningIndex { $0.position.position > after }
        // Pages are cut before tombstones are left out, so a page may be short.
        let late = lateRecord(after)
        let changed = all[start...].filter { (reader.sees($0) || fault == .sendsEverything) && $0.key != late }
        // What left on pages of before is told of on those that come.
        let exits = state.exits.filter { exit in
            exit.position > max(after, floor) && reader.circles.contains(exit.circle)
                && schema.entity(exit.key.entity).map(reader.seesSomeRows) == true
        }.sorted { $0.position < $1.position }
        let places = Set(changed.map(\.position.position) + exits.map(\.position)).sorted()
        let hasMore = places.count > limit
        let end = hasMore ? places[limit - 1] : state.position
        let sent = changed.filter { $0.position.position <= end && ($0.isLive || $0.position.position > floor) }
        var blocks: [(entity: String, columns: [String], rows: [[UInt8]])] = []
        for (entity, records) in Dictionary(grouping: sent, by: { $0.schema.name }).sorted(by: { $0.key < $1.key }) {
            guard let schema = schema.entity(entity) else { continue }
            var columns = RowLayout(of: schema, audience: .replica).columns
            if let extraColumn, extraColumn.entity == entity { columns.append(extraColumn.name) }
            let rows = records.map { row(reader.hiding($0), columns, request, after) }
            blocks.append((entity, columns, rows))
        }
        if let unknownBlock, request.cursor == nil { blocks.append(unknownBlock) }
        var evictions: [RecordKey] = []
        for exit in exits where exit.position <= end && !evictions.contains(exit.key) {
            guard state.records[exit.key].map(reader.sees) != true, fault != .keepsWhatLeft else { continue }
            evictions.append(exit.key)
        }
        let mark = CheckpointMark(position: FeedPosition(epoch: state.epoch, position: end), fingerprint: state.fingerprints[end] ?? "")
        let head =
            hasMore
            ? CheckpointMark(
                position: FeedPosition(epoch: state.epoch, position: state.position), fingerprint: state.fingerprints[state.position] ?? "")
            : nil
        let next = seal(Place(mark: mark, floor: floor, role: reader.role, head: head))
        guard !hasMore else {
            return PullPage.write(
                serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: next, checkpoint: nil, outcomes: [])
        }
        let acknowledged = state.acknowledged[account.replica] ?? 0
        let outcomes = (state.outcomes[account.replica] ?? [:]).filter { $0.key > request.outcomesAfter }.sorted { $0.key < $1.key }
            .map { ToldOutcome(counter: $0.key, outcome: $0.value.bytes, hash: $0.value.hash) }
        return PullPage.write(
            serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: next,
            checkpoint: Checkpoint(
                mark: mark, timestamp: state.stamp, acknowledged: acknowledged,
                waiting: state.deferred.keys.filter { $0.replica == account.replica }.map(\.counter).sorted()), outcomes: outcomes)
    }

    /// Every record that may leave the server by position; sorted anew only when something changed.
    private func inOrder() -> ArraySlice<RecordState> {
        if let ordered, ordered.history == history, ordered.position == state.position { return ordered.records[...] }
        let records = state.records.values.filter { $0.schema.scopes != [.none] }.sorted { $0.position.position < $1.position.position }
        ordered = (history, state.position, records)
        return records[...]
    }

    private func row(_ record: RecordState, _ columns: [String], _ request: PullRequest, _ after: Int64) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 256)
        writer.beginArray()
        for column in columns {
            switch column {
            case "versions":
                let news = versions(record, request, after)
                writer.value(news.map { $0.json(of: record.schema) } ?? .null)
            case extraColumn?.name: writer.value(extraColumn?.value ?? .null)
            default: writer.value(record.column(column))
            }
        }
        writer.endArray()
        return writer.bytes
    }

    /// nil when there is nothing to say, or only that the record was made.
    private func versions(_ record: RecordState, _ request: PullRequest, _ after: Int64) -> RecordVersions? {
        if request.cursor == nil, request.versionsAfter == nil { return nil }
        let from = request.versionsAfter ?? after
        guard record.position.position > from else { return nil }
        let news = record.versions.after(from)
        let tags =
            [news.lifecycle].compactMap { $0 } + news.fields.values + news.elements.values.flatMap { $0.values.flatMap { $0 } }
            + news.keys.values.flatMap { $0.values }
        if let created = news.created, tags.allSatisfy({ $0 == created }) { return nil }
        return news
    }

    // MARK: Cursors

    struct Place {
        var mark: CheckpointMark
        /// Head when the first sync began: tombstones up to here were never held.
        var floor: Int64
        /// Of the reader, which decides what was on the pages.
        var role: Role
        /// Between pages: head when the page was read.
        var head: CheckpointMark?
    }

    private func seal(_ place: Place) -> String {
        let head = place.head.map { "\($0.position.position).\($0.fingerprint)" } ?? "."
        let mark = place.mark
        let text =
            "\(mark.position.epoch).\(mark.position.position).\(mark.fingerprint).\(place.floor).\(place.role.rawValue).\(head)"
        return "\(text).\(Self.code(text))"
    }

    private static func code(_ text: String) -> String { String(Hex.encode(SHA256.hash(Array("model \(text)".utf8))).prefix(16)) }

    /// The place of a cursor in this history; nil for none. Throws `invalid_cursor` and `new_epoch`, and begins that one when the
    /// cursor proves that it is needed.
    func place(_ cursor: String?) throws -> Place? {
        guard let cursor else { return nil }
        let told = try reading(cursor)
        let (head, floor, role) = (told.head, told.floor, told.role)
        let (epoch, position) = (told.mark.position.epoch, told.mark.position.position)
        let isOther =
            position > state.position || state.fingerprints[position] != told.mark.fingerprint
            || head.map { $0.position.position > state.position || state.fingerprints[$0.position.position] != $0.fingerprint } ?? false
        if epoch >= state.epoch, epoch > state.epoch || isOther {
            if fault == .overlooksRestores {
                let here = FeedPosition(epoch: state.epoch, position: min(position, state.position))
                return Place(
                    mark: CheckpointMark(position: here, fingerprint: state.fingerprints[here.position] ?? ""), floor: floor, role: role)
            }
            beginEpoch(after: epoch)
        }
        if epoch < state.epoch { throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)]) }
        return told
    }

    /// What a cursor says, of whatever history it is. Throws `invalid_cursor`.
    func reading(_ cursor: String) throws -> Place {
        let parts = cursor.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 8, Self.code(parts.dropLast().joined(separator: ".")) == parts[7], let epoch = Int64(parts[0]),
            let position = Int64(parts[1]), let floor = Int64(parts[3]), let role = Role(rawValue: parts[4])
        else { throw refusal(.invalidCursor) }
        let head = Int64(parts[5]).map {
            CheckpointMark(position: FeedPosition(epoch: epoch, position: $0), fingerprint: parts[6])
        }
        return Place(
            mark: CheckpointMark(position: FeedPosition(epoch: epoch, position: position), fingerprint: parts[2]), floor: floor, role: role,
            head: head)
    }

    private func beginEpoch(after number: Int64) {
        let previous = state.epoch
        state.epoch = max(number, previous) + 1
        state.epochBegan = now()
        let stride = fault == .reusesPositions ? 0 : state.epoch * FeedPosition.epochStride
        let first = FeedPosition(epoch: state.epoch, position: max(stride, state.position + 1))
        enter(
            FeedEntry(
                position: first, atMilliseconds: now(), author: .system, dot: nil, key: RecordKey("tenant", tenant), operation: .derived,
                kind: "sync.epoch_started", category: "sync", isMajor: false,
                changes: ["epoch": ["old": .integer(previous), "new": .integer(state.epoch)]], restrictedChanges: JSONObject(),
                anchors: [], scopeKeys: [], cause: nil, depth: 0, operationMilliseconds: now()))
        poke()
    }
}

extension ArraySlice {
    /// The first index whose element fulfils the condition, which holds for all elements after it as well.
    fileprivate func partitioningIndex(_ isBeyond: (Element) -> Bool) -> Index {
        var (low, high) = (startIndex, endIndex)
        while low < high {
            let middle = (low + high) / 2
            if isBeyond(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
