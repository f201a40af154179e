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
    /// Enrols with a one-time code. The server address is remembered. A file that was enrolled before and that its server does not
    /// accept any more (it was restored to before that, or has revoked the replica) goes on with everything it holds.
    /// - Parameters:
    ///   - server: An http or https address; a path is kept as a prefix.
    ///   - code: Works once and expires after 72 hours.
    ///   - label: What its member calls the replica, e.g. the machine's name.
    /// - Returns: What became of a file that was enrolled before; nil for a new one.
    @discardableResult
    public func enroll(server: URL, code: String, label: String) async throws -> ContinuedReplica? {
        guard let existing = try await identity() else {
            try await enrolNew(server: server, code: code, label: label)
            return nil
        }
        return try await enrolAgain(existing, server: server, code: code, label: label)
    }

    private func enrolNew(server: URL, code: String, label: String) async throws {
        let attempt = try await attempt()
        let request = EnrollmentRequest(
            code: code, label: label, platform: Self.platform, schemaVersion: schema.version, attempt: attempt)
        try environment.storageStep(.enrolAsk)
        let reply = try await ask(server, request)
        try environment.storageStep(.enrolAnswer)
        try await writing("enroll") { store in
            try store.connection.immediateTransaction {
                let meta = Metadata(connection: store.connection)
                guard try meta.identity() == nil else {
                    throw ReplicaError(.alreadyEnrolled, "this file was enrolled meanwhile", operation: "enroll")
                }
                try meta.set(reply)
                try meta.set(.server, server.absoluteString)
                try meta.set(.attempt, nil)
                try store.learn(serverMilliseconds: reply.serverMilliseconds)
                try store.step(.enrolStored)
            }
        }
    }

    func ask(_ server: URL, _ request: EnrollmentRequest) async throws -> EnrollmentReply {
        do { return try await transport(to: server.absoluteString, "enroll").enroll(request) } catch {
            throw ReplicaError.translated(error, operation: "enroll")
        }
    }

    /// Kept before anything is sent: if the answer gets lost, the same code can be used again by this file.
    func attempt() async throws -> String {
        try await writing("enroll") { store in
            let meta = Metadata(connection: store.connection)
            if let attempt = try meta.text(.attempt) { return attempt }
            let random = (0..<4).map { _ in store.environment.random() }
            let attempt = random.map { number in
                let digits = String(number, radix: 16)
                return String(repeating: "0", count: 16 - digits.count) + digits
            }.joined()
            try meta.set(.attempt, attempt)
            return attempt
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

    func identity() async throws -> ReplicaIdentity? {
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
