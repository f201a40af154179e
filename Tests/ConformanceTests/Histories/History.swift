// A random history: replicas that seal sets with what they know, push them late, pull page by page, fork, and a server that writes
// itself and goes on from old backups. What it does follows from the seed and from the server's answers, so two stores that answer
// alike go through the same history. References go along, each with every set in the order of arrival.

import ServerSupport
import SyncProtocol
import TestSupport

final class History {
    let seed: UInt64
    let company: Company
    /// With what each found first that should have been otherwise.
    private(set) var references: [(reference: Reference, difference: String?)]
    /// How often each thing happened.
    private(set) var counts: [String: Int] = [:]
    private var changes: HistoryChanges
    private var travellers: [Traveller] = []
    private var backups: [Backup] = []
    /// The event after which the head stood where, in this server's history; events have numbers that are never used again.
    private var heads: [Int64: Int] = [:]
    private var event = 0
    /// The event of each checkpoint that was ever told.
    private var marks: [String: Int] = [:]
    /// What the server has processed of whom.
    private var acknowledged: [Identifier: Int64] = [:]
    private let looksAtRecords: Bool

    /// A replica with what it still has to send, and all that it ever sealed.
    private final class Traveller {
        let peer: Peer
        var journal: [Int64: (offered: OfferedSet, set: ChangeSet)] = [:]
        /// Highest counter that was answered.
        var answered: Int64 = 0
        var isRetired = false

        init(_ peer: Peer) {
            self.peer = peer
            answered = peer.counter
        }

        var waiting: [Int64] { journal.keys.filter { $0 > answered }.sorted() }
    }

    /// A refusal that no replica of a history has deserved.
    struct Unexpected: Error {
        let refusal: ErrorReply
    }

    private struct Backup {
        var state: ServerState
        var references: [Reference]
        var heads: [Int64: Int]
        var acknowledged: [Identifier: Int64]
    }

    /// - Parameter looksAtRecords: Compare all records after every event; only where looking is cheap.
    init(seed: UInt64, store: Store, tenant: Identifier, mistakes: [Reference.Mistake?] = [nil], looksAtRecords: Bool) throws {
        self.seed = seed
        self.looksAtRecords = looksAtRecords
        company = try Company(store, tenant: tenant, seed: seed)
        references = mistakes.map { (Reference(.testing, mistake: $0), nil) }
        changes = HistoryChanges(seed: seed)
    }

    func run(steps: Int) throws {
        serverWrote([company.core.tenant])
        for (name, role) in [("Olga", Role.owner), ("Ben", .manager), ("Finn", .field)] { try enroll(name, role) }
        for key in ["k", "l"] {
            write([
                Edit.create(
                    "custom_field", changes.newID("custom_field", at: company.now),
                    ["entity": "client", "key": .string(key), "label": .string(key), "kind": "text"])
            ])
        }
        for number in 0..<3 {
            write([
                Edit.create(
                    "client", changes.newID("client", at: company.now), ["name": .string("C\(number)"), "notes": "base", "tags": ["a"]]),
                Edit.create("contact", changes.newID("contact", at: company.now), ["last_name": "Ng"]),
                Edit.create("part", changes.newID("part", at: company.now), ["sku": .string("sku\(number)"), "name": "Bolt"]),
                Edit.create("document", changes.newID("document", at: company.now), ["title": "Quote"]),
            ])
        }
        for traveller in travellers { try pull(traveller) }
        for _ in 0..<steps { try step() }
        for traveller in travellers where !traveller.isRetired {
            traveller.peer.cursor = nil
            try pull(traveller)
            for _ in 0..<8 where !traveller.isRetired && !traveller.waiting.isEmpty { try push(traveller) }
        }
        compareRecords()
        try company.tellFinalState()
    }

    private enum Step: String {
        case seal, push, pull, page, serverWrite, staleServerWrite, clock, backUp, restore, forget, fork, withdraw, repeated, enroll
    }

    private func step() throws {
        company.pass(changes.chance.within(1...4_000))
        let active = travellers.filter { !$0.isRetired }
        guard let traveller = changes.chance.pick(active) else { return try enroll("P\(travellers.count)", .manager) }
        let step = changes.chance.weighted([
            (44, Step.seal), (22, .push), (9, .pull), (4, .page), (6, .serverWrite), (2, .staleServerWrite), (3, .clock), (2, .backUp),
            (2, .restore), (1, .forget), (1, .fork), (1, .withdraw), (2, .repeated), (1, .enroll),
        ])
        count(step.rawValue)
        switch step {
        case .seal: seal(traveller)
        case .push: try push(traveller)
        case .pull: try pull(traveller)
        case .page: try answerTo(try traveller.peer.page(limit: 1 + changes.chance.below(4)), traveller)
        case .serverWrite: write(next())
        case .staleServerWrite:
            let known = changes.chance.pick(heads.keys.sorted()) ?? 0
            write(next(), knowing: min(known, company.core.position))
        case .clock: traveller.peer.clockError = changes.chance.within(-20_000...20_000) * (changes.chance.percent(15) ? 60 : 1)
        case .backUp:
            backups.append(
                Backup(state: company.core.snapshot(), references: references.map(\.reference), heads: heads, acknowledged: acknowledged))
        case .restore: restore()
        case .forget:
            company.core.forgetTombstones()
            for index in references.indices { references[index].reference.forgetTheDead() }
        case .fork: try fork(traveller)
        case .withdraw:
            guard let counter = traveller.waiting.last, let entry = traveller.journal[counter] else { return }
            traveller.journal[counter]?.offered = OfferedSet(counter: counter, hash: entry.offered.hash, sealed: nil)
        case .repeated: try push(traveller, again: 2)
        case .enroll: if travellers.count < 7 { try enroll("P\(travellers.count)", .manager) }
        }
    }

    private func count(_ what: String) { counts[what, default: 0] += 1 }

    // MARK: What replicas do

    private func next() -> [Change] {
        let records = references[0].reference.records
        return changes.next(members: travellers.map(\.peer.member), at: company.now) { key in
            records[key].flatMap { record in Schema.testing.entity(key.entity)?.machine.flatMap { record[$0.field].stringValue } }
        }
    }

    private func seal(_ traveller: Traveller) {
        let made = next()
        guard !made.isEmpty else { return }
        let offered = traveller.peer.seal(made)
        guard let sealed = offered.sealed, let set = try? ChangeSet(sealed: sealed) else { return }
        traveller.journal[offered.counter] = (offered, set)
    }

    /// Sends what waits; with `again`, some sets before that too.
    private func push(_ traveller: Traveller, again: Int64 = 0) throws {
        var counters = traveller.waiting
        if again > 0 {
            let before = ((counters.first ?? traveller.answered + 1) - again)..<(counters.first ?? traveller.answered + 1)
            counters = before.filter { traveller.journal[$0] != nil } + counters
        }
        let sets = counters.prefix(1 + changes.chance.below(6)).compactMap { traveller.journal[$0] }
        guard !sets.isEmpty else { return }
        let recognised = Array(traveller.peer.recent.prefix(8))
        let claims = sets.map { claim(of: $0.set, recognised) }
        let answers = try traveller.peer.push(sets.map(\.offered), recognised: recognised)
        guard let answers else { return try refused(traveller) }
        // What was answered before may have been lost with a history: then it was decided anew.
        let known = acknowledged[traveller.peer.id] ?? 0
        for ((entry, answer), claim) in zip(zip(sets, answers), claims) where entry.set.dot.counter > known {
            traveller.answered = max(traveller.answered, entry.set.dot.counter)
            acknowledged[traveller.peer.id] = entry.set.dot.counter
            count(answer.status.rawValue)
            guard entry.offered.sealed != nil else { continue }
            let offer = Reference.Offer(
                dot: entry.set.dot, origin: entry.set.origin?.hash ?? entry.offered.hash, member: traveller.peer.member,
                role: traveller.peer.role, feed: claim.feed, lanes: claim.lanes, stamp: entry.set.timestamp, changes: entry.set.changes,
                nowMilliseconds: company.now)
            if answer.duplicateOf != nil { count("duplicate") }
            compare(offer, answer)
        }
        traveller.answered = max(traveller.answered, sets.last?.set.dot.counter ?? 0)
        headMoved()
        if looksAtRecords { compareRecords() }
    }

    /// What a clock may claim: of other histories the newest checkpoint that this one still has.
    private func claim(of set: ChangeSet, _ recognised: [CheckpointMark]) -> (feed: Int64, lanes: [Identifier: Int64]) {
        var lanes: [Identifier: Int64] = [:]
        for (lane, counter) in set.clock.replicas where lane != set.dot.replica {
            lanes[lane] = min(counter, acknowledged[lane] ?? 0)
        }
        let epoch = company.core.epoch
        guard set.clock.feed.epoch != epoch || set.clock.feed.position > company.core.position else {
            return (set.clock.feed.position, lanes)
        }
        let known = recognised.filter { mark in
            mark.position.epoch <= set.clock.feed.epoch && marks[mark.fingerprint] != nil
                && heads[mark.position.position] == marks[mark.fingerprint]
        }
        return (min(set.clock.feed.position, known.map(\.position.position).max() ?? 0), lanes)
    }

    private func pull(_ traveller: Traveller) throws {
        var page: PullPage?
        repeat {
            page = try traveller.peer.page(limit: changes.chance.percent(50) ? 3 + changes.chance.below(20) : nil)
            try answerTo(page, traveller)
        } while page?.hasMore == true
    }

    private func answerTo(_ page: PullPage?, _ traveller: Traveller) throws {
        guard let page else { return try refused(traveller) }
        guard let checkpoint = page.checkpoint else { return }
        marks[checkpoint.mark.fingerprint] = heads[checkpoint.mark.position.position]
        if checkpoint.acknowledged < traveller.answered {
            // A lost history. Some offer again what was lost with it, others go on with what comes next.
            traveller.answered = changes.chance.percent(60) ? checkpoint.acknowledged : traveller.answered
        }
    }

    private func refused(_ traveller: Traveller) throws {
        headMoved()
        guard let refusal = company.refused else { return }
        count(refusal.code)
        switch refusal.knownCode {
        case .newEpoch, .resyncRequired:
            traveller.peer.cursor = nil
            try pull(traveller)
        case .counterGap: traveller.answered = (refusal.details["expected"]?.integerValue ?? 1) - 1
        // Counters that a lost history used: a real replica becomes a fork, this one stops. So does one whose member is lost.
        case .fork, .forbidden: traveller.isRetired = true
        default: throw Unexpected(refusal: refusal)
        }
    }

    private func fork(_ traveller: Traveller) throws {
        guard travellers.count < 8 else { return }
        let shared = traveller.answered
        guard let copy = try traveller.peer.fork(counter: shared) else { return headMoved() }
        serverWrote([copy.id])
        acknowledged[copy.id] = shared
        let other = Traveller(copy)
        travellers.append(other)
        guard changes.chance.percent(70) else { return }
        // The copy holds what the other one has not sent yet, and seals it anew: both will offer it.
        for counter in traveller.waiting {
            guard let entry = traveller.journal[counter] else { continue }
            var set = entry.set.resealed(by: copy.id, hash: entry.offered.hash)
            set.clock.replicas = copy.lanes.merging([copy.id: counter - 1]) { $1 }
            copy.counter = counter
            let offered = entry.offered.sealed == nil ? entry.offered : copy.offered(set.sealedBytes())
            other.journal[counter] = (offered, set)
        }
    }

    private func enroll(_ name: String, _ role: Role) throws {
        let peer = try company.enroll(name, role)
        serverWrote([peer.member])
        serverWrote([peer.id])
        travellers.append(Traveller(peer))
    }

    // MARK: What the server does

    private func write(_ made: [Change], knowing known: Int64? = nil) {
        guard !made.isEmpty else { return }
        let before = company.core.position
        let outcome = company.write(made, knowing: known)
        let offer = Reference.Offer(
            dot: nil, origin: nil, member: nil, role: .owner, feed: known ?? before, lanes: [:], stamp: nil, changes: made,
            nowMilliseconds: company.now)
        compare(offer, outcome)
        headMoved()
        if looksAtRecords { compareRecords() }
    }

    private func restore() {
        guard let backup = changes.chance.pick(backups) else { return }
        company.core.restore(backup.state)
        heads = backup.heads
        acknowledged = backup.acknowledged
        for (index, reference) in backup.references.enumerated() { references[index].reference = reference }
    }

    /// The server made a record of its own.
    private func serverWrote(_ ids: [Identifier]) {
        for index in references.indices { references[index].reference.serverWroteElsewhere(ids, nowMilliseconds: company.now) }
        headMoved()
    }

    private func headMoved() {
        let position = company.core.position
        guard heads[position] == nil else { return }
        event += 1
        heads[position] = event
    }

    // MARK: Comparing

    private var lastPosition: Int64 { heads.keys.max() ?? 0 }

    private func compare(_ offer: Reference.Offer, _ outcome: Outcome) {
        let position = outcome.positions?.upperBound ?? lastPosition
        if heads[position] == nil {
            event += 1
            heads[position] = event
        }
        let found = Reference.Verdict(
            status: outcome.status, superseded: outcome.superseded.map { "\($0.entity).\($0.field)" }.sorted(), rebased: outcome.rebased,
            violations: Set(outcome.violations.map { "\($0.entity).\($0.field ?? "") \($0.code)" }), duplicateOf: outcome.duplicateOf)
        for index in references.indices {
            let expected = references[index].reference.take(offer, position: position)
            guard references[index].difference == nil, expected != found else { continue }
            let what = offer.changes.map { $0.json.canonicalText }.joined(separator: " ")
            references[index].difference = "\(offer.dot?.description ?? "server") should be \(expected), is \(found): \(what)"
        }
    }

    private func compareRecords() {
        let held = company.core.snapshot().records
        for index in references.indices where references[index].difference == nil {
            references[index].difference = references[index].reference.difference(from: held)
        }
    }
}
