// REST without sockets: requests go through the table of routes to a worker, on a tenant of the test's own.

import Foundation
import SyncProtocol
import TestSupport

@testable import SyncServer

/// Used from one thread at a time.
final class RestUnderTest {
    let server: ServerUnderTest
    let tenant: TenantUnderTest
    /// Of the owner.
    let token: AccessToken
    private let worker: RequestWorker

    init(isIsolated: Bool = false, workLimits: WorkLimits = WorkLimits()) throws {
        let server = try ServerUnderTest(isIsolated: isIsolated, workLimits: workLimits)
        self.server = server
        tenant = try server.makeTenant()
        token = try RestUnderTest.token(tenant, member: tenant.owner)
        worker = try RestUnderTest.worker(server)
    }

    private init(server: ServerUnderTest, tenant: TenantUnderTest, token: AccessToken) throws {
        self.server = server
        self.tenant = tenant
        self.token = token
        worker = try RestUnderTest.worker(server)
    }

    /// The same tenant and member through another worker with a connection of its own, for another thread.
    func another() throws -> RestUnderTest { try RestUnderTest(server: server, tenant: tenant, token: token) }

    /// Another tenant on the same database.
    func otherTenant() throws -> RestUnderTest {
        let other = try server.makeTenant()
        return try RestUnderTest(server: server, tenant: other, token: try RestUnderTest.token(other, member: other.owner))
    }

    private static let documents = SchemaDocuments(.testing)

    private static func worker(_ server: ServerUnderTest) throws -> RequestWorker {
        var arguments = Arguments([])
        let configuration = try Configuration(&arguments, environment: ["DATABASE_URL": server.url])
        return RequestWorker(
            context: server.context, database: try Database(configuration, mayShare: false, log: { _ in }),
            enrollmentLimit: EnrollmentLimit(), documents: documents)
    }

    static func token(_ tenant: TenantUnderTest, member: Identifier, expiresAt: Int64? = nil) throws -> AccessToken {
        let now = tenant.server.context.now()
        return try tenant.server.connection.transaction(.readWrite, tenant: tenant.id) { connection in
            let token = try AccessToken.make(tenant: tenant.id, on: connection)
            _ = try connection.run(
                token.store(member: member, replica: nil, kind: .api, label: nil, nowMilliseconds: now, expiresAt: expiresAt))
            return token
        }
    }

    func member(_ role: Role) throws -> (id: Identifier, token: AccessToken) {
        let member = try tenant.addMember(role: role)
        return (member, try RestUnderTest.token(tenant, member: member))
    }

    // MARK: Requests

    func send(
        _ method: String, _ target: String, _ body: [UInt8] = [], headers: [(name: String, value: String)] = [], token: String?,
        peer: String = "127.0.0.1"
    ) throws -> RestReply {
        let bytes = Array(target.utf8)
        let parsed = try bytes.withUnsafeBufferPointer { try HTTPRequestTarget(Slice(base: $0, bounds: $0.indices), method: method) }
        var all = headers
        if let token { all.append(("Authorization", "Bearer \(token)")) }
        let request = HTTPRequest(
            method: method, target: target, path: parsed.path, pathSegments: parsed.pathSegments, query: parsed.query,
            headers: HTTPHeaders(all), body: body, keepsConnection: true, minorVersion: 1, byteCount: 0, requestID: "request-1",
            peerAddress: peer)
        guard case .respond(let response) = worker.handle(request, attempt: .deadline) else { throw Missing() }
        guard response.isWellFormed else { throw Missing() }
        return RestReply(response: response)
    }

    @discardableResult
    func send(
        _ method: String, _ target: String, _ body: JSONValue? = nil, headers: [(name: String, value: String)] = [],
        as other: AccessToken? = nil
    ) throws -> RestReply {
        try send(method, target, body?.canonicalBytes() ?? [], headers: headers, token: (other ?? token).text)
    }

    func get(_ target: String, as other: AccessToken? = nil) throws -> RestReply { try send("GET", target, as: other) }

    /// Creates a record that must be accepted.
    @discardableResult
    func create(_ entity: String, _ fields: JSONObject) throws -> (id: String, etag: String) {
        let reply = try send("POST", "/v1/\(entity)", .object(fields))
        guard reply.status == 201, let id = reply.data["id"]?.stringValue, let etag = reply.header("ETag") else {
            throw RestFailure(description: "\(entity): \(reply.status) \(reply.text)")
        }
        return (id, etag)
    }
}

struct RestFailure: Error, CustomStringConvertible {
    let description: String
}

struct RestReply {
    let response: HTTPResponse

    var status: Int { response.status }
    var text: String { String(decoding: response.body, as: UTF8.self) }
    var json: JSONValue { (try? JSONValue(parsing: response.body)) ?? .null }
    var data: JSONValue { json["data"] ?? .null }
    /// The rows of a list.
    var rows: [JSONValue] { data.arrayValue ?? [] }
    var ids: [String] { rows.compactMap { $0["id"]?.stringValue } }
    var code: String? { json["error"]?["code"]?.stringValue }
    /// `field code` of every violation, sorted.
    var fields: [String] {
        (json["error"]?["fields"]?.arrayValue ?? []).map { "\($0["field"]?.stringValue ?? "-") \($0["code"]?.stringValue ?? "-")" }.sorted()
    }
    var next: String? { json["next_cursor"]?.stringValue }

    func header(_ name: String) -> String? { response.headers[name] }
}
