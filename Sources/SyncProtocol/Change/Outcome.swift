// The server's stored verdict on a change set. Answered again, byte for byte, however often the set is sent.

public struct Outcome: Hashable, Sendable {
    public enum Status: String, Sendable, CaseIterable {
        case accepted, noop, rejected, withdrawn
        /// Not a verdict: a restored server waits for what this set builds on, which some other replica still has (protocol §7.4).
        /// Never stored; the set is offered again.
        case deferred
    }

    /// A value that was accepted but lost to a later concurrent one. Nothing is lost silently: both stand in the feed.
    public struct Superseded: Hashable, Sendable {
        public var entity: String
        public var id: Identifier
        public var field: String
        public var yours: JSONValue
        public var kept: JSONValue
        /// Who wrote the kept value, if a member did.
        public var by: Identifier?

        public init(entity: String, id: Identifier, field: String, yours: JSONValue, kept: JSONValue, by: Identifier?) {
            self.entity = entity
            self.id = id
            self.field = field
            self.yours = yours
            self.kept = kept
            self.by = by
        }
    }

    public var status: Status
    /// First and last feed position of the set's entries; nil when it made none.
    public var positions: ClosedRange<Int64>?
    public var superseded: [Superseded]
    /// A transition was applied from a later state than the author observed.
    public var rebased: Bool
    public var warnings: [Violation]
    public var violations: [Violation]
    /// The request that stored an `internal` rejection, to find it in the server's log.
    public var requestID: String?
    /// The same set was decided before, under this dot (protocol §4.1): everything else here is what was answered then.
    public var duplicateOf: Dot?
    /// The stamp that the set counts with, where the server did not take its own (protocol §3.4). After a restore a replica tells it with
    /// the set, so that the set stands where it stood.
    public var timestamp: HybridTimestamp?
    /// Of a deferred set: the sets of others that have to come back first, as far as its author named them.
    public var waitsFor: [Dot] = []

    public init(
        status: Status, positions: ClosedRange<Int64>? = nil, superseded: [Superseded] = [], rebased: Bool = false,
        warnings: [Violation] = [], violations: [Violation] = [], requestID: String? = nil
    ) {
        self.status = status
        self.positions = positions
        self.superseded = superseded
        self.rebased = rebased
        self.warnings = warnings
        self.violations = violations
        self.requestID = requestID
    }

    public static func rejected(_ violations: [Violation]) -> Outcome { Outcome(status: .rejected, violations: violations) }

    public var json: JSONValue {
        var object = JSONObject()
        object["status"] = .string(status.rawValue)
        if let positions { object["positions"] = .array([.integer(positions.lowerBound), .integer(positions.upperBound)]) }
        if !superseded.isEmpty {
            object["superseded"] = .array(
                superseded.map {
                    var one: JSONObject = [
                        "entity": .string($0.entity), "id": .string($0.id.text), "field": .string($0.field), "yours": $0.yours,
                        "kept": $0.kept,
                    ]
                    if let by = $0.by { one["by"] = .string(by.text) }
                    return .object(one)
                })
        }
        if rebased { object["rebased"] = .bool(true) }
        if !warnings.isEmpty { object["warnings"] = .array(warnings.map(\.json)) }
        if !violations.isEmpty { object["violations"] = .array(violations.map(\.json)) }
        if let requestID { object["request_id"] = .string(requestID) }
        if let duplicateOf { object["duplicate_of"] = .array([.string(duplicateOf.replica.text), .integer(duplicateOf.counter)]) }
        if let timestamp { object["at"] = timestamp.json }
        if !waitsFor.isEmpty {
            object["waits_for"] = .array(waitsFor.map { .array([.string($0.replica.text), .integer($0.counter)]) })
        }
        return .object(object)
    }

    public init?(json: JSONValue) {
        guard let status = json["status"]?.stringValue.flatMap(Status.init(rawValue:)) else { return nil }
        self.init(status: status)
        if let range = json["positions"]?.arrayValue, range.count == 2, let first = range[0].integerValue,
            let last = range[1].integerValue, first <= last
        {
            positions = first...last
        }
        superseded = (json["superseded"]?.arrayValue ?? []).compactMap { one in
            guard let entity = one["entity"]?.stringValue, let id = one["id"]?.stringValue.flatMap({ Identifier($0) }),
                let field = one["field"]?.stringValue
            else { return nil }
            return Superseded(
                entity: entity, id: id, field: field, yours: one["yours"] ?? .null, kept: one["kept"] ?? .null,
                by: one["by"]?.stringValue.flatMap { Identifier($0) })
        }
        rebased = json["rebased"]?.boolValue ?? false
        warnings = (json["warnings"]?.arrayValue ?? []).compactMap(Violation.init(json:))
        violations = (json["violations"]?.arrayValue ?? []).compactMap(Violation.init(json:))
        requestID = json["request_id"]?.stringValue
        duplicateOf = Dot(json: json["duplicate_of"])
        timestamp = HybridTimestamp(json: json["at"])
        waitsFor = (json["waits_for"]?.arrayValue ?? []).compactMap(Dot.init(json:))
    }
}
