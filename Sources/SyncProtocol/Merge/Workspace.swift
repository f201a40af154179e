// The records a decision reads and writes, in memory. The shell loads what the core asks for; the core decides.

/// Something that must be loaded before a decision stands. Shells answer many of them in one round trip.
public enum Read: Hashable, Sendable {
    case record(RecordKey)
    /// Records whose field equals the value; of a set, those that have it among their elements.
    case lookup(entity: String, field: String, value: JSONValue, includingDeleted: Bool)
    /// The record and its chain of parents through a reference to the same entity.
    case ancestors(RecordKey, parent: String)
    /// Whether a rejected set would have created a record of this id.
    case rejectedCreation(Identifier)
}

/// Asking for something that was not loaded returns nothing and notes it in ``missing``; the shell loads that and the
/// decision is made again. So rules read as plain code, and a whole push needs as many round trips as its longest chain
/// of dependent reads, however many sets it has.
public final class Workspace {
    public let schema: Schema
    /// What was asked for and not loaded, in order.
    public private(set) var missing: [Read] = []

    private var missingSet: Set<Read> = []
    private var loaded: [RecordKey: RecordState] = [:]
    private var loadedReads: Set<Read> = []
    private var rejectedCreations: Set<Identifier> = []
    /// Records named by sets that wait for a restored history: those of earlier requests, and those of this pass.
    private var waiting: (before: Set<Identifier>, now: Set<Identifier>) = ([], [])
    /// Of the sets decided here.
    private var notedRejections: Set<Identifier> = []
    private var written: [RecordKey: RecordState] = [:]
    private var writtenOrder: [RecordKey] = []
    private var undo: [(key: RecordKey, before: RecordState?, isFirst: Bool)] = []
    private var indexes: [IndexKey: [JSONValue: Set<Identifier>]] = [:]

    private struct IndexKey: Hashable {
        let entity: String
        let field: String
        /// A set is found by each of its elements.
        let isSet: Bool

        func values(_ record: RecordState) -> [JSONValue] {
            isSet ? record[field].arrayValue ?? [] : [record[field]]
        }
    }

    public init(schema: Schema) { self.schema = schema }

    // MARK: Loading

    /// Hands over what a read found. Records that were written here keep what was written.
    public func supply(_ read: Read, records: [RecordState]) {
        loadedReads.insert(read)
        for record in records { insertLoaded(record) }
    }

    public func supply(rejectedCreation id: Identifier, wasRejected: Bool) {
        loadedReads.insert(.rejectedCreation(id))
        if wasRejected { rejectedCreations.insert(id) }
    }

    /// A set rejected in this very push: what depends on its creations is told so.
    public func noteRejectedCreation(_ id: Identifier) { notedRejections.insert(id) }

    /// Sets of the same author that wait name these records: what touches them waits as well, or it would come before them.
    public func supply(waiting ids: Set<Identifier>) { waiting.before.formUnion(ids) }
    public func noteWaiting(_ ids: Set<Identifier>) { waiting.now.formUnion(ids) }
    public func isWaiting(_ ids: Set<Identifier>) -> Bool { !waiting.before.isDisjoint(with: ids) || !waiting.now.isDisjoint(with: ids) }

    /// What is still to load, and starts the next pass without anything written.
    public func takeMissing() -> [Read] {
        defer {
            missing = []
            missingSet = []
        }
        return missing
    }

    /// Forgets everything written, keeps everything loaded. Rejections are forgotten too: they may have been for want of a record
    /// that was not loaded yet.
    public func discardWrites() {
        notedRejections = []
        written = [:]
        writtenOrder = []
        undo = []
        indexes = [:]
        waiting.now = []
    }

    private func insertLoaded(_ record: RecordState) {
        let key = record.key
        loadedReads.insert(.record(key))
        guard loaded.updateValue(record, forKey: key) == nil, written[key] == nil else { return }
        index(record, adding: true)
    }

    /// True when the read needs no loading; notes it as missing otherwise.
    @discardableResult
    public func require(_ read: Read) -> Bool {
        if loadedReads.contains(read) { return true }
        switch read {
        case .record(let key) where written[key] != nil: return true
        // A rule may name an entity of a domain that this schema leaves out: there are none of it.
        case .record(let key), .ancestors(let key, _): if schema.entity(key.entity) == nil { return true }
        case .lookup(let entity, _, _, _): if schema.entity(entity) == nil { return true }
        case .rejectedCreation: break
        }
        if missingSet.insert(read).inserted { missing.append(read) }
        return false
    }

    // MARK: Reading

    /// The record, tombstones included; nil when there is none (or it is not loaded yet).
    public func record(_ key: RecordKey) -> RecordState? {
        if let record = written[key] { return record }
        require(.record(key))
        return loaded[key]
    }

    public func record(_ entity: String, _ id: Identifier) -> RecordState? { record(RecordKey(entity, id)) }

    /// Records whose field equals the value, or has it among its elements, in id order.
    public func lookup(_ entity: String, _ field: String, _ value: JSONValue, includingDeleted: Bool = false) -> [RecordState] {
        require(.lookup(entity: entity, field: field, value: value, includingDeleted: includingDeleted))
        let isSet = schema.entity(entity)?.field(field)?.type.isSet ?? false
        let key = IndexKey(entity: entity, field: field, isSet: isSet)
        if indexes[key] == nil {
            indexes[key] = [:]
            for record in loaded.values where record.schema.name == entity && written[record.key] == nil { index(record, key) }
            for record in written.values where record.schema.name == entity { index(record, key) }
        }
        return (indexes[key]?[value] ?? []).sorted().compactMap { id in
            let record = written[RecordKey(entity, id)] ?? loaded[RecordKey(entity, id)]
            return record.flatMap { includingDeleted || $0.isLive ? $0 : nil }
        }
    }

    /// The chain of parents of a record, nearest first; stops at a cycle.
    public func ancestors(of key: RecordKey, through parent: String) -> [RecordState] {
        guard require(.ancestors(key, parent: parent)) else { return [] }
        var chain: [RecordState] = []
        var seen: Set<Identifier> = [key.id]
        var next = (written[key] ?? loaded[key])?.identifier(parent)
        while let id = next, seen.insert(id).inserted {
            guard let record = record(key.entity, id) else { break }
            chain.append(record)
            next = record.identifier(parent)
        }
        return chain
    }

    public func wasRejectedCreation(_ id: Identifier) -> Bool {
        if notedRejections.contains(id) { return true }
        require(.rejectedCreation(id))
        return rejectedCreations.contains(id)
    }

    // MARK: Writing, set by set

    public func begin() { undo = [] }

    public func put(_ record: RecordState) {
        let key = record.key
        let before = written[key]
        undo.append((key, before, before == nil))
        if let current = before ?? loaded[key] { index(current, adding: false) }
        if before == nil { writtenOrder.append(key) }
        written[key] = record
        index(record, adding: true)
    }

    /// Undoes every write since ``begin()``.
    public func rollback() {
        for step in undo.reversed() {
            if let current = written[step.key] { index(current, adding: false) }
            if step.isFirst {
                written[step.key] = nil
                writtenOrder.removeLast()
                if let original = loaded[step.key] { index(original, adding: true) }
            } else if let before = step.before {
                written[step.key] = before
                index(before, adding: true)
            }
        }
        undo = []
    }

    /// Every record written, in order of first write.
    public var writtenRecords: [RecordState] { writtenOrder.compactMap { written[$0] } }

    /// The record as it was loaded, before anything was written here.
    public func original(_ key: RecordKey) -> RecordState? { loaded[key] }

    private func index(_ record: RecordState, adding: Bool) {
        guard !indexes.isEmpty else { return }
        for key in indexes.keys where key.entity == record.schema.name {
            if adding {
                index(record, key)
            } else {
                for value in key.values(record) { indexes[key]?[value]?.remove(record.id) }
            }
        }
    }

    private func index(_ record: RecordState, _ key: IndexKey) {
        for value in key.values(record) { indexes[key]?[value, default: []].insert(record.id) }
    }
}
