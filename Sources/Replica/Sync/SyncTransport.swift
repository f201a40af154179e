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
    /// `GET /v1/sync/digest`; returns the bytes of the reply.
    func digest(token: String) async throws -> [UInt8]
}
