// Delete with its cascade, and restore of exactly what one delete took (protocol §5.8).

extension SetDecider {
    mutating func delete(_ entity: EntitySchema, _ id: Identifier) {
        let key = RecordKey(entity.name, id)
        guard let root = knownRecord(key), root.isLive else { return }
        guard entity.isDeletable || author.kind == .system else {
            refuse(key, nil, .forbidden, "a \(entity.name) is never deleted")
            return
        }
        guard authorize(.delete, entity, root), checkAggregateOpen(root) else { return }
        if let state = lockedState(of: root) {
            refuse(key, entity.machine?.field, .locked, "\(root.title) is \(state); it can no longer be deleted", ["state": .string(state)])
            return
        }
        let plan = cascade(from: root)
        for row in plan where row.schema.deterministicKeys.isEmpty || row.key == key {
            let unknown = row.partsUnknown(to: knowledge, restricted: restrictedKnowledge)
            guard !unknown.isEmpty else { continue }
            let fields = unknown.map(\.name)
            var parameters: JSONObject = [
                "entity": .string(row.schema.name), "id": .string(row.id.text), "fields": .array(fields.map { .string($0) }),
            ]
            if let newest = unknown.map(\.version).max(by: { $1.isLater(than: $0) }) {
                if let by = newest.actor { parameters["by"] = .string(by.text) }
                parameters["at"] = .integer(newest.timestamp.milliseconds)
            }
            let what = fields.contains("id") ? "was made" : "had its \(fields.joined(separator: ", ")) changed"
            refuse(
                key, "id", .deleteConflict,
                row.key == key
                    ? "\(row.title) \(what) by someone else meanwhile"
                    : "\(name(of: row)), which would go with it, \(what) meanwhile",
                parameters)
        }
        checkRestrictions(on: plan, root: key)
        runRules(.delete, subject(root, before: root)) { if case .delete = $0 { true } else { false } }

        let cause = "\(id.text)@\(submission.dot?.description ?? "\(nextPosition.position)")"
        var rootPosition: Int64?
        for row in plan {
            // An effect of an earlier row of the plan may have touched this one.
            var record = workspace.record(row.key) ?? row
            let before = record
            record.deletedAt = nowMilliseconds
            record.deletedCause = cause
            record.versions.lifecycle = tag(at: nextPosition)
            commit(
                record, before: before, operation: row.key == key ? .delete : .derived, kind: "\(row.schema.name).deleted",
                isMajor: row.schema.isMajor, changes: ["deleted_at": ["old": .null, "new": .integer(nowMilliseconds)]], cause: rootPosition,
                subject: subject(record, before: before), triggers: { if case .delete = $0 { true } else { false } })
            if row.key == key, mode == .server { rootPosition = head.position }
        }
        for row in plan { nullifyReferences(to: row, among: plan, cause: rootPosition) }
    }

    /// The record and every live row that goes with it, parents first.
    private func cascade(from root: RecordState) -> [RecordState] {
        var plan = [root]
        var seen: Set<RecordKey> = [root.key]
        var next = 0
        while next < plan.count {
            let row = plan[next]
            next += 1
            for referrer in schema.referrers(of: row.schema.name) where referrer.action == .cascade {
                for child in workspace.lookup(referrer.entity, referrer.field, .string(row.id.text)) where seen.insert(child.key).inserted {
                    plan.append(child)
                }
            }
        }
        return plan
    }

    private mutating func checkRestrictions(on plan: [RecordState], root: RecordKey) {
        let taken = Set(plan.map(\.key))
        var by: [JSONValue] = []
        var count = 0
        for row in plan {
            for referrer in schema.referrers(of: row.schema.name) where referrer.action == .restrict {
                for holder in workspace.lookup(referrer.entity, referrer.field, .string(row.id.text)) where !taken.contains(holder.key) {
                    count += 1
                    guard isVisible(holder) else { continue }
                    by.append(["entity": .string(holder.schema.name), "id": .string(holder.id.text), "title": .string(holder.title)])
                }
            }
        }
        guard count > 0 else { return }
        let names = by.prefix(3).compactMap { one in one["entity"]?.stringValue.map { "\($0) \(one["title"]?.stringValue ?? "")" } }
        let others = count - names.count
        let more = others == 0 ? "" : names.isEmpty ? "\(others) that you do not see" : " and \(others) more"
        refuse(
            root, "id", .referenced, "still used by \(names.joined(separator: ", "))\(more)",
            ["by": .array(Array(by.prefix(20))), "count": .integer(Int64(count))])
    }

    private mutating func nullifyReferences(to row: RecordState, among plan: [RecordState], cause: Int64?) {
        let taken = Set(plan.map(\.key))
        for referrer in schema.referrers(of: row.schema.name) where referrer.action == .nullify {
            for holder in workspace.lookup(referrer.entity, referrer.field, .string(row.id.text)) where !taken.contains(holder.key) {
                var record = holder
                if referrer.isElement {
                    record.versions.elements[referrer.field]?[row.id.text] = nil
                    record[referrer.field] = .array(record.elements(referrer.field).filter { $0 != row.id.text }.map { .string($0) })
                } else {
                    record[referrer.field] = .null
                    record.versions.fields[referrer.field] = tag(at: nextPosition)
                }
                commit(
                    record, before: holder, operation: .derived, kind: "\(holder.schema.name).updated", isMajor: false,
                    changes: [referrer.field: ["old": holder[referrer.field], "new": record[referrer.field]]], cause: cause)
            }
        }
    }

    mutating func restore(_ entity: EntitySchema, _ id: Identifier) {
        let key = RecordKey(entity.name, id)
        guard let root = knownRecord(key) else { return }
        guard authorize(.restore, entity, root) else { return }
        guard !root.isLive else { return }
        var plan = [root]
        var seen: Set<RecordKey> = [key]
        var next = 0
        while next < plan.count {
            let row = plan[next]
            next += 1
            for referrer in schema.referrers(of: row.schema.name) where referrer.action == .cascade {
                let children = workspace.lookup(referrer.entity, referrer.field, .string(row.id.text), includingDeleted: true)
                for child in children where !child.isLive && child.deletedCause == root.deletedCause && seen.insert(child.key).inserted {
                    plan.append(child)
                }
            }
        }
        var rootPosition: Int64?
        for row in plan {
            var record = row
            record.deletedAt = nil
            record.deletedCause = nil
            record.versions.lifecycle = tag(at: nextPosition)
            touch(row.key, before: row, fields: Set(row.schema.fields.map(\.name)), isCreation: false)
            commit(
                record, before: row, operation: row.key == key ? .restore : .derived, kind: "\(row.schema.name).restored", isMajor: false,
                changes: ["deleted_at": ["old": .integer(row.deletedAt ?? 0), "new": .null]], cause: rootPosition,
                subject: subject(record, before: row), triggers: { if case .write = $0 { true } else { false } })
            if row.key == key, mode == .server { rootPosition = head.position }
        }
    }
}
