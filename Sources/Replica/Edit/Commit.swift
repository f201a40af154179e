// From captured changes to a durable pending set: decide, seal, save bases, write the view. All in one transaction.

import SyncProtocol

/// What a `write` did.
public struct WriteResult<Value: Sendable>: Sendable {
    /// What the body returned.
    public var value: Value
    /// The counter of the set; nil when there was nothing to change and so no set.
    public var counter: Int64?
    /// What the server is predicted to say, warnings included.
    public var outcome: Outcome
    public var records: [RecordKey]
}

/// What a set is made with besides its changes.
struct Commission {
    var newIdentifier: () -> Identifier
    /// nil: made from the changes.
    var summary: String?
    /// What its author knew; nil while the first sync has not reached its end.
    var checkpoint: FeedPosition?
    var wallMilliseconds: Int64
    /// The set that this one takes back.
    var undoes: Int64?
    /// The schema that its author worked with; nil: this build's.
    var schemaVersion: Int64?
}

extension Store {
    /// Runs `body` and makes its changes one pending set. Throws `refused` with nothing changed.
    func commit<R: Sendable>(
        newIdentifier: @escaping () -> Identifier, summary: String?, _ body: (Edit) throws -> R
    ) throws -> WriteResult<R> {
        try sealedTransaction {
            try commitInTransaction(try commission(newIdentifier, summary), body)
        }
    }

    /// Every body becomes a set of its own, all of them durable at once. A refused one takes only itself back.
    func commitEach(
        newIdentifier: @escaping () -> Identifier, _ bodies: [@Sendable (Edit) throws -> Void]
    ) throws -> [Result<WriteResult<Void>, ReplicaError>] {
        try sealedTransaction {
            try bodies.map { body in
                do {
                    return .success(
                        try connection.savepoint { try commitInTransaction(try commission(newIdentifier, nil)) { try body($0) } })
                } catch let error as ReplicaError where error.code == .refused {
                    return .failure(error)
                }
            }
        }
    }

    func commission(_ newIdentifier: @escaping () -> Identifier, _ summary: String?) throws -> Commission {
        Commission(
            newIdentifier: newIdentifier, summary: summary, checkpoint: try Metadata(connection: connection).checkpoint()?.position,
            wallMilliseconds: environment.wallMilliseconds())
    }

    func commitInTransaction<R: Sendable>(_ commission: Commission, _ body: (Edit) throws -> R) throws -> WriteResult<R> {
        let meta = Metadata(connection: connection)
        let identity = try meta.requireIdentity("write")
        let edit = Edit(store: self, mayChangeConfirmed: commission.checkpoint != nil, newIdentifier: commission.newIdentifier)
        let value = try body(edit)
        let changes = edit.changes
        let nothing = WriteResult(value: value, counter: nil, outcome: Outcome(status: .noop), records: [])
        if changes.isEmpty { return nothing }
        guard changes.count <= Limits.changesPerSet else {
            throw tooLarge("a set has at most \(Limits.changesPerSet) changes, this has \(changes.count)", Limits.changesPerSet)
        }
        if let bundled = FactsApart.violation(in: changes, schema) { throw ReplicaError.refused([bundled]) }

        // 1. The set as it will be sealed: what its author knows is the checkpoint and everything of its own.
        let counter = (try meta.integer(.counter) ?? 0) + 1
        var clock = try meta.clock()
        let set = ChangeSet(
            dot: Dot(replica: identity.replica, counter: counter),
            clock: try knowledge(commission.checkpoint, identity.replica, counter),
            timestamp: clock.now(wallMilliseconds: commission.wallMilliseconds), changes: changes,
            schemaVersion: commission.schemaVersion ?? schema.version)

        // 2. Decide on the view.
        let workspace = Workspace(schema: schema)
        let author = try author(identity)
        var processor = processor(for: set, workspace, identity)
        let decision = try deciding(workspace, .everythingShown, first: processor.declaredReads(of: changes)) {
            processor.decide(submission(of: set, author))
        }
        guard decision.outcome.status != .rejected else { throw ReplicaError.refused(decision.outcome.violations) }
        if decision.outcome.status == .noop { return nothing }

        // 3. Seal. These bytes are never made again.
        let sealed = set.sealedBytes()
        guard sealed.count <= Limits.bytesPerSet else {
            throw tooLarge("a set has at most \(Limits.bytesPerSet) bytes, this has \(sealed.count)", Limits.bytesPerSet)
        }

        // 4. Write.
        try step(.writeBases)
        let written = workspace.writtenRecords
        for record in written where tables[record.schema.name] != nil {
            try saveBase(record.key, confirmed: workspace.original(record.key), queuedState: record.queuedState)
        }
        try step(.writeView)
        for record in written { try put(record) }
        try step(.writePending)
        let text = commission.summary ?? ChangeSummary.text(of: changes) { key in edit.state(of: key)?.title }
        try insertPending(
            set, sealed: sealed, hash: ChangeSet.hash(ofSealed: sealed), summary: text, undo: edit.undo, undoes: commission.undoes)
        try meta.set(.counter, counter)
        try meta.set(clock)
        return WriteResult(value: value, counter: counter, outcome: decision.outcome, records: written.map(\.key))
    }

    /// The checkpoint, everything of its own, and what it shares with the replica it was copied from.
    func knowledge(_ checkpoint: FeedPosition?, _ replica: Identifier, _ counter: Int64) throws -> VectorClock {
        var lanes = try Metadata(connection: connection).sharedLanes()
        lanes[replica] = counter - 1
        return VectorClock(feed: checkpoint ?? .start, replicas: lanes)
    }

    func submission(of set: ChangeSet, _ author: Author) -> Submission {
        Submission(
            changes: set.changes, author: author, dot: set.dot, clock: set.clock, timestamp: set.timestamp,
            schemaVersion: set.schemaVersion)
    }

    /// Each set is decided at its own time, so that replay gives the same values whenever it runs.
    func processor(for set: ChangeSet, _ workspace: Workspace, _ identity: ReplicaIdentity) -> Processor {
        Processor(
            schema: schema, workspace: workspace, mode: .replica, tenant: identity.tenant,
            nowMilliseconds: set.timestamp.milliseconds, head: .unconfirmed)
    }

    private func tooLarge(_ message: String, _ limit: Int) -> ReplicaError {
        .refused([
            Violation(
                entity: "", id: nil, field: "set", code: .payloadTooLarge, message: message, parameters: ["max": .integer(Int64(limit))])
        ])
    }
}
