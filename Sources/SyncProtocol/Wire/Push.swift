// Push: sealed change sets up, stored outcomes back (protocol §7.2).

/// One offered set: sealed bytes, or the marker of one that will never be sent.
public struct OfferedSet: Hashable, Sendable {
    public var counter: Int64
    /// SHA-256 of the sealed bytes, lower-case hex. Also kept for withdrawn sets, so that a fork is still told.
    public var hash: String
    /// nil for a withdrawn set.
    public var sealed: [UInt8]?
    /// What its author had seen of others on the records it names; told of sets from before a restore.
    public var after: [SeenSet]
    /// The stamp that it counted with before a restore, where that was not its own (``Outcome/timestamp``).
    public var timestamp: HybridTimestamp?
    /// What records that it numbers were called before a restore (``Numbering``), by id.
    public var numbers: [Identifier: String] = [:]

    public init(counter: Int64, hash: String, sealed: [UInt8]?, after: [SeenSet] = [], timestamp: HybridTimestamp? = nil) {
        self.counter = counter
        self.hash = hash
        self.sealed = sealed
        self.after = after
        self.timestamp = timestamp
    }
}

/// A set of somebody else that an author had seen, with the milliseconds of its timestamp. Positions of a lost history mean
/// nothing to a restored server; dots do, and the time tells a counter that was spent twice.
public struct SeenSet: Hashable, Sendable {
    public var dot: Dot
    public var milliseconds: Int64

    public init(dot: Dot, milliseconds: Int64) {
        self.dot = dot
        self.milliseconds = milliseconds
    }

    /// `[replica, counter, milliseconds]`
    public var json: JSONValue { .array([.string(dot.replica.text), .integer(dot.counter), .integer(milliseconds)]) }

    public init?(json: JSONValue) {
        guard let parts = json.arrayValue, parts.count == 3, let dot = Dot(json: .array(Array(parts.prefix(2)))),
            let milliseconds = parts[2].integerValue
        else { return nil }
        self.init(dot: dot, milliseconds: milliseconds)
    }

    /// A list of them; anything else in it is left out: it only ever adds knowledge.
    public static func list(_ json: JSONValue?) -> [SeenSet] {
        (json?.arrayValue ?? []).prefix(maximumCount).compactMap(SeenSet.init(json:))
    }

    /// Of one set; the newest.
    public static let maximumCount = 64
}

/// A checkpoint a replica remembers, to find out after a restore which of its history the server still has.
public struct CheckpointMark: Hashable, Sendable {
    public var position: FeedPosition
    public var fingerprint: String

    public init(position: FeedPosition, fingerprint: String) {
        self.position = position
        self.fingerprint = fingerprint
    }

    public var json: JSONValue { .array([.integer(position.epoch), .integer(position.position), .string(fingerprint)]) }

    public init?(json: JSONValue) {
        guard let parts = json.arrayValue, parts.count == 3, let epoch = parts[0].integerValue, let position = parts[1].integerValue,
            let fingerprint = parts[2].stringValue
        else { return nil }
        self.init(position: FeedPosition(epoch: epoch, position: position), fingerprint: fingerprint)
    }
}

/// `POST /v1/sync/push`
public struct PushRequest: Hashable, Sendable {
    public var schemaVersion: Int64
    /// The replica's last pull cursor, so that a restore of the server is noticed before anything is merged.
    public var cursor: String?
    /// Recent checkpoints, newest first; sent while sets of an earlier epoch are pending.
    public var recognised: [CheckpointMark]
    /// The server was restored and this replica still has sets from before: one that builds on what is not there may be deferred.
    public var isHealing: Bool
    /// Of the replica that sealed the sets, when it is another one of the same member, from whose file this one was copied: the
    /// statement that came with its token (``EnrollmentReply/identity``).
    public var identity: String?
    /// The last number of each sequence that it has seen; told once after a restore.
    public var numbers: [NumberReport]
    public var sets: [OfferedSet]

    public init(
        schemaVersion: Int64, cursor: String?, recognised: [CheckpointMark] = [], isHealing: Bool = false, identity: String? = nil,
        numbers: [NumberReport] = [], sets: [OfferedSet]
    ) {
        self.schemaVersion = schemaVersion
        self.cursor = cursor
        self.recognised = recognised
        self.isHealing = isHealing
        self.identity = identity
        self.numbers = numbers
        self.sets = sets
    }

    /// - Parameter replica: The one that sealed the sets.
    public func bytes(replica: Identifier) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 256 + sets.reduce(0) { $0 + ($1.sealed?.count ?? 100) + 100 })
        writer.beginObject()
        writer.key("protocol")
        writer.integer(ProtocolVersion.current)
        writer.key("schema")
        writer.integer(schemaVersion)
        writer.key("cursor")
        if let cursor { writer.string(cursor) } else { writer.null() }
        if !recognised.isEmpty {
            writer.key("recognised")
            writer.value(.array(recognised.map(\.json)))
        }
        if isHealing {
            writer.key("healing")
            writer.value(.bool(true))
        }
        if let identity {
            writer.key("identity")
            writer.string(identity)
        }
        if !numbers.isEmpty {
            writer.key("numbers")
            writer.value(.array(numbers.map(\.json)))
        }
        writer.key("sets")
        writer.beginArray()
        for set in sets {
            writer.beginObject()
            if !set.after.isEmpty {
                writer.key("after")
                writer.value(.array(set.after.map(\.json)))
            }
            if let timestamp = set.timestamp {
                writer.key("at")
                writer.value(timestamp.json)
            }
            writer.key("hash")
            writer.string(set.hash)
            if !set.numbers.isEmpty {
                writer.key("numbers")
                writer.value(.object(JSONObject(set.numbers.map { ($0.key.text, .string($0.value)) })))
            }
            if let sealed = set.sealed {
                writer.key("set")
                writer.raw(sealed)
            } else {
                writer.key("withdrawn")
                writer.value(.array([.string(replica.text), .integer(set.counter)]))
            }
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.bytes
    }

    /// A set as it arrived: its exact bytes, and what became of decoding them.
    public struct Received: Sendable {
        public var hash: String
        /// nil for a withdrawn set.
        public var sealed: [UInt8]?
        public var content: Content
        public var after: [SeenSet] = []
        public var timestamp: HybridTimestamp?
        public var numbers: [Identifier: String] = [:]

        public enum Content: Sendable {
            case set(ChangeSet)
            case withdrawn(Dot)
            /// The envelope is sound and names its dot, the changes are not: it gets a stored rejection like any other.
            case undecodable(Dot, Violation)
        }

        public var dot: Dot {
            switch content {
            case .set(let set): set.dot
            case .withdrawn(let dot), .undecodable(let dot, _): dot
            }
        }
    }

    public struct ReceivedPush: Sendable {
        public var protocolVersion: Int64
        public var schemaVersion: Int64
        public var cursor: String?
        public var recognised: [CheckpointMark]
        public var isHealing = false
        public var identity: String?
        public var numbers: [NumberReport] = []
        public var sets: [Received]
    }

    /// Decodes a push. Keeps the exact bytes of each set: they are what was hashed.
    public static func receive(_ bytes: [UInt8]) throws -> ReceivedPush {
        var push = ReceivedPush(protocolVersion: 0, schemaVersion: 0, cursor: nil, recognised: [], sets: [])
        try JSONReader.read(bytes) { reader in
            try reader.beginObject()
            while let key = try reader.nextKey() {
                switch key {
                case "protocol": push.protocolVersion = try reader.readInteger()
                case "schema": push.schemaVersion = try reader.readInteger()
                case "cursor": push.cursor = try reader.readIfNull() ? nil : try reader.readString()
                case "recognised":
                    let marks = try reader.readValue().arrayValue ?? []
                    guard marks.count <= 64 else { throw WireError("recognised", "has at most 64 checkpoints") }
                    push.recognised = marks.compactMap(CheckpointMark.init(json:))
                case "healing": push.isHealing = try reader.readValue().boolValue ?? false
                case "numbers":
                    let reports = try reader.readValue().arrayValue ?? []
                    guard reports.count <= NumberReport.maximumCount else {
                        throw WireError("numbers", "has at most \(NumberReport.maximumCount) sequences")
                    }
                    push.numbers = try reports.map { json in
                        guard let report = NumberReport(json: json) else { throw WireError("numbers", "is [[kind, year, last]…]") }
                        return report
                    }
                case "identity": push.identity = try reader.readIfNull() ? nil : try reader.readString()
                case "sets":
                    try reader.beginArray()
                    while try reader.nextElement() {
                        guard push.sets.count < Limits.setsPerPush else {
                            throw WireError("sets", "has at most \(Limits.setsPerPush) sets")
                        }
                        push.sets.append(try receiveSet(&reader, bytes: bytes, index: push.sets.count))
                    }
                default: _ = try reader.skipValue()
                }
            }
        }
        return push
    }

    private static func receiveSet(_ reader: inout JSONReader, bytes: [UInt8], index: Int) throws -> Received {
        var hash = ""
        var sealed: Range<Int>?
        var withdrawn: JSONValue?
        var after: [SeenSet] = []
        var timestamp: HybridTimestamp?
        var numbers: [Identifier: String] = [:]
        try reader.beginObject()
        while let key = try reader.nextKey() {
            switch key {
            case "hash": hash = try reader.readString()
            case "set": sealed = try reader.skipValue()
            case "withdrawn": withdrawn = try reader.readValue()
            case "after": after = SeenSet.list(try reader.readValue())
            case "numbers":
                for (id, number) in try reader.readValue().objectValue ?? [:] {
                    guard let id = Identifier(id), let number = number.stringValue else {
                        throw WireError("sets[\(index)].numbers", "is {id: number}")
                    }
                    numbers[id] = number
                }
            case "at":
                timestamp = HybridTimestamp(json: try reader.readValue())
                guard timestamp != nil else { throw WireError("sets[\(index)].at", "is [milliseconds, logical]") }
            default: _ = try reader.skipValue()
            }
        }
        guard Formats.isHex64(hash) else { throw WireError("sets[\(index)].hash", "is the SHA-256 of the set in hexadecimal") }
        if let withdrawn {
            guard let dot = Dot(json: withdrawn) else { throw WireError("sets[\(index)].withdrawn", "is [replica, counter]") }
            return Received(hash: hash, sealed: nil, content: .withdrawn(dot))
        }
        guard let sealed else { throw WireError("sets[\(index)]", "has a set or is withdrawn") }
        let exact = Array(bytes[sealed])
        guard ChangeSet.hash(ofSealed: exact) == hash else {
            throw WireError("sets[\(index)].hash", "does not match the bytes of the set")
        }
        let json = try JSONValue(parsing: exact)
        guard let setDot = Dot(json: json["dot"]) else { throw WireError("sets[\(index)].set.dot", "is [replica, counter]") }
        do {
            guard exact.count <= Limits.bytesPerSet else {
                throw Violation(
                    entity: "", id: nil, field: "set", code: .payloadTooLarge, message: "a set has at most \(Limits.bytesPerSet) bytes",
                    parameters: ["max": .integer(Int64(Limits.bytesPerSet))])
            }
            return Received(
                hash: hash, sealed: exact, content: .set(try ChangeSet(json: json)), after: after, timestamp: timestamp, numbers: numbers)
        } catch let violation as Violation {
            return Received(hash: hash, sealed: exact, content: .undecodable(setDot, violation))
        }
    }
}

/// `{"server_time", "outcomes": [[counter, outcome]…]}` — outcomes are the stored bytes.
public struct PushReply: Sendable {
    public var serverMilliseconds: Int64
    public var outcomes: [(counter: Int64, outcome: [UInt8])]

    public init(serverMilliseconds: Int64, outcomes: [(counter: Int64, outcome: [UInt8])]) {
        self.serverMilliseconds = serverMilliseconds
        self.outcomes = outcomes
    }

    public func bytes() -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 64 + outcomes.reduce(0) { $0 + $1.outcome.count + 24 })
        writer.beginObject()
        writer.key("server_time")
        writer.integer(serverMilliseconds)
        writer.key("outcomes")
        writer.outcomes(outcomes)
        writer.endObject()
        return writer.bytes
    }

    public init(parsing bytes: [UInt8]) throws {
        var time: Int64?
        var list: [(counter: Int64, outcome: [UInt8])]?
        try JSONReader.read(bytes) { reader in
            try reader.beginObject()
            while let key = try reader.nextKey() {
                switch key {
                case "server_time": time = try reader.readInteger()
                case "outcomes": list = try reader.readOutcomes(of: bytes)
                default: _ = try reader.skipValue()
                }
            }
        }
        guard let time else { throw WireError("server_time", "is missing") }
        guard let list else { throw WireError("outcomes", "is missing") }
        self.init(serverMilliseconds: time, outcomes: list)
    }
}

extension JSONWriter {
    mutating func outcomes(_ outcomes: [(counter: Int64, outcome: [UInt8])]) {
        beginArray()
        for (counter, outcome) in outcomes {
            beginArray()
            integer(counter)
            raw(outcome)
            endArray()
        }
        endArray()
    }
}

extension JSONReader {
    /// `[[counter, outcome]…]`, outcomes as the exact bytes.
    mutating func readOutcomes(of bytes: [UInt8]) throws -> [(counter: Int64, outcome: [UInt8])] {
        var outcomes: [(counter: Int64, outcome: [UInt8])] = []
        try beginArray()
        while try nextElement() {
            try beginArray()
            guard try nextElement() else { throw WireError("outcomes", "an outcome is [counter, outcome]") }
            let counter = try readInteger()
            guard try nextElement() else { throw WireError("outcomes", "an outcome is [counter, outcome]") }
            let range = try skipValue()
            outcomes.append((counter, Array(bytes[range])))
            guard try !nextElement() else { throw WireError("outcomes", "an outcome is [counter, outcome]") }
        }
        return outcomes
    }
}
