// What must hold of every touched record when the set is done: references, uniqueness, set sizes, rules.
// And on whose timelines its entries stand.

extension SetDecider {
    mutating func checkTouchedRecords() {
        for (key, before, fields, _) in touched {
            guard let record = workspace.record(key), record.isLive else { continue }
            for field in record.schema.fields {
                if isMoved(field, by: fields) { checkReferences(record, field) }
                if let others = field.uniqueWith, fields.contains(field.name) || !fields.isDisjoint(with: others) {
                    checkUnique(record, field, with: others)
                }
                guard fields.contains(field.name) else { continue }
                if case .set(_, let count) = field.type { checkCount(record, field, count) }
            }
            let changed = fields
            runRules(.write([]), subject(record, before: before)) { Self.triggersWrite($0, changed) }
        }
    }

    /// Whether the record points elsewhere now. A reference to one of several entities does when either column changed.
    private func isMoved(_ field: FieldSchema, by changed: Set<String>) -> Bool {
        if changed.contains(field.name) { return true }
        guard case .anyReferenceID = field.type else { return false }
        return changed.contains(String(field.name.dropLast(3)) + "_type")
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
                        record.key, field.name, .referenceDeleted, "\(name(of: found)) was deleted",
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

    private mutating func checkUnique(_ record: RecordState, _ field: FieldSchema, with others: [String]) {
        guard !record[field.name].isNull else { return }
        let same: [RecordState]
        if field.uniqueIgnoresCase, let first = others.first {
            let folded = record.text(field.name)?.lowercased()
            same = workspace.lookup(record.schema.name, first, record[first]).filter { $0.text(field.name)?.lowercased() == folded }
        } else {
            same = workspace.lookup(record.schema.name, field.name, record[field.name])
        }
        guard let holder = same.first(where: { other in other.id != record.id && others.allSatisfy { other[$0] == record[$0] } }) else {
            return
        }
        var parameters: JSONObject = ["value": record[field.name]]
        if isVisible(holder) { parameters["id"] = .string(holder.id.text) }
        refuse(
            record.key, field.name, .duplicate,
            "\(field.name) is already used by \(isVisible(holder) ? holder.title : "another \(holder.schema.name)")", parameters)
    }

    // MARK: Place in the tenant

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
            for anchor in linkAnchors(of: record) where !anchors.contains(anchor) { anchors.append(anchor) }
        }
        return anchors
    }

    /// What live link rows connect the record to, where its scope follows from them.
    private func linkAnchors(of record: RecordState) -> [String] {
        record.schema.scopeParts.flatMap { scope -> [String] in
            switch scope {
            case .clientThrough(let link, let recordField, let clientField):
                workspace.lookup(link, recordField, .string(record.id.text)).compactMap { row in
                    row.text(clientField).map { "client:\($0)" }
                }
            case .subjectThrough(let link, let recordField, let subject):
                workspace.lookup(link, recordField, .string(record.id.text)).compactMap { row in
                    row.subject(subject).map { "\($0.entity):\($0.id.text)" }
                }
            default: []
            }
        }
    }

    /// Where the record points, by the field that does.
    private func references(of record: RecordState) -> [(field: String, target: RecordKey)] {
        record.schema.fields.compactMap { field in
            guard let id = record.identifier(field.name) else { return nil }
            switch field.type {
            case .reference(let entity, _): return (field.name, RecordKey(entity, id))
            case .anyReferenceID: return record.subject(String(field.name.dropLast(3))).map { (field.name, $0) }
            default: return nil
            }
        }
    }
}
