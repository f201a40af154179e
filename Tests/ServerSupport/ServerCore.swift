// What stands behind the network in tests: the server's verbs without sockets, and what an operator does to it. Two stores
// keep it: a model in memory (fast), and Postgres under the real request handlers. One suite holds both to the same answers.

import SyncProtocol

@testable import Replica

/// The verbs throw ``TransportFailure/reply(_:status:)`` with what the server refuses. Administration never fails in a test whose
/// store is sound, so it traps.
public protocol ServerCore: AnyObject, Sendable {
    var schema: Schema { get }
    var tenant: Identifier { get }

    // MARK: The verbs

    func enroll(_ request: EnrollmentRequest) throws -> EnrollmentReply
    func fork(_ request: ForkRequest, token: String) throws -> EnrollmentReply
    func push(_ bytes: [UInt8], token: String) throws -> [UInt8]
    func pull(_ request: PullRequest, token: String) throws -> [UInt8]
    /// `digest`, `records` or `activity`.
    func get(_ path: String, _ query: [(name: String, value: String)], token: String) throws -> [UInt8]

    // MARK: Consumers

    /// As an owner registers one: the body of `POST /v1/consumers`.
    func addConsumer(_ request: JSONValue) throws
    func events(for name: String, limit: Int64) throws -> ConsumerPage
    /// Returns where the cursor stands then.
    @discardableResult func acknowledge(_ name: String, position: Int64, epoch: Int64?, fingerprint: String?) throws -> FeedPosition
    /// One look of a dispatcher at a built-in consumer with something to do, by a process that may die. Returns whether there is
    /// nothing left to do.
    @discardableResult func runBuiltin(_ name: String, dyingAt death: BuiltinDeath?) -> Bool

    // MARK: Waiting

    /// Whether a pull would find anything.
    func hasNews(_ request: PullRequest, token: String) throws -> Bool
    /// Rises with every write; ``waitForNews(since:)`` returns when it is no longer this.
    var pokeCount: Int { get }
    func waitForNews(since count: Int) async

    // MARK: Administration

    /// A member, and a code for one replica of theirs.
    func invite(_ name: String, role: Role, member: Identifier?) -> (member: Identifier, code: String)
    /// A write of the server itself, as REST or a workflow makes it. `position`: what its author had seen; nil: everything.
    @discardableResult func write(_ changes: [Change], knowing position: Int64?) -> Outcome
    /// Puts rows in place without deciding.
    func load(_ records: [RecordState])
    func snapshot() -> ServerState
    /// The disk is an old copy now; nobody told the server.
    /// - Parameter keepsEnrolments: Tokens, replicas and codes made since hold on, as if nobody had enrolled meanwhile.
    func restore(_ old: ServerState, keepsEnrolments: Bool)
    /// Shuts a replica out, as an owner does. A later restore may have forgotten it.
    func revoke(_ replica: Identifier)
    /// Tombstones up to now are gone.
    func forgetTombstones()
    /// While true every token of the tenant is void.
    var isRevoked: Bool { get set }
    /// How much may be stored, as the operator has set it.
    var storageQuota: StorageQuota { get set }

    // MARK: Looking inside

    func record(_ entity: String, _ id: Identifier) -> RecordState?
    var position: Int64 { get }
    var epoch: Int64 { get }
    /// The mark that a checkpoint at head has now.
    var headMark: CheckpointMark { get }
    /// What an owner may read; with `replica`, what that one may hold.
    func digest(for replica: Identifier?) -> [String: EntityDigest]
}

extension ServerCore {
    public func invite(_ name: String, role: Role) -> (member: Identifier, code: String) { invite(name, role: role, member: nil) }
    public func restore(_ old: ServerState) { restore(old, keepsEnrolments: true) }
    @discardableResult public func write(_ changes: [Change]) -> Outcome { write(changes, knowing: nil) }
    public func revoke(_ replica: Identifier) {
        write([Change("replica", replica, .transition(name: "revoke", observed: "active", arguments: JSONObject()))])
    }
    public func digest() -> [String: EntityDigest] { digest(for: nil) }
    /// What a replica of an older build may hold; nothing can be said where the store does not know that build.
    public func digest(for replica: Identifier?, build: Schema) -> [String: EntityDigest] {
        if let model = self as? ModelServer { return model.modelDigest(for: replica, build: build) }
        return build.version == schema.version ? digest(for: replica) : [:]
    }
}

/// Everything a server keeps of a tenant, for looking at it and for going back to it.
public struct ServerState: Sendable {
    public var epoch: Int64 = 0
    public var position: Int64 = 0
    /// As ``StorageQuota`` counts them.
    public var storedBytes: Int64 = 0
    public var records: [RecordKey: RecordState] = [:]
    public var outcomes: [Identifier: [Int64: (hash: String, bytes: [UInt8])]] = [:]
    public var acknowledged: [Identifier: Int64] = [:]
    public var feed: [ActivityEntry] = []
    /// Sets that took effect, by dot: more than once is a bug.
    public var applications: [Dot: Int] = [:]

    var fingerprints: [Int64: String] = [0: "start"]
    var lastEpoch: [Identifier: Int64] = [:]
    var lastStamp: [Identifier: HybridTimestamp] = [:]
    var stamp = HybridTimestamp.zero
    var rejectedCreations: Set<Identifier> = []
    /// Sets that wait after a restore, with the records they name.
    var deferred: [Dot: (hash: String, ids: Set<Identifier>)] = [:]
    /// Which dot a set was decided under first.
    var firstDots: [SameSet: Dot] = [:]
    /// Dots that were answered with the outcome of another one.
    var twins: [Dot: Dot] = [:]
    var epochBegan: Int64 = 0
    /// Since which position a replica was sent restricted fields.
    var restrictedSince: [Identifier: Int64] = [:]
    /// Consumers of the model.
    var consumers: [String: ModelConsumer] = [:]
    /// Records taken from a circle of readers (``ReaderAccess/circles``).
    var exits: [(position: Int64, circle: String, key: RecordKey)] = []
    var horizon: Int64 = 0
    /// Of the model: who could ask, and which codes were spent.
    var tokens: Set<String> = []
    var codes: [String: Bool] = [:]
    /// Of a store in Postgres: the rows of each table as one JSON array.
    var tables: [String: [UInt8]] = [:]
}
