// Who holds a record: its scope keys, and what moves along when they change. A link, a parent or a subject may give a record its
// scope without a word being said about the record itself (protocol §7.3).

extension SetDecider {
    /// The keys of the scopes that hold the record.
    func scopeKeys(of record: RecordState, before: RecordState?) -> [String] {
        guard mode == .server else { return record.scopeKeys }
        // What was deleted stays where it was, so that whoever held it hears of its end; it only follows what it hangs on.
        if let before, before.isLive, !record.isLive { return before.scopeKeys }
        return scopeKeys(of: record)
    }

    /// What is in nobody's circle is held by full replicas, and by who made it if that may be field staff: what people type must not
    /// vanish from their own file because nothing connects it yet.
    func scopeKeys(of record: RecordState) -> [String] {
        var keys = Set(record.schema.scopes.flatMap { scopeKeys($0, of: record) })
        if record.schema.isServed, ReaderAccess.circles(of: Array(keys)).isEmpty {
            keys.insert("full")
            if let author = record.createdBy, record.schema.allows(.create, .field) || record.schema.ownerField != nil {
                keys.insert(ReaderAccess.key(of: author))
            }
        }
        return keys.sorted()
    }

    private func scopeKeys(_ scope: Scope, of record: RecordState) -> [String] {
        func key(_ kind: String, _ field: String) -> [String] {
            let ids = field == "id" ? [record.id.text] : record.identifier(field).map { [$0.text] } ?? record.elements(field)
            return ids.map { "\(kind):\($0)" }
        }
        switch scope {
        case .tenant: return ["tenant"]
        case .full: return ["full"]
        case .none: return []
        case .client(let field): return key("client", field)
        case .project(let field): return key("project", field)
        case .member(let field): return key("member", field)
        case .clientThrough(let link, let recordField, let clientField):
            return workspace.lookup(link, recordField, .string(record.id.text)).compactMap { row in
                row.identifier(clientField).map { "client:\($0.text)" }
            }
        case .record(let field, let entity):
            return record.identifier(field).flatMap { workspace.record(entity, $0) }?.scopeKeys ?? []
        case .subject(let field): return record.subject(field).flatMap { workspace.record($0) }?.scopeKeys ?? []
        case .subjectThrough(let link, let recordField, let subject):
            return workspace.lookup(link, recordField, .string(record.id.text)).flatMap { row in
                row.subject(subject).flatMap { workspace.record($0) }?.scopeKeys ?? []
            }
        case .inStates(let states, let scope):
            return record.state.map { states.contains($0) } == true ? scopeKeys(scope, of: record) : []
        case .first(let scopes):
            return scopes.lazy.map { self.scopeKeys($0, of: record) }.first { !$0.isEmpty } ?? []
        }
    }

    // MARK: What moves along

    /// A circle of references whose keys do not come to rest is left as it is after so many turns.
    private static let turnsMax = 8

    /// Gives records whose scope follows from what this set wrote their new keys, and those that follow from them theirs: as many
    /// rounds of loading as the chain is long, each of one batch.
    mutating func rescopeDependents() {
        var queue: [(key: RecordKey, cause: Int64)] = []
        var turns: [RecordKey: Int] = [:]
        for (key, before) in committed {
            guard let record = workspace.record(key) else { continue }
            let cause = record.position.position
            queue += connected(by: record, before: before).map { ($0, cause) }
            if let before, before.scopeKeys != record.scopeKeys { queue += dependents(of: key).map { ($0, cause) } }
        }
        var next = 0
        while next < queue.count {
            let (key, cause) = queue[next]
            next += 1
            guard let record = workspace.record(key), record.isLive || record.schema.followsItsReferences,
                turns[key, default: 0] < Self.turnsMax
            else { continue }
            let keys = scopeKeys(of: record)
            guard keys != record.scopeKeys else { continue }
            turns[key, default: 0] += 1
            rescope(record, keys, cause: cause)
            queue += dependents(of: key).map { ($0, cause) }
        }
    }

    /// What a link connects, if it does so now or did before, and not to the same.
    private func connected(by record: RecordState, before: RecordState?) -> [RecordKey] {
        schema.connected(by: record.schema.name).flatMap { connected -> [RecordKey] in
            let isSame =
                before?.isLive == record.isLive && before?[connected.field] == record[connected.field]
                && connected.to.allSatisfy { before?[$0] == record[$0] }
            if isSame { return [] }
            let ids = [before?.identifier(connected.field), record.identifier(connected.field)].compactMap { $0 }
            return Set(ids).sorted().map { RecordKey(connected.entity, $0) }
        }
    }

    /// The records that take their scope from this one, deleted ones included that do so by a reference of their own: whoever loses
    /// a record loses what was deleted of it.
    private func dependents(of key: RecordKey) -> [RecordKey] {
        schema.scopeDependents(of: key.entity).flatMap { dependent -> [RecordKey] in
            let follows = dependent.through == nil && schema.entity(dependent.entity)?.followsItsReferences == true
            let rows = workspace.lookup(dependent.holder, dependent.field, .string(key.id.text), includingDeleted: follows)
            return rows.compactMap { row in
                if let subject = dependent.subject, row.subject(subject) != key { return nil }
                guard let field = dependent.through else { return row.key }
                return row.identifier(field).map { RecordKey(dependent.entity, $0) }
            }
        }
    }

    /// A record that nobody has changed, with other keys. Its new position brings it to who holds it now, its entry says no more.
    private mutating func rescope(_ moved: RecordState, _ keys: [String], cause: Int64) {
        var record = moved
        record.scopeKeys = keys
        if record.position > start {
            // Written by this very set: nobody has seen it with other keys.
            workspace.put(record)
            for index in entries.indices where entries[index].key == record.key { entries[index].scopeKeys = keys }
            return
        }
        record.position = nextPosition
        workspace.put(record)
        entries.append(
            FeedEntry(
                position: record.position, atMilliseconds: nowMilliseconds, author: .system, dot: nil, key: record.key,
                operation: .derived, kind: FeedEntry.rescoped, category: "sync", isMajor: false, changes: JSONObject(),
                restrictedChanges: JSONObject(), anchors: [], scopeKeys: [], cause: cause, depth: submission.depth,
                operationMilliseconds: submission.timestamp.milliseconds))
        head = record.position
    }
}
