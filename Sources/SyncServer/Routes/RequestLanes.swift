// Who a request is worked for: the tenant of a token that this process has seen to be good, else the address it came from.
// Called before a worker is taken, so that one tenant's requests wait for each other and not in front of everybody else's.

import Foundation

/// The tenant is written in the token, but anybody can write one. Only a token that was found good lately opens its tenant's lane. A
/// worker looks at one that is not known and sends its request on to that lane; a flood of invented tokens stays in its sender's.
/// @unchecked Sendable: the tenants are only touched under the lock.
final class RequestLanes: @unchecked Sendable {
    /// Tokens remembered, twice as many for a while. Forgetting one only sends its next request through its sender's lane.
    static let tokensMax = 20_000
    private let lock = NSLock()
    /// Tenants by seeded hashes of the whole header: what is kept is no secret and cannot be aimed at, and nothing has to be parsed on
    /// the event loop's thread.
    private var recent: [Int: String] = [:]
    private var older: [Int: String] = [:]

    func lane(of request: HTTPRequest) -> HTTPLane {
        let isWrite = request.method != "GET" && request.method != "HEAD"
        if let tenant = request.headers["Authorization"].flatMap(tenant(of:)) { return HTTPLane(key: tenant, isWrite: isWrite) }
        // What watches the server must hear from it while strangers keep it busy.
        if RequestLanes.isOperators(request) { return HTTPLane(key: "operator", isWrite: false) }
        return HTTPLane(key: "peer " + request.peerAddress, isWrite: isWrite)
    }

    /// Paths such as `/healthz`, which belong to no tenant.
    static func isOperators(_ request: HTTPRequest) -> Bool { request.pathSegments.count == 1 }

    /// The database knows the token in this header.
    func noteAccepted(_ token: AccessToken, authorization: String) {
        let hash = authorization.hashValue
        lock.withLock {
            if recent.count >= RequestLanes.tokensMax, recent[hash] == nil { (older, recent) = (recent, [:]) }
            recent[hash] = token.tenant.text
        }
    }

    /// A request with this header was refused because of it.
    func noteRefused(authorization: String) {
        let hash = authorization.hashValue
        lock.withLock {
            recent[hash] = nil
            older[hash] = nil
        }
    }

    /// nil until the header was found good.
    func tenant(of authorization: String) -> String? {
        let hash = authorization.hashValue
        return lock.withLock { recent[hash] ?? older[hash] }
    }
}
