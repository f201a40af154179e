// Decides change sets: the one function the server uses to decide and the replica to predict (protocol §5, §6).

/// A change set on its way to a decision: what the author meant, with the clock and time that hold here.
public struct Submission: Sendable {
    public var changes: [Change]
    public var author: Author
    /// nil for what the server does itself (REST, workflows): known through the feed lane only.
    public var dot: Dot?
    public var clock: VectorClock
    public var timestamp: HybridTimestamp
    /// The author's timestamp was too far ahead and was clamped.
    public var isSkewed: Bool
    /// The time that it was sealed with, where `timestamp` is another one.
    public var sealedTimestamp: HybridTimestamp?
    /// The schema its author worked with; nil: this build's.
    public var schemaVersion: Int64?
    /// Sets of others that its author had seen on these records before the server lost them (``Knowledge/seen``).
    public var seen: [Dot: Int64] = [:]
    /// What sets that its clock has seen were decided as (``Knowledge/twins``).
    public var twins: Set<Dot> = []
    /// Those of the seen ones that a restored server does not have again yet. nil: the set is decided now, whatever it builds on.
    public var waitsFor: [Dot]?
    /// The author's checkpoint was made when restricted fields were sent to it, so that the feed lane speaks for them too.
    public var vouchesForRestricted: Bool
    /// Made before the server lost what came after its backup, and brought back: what its author could see then, nobody knows any
    /// more.
    public var isOfLostHistory = false
    /// What records that it numbers were called before that.
    public var numbers: [Identifier: String] = [:]
    /// Sets that led to this one, each written because of an entry of the one before (``ActivityEntry/depth``).
    public var depth = 0

    public init(
        changes: [Change], author: Author, dot: Dot?, clock: VectorClock, timestamp: HybridTimestamp, isSkewed: Bool = false,
        schemaVersion: Int64? = nil, vouchesForRestricted: Bool = true
    ) {
        self.changes = changes
        self.author = author
        self.dot = dot
        self.clock = clock
        self.timestamp = timestamp
        self.isSkewed = isSkewed
        self.schemaVersion = schemaVersion
        self.vouchesForRestricted = vouchesForRestricted
    }
}

/// What was decided about one set. Valid only if the workspace is missing nothing afterwards.
public struct Decision: Sendable {
    public var outcome: Outcome
    public var entries: [FeedEntry]
    /// Records the set creates (or would have created, if rejected); of a deferred set all that it names.
    public var created: [Identifier]
}

/// Decides sets one after another over one workspace.
public struct Processor {
    public enum Mode: Sendable {
        /// The truth: references must exist, server effects run, positions are allocated.
        case server
        /// A prediction with what the replica holds: unknown references pass, queued transitions wait.
        case replica
    }

    public let schema: Schema
    public let workspace: Workspace
    public let mode: Mode
    public let tenant: Identifier
    /// Server time in milliseconds since 1970 UTC (on a replica: its corrected time).
    public let nowMilliseconds: Int64
    /// The position of the last feed entry so far; advances with every entry (server only).
    public private(set) var head: FeedPosition

    public init(
        schema: Schema, workspace: Workspace, mode: Mode, tenant: Identifier, nowMilliseconds: Int64, head: FeedPosition
    ) {
        self.schema = schema
        self.workspace = workspace
        self.mode = mode
        self.tenant = tenant
        self.nowMilliseconds = nowMilliseconds
        self.head = head
    }

    /// Decides one set and, if it is accepted, leaves its writes in the workspace.
    public mutating func decide(_ submission: Submission) -> Decision {
        workspace.begin()
        let named =
            submission.waitsFor == nil ? [] : submission.changes.reduce(into: Set<Identifier>()) { $0.formUnion($1.namedIdentifiers) }
        if let waitsFor = submission.waitsFor, !waitsFor.isEmpty || workspace.isWaiting(named) {
            return deferred(named, Outcome(status: .deferred), waitsFor)
        }
        var decider = SetDecider(
            schema: schema, workspace: workspace, mode: mode, tenant: tenant, nowMilliseconds: nowMilliseconds, submission: submission,
            head: head)
        let decision = decider.decide()
        if decision.outcome.status == .rejected {
            workspace.rollback()
            let missing: Set = [ViolationCode.notFound.rawValue, ViolationCode.referenceMissing.rawValue]
            if let waitsFor = submission.waitsFor, decision.outcome.violations.contains(where: { missing.contains($0.code) }) {
                var outcome = Outcome(status: .deferred)
                outcome.violations = decision.outcome.violations
                return deferred(named, outcome, waitsFor)
            }
            if mode == .server { for id in decision.created { workspace.noteRejectedCreation(id) } }
        }
        // A rejected set leaves only its `sync.rejected` entry, which it placed at the position where it began.
        if let last = decision.entries.last { head = last.position }
        return decision
    }

    /// Nothing is decided, written or told.
    private func deferred(_ named: Set<Identifier>, _ outcome: Outcome, _ waitsFor: [Dot]) -> Decision {
        workspace.noteWaiting(named)
        var outcome = outcome
        outcome.waitsFor = waitsFor
        return Decision(outcome: outcome, entries: [], created: named.sorted())
    }

    /// The scope keys that follow from what the workspace holds. Valid only if it is missing nothing afterwards.
    public func scopeKeys(of record: RecordState) -> [String] {
        let nothing = Submission(changes: [], author: .system, dot: nil, clock: VectorClock(feed: head), timestamp: .zero)
        return SetDecider(
            schema: schema, workspace: workspace, mode: mode, tenant: tenant, nowMilliseconds: nowMilliseconds, submission: nothing,
            head: head
        ).scopeKeys(of: record)
    }

    /// What a set reads as far as its changes alone tell: loading this first makes most decisions stand at once.
    public func declaredReads(of changes: [Change]) -> [Read] {
        var reads: [Read] = [.record(RecordKey("tenant", tenant))]
        for change in changes {
            reads.append(.record(change.key))
            guard let entity = schema.entity(change.key.entity) else { continue }
            let fields: JSONObject
            switch change.operation {
            case .create(let created): fields = created
            case .patch(let patched, _): fields = patched
            default: continue
            }
            for (name, value) in fields {
                guard let field = entity.field(name), !value.isNull else { continue }
                if case .reference(let target, _) = field.type, let id = value.stringValue.flatMap({ Identifier($0) }) {
                    reads.append(.record(RecordKey(target, id)))
                    // A reference to the same entity is a hierarchy, and rules about it walk up.
                    if target == entity.name { reads.append(.ancestors(RecordKey(target, id), parent: name)) }
                }
                if field.uniqueWith != nil, !field.uniqueIgnoresCase, let stored = try? field.type.normalized(value), !stored.isNull {
                    reads.append(.lookup(entity: entity.name, field: name, value: stored, includingDeleted: false))
                }
            }
            if entity.fields.contains(where: { $0.type.isMap }) {
                reads.append(.lookup(entity: "custom_field", field: "entity", value: .string(entity.name), includingDeleted: false))
            }
            guard mode == .server else { continue }
            for scope in entity.scopeParts {
                switch scope {
                case .clientThrough(let link, let record, _), .subjectThrough(let link, let record, _):
                    reads.append(.lookup(entity: link, field: record, value: .string(change.key.id.text), includingDeleted: false))
                default: break
                }
            }
            // A new link moves what it connects.
            for connected in schema.connected(by: entity.name) {
                guard let id = fields[connected.field]?.stringValue.flatMap({ Identifier($0) }) else { continue }
                reads.append(.lookup(entity: entity.name, field: connected.field, value: .string(id.text), includingDeleted: false))
            }
        }
        return reads.filter { read in
            switch read {
            case .record(let key): schema.entity(key.entity) != nil
            case .lookup(let entity, _, _, _): schema.entity(entity) != nil
            default: true
            }
        }
    }
}

/// The state of deciding one set.
struct SetDecider {
    let schema: Schema
    let workspace: Workspace
    let mode: Processor.Mode
    let tenant: Identifier
    let nowMilliseconds: Int64
    let submission: Submission
    /// The author's clock, and what its own set has done so far: a change knows the changes before it in its set.
    let knowledge: Knowledge
    /// The same of restricted fields, which the author may not have been sent.
    let restrictedKnowledge: Knowledge
    let start: FeedPosition

    var head: FeedPosition
    var entries: [FeedEntry] = []
    var violations: [Violation] = []
    var warnings: [Violation] = []
    var superseded: [Outcome.Superseded] = []
    var rebased = false
    var created: [Identifier] = []
    /// Records whose final state is checked at the end of the set, with the fields that changed, in order.
    var touched: [(key: RecordKey, before: RecordState?, fields: Set<String>, isCreation: Bool)] = []
    /// Every record that was written, as it was before this set, in the order of first writes.
    private(set) var committed: [(key: RecordKey, before: RecordState?)] = []
    private(set) var committedKeys: Set<RecordKey> = []
    /// At least one change did something, or tried to.
    var hadEffect = false

    init(
        schema: Schema, workspace: Workspace, mode: Processor.Mode, tenant: Identifier, nowMilliseconds: Int64, submission: Submission,
        head: FeedPosition
    ) {
        self.schema = schema
        self.workspace = workspace
        self.mode = mode
        self.tenant = tenant
        self.nowMilliseconds = nowMilliseconds
        self.submission = submission
        var clock = submission.clock
        if let dot = submission.dot { clock.replicas[dot.replica] = max(dot.counter, clock.replicas[dot.replica] ?? 0) }
        // Who may not see them cannot catch up on them either, and writes none.
        knowledge = Knowledge(clock, setStart: mode == .server ? head : nil, seen: submission.seen, twins: submission.twins)
        if !submission.vouchesForRestricted, submission.author.role.seesRestricted { clock.feed = .start }
        restrictedKnowledge = Knowledge(clock, setStart: mode == .server ? head : nil, seen: submission.seen, twins: submission.twins)
        self.head = head
        start = head
    }

    var author: Author { submission.author }

    func knowledge(of field: FieldSchema) -> Knowledge { field.isRestricted ? restrictedKnowledge : knowledge }

    mutating func decide() -> Decision {
        if submission.isSkewed {
            warnings.append(
                Violation(
                    entity: "", id: nil, field: nil, code: .clockSkew,
                    message: "the clock of this replica is ahead of the server's by more than 5 minutes; server time was used"))
        }
        for change in submission.changes { apply(change) }
        checkTouchedRecords()
        guard violations.isEmpty else { return rejected() }
        if mode == .server { rescopeDependents() }
        var outcome = Outcome(
            status: hadEffect ? .accepted : .noop,
            positions: entries.isEmpty || mode == .replica
                ? nil : entries[0].position.position...entries[entries.count - 1].position.position,
            superseded: superseded, rebased: rebased, warnings: warnings)
        if submission.sealedTimestamp != nil { outcome.timestamp = submission.timestamp }
        return Decision(outcome: outcome.kept, entries: entries, created: created)
    }

    private mutating func rejected() -> Decision {
        let attempted = submission.changes.compactMap { change -> Identifier? in
            if case .create = change.operation { change.key.id } else { nil }
        }
        // Links are identified by what they connect: another set may create the same one rightfully.
        let blocking = submission.changes.filter { schema.entity($0.key.entity)?.deterministicKeys.isEmpty ?? false }.map(\.key.id)
        head = start
        entries = []
        var outcome = Outcome.rejected(violations)
        outcome.warnings = warnings
        outcome = outcome.kept
        if mode == .server, let first = submission.changes.first {
            var attemptedChanges = JSONObject()
            let levels = FieldType.freeFormLevelsMax
            attemptedChanges["violations"] = .array(outcome.violations.map { $0.json.kept(levels: levels) })
            attemptedChanges["changes"] = .array(submission.changes.map { $0.json.kept(levels: levels) })
            record(
                on: nil, key: first.key, operation: .derived, kind: "sync.rejected", isMajor: false, changes: attemptedChanges,
                category: "sync", scopeKeys: author.member.map { ["member:\($0.text)"] } ?? [])
        }
        if let position = entries.first?.position.position { outcome.positions = position...position }
        return Decision(outcome: outcome, entries: entries, created: attempted.filter { blocking.contains($0) })
    }

    private mutating func apply(_ change: Change) {
        guard let entity = schema.entity(change.key.entity) else {
            violations.append(
                Violation(
                    entity: change.key.entity, id: change.key.id, field: "entity", code: .unknownEntity,
                    message: "there is no entity \(change.key.entity)"))
            return
        }
        if entity.scopes == [.none], author.kind != .system {
            refuse(change.key, "entity", .forbidden, "\(entity.name) never leaves the server")
            return
        }
        var isCreation = false
        if case .create = change.operation { isCreation = true }
        if !isCreation, let reader, !reader.mayRead(entity) {
            refuse(
                change.key, nil, .forbidden, "a \(author.role.rawValue) may not see \(entity.name) records",
                ["role": .string(author.role.rawValue)])
            return
        }
        switch change.operation {
        case .create(let fields): create(entity, change.key.id, fields)
        case .patch(let fields, let was): patch(entity, change.key.id, fields, was: was)
        case .transition(let name, let observed, let arguments):
            transition(entity, change.key.id, name, observed: observed, arguments: arguments)
        case .delete: delete(entity, change.key.id)
        case .restore: restore(entity, change.key.id)
        }
    }

    // MARK: Shared steps

    mutating func refuse(
        _ key: RecordKey, _ field: String?, _ code: ViolationCode, _ message: String, _ parameters: JSONObject = JSONObject()
    ) {
        violations.append(Violation(entity: key.entity, id: key.id, field: field, code: code, message: message, parameters: parameters))
    }

    mutating func take(_ finding: Finding, on key: RecordKey) {
        let violation = Violation(
            entity: key.entity, id: key.id, field: finding.field, code: finding.code, message: finding.message,
            parameters: finding.parameters)
        if finding.isWarning { warnings.append(violation) } else { violations.append(violation) }
    }

    /// The version that a write of this set makes, at the position of its entry.
    func tag(at position: FeedPosition) -> VersionTag {
        VersionTag(position: position, dot: submission.dot, timestamp: submission.timestamp, actor: author.member)
    }

    var nextPosition: FeedPosition {
        mode == .server ? FeedPosition(epoch: head.epoch, position: head.position + 1) : .unconfirmed
    }

    /// The live record that a change is about, or nil after saying what is wrong.
    mutating func liveRecord(_ key: RecordKey) -> RecordState? {
        guard let record = knownRecord(key) else { return nil }
        guard record.isLive else {
            var parameters: JSONObject = ["deleted_at": .integer(record.deletedAt ?? 0)]
            if let by = record.versions.lifecycle?.actor { parameters["by"] = .string(by.text) }
            if author.role == .owner || author.role == .manager { parameters["offer"] = "restore" }
            refuse(key, "id", .recordDeleted, "\(record.title) was deleted", parameters)
            return nil
        }
        return record
    }

    func allows(_ operation: AccessOperation, _ entity: EntitySchema, _ record: RecordState) -> Bool {
        if author.kind == .system { return true }
        if entity.allows(operation, author.role, record) {
            guard entity.access == .fact, author.role == .field, operation == .update || operation == .delete else { return true }
            return record.createdBy == author.member
        }
        guard let member = author.member else { return false }
        if let owner = entity.ownerField, author.role == .field, operation != .restore {
            return record.identifier(owner) == member
        }
        if operation == .update, entity.selfEditable, record.id == member { return true }
        if operation == .update, entity.access == .own { return record.identifier("member") == member }
        return false
    }

    mutating func authorize(_ operation: AccessOperation, _ entity: EntitySchema, _ record: RecordState) -> Bool {
        if allows(operation, entity, record) { return true }
        refuse(
            record.key, nil, .forbidden, "a \(author.role.rawValue) may not \(operation) this \(entity.name)",
            ["role": .string(author.role.rawValue)])
        return false
    }

    mutating func touch(_ key: RecordKey, before: RecordState?, fields: Set<String>, isCreation: Bool) {
        if let index = touched.firstIndex(where: { $0.key == key }) {
            touched[index].fields.formUnion(fields)
        } else {
            touched.append((key, before, fields, isCreation))
        }
    }

    func subject(
        _ record: RecordState, before: RecordState?, transition: String? = nil, arguments: JSONObject = JSONObject()
    ) -> Subject {
        Subject(
            record: record, before: before, author: author, transition: transition, arguments: arguments,
            operationMilliseconds: submission.timestamp.milliseconds, tenant: tenant)
    }

    /// Stamps, stores and enters one change of one record into the feed, then runs its effects.
    mutating func commit(
        _ record: RecordState, before: RecordState?, operation: FeedEntry.Operation, kind: String, isMajor: Bool, changes: JSONObject,
        cause: Int64? = nil, side: Side = .both, subject: Subject? = nil, triggers: (Trigger) -> Bool = { _ in false }
    ) {
        var record = record
        var changes = changes
        hadEffect = true
        let position = nextPosition
        var elsewhere: [(write: DerivedWrite, side: Side)] = []
        if let subject {
            for effect in schema.effects(of: record.schema.name) where triggers(effect.trigger) && (effect.side == .both || mode == .server)
            {
                // What follows from a write that only the server makes is made by the server only, too.
                let side = side == .server ? .server : effect.side
                for read in effect.reads(subject) { workspace.require(read) }
                for write in effect.writes(subject, workspace) {
                    if case .set(let key, let field, let value) = write, key == record.key {
                        let old = record[field]
                        guard old != value else { continue }
                        record[field] = value
                        record.versions.fields[field] = effectTag(side, at: position)
                        changes[field] = ["old": old, "new": value]
                    } else {
                        elsewhere.append((write, side))
                    }
                }
            }
        }
        var given: GivenNumber?
        if mode == .server, let transition = subject?.transition, let number = number(for: record, on: transition) {
            let field = number.numbering.field
            record[field] = .string(number.text)
            record.versions.fields[field] = effectTag(.server, at: position)
            changes[field] = ["old": .null, "new": record[field]]
            given = number
        }
        record.position = position
        record.updatedAt = nowMilliseconds
        record.scopeKeys = scopeKeys(of: record, before: before)
        if mode == .server, committedKeys.insert(record.key).inserted { committed.append((record.key, before)) }
        workspace.put(record)
        self.record(
            on: record, key: record.key, operation: operation, kind: kind, isMajor: isMajor, changes: changes,
            category: record.schema.category, scopeKeys: record.scopeKeys, cause: cause)
        if let given { advance(behind: given, cause: position.position) }
        for (write, side) in elsewhere { apply(write, side, cause: position.position) }
    }

    /// A replica knows by its own lane what it predicted. What only the server writes is known through the feed.
    private func effectTag(_ side: Side, at position: FeedPosition) -> VersionTag {
        var tag = tag(at: position)
        if side == .server { tag.dot = nil }
        return tag
    }

    var serverTag: VersionTag { effectTag(.server, at: nextPosition) }

    /// A write that follows from another one.
    private mutating func apply(_ write: DerivedWrite, _ side: Side, cause: Int64) {
        let target = workspace.record(write.key)
        if case .activity(let key, let kind, let isMajor, let changes) = write {
            record(
                on: target, key: key, operation: .derived, kind: kind, isMajor: isMajor, changes: changes,
                category: schema.entity(key.entity)?.category ?? "sync", scopeKeys: target?.scopeKeys ?? [], cause: cause)
            return
        }
        guard var record = target else { return }
        let before = record
        let field: String
        switch write {
        case .set(_, let name, let value):
            guard record[name] != value else { return }
            field = name
            record[name] = value
            record.versions.fields[name] = effectTag(side, at: nextPosition)
        case .add(_, let name, let delta):
            field = name
            let (sum, overflow) = (record.integer(name) ?? 0).addingReportingOverflow(delta)
            guard !overflow else {
                refuse(record.key, name, .outOfRange, "the counter would overflow")
                return
            }
            record[name] = .integer(sum)
        case .activity: return
        }
        touch(record.key, before: before, fields: [field], isCreation: false)
        let trigger = { (trigger: Trigger) -> Bool in
            if case .write(let fields) = trigger { fields.isEmpty || fields.contains(field) } else { false }
        }
        commit(
            record, before: before, operation: .derived, kind: "\(record.schema.name).updated", isMajor: false,
            changes: [field: ["old": before[field], "new": record[field]]], cause: cause, side: side,
            subject: subject(record, before: before), triggers: trigger)
    }

    /// Adds one entry to the feed.
    mutating func record(
        on record: RecordState?, key: RecordKey, operation: FeedEntry.Operation, kind: String, isMajor: Bool, changes: JSONObject,
        category: String, scopeKeys: [String], cause: Int64? = nil
    ) {
        let position = nextPosition
        var open = JSONObject()
        var restricted = JSONObject()
        for (name, value) in changes {
            if let field = record?.schema.field(name), field.isSecret { continue }
            if record?.schema.field(name)?.isRestricted == true { restricted[name] = value } else { open[name] = value }
        }
        entries.append(
            FeedEntry(
                position: position, atMilliseconds: nowMilliseconds, author: author, dot: submission.dot, key: key, operation: operation,
                kind: kind, category: author.kind == .portal ? "portal" : category, isMajor: isMajor, changes: open,
                restrictedChanges: restricted,
                anchors: mode == .server ? anchors(of: record, key: key) : [], scopeKeys: scopeKeys, cause: cause, depth: submission.depth,
                operationMilliseconds: submission.timestamp.milliseconds))
        if mode == .server { head = position }
    }
}
