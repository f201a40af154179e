// Who this replica is: a one-time code makes an empty file a replica of one member.

import Foundation
import SyncProtocol

/// Who a replica is and how far it has come.
public struct ReplicaStatus: Sendable {
    public let isEnrolled: Bool
    public let tenant: Identifier?
    public let member: Identifier?
    public let replica: Identifier?
    public let role: Role?
    public let replication: String?
    public let server: String?
    /// Feed position up to which the replica is complete; nil before the end of the first sync.
    public let checkpoint: FeedPosition?
    public let pendingSets: Int
    public let predictedRejections: Int
    public let problems: Int
    /// When the last checkpoint was reached, by this machine's clock, milliseconds since 1970 UTC.
    public let syncedAt: Int64?
    /// Server time minus this machine's, milliseconds.
    public let clockOffsetMilliseconds: Int64
    public let schemaVersion: Int64
}

extension Replica {
    /// Enrols with a one-time code. The server address is remembered.
    /// - Parameters:
    ///   - server: An http or https address; a path is kept as a prefix.
    ///   - code: Works once and expires after 72 hours.
    ///   - label: What its member calls the replica, e.g. the machine's name.
    public func enroll(server: URL, code: String, label: String) async throws {
        let existing = try await reading("enroll") { try Metadata(connection: $0.connection).identity() }
        guard existing == nil else {
            throw ReplicaError(.alreadyEnrolled, "this file is enrolled already; use another file", operation: "enroll")
        }
        let request = EnrollmentRequest(code: code, label: label, platform: Self.platform, schemaVersion: schema.version)
        let reply: EnrollmentReply
        do { reply = try await transport(to: server.absoluteString, "enroll").enroll(request) } catch {
            throw ReplicaError.translated(error, operation: "enroll")
        }
        try await writing("enroll") { store in
            try store.connection.immediateTransaction {
                let meta = Metadata(connection: store.connection)
                guard try meta.identity() == nil else {
                    throw ReplicaError(.alreadyEnrolled, "this file was enrolled meanwhile", operation: "enroll")
                }
                try meta.set(.tenant, reply.tenant.text)
                try meta.set(.member, reply.member.text)
                try meta.set(.replica, reply.replica.text)
                try meta.set(.role, reply.role.rawValue)
                try meta.set(.replication, reply.replication)
                try meta.set(.token, reply.token)
                try meta.set(.server, server.absoluteString)
                try store.learn(serverMilliseconds: reply.serverMilliseconds)
            }
        }
    }

    public var isEnrolled: Bool { get async throws { try await identity() != nil } }
    public var tenant: Identifier? { get async throws { try await identity()?.tenant } }
    public var member: Identifier? { get async throws { try await identity()?.member } }
    public var replicaID: Identifier? { get async throws { try await identity()?.replica } }
    /// The member's role as of the last sync.
    public var role: Role? { get async throws { try await status().role } }

    public func status() async throws -> ReplicaStatus {
        try await reading("status") { store in
            let meta = Metadata(connection: store.connection)
            let identity = try meta.identity()
            func count(_ sql: String) throws -> Int { Int(try store.connection.scalarInteger(sql) ?? 0) }
            return ReplicaStatus(
                isEnrolled: identity != nil, tenant: identity?.tenant, member: identity?.member, replica: identity?.replica,
                role: try identity.map { try store.author($0).role }, replication: identity?.replication, server: identity?.server,
                checkpoint: try meta.checkpoint()?.position, pendingSets: try count("SELECT count(*) FROM _tideline_pending"),
                predictedRejections: try count("SELECT count(*) FROM _tideline_pending WHERE predicted IS NOT NULL"),
                problems: try count("SELECT count(*) FROM _tideline_problem WHERE resolved_at IS NULL"),
                syncedAt: try meta.integer(.syncedAt), clockOffsetMilliseconds: try meta.integer(.clockOffset) ?? 0,
                schemaVersion: store.schema.version)
        }
    }

    private func identity() async throws -> ReplicaIdentity? {
        try await reading("status") { try Metadata(connection: $0.connection).identity() }
    }

    /// The injected transport, or HTTP.
    func transport(to server: String?, _ operation: String) throws -> any SyncTransport {
        if let injectedTransport { return injectedTransport }
        guard let server, let url = URL(string: server), url.scheme == "http" || url.scheme == "https" else {
            throw ReplicaError(.unreachable, "\(server ?? "") is not an http or https address", operation: operation)
        }
        #if canImport(FoundationNetworking) || canImport(Darwin)
            return connections.transport(to: url)
        #else
            throw ReplicaError(.unreachable, "this platform has no HTTP of its own: pass a transport", operation: operation)
        #endif
    }

    static var platform: String {
        #if os(Linux)
            "linux"
        #elseif os(macOS)
            "macos"
        #elseif os(iOS)
            "ios"
        #elseif os(Android)
            "android"
        #elseif os(Windows)
            "windows"
        #else
            "other"
        #endif
    }
}
