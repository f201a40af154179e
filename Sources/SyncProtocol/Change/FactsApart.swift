// Facts before judgements: what happened is recorded in a set of its own, so that losing an argument never loses the record of it.

extension EntitySchema {
    /// Records of this entity say what happened (time worked, a payment taken, a word said). Nobody's later decision makes it not so.
    public var isFact: Bool { access == .fact || access == .log || access == .collect }
}

public enum FactsApart {
    /// Refuses a set that records a fact and, besides, edits what somebody else may have edited meanwhile: a guarded field, a
    /// transition, a delete. Records that the same set creates are nobody else's yet.
    public static func violation(in changes: [Change], _ schema: Schema) -> Violation? {
        guard changes.count > 1 else { return nil }
        var created: Set<RecordKey> = []
        var fact: RecordKey?
        for change in changes {
            guard case .create = change.operation else { continue }
            created.insert(change.key)
            if fact == nil, schema.entity(change.key.entity)?.isFact == true { fact = change.key }
        }
        guard let fact, let judged = changes.first(where: { !created.contains($0.key) && isJudged($0, schema) }) else { return nil }
        return Violation(
            entity: fact.entity, id: fact.id, field: "set", code: .factBundled,
            message: "a record of what happened goes in a set of its own: the edit of \(judged.key.entity) beside it could be refused",
            parameters: ["with": .string(judged.key.entity)])
    }

    private static func isJudged(_ change: Change, _ schema: Schema) -> Bool {
        switch change.operation {
        case .create, .restore: false
        case .delete, .transition: true
        case .patch(let fields, _):
            fields.contains { schema.entity(change.key.entity)?.field($0.key)?.policy == .guarded }
        }
    }
}
