// The model's push: the whole request is refused, or all of its sets get their answers (protocol §7.2).

import SyncProtocol

@testable import Replica

extension ModelServer {
    public func push(_ bytes: [UInt8], token: String) throws -> [UInt8] {
        let reply = try lock.withLock {
            let reply = try pushLocked(bytes, token)
            try checkStored(reply, bytes, token)
            return reply
        }
        poke()
        return reply
    }

    /// An answer leaves only after what it says is stored: looked at here, because a replica may hear another one by the end of its sync.
    private func checkStored(_ reply: [UInt8], _ push: [UInt8], _ token: String) throws {
        let replica = try author(try PushRequest.receive(push), account(token))
        let stored = state.outcomes[replica] ?? [:]
        for (counter, outcome) in try PushReply(parsing: reply).outcomes where stored[counter]?.bytes != outcome {
            if state.deferred[Dot(replica: replica, counter: counter)] != nil { continue }
            unstored = "\(counter): \(String(decoding: outcome, as: UTF8.self))"
        }
    }

    /// The last answer that was given and not kept.
    public var unstoredAnswer: String? { lock.withLock { unstored } }

    private func pushLocked(_ bytes: [UInt8], _ token: String) throws -> [UInt8] {
        guard bytes.count <= Limits.bytesPerPush else {
            throw refusal(.payloadTooLarge, details: ["max": .integer(Int64(Limits.bytesPerPush))])
        }
        let push: PushRequest.ReceivedPush
        do { push = try PushRequest.receive(bytes) } catch { throw refusal(.badRequest, "\(error)") }
        guard push.protocolVersion == ProtocolVersion.current else {
            throw refusal(.protocolUnsupported, details: ["protocol": .integer(ProtocolVersion.current)])
        }
        guard push.schemaVersion <= schema.version else { throw refusal(.schemaTooOld, details: ["schema": .integer(schema.version)]) }
        let account = try account(token)
        guard account.role != .viewer else { throw refusal(.forbidden) }
        let untouched = push.identity == nil ? nil : state
        let replica = try author(push, account)
        let isCourier = replica != account.replica
        try checkOrder(push.sets, replica)
        _ = try place(push.cursor)
        let fresh = try unseen(push.sets, replica, isCourier: isCourier)
        if !fresh.isEmpty {
            let new = Set(fresh.map(\.dot))
            do { try requireRoom(for: "sets", fits: push.sets.prefix { !new.contains($0.dot) }.count) } catch {
                if let untouched { state = untouched }
                throw error
            }
        }
        resumeNumbers(push.numbers)
        // It dies before anything is kept.
        for case .set(let content) in fresh.map(\.content) where poison?(content) == true {
            throw TransportFailure.dropped("the server died")
        }
        pushes += 1
        let uncommitted = fault == .acknowledgesBeforeCommit && !fresh.isEmpty && pushes % 4 == 0 ? state : nil
        defer { if let uncommitted { state = uncommitted } }
        // What clocks may claim is what the server knew when the request came.
        let lanes = state.acknowledged
        let head = FeedPosition(epoch: state.epoch, position: state.position)
        let isOpen = push.isHealing && state.epoch > 0 && now() - state.epochBegan < Limits.healingMilliseconds
        let before = isOpen ? state : nil
        let offered = Set(fresh.map(\.dot))
        var held = state.deferred.filter { $0.key.replica == replica && !offered.contains($0.key) }.values
            .reduce(into: Set<Identifier>()) { $0.formUnion($1.ids) }
        let deferred = state.deferred
        let restrictedSince = account.role.seesRestricted ? state.restrictedSince[replica] ?? head.position : nil
        if let restrictedSince, !fresh.isEmpty { state.restrictedSince[replica] = restrictedSince }
        let recognised = push.recognised.filter { state.fingerprints[$0.position.position] == $0.fingerprint }.map(\.position)
        var waiting: [Int64: [UInt8]] = [:]
        for set in fresh {
            let outcome: Outcome
            switch set.content {
            case .withdrawn: outcome = Outcome(status: .withdrawn)
            case .undecodable(_, let violation): outcome = .rejected([violation])
            case .set(let content) where sameSet(content, set.hash, account.member) != nil:
                outcome = sameSet(content, set.hash, account.member) ?? Outcome(status: .noop)
            case .set(let content):
                let clock = capped(content.clock, own: replica, head: head, lanes: lanes, recognised: recognised)
                var submission = Submission(
                    changes: content.changes,
                    author: Author(kind: .member, member: account.member, role: account.role, replica: replica), dot: set.dot,
                    clock: clock, timestamp: content.timestamp, schemaVersion: content.schemaVersion ?? push.schemaVersion)
                submission.vouchesForRestricted = restrictedSince.map { clock.feed.position >= $0 } ?? false
                submission.twins = twins(of: clock)
                submission.seen = Dictionary(set.after.map { ($0.dot, $0.milliseconds) }) { first, _ in first }
                submission.waitsFor = isOpen ? set.after.map(\.dot).filter { isToCome($0, lanes: lanes, deferred: deferred) } : nil
                if fault != .restartsNumbers { submission.numbers = set.numbers }
                submission.isOfLostHistory = fault == .writesUnseen || (isOpen && content.clock.feed.epoch < state.epoch)
                outcome =
                    fault == .dropsHealed && push.isHealing && content.clock.feed.epoch < state.epoch
                    ? Outcome(status: .accepted)
                    : decide(
                        content, submission, counted: set.timestamp, isLate: deferred[set.dot] != nil, holding: held)
            }
            if outcome.status == .deferred, case .set(let content) = set.content {
                let ids = content.changes.reduce(into: Set<Identifier>()) { $0.formUnion($1.namedIdentifiers) }
                if deferred[set.dot] == nil, let exceeded = exceeded(by: ids, of: replica) {
                    if let before { state = before }
                    throw refusal(exceeded.refusal(fits: push.sets.prefix { $0.dot.counter < set.dot.counter }.count))
                }
                state.deferred[set.dot] = (set.hash, ids)
                held.formUnion(ids)
                waiting[set.dot.counter] = outcome.json.canonicalBytes()
            } else {
                state.deferred[set.dot] = nil
                let bytes = outcome.json.canonicalBytes()
                state.outcomes[replica, default: [:]][set.dot.counter] = (set.hash, bytes)
                state.storedBytes += StorageQuota.bytes(ofSetWith: bytes.count)
                if case .set(let content) = set.content { noteFirst(content, set.hash, account.member, outcome) }
            }
            state.acknowledged[replica] = max(set.dot.counter, state.acknowledged[replica] ?? 0)
            if !isCourier { state.lastEpoch[replica] = state.epoch }
        }
        let outcomes = push.sets.compactMap { set in
            (state.outcomes[replica]?[set.dot.counter]?.bytes ?? waiting[set.dot.counter]).map { (set.dot.counter, $0) }
        }
        return PushReply(serverMilliseconds: now(), outcomes: outcomes).bytes()
    }

    /// After a restore sequences go on behind every number that replicas have seen.
    private func resumeNumbers(_ reports: [NumberReport]) {
        guard state.epoch > 0, fault != .restartsNumbers else { return }
        let newest = Dictionary(reports.map { ($0.key, $0) }) { $0.last > $1.last ? $0 : $1 }
        let changes = newest.sorted { $0.key.id < $1.key.id }.compactMap { $0.value.change(state.records[$0.key], in: schema) }
        if !changes.isEmpty { _ = writeLocked(changes, knowing: nil) }
    }

    private func exceeded(by ids: Set<Identifier>, of replica: Identifier) -> WaitingLimits.Exceeded? {
        waitingLimits.exceeded(
            own: state.deferred.keys.count { $0.replica == replica } + 1, all: state.deferred.count + 1,
            records: state.deferred.values.reduce(ids.count) { $0 + $1.ids.count })
    }

    private func checkOrder(_ sets: [PushRequest.Received], _ replica: Identifier) throws {
        var previous: Int64?
        for set in sets {
            let counter = set.dot.counter
            guard set.dot.replica == replica else { throw refusal(.forbidden, details: ["counter": .integer(counter)]) }
            if let previous, counter <= previous { throw refusal(.badRequest, details: ["counter": .integer(counter)]) }
            previous = counter
        }
    }

    /// The sets that were not decided before. Throws `fork` and `counter_gap`.
    private func unseen(
        _ sets: [PushRequest.Received], _ replica: Identifier, isCourier: Bool
    ) throws -> [PushRequest.Received] {
        var unseen: [PushRequest.Received] = []
        var last = state.acknowledged[replica] ?? 0
        var mayJump = !isCourier && state.lastEpoch[replica] ?? 0 < state.epoch
        for set in sets {
            let counter = set.dot.counter
            if let hash = state.outcomes[replica]?[counter]?.hash ?? state.deferred[set.dot]?.hash {
                guard hash == set.hash || mistakesForItsOwn(set) else { throw refusal(.fork, details: ["counter": .integer(counter)]) }
                let isAgain = fault == .skipsDeduplication || fault == .decidesBroughtAgain && isCourier
                if state.deferred[set.dot] != nil || isAgain { unseen.append(set) }
            } else if counter <= state.acknowledged[replica] ?? 0 {
                throw refusal(.fork, details: ["counter": .integer(counter)])
            } else {
                guard counter == last + 1 || mayJump else { throw refusal(.counterGap, details: ["expected": .integer(last + 1)]) }
                (last, mayJump) = (counter, false)
                unseen.append(set)
            }
        }
        return unseen
    }

    /// Whether a set of somebody who can still push has not come back yet.
    private func isToCome(_ dot: Dot, lanes: [Identifier: Int64], deferred: [Dot: (hash: String, ids: Set<Identifier>)]) -> Bool {
        guard let last = lanes[dot.replica] else { return false }
        return dot.counter > last || deferred[dot] != nil
    }

    /// A clock vouches for nothing that this server does not have: neither of another history, nor of sets never processed here.
    private func capped(
        _ clock: VectorClock, own: Identifier, head: FeedPosition, lanes: [Identifier: Int64], recognised: [FeedPosition]
    ) -> VectorClock {
        if fault == .knowsEverything { return VectorClock(feed: head, replicas: clock.replicas) }
        var capped = clock
        if clock.feed.epoch != head.epoch || clock.feed.position > head.position {
            let newest = recognised.filter { $0.epoch <= clock.feed.epoch }.map(\.position).max() ?? 0
            capped.feed = FeedPosition(epoch: head.epoch, position: min(clock.feed.position, newest))
        }
        for (lane, counter) in clock.replicas where lane != own { capped.replicas[lane] = min(counter, lanes[lane] ?? 0) }
        return capped
    }

    private func decide(
        _ set: ChangeSet, _ admitted: Submission, counted: HybridTimestamp?, isLate: Bool, holding held: Set<Identifier>
    ) -> Outcome {
        if let own = set.clock.replicas[set.dot.replica], own >= set.dot.counter {
            return .rejected([
                Violation(
                    entity: "", id: nil, field: "clock", code: .invalidSyntax, message: "a set cannot have been known before it was made")
            ])
        }
        let claimed = counted ?? set.timestamp
        let isSkewed = claimed.milliseconds > now() + HybridClock.skewToleranceMilliseconds
        var stamp = isSkewed ? HybridTimestamp(milliseconds: now()) : claimed
        if !isLate {
            let last = state.lastStamp[set.dot.replica] ?? .zero
            if stamp <= last { stamp = last.next }
            state.lastStamp[set.dot.replica] = stamp
        }
        // It says nothing about it, or nobody would be fooled.
        let told = stamp == set.timestamp ? nil : stamp
        if fault == .lastWriterByArrival { stamp = max(stamp, state.stamp.next) }
        var submission = admitted
        (submission.timestamp, submission.isSkewed) = (stamp, isSkewed)
        submission.changes = reviving(submission.changes)
        submission.clock = overlooking(submission)
        if told != nil { submission.sealedTimestamp = set.timestamp }
        var outcome = decide(submission, holding: held)
        if outcome.timestamp != nil { outcome.timestamp = told }
        if outcome.status != .deferred { state.applications[set.dot, default: 0] += 1 }
        return outcome
    }

    // MARK: Deciding

    func decide(_ submission: Submission, holding held: Set<Identifier> = []) -> Outcome {
        let workspace = Workspace(schema: schema)
        workspace.supply(waiting: held)
        let head = FeedPosition(epoch: state.epoch, position: state.position)
        while true {
            workspace.discardWrites()
            var processor = Processor(
                schema: schema, workspace: workspace, mode: .server, tenant: tenant, nowMilliseconds: now(), head: head)
            let decision = processor.decide(submission)
            let missing = workspace.takeMissing()
            guard missing.isEmpty else {
                for read in missing { supply(read, workspace) }
                continue
            }
            for record in workspace.writtenRecords where !leavesBehind(record, decision.entries) {
                for circle in ReaderAccess.circlesLeft(by: record, before: state.records[record.key]) {
                    state.exits.append((record.position.position, circle, record.key))
                }
                state.records[record.key] = record
            }
            for entry in decision.entries { enter(entry) }
            if decision.outcome.status != .deferred { state.stamp = max(state.stamp, submission.timestamp) }
            // What nobody can offer again nobody depends on.
            if decision.outcome.status == .rejected, submission.dot != nil { state.rejectedCreations.formUnion(decision.created) }
            return decision.outcome
        }
    }

    func enter(_ entry: FeedEntry) {
        state.feed += kept([ActivityEntry(entry)])
        state.position = entry.position.position
        state.storedBytes += entry.storedBytes
        state.fingerprints[state.position] = fingerprint(state.position)
    }

    func fingerprint(_ position: Int64) -> String { "\(history)-\(position)" }

    func supply(_ read: Read, _ workspace: Workspace) {
        switch read {
        case .record(let key): workspace.supply(read, records: [state.records[key]].compactMap { $0 })
        case .lookup(let entity, let field, let value, let includingDeleted):
            workspace.supply(
                read,
                records: state.records.values.filter {
                    $0.schema.name == entity && $0[field] == value && (includingDeleted || $0.isLive)
                }.sorted { $0.id < $1.id })
        case .ancestors(let key, let parent):
            var chain: [RecordState] = []
            var next: Identifier? = key.id
            while let id = next, let record = state.records[RecordKey(key.entity, id)], !chain.contains(where: { $0.id == id }) {
                chain.append(record)
                next = record.identifier(parent)
            }
            workspace.supply(read, records: chain)
        case .rejectedCreation(let id): workspace.supply(rejectedCreation: id, wasRejected: state.rejectedCreations.contains(id))
        }
    }
}
