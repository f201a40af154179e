// One set on its way through the reference: its changes one after another on a copy of everything, which counts only if nothing is
// wrong in the end (protocol §6).

import SyncProtocol

struct ReferenceDecision {
    let reference: Reference
    let offer: Reference.Offer
    let stamp: HybridTimestamp
    let seen: Seen
    let write: Write
    var records: [RecordKey: ReferenceRecord]
    var lastNumbers: [String: Int]
    var violations: Set<String> = []
    var superseded: [String] = []
    var rebased = false
    var hadEffect = false
    /// Fields to be checked when the set is done.
    var touched: [RecordKey: Set<String>] = [:]
    /// Named in a violation already.
    private var blamed: Set<String> = []

    init(reference: Reference, offer: Reference.Offer, stamp: HybridTimestamp, seen: Seen, write: Write) {
        self.reference = reference
        self.offer = offer
        self.stamp = stamp
        self.seen = seen
        self.write = write
        records = reference.records
        lastNumbers = reference.lastNumbers
    }

    var mistake: Reference.Mistake? { reference.mistake }
    var schema: Schema { reference.schema }
    var isServer: Bool { offer.dot == nil }

    mutating func refuse(_ key: RecordKey, _ field: String, _ code: String) {
        violations.insert("\(key.entity).\(field) \(code)")
        blamed.insert("\(key.id).\(field)")
    }

    func isBlamed(_ key: RecordKey, _ field: String) -> Bool { blamed.contains("\(key.id).\(field)") }

    mutating func apply(_ change: Change) {
        guard let entity = schema.entity(change.key.entity) else { return refuse(change.key, "entity", "unknown_entity") }
        switch change.operation {
        case .create(let fields): create(entity, change.key, fields)
        case .patch(let fields, _): patch(entity, change.key, fields)
        case .transition(let name, let observed, let arguments): move(entity, change.key, name, observed, arguments)
        case .delete: delete(entity, change.key)
        case .restore: restore(entity, change.key)
        }
    }

    // MARK: Who may

    enum Deed { case create, update, delete, restore }

    /// Classes of access of the entities that histories use.
    func mayDo(_ deed: Deed, _ entity: EntitySchema, _ record: ReferenceRecord) -> Bool {
        if isServer { return true }
        let isLead = offer.role == .owner || offer.role == .manager
        switch entity.access {
        case .log: return deed == .create && offer.role != .viewer
        case .config: return offer.role == .owner
        case .collab: return isLead || (offer.role == .field && deed == .update)
        case .manage, .money:
            if isLead { return true }
            guard offer.role == .field, deed != .restore, let owner = entity.ownerField else { return false }
            return record.identifier(owner) == offer.member
        case .fact:
            if isLead { return true }
            guard offer.role == .field, deed != .restore else { return false }
            return deed == .create || record.madeBy == offer.member
        default: return false
        }
    }

    mutating func authorize(_ deed: Deed, _ entity: EntitySchema, _ record: ReferenceRecord) -> Bool {
        if mayDo(deed, entity, record) { return true }
        violations.insert("\(entity.name). forbidden")
        return false
    }

    /// The record, alive, or nil after saying what is wrong.
    mutating func living(_ key: RecordKey) -> ReferenceRecord? {
        guard let record = known(key) else {
            refuse(key, "id", reference.rejectedCreations.contains(key.id) ? "depends_on_rejected" : "not_found")
            return nil
        }
        guard record.isLive else {
            refuse(key, "id", "record_deleted")
            return nil
        }
        return record
    }

    // MARK: Locks

    /// Whether the state of the record bars this author (protocol §5.9).
    func isLocked(_ record: ReferenceRecord, _ entity: EntitySchema) -> Bool {
        guard !isServer, let open = entity.openStates, let machine = entity.machine, let state = record[machine.field].stringValue else {
            return false
        }
        return !open.contains(state)
    }

    mutating func isAggregateOpen(_ entity: EntitySchema, _ record: ReferenceRecord) -> Bool {
        guard let field = entity.aggregateRoot, let rootEntity = entity.field(field)?.referencedEntities.first.flatMap(schema.entity),
            let id = record.identifier(field), let root = records[RecordKey(rootEntity.name, id)],
            mistake != .lockIgnoresChildren, isLocked(root, rootEntity)
        else { return true }
        refuse(RecordKey(entity.name, record.id), field, "locked")
        return false
    }

    // MARK: Values

    /// The code of what is wrong with a value in stored form; histories write nothing else.
    static func fault(_ value: JSONValue, _ type: FieldType) -> String? {
        if value.isNull { return nil }
        switch type {
        case .text(let range):
            guard let text = value.stringValue else { return "invalid_format" }
            return text.unicodeScalars.count > range.upperBound ? "too_long" : nil
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range):
            guard let number = value.integerValue else { return "invalid_format" }
            return range.contains(number) ? nil : "out_of_range"
        case .choice(let choices), .anyReferenceEntity(let choices):
            return value.stringValue.map(choices.contains) == true ? nil : "invalid_choice"
        case .reference, .anyReferenceID: return value.stringValue.flatMap { Identifier($0) } == nil ? "invalid_format" : nil
        default: return nil
        }
    }

    /// The field, if this author may name it here.
    mutating func writable(_ entity: EntitySchema, _ key: RecordKey, _ name: String, _ value: JSONValue, creates: Bool) -> FieldSchema? {
        guard let field = entity.field(name) else {
            refuse(key, name, "unknown_field")
            return nil
        }
        if isServer { return field }
        var code: String?
        switch field.policy {
        case .serverAssigned: code = "read_only"
        case .transition where !(creates && value == field.defaultValue): code = "read_only"
        case .writeOnce where !creates: code = "immutable"
        default: if field.isRestricted, offer.role == .field { code = "forbidden" }
        }
        if let code {
            refuse(key, name, code)
            return nil
        }
        return field
    }

    func blank(_ field: FieldSchema) -> Part {
        switch field.policy {
        case .addWinsSet: .set([:])
        case .lastWriterPerKey: .map([:])
        case .counter: .counter(0)
        default: .value(.null, nil)
        }
    }

    // MARK: Looking around

    func rows(_ entity: String, where field: String, is id: Identifier, dead: Bool = false) -> [ReferenceRecord] {
        records.values.filter { $0.entity == entity && ($0.isLive || dead) && $0.identifier(field) == id }.sorted { $0.id < $1.id }
    }

    mutating func touch(_ key: RecordKey, _ fields: some Sequence<String>) { touched[key, default: []].formUnion(fields) }

    // MARK: In the end

    /// References, uniqueness, sizes, and the rules about values, of every record that the set touched.
    mutating func checkTouched() {
        for (key, fields) in touched {
            guard let record = records[key], record.isLive, let entity = schema.entity(key.entity) else { continue }
            for field in entity.fields where fields.contains(field.name) {
                for target in targets(record, field) { check(target, from: key, field) }
                if case .set(_, let count) = field.type {
                    let size = record[field.name].arrayValue?.count ?? 0
                    if size < count.lowerBound { refuse(key, field.name, "too_few") }
                    if size > count.upperBound { refuse(key, field.name, "too_many") }
                }
                if let others = field.uniqueWith, !record[field.name].isNull,
                    records.values.contains(where: { other in
                        other.entity == key.entity && other.id != key.id && other.isLive
                            && ([field.name] + others).allSatisfy { other[$0] == record[$0] }
                    })
                {
                    refuse(key, field.name, "duplicate")
                }
            }
            if key.entity == "movement" {
                let quantity = record["quantity_milli"].integerValue ?? 0
                if record["kind"] == "receive" ? quantity <= 0 : quantity >= 0 { refuse(key, "quantity_milli", "out_of_range") }
            }
        }
    }

    private func targets(_ record: ReferenceRecord, _ field: FieldSchema) -> [RecordKey] {
        switch field.type {
        case .reference(let entity, _): return record.identifier(field.name).map { [RecordKey(entity, $0)] } ?? []
        case .anyReferenceID:
            guard let entity = record[String(field.name.dropLast(3)) + "_type"].stringValue, let id = record.identifier(field.name) else {
                return []
            }
            return [RecordKey(entity, id)]
        default: return []
        }
    }

    private mutating func check(_ target: RecordKey, from key: RecordKey, _ field: FieldSchema) {
        if reference.outside.contains(target.id) { return }
        if let found = records[target] {
            if !found.isLive { refuse(key, field.name, "reference_deleted") }
        } else {
            refuse(key, field.name, reference.rejectedCreations.contains(target.id) ? "depends_on_rejected" : "reference_missing")
        }
    }
}
