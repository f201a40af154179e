// One record as the reference keeps it: every part with the write that made it. Nothing is compacted, nothing is shared with the
// product's own merge.

import SyncProtocol

/// A write: where it stands in the order of the server, who made it, and when.
struct Write: Equatable {
    /// Head of the feed after its set, which is what checkpoints are compared with.
    var position: Int64
    /// nil: the server itself.
    var replica: Identifier?
    var counter: Int64
    var stamp: HybridTimestamp
    /// The how-manieth event of the history.
    var event: Int

    /// Order of concurrent last-writer values (protocol §5.1).
    func isLater(than other: Write) -> Bool {
        if stamp != other.stamp { return stamp > other.stamp }
        return (replica ?? .zero) > (other.replica ?? .zero)
    }
}

/// What an author had seen (protocol §3.2).
struct Seen {
    var feed: Int64
    var lanes: [Identifier: Int64]
    /// What the set did itself is known to its later changes.
    var event: Int
    /// What sets of its lanes were decided as.
    var twins: Set<Dot> = []

    func knows(_ write: Write) -> Bool {
        if write.event == event || write.position <= feed { return true }
        if let replica = write.replica, twins.contains(Dot(replica: replica, counter: write.counter)) { return true }
        guard let replica = write.replica, let counter = lanes[replica] else { return false }
        return write.counter <= counter
    }
}

enum Part: Equatable {
    /// A whole value; nil: never written.
    case value(JSONValue, Write?)
    case set([String: [Write]])
    case map([String: Entry])
    case counter(Int64)

    struct Entry: Equatable {
        /// nil: removed; that it was is remembered.
        var value: JSONValue?
        var write: Write
    }
}

struct ReferenceRecord: Equatable {
    let entity: String
    let id: Identifier
    var parts: [String: Part] = [:]
    var made: Write
    var madeBy: Identifier?
    /// The last delete or restore.
    var lifecycle: Write?
    /// The delete that took it; nil while it lives.
    var deletedBy: String?
    /// Of a contact: whether a link connected it to a client when it was last looked at. What was deleted stays as it was.
    var isLinked = false

    var isLive: Bool { deletedBy == nil }

    /// The stored form of a field.
    subscript(field: String) -> JSONValue {
        switch parts[field] {
        case .value(let value, _)?: value
        case .set(let elements)?:
            .array(elements.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        case .map(let entries)?: .object(JSONObject(entries.compactMap { key, entry in entry.value.map { (key, $0) } }))
        case .counter(let number)?: .integer(number)
        case nil: .null
        }
    }

    func identifier(_ field: String) -> Identifier? { self[field].stringValue.flatMap { Identifier($0) } }

    /// All writes that guards look at, by part (protocol §5.8).
    func guardedWrites(_ schema: EntitySchema) -> [(part: String, writes: [Write])] {
        var all: [(part: String, writes: [Write])] = [("id", [made]), ("deleted_at", lifecycle.map { [$0] } ?? [])]
        for field in schema.fields where field.policy != .serverAssigned && field.policy != .counter {
            switch parts[field.name] {
            case .value(_, let write)?: all.append((field.name, write.map { [$0] } ?? []))
            case .set(let elements)?: all.append((field.name, elements.values.flatMap { $0 }))
            case .map(let entries)?: all.append((field.name, entries.values.map(\.write)))
            default: break
            }
        }
        return all
    }
}
