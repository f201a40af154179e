// Own sets as the timeline would tell them: what is pending, rejected or withdrawn is part of a record's history as well.

import SyncProtocol

extension ChangeSet {
    /// Entries for the changes of the set, as if it had been accepted. Old values are what its author saw, as far as `undo` tells.
    func entries(author: Author, schema: Schema, undo: JSONValue?) -> [ActivityEntry] {
        changes.enumerated().map { index, change in
            let entity = schema.entity(change.key.entity)
            let before = undo?[index]?.objectValue ?? JSONObject()
            var values = JSONObject()
            let operation: FeedEntry.Operation
            var kind = "\(change.key.entity).updated"
            switch change.operation {
            case .create(let fields):
                operation = .create
                kind = "\(change.key.entity).created"
                for (name, value) in fields { values[name] = ["old": .null, "new": value] }
            case .patch(let fields, let was):
                operation = .update
                for (name, value) in fields {
                    let old = before[name] ?? was[name] ?? .null
                    values[name] = ["old": old, "new": Self.value(old, after: value, entity?.field(name))]
                }
            case .transition(let name, let observed, let arguments):
                operation = .transition
                let transition = entity?.machine?.transition(name)
                kind = transition?.kind ?? "\(change.key.entity).\(name)"
                if let field = entity?.machine?.field {
                    values[field] = ["old": .string(observed), "new": .string(transition?.to ?? name)]
                }
                for (name, value) in arguments { values[name] = ["old": .null, "new": value] }
            case .delete:
                operation = .delete
                kind = "\(change.key.entity).deleted"
            case .restore:
                operation = .restore
                kind = "\(change.key.entity).restored"
            }
            return ActivityEntry(
                FeedEntry(
                    position: .unconfirmed, atMilliseconds: timestamp.milliseconds, author: author, dot: dot, key: change.key,
                    operation: operation, kind: kind, category: entity?.category ?? "", isMajor: operation == .transition,
                    changes: values, restrictedChanges: JSONObject(), anchors: [], scopeKeys: [], cause: nil, depth: 0,
                    operationMilliseconds: timestamp.milliseconds))
        }
    }

    /// What a field holds after a patch said `said` about it.
    private static func value(_ old: JSONValue, after said: JSONValue, _ field: FieldSchema?) -> JSONValue {
        switch field?.policy {
        case .addWinsSet:
            var elements = Set(old.arrayValue?.compactMap(\.stringValue) ?? [])
            elements.subtract(said["remove"]?.arrayValue?.compactMap(\.stringValue) ?? [])
            elements.formUnion(said["add"]?.arrayValue?.compactMap(\.stringValue) ?? [])
            return .array(elements.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        case .counter:
            let (sum, overflow) = (old.integerValue ?? 0).addingReportingOverflow(said.integerValue ?? 0)
            return overflow ? said : .integer(sum)
        case .lastWriterPerKey:
            var map = JSONObject()
            for (key, value) in said.objectValue ?? JSONObject() where !value.isNull { map[key] = value }
            return .object(map)
        default: return said
        }
    }
}
