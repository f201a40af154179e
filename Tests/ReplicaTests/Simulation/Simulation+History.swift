// The server's history, read again from the sets that were sent: what must have come of them, by the rules of merge and not
// by the code of it.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// I3, I11: the feed tells the state, every dot took effect once, and what was deleted last is gone.
    func checkHistory() throws {
        let state = server.snapshot()
        if let (dot, count) = state.applications.filter({ $0.value > 1 }).min(by: { $0.key < $1.key }) {
            throw BrokenInvariant(name: "I3", detail: "\(dot) took effect \(count) times")
        }
        var values: [RecordKey: [String: JSONValue]] = [:]
        var isLive: [RecordKey: Bool] = [:]
        for entry in state.feed where !entry.kind.hasPrefix("sync.") {
            // What goes with another record is derived and says so by its kind and values.
            if entry.operation == .create {
                isLive[entry.key] = true
                // A link that was made again when its tombstone had been forgotten has nothing of before.
                values[entry.key] = [:]
            }
            if let deletion = entry.changes["deleted_at"]?["new"] { isLive[entry.key] = deletion.isNull }
            for (field, change) in entry.allChanges { values[entry.key, default: [:]][field] = change["new"] }
        }
        for record in state.records.values.sorted(by: { $0.id < $1.id }) {
            if let live = isLive[record.key], live != record.isLive {
                throw BrokenInvariant(name: "I11", detail: "\(record.key) is \(record.isLive ? "alive" : "dead"), the feed says otherwise")
            }
            for (field, value) in values[record.key] ?? [:] {
                // Counters have sums of their own.
                guard let policy = record.schema.field(field)?.policy, policy != .counter, record[field] != value else { continue }
                throw BrokenInvariant(name: "I8", detail: "\(record.key).\(field) is \(record[field]), the feed last said \(value)")
            }
        }
        try checkCounters(state)
        try checkSealedOnce(state)
    }

    /// Accepted sets by dot, those aside that were answered as the same as one that had been decided before.
    func applied(_ state: ServerState) throws -> [(dot: Dot, set: ChangeSet, outcome: Outcome)] {
        try state.outcomes.sorted { $0.key < $1.key }.flatMap { replica, outcomes in
            try outcomes.sorted { $0.key < $1.key }.compactMap { counter, one in
                guard let outcome = Outcome(json: try JSONValue(parsing: one.bytes)), outcome.status == .accepted,
                    outcome.duplicateOf == nil, let set = sent[one.hash]
                else { return nil }
                return (Dot(replica: replica, counter: counter), set, outcome)
            }
        }
    }

    /// I3: what was said once took effect under one dot, however many copies of a file had it to offer; and what was answered as the
    /// same as something else is the same.
    private func checkSealedOnce(_ state: ServerState) throws {
        var seen: [String: Dot] = [:]
        for (dot, set, _) in try applied(state) {
            if let other = seen.updateValue(dot, forKey: Ledger.edit(set)) {
                throw BrokenInvariant(name: "I3", detail: "\(other) and \(dot) are one edit, and both took effect")
            }
        }
        for (replica, outcomes) in state.outcomes.sorted(by: { $0.key < $1.key }) {
            for (counter, one) in outcomes.sorted(by: { $0.key < $1.key }) {
                guard var outcome = Outcome(json: try JSONValue(parsing: one.bytes)), let first = outcome.duplicateOf else { continue }
                statistics.duplicates += 1
                outcome.duplicateOf = nil
                let stored = state.outcomes[first.replica]?[first.counter]
                guard let stored, stored.bytes == outcome.json.canonicalBytes() else {
                    throw BrokenInvariant(name: "I2", detail: "\(replica)/\(counter) has another answer than \(first), which it repeats")
                }
                guard let set = sent[one.hash], let other = sent[stored.hash], Ledger.edit(set) != Ledger.edit(other) else { continue }
                throw BrokenInvariant(name: "I3", detail: "\(replica)/\(counter) is not the edit \(first), and was answered as if it were")
            }
        }
    }

    /// I3: a counter is the sum of what the accepted sets say.
    private func checkCounters(_ state: ServerState) throws {
        var sums: [Identifier: Int64] = [:]
        for (_, set, _) in try applied(state) {
            for change in set.changes {
                switch change.operation {
                case .create(let fields) where change.key.entity == "part":
                    sums[change.key.id, default: 0] += fields["on_hand_milli"]?.integerValue ?? 0
                case .create(let fields) where change.key.entity == "movement":
                    guard let part = fields["part"]?.stringValue.flatMap({ Identifier($0) }) else { continue }
                    sums[part, default: 0] += fields["quantity_milli"]?.integerValue ?? 0
                case .patch(let fields, _) where change.key.entity == "part":
                    sums[change.key.id, default: 0] += fields["on_hand_milli"]?.integerValue ?? 0
                default: continue
                }
            }
        }
        for record in state.records.values.sorted(by: { $0.id < $1.id }) where record.schema.name == "part" {
            let (shown, sum) = (record.integer("on_hand_milli") ?? 0, sums[record.id] ?? 0)
            guard shown == sum else { throw BrokenInvariant(name: "I3", detail: "part \(record.id) holds \(shown), its sets say \(sum)") }
        }
    }

    // MARK: Merges

    /// One value that the feed says was written.
    private struct Write {
        let entry: ActivityEntry
        /// The set it belongs to; nil: the server's own write.
        let set: ChangeSet?
        /// What the set counts with: its own stamp, or what the server made of it.
        let stamp: HybridTimestamp?
        let value: JSONValue?

        /// Whether the author of a set had seen this write: their checkpoint is behind it, or their clock has its lane, or that of a
        /// set that is the same.
        func isKnown(to clock: VectorClock, _ twins: [Dot: Dot]) -> Bool {
            if clock.feed.position >= entry.position.position { return true }
            guard let dot = entry.dot else { return false }
            let dots = [dot] + twins.filter { $0.value == dot }.keys
            return dots.contains { clock.replicas[$0.replica] ?? 0 >= $0.counter }
        }
    }

    /// I8, I2: nothing is overwritten by somebody who had not seen it, unless the field says that the later one stands; and then
    /// the later one does. Every accepted set is in the feed.
    func checkMerges() throws {
        let state = server.snapshot()
        var accepted: [Dot: ChangeSet] = [:]
        var stamps: [Dot: HybridTimestamp] = [:]
        var twins: [Dot: Dot] = [:]
        let told = Set(state.feed.compactMap(\.dot))
        for (replica, outcomes) in state.outcomes {
            for (counter, one) in outcomes {
                guard let outcome = Outcome(json: try JSONValue(parsing: one.bytes)) else { continue }
                statistics.outcomes[outcome.status.rawValue, default: 0] += 1
                statistics.conflicts += outcome.superseded.count + (outcome.violations.contains { $0.code == "conflict" } ? 1 : 0)
                twins[Dot(replica: replica, counter: counter)] = outcome.duplicateOf
            }
        }
        for (dot, set, outcome) in try applied(state) {
            accepted[dot] = set
            stamps[dot] = outcome.timestamp ?? set.timestamp
            guard outcome.positions == nil || told.contains(dot) else {
                throw BrokenInvariant(name: "I2", detail: "\(dot) was accepted and is not in the feed")
            }
        }
        var last: [RecordKey: [String: Write]] = [:]
        var made: Set<RecordKey> = []
        for entry in state.feed where !entry.kind.hasPrefix("sync.") {
            let set = entry.dot.flatMap { accepted[$0] }
            for (field, change) in entry.allChanges {
                let own = entry.operation == .derived ? nil : set
                let write = Write(entry: entry, set: own, stamp: own.flatMap { stamps[$0.dot] }, value: change["new"])
                if let before = last[entry.key]?[field] {
                    try check(write, after: before, field, twins)
                } else if made.contains(entry.key) {
                    try checkFirst(write, field)
                }
                last[entry.key, default: [:]][field] = write
            }
            if entry.operation == .create { made.insert(entry.key) }
        }
    }

    /// Nothing was there since the record was made.
    private func checkFirst(_ write: Write, _ field: String) throws {
        guard let set = write.set, server.schema.entity(write.entry.key.entity)?.field(field)?.policy == .guarded else { return }
        try checkSeen(set, write.entry.key, field, over: .null, at: write.entry.position)
    }

    private func check(_ write: Write, after before: Write, _ field: String, _ twins: [Dot: Dot]) throws {
        guard let set = write.set, write.entry.dot != before.entry.dot, write.value != before.value,
            let policy = server.schema.entity(write.entry.key.entity)?.field(field)?.policy
        else { return }
        if policy == .guarded { try checkSeen(set, write.entry.key, field, over: before.value ?? .null, at: write.entry.position) }
        guard !before.isKnown(to: set.clock, twins) else { return }
        // Both come from a history that the server has lost: what the one had seen of the other, positions do not tell any more.
        if let earlier = before.set, set.clock.feed.epoch < write.entry.position.epoch,
            earlier.clock.feed.epoch < before.entry.position.epoch
        {
            return
        }
        let what = "\(write.entry.key).\(field) of \(before.entry.position.position) was overwritten at \(write.entry.position.position)"
        switch policy {
        case .guarded: throw BrokenInvariant(name: "I8", detail: "\(what) by somebody who had not seen it")
        case .lastWriter:
            guard let earlier = before.stamp, let later = write.stamp, later < earlier else { return }
            throw BrokenInvariant(name: "I8", detail: "\(what) by an earlier write")
        default: break
        }
    }
}
