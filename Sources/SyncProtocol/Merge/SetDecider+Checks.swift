// What must hold of every touched record when the set is done: references, uniqueness, set sizes, rules.
// And what a record's place in the tenant says: scope keys and timeline anchors.

extension SetDecider {
    mutating func checkTouchedRecords() {
        for (key, before, fields, _) in touched {
            guard let record = workspace.record(key), record.isLive else { continue }
            for field in record.schema.fields where fields.contains(field.name) {
                checkReferences(record, field)
                checkUnique(record, field)
                if case .set(_, let count) = field.type { checkCount(record, field, count) }
            }
            let changed = fields
            runRules(.write([]), subject(record, before: before)) { Self.triggersWrite($0, changed) }
        }
    }

    mutating func runRules(_ trigger: Trigger, _ subject: Subject, _ applies: (Trigger) -> Bool) {
        for rule in schema.rules(of: subject.record.schema.name) where applies(rule.trigger) && (rule.side == .both || mode == .server) {
            var isLoaded = true
            for read in rule.reads(subject) where !workspace.require(read) { isLoaded = false }
            guard isLoaded else { continue }
            for finding in rule.check(subject, workspace) { take(finding, on: subject.record.key) }
        }
    }

    private mutating func checkCount(_ record: RecordState, _ field: FieldSchema, _ count: ClosedRange<Int>) {
        let size = record.elements(field.name).count
        if size < count.lowerBound {
            refuse(
                record.key, field.name, .tooFew, "\(field.name) needs at least \(count.lowerBound)",
                ["min": .integer(Int64(count.lowerBound))])
        } else if size > count.upperBound {
            refuse(
                record.key, field.name, .tooMany, "\(field.name) has at most \(count.upperBound)",
                ["max": .integer(Int64(count.upperBound))])
        }
    }

    private mutating func checkReferences(_ record: RecordState, _ field: FieldSchema) {
        let targets: [RecordKey]
        switch field.type {
        case .reference(let entity, _):
            targets = record.identifier(field.name).map { [RecordKey(entity, $0)] } ?? []
        case .anyReferenceID:
            let typeField = String(field.name.dropLast(3)) + "_type"
            switch (record.text(typeField), record.identifier(field.name)) {
            case (let entity?, let id?): targets = [RecordKey(entity, id)]
            case (nil, nil): targets = []
            default:
                if !violations.contains(where: { $0.id == record.id && $0.field == typeField }) {
                    refuse(record.key, typeField, .required, "\(typeField) and \(field.name) are set together")
                }
                targets = []
            }
        case .set(.reference(let entity, _), _):
            targets = record.elements(field.name).compactMap { Identifier($0) }.map { RecordKey(entity, $0) }
        default: return
        }
        for target in targets {
            guard schema.entity(target.entity) != nil else {
                refuse(
                    record.key, field.name, .referenceMissing, "there is no such \(target.entity)",
                    ["entity": .string(target.entity), "id": .string(target.id.text)])
                continue
            }
            if let found = workspace.record(target) {
                if !found.isLive {
                    refuse(
                        record.key, field.name, .referenceDeleted, "\(target.entity) \(found.title) was deleted",
                        ["entity": .string(target.entity), "id": .string(target.id.text)])
                }
            } else if workspace.wasRejectedCreation(target.id) {
                refuse(
                    record.key, field.name, .dependsOnRejected, "the set that would have created this \(target.entity) was rejected",
                    ["entity": .string(target.entity), "id": .string(target.id.text)])
            } else if mode == .server {
                refuse(
                    record.key, field.name, .referenceMissing, "there is no such \(target.entity)",
                    ["entity": .string(target.entity), "id": .string(target.id.text)])
            }
        }
    }

    private mutating func checkUnique(_ record: RecordState, _ field: FieldSchema) {
        guard let others = field.uniqueWith, !record[field.name].isNull else { return }
        let same = workspace.lookup(record.schema.name, field.name, record[field.name])
        guard let holder = same.first(where: { other in other.id != record.id && others.allSatisfy { other[$0] == record[$0] } }) else {
            return
        }
        refuse(
            record.key, field.name, .duplicate, "\(field.name) is already used by \(holder.title)",
            ["id": .string(holder.id.text), "value": record[field.name]])
    }

    // MARK: Place in the tenant

    /// The keys of the scopes that hold the record.
    func scopeKeys(of record: RecordState) -> [String] {
        guard mode == .server else { return record.scopeKeys }
        var keys: Set<String> = []
        for scope in record.schema.scopes {
            switch scope {
            case .tenant: keys.insert("tenant")
            case .full: keys.insert("full")
            case .none: break
            case .client(let field):
                if let id = field == "id" ? record.id : record.identifier(field) { keys.insert("client:\(id.text)") }
            case .member(let field):
                if let id = field == "id" ? record.id : record.identifier(field) { keys.insert("member:\(id.text)") }
            case .clientThrough(let link, let recordField, let clientField):
                for row in workspace.lookup(link, recordField, .string(record.id.text)) {
                    if let client = row.identifier(clientField) { keys.insert("client:\(client.text)") }
                }
            case .record(let field, let entity):
                if let id = record.identifier(field), let owner = workspace.record(entity, id) { keys.formUnion(owner.scopeKeys) }
            }
        }
        return keys.sorted()
    }

    /// The record itself, what it refers to, what links connect it to, and the same of the records it belongs to: on whose
    /// timelines an entry stands. Members have none.
    func anchors(of record: RecordState?, key: RecordKey) -> [String] {
        var anchors = ["\(key.entity):\(key.id.text)"]
        guard let record else { return anchors }
        var next = [record]
        var seen: Set<RecordKey> = [record.key]
        while let record = next.popLast() {
            for (field, target) in references(of: record) {
                let anchor = "\(target.entity):\(target.id.text)"
                if target.entity != "member", !anchors.contains(anchor) { anchors.append(anchor) }
                guard record.schema.timelineParents.contains(field), seen.insert(target).inserted,
                    let parent = workspace.record(target)
                else { continue }
                next.append(parent)
            }
            for case .clientThrough(let link, let recordField, let clientField) in record.schema.scopes {
                for row in workspace.lookup(link, recordField, .string(record.id.text)) {
                    let anchor = row.text(clientField).map { "client:\($0)" }
                    if let anchor, !anchors.contains(anchor) { anchors.append(anchor) }
                }
            }
        }
        return anchors
    }

    /// Where the record points, by the field that does.
    private func references(of record: RecordState) -> [(field: String, target: RecordKey)] {
        record.schema.fields.compactMap { field in
            guard let id = record.identifier(field.name) else { return nil }
            switch field.type {
            case .reference(let entity, _): return (field.name, RecordKey(entity, id))
            case .anyReferenceID:
                return record.text(String(field.name.dropLast(3)) + "_type").map { (field.name, RecordKey($0, id)) }
            default: return nil
            }
        }
    }
}
