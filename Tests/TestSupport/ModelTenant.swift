// A tenant in memory around the real core: what a store must do, in its simplest form. Tests of merge and rules run on it,
// and stores are held against it.

import SyncProtocol

public final class ModelTenant {
    public let schema: Schema
    public let id: Identifier
    public private(set) var records: [RecordKey: RecordState] = [:]
    public private(set) var feed: [FeedEntry] = []
    public private(set) var head = FeedPosition(epoch: 0, position: 0)
    public private(set) var outcomes: [Dot: Outcome] = [:]
    public private(set) var rejectedCreations: Set<Identifier> = []
    /// How often the shell had to load, for the last submission.
    public private(set) var lastLoadCount = 0
    public var nowMilliseconds: Int64 = 1_700_000_000_000

    public let owner: Identifier
    private var ids: IdentifierGenerator

    public init(schema: Schema = .testing, random: SeededRandom = SeededRandom(seed: 1)) {
        self.schema = schema
        let state = Locked(random)
        ids = IdentifierGenerator(random: { state.with { $0.next() } })
        id = ids.next(milliseconds: nowMilliseconds)
        owner = ids.next(milliseconds: nowMilliseconds)
        let outcome = server([
            Change("tenant", id, .create(fields: ["name": "Harbor Works", "base_currency": "USD"])),
            Change(
                "member", owner, .create(fields: ["name": "Olivia", "email": "olivia@example.com", "role": "owner", "status": "active"])),
        ])
        precondition(outcome.status == .accepted, "\(outcome.violations)")
    }

    public func newID() -> Identifier { ids.next(milliseconds: nowMilliseconds) }

    /// What somebody who saw everything so far knows.
    public var fullClock: VectorClock { VectorClock(feed: head) }

    public func record(_ entity: String, _ id: Identifier) -> RecordState? { records[RecordKey(entity, id)] }

    /// A write of the server itself.
    @discardableResult
    public func server(_ changes: [Change], author: Author = .system) -> Outcome {
        nowMilliseconds += 1
        return submit(
            Submission(
                changes: changes, author: author, dot: nil, clock: fullClock, timestamp: HybridTimestamp(milliseconds: nowMilliseconds)))
    }

    /// Decides a submission as a store would: load, decide, load what is missing, decide again; then keep the result.
    @discardableResult
    public func submit(_ submission: Submission) -> Outcome {
        if let dot = submission.dot, let stored = outcomes[dot] { return stored }
        let workspace = Workspace(schema: schema)
        var decision: Decision
        lastLoadCount = 0
        var wanted: [Read] = []
        repeat {
            for read in wanted { load(read, into: workspace) }
            if !wanted.isEmpty { lastLoadCount += 1 }
            workspace.discardWrites()
            var processor = Processor(
                schema: schema, workspace: workspace, mode: .server, tenant: id, nowMilliseconds: nowMilliseconds, head: head)
            if lastLoadCount == 0 { for read in processor.declaredReads(of: submission.changes) { load(read, into: workspace) } }
            decision = processor.decide(submission)
            wanted = workspace.takeMissing()
            precondition(lastLoadCount < 16, "a decision that never stands")
        } while !wanted.isEmpty
        for record in workspace.writtenRecords { records[record.key] = record }
        feed += decision.entries
        if let last = decision.entries.last { head = last.position }
        if let dot = submission.dot { outcomes[dot] = decision.outcome }
        if decision.outcome.status == .rejected { rejectedCreations.formUnion(decision.created) }
        return decision.outcome
    }

    public func load(_ read: Read, into workspace: Workspace) {
        switch read {
        case .record(let key): workspace.supply(read, records: records[key].map { [$0] } ?? [])
        case .lookup(let entity, let field, let value, let includingDeleted):
            let found = records.values.filter { record in
                guard record.schema.name == entity, includingDeleted || record.isLive else { return false }
                let isSet = record.schema.field(field)?.type.isSet ?? false
                return isSet ? record[field].arrayValue?.contains(value) ?? false : record[field] == value
            }
            workspace.supply(read, records: found)
        case .ancestors(let key, let parent):
            var chain: [RecordState] = []
            var next: Identifier? = key.id
            while let id = next, let record = records[RecordKey(key.entity, id)], !chain.contains(where: { $0.id == id }) {
                chain.append(record)
                next = record.identifier(parent)
            }
            workspace.supply(read, records: chain)
        case .rejectedCreation(let id): workspace.supply(rejectedCreation: id, wasRejected: rejectedCreations.contains(id))
        }
    }
}

/// A replica's author state in a model: makes submissions with the clock it would have.
public struct ModelAuthor {
    public let replica: Identifier
    public var author: Author
    /// What it saw at its last checkpoint.
    public var checkpoint: FeedPosition
    public private(set) var counter: Int64 = 0

    public init(_ tenant: ModelTenant, member: Identifier? = nil, role: Role = .owner) {
        replica = tenant.newID()
        author = Author(member: member ?? tenant.owner, role: role, replica: replica)
        checkpoint = tenant.head
    }

    /// Seals changes at a time (milliseconds) with what it knows.
    public mutating func seal(_ changes: [Change], at milliseconds: Int64) -> Submission {
        counter += 1
        return Submission(
            changes: changes, author: author, dot: Dot(replica: replica, counter: counter),
            clock: VectorClock(feed: checkpoint, replicas: [replica: counter - 1]), timestamp: HybridTimestamp(milliseconds: milliseconds))
    }

    public mutating func pull(_ tenant: ModelTenant) { checkpoint = tenant.head }
}
