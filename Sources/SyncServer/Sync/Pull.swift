// `GET /v1/sync/pull`: current state by position, one page a request, the checkpoint on the last one (protocol §7.3).

import SyncProtocol

struct Pull {
    let context: SyncContext
    let connection: PostgresConnection

    /// A page of more bytes than this is cut at the row that passed it.
    static let pageBytes = 4 << 20
    /// Newest outcomes on one checkpoint; a replica with more unread ones has lost its file and rebuilt it.
    static let outcomesMax: Int64 = 100_000
    /// How often a replica's visit is noted.
    private static let seenMilliseconds: Int64 = 10 * 60 * 1000

    struct Page {
        var bytes: [UInt8]
        /// Neither records nor outcomes, nor anything that left: worth waiting for some.
        var isEmpty: Bool
        var tenant: Identifier
        var rowCount: Int
    }

    /// What is noted about a replica that came by.
    private struct Visit {
        let replica: Identifier
        /// As it is from now on; see ``ReplicaRegistration``.
        let restrictedSince: Int64?
    }

    private enum Found {
        case page(Page, visit: Visit?)
        case otherHistory(CheckpointMark)
    }

    /// Throws ``ErrorReply`` or ``PostgresError``.
    func run(_ request: PullRequest, token: AccessToken) throws -> Page {
        let found = try connection.transaction(.readOnlySnapshot, tenant: token.tenant) { _ in try read(request, token: token) }
        switch found {
        case .page(let page, let visit):
            if let visit { try note(visit, tenant: token.tenant) }
            context.metrics.countPage(rows: page.rowCount)
            return page
        case .otherHistory(let mark):
            throw try Epoch(context: context, tenant: token.tenant, connection: connection).refuse(mark)
        }
    }

    /// All in one snapshot.
    private func read(_ request: PullRequest, token: AccessToken) throws -> Found {
        let tenant = token.tenant
        let now = context.now()
        let principal = try Authentication.principal(of: token, nowMilliseconds: now, on: connection)
        let replica = try Authentication.replica(of: principal)
        let cursor = try request.cursor.map { try context.cursorSeal.open($0, tenant: tenant) }
        let start = cursor?.mark.position.position ?? 0
        let opening = try connection.batch([
            TenantHead.read(tenant),
            FeedStore.fingerprints(at: cursor?.marks.map(\.position.position) ?? [], tenant: tenant),
            PostgresStatement(
                "SELECT entity FROM tideline.entity_head WHERE tenant = $1::uuid AND position > $2", [.identifier(tenant), .integer(start)]),
            Outcomes.after(request.outcomesAfter, replica: replica.id, tenant: tenant, count: Pull.outcomesMax),
            Healing.waiting(of: [replica.id], tenant: tenant),
        ])
        guard let head = TenantHead(opening[0]) else { throw Authentication.unauthorized }
        for mark in cursor?.marks ?? [] {
            switch Epoch.judge(mark, head: head.position, fingerprints: FeedStore.readFingerprints(opening[1])) {
            case .current: break
            case .behind: throw Epoch.newEpoch(head.position.epoch)
            case .restored: return .otherHistory(mark)
            }
        }
        // Who sees more or less than the reader of the cursor did needs everything anew: records that nobody touches again would stay
        // or be missing, and restricted fields in them.
        let reader = ReaderAccess(principal)
        let seesRestricted = !reader.hidesRestricted
        try cursor?.requireRole(reader.role)
        let floor = cursor?.tombstoneFloor ?? head.position.position
        // During a first sync the pruned tombstones lie below its floor and would not have been sent.
        if start < head.horizon, floor < head.horizon {
            throw ErrorReply(.resyncRequired, "the last pull was too long ago; start again without a cursor, keeping what is pending")
        }
        let touched = opening[2].rows.compactMap { opening[2].text($0, 0) }
        let tables = context.tables.replicated.filter { touched.contains($0.entity.name) && reader.mayRead($0.entity) }
        let window = PageWindow(
            tenant: tenant, reader: reader, after: start, head: head.position.position, floor: floor, tables: tables)
        let rows = try window.read(
            limit: request.limit ?? Limits.recordsPerPageDefault, bytes: Pull.pageBytes,
            versionsAfter: request.versionsAfter ?? (cursor == nil ? nil : start), on: connection)
        let mark = CheckpointMark(position: FeedPosition(epoch: head.position.epoch, position: rows.upTo), fingerprint: rows.fingerprint)
        let headMark = CheckpointMark(position: head.position, fingerprint: rows.headFingerprint)
        let next = context.cursorSeal.seal(
            Cursor(tenant: tenant, mark: mark, tombstoneFloor: floor, role: reader.role, head: rows.isLast ? nil : headMark))
        var outcomes: [ToldOutcome] = []
        if rows.isLast {
            outcomes = opening[3].rows.compactMap { row in
                guard let counter = opening[3].integer(row, 0), let bytes = opening[3].utf8(row, 1), let hash = opening[3].text(row, 2)
                else { return nil }
                return ToldOutcome(counter: counter, outcome: bytes, hash: hash)
            }
        }
        let checkpoint = Checkpoint(
            mark: mark, timestamp: head.timestamp, acknowledged: replica.acknowledged,
            waiting: opening[4].rows.compactMap { opening[4].integer($0, 1) }.sorted())
        let bytes = PullPage.write(
            serverMilliseconds: now, blocks: rows.blocks, evictions: rows.evictions, next: next,
            checkpoint: rows.isLast ? checkpoint : nil, outcomes: outcomes)
        // A first sync of nothing still is a checkpoint to know about.
        let isEmpty = rows.isLast && rows.count == 0 && outcomes.isEmpty && cursor != nil
        let restrictedSince = seesRestricted ? replica.restrictedSince ?? head.position.position : nil
        let isNews = now - replica.lastSeenMilliseconds > Pull.seenMilliseconds || restrictedSince != replica.restrictedSince
        let visit = isNews ? Visit(replica: replica.id, restrictedSince: restrictedSince) : nil
        return .page(Page(bytes: bytes, isEmpty: isEmpty, tenant: tenant, rowCount: rows.count), visit: visit)
    }

    /// The page itself is read-only; this is engine data that nobody waits for. But no reader gets a page of fields it had not
    /// been sent before this says so: what its clocks vouch for follows from it.
    private func note(_ visit: Visit, tenant: Identifier) throws {
        _ = try connection.transaction(.readWrite, tenant: tenant) { connection in
            try connection.run(
                """
                UPDATE tideline.replica SET last_seen_at = $3, \
                restricted_since = CASE WHEN $4::bigint IS NULL THEN NULL ELSE coalesce(restricted_since, $4) END \
                WHERE tenant = $1::uuid AND id = $2::uuid
                """, .identifier(tenant), .identifier(visit.replica), .integer(context.now()), .optional(visit.restrictedSince))
        }
    }
}
