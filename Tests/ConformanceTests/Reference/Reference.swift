// The reference: what should become of a history, told a second time from docs/protocol.md §3–§6 and nothing else. It shares the
// declarations of the schema with the product (what there is, and its policies), and the types of changes; not one line of merge,
// of rules or of effects. Histories are compared with it.
//
// It knows: last writer, guarded, add-wins sets, counters, maps, write-once, server-assigned; creation, merging of links;
// transitions with rebase and their guards; delete, cascade, restrict, nullify, restore; aggregates and locks; references,
// uniqueness, sizes of sets; stock, primary contacts, closing times and numbers given one after another; roles and what they see; clamped clocks; dependents of
// rejected creations. It does not know: hierarchies, definitions of custom fields, order and text of violations.

import SyncProtocol

struct Reference {
    /// A rule told wrong on purpose: that a history shows the difference proves that the comparison can fail.
    enum Mistake: String, CaseIterable {
        case lastWriterByArrival, guardedTakesUnknown, removeTakesUnknown, countersOverwrite
        case mapsMergeWhole, linksDuplicate, deleteIsUnguarded, cascadeTakesNothing, rebaseNever, staleIsNoop
        case lockIgnoresChildren, rejectionLeavesPart, dependentsPass, everythingIsKnown, effectMissing, writesUnseen, originsForgotten,
            twinsUnknown
    }

    /// A set as the server took it in, with what was injected.
    struct Offer {
        /// nil: a write of the server.
        var dot: Dot?
        /// Hash of what was sealed first.
        var origin: String?
        var member: Identifier?
        var role: Role
        /// Position that the author had seen, lost histories already taken off; and its lanes.
        var feed: Int64
        var lanes: [Identifier: Int64]
        /// As the author stamped it; nil: the server stamps.
        var stamp: HybridTimestamp?
        var changes: [Change]
        var nowMilliseconds: Int64
    }

    struct Verdict: Equatable {
        var status: Outcome.Status
        /// `entity.field` of values that lost.
        var superseded: [String] = []
        var rebased = false
        /// `entity.field code`.
        var violations: Set<String> = []
        /// Under which dot the same set was decided.
        var duplicateOf: Dot?
    }

    /// What makes sets one: whose they are, and what was sealed first.
    private struct Work: Hashable {
        var member: Identifier?
        var origin: String
        var counter: Int64
    }

    let schema: Schema
    let mistake: Mistake?
    /// Members, replicas and the tenant come into being outside of the history.
    var outside: Set<Identifier> = []
    var records: [RecordKey: ReferenceRecord] = [:]
    /// The last number of documents by year.
    var lastNumbers: [String: Int] = [:]
    var rejectedCreations: Set<Identifier> = []
    var lastStamp: [Identifier: HybridTimestamp] = [:]
    var greatestStamp = HybridTimestamp.zero
    var events = 0
    private var done: [Work: (dot: Dot, verdict: Verdict)] = [:]
    /// Dots of sets that were the same as another one's.
    private var twins: [Dot: Dot] = [:]

    init(_ schema: Schema, mistake: Mistake? = nil) {
        self.schema = schema
        self.mistake = mistake
    }

    /// Decides one set as it arrives. `position`: head of the feed after it.
    mutating func take(_ offer: Offer, position: Int64) -> Verdict {
        let work = offer.dot.flatMap { dot in
            offer.origin.map { Work(member: offer.member, origin: $0, counter: dot.counter) }
        }
        if let dot = offer.dot, let work, let first = done[work], mistake != .originsForgotten {
            twins[dot] = first.dot
            var verdict = first.verdict
            verdict.duplicateOf = first.dot
            return verdict
        }
        let verdict = decide(offer, position: position)
        if let dot = offer.dot, let work { done[work] = (dot, verdict) }
        return verdict
    }

    private mutating func decide(_ offer: Offer, position: Int64) -> Verdict {
        events += 1
        let stamp = admitted(offer)
        greatestStamp = max(greatestStamp, stamp)
        var lanes = offer.lanes
        if let dot = offer.dot { lanes[dot.replica] = max(dot.counter - 1, lanes[dot.replica] ?? 0) }
        var decision = ReferenceDecision(
            reference: self, offer: offer, stamp: stamp,
            seen: Seen(
                feed: mistake == .everythingIsKnown ? .max : offer.feed, lanes: lanes, event: events,
                twins: mistake == .twinsUnknown ? [] : Set(twins.filter { lanes[$0.key.replica] ?? 0 >= $0.key.counter }.values)),
            write: Write(
                position: position, replica: offer.dot?.replica, counter: offer.dot?.counter ?? 0, stamp: stamp, event: events))
        for change in offer.changes { decision.apply(change) }
        decision.checkTouched()
        decision.lookAround()
        guard decision.violations.isEmpty else {
            if offer.dot != nil, mistake != .dependentsPass {
                for change in offer.changes {
                    guard case .create = change.operation, schema.entity(change.key.entity)?.deterministicKeys.isEmpty == true else {
                        continue
                    }
                    rejectedCreations.insert(change.key.id)
                }
            }
            if mistake == .rejectionLeavesPart { records = decision.records }
            return Verdict(status: .rejected, violations: decision.violations)
        }
        (records, lastNumbers) = (decision.records, decision.lastNumbers)
        return Verdict(
            status: decision.hadEffect ? .accepted : .noop, superseded: decision.superseded.sorted(), rebased: decision.rebased)
    }

    /// The server has written something that histories do not name: a member, a replica.
    mutating func serverWroteElsewhere(_ ids: [Identifier], nowMilliseconds: Int64) {
        outside.formUnion(ids)
        greatestStamp = max(HybridTimestamp(milliseconds: nowMilliseconds), greatestStamp.next)
    }

    mutating func forgetTheDead() { records = records.filter(\.value.isLive) }

    /// The time that counts (protocol §3.4).
    private mutating func admitted(_ offer: Offer) -> HybridTimestamp {
        guard let dot = offer.dot, let stamp = offer.stamp else {
            return max(HybridTimestamp(milliseconds: offer.nowMilliseconds), greatestStamp.next)
        }
        var counted = stamp.milliseconds > offer.nowMilliseconds + 300_000 ? HybridTimestamp(milliseconds: offer.nowMilliseconds) : stamp
        if let last = lastStamp[dot.replica], counted <= last { counted = last.next }
        lastStamp[dot.replica] = counted
        return counted
    }

    /// What the server must hold: the fields of every record, and whether it lives. Returns the first difference.
    func difference(from held: [RecordKey: RecordState]) -> String? {
        for (key, expected) in records.sorted(by: { ($0.key.entity, $0.key.id) < ($1.key.entity, $1.key.id) }) {
            guard let found = held[key] else { return "\(key) should be there" }
            guard found.isLive == expected.isLive else { return "\(key) should \(expected.isLive ? "live" : "be dead")" }
            for field in found.schema.fields where found[field.name] != expected[field.name] {
                return "\(key).\(field.name) should be \(expected[field.name]), is \(found[field.name])"
            }
        }
        var sequences: [String: Int] = [:]
        for record in held.values where record.schema.name == "number_sequence" {
            sequences[String(record.integer("year") ?? 0)] = Int(record.integer("last") ?? 0)
        }
        guard sequences == lastNumbers else { return "the last numbers should be \(lastNumbers), are \(sequences)" }
        let others = held.keys.filter { records[$0] == nil && !outside.contains($0.id) && $0.entity != "number_sequence" }
        return others.min { $0.id < $1.id }.map { "\($0) should not be there" }
    }
}
