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

extension Store {
    /// Runs `body` and makes its changes one pending set. Throws `refused` with nothing changed.
    func commit<R: Sendable>(
        newIdentifier: @escaping () -> Identifier, summary: String?, _ body: (Edit) throws -> R
    ) throws -> WriteResult<R> {
        try connection.immediateTransaction { try commitInTransaction(newIdentifier: newIdentifier, summary: summary, body) }
    }

    /// Every body becomes a set of its own, all of them durable at once. A refused one takes only itself back.
    func commitEach(
        newIdentifier: @escaping () -> Identifier, _ bodies: [@Sendable (Edit) throws -> Void]
    ) throws -> [Result<WriteResult<Void>, ReplicaError>] {
        try connection.immediateTransaction {
            try bodies.map { body in
                do {
                    return .success(
                        try connection.savepoint { try commitInTransaction(newIdentifier: newIdentifier, summary: nil) { try body($0) } })
                } catch let error as ReplicaError where error.code == .refused {
                    return .failure(error)
                }
            }
        }
    }

    private func commitInTransaction<R: Sendable>(
        newIdentifier: @escaping () -> Identifier, summary: String?, _ body: (Edit) throws -> R
    ) throws -> WriteResult<R> {
        let meta = Metadata(connection: connection)
        let identity = try meta.requireIdentity("write")
        let checkpoint = try meta.checkpoint()
        let edit = Edit(store: self, mayChangeConfirmed: checkpoint != nil, newIdentifier: newIdentifier)
        let value = try body(edit)
        let changes = edit.changes
        let nothing = WriteResult(value: value, counter: nil, outcome: Outcome(status: .noop), records: [])
        if changes.isEmpty { return nothing }
        guard changes.count <= Limits.changesPerSet else {
            throw tooLarge("a set has at most \(Limits.changesPerSet) changes, this has \(changes.count)", Limits.changesPerSet)
        }

        // 1. The set as it will be sealed: what its author knows is the checkpoint and everything of its own.
        let counter = (try meta.integer(.counter) ?? 0) + 1
        var clock = try meta.clock()
        let set = ChangeSet(
            dot: Dot(replica: identity.replica, counter: counter),
            clock: VectorClock(feed: checkpoint?.position ?? .start, replicas: [identity.replica: counter - 1]),
            timestamp: clock.now(wallMilliseconds: environment.wallMilliseconds()), changes: changes)

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
        let text = summary ?? ChangeSummary.text(of: changes) { key in edit.state(of: key)?.title }
        try insertPending(set, sealed: sealed, hash: ChangeSet.hash(ofSealed: sealed), summary: text)
        try meta.set(.counter, counter)
        try meta.set(clock)
        return WriteResult(value: value, counter: counter, outcome: decision.outcome, records: written.map(\.key))
    }

    func submission(of set: ChangeSet, _ author: Author) -> Submission {
        Submission(changes: set.changes, author: author, dot: set.dot, clock: set.clock, timestamp: set.timestamp)
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

    /// Edits captured outside of `write { }` become sets before anything is applied, so that no edit is credited with
    /// knowledge that arrived after it. `write { }` seals at once: there is nothing to do until tools can edit by plain SQL.
    func sealCaptured() throws { try step(.applySeal) }
}
