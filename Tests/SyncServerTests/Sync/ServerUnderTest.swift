// What the tests of store and sync share: the request handlers on a migrated database, without sockets, and replicas reduced
// to what a server can see of them. Tests share one database, each with tenants of its own; who touches more asks for its own.

import Foundation
import SyncProtocol
import TestSupport

@testable import SyncServer

/// Used by one test. Handlers run on `connection`; a test that needs two at once opens more.
final class ServerUnderTest {
    let url: String
    let connection: PostgresConnection
    let context: SyncContext
    /// Server time; rises by itself so that nothing happens twice in one millisecond.
    let clock: Locked<Int64>
    let announced = Locked<[Identifier]>([])
    let logged = Locked<[LogEntry]>([])

    /// - Parameter isIsolated: A database that no other test uses.
    convenience init(
        isIsolated: Bool = false, builtins: [BuiltinConsumer] = BuiltinConsumer.all, workLimits: WorkLimits = WorkLimits()
    ) throws {
        try self.init(
            url: isIsolated ? try ServerUnderTest.copyOfTemplate() : try ServerUnderTest.shared.get(), builtins: builtins,
            workLimits: workLimits)
    }

    /// - Parameter tables: Of the schema that the database was migrated to.
    init(
        url: String, tables: EntityTables = ServerUnderTest.tables, builtins: [BuiltinConsumer] = BuiltinConsumer.all,
        workLimits: WorkLimits = WorkLimits()
    ) throws {
        self.url = url
        connection = try PostgresConnection(PostgresConfiguration(url: url))
        let clock = Locked<Int64>(1_773_600_000_000)
        self.clock = clock
        let (announced, logged) = (announced, logged)
        context = SyncContext(
            tables: tables, cursorSeal: try CursorSeal.load(from: connection),
            now: {
                clock.with {
                    $0 += 1
                    return $0
                }
            },
            announce: { tenant in announced.with { $0.append(tenant) } }, log: { entry in logged.with { $0.append(entry) } },
            builtins: builtins, workLimits: workLimits)
    }

    private static let template = Result { try MigratedDatabase(.testing) }
    private static let shared = Result { try copyOfTemplate() }
    private static let tables = EntityTables(.testing)

    static func copyOfTemplate() throws -> String { try template.get().copy() }

    func newIdentifier() -> Identifier { context.identifiers.next(milliseconds: clock.with { $0 }) }

    func secondConnection() throws -> PostgresConnection { try PostgresConnection(PostgresConfiguration(url: url)) }

    // MARK: Tenants

    func makeTenant() throws -> TenantUnderTest {
        let (tenant, owner) = (newIdentifier(), newIdentifier())
        let now = context.now()
        let context = context
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            _ = try connection.run(TenantHead.create(tenant, nowMilliseconds: now))
            try ServerWrite(context: context, tenant: tenant, connection: connection).writeInTransaction(
                [
                    Change("tenant", tenant, .create(fields: ["name": "Harbor Works", "base_currency": "USD"])),
                    Change(
                        "member", owner,
                        .create(fields: ["name": "Olivia", "email": "olivia@example.com", "role": "owner", "status": "active"])),
                ], author: .system
            ).requireAccepted()
        }
        return TenantUnderTest(server: self, id: tenant, owner: owner)
    }
}

struct TenantUnderTest {
    let server: ServerUnderTest
    let id: Identifier
    let owner: Identifier

    func addMember(role: Role) throws -> Identifier {
        let member = server.newIdentifier()
        let fields: JSONObject = [
            "name": "Member", "email": .string("m\(member.text.suffix(12))@example.com"), "role": .string(role.rawValue),
            "status": "active",
        ]
        try write([Change("member", member, .create(fields: fields))]).requireAccepted()
        return member
    }

    /// As the server itself writes.
    @discardableResult
    func write(_ changes: [Change], author: Author = .system, knowledge: FeedPosition? = nil) throws -> Outcome {
        try ServerWrite(context: server.context, tenant: id, connection: server.connection)
            .write(changes, author: author, knowledge: knowledge)
    }

    func code(for member: Identifier? = nil, replication: String = "full") throws -> EnrollmentCode {
        try server.connection.transaction(.readWrite, tenant: id) { connection in
            try EnrollmentCode.issue(
                tenant: id, member: member ?? owner, replication: replication, nowMilliseconds: server.context.now(), on: connection)
        }
    }

    func enroll(member: Identifier? = nil, replication: String = "full") throws -> ReplicaUnderTest {
        let code = try code(for: member, replication: replication)
        let reply = try Enroll(context: server.context, connection: server.connection).run(
            EnrollmentRequest(code: code.text, label: "laptop", platform: "linux", schemaVersion: 1))
        return try ReplicaUnderTest(server: server, reply: reply)
    }

    var head: TenantHead {
        get throws {
            let head = try server.connection.transaction(.readOnlySnapshot, tenant: id) { TenantHead(try $0.run(TenantHead.read(id))) }
            return try required(head)
        }
    }

    /// Pages of the database that a statement looks at, as this tenant; `before` is run first.
    func blocks(of statement: PostgresStatement, after before: [PostgresStatement] = []) throws -> Int64 {
        try server.connection.transaction(.readOnlySnapshot, tenant: id) { connection in
            for one in before { _ = try connection.run(one) }
            let explained = try connection.run(
                PostgresStatement("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON, TIMING OFF) \(statement.sql)", statement.parameters))
            let plan = try JSONValue(parsing: try required(explained.utf8(0, 0)))[0]?["Plan"]
            return (plan?["Shared Hit Blocks"]?.integerValue ?? 0) + (plan?["Shared Read Blocks"]?.integerValue ?? 0)
        }
    }

    /// One integer from the database, as its superuser.
    func count(_ sql: String, _ parameters: PostgresValue...) throws -> Int64 {
        try required(try server.connection.run(PostgresStatement(sql, parameters)).integer(0, 0))
    }

    /// Rows of one of this tenant's tables.
    func rows(_ table: String) throws -> Int64 {
        try count("SELECT count(*) FROM \(table) WHERE tenant = $1::uuid", .identifier(id))
    }

    var feedCount: Int64 { get throws { try count("SELECT count(*) FROM tideline.feed WHERE tenant = $1::uuid", .identifier(id)) } }

    func record(_ entity: String, _ id: Identifier) throws -> RecordState? {
        let table = try required(server.context.tables[entity])
        return try server.connection.transaction(.readOnlySnapshot, tenant: self.id) { connection in
            let result = try connection.run(table.selectByID, .identifier(self.id), .textArray([id.text]))
            return try RecordStore(tables: server.context.tables, tenant: self.id, epoch: 0).states(of: entity, in: result).first
        }
    }
}

/// A database migrated once, to be copied for tests: that takes a fraction of the time.
struct MigratedDatabase: Sendable {
    private let name: String
    private static let copies = Locked(0)

    init(_ schema: Schema) throws {
        let url = try PostgresFixture.shared().freshDatabase()
        let connection = try PostgresConnection(PostgresConfiguration(url: url))
        try Migration(schema).run(connection)
        connection.close()
        name = String(url.split(separator: "?")[0].split(separator: "/").last ?? "")
    }

    /// The URL of a copy that nobody else uses.
    func copy() throws -> String {
        let number = MigratedDatabase.copies.with {
            $0 += 1
            return $0
        }
        let connection = try PostgresConnection(PostgresConfiguration(url: try PostgresFixture.shared().url))
        defer { connection.close() }
        try connection.script("CREATE DATABASE copy_\(number) TEMPLATE \(name)")
        return try PostgresFixture.shared().url(database: "copy_\(number)")
    }
}

struct Missing: Error {}

func required<Value>(_ value: Value?) throws -> Value {
    guard let value else { throw Missing() }
    return value
}

/// The error reply that `body` throws; nil if it throws none.
func refusal<R>(_ body: () throws -> R) -> ErrorReply? {
    do { _ = try body() } catch { return error as? ErrorReply }
    return nil
}

/// What a server sees of a replica: its token, its sets in order, its checkpoint.
final class ReplicaUnderTest {
    let server: ServerUnderTest
    let id: Identifier
    let member: Identifier
    let tenant: Identifier
    let token: AccessToken
    var counter: Int64 = 0
    var cursor: String?
    var checkpoint: CheckpointMark?
    /// Wall clock for stamps; nil: the server's.
    var milliseconds: Int64?
    /// Requests of this replica run here.
    var connection: PostgresConnection

    init(server: ServerUnderTest, reply: EnrollmentReply) throws {
        self.server = server
        id = reply.replica
        member = reply.member
        tenant = reply.tenant
        token = try required(AccessToken(reply.token))
        connection = server.connection
    }

    var clock: VectorClock { VectorClock(feed: checkpoint?.position ?? .start, replicas: [id: counter]) }

    /// The next set, sealed with what the replica knows.
    func seal(_ changes: [Change], clock: VectorClock? = nil) -> OfferedSet {
        let known = clock ?? self.clock
        counter += 1
        let stamp = milliseconds ?? server.context.now()
        let set = ChangeSet(
            dot: Dot(replica: id, counter: counter), clock: known, timestamp: HybridTimestamp(milliseconds: stamp), changes: changes)
        let bytes = set.sealedBytes()
        return OfferedSet(counter: counter, hash: ChangeSet.hash(ofSealed: bytes), sealed: bytes)
    }

    func body(_ sets: [OfferedSet], recognised: [CheckpointMark] = [], schemaVersion: Int64 = 1) -> [UInt8] {
        PushRequest(schemaVersion: schemaVersion, cursor: cursor, recognised: recognised, sets: sets).bytes(replica: id)
    }

    @discardableResult
    func push(_ sets: [OfferedSet], recognised: [CheckpointMark] = []) throws -> PushReply {
        try Push(context: server.context, connection: connection, requestID: "request-1").run(
            body(sets, recognised: recognised), token: token)
    }

    /// Seals and pushes one set.
    @discardableResult
    func edit(_ changes: [Change]) throws -> Outcome {
        let reply = try push([seal(changes)])
        return try outcome(reply)
    }

    func outcome(_ reply: PushReply, _ index: Int = 0) throws -> Outcome {
        try required(Outcome(json: try JSONValue(parsing: reply.outcomes[index].outcome)))
    }

    func request(limit: Int? = nil, wait: Int? = nil, outcomesAfter: Int64 = 0, versionsAfter: Int64? = nil) -> PullRequest {
        PullRequest(
            cursor: cursor, limit: limit, waitMilliseconds: wait, outcomesAfter: outcomesAfter, versionsAfter: versionsAfter,
            schemaVersion: 1)
    }

    /// One page; remembers the cursor, and the checkpoint if it has one.
    func page(limit: Int? = nil, outcomesAfter: Int64 = 0, versionsAfter: Int64? = nil) throws -> PullPage {
        let page = try Pull(context: server.context, connection: connection).run(
            request(limit: limit, outcomesAfter: outcomesAfter, versionsAfter: versionsAfter), token: token)
        let parsed = try PullPage(parsing: page.bytes)
        cursor = parsed.next
        if let mark = parsed.checkpoint?.mark { checkpoint = mark }
        return parsed
    }

    /// Pages up to the checkpoint.
    @discardableResult
    func pull(limit: Int? = nil, versionsAfter: Int64? = nil) throws -> [PullPage] {
        var pages: [PullPage] = []
        repeat { pages.append(try page(limit: limit, versionsAfter: versionsAfter)) } while pages.last?.hasMore == true
        return pages
    }
}

extension PullPage {
    /// Rows of an entity as objects by column.
    func rows(_ entity: String) throws -> [JSONObject] {
        try blocks.filter { $0.entity == entity }.flatMap { block in
            try block.rows.map { range in
                let values = try required(JSONValue(parsing: bytes[range]).arrayValue)
                return JSONObject(Array(zip(block.columns, values)))
            }
        }
    }

    func row(_ entity: String, _ id: Identifier) throws -> JSONObject? {
        try rows(entity).last { $0["id"] == .string(id.text) }
    }
}

/// Changes as tests write them most often.
enum Edit {
    static func client(_ id: Identifier, _ name: String = "Harbor Bikes") -> Change {
        Change("client", id, .create(fields: ["name": .string(name)]))
    }

    static func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change {
        Change(entity, id, .patch(fields: fields, was: JSONObject()))
    }
}
