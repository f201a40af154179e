// The real server without its sockets, under a clock that tests move: requests of a real replica go through the table of routes
// to a worker on a database of the test's own.

import Foundation
import SyncProtocol
import TestSupport

@testable import Replica
@testable import SyncServer

/// @unchecked Sendable: worker and connection are only touched under the lock.
final class RealServer: @unchecked Sendable {
    let url: String
    /// Server time in milliseconds; moves by one with every look.
    let clock: Locked<Int64>
    let tenant: Identifier
    let owner: Identifier
    private let lock = NSLock()
    private let connection: PostgresConnection
    private let context: SyncContext
    private let worker: RequestWorker

    /// Where replicas are told it is.
    static let address = URL(string: "http://direct") ?? URL(fileURLWithPath: "/")
    static let start: Int64 = 1_800_000_000_000

    /// - Parameter predecessor: A server whose database and tenant this one goes on with, as another build would.
    init(schema: Schema = .testing, after predecessor: RealServer? = nil) throws {
        url = try predecessor?.url ?? PostgresFixture.shared().freshDatabase()
        let clock = predecessor?.clock ?? Locked(Self.start)
        self.clock = clock
        connection = try PostgresConnection(PostgresConfiguration(url: url))
        try Migration(schema).run(connection)
        context = SyncContext(
            tables: EntityTables(schema), cursorSeal: try CursorSeal.load(from: connection),
            now: {
                clock.with {
                    $0 += 1
                    return $0
                }
            })
        var arguments = Arguments([])
        let configuration = try Configuration(&arguments, environment: ["DATABASE_URL": url])
        worker = RequestWorker(
            context: context, database: try Database(configuration, mayShare: false, log: { _ in }), enrollmentLimit: EnrollmentLimit(),
            documents: SchemaDocuments(schema))
        if let predecessor {
            (tenant, owner) = (predecessor.tenant, predecessor.owner)
            return
        }
        let now = context.now()
        let (tenant, owner) = (context.identifiers.next(milliseconds: now), context.identifiers.next(milliseconds: now))
        (self.tenant, self.owner) = (tenant, owner)
        try connection.transaction(.readWrite, tenant: tenant) { connection in
            _ = try connection.run(TenantHead.create(tenant, nowMilliseconds: now))
            var changes: [Change] = []
            if schema.entity("tenant") != nil {
                changes.append(Change("tenant", tenant, .create(fields: ["name": "Harbor Works", "base_currency": "USD"])))
            }
            changes.append(
                Change(
                    "member", owner,
                    .create(fields: ["name": "Owner", "email": "owner@example.com", "role": "owner", "status": "active"])))
            try write(changes, on: connection).requireAccepted()
        }
    }

    private func write(_ changes: [Change], on connection: PostgresConnection) throws -> Outcome {
        try ServerWrite(context: context, tenant: tenant, connection: connection).writeInTransaction(changes, author: .system)
    }

    /// A write of the server itself.
    func write(_ changes: [Change]) throws {
        try lock.withLock {
            try connection.transaction(.readWrite, tenant: tenant) { try write(changes, on: $0).requireAccepted() }
        }
    }

    /// A member with a role and a code to enrol with.
    func invite(_ name: String, role: Role, replication: String = "full") throws -> (member: Identifier, code: String) {
        let member = context.identifiers.next(milliseconds: context.now())
        let fields: JSONObject = ["name": .string(name), "email": .string("\(name)@example.com"), "role": .string(role.rawValue)]
        try write([Change("member", member, .create(fields: fields))])
        let code = try lock.withLock {
            try connection.transaction(.readWrite, tenant: tenant) { connection in
                try EnrollmentCode.issue(
                    tenant: tenant, member: member, replication: replication, nowMilliseconds: context.now(), on: connection)
            }
        }
        return (member, code.text)
    }

    /// One value from the database, as its superuser.
    func text(_ sql: String) throws -> String? { try lock.withLock { try connection.run(PostgresStatement(sql, [])).text(0, 0) } }
    func script(_ sql: String) throws { try lock.withLock { try connection.script(sql) } }

    /// Throws what a transport throws.
    func send(_ method: String, _ target: String, _ body: [UInt8] = [], token: String? = nil) throws -> [UInt8] {
        let bytes = Array(target.utf8)
        let parsed = try bytes.withUnsafeBufferPointer { try HTTPRequestTarget(Slice(base: $0, bounds: $0.indices), method: method) }
        var headers: [(name: String, value: String)] = []
        if let token { headers.append(("Authorization", "Bearer \(token)")) }
        let request = HTTPRequest(
            method: method, target: target, path: parsed.path, pathSegments: parsed.pathSegments, query: parsed.query,
            headers: HTTPHeaders(headers), body: body, keepsConnection: true,
            minorVersion: 1, byteCount: 0, requestID: "request-1", peerAddress: "127.0.0.1")
        // Nobody is woken here: a pull that waits is answered at once.
        guard case .respond(let response) = lock.withLock({ worker.handle(request, attempt: .deadline) }) else {
            throw TransportFailure.timeout
        }
        guard response.status >= 400 else { return response.body }
        guard let reply = try? ErrorReply(json: JSONValue(parsing: response.body)) else { throw TransportFailure.malformed("no error") }
        throw TransportFailure.reply(reply, status: response.status)
    }

    /// A replica of a member, enrolled and synced.
    func replica(
        _ name: String, member: (member: Identifier, code: String), schema: Schema = .testing, in folder: URL,
        wallClock: @escaping @Sendable () -> Int64
    ) async throws -> Replica {
        let transport = DirectTransport(self)
        let replica = try await open(name, schema: schema, in: folder, transport: transport, wallClock: wallClock)
        try await replica.enroll(server: Self.address, code: member.code, label: name)
        try await replica.sync()
        return replica
    }

    func open(
        _ name: String, schema: Schema = .testing, in folder: URL, transport: DirectTransport? = nil,
        wallClock: @escaping @Sendable () -> Int64
    ) async throws -> Replica {
        let environment = ReplicaEnvironment(
            wallMilliseconds: wallClock, random: { UInt64.random(in: 0...UInt64.max) }, sleep: { _ in await Task.yield() })
        return try await Replica.open(
            folder.appendingPathComponent("\(name).sqlite").path, schema: schema, transport: transport ?? DirectTransport(self),
            environment: environment)
    }
}

/// What a replica says, word for word, without a socket. A test may step in before each pull.
/// @unchecked Sendable: the hook is only touched under the lock.
final class DirectTransport: SyncTransport, @unchecked Sendable {
    private let server: RealServer
    private let lock = NSLock()
    private var hook: (@Sendable (PullRequest) async throws -> Void)?

    init(_ server: RealServer) { self.server = server }

    func beforePull(_ hook: (@Sendable (PullRequest) async throws -> Void)?) { lock.withLock { self.hook = hook } }

    func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply {
        try EnrollmentReply(json: JSONValue(parsing: server.send("POST", "/v1/enroll", request.json.canonicalBytes())))
    }

    func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] { try server.send("POST", "/v1/sync/push", bytes, token: token) }

    func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
        try await lock.withLock({ hook })?(request)
        return try await get("pull", request.query, token: token)
    }

    func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply {
        try EnrollmentReply(json: JSONValue(parsing: server.send("POST", "/v1/sync/fork", request.json.canonicalBytes(), token: token)))
    }

    func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
        let allowed = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: "-._~"))
        let text = query.map { "\($0.name)=\($0.value.addingPercentEncoding(withAllowedCharacters: allowed) ?? "")" }.joined(separator: "&")
        return try server.send("GET", "/v1/sync/\(path)" + (text.isEmpty ? "" : "?\(text)"), token: token)
    }
}

/// A folder for one test's replica files, gone with it.
final class TestFolder: Sendable {
    let url: URL

    init() throws { url = try Programs.temporaryFolder() }

    deinit { try? FileManager.default.removeItem(at: url) }
}
