// View = confirmed state + pending sets, decided one after another by the same function the server uses, each with the
// clock it was sealed with. A set that would be rejected now leaves the view, with all its effects.

import SyncProtocol

extension Store {
    /// Rebuilds the view of every record that has a base. Runs inside the transaction that changed bases or pending sets.
    /// Returns how many sets are newly predicted to be rejected.
    @discardableResult
    func replay() throws -> Int {
        let meta = Metadata(connection: connection)
        guard let identity = try meta.identity() else { return 0 }
        let acknowledged = try meta.integer(.acknowledged) ?? 0
        // 1. What is left to replay: nothing the server has processed, nothing withdrawn.
        let pending = try undecidedRows(acknowledged: acknowledged).filter { $0.sealed != nil }
        let bases = try bases()
        if pending.isEmpty, bases.isEmpty {
            try forgetVersionsIfUnneeded()
            return 0
        }
        // 2. The view shows confirmed state only.
        try step(.applyView)
        for base in bases { try show(base) }
        // 3. Decide the sets over it.
        let sets = pending.map { row in (row: row, set: decoded(row)) }
        let author = try author(identity)
        let workspace = Workspace(schema: schema)
        let reader = Processor(
            schema: schema, workspace: workspace, mode: .replica, tenant: identity.tenant, nowMilliseconds: 0, head: .unconfirmed)
        let reads = sets.flatMap { $0.set.map { reader.declaredReads(of: $0.changes) } ?? [] }
        let outcomes = try deciding(workspace, .versions, first: reads) {
            sets.map { one -> Outcome? in
                guard let set = one.set else { return nil }
                var processor = processor(for: set, workspace, identity)
                var submission = submission(of: set, author)
                if let counted = one.row.timestamp { submission.timestamp = counted }
                submission.seen = Dictionary(one.row.seen.map { ($0.dot, $0.milliseconds) }) { first, _ in first }
                let decision = processor.decide(submission)
                if decision.outcome.status == .rejected { for id in decision.created { workspace.noteRejectedCreation(id) } }
                return decision.outcome
            }
        }
        // 4. Write what they did, saving a base under every record touched for the first time.
        try step(.applyReplay)
        let written = workspace.writtenRecords
        for record in written where tables[record.schema.name] != nil {
            try saveBase(record.key, confirmed: workspace.original(record.key), queuedState: record.queuedState)
            try put(record)
        }
        // 5. Records that no set touches any more are confirmed records again.
        let touched = Set(written.map(\.key))
        for base in bases where !touched.contains(base.key) {
            try removeBase(base.key)
            if base.isEvicted { try remove(base.key) }
        }
        try forgetVersionsIfUnneeded()
        // 6. Say what is predicted.
        var newlyRejected = 0
        for (one, outcome) in zip(sets, outcomes) {
            let violations = outcome.map { $0.status == .rejected ? $0.violations : [] } ?? []
            let predicted = violations.isEmpty ? nil : JSONValue.array(violations.map(\.json)).canonicalText
            guard predicted != one.row.predicted else { continue }
            if one.row.predicted == nil { newlyRejected += 1 }
            try connection.execute(
                "UPDATE _tideline_pending SET predicted = ?2 WHERE counter = ?1", [.integer(one.row.counter), SQLiteValue(predicted)])
        }
        return newlyRejected
    }

    private func show(_ base: BaseRow) throws {
        guard let image = base.image, let table = tables[base.key.entity] else { return try remove(base.key) }
        try put(try RecordImage.decode(image, schema: table.schema, id: base.key.id))
    }

    /// Own sets always decode; one that a disk has damaged is left to the server to refuse.
    private func decoded(_ row: PendingRow) -> ChangeSet? {
        guard let sealed = row.sealed else { return nil }
        do { return try ChangeSet(sealed: sealed) } catch { return nil }
    }

    private func forgetVersionsIfUnneeded() throws {
        if try !hasPending() { try connection.execute("DELETE FROM _tideline_version") }
    }
}
