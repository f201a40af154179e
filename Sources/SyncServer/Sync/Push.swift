// `POST /v1/sync/push`: pending change sets up, stored outcomes back. One transaction a request; read it top to bottom
// with the steps of protocol §7.2.

import SyncProtocol

struct Push {
    let context: SyncContext
    let connection: PostgresConnection
    let requestID: String

    /// The reply, or what the transaction found that must be handled outside of it.
    private enum Found {
        case reply(PushReply, didWrite: Bool, fresh: [Outcome.Status])
        case otherHistory(CheckpointMark)
    }

    /// A set that was not processed before, with what is to become of it.
    private struct Fresh {
        let received: PushRequest.Received
        /// nil: the outcome stands already.
        var submission: Submission?
        var outcome: Outcome?
        var createdIDs: [Identifier] = []
        var isDeferred: Bool { outcome?.status == .deferred }

        /// What is to be kept so that the same set is known when it comes under another id.
        var resealed: SameSets.Resealed? {
            guard case .set(let set) = received.content else { return nil }
            let first = outcome?.duplicateOf
            guard set.origin != nil || first != nil else { return nil }
            return SameSets.Resealed(
                counter: set.dot.counter, origin: set.origin?.hash ?? received.hash, firstReplica: first?.replica ?? set.dot.replica)
        }
    }

    /// Throws ``ErrorReply`` (nothing was stored) or ``PostgresError``.
    func run(_ body: [UInt8], token: AccessToken) throws -> PushReply { try run(decode(body), token: token) }

    func run(_ push: PushRequest.ReceivedPush, token: AccessToken) throws -> PushReply {
        do {
            return try attempt(push, token: token, isolating: false)
        } catch let error as PostgresError where error.isRefusalOfData {
            // One set that the database refuses must not hold up the others: each on its own.
            context.log(.init(.warning, "push_refused_by_database", requestID: requestID, ["error": .string(error.description)]))
            return try attempt(push, token: token, isolating: true)
        } catch is ChangePipeline.Unsettled {
            return try attempt(push, token: token, isolating: true)
        } catch let error as ChangePipeline.TooLarge {
            // Of several the replica offers half; one alone gets an outcome, so that the ones behind it go on.
            guard push.sets.count == 1 else {
                throw ErrorReply(
                    .payloadTooLarge, "\(error.words); push fewer sets at a time", details: error.details)
            }
            return try attempt(push, token: token, isolating: true)
        }
    }

    // 2. Decode. What a single set lacks becomes its outcome; what the envelope lacks refuses the request.
    func decode(_ body: [UInt8]) throws -> PushRequest.ReceivedPush {
        guard body.count <= Limits.bytesPerPush else {
            throw ErrorReply(
                .payloadTooLarge, "a push has at most \(Limits.bytesPerPush) bytes", details: ["max": .integer(Int64(Limits.bytesPerPush))])
        }
        let push: PushRequest.ReceivedPush
        do {
            push = try PushRequest.receive(body)
        } catch let error as WireError {
            throw ErrorReply(.badRequest, error.description)
        } catch let error as JSONError {
            throw ErrorReply(.badRequest, "not valid JSON: \(error.message) at byte \(error.offset)")
        }
        guard push.protocolVersion > 0 else {
            throw ErrorReply(.badRequest, "protocol is the number of the protocol that the replica speaks")
        }
        guard push.protocolVersion == ProtocolVersion.current else {
            throw ErrorReply(
                .protocolUnsupported, "this server speaks protocol \(ProtocolVersion.current)",
                details: ["protocol": .integer(ProtocolVersion.current)])
        }
        guard push.schemaVersion <= context.schema.version else {
            // Storing rejections for fields that a newer server would take cannot be undone; the replica just tries later.
            throw ErrorReply(
                .schemaTooOld, "this server's schema is older than the replica's", details: ["schema": .integer(context.schema.version)])
        }
        return push
    }

    private func attempt(_ push: PushRequest.ReceivedPush, token: AccessToken, isolating: Bool) throws -> PushReply {
        let found = try connection.transaction(.readWrite, tenant: token.tenant, requestID: requestID) { _ in
            try process(push, token: token, isolating: isolating)
        }
        switch found {
        case .reply(let reply, let didWrite, let fresh):
            if didWrite { context.pushStep(.committed) }
            // Outside of the transaction: inside it would make all writers of the cluster wait for each other.
            if didWrite { context.announce(token.tenant) }
            if didWrite { context.pushStep(.announced) }
            context.metrics.countSets(fresh)
            return reply
        case .otherHistory(let mark):
            throw try Epoch(context: context, tenant: token.tenant, connection: connection).refuse(mark)
        }
    }

    private func process(_ push: PushRequest.ReceivedPush, token: AccessToken, isolating: Bool) throws -> Found {
        let tenant = token.tenant
        let now = context.now()
        // 1. Authenticate.
        let principal = try Authentication.principal(of: token, nowMilliseconds: now, on: connection)
        let asking = try Authentication.replica(of: principal)
        guard principal.role != .viewer, asking.replication != "readonly" else {
            throw ErrorReply(.forbidden, "this replica is read-only")
        }
        // Whose sets these are: its own, unless it is a courier.
        let replica = try push.identity.map { try Courier(context: context, connection: connection).author($0, principal) } ?? asking
        let isCourier = replica.id != asking.id
        try checkOrder(push.sets, replica: replica.id)
        let cursor = try push.cursor.map { try context.cursorSeal.open($0, tenant: tenant) }

        // 3. Lock the head. What follows is read after the lock was taken, so it is what holds until commit.
        let sets = push.sets.compactMap { if case .set(let set) = $0.content { set } else { nil } }
        let lanes = Set(SetAdmission.foreignLanes(of: sets) + push.sets.flatMap { $0.after.map(\.dot.replica) })
            .subtracting([replica.id]).sorted()
        let marks = (cursor?.marks ?? []) + push.recognised
        let locked = try connection.batch([
            TenantHead.lock(tenant),
            FeedStore.fingerprints(at: marks.map(\.position.position), tenant: tenant),
            Outcomes.find(push.sets.map(\.dot.counter), replica: replica.id, tenant: tenant),
            PostgresStatement(
                """
                SELECT id, acknowledged, last_stamp_ms, last_stamp_logical, last_epoch, restricted_since, revoked_at IS NULL \
                FROM tideline.replica \
                WHERE tenant = $1::uuid AND (id = $2::uuid OR id = ANY($3::uuid[]))
                """,
                [.identifier(tenant), .identifier(replica.id), .textArray(lanes.map(\.text))]),
            Healing.epochStart(tenant),
            Healing.waiting(of: [replica.id] + lanes, tenant: tenant),
            SameSets.find(push.sets, member: principal.member, tenant: tenant),
            SameSets.twins(of: [replica.id] + lanes, tenant: tenant),
        ])
        guard var head = TenantHead(locked[0]) else { throw Authentication.unauthorized }
        context.pushStep(.locked)
        let fingerprints = FeedStore.readFingerprints(locked[1])
        for mark in cursor?.marks ?? [] {
            switch Epoch.judge(mark, head: head.position, fingerprints: fingerprints) {
            case .current: break
            case .behind: throw Epoch.newEpoch(head.position.epoch)
            case .restored: return .otherHistory(mark)
            }
        }
        var registration = replica
        var otherLanes: [Identifier: Int64] = Dictionary(uniqueKeysWithValues: lanes.map { ($0, 0) })
        var bringing: [Identifier: Int64] = [:]
        for row in locked[3].rows {
            guard let id = locked[3].identifier(row, 0), let acknowledged = locked[3].integer(row, 1) else { continue }
            if id == replica.id {
                // A push of the same replica may have committed while this one waited for the lock.
                registration.acknowledged = acknowledged
                registration.lastTimestamp = HybridTimestamp(
                    milliseconds: locked[3].integer(row, 2) ?? 0, logical: locked[3].integer(row, 3) ?? 0)
                registration.lastEpoch = locked[3].integer(row, 4) ?? 0
                registration.restrictedSince = locked[3].integer(row, 5)
            } else {
                otherLanes[id] = acknowledged
                if locked[3].bool(row, 6) == true { bringing[id] = acknowledged }
            }
        }
        let healing = Healing(
            epochStart: locked[4], waiting: locked[5], replica: replica.id, acknowledged: bringing, isHealing: push.isHealing,
            nowMilliseconds: now)

        let storedBefore = head.storedBytes
        let isResumed = try resumeNumbers(push.numbers, &head, tenant: tenant)

        // 4. Sets seen before get their stored outcome; the others must follow without a gap.
        let known: [Int64: Outcomes.Stored]
        do { known = try Outcomes.read(locked[2]) } catch {
            throw ErrorReply(
                .payloadTooLarge, "the outcomes of these sets have more than \(Outcomes.toldBytesMax >> 20) MiB; push fewer sets at a time",
                details: ["max": .integer(Outcomes.toldBytesMax)])
        }
        let unseen = try unseen(
            push.sets, known: known, waiting: healing.own, registration: registration,
            // In a new epoch a replica begins where its own record of the lost one does; a courier's may be the shorter one.
            mayJump: !isCourier && registration.lastEpoch < head.position.epoch)
        if !unseen.isEmpty {
            try context.storageQuota.requireRoom(
                beside: storedBefore, field: "sets", fits: push.sets.prefix { known[$0.dot.counter] != nil }.count)
        }
        let recognised = push.recognised.filter { fingerprints[$0.position.position] == $0.fingerprint }.map(\.position)
        // A role that sees more than the replica was sent so far: no checkpoint before this head had it.
        let restrictedSince = principal.role.seesRestricted ? registration.restrictedSince ?? head.position.position : nil
        var admission = SetAdmission(
            head: head.position, nowMilliseconds: now, recognised: recognised, otherLanes: otherLanes,
            lastTimestamp: registration.lastTimestamp, schemaVersion: push.schemaVersion, restrictedSince: restrictedSince)
        let author = Author(kind: .member, member: principal.member, role: principal.role, replica: replica.id)
        var sameSets = try SameSets(decided: locked[6], twins: locked[7])
        var fresh = unseen.map { admit($0, &admission, healing, &sameSets, author: author) }
        let held = healing.heldRecords(except: unseen.map(\.dot.counter))

        // 5.–6. Load, merge, run rules and effects, in memory.  7. Write everything.
        let (decidedHead, statements) =
            isolating
            ? (try processOneByOne(&fresh, from: head, holding: held, tenant: tenant, now: now), [])
            : try processTogether(&fresh, from: head, holding: held, tenant: tenant, now: now)
        let stored = fresh.filter { !$0.isDeferred }.map { one in
            Outcomes.Stored(
                counter: one.received.dot.counter, hash: one.received.hash, status: one.outcome?.status ?? .rejected,
                bytes: (one.outcome ?? Outcome(status: .withdrawn)).json.canonicalBytes(), createdIDs: one.createdIDs)
        }
        var newHead = decidedHead
        newHead.storedBytes += stored.reduce(0) { $0 + StorageQuota.bytes(ofSetWith: $1.bytes.count) }
        context.pushStep(.decided)
        if let last = fresh.last?.received.dot.counter {
            let waiting = fresh.filter(\.isDeferred).map { one in
                Healing.Waiting(counter: one.received.dot.counter, hash: one.received.hash, ids: one.createdIDs)
            }
            try Healing.requireRoom(
                for: waiting.filter { healing.own[$0.counter] == nil }, of: push.sets.map(\.dot.counter), replica: replica.id,
                tenant: tenant, limits: context.waitingLimits, on: connection)
            let resealed = fresh.filter { !$0.isDeferred }.compactMap(\.resealed)
            let settled = stored.map(\.counter).filter { healing.own[$0] != nil }
            try connection.batch(
                statements
                    + [
                        Healing.settle(settled, replica: replica.id, tenant: tenant),
                        Healing.store(waiting, replica: replica.id, tenant: tenant, nowMilliseconds: now),
                        SameSets.store(resealed, replica: replica.id, member: principal.member, tenant: tenant),
                    ].compactMap(\.self) + [
                        Outcomes.store(stored, replica: replica.id, tenant: tenant, nowMilliseconds: now),
                        newHead.write(tenant, nowMilliseconds: now),
                        PostgresStatement(
                            """
                            UPDATE tideline.replica SET acknowledged = $3, last_stamp_ms = $4, last_stamp_logical = $5, last_epoch = $6, \
                            last_seen_at = coalesce($7, last_seen_at), restricted_since = coalesce(restricted_since, $8) WHERE tenant = $1::uuid AND id = $2::uuid
                            """,
                            [
                                .identifier(tenant), .identifier(replica.id), .integer(max(last, registration.acknowledged)),
                                .integer(admission.lastTimestamp.milliseconds),
                                .integer(admission.lastTimestamp.logical),
                                // A courier's push is not its author's: that one may still begin higher.
                                .integer(isCourier ? registration.lastEpoch : newHead.position.epoch), .optional(isCourier ? nil : now),
                                .optional(restrictedSince),
                            ]),
                    ])
            context.pushStep(.written)
        }
        var answers = known.mapValues(\.bytes)
        for one in stored { answers[one.counter] = one.bytes }
        for one in fresh where one.isDeferred { answers[one.received.dot.counter] = one.outcome?.json.canonicalBytes() }
        let outcomes = push.sets.compactMap { set in answers[set.dot.counter].map { (counter: set.dot.counter, outcome: $0) } }
        return .reply(
            PushReply(serverMilliseconds: now, outcomes: outcomes), didWrite: !stored.isEmpty || isResumed,
            fresh: stored.map(\.status))
    }

    /// After a restore sequences go on behind every number that replicas have seen. Returns whether one of them does now.
    private func resumeNumbers(_ reports: [NumberReport], _ head: inout TenantHead, tenant: Identifier) throws -> Bool {
        guard !reports.isEmpty, head.position.epoch > 0, let table = context.tables[Numbering.sequences] else { return false }
        let found = try connection.run(table.selectByID, .identifier(tenant), .textArray(reports.map(\.key.id.text)))
        let known = Dictionary(
            try RecordStore(tables: context.tables, tenant: tenant, epoch: head.position.epoch).states(of: Numbering.sequences, in: found)
                .map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
        let newest = Dictionary(reports.map { ($0.key, $0) }) { $0.last > $1.last ? $0 : $1 }
        let changes = newest.sorted { $0.key.id < $1.key.id }.compactMap { $0.value.change(known[$0.key], in: context.schema) }
        guard !changes.isEmpty else { return false }
        try ServerWrite(context: context, tenant: tenant, connection: connection).writeInTransaction(changes, author: .system)
            .requireAccepted()
        guard let moved = TenantHead(try connection.run(TenantHead.read(tenant))) else { throw Authentication.unauthorized }
        head = moved
        return true
    }

    // MARK: Order

    private func checkOrder(_ sets: [PushRequest.Received], replica: Identifier) throws {
        var previous: Int64?
        for set in sets {
            guard set.dot.replica == replica else {
                throw ErrorReply(.forbidden, "a replica pushes its own sets only", details: ["counter": .integer(set.dot.counter)])
            }
            if let previous, set.dot.counter <= previous {
                throw ErrorReply(.badRequest, "sets come in counter order, each once", details: ["counter": .integer(set.dot.counter)])
            }
            previous = set.dot.counter
        }
    }

    /// The sets that were not decided before. Throws `fork` and `counter_gap`.
    private func unseen(
        _ sets: [PushRequest.Received], known: [Int64: Outcomes.Stored], waiting: [Int64: (hash: String, ids: Set<Identifier>)],
        registration: ReplicaRegistration, mayJump: Bool
    ) throws -> [PushRequest.Received] {
        var unseen: [PushRequest.Received] = []
        var last = registration.acknowledged
        var mayJump = mayJump
        for set in sets {
            let counter = set.dot.counter
            if let stored = known[counter] {
                guard stored.hash == set.hash else { throw fork(counter) }
            } else if let deferred = waiting[counter] {
                guard deferred.hash == set.hash else { throw fork(counter) }
                unseen.append(set)
            } else if counter <= registration.acknowledged {
                // Counters that a lost history used up and this one skipped: nobody but a copy offers them again.
                throw fork(counter)
            } else {
                guard counter == last + 1 || mayJump else { throw gap(expected: last + 1) }
                (last, mayJump) = (counter, false)
                unseen.append(set)
            }
        }
        return unseen
    }

    private func fork(_ counter: Int64) -> ErrorReply {
        ErrorReply(
            .fork, "another copy of this replica has already used counter \(counter); continue under a new replica id",
            details: ["counter": .integer(counter)])
    }

    private func gap(expected: Int64) -> ErrorReply {
        ErrorReply(.counterGap, "the next set of this replica has counter \(expected)", details: ["expected": .integer(expected)])
    }

    // MARK: Deciding

    private func admit(
        _ received: PushRequest.Received, _ admission: inout SetAdmission, _ healing: Healing, _ sameSets: inout SameSets, author: Author
    ) -> Fresh {
        switch received.content {
        case .withdrawn: return Fresh(received: received, outcome: Outcome(status: .withdrawn))
        case .undecodable(_, let violation): return Fresh(received: received, outcome: .rejected([violation]))
        case .set(let set):
            if let outcome = sameSets.outcome(of: set) {
                sameSets.note(outcome, for: set.dot)
                return Fresh(received: received, outcome: outcome)
            }
            do {
                let isLate = healing.own[received.dot.counter] != nil
                var submission = try admission.admit(
                    set, seen: received.after, counted: received.timestamp, isLate: isLate, author: author)
                submission.twins = sameSets.twins(of: submission.clock)
                submission.waitsFor = healing.waitsFor(received.after)
                submission.numbers = received.numbers
                submission.isOfLostHistory = healing.isOfLostHistory(set, epoch: admission.head.epoch)
                return Fresh(received: received, submission: submission)
            } catch {
                return Fresh(received: received, outcome: .rejected([error]))
            }
        }
    }

    private func pipeline(_ tenant: Identifier, _ now: Int64) -> ChangePipeline {
        ChangePipeline(context: context, tenant: tenant, nowMilliseconds: now, connection: connection)
    }

    private func processTogether(
        _ fresh: inout [Fresh], from head: TenantHead, holding held: Set<Identifier>, tenant: Identifier, now: Int64
    ) throws -> (TenantHead, [PostgresStatement]) {
        let indices = fresh.indices.filter { fresh[$0].submission != nil }
        guard !indices.isEmpty else { return (head, []) }
        let decided = try pipeline(tenant, now).decide(indices.compactMap { fresh[$0].submission }, from: head, holding: held)
        for (index, decision) in zip(indices, decided.decisions) { take(decision, for: &fresh[index]) }
        return (decided.head, decided.statements)
    }

    /// Each set under its own savepoint: one that the database refuses alone is rejected, with the request to look for in the log.
    private func processOneByOne(
        _ fresh: inout [Fresh], from head: TenantHead, holding held: Set<Identifier>, tenant: Identifier, now: Int64
    ) throws -> TenantHead {
        var (head, held) = (head, held)
        for index in fresh.indices {
            let rejected = fresh[..<index].filter { !$0.isDeferred }.flatMap(\.createdIDs)
            guard let submission = fresh[index].submission else { continue }
            do {
                let decided = try connection.savepoint { connection in
                    let decided = try pipeline(tenant, now)
                        .decide([submission], from: head, holding: held, rejectedCreations: rejected)
                    try connection.batch(decided.statements)
                    return decided
                }
                head = decided.head
                if let decision = decided.decisions.first { take(decision, for: &fresh[index]) }
                if fresh[index].isDeferred { held.formUnion(fresh[index].createdIDs) }
            } catch let error as PostgresError where error.isRefusalOfData {
                if let violation = context.tables.violation(of: error) {
                    fresh[index].outcome = .rejected([violation])
                } else {
                    refuse(&fresh[index], error.description)
                }
            } catch let error as ChangePipeline.TooLarge {
                fresh[index].outcome = .rejected([
                    Violation(
                        entity: "", id: nil, field: "set", code: .payloadTooLarge, message: error.words, parameters: error.details)
                ])
            } catch is ChangePipeline.Unsettled {
                refuse(&fresh[index], "the rules of this set never came to rest")
            }
        }
        return head
    }

    private func take(_ decision: Decision, for fresh: inout Fresh) {
        fresh.outcome = decision.outcome
        if decision.outcome.status == .rejected || decision.outcome.status == .deferred { fresh.createdIDs = decision.created }
    }

    private func refuse(_ fresh: inout Fresh, _ reason: String) {
        let dot = fresh.received.dot
        context.log(
            .init(
                .error, "set_rejected_internal", requestID: requestID,
                ["replica": .string(dot.replica.text), "counter": .integer(dot.counter), "error": .string(reason)]))
        var outcome = Outcome.rejected([
            Violation(
                entity: "", id: nil, field: nil, code: .internal,
                message: "the server could not store this set; its operator can find out why")
        ])
        outcome.requestID = requestID
        fresh.outcome = outcome
        fresh.createdIDs = (fresh.submission?.changes ?? []).compactMap { change in
            guard case .create = change.operation, context.schema.entity(change.key.entity)?.deterministicKeys.isEmpty == true else {
                return nil
            }
            return change.key.id
        }
    }
}
