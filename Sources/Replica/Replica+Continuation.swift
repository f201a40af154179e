// A file that its server does not accept any more enrols again: everything in it stays, and what the server lacks goes there
// (protocol §7.1).

import Foundation
import SyncProtocol

/// A file that was enrolled before goes on.
public struct ContinuedReplica: Sendable, Hashable {
    /// The server had lost the replica, and the file has its old id again; otherwise it has a new one, because a copy of the file may
    /// be using the old one, or it is shut out.
    public let keepsID: Bool
    public let replica: Identifier
    /// Sets that the next sync offers.
    public let pendingSets: Int
    /// Confirmed sets that the file still holds: those that the server lacks go there as well.
    public let heldSets: Int
}

extension Replica {
    func enrolAgain(_ existing: ReplicaIdentity, server: URL, code: String, label: String) async throws -> ContinuedReplica {
        try await requireRefusal(existing, server)
        let statement = try await reading("enroll") { try Metadata(connection: $0.connection).text(.identity) }
        guard let statement else {
            throw ReplicaError(
                .alreadyEnrolled,
                "this file was enrolled by a build that kept no statement of it and cannot be enrolled again; use another file",
                operation: "enroll")
        }
        // No sync goes on meanwhile: what it had sent in the old name would be taken for unsent.
        let lock = try SyncLock(path: file.path + ".sync-lock")
        defer { withExtendedLifetime(lock) {} }
        let attempt = try await attempt()
        // What tools have written belongs to what the file was.
        let counter = try await writing("enroll") { store in
            try store.sealedTransaction {
                try Metadata(connection: store.connection).integer(.counter) ?? 0
            }
        }
        let request = EnrollmentRequest(
            code: code, label: label, platform: Self.platform, schemaVersion: schema.version, attempt: attempt,
            continues: FormerReplica(identity: statement, counter: counter))
        try environment.storageStep(.enrolAsk)
        let reply = try await ask(server, request)
        try environment.storageStep(.enrolAnswer)
        guard reply.tenant == existing.tenant, reply.member == existing.member else {
            throw ReplicaError(.serverRefused, "the server answered for somebody else; its code is spent", operation: "enroll")
        }
        let continued = try await writing("enroll") { store in
            try store.connection.immediateTransaction {
                try store.step(.fork)
                let meta = Metadata(connection: store.connection)
                try store.enrolAgain(as: reply, behind: counter)
                try meta.set(.server, server.absoluteString)
                try meta.set(.attempt, nil)
                try store.step(.enrolStored)
                return ContinuedReplica(
                    keepsID: reply.replica == existing.replica, replica: reply.replica,
                    pendingSets: Int(try store.connection.scalarInteger("SELECT count(*) FROM _tideline_pending") ?? 0),
                    heldSets: Int(
                        try store.connection.scalarInteger("SELECT count(*) FROM _tideline_journal WHERE sealed IS NOT NULL") ?? 0))
            }
        }
        longPoll.interrupt()
        return continued
    }

    /// Only a file that its server refuses needs a code: another one's token works, and it would give up its id for nothing.
    /// A token is shown to nobody but the server that gave it.
    private func requireRefusal(_ existing: ReplicaIdentity, _ server: URL) async throws {
        guard existing.server == server.absoluteString else { return }
        let request = ActivityRequest(newest: 1, limit: 1)
        do {
            _ = try await transport(to: existing.server, "enroll").get("activity", request.query, token: existing.token)
        } catch TransportFailure.reply(let reply, _) where reply.knownCode == .unauthorized || reply.knownCode == .replicaRevoked {
            return
        } catch {
            throw ReplicaError.translated(error, operation: "enroll")
        }
        throw ReplicaError(
            .alreadyEnrolled, "this file is enrolled, and its server accepts it: there is nothing to enrol again", operation: "enroll")
    }
}
