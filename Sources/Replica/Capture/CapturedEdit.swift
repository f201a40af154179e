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
    /// Tells the rows before and after from others; nil where there is none.
    var oldMark: Int?
    var newMark: Int?
    /// Columns that hold what cannot be read, as far as it can be shown. Their values are left out of both rows.
    var unreadable: [String: String] = [:]

    /// A row took the place of another with the same id.
    var isReplacement: Bool { kind == .insert && old != nil }
}

/// A captured row of which nothing can be read: an entity that this build does not know, an image that is none.
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

extension CapturedEdit {
    /// Rows in the order in which they took effect. A trigger of the tool's own that changes the row again runs inside the statement, and
    /// SQLite may report the inner change before the outer one: what each record was and became tells.
    static func inOrder(_ edits: [CapturedEdit]) -> [CapturedEdit] {
        var places: [RecordKey: [Int]] = [:]
        for (index, edit) in edits.enumerated() { places[edit.key, default: []].append(index) }
        var result = edits
        for indexes in places.values where indexes.count > 1 {
            let own = indexes.map { edits[$0] }
            guard zip(own, own.dropFirst()).contains(where: { $0.newMark != $1.oldMark }), let ordered = path(own) else { continue }
            for (index, edit) in zip(indexes, ordered) {
                result[index] = edit
                // A row keeps its place in the log: what was written together stays together.
                (result[index].number, result[index].group, result[index].summary) =
                    (edits[index].number, edits[index].group, edits[index].summary)
            }
        }
        return result
    }

    /// The order in which each row begins as the one before it ended; nil if there is none.
    private static func path(_ edits: [CapturedEdit]) -> [CapturedEdit]? {
        var leaving: [Int?: [Int]] = [:]
        var balance: [Int?: Int] = [:]
        for (index, edit) in edits.enumerated().reversed() {
            leaving[edit.oldMark, default: []].append(index)
            balance[edit.oldMark, default: 0] += 1
            balance[edit.newMark, default: 0] -= 1
        }
        // Hierholzer: what ends nowhere else comes last.
        let start = balance.first { $0.value > 0 }.map { $0.key } ?? edits[0].oldMark
        var stack: [(mark: Int?, edge: Int?)] = [(start, nil)]
        var found: [Int] = []
        while let top = stack.last {
            if let edge = leaving[top.mark]?.popLast() {
                stack.append((edits[edge].newMark, edge))
            } else {
                if let edge = top.edge { found.append(edge) }
                stack.removeLast()
            }
        }
        guard found.count == edits.count else { return nil }
        let ordered = found.reversed().map { edits[$0] }
        return zip(ordered, ordered.dropFirst()).allSatisfy { $0.newMark == $1.oldMark } ? ordered : nil
    }
}
