// Creations and patches in the reference (protocol §5.1–5.6), and the effects that follow from values.

import SyncProtocol

extension ReferenceDecision {
    mutating func create(_ entity: EntitySchema, _ key: RecordKey, _ fields: JSONObject) {
        var record = ReferenceRecord(entity: key.entity, id: key.id, made: write, madeBy: offer.member)
        for field in entity.fields { record.parts[field.name] = blank(field) }
        var named: Set<String> = []
        for (name, value) in fields {
            guard let field = writable(entity, key, name, value, creates: true) else { continue }
            if let code = Self.fault(value, field.type) {
                refuse(key, name, code)
                continue
            }
            named.insert(name)
            set(&record, field, to: value)
            // Of a link every field that was named has a version, null or not.
            if !entity.deterministicKeys.isEmpty { record.parts[name] = .value(value, write) }
        }
        for field in entity.fields {
            if record[field.name].isNull || (field.policy == .addWinsSet && !named.contains(field.name)), let value = field.defaultValue {
                set(&record, field, to: value)
                // And no other, so that two creations merge in either order.
                if !entity.deterministicKeys.isEmpty { record.parts[field.name] = .value(value, nil) }
            }
            if field.isRequired, record[field.name].isNull, !isBlamed(key, field.name) { refuse(key, field.name, "required") }
        }
        guard authorize(.create, entity, record) else { return }
        if !entity.deterministicKeys.isEmpty {
            guard let expected = entity.deterministicID({ record[$0] }) else { return }
            guard expected == key.id else { return refuse(key, "id", "invalid_format") }
        }
        guard isAggregateOpen(entity, record) else { return }
        if let existing = records[key] {
            guard !entity.deterministicKeys.isEmpty, mistake != .linksDuplicate, known(key) != nil else {
                return refuse(key, "id", "duplicate")
            }
            return mergeLink(entity, existing, with: record, named)
        }
        hadEffect = true
        records[key] = record
        look(at: key)
        touch(key, entity.fields.map(\.name))
        follow(key, changed: Set(entity.fields.map(\.name)), isNew: true)
    }

    private func set(_ record: inout ReferenceRecord, _ field: FieldSchema, to value: JSONValue) {
        switch field.policy {
        case .addWinsSet:
            record.parts[field.name] = .set(
                Dictionary(uniqueKeysWithValues: (value.arrayValue ?? []).compactMap(\.stringValue).map { ($0, [write]) }))
        case .lastWriterPerKey:
            var entries: [String: Part.Entry] = [:]
            for (name, value) in value.objectValue ?? JSONObject() { entries[name] = Part.Entry(value: value, write: write) }
            record.parts[field.name] = .map(entries)
        case .counter: record.parts[field.name] = .counter(value.integerValue ?? 0)
        default: record.parts[field.name] = .value(value, value.isNull ? nil : write)
        }
    }

    /// The second creation of a link: an edit that claims to know nothing.
    private mutating func mergeLink(
        _ entity: EntitySchema, _ existing: ReferenceRecord, with creation: ReferenceRecord, _ named: Set<String>
    ) {
        var record = existing
        var changed: Set<String> = []
        hadEffect = true
        if !existing.isLive {
            record.deletedBy = nil
            record.lifecycle = write
            // What it connects may have gone meanwhile: all of it is said anew.
            changed = Set(entity.fields.map(\.name))
        }
        for field in entity.fields where named.contains(field.name) && field.policy == .lastWriter {
            guard case .value(let old, let before)? = record.parts[field.name] else { continue }
            let (value, kept, isLost) = lastWriter(old, before, creation[field.name], isKnown: false)
            record.parts[field.name] = .value(value, kept)
            if value != old { changed.insert(field.name) }
            if isLost { superseded.append("\(entity.name).\(field.name)") }
        }
        let key = RecordKey(entity.name, record.id)
        records[key] = record
        look(at: key)
        touch(key, changed)
        follow(key, changed: changed, isNew: false)
    }

    /// Value, its write, and whether the written one lost.
    private func lastWriter(_ old: JSONValue, _ before: Write?, _ new: JSONValue, isKnown: Bool) -> (JSONValue, Write?, Bool) {
        guard let before else { return (new, write, false) }
        if old == new { return (old, write.isLater(than: before) ? write : before, false) }
        if isKnown || write.isLater(than: before) || mistake == .lastWriterByArrival { return (new, write, false) }
        return (old, before, true)
    }

    mutating func patch(_ entity: EntitySchema, _ key: RecordKey, _ fields: JSONObject) {
        guard var record = living(key) else {
            for (name, value) in fields {
                guard let field = writable(entity, key, name, value, creates: false) else { continue }
                if field.policy != .addWinsSet, field.policy != .counter, let code = Self.fault(value, field.type) {
                    refuse(key, name, code)
                }
            }
            return
        }
        guard authorize(.update, entity, record), isAggregateOpen(entity, record) else { return }
        hadEffect = true
        let locked = isLocked(record, entity)
        var changed: Set<String> = []
        for (name, value) in fields {
            guard let field = writable(entity, key, name, value, creates: false) else { continue }
            let isWhole = ![.addWinsSet, .counter, .lastWriterPerKey].contains(field.policy)
            if isWhole, let code = Self.fault(value, field.type) {
                refuse(key, name, code)
                continue
            }
            if locked, field.policy == .guarded {
                refuse(key, name, "locked")
                continue
            }
            if isWhole, field.isRequired, value.isNull {
                refuse(key, name, "required")
                continue
            }
            let old = record[name]
            put(value, in: field, of: &record, key)
            if record[name] != old { changed.insert(name) }
        }
        records[key] = record
        look(at: key)
        touch(key, changed)
        follow(key, changed: changed, isNew: false)
    }

    private mutating func put(_ value: JSONValue, in field: FieldSchema, of record: inout ReferenceRecord, _ key: RecordKey) {
        switch record.parts[field.name] {
        case .counter(let number)?:
            record.parts[field.name] = .counter(
                mistake == .countersOverwrite ? value.integerValue ?? 0 : number + (value.integerValue ?? 0))
        case .set(var elements)?:
            let adding = (value["add"]?.arrayValue ?? []).compactMap(\.stringValue)
            for element in (value["remove"]?.arrayValue ?? []).compactMap(\.stringValue) where !adding.contains(element) {
                let unknown = (elements[element] ?? []).filter { !seen.knows($0) }
                elements[element] = unknown.isEmpty || mistake == .removeTakesUnknown ? nil : unknown
            }
            for element in adding {
                let others = (elements[element] ?? []).filter { !seen.knows($0) }
                elements[element] = others + [write]
            }
            record.parts[field.name] = .set(elements)
        case .map(var entries)?:
            if mistake == .mapsMergeWhole { entries = [:] }
            for (name, new) in value.objectValue ?? JSONObject() {
                let entry = entries[name]
                let isKnown = entry.map { seen.knows($0.write) } ?? true
                let (kept, by, isLost) = lastWriter(entry?.value ?? .null, entry?.write, new, isKnown: isKnown)
                if isLost { superseded.append("\(key.entity).\(field.name)") }
                // Not a ternary: there `nil` would be the JSON null.
                var stored: JSONValue?
                if !kept.isNull { stored = kept }
                entries[name] = Part.Entry(value: stored, write: by ?? write)
            }
            record.parts[field.name] = .map(entries)
        case .value(let old, let before)? where field.policy == .guarded:
            if old == value, before != nil { return }
            if let before, !seen.knows(before), mistake != .guardedTakesUnknown { return refuse(key, field.name, "conflict") }
            record.parts[field.name] = .value(value, write)
        case .value(let old, let before)?:
            let (kept, by, isLost) = lastWriter(old, before, value, isKnown: before.map { seen.knows($0) } ?? true)
            record.parts[field.name] = .value(kept, by)
            if isLost { superseded.append("\(key.entity).\(field.name)") }
        case nil: break
        }
    }

    // MARK: What follows

    /// The effects of written values: stock, and one primary contact a client.
    private mutating func follow(_ key: RecordKey, changed: Set<String>, isNew: Bool) {
        guard let record = records[key], mistake != .effectMissing else { return }
        if key.entity == "movement", isNew, let part = record.identifier("part").map({ RecordKey("part", $0) }),
            case .counter(let stock)? = records[part]?.parts["on_hand_milli"]
        {
            records[part]?.parts["on_hand_milli"] = .counter(stock + (record["quantity_milli"].integerValue ?? 0))
        }
        if key.entity == "client_contact", changed.contains("is_primary"), record["is_primary"] == 1,
            let client = record.identifier("client")
        {
            for other in rows("client_contact", where: "client", is: client) where other.id != key.id && other["is_primary"] == 1 {
                records[RecordKey("client_contact", other.id)]?.parts["is_primary"] = .value(0, write)
            }
        }
    }
}
