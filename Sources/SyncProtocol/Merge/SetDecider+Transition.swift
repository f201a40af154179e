// Transitions: named moves of a state machine, told apart by what the author observed (protocol §5.7).

extension SetDecider {
    mutating func transition(_ entity: EntitySchema, _ id: Identifier, _ name: String, observed: String, arguments: JSONObject) {
        let key = RecordKey(entity.name, id)
        guard let machine = entity.machine, let transition = machine.transition(name) else {
            let names = entity.machine?.transitions.map(\.name) ?? []
            refuse(
                key, entity.machine?.field, .unknownTransition,
                names.isEmpty
                    ? "\(entity.name) has no transitions"
                    : "\(entity.name) has no transition \(name); it has \(names.joined(separator: ", "))",
                ["transition": .string(name)])
            return
        }
        let kept = checkArguments(transition, key, arguments)
        guard let before = liveRecord(key), let current = before.state else { return }
        guard isGranted(transition, before) else {
            refuse(
                key, machine.field, .forbidden, "a \(author.role.rawValue) may not \(name) this \(entity.name)",
                ["transition": .string(name)])
            return
        }
        if current == transition.to, current != observed || !transition.from.contains(current) { return }
        let mayRebase = machine.rebases && transition.from.contains(current)
        guard (current == observed && transition.from.contains(current)) || mayRebase else {
            refuse(
                key, machine.field, .staleTransition,
                current == observed
                    ? "\(name) starts from \(transition.from.joined(separator: " or ")), not from \(current)"
                    : "\(before.title) was \(observed) when you chose \(name); it is \(current) now",
                ["observed": .string(observed), "current": .string(current), "transition": .string(name)])
            return
        }
        if current != observed { rebased = true }
        if mode == .replica, transition.mode == .online {
            refuse(key, machine.field, .onlineOnly, "\(name) needs a connection to the server")
            return
        }
        if transition.locks { checkAggregateKnown(before) }
        let subject = subject(before, before: before, transition: name, arguments: arguments)
        let triggers = { (trigger: Trigger) -> Bool in
            if case .transition(let names) = trigger { names.isEmpty || names.contains(name) } else { false }
        }
        runRules(.transition([name]), subject, triggers)
        var record = before
        if mode == .replica, transition.mode == .queued {
            record.queuedState = transition.to
            hadEffect = true
            workspace.put(record)
            return
        }
        let tag = tag(at: nextPosition)
        record.queuedState = nil
        record[machine.field] = .string(transition.to)
        record.versions.fields[machine.field] = tag
        var changes: JSONObject = [machine.field: ["old": .string(current), "new": .string(transition.to)]]
        for (field, value) in kept where record[field] != value {
            changes[field] = ["old": record[field], "new": value]
            record[field] = value
            record.versions.fields[field] = tag
        }
        commit(
            record, before: before, operation: .transition, kind: transition.kind, isMajor: true, changes: changes, subject: subject,
            triggers: triggers)
    }

    /// The arguments' stored forms by the field that keeps them.
    private mutating func checkArguments(_ transition: Transition, _ key: RecordKey, _ arguments: JSONObject) -> [(String, JSONValue)] {
        var kept: [(String, JSONValue)] = []
        for name in arguments.keys where !transition.arguments.contains(where: { $0.name == name }) {
            refuse(key, name, .unknownField, "\(transition.name) takes no argument \(name)")
        }
        for argument in transition.arguments {
            let shown = argument.field ?? argument.name
            do {
                let value = try argument.type.normalized(arguments[argument.name] ?? .null)
                if argument.isRequired, value.isNull {
                    refuse(key, shown, .required, "say the \(argument.name)", ["argument": .string(argument.name)])
                } else if let field = argument.field {
                    kept.append((field, value))
                }
            } catch {
                refuse(key, shown, error.code, "\(argument.name) \(error.message)", error.parameters)
            }
        }
        return kept
    }

    private func isGranted(_ transition: Transition, _ record: RecordState) -> Bool {
        if author.kind == .system { return true }
        return transition.grantees.contains { grantee in
            switch grantee {
            case .role(let role): author.role == role
            case .memberInField(let field): author.member != nil && record.identifier(field) == author.member
            case .itself: record.id == author.member || record.identifier("member") == author.member && record.schema.field("member") != nil
            case .system: false
            }
        }
    }

    // MARK: Aggregates

    /// A locking transition needs an author who had seen the whole document.
    private mutating func checkAggregateKnown(_ root: RecordState) {
        var unknown: [JSONValue] = []
        func note(_ record: RecordState, _ parts: [String]) {
            guard !parts.isEmpty else { return }
            unknown.append([
                "entity": .string(record.schema.name), "id": .string(record.id.text), "fields": .array(parts.map { .string($0) }),
            ])
        }
        // Of a field that nobody has touched since, the creation is the version.
        note(
            root,
            root.schema.fields.filter { field in
                let knowledge = field.isRestricted ? restrictedKnowledge : knowledge
                return field.policy == .guarded && root.version(of: field).map { !knowledge.covers($0) } ?? false
            }.map(\.name))
        for child in schema.children(ofAggregate: root.schema.name) {
            guard let field = child.aggregateRoot else { continue }
            for row in workspace.lookup(child.name, field, .string(root.id.text), includingDeleted: true) {
                note(row, row.partsUnknown(to: knowledge, restricted: restrictedKnowledge).map(\.name))
            }
        }
        guard !unknown.isEmpty else { return }
        refuse(
            root.key, "$aggregate", .conflict, "\(root.title) was changed by someone else meanwhile; look at it again",
            ["unseen": .array(Array(unknown.prefix(20)))])
    }

    /// The state that locks the record, or nil while it is open.
    func lockedState(of record: RecordState) -> String? {
        guard author.kind != .system, let open = record.schema.openStates, let state = record.state, !open.contains(state) else {
            return nil
        }
        return state
    }

    /// Children of a locked aggregate do not change.
    mutating func checkAggregateOpen(_ record: RecordState) -> Bool {
        guard let field = record.schema.aggregateRoot, let target = record.schema.field(field)?.referencedEntities.first,
            let id = record.identifier(field), let root = workspace.record(target, id), let state = lockedState(of: root)
        else { return true }
        refuse(
            record.key, field, .locked, "\(isVisible(root) ? root.title : name(of: root)) is \(state); it can no longer change",
            ["root": .string(root.id.text), "state": .string(state)])
        return false
    }
}
