// What the server changes itself (enrolment, administration, REST) goes the way of every change set: the same rules,
// the same feed. Such a set has no dot and knows the feed only.

import SyncProtocol

struct ServerWrite {
    let context: SyncContext
    let tenant: Identifier
    let connection: PostgresConnection

    /// Decides and stores one set in a transaction of its own, then announces it.
    /// - Parameter knowledge: Feed position the author had seen; nil: everything up to now.
    /// Throws ``PostgresError`` or ``ErrorReply``; a rejection is an outcome, stored in the feed only.
    @discardableResult
    func write(_ changes: [Change], author: Author, knowledge: FeedPosition? = nil) throws -> Outcome {
        let outcome = try connection.transaction(.readWrite, tenant: tenant) { _ in
            try writeInTransaction(changes, author: author, knowledge: knowledge)
        }
        context.announce(tenant)
        return outcome
    }

    /// The same inside a transaction that is open and sees the tenant; whoever opened it announces.
    func writeInTransaction(_ changes: [Change], author: Author, knowledge: FeedPosition? = nil) throws -> Outcome {
        guard let head = TenantHead(try connection.run(TenantHead.lock(tenant))) else {
            throw ErrorReply(.notFound, "there is no such tenant")
        }
        let decided = try decide(changes, author: author, knowledge: knowledge, from: head)
        try store(decided)
        return decided.decisions[0].outcome
    }

    /// The first half: what becomes of one set, on a head that this transaction has locked. Nothing is written yet.
    /// - Parameters:
    ///   - vouchesForRestricted: False: what the author had seen was without restricted fields.
    ///   - depth: Sets that led to this one.
    func decide(
        _ changes: [Change], author: Author, knowledge: FeedPosition?, vouchesForRestricted: Bool = true, depth: Int = 0,
        from head: TenantHead
    ) throws -> ChangePipeline.Decided {
        precondition(!changes.isEmpty, "a set has at least one change")
        let now = context.now()
        let timestamp = max(HybridTimestamp(milliseconds: now), head.timestamp.next)
        var submission = Submission(
            changes: changes, author: author, dot: nil, clock: VectorClock(feed: knowledge ?? head.position), timestamp: timestamp,
            vouchesForRestricted: vouchesForRestricted)
        submission.depth = depth
        do {
            return try ChangePipeline(context: context, tenant: tenant, nowMilliseconds: now, connection: connection)
                .decide([submission], from: head)
        } catch let error as ChangePipeline.TooLarge {
            throw ErrorReply(.payloadTooLarge, error.words, details: error.details)
        } catch is ChangePipeline.Unsettled {
            throw ErrorReply(.internal, "the rules of this change never came to rest")
        }
    }

    /// The second half, in one batch with `more`.
    func store(_ decided: ChangePipeline.Decided, and more: [PostgresStatement] = []) throws {
        do {
            try connection.batch(decided.statements + [decided.head.write(tenant, nowMilliseconds: context.now())] + more)
        } catch {
            guard let violation = context.tables.violation(of: error) else { throw error }
            try Outcome.rejected([violation]).requireAccepted()
        }
    }
}

extension Outcome {
    /// Throws `validation_failed` with what is wrong, if the set was rejected.
    func requireAccepted() throws(ErrorReply) {
        guard status == .rejected else { return }
        let first = violations.first
        let place = [first?.entity, first?.field].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ".")
        throw ErrorReply(
            .validationFailed, "\(place.isEmpty ? "" : place + ": ")\(first?.message ?? "the change was rejected")", violations: violations)
    }
}
