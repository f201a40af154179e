// A new epoch: the server was restored from a backup, and what it says from now on must not be mistaken for what was lost
// (protocol §7.4).

import SyncProtocol

struct Epoch {
    let context: SyncContext
    let tenant: Identifier
    let connection: PostgresConnection

    /// Starts a new epoch in a transaction of its own, unless someone did so first. Returns the epoch that holds now.
    /// - Parameters:
    ///   - number: The epoch the evidence belongs to; the new one is greater than that and than the head's.
    ///   - isSettled: Looks again under the lock whether the evidence was dealt with; nil: it was not.
    @discardableResult
    func begin(after number: Int64, unless isSettled: ((TenantHead, PostgresConnection) throws -> Bool)? = nil) throws -> Int64 {
        let now = context.now()
        let epoch = try connection.transaction(.readWrite, tenant: tenant) { connection -> Int64 in
            guard var head = TenantHead(try connection.run(TenantHead.lock(tenant))) else {
                throw ErrorReply(.unauthorized, "there is no such tenant")
            }
            if let isSettled, try isSettled(head, connection) { return head.position.epoch }
            context.step(.epochLocked)
            let previous = head.position.epoch
            let next = max(number, previous) + 1
            // Positions of lost history stayed below this, whatever they were.
            let first = max(next * FeedPosition.epochStride, head.position.position + 1)
            head.position = FeedPosition(epoch: next, position: first)
            // The entry gives the first position of the epoch a fingerprint of its own.
            let entry = FeedEntry(
                position: head.position, atMilliseconds: now, author: .system, dot: nil, key: RecordKey("tenant", tenant),
                operation: .derived, kind: "sync.epoch_started", category: "sync", isMajor: false,
                changes: ["epoch": ["old": .integer(previous), "new": .integer(next)]], restrictedChanges: JSONObject(), anchors: [],
                scopeKeys: [], cause: nil, depth: 0, operationMilliseconds: now)
            head.count([entry])
            var statements = [head.write(tenant, nowMilliseconds: now)]
            if let feed = FeedStore.append([entry], tenant: tenant) { statements.append(feed) }
            try connection.batch(statements)
            context.step(.epochWritten)
            return next
        }
        context.step(.epochCommitted)
        context.announce(tenant)
        context.step(.epochAnnounced)
        return epoch
    }

    /// What a cursor proves about this server.
    enum Verdict: Equatable {
        case current
        /// The cursor belongs to an earlier epoch: its replica has not heard of the new one.
        case behind
        /// The cursor was signed by a history that this server does not have.
        case restored
    }

    static func judge(_ mark: CheckpointMark, head: FeedPosition, fingerprints: [Int64: String]) -> Verdict {
        if mark.position.epoch < head.epoch { return .behind }
        if mark.position.epoch > head.epoch || mark.position.position > head.position { return .restored }
        return fingerprints[mark.position.position] == mark.fingerprint ? .current : .restored
    }

    /// Answers `new_epoch`, after starting one if the cursor proves that it is needed.
    func refuse(_ mark: CheckpointMark) throws -> ErrorReply {
        let epoch = try begin(after: mark.position.epoch) { [tenant] head, connection in
            let found = FeedStore.readFingerprints(
                try connection.run(FeedStore.fingerprints(at: [mark.position.position], tenant: tenant)))
            return Epoch.judge(mark, head: head.position, fingerprints: found) != .restored
        }
        return Epoch.newEpoch(epoch)
    }

    static func newEpoch(_ epoch: Int64) -> ErrorReply {
        ErrorReply(
            .newEpoch, "the server was restored from a backup; rebuild from epoch \(epoch), keeping what is pending",
            details: ["epoch": .integer(epoch)])
    }
}
