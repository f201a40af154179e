// Seal: captured rows become change sets, each decided like an edit of the library, before anything else touches the file.
//
//   _tideline_edit ─► the view as it was before ─► one Edit a group ─► pending, or a problem
//
// It always happens before what comes next (an edit, an apply), and the last of it in the same transaction, so that no edit is credited
// with knowledge that arrived after it. A large log is sealed part by part.

import SyncProtocol

extension Store {
    func hasCaptured() throws -> Bool { try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_edit)") == 1 }

    /// Seals what there is, a large log part by part: each is a transaction, and others come in between.
    func sealIfCaptured() throws {
        guard try hasCaptured() else { return }
        let log = CaptureLog()
        var pace = SealingPace(environment)
        while true {
            pace.begin()
            let isAll = try connection.immediateTransaction { try sealFirst(pace.size, log) }
            if isAll { return pace.finish() }
            pace.pause(left: log.count)
        }
    }

    /// Runs `body` in a transaction that begins with nothing captured: what tools wrote has become sets before it, so that nothing is
    /// credited with knowledge that arrives now.
    func sealedTransaction<R>(_ body: () throws -> R) throws -> R {
        // A large log goes before it, in parts. What is there or arrives in between is little.
        let captured = try connection.scalarInteger(
            "SELECT count(*) FROM (SELECT 1 FROM _tideline_edit LIMIT ?1)", [.integer(Int64(environment.sealedAtOnce) + 1)])
        if captured ?? 0 > Int64(environment.sealedAtOnce) { try sealIfCaptured() }
        return try connection.immediateTransaction {
            try sealCaptured()
            return try body()
        }
    }

    /// Makes change sets of what tools have edited by plain SQL. What is refused goes to the problems. Inside a transaction.
    func sealCaptured() throws {
        try step(.applySeal)
        guard try hasCaptured() else { return }
        try seal(try capturedEdits(through: .max))
        // The log is empty, and an open group ends here.
        try connection.execute("DELETE FROM _tideline_edit")
        try connection.execute("DELETE FROM _tideline_before")
        try connection.execute("DELETE FROM _tideline_named")
        try connection.execute("DELETE FROM tideline_group")
        let meta = Metadata(connection: connection)
        if try meta.text(.capturedSchema) != nil { try meta.set(.capturedSchema, nil as String?) }
    }

    /// Seals about so many rows from the front; true when nothing is left. Inside a transaction.
    private func sealFirst(_ size: Int, _ log: CaptureLog) throws -> Bool {
        try log.refresh(connection)
        if log.count > size, let end = try log.end(ofFirst: size, joins: joins) {
            do {
                try connection.savepoint {
                    try step(.applySeal)
                    var part = self
                    part.unsealed = UnsealedRows(log: log, end: end)
                    try part.seal(try capturedEdits(through: end))
                    try connection.execute("DELETE FROM _tideline_edit WHERE seq <= ?1", [.integer(end)])
                }
                try log.refresh(connection)
                return false
            } catch is PartNotApart {}
        }
        try sealCaptured()
        return true
    }

    private func joins(_ one: Int64, _ next: Int64) throws -> Bool {
        let edits = try capturedEdits("seq IN (?1, ?2)", [.integer(one), .integer(next)]).edits
        return edits.count == 2 && CapturedGroup.joins(edits[0], edits[1])
    }

    private func seal(_ captured: (edits: [CapturedEdit], unreadable: [UnreadableEdit])) throws {
        let (edits, unreadable) = captured
        // Rows that cannot be read go back to what they were, or the next reader would stumble over them.
        for one in unreadable where tables[one.key.entity] != nil { try restoreUnreadable(one.key) }
        // A copy of the file that the build before still has seals the very same set.
        let schemaVersion = try Metadata(connection: connection).integer(.capturedSchema)
        // 1. The view as it was before the first of them.
        var seen: Set<RecordKey> = []
        for edit in edits where seen.insert(edit.key).inserted {
            if let old = edit.old { try put(old) } else { try remove(edit.key) }
        }
        // 2. One set after another.
        for group in CapturedGroup.groups(of: edits) {
            let unreadable = group.edits.flatMap(\.unreadableViolations)
            guard unreadable.isEmpty else {
                try keepRefused(group, .refused(unreadable))
                continue
            }
            do {
                _ = try connection.savepoint {
                    try commitInTransaction(
                        Commission(
                            newIdentifier: { Identifier.zero }, summary: group.summary, checkpoint: group.edits.first?.checkpoint,
                            wallMilliseconds: group.edits.last?.atMilliseconds ?? environment.wallMilliseconds(),
                            schemaVersion: schemaVersion)
                    ) { edit in
                        for one in group.edits { try edit.repeat(one) }
                    }
                }
            } catch let error as ReplicaError where error.code != .storage {
                try keepRefused(group, error)
            }
        }
        for one in unreadable { try keepUnreadable(one) }
    }

    private func capturedEdits(through end: Int64) throws -> (edits: [CapturedEdit], unreadable: [UnreadableEdit]) {
        try capturedEdits("seq <= ?1", [.integer(end)])
    }

    private func capturedEdits(
        _ condition: String, _ bindings: [SQLiteValue]
    ) throws -> (edits: [CapturedEdit], unreadable: [UnreadableEdit]) {
        var edits: [CapturedEdit] = []
        var unreadable: [UnreadableEdit] = []
        try connection.forEach(
            "SELECT grp, entity, id, kind, old, new, checkpoint, at, summary, seq FROM _tideline_edit WHERE \(condition) ORDER BY seq",
            bindings
        ) { row in
            let entity = row.text(1)
            guard let schema = schema.entity(entity), let id = Identifier(row.text(2)),
                let kind = CapturedEdit.Kind(rawValue: row.text(3))
            else {
                return unreadable.append(
                    UnreadableEdit(
                        key: RecordKey(entity, Identifier(row.text(2)) ?? .zero), text: row.optionalText(5) ?? "",
                        reason: "this build does not know \(entity)"))
            }
            do {
                let old = row.isNull(4) ? nil : try row.withUTF8(4) { try RecordImage.decode(utf8: $0, schema: schema, id: id) }
                let new = row.isNull(5) ? nil : try row.withUTF8(5) { try RecordImage.decode(utf8: $0, schema: schema, id: id) }
                let mark = try row.optionalText(6).flatMap { CheckpointMark(json: try JSONValue(parsing: $0)) }
                edits.append(
                    CapturedEdit(
                        number: row.integer(9), group: row.optionalInteger(0), summary: row.optionalText(8), key: RecordKey(entity, id),
                        kind: kind, old: old, new: new, checkpoint: mark?.position, atMilliseconds: environment.capturedMilliseconds(row.integer(7)),
                        oldMark: markOfImage(row, 4), newMark: markOfImage(row, 5)))
            } catch {
                let mark = try? row.optionalText(6).flatMap { CheckpointMark(json: try JSONValue(parsing: $0)) }
                let number = row.integer(9)
                let old = row.isNull(4) ? nil : try salvaged(number, "old", schema, id)
                let new = row.isNull(5) ? nil : try salvaged(number, "new", schema, id)
                guard old != nil || row.isNull(4), new != nil || row.isNull(5) else {
                    return unreadable.append(
                        UnreadableEdit(key: RecordKey(entity, id), text: row.optionalText(5) ?? "", reason: String(describing: error)))
                }
                var edit = CapturedEdit(
                    number: number, group: row.optionalInteger(0), summary: row.optionalText(8), key: RecordKey(entity, id), kind: kind,
                    old: old?.record, new: new?.record, checkpoint: mark?.position, atMilliseconds: environment.capturedMilliseconds(row.integer(7)),
                    oldMark: markOfImage(row, 4), newMark: markOfImage(row, 5))
                edit.leaveOut(old: old?.unreadable ?? [:], new: new?.unreadable ?? [:])
                edits.append(edit)
            }
        }
        return (CapturedEdit.inOrder(edits), unreadable)
    }

    private func markOfImage(_ row: borrowing SQLiteRow, _ column: Int) -> Int? {
        if row.isNull(column) { return nil }
        return row.withUTF8(column) { bytes in
            var hasher = Hasher()
            hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
            return hasher.finalize()
        }
    }

    private func restoreUnreadable(_ key: RecordKey) throws {
        let first = try connection.scalarText(
            "SELECT old FROM _tideline_edit WHERE entity = ?1 AND id = ?2 ORDER BY seq LIMIT 1", key.bindings)
        guard let first, let schema = schema.entity(key.entity),
            let old = try? RecordImage.decode(first, schema: schema, id: key.id)
        else { return try remove(key) }
        try put(old)
    }

    /// A group that could not become a set: it spends a counter, so that it can be told apart and retried like any other.
    private func keepRefused(_ group: CapturedGroup, _ error: ReplicaError) throws {
        var violations = error.violations
        if violations.isEmpty, let first = group.edits.first {
            violations = [
                Violation(
                    entity: first.key.entity, id: first.key.id, field: "id", code: error.code.rawValue, message: error.message,
                    parameters: JSONObject())
            ]
        }
        let edit = Edit(store: self, mayChangeConfirmed: true, newIdentifier: { Identifier.zero })
        for one in group.edits {
            do { try edit.repeat(one) } catch { violations.append(contentsOf: (error as? ReplicaError)?.violations ?? []) }
        }
        var changes = edit.changes
        if changes.isEmpty, let first = group.edits.first { changes = [Change(key: first.key, operation: .patch(fields: [:], was: [:]))] }
        // Too many for one set are several problems: each can be read and retried.
        for part in Self.parts(of: changes) {
            try keepWithdrawn(part, violations, summary: group.summary, atMilliseconds: group.edits.last?.atMilliseconds)
        }
    }

    /// As few as fit into a set each, with room for its clock.
    private static func parts(of changes: [Change]) -> [[Change]] {
        var parts: [[Change]] = []
        var bytes = 0
        for change in changes {
            let size = change.json.canonicalBytes().count + 1
            if let last = parts.last, last.count < Limits.changesPerSet, bytes + size <= Limits.bytesPerSet - 32_768 {
                parts[parts.count - 1].append(change)
                bytes += size
            } else {
                parts.append([change])
                bytes = size
            }
        }
        return parts
    }

    private func keepUnreadable(_ one: UnreadableEdit) throws {
        let violation = Violation(
            entity: one.key.entity, id: one.key.id, field: "id", code: .invalidSyntax,
            message: "what was written by plain SQL cannot be read: \(one.reason)", parameters: ["text": .string(one.text)])
        try keepWithdrawn([Change(key: one.key, operation: .patch(fields: [:], was: [:]))], [violation], summary: nil, atMilliseconds: nil)
    }

    /// A problem, and a marker in place of its set.
    private func keepWithdrawn(_ changes: [Change], _ violations: [Violation], summary: String?, atMilliseconds: Int64?) throws {
        let meta = Metadata(connection: connection)
        let identity = try meta.requireIdentity("write")
        let counter = (try meta.integer(.counter) ?? 0) + 1
        var clock = try meta.clock()
        let set = ChangeSet(
            dot: Dot(replica: identity.replica, counter: counter),
            clock: try knowledge(try meta.checkpoint()?.position, identity.replica, counter),
            timestamp: clock.now(wallMilliseconds: atMilliseconds ?? environment.wallMilliseconds()), changes: changes,
            schemaVersion: schema.version)
        let sealed = set.sealedBytes()
        let text = summary ?? ChangeSummary.text(of: changes) { key in (try? record(key))?.title }
        try insertPending(set, sealed: sealed, hash: ChangeSet.hash(ofSealed: sealed), summary: text, undo: nil)
        guard let row = try pendingRows(after: counter - 1).first else { return }
        _ = try insertProblem(row, sealed: sealed, violations, .refused)
        try connection.execute("UPDATE _tideline_pending SET sealed = NULL WHERE counter = ?1", [.integer(counter)])
        try meta.set(.counter, counter)
        try meta.set(clock)
    }
}

extension Edit {
    /// Does what a tool did to a row.
    func `repeat`(_ captured: CapturedEdit) throws {
        let (entity, id) = (captured.key.entity, captured.key.id)
        switch (captured.kind, captured.old, captured.new) {
        case (.delete, _, _): try delete(entity, id)
        case (.insert, nil, let new?): try insert(new)
        case (_, let old?, let new?):
            if !old.isLive, new.isLive { try restore(entity, id) }
            try change(from: old, to: new, isReplacement: captured.isReplacement)
        default: break
        }
    }

    private func insert(_ new: RecordState) throws {
        var fields: [String: JSONValue] = [:]
        for field in new.schema.fields where !field.isSecret {
            let value = new[field.name]
            let isEmpty = value.isNull || value.arrayValue?.isEmpty == true || value.objectValue?.isEmpty == true
            if !isEmpty, field.policy != .transition { fields[field.name] = value }
        }
        // The id of a link follows from what it connects, whatever the tool put there.
        let isLink = new.schema.deterministicID { new[$0] } != nil
        if isLink { try create(new.schema.name, fields) } else { try create(new.schema.name, fields, id: new.id) }
    }

    private func change(from old: RecordState, to new: RecordState, isReplacement: Bool) throws {
        let schema = new.schema
        let key = new.key
        var move: Transition?
        var arguments: [String: JSONValue] = [:]
        if let machine = schema.machine, let from = old.state, let to = new.state, from != to {
            let ways = CapturedMove.ways(machine, from: from, to: to)
            guard ways.count == 1 else {
                throw ReplicaError.refused([
                    Violation(
                        entity: key.entity, id: key.id, field: machine.field, code: .unknownTransition,
                        message: "\(machine.field) cannot move from \(from) to \(to) by plain SQL", parameters: [:])
                ])
            }
            move = ways[0]
            for argument in ways[0].arguments {
                if let field = argument.field, !new[field].isNull { arguments[argument.name] = new[field] }
            }
        }
        for field in schema.fields where !field.isSecret && old[field.name] != new[field.name] {
            let before = old[field.name]
            var after = new[field.name]
            if isReplacement, after.isNull {
                if field.policy == .writeOnce || field.policy == .serverAssigned { continue }
                if let value = field.defaultValue { after = value }
                if before == after { continue }
            }
            switch field.policy {
            case .transition: continue
            case .serverAssigned: if move != nil { continue }
            case .addWinsSet:
                if let difference = FieldDifference.between(before, after, field) { try set(key.entity, key.id, [field.name: difference]) }
                continue
            case .counter:
                if let delta = FieldDifference.between(before, after, field)?.integerValue {
                    try increment(key.entity, key.id, field.name, by: delta)
                }
                continue
            case .lastWriterPerKey:
                if let keys = FieldDifference.between(before, after, field) { try set(key.entity, key.id, [field.name: keys]) }
                continue
            default: break
            }
            try set(key.entity, key.id, [field.name: after])
        }
        // Last, because a record may lock when it moves.
        if let move { try transition(move.name, key.entity, key.id, arguments) }
    }
}
