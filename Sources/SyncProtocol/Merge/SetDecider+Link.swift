// Links: records whose id follows from what they connect, so that two creations of the same one become one row (protocol §5.6).

extension SetDecider {
    /// A link lists the version of everything its creation named, so that two creations merge in either order. What a set
    /// holds and how far a counter went needs no more than the creation itself.
    func listVersions(_ record: inout RecordState, _ named: [String: JSONValue], _ tag: VersionTag) {
        for (name, value) in named {
            switch record.schema.field(name)?.policy {
            case .addWinsSet, .counter, nil: break
            case .lastWriterPerKey:
                let keys = value.objectValue?.keys.map { ($0, tag) } ?? []
                if !keys.isEmpty { record.versions.keys[name] = Dictionary(keys) { $1 } }
            default: record.versions.fields[name] = tag
            }
        }
    }

    /// The second creation of a link merges as an edit that claims no knowledge, each field by its policy. Over a tombstone it
    /// restores the row; what could be set only once, or was guarded, is then free again.
    mutating func mergeLink(_ existing: RecordState, with creation: RecordState, named: [String: JSONValue]) {
        var record = existing
        let isRevived = !existing.isLive
        let tag = tag(at: nextPosition)
        var changes = JSONObject()
        if isRevived {
            changes["deleted_at"] = ["old": .integer(existing.deletedAt ?? 0), "new": .null]
            record.deletedAt = nil
            record.deletedCause = nil
            record.versions.lifecycle = tag
        }
        var lost: [(field: FieldSchema, yours: JSONValue, by: VersionTag)] = []
        for field in existing.schema.fields {
            guard let value = named[field.name] else { continue }
            lost += mergeNamed(field, value, creation, into: &record, isRevived: isRevived, tag)
            if record[field.name] != existing[field.name] {
                changes[field.name] = ["old": existing[field.name], "new": record[field.name]]
            }
        }
        hadEffect = true
        guard !changes.isEmpty || record.versions != existing.versions || !lost.isEmpty else { return }
        let changed = isRevived ? Set(record.schema.fields.map(\.name)) : Set(changes.keys)
        touch(record.key, before: existing, fields: changed, isCreation: false)
        commit(
            record, before: existing, operation: isRevived ? .restore : .update,
            kind: "\(record.schema.name).\(isRevived ? "restored" : "updated")", isMajor: false, changes: changes,
            subject: subject(record, before: existing), triggers: { Self.triggersWrite($0, changed) })
        for one in lost { supersede(record, one.field.name, yours: one.yours, kept: record[one.field.name], by: one.by) }
    }

    /// One field of a link's second creation; returns what lost.
    private mutating func mergeNamed(
        _ field: FieldSchema, _ value: JSONValue, _ creation: RecordState, into record: inout RecordState, isRevived: Bool,
        _ tag: VersionTag
    ) -> [(field: FieldSchema, yours: JSONValue, by: VersionTag)] {
        let name = field.name
        let old = record[name]
        func take() {
            record[name] = value
            record.versions.fields[name] = tag
        }
        switch field.policy {
        case .addWinsSet:
            _ = FieldMerge.addWinsSet(
                record: &record, field: name, adding: creation.elements(name), removing: [], by: tag, knowledge: .none)
        case .counter:
            // Both counted from the same beginning, whether they named it or not.
            let delta = (value.integerValue ?? 0).subtractingReportingOverflow(field.defaultValue?.integerValue ?? 0)
            let sum = (old.integerValue ?? 0).addingReportingOverflow(delta.partialValue)
            if delta.overflow || sum.overflow {
                refuse(record.key, name, .outOfRange, "the counter would overflow")
            } else {
                record[name] = .integer(sum.partialValue)
            }
        case .lastWriterPerKey: return patchMap(&record, field, value.objectValue ?? JSONObject(), tag: tag, knowledge: .none)
        case .transition: break
        case .serverAssigned: if author.kind == .system, old != value { take() }
        case .writeOnce where old == value: break
        case .writeOnce where isRevived || old.isNull: take()
        case .writeOnce:
            refuse(
                record.key, name, .immutable, "\(name) was set when this \(record.schema.name) was created",
                ["server": old, "yours": value])
        case .guarded where isRevived && old != value: take()
        case .guarded, .lastWriter:
            let merge = field.policy == .guarded ? FieldMerge.guarded : FieldMerge.lastWriter
            let (verdict, version) = merge(old, record.version(of: field), value, tag, .none)
            record.versions.fields[name] = version
            switch verdict {
            case .applied: record[name] = value
            case .equal: break
            case .superseded(let by): return [(field, value, by)]
            case .conflict(let with): refuseConflict(record.key, name, base: .null, server: old, yours: value, with)
            }
        }
        return []
    }
}
