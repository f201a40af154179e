// Capture: what the body of `write { }` says becomes changes, worked out against the view it sees.

import SyncProtocol

/// Collects the changes of one change set. Valid only inside the `write` that handed it out.
///
/// Nothing is judged here: values that the schema refuses travel on to the decision, which names everything that is wrong.
public final class Edit {
    /// One captured change, and the record as it was when the change began.
    private struct Captured {
        var change: Change
        var before: RecordState?
    }

    private let store: Store
    private let mayChangeConfirmed: Bool
    private let newIdentifier: () -> Identifier
    private var captured: [Captured] = []
    /// Records as this edit has left them so far.
    private var current: [RecordKey: RecordState] = [:]
    /// The create or patch that further values of a record go into.
    private var open: [RecordKey: Int] = [:]

    init(store: Store, mayChangeConfirmed: Bool, newIdentifier: @escaping () -> Identifier) {
        self.store = store
        self.mayChangeConfirmed = mayChangeConfirmed
        self.newIdentifier = newIdentifier
    }

    /// In order, without patches that change nothing.
    var changes: [Change] {
        captured.compactMap { one in
            if case .patch(let fields, _) = one.change.operation, fields.isEmpty { nil } else { one.change }
        }
    }

    /// What the parts named by ``changes`` were before, one entry a change: what an undo restores.
    var undo: JSONValue {
        .array(
            captured.compactMap { one -> JSONValue? in
                guard let before = one.before else { return JSONValue.null }
                switch one.change.operation {
                case .patch(let fields, _):
                    if fields.isEmpty { return Optional.none }
                    return .object(JSONObject(fields.map { ($0.key, Self.part(before[$0.key], named: $0.value, before.schema, $0.key)) }))
                case .transition: return ["state": before.state.map { .string($0) } ?? .null]
                default: return JSONValue.null
                }
            })
    }

    /// The old value as far as the new one says something: of a map only the keys that change.
    private static func part(_ before: JSONValue, named value: JSONValue, _ schema: EntitySchema, _ field: String) -> JSONValue {
        guard schema.field(field)?.policy == .lastWriterPerKey, let keys = value.objectValue else { return before }
        return .object(JSONObject(keys.keys.map { ($0, before[$0] ?? .null) }))
    }

    /// Records that the edit names, with their state after it.
    func state(of key: RecordKey) -> RecordState? { current[key] }

    // MARK: Reading

    /// The record as the view shows it, with what this edit has done to it so far.
    public func get(_ entity: String, _ id: Identifier) throws -> Record? {
        try state(RecordKey(entity, id)).map { Record($0, isPending: false) }
    }

    private func state(_ key: RecordKey) throws -> RecordState? {
        if let state = current[key] { return state }
        guard var state = try store.record(key) else { return nil }
        state.queuedState = try store.queuedState(key)
        return state
    }

    // MARK: Writing

    /// Creates a record. Links get the id that follows from what they connect; others a new one, unless `id` names it.
    /// `custom.key` names one key of a map.
    @discardableResult
    public func create(_ entity: String, _ fields: [String: JSONValue], id: Identifier? = nil) throws -> Identifier {
        guard let schema = store.schema.entity(entity) else { throw unknown(entity) }
        var given = JSONObject()
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) where !value.isNull {
            if let path = MapPath(name) {
                var map = given[path.field]?.objectValue ?? JSONObject()
                map[path.key] = value
                given[path.field] = .object(map)
            } else if schema.field(name)?.type.isMap == true, let map = value.objectValue {
                var merged = given[name]?.objectValue ?? JSONObject()
                for (key, value) in map { merged[key] = value }
                given[name] = .object(merged)
            } else {
                given[name] = value
            }
        }
        var record = RecordState(schema: schema, id: .zero)
        for (name, value) in given where schema.index(of: name) != nil { record[name] = normalized(value, schema.field(name)) ?? value }
        for field in schema.fields where record[field.name].isNull { record[field.name] = field.defaultValue ?? .null }
        let id = id ?? schema.deterministicID { record[$0] } ?? newIdentifier()
        var state = RecordState(schema: schema, id: id)
        state.values = record.values
        let key = state.key
        open[key] = captured.count
        captured.append(Captured(change: Change(key: key, operation: .create(fields: given)), before: nil))
        current[key] = state
        return id
    }

    /// Sets fields. An add-wins set takes the whole array (the difference to the view is what is sent) or
    /// `{"add":[…],"remove":[…]}`, a counter its new value, a map the keys to change (null removes); `custom.key` is one key.
    public func set(_ entity: String, _ id: Identifier, _ fields: [String: JSONValue]) throws {
        let key = RecordKey(entity, id)
        guard let schema = store.schema.entity(entity) else { throw unknown(entity) }
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) {
            let path = MapPath(name)
            guard let field = schema.field(path?.field ?? name) else {
                try put(key, name, raw: value)
                continue
            }
            let value = path.map { .object([$0.key: value]) } ?? value
            switch field.policy {
            case .addWinsSet: try setElements(key, field, value)
            case .lastWriterPerKey:
                guard let keys = value.objectValue else {
                    try put(key, field.name, raw: value)
                    continue
                }
                try put(key, field) { current in
                    var map = current.objectValue ?? JSONObject()
                    for (key, value) in keys { map[key] = value.orAbsent }
                    return .object(map)
                }
            default:
                guard let normalized = normalized(value, field) else {
                    try put(key, field.name, raw: value)
                    continue
                }
                try put(key, field) { _ in normalized }
            }
        }
    }

    /// Adds elements to a set field.
    public func add(_ entity: String, _ id: Identifier, _ field: String, _ elements: [String]) throws {
        try set(entity, id, [field: ["add": .array(elements.map { .string($0) })]])
    }

    /// Removes elements from a set field.
    public func remove(_ entity: String, _ id: Identifier, _ field: String, _ elements: [String]) throws {
        try set(entity, id, [field: ["remove": .array(elements.map { .string($0) })]])
    }

    /// Adds to a counter; negative takes away.
    public func increment(_ entity: String, _ id: Identifier, _ field: String, by delta: Int64 = 1) throws {
        let key = RecordKey(entity, id)
        guard let schema = store.schema.entity(entity)?.field(field), schema.policy == .counter else {
            return try put(key, field, raw: .integer(delta))
        }
        try put(key, schema) { current in
            let (sum, overflow) = (current.integerValue ?? 0).addingReportingOverflow(delta)
            return .integer(overflow ? (delta > 0 ? .max : .min) : sum)
        }
    }

    /// Moves a record's state machine. What is observed is the state after this replica's own earlier edits.
    public func transition(_ name: String, _ entity: String, _ id: Identifier, _ arguments: [String: JSONValue] = [:]) throws {
        let key = RecordKey(entity, id)
        let before = try editable(key)
        let given = JSONObject(arguments.filter { !$0.value.isNull }.map { ($0.key, $0.value) })
        append(Change(key: key, operation: .transition(name: name, observed: before?.state ?? "", arguments: given)), before)
        guard var state = before, let machine = state.schema.machine, let transition = machine.transition(name) else { return }
        if transition.mode == .queued { state.queuedState = transition.to } else { state[machine.field] = .string(transition.to) }
        for argument in transition.arguments {
            if let field = argument.field, let value = given[argument.name] { state[field] = value }
        }
        current[key] = state
    }

    /// Deletes a record with everything that goes with it.
    public func delete(_ entity: String, _ id: Identifier) throws {
        let key = RecordKey(entity, id)
        let before = try editable(key)
        append(Change(key: key, operation: .delete), before)
        current[key]?.deletedAt = 0
    }

    /// Revives a deleted record and what went with it.
    public func restore(_ entity: String, _ id: Identifier) throws {
        let key = RecordKey(entity, id)
        let before = try editable(key)
        append(Change(key: key, operation: .restore), before)
        current[key]?.deletedAt = nil
    }

    /// Says again what an earlier set said, on the state of now: differences stay differences, transitions observe anew.
    func again(_ change: Change, overriding: [String: JSONValue]) throws {
        let (entity, id) = (change.key.entity, change.key.id)
        switch change.operation {
        case .create(let fields):
            try create(entity, Dictionary(fields.map { ($0.key, $0.value) }) { $1 }.merging(overriding) { $1 }, id: id)
        case .patch(let fields, _):
            for (name, value) in fields where overriding[name] == nil {
                if let delta = value.integerValue, store.schema.entity(entity)?.field(name)?.policy == .counter {
                    try increment(entity, id, name, by: delta)
                } else {
                    try set(entity, id, [name: value])
                }
            }
            try set(entity, id, overriding)
        case .transition(let name, _, let arguments):
            try transition(name, entity, id, Dictionary(arguments.map { ($0.key, $0.value) }) { $1 }.merging(overriding) { $1 })
        case .delete: try delete(entity, id)
        case .restore: try restore(entity, id)
        }
    }

    // MARK: Steps

    private func unknown(_ entity: String) -> ReplicaError {
        .refused([Violation(entity: entity, id: nil, field: "entity", code: .unknownEntity, message: "there is no entity \(entity)")])
    }

    /// The state to edit; nil when there is no such record, which the decision will say.
    private func editable(_ key: RecordKey) throws -> RecordState? {
        guard store.schema.entity(key.entity) != nil else { throw unknown(key.entity) }
        guard let state = try state(key) else { return nil }
        if current[key] == nil, !mayChangeConfirmed, try !store.isLocalCreation(key) {
            throw ReplicaError(
                .firstSyncIncomplete, "\(state.title) can be changed when the first sync has finished; creating is possible now",
                operation: "write", isRetryable: true)
        }
        current[key] = state
        return state
    }

    private func append(_ change: Change, _ before: RecordState?) {
        open[change.key] = nil
        captured.append(Captured(change: change, before: before))
    }

    private func normalized(_ value: JSONValue, _ field: FieldSchema?) -> JSONValue? {
        guard let field else { return nil }
        do { return try field.type.normalized(value) } catch { return nil }
    }

    /// The change that the record's values go into, opened if need be.
    private func openChange(_ key: RecordKey) throws -> (index: Int, state: RecordState?) {
        let state = try editable(key)
        if let index = open[key] { return (index, state) }
        open[key] = captured.count
        captured.append(Captured(change: Change(key: key, operation: .patch(fields: JSONObject(), was: JSONObject())), before: state))
        return (captured.count - 1, state)
    }

    /// A value that cannot be worked with; the decision says why.
    private func put(_ key: RecordKey, _ name: String, raw value: JSONValue) throws {
        let (index, _) = try openChange(key)
        write(index, name, value, was: nil)
    }

    /// - Parameter explicit: elements that were added by name: a new dot even if they are there, so that the add survives a
    ///   concurrent remove.
    private func put(_ key: RecordKey, _ field: FieldSchema, adding explicit: [String] = [], _ edit: (JSONValue) -> JSONValue) throws {
        let (index, state) = try openChange(key)
        guard var state else {
            // No such record: the decision says so, whatever the value.
            return write(index, field.name, edit(.null), was: nil)
        }
        state[field.name] = edit(state[field.name])
        current[key] = state
        guard let before = captured[index].before else { return write(index, field.name, state[field.name], was: nil) }
        var difference = FieldDifference.between(before[field.name], state[field.name], field)
        if !explicit.isEmpty { difference = FieldDifference.adding(explicit, to: difference, present: state.elements(field.name)) }
        write(index, field.name, difference, was: field.policy == .guarded ? before[field.name] : Optional.none)
    }

    /// nil takes the field out of the change.
    private func write(_ index: Int, _ name: String, _ value: JSONValue?, was: JSONValue?) {
        switch captured[index].change.operation {
        case .create(var fields):
            fields[name] = value?.orAbsent
            captured[index].change.operation = .create(fields: fields)
        case .patch(var fields, var seen):
            fields[name] = value
            if value != Optional.none, let was { seen[name] = was } else { seen[name] = Optional.none }
            captured[index].change.operation = .patch(fields: fields, was: seen)
        default: preconditionFailure("only a create or a patch takes values")
        }
    }

    private func setElements(_ key: RecordKey, _ field: FieldSchema, _ value: JSONValue) throws {
        let adding: JSONValue
        var removing: Set<String>?
        if let object = value.objectValue, object.keys.allSatisfy({ $0 == "add" || $0 == "remove" }) {
            adding = object["add"] ?? .array([])
            removing = Set((object["remove"]?.arrayValue ?? []).compactMap(\.stringValue))
        } else {
            adding = value.isNull ? .array([]) : value
        }
        guard case .set(let element, _) = field.type, let items = adding.arrayValue else { return try put(key, field.name, raw: value) }
        let elements: [String]
        do {
            elements =
                try FieldType.set(of: element, count: 0...Int.max).normalized(.array(items)).arrayValue?.compactMap(\.stringValue) ?? []
        } catch {
            return try put(key, field.name, raw: ["add": adding])
        }
        var named = removing == nil ? [] : elements
        if let index = open[key], case .patch(let fields, _) = captured[index].change.operation {
            named += fields[field.name]?["add"]?.arrayValue?.compactMap(\.stringValue) ?? []
        }
        try put(key, field, adding: named) { current in
            var present = Set(current.arrayValue?.compactMap(\.stringValue) ?? [])
            if let removing { present.subtract(removing) } else { present = [] }
            present.formUnion(elements)
            return .array(present.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        }
    }
}

extension JSONValue {
    /// nil for null. Spelled out because a literal `nil` in a conditional would be a JSON null.
    fileprivate var orAbsent: JSONValue? {
        if isNull { return Optional.none }
        return self
    }
}

/// What a patch says so that one value becomes another.
enum FieldDifference {
    /// The difference with these elements among those added, as far as the set has them in the end.
    static func adding(_ elements: [String], to difference: JSONValue?, present: [String]) -> JSONValue? {
        var object = difference?.objectValue ?? JSONObject()
        let added = Set(object["add"]?.arrayValue?.compactMap(\.stringValue) ?? []).union(elements).intersection(present)
        guard !added.isEmpty else { return difference }
        object["add"] = .array(added.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        return .object(object)
    }

    /// nil when nothing changes.
    static func between(_ old: JSONValue, _ new: JSONValue, _ field: FieldSchema) -> JSONValue? {
        if old == new { return nil }
        switch field.policy {
        case .addWinsSet:
            let before = Set(old.arrayValue?.compactMap(\.stringValue) ?? [])
            let after = new.arrayValue?.compactMap(\.stringValue) ?? []
            let added = after.filter { !before.contains($0) }
            let removed = before.subtracting(after).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            guard !added.isEmpty || !removed.isEmpty else { return nil }
            var difference = JSONObject()
            if !added.isEmpty { difference["add"] = .array(added.map { .string($0) }) }
            if !removed.isEmpty { difference["remove"] = .array(removed.map { .string($0) }) }
            return .object(difference)
        case .counter:
            let (delta, overflow) = (new.integerValue ?? 0).subtractingReportingOverflow(old.integerValue ?? 0)
            return overflow ? new : .integer(delta)
        case .lastWriterPerKey:
            let before = old.objectValue ?? JSONObject()
            let after = new.objectValue ?? JSONObject()
            var keys = JSONObject()
            for (key, value) in after where before[key] != value { keys[key] = value }
            for key in before.keys where after[key] == nil { keys[key] = .null }
            return keys.isEmpty ? nil : .object(keys)
        default: return new
        }
    }
}
