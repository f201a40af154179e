// A server in memory, built on the real core: it decides, numbers, answers and pages like the real one, so that replicas
// are tested against the protocol without Postgres. What it leaves out: REST, webhooks, pages cut by bytes, bounds on rows that are
// looked at.

import Foundation
import SyncProtocol

@testable import Replica

// @unchecked Sendable: everything is touched under the lock.
public final class ModelServer: ServerCore, @unchecked Sendable {
    public typealias State = ServerState

    struct Account {
        var member: Identifier
        var replica: Identifier
        var role: Role
    }

    struct Code {
        var member: Identifier
        var role: Role
        var expiresAt: Int64
        var isUsed = false
        /// Which replica it has made, and for which attempt.
        var replica: Identifier?
        var attempt: String?
    }

    /// Of the build that runs; see ``upgrade(to:)``.
    public internal(set) var schema: Schema
    public let tenant: Identifier
    let lock = NSLock()
    let now: @Sendable () -> Int64
    var state = State()
    private(set) var accounts: [String: Account] = [:]
    /// Of every token that was ever given: a backup brings back those that it knows.
    private var everyAccount: [String: Account] = [:]
    private var codes: [String: Code] = [:]
    /// What was stated of replicas. The key to such statements outlives every restore.
    var statements: [String: Statement] = [:]
    /// Whose each replica is, or was.
    var members: [Identifier: Identifier] = [:]
    private var secrets = 0
    private var generator: IdentifierGenerator
    var history = 1
    var ordered: (history: Int, position: Int64, records: [RecordState])?
    private let pokes = Pokes()
    /// Sets for which the server dies without an answer.
    public var poison: (@Sendable (ChangeSet) -> Bool)?
    public var isRevoked = false
    /// Replicas whose tokens alone are void.
    public var revoked: Set<Identifier> = []
    /// How much may wait after a restore.
    public var waitingLimits = WaitingLimits()
    public var storageQuota = StorageQuota()
    /// Of an answer with single records.
    public var recordsBytesMax = RecordsRequest.bytesMax
    /// What is wrong with this server on purpose.
    public var fault: ModelFault?
    /// A number that another reading of the same events gives another value; see ``ModelFault/renamesEvents``.
    var readings = 0
    var pushes = 0
    var unstored: String?
    /// Columns and entities of a newer server, put on each page.
    public var extraColumn: (entity: String, name: String, value: JSONValue)?
    public var unknownBlock: (entity: String, columns: [String], rows: [[UInt8]])?

    /// - Parameter random: Where ids come from; a seeded source makes runs repeatable.
    public init(
        schema: Schema = .tideline, tenant: Identifier = Identifier(high: 0x7E, low: 1),
        random: @escaping @Sendable () -> UInt64 = { UInt64.random(in: 0...UInt64.max) }, now: @escaping @Sendable () -> Int64
    ) {
        self.schema = schema
        self.tenant = tenant
        self.now = now
        generator = IdentifierGenerator(random: random)
        guard schema.entity("tenant") != nil else { return }
        write([ServerBeginnings.tenant(tenant)])
    }

    /// Unique; nobody guesses in a test.
    private func secret(_ kind: String) -> String {
        secrets += 1
        return "\(kind)-\(secrets)"
    }

    // MARK: Administration

    public func invite(_ name: String, role: Role, member existing: Identifier?) -> (member: Identifier, code: String) {
        let member = existing ?? lock.withLock { generator.next(milliseconds: now()) }
        if existing == nil, schema.entity("member") != nil {
            let outcome = write([ServerBeginnings.member(member, name, role)])
            precondition(outcome.status == .accepted, "\(name) cannot be a member: \(outcome.violations)")
        }
        let code = lock.withLock {
            let code = secret("code")
            codes[code] = Code(member: member, role: role, expiresAt: now() + Self.codeLifetimeMilliseconds)
            return code
        }
        return (member, code)
    }

    /// 72 hours (protocol §7.1).
    private static let codeLifetimeMilliseconds: Int64 = 72 * 3_600_000

    @discardableResult
    public func write(_ changes: [Change], knowing position: Int64?) -> Outcome {
        let outcome = lock.withLock { writeLocked(changes, knowing: position) }
        pokes.poke()
        return outcome
    }

    func writeLocked(_ changes: [Change], knowing position: Int64? = nil) -> Outcome {
        let stamp = max(HybridTimestamp(milliseconds: now()), state.stamp.next)
        return decide(
            Submission(
                changes: changes, author: .system, dot: nil,
                clock: VectorClock(feed: FeedPosition(epoch: state.epoch, position: position ?? state.position)), timestamp: stamp))
    }

    public func load(_ records: [RecordState]) {
        lock.withLock {
            for var record in records {
                let position = FeedPosition(epoch: state.epoch, position: state.position + 1)
                enter(ServerBeginnings.loaded(record, at: position, nowMilliseconds: now()))
                record.position = position
                state.records[record.key] = record
            }
        }
        pokes.poke()
    }

    public func snapshot() -> State {
        lock.withLock {
            var state = state
            state.tokens = Set(accounts.keys)
            state.codes = codes.mapValues(\.isUsed)
            return state
        }
    }

    public func restore(_ old: State, keepsEnrolments: Bool) {
        lock.withLock {
            let restrictedSince = state.restrictedSince
            state = readable(old)
            // A replica that came since is what it was when it came: only nothing of it was processed.
            if keepsEnrolments {
                for (replica, since) in restrictedSince where old.acknowledged[replica] == nil { state.restrictedSince[replica] = since }
                for statement in statements.values where statement.base > 0 && old.acknowledged[statement.replica] == nil {
                    state.acknowledged[statement.replica] = statement.base
                }
            } else {
                accounts = [:]
                codes = codes.filter { old.codes[$0.key] != nil }
                for (text, isUsed) in old.codes where !isUsed { codes[text]?.isUsed = false }
            }
            for token in old.tokens { accounts[token] = everyAccount[token] }
            ordered = nil
            history += 1
        }
    }

    public func forgetTombstones() {
        lock.withLock {
            for (key, record) in state.records where !record.isLive {
                if fault != .forgetsTombstonesSilently { state.horizon = max(state.horizon, record.position.position) }
                state.records[key] = nil
            }
            if let last = state.exits.map(\.position).max(), fault != .forgetsTombstonesSilently {
                state.horizon = max(state.horizon, last)
            }
            state.exits = []
            ordered = nil
        }
    }

    // MARK: Looking inside

    public func record(_ entity: String, _ id: Identifier) -> RecordState? { lock.withLock { state.records[RecordKey(entity, id)] } }
    public var position: Int64 { lock.withLock { state.position } }
    public var epoch: Int64 { lock.withLock { state.epoch } }
    public func applications(of dot: Dot) -> Int { lock.withLock { state.applications[dot] ?? 0 } }
    public func outcome(of dot: Dot) -> Outcome? {
        lock.withLock { state.outcomes[dot.replica]?[dot.counter] }.flatMap { try? JSONValue(parsing: $0.bytes) }.flatMap(
            Outcome.init(json:))
    }

    public func digest(for replica: Identifier?) -> [String: EntityDigest] { modelDigest(for: replica, build: schema) }

    /// - Parameter build: Fields and entities that it does not know do not count.
    func modelDigest(for replica: Identifier?, build: Schema) -> [String: EntityDigest] {
        lock.withLock {
            var digests: [String: EntityDigest] = [:]
            let account = accounts.values.first { $0.replica == replica }
            let reader = ReaderAccess(member: account?.member ?? .zero, role: account.flatMap { role(of: $0) } ?? .owner)
            for entity in build.entities where entity.scopes != [.none] {
                var digest = ContentDigest(of: entity)
                for record in live(entity.name, reader) { digest.add(record) }
                digests[entity.name] = EntityDigest(count: digest.count, hash: digest.finish())
            }
            return digests
        }
    }

    /// The mark that a checkpoint at head has now.
    public var headMark: CheckpointMark {
        lock.withLock {
            CheckpointMark(
                position: FeedPosition(epoch: state.epoch, position: state.position), fingerprint: state.fingerprints[state.position] ?? "")
        }
    }

    // MARK: Who asks

    /// Throws `unauthorized`, `forbidden` or `replica_revoked`, as the records of member and replica say.
    func account(_ token: String) throws -> Account {
        guard var account = accounts[token] else { throw refusal(.unauthorized) }
        if isRevoked || revoked.contains(account.replica) { throw refusal(.replicaRevoked) }
        guard let role = role(of: account) else { throw refusal(.forbidden) }
        if let record = state.records[RecordKey("replica", account.replica)], !record.isLive || record.text("status") == "revoked" {
            throw refusal(.replicaRevoked)
        }
        account.role = role
        return account
    }

    /// nil for a member who may do nothing any more.
    private func role(of account: Account) -> Role? {
        guard schema.entity("member") != nil else { return account.role }
        guard let member = state.records[RecordKey("member", account.member)], member.isLive, member.text("status") != "disabled" else {
            return nil
        }
        return member.text("role").flatMap(Role.init(rawValue:))
    }

    func refusal(_ code: ErrorCode, _ message: String = "", details: JSONObject = JSONObject()) -> TransportFailure {
        .reply(ErrorReply(code, message.isEmpty ? code.rawValue : message, requestID: "model", details: details), status: code.status)
    }

    func refusal(_ reply: ErrorReply) -> TransportFailure {
        var reply = reply
        reply.requestID = "model"
        return .reply(reply, status: reply.knownCode?.status ?? 500)
    }

    // MARK: Enrolment

    public func enroll(_ request: EnrollmentRequest) throws -> EnrollmentReply {
        let reply = try lock.withLock { try enrollLocked(request) }
        pokes.poke()
        return reply
    }

    private func enrollLocked(_ request: EnrollmentRequest) throws -> EnrollmentReply {
        guard let code = codes[request.code] else { throw refusal(.codeInvalid) }
        guard !code.isUsed || code.attempt != nil && code.attempt == request.attempt else { throw refusal(.codeUsed) }
        guard code.expiresAt > now() else { throw refusal(.codeExpired) }
        guard let role = role(of: Account(member: code.member, replica: .zero, role: code.role)) else { throw refusal(.forbidden) }
        let former = try request.continues.map { try statement($0.identity, member: code.member) }
        let counter = request.continues?.counter ?? 0
        if code.isUsed, let made = code.replica {
            guard isUntouched(made) else { throw refusal(.codeUsed) }
            accounts = accounts.filter { $0.value.replica != made }
            state.acknowledged[made] = former.map { $0.replica == made ? $0.base : counter } ?? 0
            return reply(made, code.member, role, base: state.acknowledged[made] ?? 0)
        }
        var changes: [Change] = []
        if state.records[RecordKey("member", code.member)]?.text("status") == "invited" {
            changes.append(Change("member", code.member, .transition(name: "accept", observed: "invited", arguments: [:])))
        }
        let isLost = former.map { !isKnown($0.replica) } ?? false
        // Of a lost one it went down with its row.
        var restrictedSince: Int64? = role.seesRestricted ? 0 : nil
        if let former { restrictedSince = isLost ? nil : state.restrictedSince[former.replica] }
        try requireRoom(for: "replica")
        try requireRoom(for: code.member)
        let reply = register(
            code.member, role, label: request.label, platform: request.platform,
            acknowledged: former.map { isLost && fault != .believesClaimedCounters ? $0.base : counter } ?? 0,
            as: isLost ? former?.replica : nil, restrictedSince: restrictedSince, along: changes)
        var spent = code
        (spent.isUsed, spent.replica, spent.attempt) = (true, reply.replica, request.attempt)
        codes[request.code] = spent
        return reply
    }

    public func fork(_ request: ForkRequest, token: String) throws -> EnrollmentReply {
        let reply = try lock.withLock {
            let account = try account(token)
            let acknowledged = state.acknowledged[account.replica] ?? 0
            guard request.counter <= acknowledged else { throw refusal(.badRequest, details: ["acknowledged": .integer(acknowledged)]) }
            let common = request.commonID(tenant: tenant, member: account.member)
            if let common, accounts.values.contains(where: { $0.replica == common }), isLive(common) {
                guard accounts.values.count(where: { $0.replica == common }) < Limits.copiesPerReplica else {
                    throw refusal(
                        ErrorReply.limitReached(
                            "copies_per_replica", max: Limits.copiesPerReplica, field: "first", retryAfterSeconds: 3600, ""))
                }
                return self.reply(common, account.member, account.role, base: request.counter)
            }
            try requireRoom(for: "replica")
            try requireRoom(for: account.member)
            return register(
                account.member, account.role, label: request.label, platform: request.platform, acknowledged: request.counter,
                as: common.flatMap { isKnown($0) ? nil : $0 }, isLost: false, restrictedSince: state.restrictedSince[account.replica])
        }
        pokes.poke()
        return reply
    }

    /// Throws `limit_reached` when the tenant stores as much as it may.
    func requireRoom(for field: String, fits: Int? = nil) throws {
        do { try storageQuota.requireRoom(beside: state.storedBytes, field: field, fits: fits) } catch { throw refusal(error) }
    }

    private func requireRoom(for member: Identifier) throws {
        let count = members.count { $0.value == member && state.acknowledged[$0.key] != nil && isLive($0.key) }
        guard count >= Limits.replicasPerMember else { return }
        throw refusal(
            ErrorReply.limitReached("replicas_per_member", max: Limits.replicasPerMember, field: "member", retryAfterSeconds: 3600, ""))
    }

    private func isKnown(_ replica: Identifier) -> Bool {
        state.acknowledged[replica] != nil || state.records[RecordKey("replica", replica)] != nil
            || state.outcomes[replica]?.isEmpty == false || accounts.values.contains { $0.replica == replica }
    }

    private func isLive(_ replica: Identifier) -> Bool {
        guard !revoked.contains(replica) else { return false }
        guard schema.entity("replica") != nil else { return true }
        return state.records[RecordKey("replica", replica)].map { $0.isLive && $0.text("status") != "revoked" } ?? false
    }

    /// Nothing was asked as this replica that left a trace, and it may.
    private func isUntouched(_ replica: Identifier) -> Bool {
        let record = state.records[RecordKey("replica", replica)]
        return record.map { $0.isLive && $0.text("status") != "revoked" } ?? true && state.outcomes[replica]?.isEmpty ?? true
            && !state.deferred.keys.contains { $0.replica == replica }
    }

    func register(
        _ member: Identifier, _ role: Role, label: String, platform: String, acknowledged: Int64, as known: Identifier? = nil,
        isLost: Bool = true, restrictedSince: Int64?, along changes: [Change] = []
    ) -> EnrollmentReply {
        let replica = known ?? generator.next(milliseconds: now())
        create(
            replica, member, label: label, platform: platform, acknowledged: acknowledged, isLost: known != nil && isLost, along: changes)
        state.restrictedSince[replica] = restrictedSince
        return reply(replica, member, role, base: acknowledged)
    }

    /// Without a token.
    func create(
        _ replica: Identifier, _ member: Identifier, label: String, platform: String, acknowledged: Int64, isLost: Bool,
        along changes: [Change] = []
    ) {
        if schema.entity("replica") != nil {
            var fields: JSONObject = ["member": .string(member.text), "label": .string(label), "replication": "full"]
            if !platform.isEmpty { fields["platform"] = .string(platform) }
            let outcome = writeLocked([Change("replica", replica, .create(fields: fields))] + changes)
            precondition(outcome.status == .accepted, "a replica cannot be made: \(outcome.violations)")
        }
        state.storedBytes += StorageQuota.replicaBytes
        members[replica] = member
        state.lastEpoch[replica] = state.epoch - (isLost ? 1 : 0)
        state.acknowledged[replica] = acknowledged
    }

    private func reply(_ replica: Identifier, _ member: Identifier, _ role: Role, base: Int64) -> EnrollmentReply {
        let token = secret("token")
        accounts[token] = Account(member: member, replica: replica, role: role)
        everyAccount[token] = accounts[token]
        let identity = secret("identity")
        statements[identity] = Statement(member: member, replica: replica, base: base)
        return EnrollmentReply(
            token: token, tenant: tenant, member: member, replica: replica, role: role, replication: "full", serverMilliseconds: now(),
            schemaVersion: schema.version, identity: identity)
    }

    // MARK: Waiting

    public func hasNews(_ request: PullRequest, token: String) throws -> Bool {
        try lock.withLock { try place(request.cursor)?.mark.position.position ?? 0 < state.position }
    }

    public func waitForNews(since count: Int) async { await pokes.wait(since: count) }
    public var pokeCount: Int { pokes.count }
    public var waiterCount: Int { pokes.waiterCount }

    func poke() { pokes.poke() }
}
