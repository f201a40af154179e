// The seam between a replica and its server. Everything above it is tested without a network, faults included.

import SyncProtocol

/// Carries requests. Every method throws ``TransportFailure`` and nothing else; cancelling its task cancels the request.
public protocol SyncTransport: Sendable {
    /// `POST /v1/enroll`
    func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply
    /// `POST /v1/sync/push` with the bytes of a push request; returns the bytes of the reply.
    func push(_ bytes: [UInt8], token: String) async throws -> [UInt8]
    /// `GET /v1/sync/pull`; returns the bytes of one page.
    func pull(_ request: PullRequest, token: String) async throws -> [UInt8]
    /// `POST /v1/sync/fork`
    func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply
    /// `GET /v1/sync/<path>` for what is asked now and then: `digest`, `records`, `activity`; returns the bytes of the reply.
    func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8]
}
