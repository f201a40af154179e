// What most fault tests begin with: a cluster, a tenant, a folder for files.

import Foundation
import SyncProtocol
import TestSupport

struct Workplace: Sendable {
    let cluster: Cluster
    let folder: URL
    let tenant: Tenant
    /// Options that name the database, without anything between.
    let database: [String]

    init(_ settings: [String] = []) async throws {
        folder = try Programs.temporaryFolder()
        removeAtExit(folder)
        cluster = try await Cluster.started(settings)
        database = ["--database-url", cluster.url()]
        _ = try await Tenant.admin(["migrate"], database)
        tenant = try await Tenant.made(database)
    }

    /// The same cluster, with another database of it.
    init(_ other: Workplace, database: [String]) {
        (cluster, folder, tenant, self.database) = (other.cluster, other.folder, other.tenant, database)
    }

    /// The owner and another member, both in step with a server.
    func oliviaAndMarcus(at address: String) async throws -> (olivia: Person, marcus: Person) {
        let olivia = try await Person("olivia", in: folder, server: address, code: tenant.ownerCode)
        let marcus = try await Person("marcus", in: folder, server: address, code: try await tenant.code(for: "marcus"))
        for person in [olivia, marcus] { try await person.syncUntilQuiet() }
        return (olivia, marcus)
    }

    /// A server that delivers no webhooks.
    func server(_ options: [String] = [], environment: [String: String] = [:]) async throws -> Server {
        try await Server.started(database + ["--workers", "2", "--webhook-threads", "0"] + options, environment: environment)
    }

    @discardableResult
    func sql(_ text: String) async throws -> [[String]] { try await offPool { [cluster] in try cluster.sql(text) } }

    /// The first value of the first row.
    func number(_ text: String) async throws -> Int { try await sql(text).first?.first.flatMap { Int($0) } ?? -1 }
}

/// A replica without a file: its pushes are made by hand, so that a test sends the same bytes wherever and whenever it likes.
struct RawReplica: Sendable {
    let identity: EnrollmentReply

    init(identity: EnrollmentReply) { self.identity = identity }

    init(at server: Server, code: String) async throws {
        // So that it can be asked again.
        let attempt = Hex.encode(SHA256.hash(Array(code.utf8)))
        let body = EnrollmentRequest(
            code: code, label: "raw", platform: "linux", schemaVersion: Schema.currentVersion, attempt: attempt
        ).json.canonicalBytes()
        var reply = try await LoopbackHTTP.exchange(port: server.port, "POST", "/v1/enroll", body: body)
        // Its database may have come back just now.
        _ = try await until {
            if reply.status == 503 { reply = try await LoopbackHTTP.exchange(port: server.port, "POST", "/v1/enroll", body: body) }
            return reply.status != 503
        }
        guard reply.status == 200 else { throw UnexpectedResult("enrolling: \(reply.status) \(reply.text)") }
        identity = try EnrollmentReply(json: try JSONValue(parsing: reply.body))
    }

    /// The body of a push of one set that creates a client.
    func push(_ counter: Int64, name: String) -> [UInt8] {
        let client = Identifier.version7(milliseconds: 1_700_000_000_000 + counter, random: (identity.serverSeed, UInt64(counter)))
        let set = ChangeSet(
            dot: Dot(replica: identity.replica, counter: counter), clock: VectorClock(replicas: [identity.replica: counter - 1]),
            timestamp: HybridTimestamp(milliseconds: identity.serverMilliseconds + counter),
            changes: [Change("client", client, .create(fields: ["name": .string(name)]))])
        let bytes = set.sealedBytes()
        let offered = OfferedSet(counter: counter, hash: ChangeSet.hash(ofSealed: bytes), sealed: bytes)
        return PushRequest(schemaVersion: Schema.currentVersion, cursor: nil, sets: [offered]).bytes(replica: identity.replica)
    }

    func send(_ body: [UInt8], port: Int) async throws -> LoopbackHTTP.Reply {
        try await LoopbackHTTP.exchange(port: port, "POST", "/v1/sync/push", token: identity.token, body: body)
    }

    func pull(cursor: String?, waitMilliseconds: Int? = nil, port: Int) async throws -> LoopbackHTTP.Reply {
        let request = PullRequest(
            cursor: cursor, waitMilliseconds: waitMilliseconds, outcomesAfter: 0, schemaVersion: Schema.currentVersion)
        let query = request.query.map { "\($0.name)=\($0.value.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")" }
        return try await LoopbackHTTP.exchange(
            port: port, "GET", "/v1/sync/pull?" + query.joined(separator: "&"), token: identity.token)
    }

    /// The cursor after everything there is.
    func cursor(port: Int) async throws -> String {
        var cursor: String?
        while true {
            var reply = try await pull(cursor: cursor, port: port)
            // Connections that died with Postgres say so once each.
            _ = try await until {
                if reply.status == 503 { reply = try await pull(cursor: cursor, port: port) }
                return reply.status != 503
            }
            guard reply.status == 200 else { throw UnexpectedResult("pulling: \(reply.status) \(reply.text)") }
            let page = try PullPage(parsing: reply.body)
            cursor = page.next
            if !page.hasMore { return page.next }
        }
    }
}

extension EnrollmentReply {
    /// Makes the ids of one replica's records differ from another's.
    fileprivate var serverSeed: UInt64 { replica.text.utf8.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 } }
}

extension LoopbackHTTP.Reply {
    /// The stored outcomes of a push, byte for byte.
    func outcomes() throws -> [[UInt8]] { try PushReply(parsing: body).outcomes.map(\.outcome) }
}
