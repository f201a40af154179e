// A server in memory, built on the real core: it decides, numbers, answers and pages like the real one, so that replicas
// are tested against the protocol without Postgres. What it leaves out: scopes, REST, long history.

import Foundation
import SyncProtocol

@testable import Replica

// @unchecked Sendable: everything is touched under the lock.
public final class ModelServer: @unchecked Sendable {
    struct Account {
        var member: Identifier
        var replica: Identifier
        var role: Role
    }

    public struct State {
        public var epoch: Int64 = 0
        public var position: Int64 = 0
        public var records: [RecordKey: RecordState] = [:]
        public var fingerprints: [Int64: String] = [0: "start"]
        public var outcomes: [Identifier: [Int64: (hash: String, bytes: [UInt8])]] = [:]
        public var acknowledged: [Identifier: Int64] = [:]
        public var lastEpoch: [Identifier: Int64] = [:]
        public var stamp = HybridTimestamp.zero
        public var rejectedCreations: Set<Identifier> = []
        public var evictions: [(position: Int64, key: RecordKey, replica: Identifier)] = []
        public var horizon: Int64 = 0
        public var feed: [ActivityEntry] = []
        /// Sets that took effect, by dot: more than once is a bug.
        public var applications: [Dot: Int] = [:]
    }

    public let schema: Schema
    public let tenant = Identifier(high: 0x7E, low: 1)
    private let lock = NSLock()
    private let now: @Sendable () -> Int64
    private var state = State()
    private var accounts: [String: Account] = [:]
    private var codes: [String: (member: Identifier, role: Role)] = [:]
    private let random: @Sendable () -> UInt64
    private var generator: IdentifierGenerator
    private var history = 1
    private var ordered: (history: Int, position: Int64, records: [RecordState])?
    private var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    private var nextWaiter = 0
    private var pokes = 0
    /// Sets for which the server dies without an answer.
    public var poison: (@Sendable (ChangeSet) -> Bool)?
    public var isRevoked = false
    /// Columns and entities of a newer server, put on each page.
    public var extraColumn: (entity: String, name: String, value: JSONValue)?
    public var unknownBlock: (entity: String, columns: [String], rows: [[UInt8]])?

    /// - Parameter random: Where ids, codes and tokens come from; a seeded source makes runs repeatable.
    public init(
        schema: Schema = .tideline, random: @escaping @Sendable () -> UInt64 = { UInt64.random(in: 0...UInt64.max) },
        now: @escaping @Sendable () -> Int64
    ) {
        self.schema = schema
        self.now = now
        self.random = random
        generator = IdentifierGenerator(random: random)
        guard schema.entity("tenant") != nil else { return }
        write([
            Change(
                "tenant", tenant, .create(fields: ["name": "Model", "base_currency": "USD", "timezone": "UTC"]))
        ])
    }

    private func secret() -> String { Identifier(high: random(), low: random()).text }

    // MARK: Administration

    /// A member, and a code for one replica of theirs.
    public func invite(_ name: String, role: Role, member existing: Identifier? = nil) -> (member: Identifier, code: String) {
        let member = existing ?? lock.withLock { generator.next(milliseconds: now()) }
        if existing == nil, schema.entity("member") != nil {
            write([
                Change(
                    "member", member,
                    .create(fields: [
                        "name": .string(name), "email": .string("\(name.lowercased())@example.com"), "role": .string(role.rawValue),
                    ]))
            ])
        }
        let code = secret()
        lock.withLock { codes[code] = (member, role) }
        return (member, code)
    }

    /// A write of the server itself, as REST or a workflow makes it.
    @discardableResult
    public func write(_ changes: [Change], knowing position: Int64? = nil) -> Outcome {
        let outcome = lock.withLock {
            let stamp = max(HybridTimestamp(milliseconds: now()), state.stamp.next)
            return decide(
                Submission(
                    changes: changes, author: .system, dot: nil,
                    clock: VectorClock(feed: FeedPosition(epoch: state.epoch, position: position ?? state.position)), timestamp: stamp))
        }
        poke()
        return outcome
    }

    /// Puts rows in place without deciding: for large amounts.
    public func load(_ records: [RecordState]) {
        lock.withLock {
            for var record in records {
                state.position += 1
                record.position = FeedPosition(epoch: state.epoch, position: state.position)
                state.fingerprints[state.position] = "\(history)-\(state.position)"
                state.records[record.key] = record
            }
        }
    }

    public func evict(_ key: RecordKey, from replica: Identifier) {
        lock.withLock {
            advance()
            state.evictions.append((state.position, key, replica))
        }
    }

    public func snapshot() -> State { lock.withLock { state } }

    /// The server's disk is an old copy now; nobody told it.
    public func restore(_ old: State) {
        lock.withLock {
            state = old
            history += 1
        }
    }

    /// Tombstones up to now are gone.
    public func forgetTombstones() {
        lock.withLock {
            state.horizon = state.position
            for (key, record) in state.records where !record.isLive { state.records[key] = nil }
            ordered = nil
        }
    }

    public func record(_ entity: String, _ id: Identifier) -> RecordState? { lock.withLock { state.records[RecordKey(entity, id)] } }
    public var position: Int64 { lock.withLock { state.position } }
    public var epoch: Int64 { lock.withLock { state.epoch } }
    public func applications(of dot: Dot) -> Int { lock.withLock { state.applications[dot] ?? 0 } }
    public func outcome(of dot: Dot) -> Outcome? {
        lock.withLock { state.outcomes[dot.replica]?[dot.counter] }.flatMap { try? JSONValue(parsing: $0.bytes) }.flatMap(
            Outcome.init(json:))
    }

    /// What a replica with all of it holds; with `replica`, without what left that one's scope.
    public func digest(for replica: Identifier? = nil) -> [String: EntityDigest] {
        lock.withLock {
            var digests: [String: EntityDigest] = [:]
            let gone = Set(state.evictions.filter { $0.replica == replica }.map(\.key))
            for entity in schema.entities where entity.scopes != [.none] {
                var digest = ContentDigest(of: entity)
                for record in state.records.values.filter({ $0.schema.name == entity.name && !gone.contains($0.key) })
                    .sorted(by: { $0.id < $1.id })
                {
                    digest.add(record)
                }
                digests[entity.name] = EntityDigest(count: digest.count, hash: digest.finish())
            }
            return digests
        }
    }

    // MARK: Inspection

    public func get(_ path: String, _ query: [(name: String, value: String)], token: String) throws -> [UInt8] {
        try lock.withLock {
            let account = try account(token)
            do {
                switch path {
                case "digest": return try digest(DigestRequest(query: query))
                case "records": return try records(RecordsRequest(query: query))
                case "activity": return try activity(ActivityRequest(query: query), account)
                default: throw refusal(.notFound)
                }
            } catch let error as WireError {
                throw refusal(.badRequest, error.description)
            }
        }
    }

    private func live(_ entity: String) -> [RecordState] {
        state.records.values.filter { $0.schema.name == entity && $0.isLive }.sorted { $0.id < $1.id }
    }

    private func digest(_ request: DigestRequest) throws -> [UInt8] {
        var reply: JSONObject = ["position": .integer(state.position), "epoch": .integer(state.epoch), "schema": .integer(schema.version)]
        if let entity = request.entity, let schema = schema.entity(entity) {
            let all = live(entity)
            if request.isStretch {
                let stretch = all.filter { record in
                    if let end = request.through, record.id > end { return false }
                    return record.id > request.after ?? .zero
                }
                reply["records"] = .array(stretch.map { .array([.string($0.id.text), .string(ContentDigest.hash(of: $0))]) })
            } else {
                var ranges = DigestRanges(of: schema)
                for record in all { ranges.add(record) }
                reply["ranges"] = .array(ranges.finish().map(\.json))
            }
        } else {
            var entities = JSONObject()
            for entity in schema.entities where entity.scopes != [.none] {
                var digest = ContentDigest(of: entity)
                for record in live(entity.name) { digest.add(record) }
                entities[entity.name] = ["count": .integer(digest.count), "hash": .string(digest.finish())]
            }
            reply["entities"] = .object(entities)
        }
        return JSONValue.object(reply).canonicalBytes()
    }

    private func records(_ request: RecordsRequest) throws -> [UInt8] {
        guard let schema = schema.entity(request.entity) else { throw refusal(.badRequest) }
        let columns = RowLayout(of: schema, audience: .replica).columns
        let rows = request.ids.compactMap { state.records[RecordKey(request.entity, $0)] }.map { record in
            JSONValue.array(columns.map { $0 == "versions" ? .null : record.column($0) })
        }
        let block: JSONValue = [
            "entity": .string(request.entity), "columns": .array(columns.map { .string($0) }), "rows": .array(rows),
        ]
        return JSONValue.object(["position": .integer(state.position), "epoch": .integer(state.epoch), "entities": .array([block])])
            .canonicalBytes()
    }

    private func activity(_ request: ActivityRequest, _ account: Account) throws -> [UInt8] {
        let visible = state.feed.filter { entry in
            entry.scopeKeys.contains { !$0.hasPrefix("member:") || $0 == "member:\(account.member.text)" }
        }
        let newest = request.newest.map { Int($0) } ?? Int.max
        let after = request.after ?? visible.suffix(newest).first.map { $0.position.position - 1 } ?? state.position
        let page = visible.filter { $0.position.position > after }.prefix(request.limit)
        let hasMore = page.last.map { last in visible.contains { $0.position.position > last.position.position } } ?? false
        return ActivityPage.write(
            entries: page.map { $0.json.canonicalBytes() },
            next: hasMore ? page.last?.position.position ?? after : max(after, state.position),
            hasMore: hasMore)
    }

    // MARK: The verbs

    public func enroll(_ request: EnrollmentRequest) throws -> EnrollmentReply {
        guard let (member, role) = lock.withLock({ codes.removeValue(forKey: request.code) }) else { throw refusal(.codeInvalid) }
        let replica = lock.withLock { generator.next(milliseconds: now()) }
        if schema.entity("replica") != nil {
            write([
                Change(
                    "replica", replica,
                    .create(fields: [
                        "member": .string(member.text), "label": .string(request.label), "platform": .string(request.platform),
                        "replication": "full",
                    ]))
            ])
        }
        let token = secret()
        lock.withLock {
            accounts[token] = Account(member: member, replica: replica, role: role)
            state.lastEpoch[replica] = state.epoch
        }
        return EnrollmentReply(
            token: token, tenant: tenant, member: member, replica: replica, role: role, replication: "full", serverMilliseconds: now(),
            schemaVersion: schema.version)
    }

    public func fork(_ request: ForkRequest, token: String) throws -> EnrollmentReply {
        let shared = try lock.withLock {
            let account = try account(token)
            guard request.counter <= state.acknowledged[account.replica] ?? 0 else { throw refusal(.badRequest) }
            return account
        }
        let code = secret()
        lock.withLock { codes[code] = (shared.member, shared.role) }
        let reply = try enroll(
            EnrollmentRequest(code: code, label: request.label, platform: request.platform, schemaVersion: request.schemaVersion))
        lock.withLock {
            state.acknowledged[reply.replica] = request.counter
            // The same member in the same scope: what left the one has left the other.
            state.evictions += state.evictions.filter { $0.replica == shared.replica }.map { ($0.position, $0.key, reply.replica) }
        }
        return reply
    }

    public func push(_ bytes: [UInt8], token: String) throws -> [UInt8] {
        let reply = try lock.withLock { try pushLocked(bytes, token) }
        poke()
        return reply
    }

    private func pushLocked(_ bytes: [UInt8], _ token: String) throws -> [UInt8] {
        let account = try account(token)
        let push: PushRequest.ReceivedPush
        do { push = try PushRequest.receive(bytes) } catch { throw refusal(.badRequest, "\(error)") }
        guard push.schemaVersion <= schema.version else { throw refusal(.schemaTooOld, details: ["schema": .integer(schema.version)]) }
        _ = try place(push.cursor)
        let replica = account.replica
        var outcomes: [(counter: Int64, outcome: [UInt8])] = []
        for set in push.sets {
            let dot = set.dot
            if let stored = state.outcomes[replica]?[dot.counter] {
                guard stored.hash == set.hash else { throw refusal(.fork, details: ["counter": .integer(dot.counter)]) }
                outcomes.append((dot.counter, stored.bytes))
                continue
            }
            guard dot.counter > state.acknowledged[replica] ?? 0 else {
                throw refusal(.fork, details: ["counter": .integer(dot.counter)])
            }
            let expected = (state.acknowledged[replica] ?? 0) + 1
            let mayJump = state.lastEpoch[replica] ?? 0 < state.epoch && dot.counter > expected
            guard dot.counter == expected || mayJump else { throw refusal(.counterGap, details: ["expected": .integer(expected)]) }
            if case .set(let content) = set.content, poison?(content) == true { throw TransportFailure.dropped("the server died") }
            let outcome = decide(set, account, push.recognised)
            let bytes = outcome.json.canonicalBytes()
            state.outcomes[replica, default: [:]][dot.counter] = (set.hash, bytes)
            state.acknowledged[replica] = dot.counter
            state.lastEpoch[replica] = state.epoch
            outcomes.append((dot.counter, bytes))
        }
        return PushReply(serverMilliseconds: now(), outcomes: outcomes).bytes()
    }

    public func pull(_ request: PullRequest, token: String) throws -> [UInt8] { try lock.withLock { try pullLocked(request, token) } }

    /// Whether a pull has nothing to tell yet.
    public func hasNews(_ request: PullRequest, token: String) throws -> Bool {
        try lock.withLock { try place(request.cursor) < state.position }
    }

    private func pullLocked(_ request: PullRequest, _ token: String) throws -> [UInt8] {
        let account = try account(token)
        let after = try place(request.cursor)
        // A first sync began after those tombstones were forgotten: it needs none of them.
        let isFirst = request.cursor?.hasSuffix(Self.firstSync) ?? true
        if !isFirst, after < state.horizon { throw refusal(.resyncRequired) }
        let limit = request.limit ?? Limits.recordsPerPageDefault
        let gone = Set(state.evictions.filter { $0.replica == account.replica }.map(\.key))
        let all = inOrder()
        let start = all.partitioningIndex { $0.position.position > after }
        let changed = gone.isEmpty ? all[start...] : all[start...].filter { !gone.contains($0.key) }[...]
        let page = changed.prefix(limit)
        let hasMore = page.count < changed.count
        let end = hasMore ? page.last?.position.position ?? after : state.position
        var blocks: [(entity: String, columns: [String], rows: [[UInt8]])] = []
        for (entity, records) in Dictionary(grouping: page, by: { $0.schema.name }).sorted(by: { $0.key < $1.key }) {
            guard let schema = schema.entity(entity) else { continue }
            var columns = RowLayout(of: schema, audience: .replica).columns
            if let extraColumn, extraColumn.entity == entity { columns.append(extraColumn.name) }
            let rows = records.map { record in row(record, columns, request, after) }
            blocks.append((entity, columns, rows))
        }
        if let unknownBlock, request.cursor == nil { blocks.append(unknownBlock) }
        let evictions = state.evictions.filter { $0.replica == account.replica && $0.position > after && $0.position <= end }.map(\.key)
        guard !hasMore else {
            return PullPage.write(
                serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: cursor(end) + (isFirst ? Self.firstSync : ""),
                checkpoint: nil,
                outcomes: [])
        }
        let acknowledged = state.acknowledged[account.replica] ?? 0
        let outcomes = (state.outcomes[account.replica] ?? [:]).filter { $0.key > request.outcomesAfter }.sorted { $0.key < $1.key }
            .map { ToldOutcome(counter: $0.key, outcome: $0.value.bytes, hash: $0.value.hash) }
        let mark = CheckpointMark(position: FeedPosition(epoch: state.epoch, position: end), fingerprint: state.fingerprints[end] ?? "")
        return PullPage.write(
            serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: cursor(end),
            checkpoint: Checkpoint(mark: mark, timestamp: state.stamp, acknowledged: acknowledged), outcomes: outcomes)
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
            case "extra" where record.extra.isEmpty: writer.null()
            case extraColumn?.name: writer.value(extraColumn?.value ?? .null)
            default: writer.value(record.column(column))
            }
        }
        writer.endArray()
        return writer.bytes
    }

    private func versions(_ record: RecordState, _ request: PullRequest, _ after: Int64) -> RecordVersions? {
        if request.cursor == nil, request.versionsAfter == nil { return nil }
        let from = request.versionsAfter ?? after
        let all = record.versions
        if let created = all.created, created.position.position > from, all.lifecycle == nil,
            all.fields.values.allSatisfy({ $0 == created }),
            all.elements.isEmpty, all.keys.isEmpty
        {
            return nil
        }
        let news = all.after(from)
        return news.isEmpty ? nil : news
    }

    // MARK: Deciding

    private func decide(_ set: PushRequest.Received, _ account: Account, _ recognised: [CheckpointMark]) -> Outcome {
        switch set.content {
        case .withdrawn: return Outcome(status: .withdrawn)
        case .undecodable(_, let violation): return .rejected([violation])
        case .set(let content):
            var clock = content.clock
            if clock.feed.epoch < state.epoch {
                let known = recognised.filter { $0.position.epoch <= clock.feed.epoch }
                    .first { state.fingerprints[$0.position.position] == $0.fingerprint }
                clock.feed = min(clock.feed, known?.position ?? .start)
            }
            var stamp = content.timestamp
            let isSkewed = stamp.milliseconds > now() + HybridClock.skewToleranceMilliseconds
            if isSkewed { stamp = max(HybridTimestamp(milliseconds: now()), state.stamp.next) }
            state.applications[content.dot, default: 0] += 1
            return decide(
                Submission(
                    changes: content.changes,
                    author: Author(kind: .member, member: account.member, role: account.role, replica: account.replica), dot: content.dot,
                    clock: clock, timestamp: stamp, isSkewed: isSkewed, schemaVersion: content.schemaVersion))
        }
    }

    private func decide(_ submission: Submission) -> Outcome {
        let workspace = Workspace(schema: schema)
        let head = FeedPosition(epoch: state.epoch, position: state.position)
        while true {
            workspace.discardWrites()
            var processor = Processor(
                schema: schema, workspace: workspace, mode: .server, tenant: tenant, nowMilliseconds: now(), head: head)
            let decision = processor.decide(submission)
            let missing = workspace.takeMissing()
            guard missing.isEmpty else {
                for read in missing { supply(read, workspace) }
                continue
            }
            for record in workspace.writtenRecords { state.records[record.key] = record }
            for entry in decision.entries { state.fingerprints[entry.position.position] = "\(history)-\(entry.position.position)" }
            state.feed += decision.entries.map { ActivityEntry($0) }
            state.position = processor.head.position
            state.stamp = max(state.stamp, submission.timestamp)
            if decision.outcome.status == .rejected { state.rejectedCreations.formUnion(decision.created) }
            return decision.outcome
        }
    }

    private func supply(_ read: Read, _ workspace: Workspace) {
        switch read {
        case .record(let key): workspace.supply(read, records: [state.records[key]].compactMap { $0 })
        case .lookup(let entity, let field, let value, let includingDeleted):
            workspace.supply(
                read,
                records: state.records.values.filter {
                    $0.schema.name == entity && $0[field] == value && (includingDeleted || $0.isLive)
                }.sorted { $0.id < $1.id })
        case .ancestors(let key, let parent):
            var chain: [RecordState] = []
            var next: Identifier? = key.id
            while let id = next, let record = state.records[RecordKey(key.entity, id)], !chain.contains(where: { $0.id == id }) {
                chain.append(record)
                next = record.identifier(parent)
            }
            workspace.supply(read, records: chain)
        case .rejectedCreation(let id): workspace.supply(rejectedCreation: id, wasRejected: state.rejectedCreations.contains(id))
        }
    }

    // MARK: Cursors

    private static let firstSync = ".first"

    private func cursor(_ position: Int64) -> String { "\(state.epoch).\(position).\(state.fingerprints[position] ?? "")" }

    /// The position of a cursor of this history.
    private func place(_ cursor: String?) throws -> Int64 {
        guard let cursor else { return 0 }
        let parts = cursor.split(separator: ".")
        guard parts.count == 3 || cursor.hasSuffix(Self.firstSync), let epoch = Int64(parts[0]), let position = Int64(parts[1]) else {
            throw refusal(.invalidCursor)
        }
        if epoch < state.epoch { throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)]) }
        guard epoch == state.epoch, position <= state.position, state.fingerprints[position] == String(parts[2]) else {
            state.epoch = epoch + 1
            state.position = state.epoch * FeedPosition.epochStride
            state.fingerprints[state.position] = "\(history)-\(state.position)"
            throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)])
        }
        return position
    }

    private func advance() {
        state.position += 1
        state.fingerprints[state.position] = "\(history)-\(state.position)"
    }

    private func account(_ token: String) throws -> Account {
        guard let account = accounts[token] else { throw refusal(.unauthorized) }
        if isRevoked { throw refusal(.replicaRevoked) }
        return account
    }

    private func refusal(_ code: ErrorCode, _ message: String = "", details: JSONObject = JSONObject()) -> TransportFailure {
        .reply(ErrorReply(code, message.isEmpty ? code.rawValue : message, requestID: "model", details: details), status: code.status)
    }

    // MARK: Waiting

    /// Returns when something happened since the pokes were counted; at once if it has happened already.
    public func waitForNews(since count: Int) async {
        let number = lock.withLock {
            nextWaiter += 1
            return nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = lock.withLock {
                    guard pokes == count, !Task.isCancelled else { return false }
                    waiters[number] = continuation
                    return true
                }
                if !mustWait { return continuation.resume() }
                if Task.isCancelled { lock.withLock { waiters.removeValue(forKey: number) }?.resume() }
            }
        } onCancel: {
            lock.withLock { waiters.removeValue(forKey: number) }?.resume()
        }
    }

    public var pokeCount: Int { lock.withLock { pokes } }
    public var waiterCount: Int { lock.withLock { waiters.count } }

    private func poke() {
        let woken = lock.withLock {
            pokes += 1
            defer { waiters = [:] }
            return Array(waiters.values)
        }
        for waiter in woken { waiter.resume() }
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
