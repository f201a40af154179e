// A server in memory, built on the real core: it decides, numbers, answers and pages like the real one, so that replicas
// are tested against the protocol without Postgres. What it leaves out: scopes, REST, webhooks.

import Foundation
import SyncProtocol

@testable import Replica

// @unchecked Sendable: everything is touched under the lock.
final class ModelServer: @unchecked Sendable {
    struct Account {
        var member: Identifier
        var replica: Identifier
        /// As of the invitation; the member's own record tells a later one.
        var role: Role
    }

    /// A pull consumer: how far it acknowledged.
    struct Consumer {
        var cursor: FeedPosition
    }

    struct State {
        var epoch: Int64 = 0
        var position: Int64 = 0
        var records: [RecordKey: RecordState] = [:]
        var fingerprints: [Int64: String] = [0: "start"]
        var outcomes: [Identifier: [Int64: (hash: String, bytes: [UInt8])]] = [:]
        var acknowledged: [Identifier: Int64] = [:]
        var lastEpoch: [Identifier: Int64] = [:]
        /// Of the last processed set of each replica.
        var lastStamp: [Identifier: HybridTimestamp] = [:]
        var stamp = HybridTimestamp.zero
        var rejectedCreations: Set<Identifier> = []
        var evictions: [(position: Int64, key: RecordKey, replica: Identifier)] = []
        var horizon: Int64 = 0
        var feed: [ActivityEntry] = []
        var consumers: [String: Consumer] = [:]
        /// Sets that took effect, by dot: more than once is a bug.
        var applications: [Dot: Int] = [:]
    }

    /// Of the build that runs; see ``upgrade(to:)``.
    var schema: Schema
    let tenant = Identifier(high: 0x7E, low: 1)
    let lock = NSLock()
    private let now: @Sendable () -> Int64
    var state = State()
    private var accounts: [String: Account] = [:]
    private var codes: [String: (member: Identifier, role: Role)] = [:]
    private let random: @Sendable () -> UInt64
    private var generator: IdentifierGenerator
    var history = 1
    var ordered: (history: Int, position: Int64, records: [RecordState])?
    private var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    private var nextWaiter = 0
    var pokes = 0
    /// Sets for which the server dies without an answer.
    var poison: (@Sendable (ChangeSet) -> Bool)?
    var isRevoked = false
    private var unstored: String?
    /// Sets whose stamps had to be corrected.
    private var corrected: Set<Dot> = []
    /// Replicas whose tokens alone are void.
    var revoked: Set<Identifier> = []
    /// What is wrong with this server on purpose.
    var fault: ModelFault?
    /// Columns and entities of a newer server, put on each page.
    var extraColumn: (entity: String, name: String, value: JSONValue)?
    var unknownBlock: (entity: String, columns: [String], rows: [[UInt8]])?

    /// - Parameter random: Where ids, codes and tokens come from; a seeded source makes runs repeatable.
    init(
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
    func invite(_ name: String, role: Role, member existing: Identifier? = nil) -> (member: Identifier, code: String) {
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
    func write(_ changes: [Change], knowing position: Int64? = nil) -> Outcome {
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
    func load(_ records: [RecordState]) {
        lock.withLock {
            for var record in records {
                state.position += 1
                record.position = FeedPosition(epoch: state.epoch, position: state.position)
                state.fingerprints[state.position] = "\(history)-\(state.position)"
                state.records[record.key] = record
            }
        }
    }

    func evict(_ key: RecordKey, from replica: Identifier) {
        lock.withLock {
            advance()
            state.evictions.append((state.position, key, replica))
        }
    }

    func snapshot() -> State { lock.withLock { state } }

    /// The server's disk is an old copy now; nobody told it.
    func restore(_ old: State) {
        lock.withLock {
            state = readable(old)
            history += 1
            ordered = nil
        }
    }

    /// Tombstones up to now are gone.
    func forgetTombstones() {
        lock.withLock {
            // Where the last of them was, as maintenance does it.
            let last = state.records.values.filter { !$0.isLive }.map(\.position.position).max()
            if fault != .forgetsTombstonesSilently { state.horizon = max(state.horizon, last ?? 0) }
            for (key, record) in state.records where !record.isLive { state.records[key] = nil }
            ordered = nil
        }
    }

    func record(_ entity: String, _ id: Identifier) -> RecordState? { lock.withLock { state.records[RecordKey(entity, id)] } }
    var position: Int64 { lock.withLock { state.position } }
    var epoch: Int64 { lock.withLock { state.epoch } }
    func applications(of dot: Dot) -> Int { lock.withLock { state.applications[dot] ?? 0 } }
    func outcome(of dot: Dot) -> Outcome? {
        lock.withLock { state.outcomes[dot.replica]?[dot.counter] }.flatMap { try? JSONValue(parsing: $0.bytes) }.flatMap(
            Outcome.init(json:))
    }

    /// What a replica with all of it holds; with `replica`, without what left that one's scope and what its member may not see.
    /// - Parameter build: Of the replica, if it is not the server's: fields and entities that it does not know do not count.
    func digest(for replica: Identifier? = nil, build: Schema? = nil) -> [String: EntityDigest] {
        lock.withLock {
            var digests: [String: EntityDigest] = [:]
            let gone = Set(state.evictions.filter { $0.replica == replica }.map(\.key))
            let account = accounts.values.first { $0.replica == replica }
            let hides = account.map(hidesRestricted) ?? false
            for entity in (build ?? schema).entities where entity.scopes != [.none] {
                var digest = ContentDigest(of: entity)
                for record in state.records.values.filter({ $0.schema.name == entity.name && !gone.contains($0.key) })
                    .sorted(by: { $0.id < $1.id })
                {
                    digest.add(hides ? Self.withoutRestricted(record) : record)
                }
                digests[entity.name] = EntityDigest(count: digest.count, hash: digest.finish())
            }
            return digests
        }
    }

    func hasCorrected(_ dot: Dot) -> Bool { lock.withLock { corrected.contains(dot) } }

    /// The mark that a checkpoint at head has now.
    var headMark: CheckpointMark {
        lock.withLock {
            CheckpointMark(
                position: FeedPosition(epoch: state.epoch, position: state.position), fingerprint: state.fingerprints[state.position] ?? "")
        }
    }

    // MARK: Who may see what

    private func role(_ account: Account) -> Role {
        state.records[RecordKey("member", account.member)]?.text("role").flatMap(Role.init(rawValue:)) ?? account.role
    }

    private func hidesRestricted(_ account: Account) -> Bool { role(account) == .field }

    private static func withoutRestricted(_ record: RecordState) -> RecordState {
        var record = record
        for field in record.schema.fields where field.isRestricted { record[field.name] = .null }
        return record
    }

    // MARK: Inspection

    func get(_ path: String, _ query: [(name: String, value: String)], token: String) throws -> [UInt8] {
        try lock.withLock {
            let account = try account(token)
            do {
                switch path {
                case "digest": return try digest(DigestRequest(query: query), account)
                case "records": return try records(RecordsRequest(query: query), account)
                case "activity": return try activity(ActivityRequest(query: query), account)
                default: throw refusal(.notFound)
                }
            } catch let error as WireError {
                throw refusal(.badRequest, error.description)
            }
        }
    }

    /// The replica's own live records of an entity.
    private func live(_ entity: String, _ account: Account) -> [RecordState] {
        let gone = Set(state.evictions.filter { $0.replica == account.replica }.map(\.key))
        let records = state.records.values.filter { $0.schema.name == entity && $0.isLive && !gone.contains($0.key) }
        return (hidesRestricted(account) ? records.map(Self.withoutRestricted) : Array(records)).sorted { $0.id < $1.id }
    }

    private func digest(_ request: DigestRequest, _ account: Account) throws -> [UInt8] {
        var reply: JSONObject = ["position": .integer(state.position), "epoch": .integer(state.epoch), "schema": .integer(schema.version)]
        if let entity = request.entity, let schema = schema.entity(entity) {
            let all = live(entity, account)
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
                for record in live(entity.name, account) { digest.add(record) }
                entities[entity.name] = ["count": .integer(digest.count), "hash": .string(digest.finish())]
            }
            reply["entities"] = .object(entities)
        }
        return JSONValue.object(reply).canonicalBytes()
    }

    private func records(_ request: RecordsRequest, _ account: Account) throws -> [UInt8] {
        guard let schema = schema.entity(request.entity) else { throw refusal(.badRequest) }
        let columns = RowLayout(of: schema, audience: .replica).columns
        let hides = hidesRestricted(account)
        let rows = request.ids.compactMap { state.records[RecordKey(request.entity, $0)] }.map { record in
            let record = hides ? Self.withoutRestricted(record) : record
            return JSONValue.array(columns.map { $0 == "versions" ? .null : record.column($0) })
        }
        let block: JSONValue = [
            "entity": .string(request.entity), "columns": .array(columns.map { .string($0) }), "rows": .array(rows),
        ]
        return JSONValue.object(["position": .integer(state.position), "epoch": .integer(state.epoch), "entities": .array([block])])
            .canonicalBytes()
    }

    private func activity(_ request: ActivityRequest, _ account: Account) throws -> [UInt8] {
        let hides = hidesRestricted(account)
        let visible = state.feed.compactMap { entry -> ActivityEntry? in
            guard entry.scopeKeys.contains(where: { !$0.hasPrefix("member:") || $0 == "member:\(account.member.text)" }) else { return nil }
            var entry = entry
            if hides { entry.restrictedChanges = JSONObject() }
            return entry
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

    func enroll(_ request: EnrollmentRequest) throws -> EnrollmentReply {
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

    func fork(_ request: ForkRequest, token: String) throws -> EnrollmentReply {
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

    func push(_ bytes: [UInt8], token: String) throws -> [UInt8] {
        let reply = try lock.withLock {
            let reply = try pushLocked(bytes, token)
            try checkStored(reply, token)
            return reply
        }
        poke()
        return reply
    }

    /// An answer leaves only after what it says is stored: looked at here, because a replica may hear another one by the end of its sync.
    private func checkStored(_ reply: [UInt8], _ token: String) throws {
        let replica = try account(token).replica
        let stored = state.outcomes[replica] ?? [:]
        for (counter, outcome) in try PushReply(parsing: reply).outcomes where stored[counter]?.bytes != outcome {
            unstored = "\(counter): \(String(decoding: outcome, as: UTF8.self))"
        }
    }

    /// The last answer that was given and not kept.
    var unstoredAnswer: String? { lock.withLock { unstored } }

    private func pushLocked(_ bytes: [UInt8], _ token: String) throws -> [UInt8] {
        let account = try account(token)
        let push: PushRequest.ReceivedPush
        do { push = try PushRequest.receive(bytes) } catch { throw refusal(.badRequest, "\(error)") }
        guard role(account) != .viewer else { throw refusal(.forbidden, "this replica is read-only") }
        guard push.schemaVersion <= schema.version else { throw refusal(.schemaTooOld, details: ["schema": .integer(schema.version)]) }
        _ = try place(push.cursor)
        let replica = account.replica
        let uncommitted = fault == .acknowledgesBeforeCommit && !push.sets.isEmpty && random() % 4 == 0 ? state : nil
        var outcomes: [(counter: Int64, outcome: [UInt8])] = []
        for set in push.sets {
            let dot = set.dot
            if let stored = state.outcomes[replica]?[dot.counter], !isForgotten(dot) {
                guard stored.hash == set.hash || mistakesForItsOwn(set, dot) else {
                    throw refusal(.fork, details: ["counter": .integer(dot.counter)])
                }
                outcomes.append((dot.counter, stored.bytes))
                continue
            }
            guard dot.counter > state.acknowledged[replica] ?? 0 || isForgotten(dot) else {
                throw refusal(.fork, details: ["counter": .integer(dot.counter)])
            }
            let expected = (state.acknowledged[replica] ?? 0) + 1
            let mayJump = state.lastEpoch[replica] ?? 0 < state.epoch && dot.counter > expected
            guard dot.counter == expected || mayJump || isForgotten(dot) else {
                throw refusal(.counterGap, details: ["expected": .integer(expected)])
            }
            if case .set(let content) = set.content, poison?(content) == true { throw TransportFailure.dropped("the server died") }
            let outcome = decide(set, account, push.recognised)
            let bytes = outcome.json.canonicalBytes()
            state.outcomes[replica, default: [:]][dot.counter] = (set.hash, bytes)
            state.acknowledged[replica] = max(dot.counter, state.acknowledged[replica] ?? 0)
            state.lastEpoch[replica] = state.epoch
            outcomes.append((dot.counter, bytes))
        }
        if let before = uncommitted { state = before }
        return PushReply(serverMilliseconds: now(), outcomes: outcomes).bytes()
    }

    func pull(_ request: PullRequest, token: String) throws -> [UInt8] { try lock.withLock { try pullLocked(request, token) } }

    /// Whether a pull has nothing to tell yet.
    func hasNews(_ request: PullRequest, token: String) throws -> Bool {
        try lock.withLock { try place(request.cursor) < state.position }
    }

    private func pullLocked(_ request: PullRequest, _ token: String) throws -> [UInt8] {
        let account = try account(token)
        let after = try place(request.cursor)
        let hides = hidesRestricted(account)
        // Who sees more or less than before needs everything anew.
        if let cursor = Place(request.cursor), cursor.hidesRestricted != hides { throw refusal(.resyncRequired) }
        let floor = Place(request.cursor)?.floor ?? state.position
        // A first sync that began after those tombstones were forgotten needs none of them.
        if after < state.horizon, floor < state.horizon { throw refusal(.resyncRequired) }
        let limit = request.limit ?? Limits.recordsPerPageDefault
        let gone = Set(state.evictions.filter { $0.replica == account.replica }.map(\.key))
        let all = inOrder()
        let start = all.partitioningIndex { $0.position.position > after }
        let late = lateRecord(after)
        let changed = all[start...].filter { record in
            (record.isLive || record.position.position > floor) && !gone.contains(record.key) && record.key != late
        }[...]
        let page = changed.prefix(limit)
        let hasMore = page.count < changed.count
        let end = hasMore ? page.last?.position.position ?? after : state.position
        var blocks: [(entity: String, columns: [String], rows: [[UInt8]])] = []
        for (entity, records) in Dictionary(grouping: page, by: { $0.schema.name }).sorted(by: { $0.key < $1.key }) {
            guard let schema = schema.entity(entity) else { continue }
            var columns = RowLayout(of: schema, audience: .replica).columns
            if let extraColumn, extraColumn.entity == entity { columns.append(extraColumn.name) }
            let rows = records.map { record in row(hides ? Self.withoutRestricted(record) : record, columns, request, after) }
            blocks.append((entity, columns, rows))
        }
        if let unknownBlock, request.cursor == nil { blocks.append(unknownBlock) }
        let evictions = state.evictions.filter { $0.replica == account.replica && $0.position > after && $0.position <= end }.map(\.key)
        guard !hasMore else {
            return PullPage.write(
                serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: cursor(end, floor, hides), checkpoint: nil,
                outcomes: [])
        }
        let acknowledged = state.acknowledged[account.replica] ?? 0
        let outcomes = (state.outcomes[account.replica] ?? [:]).filter { $0.key > request.outcomesAfter }.sorted { $0.key < $1.key }
            .map { ToldOutcome(counter: $0.key, outcome: $0.value.bytes, hash: $0.value.hash) }
        let mark = CheckpointMark(position: FeedPosition(epoch: state.epoch, position: end), fingerprint: state.fingerprints[end] ?? "")
        return PullPage.write(
            serverMilliseconds: now(), blocks: blocks, evictions: evictions, next: cursor(end, floor, hides),
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
            if let own = content.clock.replicas[content.dot.replica], own >= content.dot.counter {
                return .rejected([
                    Violation(
                        entity: "", id: nil, field: "clock", code: .invalidSyntax,
                        message: "a set cannot have been known before it was made")
                ])
            }
            let isSkewed = content.timestamp.milliseconds > now() + HybridClock.skewToleranceMilliseconds
            var stamp = isSkewed ? HybridTimestamp(milliseconds: now()) : content.timestamp
            if let last = state.lastStamp[account.replica], stamp <= last { stamp = last.next }
            if stamp != content.timestamp { corrected.insert(content.dot) }
            if fault == .lastWriterByArrival { stamp = max(stamp, state.stamp.next) }
            state.lastStamp[account.replica] = stamp
            state.applications[content.dot, default: 0] += 1
            return decide(
                Submission(
                    changes: content.changes,
                    author: Author(kind: .member, member: account.member, role: role(account), replica: account.replica), dot: content.dot,
                    clock: capped(content.clock, account.replica, recognised), timestamp: stamp, isSkewed: isSkewed,
                    schemaVersion: content.schemaVersion))
        }
    }

    /// What a clock of another history vouches for here.
    private func capped(_ clock: VectorClock, _ replica: Identifier, _ recognised: [CheckpointMark]) -> VectorClock {
        if fault == .knowsEverything {
            return VectorClock(feed: FeedPosition(epoch: state.epoch, position: state.position), replicas: clock.replicas)
        }
        var capped = clock
        if clock.feed.epoch != state.epoch || clock.feed.position > state.position {
            let known = recognised.filter {
                $0.position.epoch <= clock.feed.epoch && state.fingerprints[$0.position.position] == $0.fingerprint
            }
            let newest = known.map(\.position.position).max() ?? 0
            capped.feed = FeedPosition(epoch: state.epoch, position: min(clock.feed.position, newest))
        }
        for (lane, counter) in clock.replicas where lane != replica { capped.replicas[lane] = min(counter, state.acknowledged[lane] ?? 0) }
        return capped
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
            state.feed += kept(decision.entries.map { ActivityEntry($0) })
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

    /// A cursor, opened.
    private struct Place {
        var epoch: Int64
        var position: Int64
        var fingerprint: String
        /// Head when the first sync began: tombstones up to here were never held and are not sent.
        var floor: Int64
        var hidesRestricted: Bool

        init?(_ cursor: String?) {
            let parts = cursor?.split(separator: ".") ?? []
            guard parts.count == 5, let epoch = Int64(parts[0]), let position = Int64(parts[1]), let floor = Int64(parts[3]) else {
                return nil
            }
            (self.epoch, self.position, fingerprint, self.floor) = (epoch, position, String(parts[2]), floor)
            hidesRestricted = parts[4] == "1"
        }
    }

    private func cursor(_ position: Int64, _ floor: Int64, _ hidesRestricted: Bool) -> String {
        "\(state.epoch).\(position).\(state.fingerprints[position] ?? "").\(floor).\(hidesRestricted ? 1 : 0)"
    }

    /// The position of a cursor of this history.
    private func place(_ cursor: String?) throws -> Int64 {
        guard let cursor else { return 0 }
        guard let place = Place(cursor) else { throw refusal(.invalidCursor) }
        if place.epoch < state.epoch { throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)]) }
        guard place.epoch == state.epoch, place.position <= state.position, state.fingerprints[place.position] == place.fingerprint else {
            if fault == .overlooksRestores { return min(place.position, state.position) }
            startEpoch(after: place.epoch)
            throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)])
        }
        return place.position
    }

    /// The server was restored from a backup: what it says from now on must not be mistaken for what was lost.
    private func startEpoch(after number: Int64) {
        let previous = state.epoch
        state.epoch = max(number, previous) + 1
        state.position = fault == .reusesPositions ? state.position + 1 : max(state.epoch * FeedPosition.epochStride, state.position + 1)
        let position = FeedPosition(epoch: state.epoch, position: state.position)
        state.fingerprints[position.position] = "\(history)-\(position.position)"
        let entry = FeedEntry(
            position: position, atMilliseconds: now(), author: .system, dot: nil, key: RecordKey("tenant", tenant), operation: .derived,
            kind: "sync.epoch_started", category: "sync", isMajor: false,
            changes: ["epoch": ["old": .integer(previous), "new": .integer(state.epoch)]], restrictedChanges: JSONObject(), anchors: [],
            scopeKeys: [], cause: nil, depth: 0, operationMilliseconds: now())
        state.feed.append(ActivityEntry(entry))
    }

    private func advance() {
        state.position += 1
        state.fingerprints[state.position] = "\(history)-\(state.position)"
    }

    private func account(_ token: String) throws -> Account {
        guard let account = accounts[token] else { throw refusal(.unauthorized) }
        if isRevoked || revoked.contains(account.replica) { throw refusal(.replicaRevoked) }
        return account
    }

    func refusal(_ code: ErrorCode, _ message: String = "", details: JSONObject = JSONObject()) -> TransportFailure {
        .reply(ErrorReply(code, message.isEmpty ? code.rawValue : message, requestID: "model", details: details), status: code.status)
    }

    // MARK: Waiting

    /// Returns when something happened since the pokes were counted; at once if it has happened already.
    func waitForNews(since count: Int) async {
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

    var pokeCount: Int { lock.withLock { pokes } }
    var waiterCount: Int { lock.withLock { waiters.count } }

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
