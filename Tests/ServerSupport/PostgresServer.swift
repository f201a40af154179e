// The real request handlers on a real Postgres, without sockets, behind the same protocol as the model. Servers of one schema
// share a database, each with a tenant of its own; to restore is to put the tenant's rows back as they were copied out.

import Foundation
import SyncProtocol
import TestSupport

@testable import Replica
@testable import SyncServer

// @unchecked Sendable: the connection is used under the lock only.
public final class PostgresServer: ServerCore, @unchecked Sendable {
    public let schema: Schema
    public let tenant: Identifier
    private let lock: NSLock
    let connection: PostgresConnection
    private(set) var context: SyncContext
    /// Of the database.
    let url: String
    private let now: @Sendable () -> Int64
    private let pokes: Pokes
    /// Behind which counters replicas began, as their statements say.
    private var bases: [Identifier: Int64] = [:]
    /// Every table with rows of tenants, qualified.
    private let tableNames: [String]

    /// - Parameters:
    ///   - tenant: What the database holds of it goes first: no two servers may use one at the same time.
    ///   - random: Where ids come from. (Codes, tokens and fingerprints come from the database.)
    ///   - fault: What is wrong with the database, which is one of its own then.
    public convenience init(
        schema: Schema = .testing, tenant: Identifier, random: @escaping @Sendable () -> UInt64 = { UInt64.random(in: 0...UInt64.max) },
        waitingLimits: WaitingLimits = WaitingLimits(), now: @escaping @Sendable () -> Int64, fault: StoreFault? = nil
    ) throws {
        let url = try fault == nil ? PostgresServer.database(of: schema) : PostgresServer.freshDatabase(of: schema)
        let connection = try PostgresConnection(PostgresConfiguration(url: url))
        for statement in fault?.statements(tenant) ?? [] { _ = try connection.run(statement) }
        let pokes = Pokes()
        let context = SyncContext(
            tables: EntityTables(schema), cursorSeal: try CursorSeal.load(from: connection), now: now,
            identifiers: IdentifierSource(random: random), announce: { _ in pokes.poke() }, builtins: TallyingConsumer.all,
            waitingLimits: waitingLimits)
        try self.init(tenant, url: url, connection, context, pokes, NSLock())
    }

    /// Another company on the same server: the same process, the same session of the database.
    public func neighbour(_ tenant: Identifier) throws -> any ServerCore {
        try PostgresServer(tenant, url: url, connection, context, pokes, lock)
    }

    private init(
        _ tenant: Identifier, url: String, _ connection: PostgresConnection, _ context: SyncContext, _ pokes: Pokes, _ lock: NSLock
    ) throws {
        schema = context.schema
        now = context.now
        (self.tenant, self.url, self.connection, self.context) = (tenant, url, connection, context)
        (self.pokes, self.lock) = (pokes, lock)
        let found = try connection.run(
            """
            SELECT table_schema || '.' || quote_ident(table_name) FROM information_schema.columns \
            WHERE column_name = 'tenant' AND table_schema IN ('public', 'tideline') ORDER BY 1
            """)
        tableNames = found.rows.compactMap { found.text($0, 0) }
        try connection.transaction(.readWrite) { connection in
            try connection.batch(tableNames.map { PostgresStatement("DELETE FROM \($0) WHERE tenant = $1::uuid", [.identifier(tenant)]) })
        }
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            _ = try connection.run(TenantHead.create(tenant, nowMilliseconds: context.now()))
            try ServerWrite(context: context, tenant: tenant, connection: connection)
                .writeInTransaction([ServerBeginnings.tenant(tenant)], author: .system).requireAccepted()
        }
    }

    private static let databases = Locked<[String: String]>([:])

    /// Migrated when it is first asked for.
    private static func database(of schema: Schema) throws -> String {
        try databases.with { databases in
            let key = "\(schema.version) \(schema.entities.map { "\($0.name)\($0.fields.map(\.name))" })"
            if let url = databases[key] { return url }
            let url = try freshDatabase(of: schema)
            databases[key] = url
            return url
        }
    }

    private static func freshDatabase(of schema: Schema) throws -> String {
        let url = try PostgresFixture.shared().freshDatabase()
        let connection = try PostgresConnection(PostgresConfiguration(url: url))
        defer { connection.close() }
        try Migration(schema).run(connection)
        return url
    }

    // MARK: The verbs

    public func enroll(_ request: EnrollmentRequest) throws -> EnrollmentReply {
        try answer { try noted(try Enroll(context: context, connection: connection).run(request)) }
    }

    public func fork(_ request: ForkRequest, token: String) throws -> EnrollmentReply {
        try answer { try noted(try Fork(context: context, connection: connection).run(request, token: try access(token))) }
    }

    private func noted(_ reply: EnrollmentReply) throws -> EnrollmentReply {
        if let identity = reply.identity { bases[reply.replica] = try context.cursorSeal.identity(identity).base }
        return reply
    }

    public func push(_ bytes: [UInt8], token: String) throws -> [UInt8] {
        try answer {
            try Push(context: context, connection: connection, requestID: "model").run(bytes, token: try access(token)).bytes()
        }
    }

    public func pull(_ request: PullRequest, token: String) throws -> [UInt8] {
        try answer { try Pull(context: context, connection: connection).run(request, token: try access(token)).bytes }
    }

    public func hasNews(_ request: PullRequest, token: String) throws -> Bool {
        try answer { try !Pull(context: context, connection: connection).run(request, token: try access(token)).isEmpty }
    }

    public func get(_ path: String, _ query: [(name: String, value: String)], token: String) throws -> [UInt8] {
        try answer {
            let token = try access(token)
            do {
                switch path {
                case "digest": return try Digest(context: context, connection: connection).run(DigestRequest(query: query), token: token)
                case "records": return try Records(context: context, connection: connection).run(RecordsRequest(query: query), token: token)
                case "activity":
                    return try Activity(context: context, connection: connection).run(ActivityRequest(query: query), token: token)
                default: throw ErrorReply(.notFound, "there is no \(path)")
                }
            } catch let error as WireError {
                throw ErrorReply(.badRequest, error.description)
            }
        }
    }

    private func access(_ token: String) throws -> AccessToken {
        guard let token = AccessToken(token) else { throw Authentication.unauthorized }
        return token
    }

    /// A refusal as a transport tells it; an error of the database stays what it is, and fails the test.
    func answer<R>(_ body: () throws -> R) throws -> R {
        try lock.withLock {
            do { return try body() } catch let error as ErrorReply {
                throw TransportFailure.reply(error, status: error.knownCode?.status ?? 500)
            }
        }
    }

    // MARK: Waiting

    public var pokeCount: Int { pokes.count }
    public func waitForNews(since count: Int) async { await pokes.wait(since: count) }

    // MARK: Administration

    func administer<R>(_ body: (PostgresConnection) throws -> R) -> R {
        lock.withLock {
            do { return try body(connection) } catch { preconditionFailure("the database of this test failed: \(error)") }
        }
    }

    public func invite(_ name: String, role: Role, member existing: Identifier?) -> (member: Identifier, code: String) {
        administer { connection in
            let member = existing ?? context.identifiers.next(milliseconds: now())
            if existing == nil {
                try ServerWrite(context: context, tenant: tenant, connection: connection)
                    .write([ServerBeginnings.member(member, name, role)], author: .system).requireAccepted()
            }
            let code = try connection.transaction(.readWrite, tenant: tenant) { connection in
                try EnrollmentCode.issue(tenant: tenant, member: member, replication: "full", nowMilliseconds: now(), on: connection)
            }
            return (member, code.text)
        }
    }

    @discardableResult
    public func write(_ changes: [Change], knowing position: Int64?) -> Outcome {
        administer { connection in
            let head = try head()
            let knowledge = FeedPosition(epoch: head.position.epoch, position: position ?? head.position.position)
            return try ServerWrite(context: context, tenant: tenant, connection: connection)
                .write(changes, author: .system, knowledge: knowledge)
        }
    }

    public func load(_ records: [RecordState]) {
        administer { connection in
            try connection.transaction(.readWrite, tenant: tenant) { connection in
                var head = try lockedHead()
                let store = RecordStore(tables: context.tables, tenant: tenant, epoch: head.position.epoch)
                var placed: [RecordState] = []
                var entries: [FeedEntry] = []
                for var record in records {
                    head.position.position += 1
                    record.position = head.position
                    placed.append(record)
                    entries.append(ServerBeginnings.loaded(record, at: head.position, nowMilliseconds: now()))
                }
                head.count(entries)
                let heads = store.writeHeads(placed) { _ in nil }
                let statements = store.write(placed) + [heads, FeedStore.append(entries, tenant: tenant)].compactMap { $0 }
                try connection.batch(statements + [head.write(tenant, nowMilliseconds: now())])
            }
        }
        pokes.poke()
    }

    public func forgetTombstones() {
        administer { connection in
            // A negative age: also what was deleted in this very millisecond.
            _ = try Maintenance(context: context, connection: connection).pruneTombstones(tenant: tenant, olderThanDays: -1)
        }
    }

    /// Marks the tokens that were voided this way, so that others stay revoked.
    private static let voided: Int64 = -1

    public var isRevoked: Bool {
        get {
            administer { connection in
                try connection.run(
                    "SELECT EXISTS (SELECT FROM tideline.token WHERE tenant = $1::uuid AND revoked_at = $2)", .identifier(tenant),
                    .integer(Self.voided)
                ).bool(0, 0) ?? false
            }
        }
        set {
            administer { connection in
                _ = try connection.run(
                    newValue
                        ? "UPDATE tideline.token SET revoked_at = $2 WHERE tenant = $1::uuid AND revoked_at IS NULL"
                        : "UPDATE tideline.token SET revoked_at = NULL WHERE tenant = $1::uuid AND revoked_at = $2", .identifier(tenant),
                    .integer(Self.voided))
            }
        }
    }

    public var storageQuota: StorageQuota {
        get { lock.withLock { context.storageQuota } }
        set { lock.withLock { context.storageQuota = newValue } }
    }

    // MARK: Looking inside

    private func head() throws -> TenantHead {
        guard let head = TenantHead(try connection.run(TenantHead.read(tenant))) else { throw Authentication.unauthorized }
        return head
    }

    private func lockedHead() throws -> TenantHead {
        guard let head = TenantHead(try connection.run(TenantHead.lock(tenant))) else { throw Authentication.unauthorized }
        return head
    }

    public var position: Int64 { administer { _ in try head().position.position } }
    public var epoch: Int64 { administer { _ in try head().position.epoch } }

    public var headMark: CheckpointMark {
        administer { connection in
            let position = try head().position
            let found = try connection.run(FeedStore.fingerprints(at: [position.position], tenant: tenant))
            return CheckpointMark(position: position, fingerprint: FeedStore.readFingerprints(found)[position.position] ?? "")
        }
    }

    public func record(_ entity: String, _ id: Identifier) -> RecordState? {
        guard let table = context.tables[entity] else { return nil }
        return administer { connection in
            let result = try connection.run(table.selectByID, .identifier(tenant), .textArray([id.text]))
            return try RecordStore(tables: context.tables, tenant: tenant, epoch: 0).states(of: entity, in: result).first
        }
    }

    public func digest(for replica: Identifier?) -> [String: EntityDigest] {
        administer { connection in
            let account = try connection.run(
                """
                SELECT m.role, m.id FROM tideline.replica r JOIN public.member m ON m.tenant = r.tenant AND m.id = r.member \
                WHERE r.tenant = $1::uuid AND r.id = $2::uuid
                """, .identifier(tenant), .optional(replica))
            let reader = LiveRecords(
                store: RecordStore(tables: context.tables, tenant: tenant, epoch: 0),
                reader: ReaderAccess(
                    member: account.isEmpty ? .zero : account.identifier(0, 1) ?? .zero,
                    role: account.isEmpty ? .owner : account.text(0, 0).flatMap(Role.init(rawValue:)) ?? .owner), connection: connection)
            var digests: [String: EntityDigest] = [:]
            for table in context.tables.replicated {
                var digest = ContentDigest(of: table.entity)
                try reader.forEach(table) { digest.add($0) }
                digests[table.entity.name] = EntityDigest(count: digest.count, hash: digest.finish())
            }
            return digests
        }
    }

    // MARK: Backups

    public func snapshot() -> ServerState {
        administer { connection in
            let results = try connection.transaction(.readOnlySnapshot) { connection in
                try connection.batch(
                    tableNames.map {
                        PostgresStatement(
                            "SELECT coalesce(json_agg(t), '[]')::text FROM \($0) t WHERE tenant = $1::uuid", [.identifier(tenant)])
                    })
            }
            var state = ServerState()
            for (name, result) in zip(tableNames, results) { state.tables[name] = result.utf8(0, 0) ?? [] }
            try state.readTables(schema)
            return state
        }
    }

    /// Whose rows are what a person holds, not what a disk does.
    private static let keptTables: Set<String> = ["tideline.token", "tideline.enrollment_code", "tideline.replica"]

    public func restore(_ old: ServerState, keepsEnrolments: Bool) {
        let keptTables = keepsEnrolments ? Self.keptTables : []
        administer { connection in
            try connection.transaction(.readWrite) { connection in
                _ = try connection.run(TenantHead.lock(tenant))
                var statements: [PostgresStatement] = []
                for (name, rows) in old.tables.sorted(by: { $0.key < $1.key }) where !keptTables.contains(name) {
                    statements.append(PostgresStatement("DELETE FROM \(name) WHERE tenant = $1::uuid", [.identifier(tenant)]))
                    statements.append(
                        PostgresStatement(
                            "INSERT INTO \(name) SELECT * FROM json_populate_recordset(null::\(name), $1::json)", [.utf8(rows)]))
                }
                guard keepsEnrolments else {
                    try connection.batch(statements)
                    return
                }
                // What an earlier restore had taken comes back with this backup.
                for (name, rows) in old.tables.sorted(by: { $0.key < $1.key }) where keptTables.contains(name) {
                    statements.append(
                        PostgresStatement(
                            "INSERT INTO \(name) SELECT * FROM json_populate_recordset(null::\(name), $1::json) ON CONFLICT DO NOTHING",
                            [.utf8(rows)]))
                }
                // Replicas that came since are known by their tokens, and nothing of theirs was processed.
                statements.append(
                    PostgresStatement(
                        """
                        UPDATE tideline.replica r SET acknowledged = coalesce(b.base, 0), last_stamp_ms = 0, last_stamp_logical = 0, \
                        last_epoch = 0 FROM tideline.replica o LEFT JOIN unnest($2::text[], $3::bigint[]) b(id, base) ON b.id::uuid = o.id \
                        WHERE o.tenant = $1::uuid AND r.tenant = o.tenant AND r.id = o.id
                        """, [.identifier(tenant), .textArray(bases.map(\.key.text)), .integerArray(bases.map(\.value))]))
                let replicas = PostgresValue.utf8(old.tables["tideline.replica"] ?? Array("[]".utf8))
                statements.append(
                    PostgresStatement(
                        """
                        UPDATE tideline.replica r SET acknowledged = o.acknowledged, last_stamp_ms = o.last_stamp_ms, \
                        last_stamp_logical = o.last_stamp_logical, last_epoch = o.last_epoch, restricted_since = o.restricted_since \
                        FROM json_populate_recordset(null::tideline.replica, $1::json) o WHERE r.tenant = o.tenant AND r.id = o.id
                        """, [replicas]))
                try connection.batch(statements)
            }
        }
        pokes.poke()
    }
}
