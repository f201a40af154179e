// Rows of the capture log, and what they mean together: which of them become one change set.

import SyncProtocol

/// One row that a tool inserted, changed or deleted.
struct CapturedEdit: Sendable {
    enum Kind: String, Sendable { case insert, update, delete }

    /// Its place in the log.
    var number: Int64
    var group: Int64?
    /// What the tool says its group does.
    var summary: String?
    var key: RecordKey
    var kind: Kind
    /// The row before; nil for one that was not there.
    var old: RecordState?
    /// The row after; nil for a delete.
    var new: RecordState?
    /// What was known when it was made.
    var checkpoint: FeedPosition?
    /// By the wall clock, milliseconds since 1970 UTC.
    var atMilliseconds: Int64

    /// A row took the place of another with the same id.
    var isReplacement: Bool { kind == .insert && old != nil }
}

/// A captured row that cannot be read: text that is no text, JSON that is none.
struct UnreadableEdit: Sendable {
    var key: RecordKey
    var text: String
    var reason: String
}

/// Captured rows that become one change set.
struct CapturedGroup: Sendable {
    var summary: String?
    var edits: [CapturedEdit]

    /// An explicit group is one set; otherwise a record is, with the rows of an aggregate joined to their root. A new set
    /// begins whenever the record changes, so that sets come in the order in which the tool worked.
    static func groups(of edits: [CapturedEdit]) -> [CapturedGroup] {
        var groups: [CapturedGroup] = []
        var last: (group: Int64?, root: RecordKey)?
        for edit in condensed(edits) {
            let root = root(of: edit)
            let continues = last.map { joins($0, (edit.group, root)) } ?? false
            // An explicit group that is too large is refused as a whole; one that nobody asked for is split. A row can be three
            // changes: a restore, a patch, a transition.
            let hasRoom = edit.group != nil || (groups.last?.edits.count ?? 0) < Limits.changesPerSet / 3
            if continues, hasRoom {
                groups[groups.count - 1].edits.append(edit)
            } else {
                groups.append(CapturedGroup(summary: edit.summary, edits: [edit]))
            }
            last = (edit.group, root)
        }
        return groups.flatMap { $0.edits.first?.group == nil ? [$0] : $0.withFactsApart }
    }

    /// Whether two neighbours belong to one set, as far as there is room.
    static func joins(_ one: CapturedEdit, _ next: CapturedEdit) -> Bool { joins((one.group, root(of: one)), (next.group, root(of: next))) }

    private static func joins(_ one: (group: Int64?, root: RecordKey), _ next: (group: Int64?, root: RecordKey)) -> Bool {
        one.group == next.group && (next.group != nil || one.root == next.root)
    }

    /// What happened goes in a set of its own, behind the edits of other records it was grouped with (``FactsApart``).
    private var withFactsApart: [CapturedGroup] {
        var facts: Set<RecordKey> = []
        for edit in edits where edit.kind == .insert && edit.old == nil && edit.new?.schema.isFact == true { facts.insert(edit.key) }
        let others = edits.filter { !facts.contains($0.key) }
        guard !facts.isEmpty, others.contains(where: { $0.old != nil }) else { return [self] }
        return [
            CapturedGroup(summary: summary, edits: others), CapturedGroup(summary: summary, edits: edits.filter { facts.contains($0.key) }),
        ]
    }

    private static func root(of edit: CapturedEdit) -> RecordKey {
        guard let state = edit.new ?? edit.old, let field = state.schema.aggregateRoot, let id = state.identifier(field),
            let entity = state.schema.field(field)?.referencedEntities.first
        else { return edit.key }
        return RecordKey(entity, id)
    }

    /// A row that was deleted and inserted again has been replaced; one that was inserted and deleted again never was.
    private static func condensed(_ edits: [CapturedEdit]) -> [CapturedEdit] {
        var result: [CapturedEdit?] = []
        /// Where the record's delete, or its insert out of nothing, stands.
        var deleted: [RecordKey: Int] = [:]
        var born: [RecordKey: [Int]] = [:]
        for edit in edits {
            var edit = edit
            switch edit.kind {
            case .insert:
                // With recursive triggers on, SQLite reports the delete inside a REPLACE as well.
                if let index = deleted.removeValue(forKey: edit.key) {
                    edit.old = edit.old ?? result[index]?.old
                    result[index] = nil
                }
                if edit.old == nil { born[edit.key] = [] }
            case .update: break
            case .delete:
                if let steps = born[edit.key] {
                    for index in steps { result[index] = nil }
                    born[edit.key] = nil
                    continue
                }
                deleted[edit.key] = result.count
            }
            born[edit.key]?.append(result.count)
            result.append(edit)
        }
        return result.compactMap { $0 }
    }
}
