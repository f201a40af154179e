// Create and patch: values of fields, each by its policy (protocol §5.1–5.6).

extension SetDecider {
    mutating func create(_ entity: EntitySchema, _ id: Identifier, _ fields: JSONObject) {
        let key = RecordKey(entity.name, id)
        guard entity.isCreatable || author.kind == .system else {
            refuse(key, nil, .forbidden, "a \(entity.name) is made by the server only")
            return
        }
        var record = RecordState(schema: entity, id: id)
        record.createdAt = submission.timestamp.milliseconds
        record.createdBy = author.member
        // With the values as they were named, so that a key of a map that was set to null is not forgotten.
        var named: [String: JSONValue] = [:]
        for (name, raw) in fields {
            guard let field = writable(entity, key, name, value: raw, isCreation: true) else { continue }
            guard let value = stored(field, key, raw) else { continue }
            named[name] = value
            record[name] = field.type.isMap ? .object(JSONObject((value.objectValue ?? JSONObject()).filter { !$0.1.isNull })) : value
        }
        for field in entity.fields {
            if record[field.name].isNull, let value = field.defaultValue { record[field.name] = value }
            if field.policy == .addWinsSet, record[field.name].isNull { record[field.name] = .array([]) }
            if field.type.isMap, record[field.name].isNull { record[field.name] = .object(JSONObject()) }
            if isRequired(field), record[field.name].isNull, !violations.contains(where: { $0.id == id && $0.field == field.name }) {
                refuse(key, field.name, .required, "\(field.name) is required")
            }
        }
        guard authorize(.create, entity, record) else { return }
        if !entity.deterministicKeys.isEmpty {
            guard let expected = entity.deterministicID({ record[$0] }) else { return }
            guard expected == id else {
                refuse(
                    key, "id", .invalidFormat,
                    "the id of a \(entity.name) follows from \(entity.deterministicKeys.joined(separator: ", "))",
                    ["expected": .string(expected.text)])
                return
            }
        }
        guard checkAggregateOpen(record) else { return }
        created.append(id)
        if let existing = workspace.record(key) {
            if entity.deterministicKeys.isEmpty || !isVisible(existing) {
                refuse(key, "id", .duplicate, "there already is a \(entity.name) with this id")
            } else {
                mergeLink(existing, with: record, named: named)
            }
            return
        }
        let tag = tag(at: nextPosition)
        record.versions = RecordVersions(created: tag)
        if !entity.deterministicKeys.isEmpty { listVersions(&record, named, tag) }
        touch(key, before: nil, fields: Set(entity.fields.map(\.name)), isCreation: true)
        var changes = JSONObject()
        for field in entity.fields where !isEmpty(record[field.name]) { changes[field.name] = ["old": .null, "new": record[field.name]] }
        commit(
            record, before: nil, operation: .create, kind: "\(entity.name).created", isMajor: entity.isMajor, changes: changes,
            subject: subject(record, before: nil), triggers: { if case .write = $0 { true } else { false } })
    }

    private func isEmpty(_ value: JSONValue) -> Bool {
        value.isNull || value.arrayValue?.isEmpty == true || value.objectValue?.isEmpty == true
    }

    static func triggersWrite(_ trigger: Trigger, _ changed: Set<String>) -> Bool {
        if case .write(let fields) = trigger { fields.isEmpty || !changed.isDisjoint(with: fields) } else { false }
    }

    mutating func patch(_ entity: EntitySchema, _ id: Identifier, _ fields: JSONObject, was: JSONObject) {
        let key = RecordKey(entity.name, id)
        guard let before = liveRecord(key) else {
            // Say everything that is wrong with the values as well.
            for (name, raw) in fields {
                if let field = writable(entity, key, name, value: raw, isCreation: false) { _ = patchValue(field, key, raw) }
            }
            return
        }
        guard authorize(.update, entity, before), checkAggregateOpen(before) else { return }
        // Of what is theirs without being theirs to manage, people edit the last-writer fields.
        let isPersonalEdit =
            author.kind == .member && (entity.selfEditable || entity.access == .own) && !entity.allows(.update, author.role, before)
        let isLocked = lockedState(of: before) != nil
        var record = before
        let tag = tag(at: nextPosition)
        var changes = JSONObject()
        var lost: [(field: FieldSchema, yours: JSONValue, by: VersionTag)] = []
        for (name, raw) in fields {
            guard let field = writable(entity, key, name, value: raw, isCreation: false), let written = patchValue(field, key, raw)
            else { continue }
            if isPersonalEdit, field.policy != .lastWriter {
                refuse(key, name, .forbidden, "only an owner may change \(name)")
                continue
            }
            if isLocked, field.policy == .guarded {
                refuse(
                    key, name, .locked, "\(before.title) is \(before.state ?? ""); it can no longer change",
                    ["state": .string(before.state ?? "")])
                continue
            }
            let old = record[name]
            switch written {
            case .delta(let delta):
                let (sum, overflow) = (old.integerValue ?? 0).addingReportingOverflow(delta)
                guard !overflow else {
                    refuse(key, name, .outOfRange, "the counter would overflow")
                    continue
                }
                record[name] = .integer(sum)
            case .elements(let adding, let removing):
                _ = FieldMerge.addWinsSet(
                    record: &record, field: name, adding: adding, removing: removing, by: tag, knowledge: knowledge(of: field))
            case .keys(let keys):
                lost += patchMap(&record, field, keys, tag: tag, knowledge: knowledge(of: field))
            case .whole(let value):
                if isRequired(field), value.isNull {
                    refuse(key, name, .required, "\(name) is required")
                    continue
                }
                let merge = field.policy == .guarded ? FieldMerge.guarded : FieldMerge.lastWriter
                let (verdict, version) = merge(old, record.version(of: field), value, tag, knowledge(of: field))
                record.versions.fields[name] = version == record.versions.created ? record.versions.fields[name] : version
                switch verdict {
                case .applied: record[name] = value
                case .equal: break
                case .superseded(let by): lost.append((field, value, by))
                case .conflict(let with): refuseConflict(key, name, base: was[name] ?? .null, server: old, yours: value, with)
                }
            }
            if record[name] != old { changes[name] = ["old": old, "new": record[name]] }
        }
        hadEffect = true
        guard !changes.isEmpty || record.versions != before.versions || !lost.isEmpty else { return }
        touch(key, before: before, fields: Set(changes.keys), isCreation: false)
        let changed = Set(changes.keys)
        commit(
            record, before: before, operation: .update, kind: "\(entity.name).updated", isMajor: false, changes: changes,
            subject: subject(record, before: before), triggers: { Self.triggersWrite($0, changed) })
        for one in lost {
            supersede(record, one.field.name, yours: one.yours, kept: record[one.field.name], by: one.by)
        }
    }

    mutating func patchMap(
        _ record: inout RecordState, _ field: FieldSchema, _ keys: JSONObject, tag: VersionTag, knowledge: Knowledge
    ) -> [(field: FieldSchema, yours: JSONValue, by: VersionTag)] {
        var map = record[field.name].objectValue ?? JSONObject()
        var lost: [(field: FieldSchema, yours: JSONValue, by: VersionTag)] = []
        var versions = record.versions.keys[field.name] ?? [:]
        for (name, value) in keys {
            let (verdict, version) = FieldMerge.lastWriter(
                current: map[name] ?? .null, version: record.version(ofKey: name, in: field.name), written: value, by: tag,
                knowledge: knowledge)
            versions[name] = version
            switch verdict {
            case .applied:
                // Not a ternary: there `nil` would be the JSON null.
                if value.isNull { map[name] = nil } else { map[name] = value }
            case .superseded(let by): lost.append((field, .object([name: value]), by))
            case .equal, .conflict: break
            }
        }
        Self.forgetOldRemovals(&versions, of: map)
        record.versions.keys[field.name] = versions.isEmpty ? nil : versions
        let before = record[field.name].objectValue ?? JSONObject()
        record[field.name] = .object(map)
        checkMap(record, field, map, before: before)
        return lost
    }

    /// Versions of keys that are not there any more, the newest: enough for whoever still writes to one, and nobody can make a record
    /// grow by removing keys.
    static let removedKeysMax = 200

    private static func forgetOldRemovals(_ versions: inout [String: VersionTag], of map: JSONObject) {
        guard versions.count > removedKeysMax + map.count else { return }
        let removed = versions.filter { map[$0.key] == nil }
        let newest = removed.sorted { one, other in
            if one.value.isLater(than: other.value) { return true }
            return !other.value.isLater(than: one.value) && one.key < other.key
        }
        for (key, _) in newest.dropFirst(removedKeysMax) { versions[key] = nil }
    }

    /// Every write of some keys may be small enough, and the map not. One that is too large already may still shrink.
    private mutating func checkMap(_ record: RecordState, _ field: FieldSchema, _ map: JSONObject, before: JSONObject) {
        do throws(ValueRefusal) {
            guard map.count <= max(FieldType.mapKeysMax, before.count) else { throw FieldType.tooManyKeys }
            try FieldType.checkFreeFormBytes(.object(map))
        } catch {
            if error.code == .tooLong, JSONValue.object(map).canonicalBytes().count <= JSONValue.object(before).canonicalBytes().count {
                return
            }
            refuse(record.key, field.name, error.code, "\(field.name) \(error.message)", error.parameters)
        }
    }

    mutating func supersede(_ record: RecordState, _ field: String, yours: JSONValue, kept: JSONValue, by: VersionTag) {
        superseded.append(
            Outcome.Superseded(entity: record.schema.name, id: record.id, field: field, yours: yours, kept: kept, by: by.actor))
        self.record(
            on: record, key: record.key, operation: .derived, kind: "sync.superseded", isMajor: false,
            changes: [field: ["lost": yours, "kept": kept]], category: "sync", scopeKeys: record.scopeKeys,
            cause: mode == .server ? head.position : nil)
    }

    mutating func refuseConflict(
        _ key: RecordKey, _ name: String, base: JSONValue, server: JSONValue, yours: JSONValue, _ other: VersionTag
    ) {
        var parameters: JSONObject = ["base": base, "server": server, "yours": yours]
        if let by = other.actor { parameters["by"] = .string(by.text) }
        parameters["at"] = .integer(other.timestamp.milliseconds)
        refuse(key, name, .conflict, "\(name) was changed by someone else meanwhile", parameters)
    }

    /// Whether this author had to know that the field is needed.
    private func isRequired(_ field: FieldSchema) -> Bool {
        field.isRequired && field.requiredSince <= submission.schemaVersion ?? .max
    }

    // MARK: Values

    private enum Written {
        case whole(JSONValue)
        case delta(Int64)
        case elements(adding: [String], removing: [String])
        case keys(JSONObject)
    }

    /// The field, if this author may name it in this operation.
    private mutating func writable(
        _ entity: EntitySchema, _ key: RecordKey, _ name: String, value: JSONValue, isCreation: Bool
    ) -> FieldSchema? {
        guard let field = entity.field(name) else {
            let isCommon = ["id", "created_at", "created_by", "updated_at", "deleted_at", "position"].contains(name)
            refuse(
                key, name, isCommon ? .readOnly : .unknownField,
                isCommon ? "\(name) is set by the system" : "\(entity.name) has no field \(name)")
            return nil
        }
        if author.kind == .system { return field }
        switch field.policy {
        case .serverAssigned:
            refuse(key, name, .readOnly, "\(name) is set by the server")
            return nil
        case .transition:
            if isCreation, value == field.defaultValue { return field }
            refuse(
                key, name, .readOnly,
                "\(name) changes by a transition: \(entity.machine?.transitions.map(\.name).joined(separator: ", ") ?? "")")
            return nil
        case .writeOnce where !isCreation:
            refuse(key, name, .immutable, "\(name) is set once, when the \(entity.name) is created")
            return nil
        default: break
        }
        if field.isRestricted, !author.role.seesRestricted {
            refuse(key, name, .forbidden, "a field member may not set \(name)")
            return nil
        }
        return field
    }

    /// The stored form of a value for a creation.
    private mutating func stored(_ field: FieldSchema, _ key: RecordKey, _ raw: JSONValue) -> JSONValue? {
        do {
            return try field.type.normalized(raw)
        } catch {
            refuse(key, field.name, error.code, "\(field.name) \(error.message)", error.parameters)
            return nil
        }
    }

    /// What a patch means for a field of this policy.
    private mutating func patchValue(_ field: FieldSchema, _ key: RecordKey, _ raw: JSONValue) -> Written? {
        switch field.policy {
        case .counter:
            guard let delta = raw.integerValue else {
                refuse(key, field.name, .invalidFormat, "\(field.name) is a counter: a patch is a whole number to add")
                return nil
            }
            return .delta(delta)
        case .addWinsSet:
            guard case .set(let element, _) = field.type, let object = raw.objectValue,
                object.allSatisfy({ ($0 == "add" || $0 == "remove") && $1.arrayValue != nil }),
                (object["remove"]?.arrayValue ?? []).allSatisfy({ $0.stringValue != nil || $0.integerValue != nil })
            else {
                refuse(key, field.name, .invalidFormat, "\(field.name) is a set: a patch is {\"add\":[…],\"remove\":[…]}")
                return nil
            }
            do {
                let adding = try FieldType.setElements(object["add"]?.arrayValue ?? [], of: element)
                // What is removed need not be valid today: choices shrink, formats tighten.
                let removing = (object["remove"]?.arrayValue ?? []).compactMap { $0.stringValue ?? $0.integerValue.map(String.init) }
                return .elements(adding: adding.compactMap(\.stringValue), removing: removing)
            } catch {
                refuse(key, field.name, error.code, "\(field.name) \(error.message)", error.parameters)
                return nil
            }
        case .lastWriterPerKey:
            guard let map = stored(field, key, raw) else { return nil }
            return .keys(map.objectValue ?? JSONObject())
        default:
            return stored(field, key, raw).map { .whole($0) }
        }
    }
}
