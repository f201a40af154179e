// Undo: what one own set did is taken back by a new set, as far as its values are still in place.

import SyncProtocol

/// What an undo did, and what it left because someone has gone on from there.
public struct UndoReport: Sendable {
    /// The set that was taken back.
    public let undone: Int64
    /// Its summary.
    public let summary: String
    /// The new set; nil when nothing could be taken back.
    public let counter: Int64?
    public let restored: [Part]
    public let kept: [Part]

    /// One field of one record, or the record itself (`field` nil).
    public struct Part: Sendable, Hashable {
        public let key: RecordKey
        public let title: String
        public let field: String?
        /// For what was kept: why, in words.
        public let reason: String
    }
}

/// An own set as undo needs it.
struct UndoableSet {
    var counter: Int64
    var summary: String
    var changes: [Change]
    /// What the named parts were before, one entry a change.
    var before: JSONValue
}

/// An own set that ``Replica/undo(_:)`` can take.
public struct OwnSet: Sendable, Hashable {
    public let counter: Int64
    public let summary: String
    /// Milliseconds since 1970 UTC.
    public let sealedAt: Int64
}

extension Store {
    /// Rejected sets are problems, predicted ones are about to be; withdrawn ones never were.
    private static let ownSets = """
        (SELECT counter, sealed, sealed_at, summary, undo, undoes, 1 AS live FROM _tideline_pending WHERE sealed IS NOT NULL AND predicted IS NULL \
        AND (outcome IS NULL OR json_extract(outcome, '$.status') = 'accepted') UNION ALL \
        SELECT counter, sealed, sealed_at, summary, undo, undoes, json_extract(outcome, '$.status') = 'accepted' \
        FROM _tideline_journal WHERE sealed IS NOT NULL)
        """

    /// Own sets that are neither an undo nor undone.
    private static let isUndoable =
        "live AND undoes IS NULL AND counter NOT IN (SELECT undoes FROM \(ownSets) WHERE undoes IS NOT NULL AND live)"

    /// Newest first.
    func undoableSets(limit: Int) throws -> [OwnSet] {
        try connection.query(
            "SELECT counter, summary, sealed_at FROM \(Self.ownSets) WHERE \(Self.isUndoable) ORDER BY counter DESC LIMIT ?1",
            [.integer(Int64(limit))]
        ) { OwnSet(counter: $0.integer(0), summary: $0.text(1), sealedAt: $0.integer(2)) }
    }

    /// A set that was refused, or is about to be, has nothing in place to take back; taking back another one in its stead, unasked,
    /// would undo what nobody meant.
    /// - Parameter newest: The newest set that can be undone. nil: `counter` itself is asked for.
    private func requireNoProblem(at counter: Int64?, behind newest: Int64?) throws {
        let condition = counter == nil ? "counter > ?1" : "counter = ?1"
        let found = try connection.first(
            """
            SELECT counter, id, summary FROM (SELECT counter, id, summary FROM _tideline_problem WHERE resolved_at IS NULL AND \(condition) \
            UNION ALL SELECT counter, counter, summary FROM _tideline_pending WHERE sealed IS NOT NULL AND predicted IS NOT NULL \
            AND outcome IS NULL AND author IS NULL AND \(condition)) \
            ORDER BY counter DESC LIMIT 1
            """, [.integer(counter ?? newest ?? 0)]
        ) { (set: $0.integer(0), problem: $0.integer(1), summary: $0.text(2)) }
        guard let found else { return }
        let what = counter == nil ? "the last edit, \"\(found.summary)\"," : "set \(found.set)"
        let other = counter == nil && newest != nil ? "; to take back the one before it, name it: undo \(newest ?? 0)" : ""
        throw ReplicaError(
            .notFound, "\(what) is problem \(found.problem) and changed nothing: discard \(found.problem), or edit or retry it\(other)",
            operation: "undo")
    }

    /// The named set, or the newest own set that is neither an undo nor undone.
    func undoable(_ counter: Int64?) throws -> UndoableSet {
        let condition = counter == nil ? Self.isUndoable : "counter = ?1"
        let found = try connection.first(
            "SELECT counter, sealed, summary, undo, live FROM \(Self.ownSets) WHERE \(condition) ORDER BY counter DESC LIMIT 1",
            counter.map { [.integer($0)] } ?? []
        ) { ($0.integer(0), $0.blob(1), $0.text(2), $0.optionalText(3), $0.boolean(4)) }
        try requireNoProblem(at: counter, behind: found?.0)
        guard let (number, sealed, summary, undo, isLive) = found else {
            let what = counter.map { "there is no set \($0) of this replica in the last \(Store.journalDays) days" }
            throw ReplicaError(.notFound, what ?? "there is nothing to undo", operation: "undo")
        }
        guard isLive else { throw ReplicaError(.notFound, "set \(number) changed nothing", operation: "undo") }
        guard let undo else {
            throw ReplicaError(.notFound, "set \(number) was made by an older version that kept no old values", operation: "undo")
        }
        return UndoableSet(
            counter: number, summary: summary, changes: try ChangeSet(sealed: sealed).changes, before: try JSONValue(parsing: undo))
    }
}

/// Works out, against the view, what of a set can be taken back.
struct Undo {
    let edit: Edit
    let schema: Schema
    private(set) var restored: [UndoReport.Part] = []
    private(set) var kept: [UndoReport.Part] = []

    init(_ edit: Edit, _ schema: Schema) {
        self.edit = edit
        self.schema = schema
    }

    mutating func takeBack(_ set: UndoableSet) throws {
        // Last first: a set may have changed what it had just made.
        for (index, change) in set.changes.enumerated().reversed() {
            let before = set.before[index]?.objectValue ?? JSONObject()
            switch change.operation {
            case .create(let fields): try takeBackCreation(change.key, fields)
            case .patch(let fields, _): try takeBackPatch(change.key, fields, before)
            case .transition(let name, _, _): try takeBackTransition(change.key, name, before["state"]?.stringValue)
            case .delete: try takeBackDelete(change.key)
            case .restore: try takeBackRestore(change.key)
            }
        }
    }

    private mutating func did(_ key: RecordKey, _ title: String, _ field: String? = nil) {
        restored.append(UndoReport.Part(key: key, title: title, field: field, reason: ""))
    }

    private mutating func left(_ key: RecordKey, _ title: String, _ reason: String, field: String? = nil) {
        kept.append(UndoReport.Part(key: key, title: title, field: field, reason: reason))
    }

    private func current(_ key: RecordKey) throws -> Record? { try edit.get(key.entity, key.id) }

    private mutating func takeBackCreation(_ key: RecordKey, _ fields: JSONObject) throws {
        guard let record = try current(key), !record.isDeleted else { return left(key, key.description, "it is gone already") }
        let changed = record.schema.fields.filter { field in
            guard field.isWritable, !field.isSecret else { return false }
            let made = fields[field.name].flatMap { try? field.type.normalized($0) } ?? field.defaultValue ?? .null
            return !isSame(record[field.name], made)
        }
        guard changed.isEmpty else {
            return left(key, record.title, "\(changed.map(\.name).joined(separator: ", ")) changed since it was made")
        }
        try edit.delete(key.entity, key.id)
        did(key, record.title)
    }

    private mutating func takeBackPatch(_ key: RecordKey, _ fields: JSONObject, _ before: JSONObject) throws {
        guard let record = try current(key) else { return left(key, key.description, "it is not here") }
        guard !record.isDeleted else { return left(key, record.title, "it was deleted since") }
        for (name, said) in fields {
            guard let field = record.schema.field(name) else { continue }
            let now = record[name]
            let old = before[name] ?? .null
            switch field.policy {
            case .addWinsSet: try takeBackElements(key, record, field, said, old)
            case .counter:
                guard let delta = said.integerValue, delta != .min else { continue }
                try edit.increment(key.entity, key.id, name, by: -delta)
                did(key, record.title, name)
            case .lastWriterPerKey:
                for (part, value) in said.objectValue ?? JSONObject() {
                    guard isSame(now[part] ?? .null, value) else {
                        left(key, record.title, "it changed since", field: "\(name).\(part)")
                        continue
                    }
                    try edit.set(key.entity, key.id, ["\(name).\(part)": old[part] ?? .null])
                    did(key, record.title, "\(name).\(part)")
                }
            default:
                let made = (try? field.type.normalized(said)) ?? said
                guard isSame(now, made) else {
                    left(key, record.title, "it changed since", field: name)
                    continue
                }
                try edit.set(key.entity, key.id, [name: old])
                did(key, record.title, name)
            }
        }
    }

    private mutating func takeBackElements(
        _ key: RecordKey, _ record: Record, _ field: FieldSchema, _ said: JSONValue, _ old: JSONValue
    ) throws {
        let present = Set(record.elements(field.name))
        let had = Set(old.arrayValue?.compactMap(\.stringValue) ?? [])
        let added = (said["add"]?.arrayValue?.compactMap(\.stringValue) ?? []).filter { !had.contains($0) && present.contains($0) }
        let removed = (said["remove"]?.arrayValue?.compactMap(\.stringValue) ?? []).filter { had.contains($0) && !present.contains($0) }
        guard !added.isEmpty || !removed.isEmpty else { return left(key, record.title, "it changed since", field: field.name) }
        try edit.set(
            key.entity, key.id,
            [field.name: ["add": .array(removed.map { .string($0) }), "remove": .array(added.map { .string($0) })]])
        did(key, record.title, field.name)
    }

    private mutating func takeBackTransition(_ key: RecordKey, _ name: String, _ old: String?) throws {
        guard let record = try current(key), let machine = record.schema.machine, let transition = machine.transition(name), let old else {
            return left(key, key.description, "it is not here")
        }
        guard record.state.queuedState ?? record.state.state == transition.to else {
            return left(key, record.title, "it moved on to \(record.state.state ?? "another state")", field: machine.field)
        }
        let ways = machine.transitions.filter { way in
            way.to == old && way.from.contains(transition.to) && way.mode != .online && way.arguments.allSatisfy { !$0.isRequired }
        }
        guard ways.count == 1 else {
            return left(key, record.title, "there is no way back from \(transition.to) to \(old)", field: machine.field)
        }
        try edit.transition(ways[0].name, key.entity, key.id)
        did(key, record.title, machine.field)
    }

    private mutating func takeBackDelete(_ key: RecordKey) throws {
        guard let record = try current(key) else { return left(key, key.description, "it is not here") }
        guard record.isDeleted else { return left(key, record.title, "it was restored already") }
        try edit.restore(key.entity, key.id)
        did(key, record.title)
    }

    private mutating func takeBackRestore(_ key: RecordKey) throws {
        guard let record = try current(key), !record.isDeleted else { return left(key, key.description, "it is gone already") }
        try edit.delete(key.entity, key.id)
        did(key, record.title)
    }

    /// Nothing, an empty list and an empty object say the same.
    private func isSame(_ one: JSONValue, _ other: JSONValue) -> Bool {
        func isEmpty(_ value: JSONValue) -> Bool {
            value.isNull || value.arrayValue?.isEmpty == true || value.objectValue?.isEmpty == true
        }
        return one == other || isEmpty(one) && isEmpty(other)
    }
}

extension Replica {
    /// Takes an own set back by a new one that restores the old values where they are still in place; ``UndoReport/kept`` says
    /// where they are not. Undoing twice goes further back; naming an undo's own set does again what it took back.
    /// - Parameter counter: nil: the newest set that is not undone.
    ///
    /// Throws `notFound`, and `refused` when a rule is against it.
    public func undo(_ counter: Int64? = nil) async throws -> UndoReport {
        let report = try await writing("undo") { [identifiers] store in
            try store.sealedTransaction {
                let set = try store.undoable(counter)
                var commission = try store.commission(identifiers.next, "undo: \(set.summary)")
                commission.undoes = set.counter
                let result = try store.commitInTransaction(commission) { edit in
                    var undo = Undo(edit, store.schema)
                    try undo.takeBack(set)
                    return (undo.restored, undo.kept)
                }
                return UndoReport(
                    undone: set.counter, summary: set.summary, counter: result.counter, restored: result.value.0, kept: result.value.1)
            }
        }
        longPoll.interrupt()
        return report
    }

    /// Own sets that ``undo(_:)`` would take one after another, newest first: neither undone nor an undo themselves.
    public func undoableSets(limit: Int = 50) async throws -> [OwnSet] {
        try await reading("undo") { try $0.undoableSets(limit: max(0, limit)) }
    }
}
