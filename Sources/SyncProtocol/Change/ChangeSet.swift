// The atomic unit that travels: one user command, sealed once, its bytes never re-encoded.

/// A group of changes that takes effect whole or not at all (protocol §4).
public struct ChangeSet: Hashable, Sendable {
    public var dot: Dot
    /// What its author knew when it was sealed.
    public var clock: VectorClock
    public var timestamp: HybridTimestamp
    public var changes: [Change]
    /// The schema its author worked with: what became required later is not asked of it. nil: that of the push.
    public var schemaVersion: Int64?
    /// What it was sealed as first, if that was under another id. nil: these bytes are the first.
    public var origin: Origin?

    public init(
        dot: Dot, clock: VectorClock, timestamp: HybridTimestamp, changes: [Change], schemaVersion: Int64? = nil, origin: Origin? = nil
    ) {
        self.dot = dot
        self.clock = clock
        self.timestamp = timestamp
        self.changes = changes
        self.schemaVersion = schemaVersion
        self.origin = origin
    }

    /// Canonical JSON: sorted keys, no white space. These bytes are hashed, stored and sent.
    public func sealedBytes() -> [UInt8] { json.canonicalBytes() }

    public var json: JSONValue {
        var object: JSONObject = [
            "dot": .array([.string(dot.replica.text), .integer(dot.counter)]), "clock": clock.json, "at": timestamp.json,
            "changes": .array(changes.map(\.json)),
        ]
        if let schemaVersion { object["schema"] = .integer(schemaVersion) }
        if let origin { object["origin"] = origin.json }
        return .object(object)
    }

    /// Content hash of sealed bytes, lower-case hex.
    public static func hash(ofSealed bytes: [UInt8]) -> String { Hex.encode(SHA256.hash(bytes)) }

    /// Decodes sealed bytes. Throws a ``Violation`` with code `invalid_syntax` or `payload_too_large`.
    public init(sealed bytes: [UInt8]) throws(Violation) {
        let json: JSONValue
        do { json = try JSONValue(parsing: bytes) } catch {
            throw Violation(
                entity: "", id: nil, field: "set", code: .invalidSyntax, message: "not valid JSON: \(error.message) at byte \(error.offset)"
            )
        }
        try self.init(json: json)
    }

    public init(json: JSONValue) throws(Violation) {
        func malformed(_ field: String, _ message: String) -> Violation {
            Violation(entity: "", id: nil, field: field, code: .invalidSyntax, message: message)
        }
        guard let dot = Dot(json: json["dot"]) else { throw malformed("dot", "dot is [replica, counter]") }
        guard let clock = VectorClock(json: json["clock"]) else { throw malformed("clock", "clock maps lanes to numbers") }
        guard let timestamp = HybridTimestamp(json: json["at"]) else { throw malformed("at", "at is [milliseconds, logical]") }
        guard let list = json["changes"]?.arrayValue, !list.isEmpty else {
            throw malformed("changes", "changes is a list of at least one change")
        }
        guard list.count <= Limits.changesPerSet else {
            throw Violation(
                entity: "", id: nil, field: "changes", code: .payloadTooLarge,
                message: "at most \(Limits.changesPerSet) changes in a set", parameters: ["max": .integer(Int64(Limits.changesPerSet))])
        }
        let origin = json["origin"].flatMap(Origin.init(json:))
        guard origin != nil || json["origin"] == nil else { throw malformed("origin", "origin is [replica, hash]") }
        self.init(
            dot: dot, clock: clock, timestamp: timestamp, changes: [], schemaVersion: json["schema"]?.integerValue, origin: origin)
        changes.reserveCapacity(list.count)
        for item in list { changes.append(try Change(json: item)) }
    }
}

/// The limits of the protocol, checked when a set is committed locally and again at the server (protocol §10).
public enum Limits {
    /// Changes in one set.
    public static let changesPerSet = 1_000
    /// Bytes of one sealed set.
    public static let bytesPerSet = 1 << 20
    /// Sets in one push.
    public static let setsPerPush = 500
    /// Bytes of one push, envelope included.
    public static let bytesPerPush = 4 << 20
    /// Records on one pull page.
    public static let recordsPerPage = 5_000
    /// Records on one pull page when the request does not say.
    public static let recordsPerPageDefault = 1_000
    /// How long after a restore of the server a set may wait for what it builds on, milliseconds; then it is decided as it is.
    public static let healingMilliseconds: Int64 = 3 * 86_400_000
    /// Replicas of one member that are not revoked. A person has a handful of devices, and a file that is copied or enrols again is one more.
    public static let replicasPerMember = 100
    /// Copies of one file that parted with the same set and so share an id, each with a token of its own.
    public static let copiesPerReplica = 50
    /// Milliseconds a pull may wait for news.
    public static let waitMilliseconds = 55_000
}
