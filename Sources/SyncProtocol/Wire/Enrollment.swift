// Enrolment: a one-time code becomes a replica with a token (protocol §7.1).

/// `POST /v1/enroll`
public struct EnrollmentRequest: Hashable, Sendable {
    public var code: String
    /// What its member calls the replica, e.g. the machine's name.
    public var label: String
    public var platform: String
    public var schemaVersion: Int64
    /// 64 hexadecimal digits that only this file knows: whoever lost the answer asks again with the same code and gets it.
    public var attempt: String?
    /// What the file was until now; nil: it is new.
    public var continues: FormerReplica?

    public init(
        code: String, label: String, platform: String, schemaVersion: Int64, attempt: String? = nil, continues: FormerReplica? = nil
    ) {
        self.code = code
        self.label = label
        self.platform = platform
        self.schemaVersion = schemaVersion
        self.attempt = attempt
        self.continues = continues
    }

    public var json: JSONValue {
        var object: JSONObject = [
            "protocol": .integer(ProtocolVersion.current), "code": .string(code), "label": .string(label), "platform": .string(platform),
            "schema": .integer(schemaVersion),
        ]
        if let attempt { object["attempt"] = .string(attempt) }
        if let continues { object["continues"] = continues.json }
        return .object(object)
    }

    public init(json: JSONValue) throws(WireError) {
        guard let code = json["code"]?.stringValue, !code.isEmpty, TextNormalization.scalarCount(code) <= 200 else {
            throw WireError("code", "is the enrolment code")
        }
        let new = try ReplicaDescription(json)
        let attempt = json["attempt"]?.stringValue
        if json["attempt"].map({ $0 != .null }) == true, !(attempt.map(Formats.isHex64) ?? false) {
            throw WireError("attempt", "is 64 hexadecimal digits")
        }
        let continues: FormerReplica?
        switch json["continues"] {
        case nil, .null: continues = nil
        case let former?: continues = try FormerReplica(json: former)
        }
        self.init(
            code: code, label: new.label, platform: new.platform, schemaVersion: new.schemaVersion, attempt: attempt,
            continues: continues)
    }
}

/// What a file that enrols again says of itself.
public struct FormerReplica: Hashable, Sendable {
    /// The server's own statement of which replica of whom the file is, as it was given with the token
    /// (``EnrollmentReply/identity``).
    public var identity: String
    /// The last counter that the file has spent.
    public var counter: Int64

    /// More than anyone spends, and far from where numbers end.
    public static let counterMax: Int64 = 1 << 48

    public init(identity: String, counter: Int64) {
        self.identity = identity
        self.counter = counter
    }

    public var json: JSONValue { ["identity": .string(identity), "counter": .integer(counter)] }

    public init(json: JSONValue) throws(WireError) {
        guard let identity = json["identity"]?.stringValue, !identity.isEmpty, identity.utf8.count <= 1_000 else {
            throw WireError("continues.identity", "is what the server said of the replica with its token")
        }
        guard let counter = json["counter"]?.integerValue, (0...FormerReplica.counterMax).contains(counter) else {
            throw WireError("continues.counter", "is the last counter that the file has spent")
        }
        self.init(identity: identity, counter: counter)
    }
}

/// `POST /v1/sync/fork`: a file that turned out to be a copy asks for a replica id of its own. The answer is an ``EnrollmentReply``.
public struct ForkRequest: Hashable, Sendable {
    /// The last counter that this file and the other copy share; the new replica goes on behind it.
    public var counter: Int64
    public var label: String
    public var platform: String
    public var schemaVersion: Int64
    /// Hash of the first set that will be sealed anew. Copies that hold it too get the same id, and what they seal is the same.
    public var first: String?

    public init(counter: Int64, label: String, platform: String, schemaVersion: Int64, first: String? = nil) {
        self.counter = counter
        self.first = first
        self.label = label
        self.platform = platform
        self.schemaVersion = schemaVersion
    }

    public var json: JSONValue {
        var object: JSONObject = [
            "protocol": .integer(ProtocolVersion.current), "counter": .integer(counter), "label": .string(label),
            "platform": .string(platform), "schema": .integer(schemaVersion),
        ]
        if let first { object["first"] = .string(first) }
        return .object(object)
    }

    public init(json: JSONValue) throws(WireError) {
        guard let counter = json["counter"]?.integerValue, counter >= 0 else {
            throw WireError("counter", "is the last counter that both copies share")
        }
        let first = json["first"]?.stringValue
        guard first.map({ $0.utf8.count == 64 }) ?? true else { throw WireError("first", "is the hash of a set") }
        let new = try ReplicaDescription(json)
        self.init(counter: counter, label: new.label, platform: new.platform, schemaVersion: new.schemaVersion, first: first)
    }

    /// The id that every file of `member` gets that parts from its shared past with this very set; nil when there is no set to seal
    /// anew. A copy may have been made after the files had parted: then both copies hold the sets behind, and would each have done
    /// them under an id of their own.
    public func commonID(tenant: Identifier, member: Identifier) -> Identifier? {
        first.map { Identifier.version5(namespace: tenant, name: "urn:tideline:fork/\(member.text)/\(counter)/\($0)") }
    }
}

/// What enrolling and forking say about the replica that comes into being.
private struct ReplicaDescription {
    let label: String
    let platform: String
    let schemaVersion: Int64

    init(_ json: JSONValue) throws(WireError) {
        guard let label = json["label"]?.stringValue, !label.isEmpty, TextNormalization.scalarCount(label) <= 80 else {
            throw WireError("label", "is a name of 1 to 80 characters for the replica")
        }
        guard let schema = json["schema"]?.integerValue else { throw WireError("schema", "is the schema version of the replica") }
        self.label = label
        platform = json["platform"]?.stringValue ?? ""
        schemaVersion = schema
    }
}

public struct EnrollmentReply: Hashable, Sendable {
    public var token: String
    public var tenant: Identifier
    public var member: Identifier
    public var replica: Identifier
    public var role: Role
    public var replication: String
    public var serverMilliseconds: Int64
    public var schemaVersion: Int64
    /// Which replica of whom this is, in the server's own words: opaque, authenticated, worth nothing without a code or a token. A
    /// server that has lost the replica knows it again by this.
    public var identity: String?

    public init(
        token: String, tenant: Identifier, member: Identifier, replica: Identifier, role: Role, replication: String,
        serverMilliseconds: Int64, schemaVersion: Int64, identity: String? = nil
    ) {
        self.token = token
        self.tenant = tenant
        self.member = member
        self.replica = replica
        self.role = role
        self.replication = replication
        self.serverMilliseconds = serverMilliseconds
        self.schemaVersion = schemaVersion
        self.identity = identity
    }

    public var json: JSONValue {
        var object: JSONObject = [
            "token": .string(token), "tenant": .string(tenant.text), "member": .string(member.text), "replica": .string(replica.text),
            "role": .string(role.rawValue), "replication": .string(replication), "server_time": .integer(serverMilliseconds),
            "schema": .integer(schemaVersion), "protocol": .integer(ProtocolVersion.current),
        ]
        if let identity { object["identity"] = .string(identity) }
        return .object(object)
    }

    public init(json: JSONValue) throws(WireError) {
        func identifier(_ name: String) throws(WireError) -> Identifier {
            guard let id = json[name]?.stringValue.flatMap({ Identifier($0) }) else { throw WireError(name, "is a UUID") }
            return id
        }
        guard let token = json["token"]?.stringValue else { throw WireError("token", "is missing") }
        guard let role = json["role"]?.stringValue.flatMap(Role.init(rawValue:)) else { throw WireError("role", "is a role") }
        guard let time = json["server_time"]?.integerValue else { throw WireError("server_time", "is missing") }
        self.init(
            token: token, tenant: try identifier("tenant"), member: try identifier("member"), replica: try identifier("replica"),
            role: role,
            replication: json["replication"]?.stringValue ?? "full", serverMilliseconds: time,
            schemaVersion: json["schema"]?.integerValue ?? 0, identity: json["identity"]?.stringValue)
    }
}
