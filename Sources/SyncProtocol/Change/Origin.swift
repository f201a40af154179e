// What a set was sealed as first. A file that parts from its copies seals anew, under an id of its own, what it still has to say; by
// this the server knows that several such sets are one (protocol §4.1).

public struct Origin: Hashable, Sendable {
    /// Who sealed it first. The counter is the set's own: it stays when a set is sealed anew.
    public var replica: Identifier
    /// Of the bytes that were sealed first, lower-case hex.
    public var hash: String

    public init(replica: Identifier, hash: String) {
        self.replica = replica
        self.hash = hash
    }

    /// `[replica, hash]`
    public var json: JSONValue { .array([.string(replica.text), .string(hash)]) }

    public init?(json: JSONValue) {
        guard let parts = json.arrayValue, parts.count == 2, let replica = parts[0].stringValue.flatMap({ Identifier($0) }),
            let hash = parts[1].stringValue, Formats.isHex64(hash)
        else { return nil }
        self.init(replica: replica, hash: hash)
    }
}

extension ChangeSet {
    /// The same set under another id, its counter kept; its clock is still to be made. The origin is handed on, however often it is sealed.
    /// - Parameter hash: Of the bytes that this set was decoded from.
    public func resealed(by replica: Identifier, hash: String) -> ChangeSet {
        var set = self
        set.origin = origin ?? Origin(replica: dot.replica, hash: hash)
        set.clock.replicas[dot.replica] = nil
        set.dot.replica = replica
        return set
    }
}
