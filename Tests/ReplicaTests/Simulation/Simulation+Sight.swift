// I7, the other way round: nobody's set changed a record that its author could not see then. The history is played again from the
// feed, and before each accepted set the records are as they were when it was decided.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    func checkSight() throws {
        let state = server.snapshot()
        var accepted: [Dot: ChangeSet] = [:]
        for (replica, outcomes) in state.outcomes {
            for (counter, one) in outcomes {
                guard Outcome(json: try JSONValue(parsing: one.bytes))?.status == .accepted, let set = sent[one.hash] else { continue }
                accepted[Dot(replica: replica, counter: counter)] = set
            }
        }
        var past: [RecordKey: RecordState] = [:]
        for entry in state.feed where !entry.kind.hasPrefix("sync.") {
            if let dot = entry.dot, let set = accepted.removeValue(forKey: dot) { try checkSight(set, entry, past) }
            replay(entry, in: &past)
        }
    }

    private func replay(_ entry: ActivityEntry, in past: inout [RecordKey: RecordState]) {
        guard let schema = server.schema.entity(entry.key.entity) else { return }
        var record = past[entry.key] ?? RecordState(schema: schema, id: entry.key.id)
        if entry.operation == .create {
            // A link that is made anew begins anew; its entry does not say that its tombstone is gone.
            record = RecordState(schema: schema, id: entry.key.id)
            record.createdBy = entry.actor
        }
        for (field, change) in entry.allChanges {
            let new = change["new"] ?? .null
            if field == "deleted_at" { record.deletedAt = new.integerValue } else if schema.field(field) != nil { record[field] = new }
        }
        past[entry.key] = record
    }

    /// - Parameter entry: The first that the set left behind.
    private func checkSight(_ set: ChangeSet, _ entry: ActivityEntry, _ past: [RecordKey: RecordState]) throws {
        // What a device brings back after a restore is taken as it was taken the first time.
        guard let member = entry.actor, set.clock.feed.epoch >= entry.position.epoch,
            let role = past[RecordKey("member", member)]?.text("role").flatMap(Role.init(rawValue:))
        else { return }
        let reader = Reader(member: member, role: role, records: past)
        let made = Set(set.changes.filter { if case .create = $0.operation { true } else { false } }.map(\.key))
        for change in set.changes where !made.contains(change.key) {
            guard let record = past[change.key], !reader.mayHold(record) else { continue }
            throw BrokenInvariant(
                name: "I7", detail: "set \(set.dot) of a \(role.rawValue) changed \(change.key), which was not for its author to see")
        }
    }
}
