// Transitions, deletes and restores in the reference (protocol §5.7–5.9).

import SyncProtocol

extension ReferenceDecision {
    mutating func move(_ entity: EntitySchema, _ key: RecordKey, _ name: String, _ observed: String, _ arguments: JSONObject) {
        guard let machine = entity.machine, let transition = machine.transition(name) else {
            return refuse(key, entity.machine?.field ?? "", "unknown_transition")
        }
        for argument in arguments.keys where !transition.arguments.contains(where: { $0.name == argument }) {
            refuse(key, argument, "unknown_field")
        }
        for argument in transition.arguments where argument.isRequired && (arguments[argument.name] ?? .null).isNull {
            refuse(key, argument.field ?? argument.name, "required")
        }
        guard var record = living(key), let current = record[machine.field].stringValue else { return }
        let isGranted =
            isServer
            || transition.grantees.contains { grantee in
                switch grantee {
                case .role(let role): role == offer.role
                case .memberInField(let field): record.identifier(field) == offer.member
                default: false
                }
            }
        guard isGranted else { return refuse(key, machine.field, "forbidden") }
        let isLegal = transition.from.contains(current)
        if current == transition.to, current != observed || !isLegal { return }
        if current != observed || !isLegal {
            if mistake == .staleIsNoop { return }
            guard machine.rebases, isLegal, mistake != .rebaseNever else { return refuse(key, machine.field, "stale_transition") }
            rebased = true
        }
        if transition.locks { checkSeenWhole(entity, key, record) }
        checkGuards(key, record, name)
        hadEffect = true
        record.parts[machine.field] = .value(.string(transition.to), write)
        for argument in transition.arguments {
            guard let field = argument.field, let value = arguments[argument.name] else { continue }
            record.parts[field] = .value(value, write)
        }
        switch (key.entity, name) {
        case ("deal", "win"), ("deal", "lose"): record.parts["closed_at"] = .value(.integer(stamp.milliseconds), write)
        case ("deal", "reopen"):
            record.parts["closed_at"] = .value(.null, write)
            record.parts["lost_reason"] = .value(.null, write)
        case ("document", "issue") where record["number"].isNull:
            // Of the year in which it is due, or was issued.
            let days = record["due_on"].integerValue ?? stamp.milliseconds / 86_400_000
            let year = String(Instant.iso(fromMilliseconds: days * 86_400_000).prefix(4))
            lastNumbers[year, default: 0] += 1
            let digits = String(lastNumbers[year] ?? 0)
            record.parts["number"] = .value(.string("DOC-\(year)-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits)"), nil)
        default: break
        }
        records[key] = record
    }

    /// Who locks a document has seen all of it: the guarded fields of the root, every part of every child, dead ones too.
    private mutating func checkSeenWhole(_ entity: EntitySchema, _ key: RecordKey, _ root: ReferenceRecord) {
        func isUnseen(_ writes: [Write]) -> Bool { !writes.allSatisfy(seen.knows) }
        var unseen = root.guardedWrites(entity).contains { entity.field($0.part)?.policy == .guarded && isUnseen($0.writes) }
        for child in schema.children(ofAggregate: entity.name) where mistake != .lockIgnoresChildren {
            for row in rows(child.name, where: child.aggregateRoot ?? "", is: key.id, dead: true) {
                if row.guardedWrites(child).contains(where: { isUnseen($0.writes) }) { unseen = true }
            }
        }
        if unseen { refuse(key, "$aggregate", "conflict") }
    }

    private mutating func checkGuards(_ key: RecordKey, _ record: ReferenceRecord, _ name: String) {
        switch (key.entity, name) {
        case ("deal", "win"):
            if record["amount"].integerValue ?? 0 <= 0 { refuse(key, "amount", "guard_failed") }
            let client = record.identifier("client").flatMap { records[RecordKey("client", $0)] }
            if let client, client["status"] != "active" { refuse(key, "client", "guard_failed") }
        case ("client", "archive"):
            let open = rows("deal", where: "client", is: key.id).contains { !["won", "lost"].contains($0["stage"].stringValue) }
            if open { refuse(key, "status", "open_children") }
        case ("document", "issue"):
            if rows("document_line", where: "document", is: key.id).isEmpty { refuse(key, "$lines", "empty_document") }
        default: break
        }
    }

    // MARK: Delete and restore

    /// The record and what goes with it.
    private func taken(_ root: ReferenceRecord, deadBy cause: String? = nil) -> [ReferenceRecord] {
        var plan = [root]
        var keys: Set<RecordKey> = [RecordKey(root.entity, root.id)]
        var next = 0
        while next < plan.count {
            let row = plan[next]
            next += 1
            if mistake == .cascadeTakesNothing { break }
            for entity in schema.entities {
                for field in entity.fields {
                    guard case .reference(row.entity, .cascade) = field.type else { continue }
                    for child in rows(entity.name, where: field.name, is: row.id, dead: cause != nil)
                    where cause == nil || (!child.isLive && child.deletedBy == cause) {
                        if keys.insert(RecordKey(child.entity, child.id)).inserted { plan.append(child) }
                    }
                }
            }
        }
        return plan
    }

    mutating func delete(_ entity: EntitySchema, _ key: RecordKey) {
        guard let root = known(key) else {
            _ = living(key)
            return
        }
        guard root.isLive else { return }
        guard authorize(.delete, entity, root), isAggregateOpen(entity, root) else { return }
        if isLocked(root, entity) { return refuse(key, entity.machine?.field ?? "", "locked") }
        let plan = taken(root)
        let keys = Set(plan.map { RecordKey($0.entity, $0.id) })
        for row in plan where mistake != .deleteIsUnguarded {
            guard let schema = schema.entity(row.entity), schema.deterministicKeys.isEmpty || row.id == key.id else { continue }
            let isUnseen = row.guardedWrites(schema).contains { !$0.writes.allSatisfy(seen.knows) }
            if isUnseen { refuse(key, "id", "delete_conflict") }
        }
        for holder in schema.entities {
            for field in holder.fields {
                for row in plan where restricts(field, row) {
                    let isHeld = rows(holder.name, where: field.name, is: row.id).contains { !keys.contains(RecordKey($0.entity, $0.id)) }
                    if isHeld { refuse(key, "id", "referenced") }
                }
            }
        }
        hadEffect = true
        let cause = "\(key.id)@\(offer.dot?.description ?? "\(reference.events)")"
        for row in plan {
            let key = RecordKey(row.entity, row.id)
            records[key]?.deletedBy = cause
            records[key]?.lifecycle = write
        }
        // Weak references let go.
        for holder in schema.entities {
            for field in holder.fields {
                for row in plan {
                    guard case .reference(row.entity, .nullify) = field.type else { continue }
                    for one in rows(holder.name, where: field.name, is: row.id) {
                        records[RecordKey(holder.name, one.id)]?.parts[field.name] = .value(.null, write)
                    }
                }
            }
        }
    }

    private func restricts(_ field: FieldSchema, _ row: ReferenceRecord) -> Bool {
        switch field.type {
        case .reference(row.entity, .restrict): true
        case .anyReferenceID(let entities): entities.contains(row.entity)
        default: false
        }
    }

    mutating func restore(_ entity: EntitySchema, _ key: RecordKey) {
        guard let root = known(key) else {
            _ = living(key)
            return
        }
        guard authorize(.restore, entity, root) else { return }
        guard let cause = root.deletedBy else { return }
        hadEffect = true
        for row in taken(root, deadBy: cause) {
            let key = RecordKey(row.entity, row.id)
            records[key]?.deletedBy = nil
            records[key]?.lifecycle = write
            look(at: key)
            touch(key, schema.entity(row.entity)?.fields.map(\.name) ?? [])
        }
    }
}
