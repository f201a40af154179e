// Numbers that people refer to: one after another and without gaps, a sequence of its own for each tenant, kind and year. Only the
// server gives them. After a restore records keep what they were called, and new ones begin above all that devices report (protocol §7.4).

public struct Numbering: Sendable {
    public let entity: String
    /// A server-assigned, unique text.
    public let field: String
    /// A record without a number gets one when one of these is applied.
    public let transitions: [String]
    /// What the sequence counts, e.g. `invoice`.
    public let kind: String
    /// What its numbers begin with, e.g. `INV-`.
    public let prefix: String
    /// The date whose year the number has; nil, or without a value: the year of the transition, in UTC.
    public let dateField: String?

    public init(
        _ entity: String, field: String, on transitions: [String], kind: String, prefix: String, yearOf dateField: String? = nil
    ) {
        self.entity = entity
        self.field = field
        self.transitions = transitions
        self.kind = kind
        self.prefix = prefix
        self.dateField = dateField
    }

    /// The entity that keeps the last number of each sequence.
    public static let sequences = "number_sequence"

    /// `INV-2026-0007`: at least four digits.
    public func text(year: Int64, place: Int64) -> String {
        let digits = String(place)
        return "\(prefix)\(year)-" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    /// Year and place of a number of this kind; nil for any other text.
    public func read(_ text: String) -> (year: Int64, place: Int64)? {
        guard text.hasPrefix(prefix) else { return nil }
        let parts = text.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count == 4, let year = Int64(parts[0]), let place = Int64(parts[1]), place > 0,
            self.text(year: year, place: place) == text
        else { return nil }
        return (year, place)
    }

    func year(of record: RecordState, operationMilliseconds: Int64) -> Int64 {
        let days = dateField.flatMap { record.integer($0) } ?? CalendarDate.days(ofMilliseconds: operationMilliseconds)
        return CalendarDate.year(ofDays: days)
    }
}

/// The last number of a sequence, as a replica has seen it.
public struct NumberReport: Hashable, Sendable {
    public var kind: String
    public var year: Int64
    public var last: Int64

    public init(kind: String, year: Int64, last: Int64) {
        self.kind = kind
        self.year = year
        self.last = last
    }

    /// `[kind, year, last]`
    public var json: JSONValue { .array([.string(kind), .integer(year), .integer(last)]) }

    public init?(json: JSONValue) {
        guard let parts = json.arrayValue, parts.count == 3, let kind = parts[0].stringValue, let year = parts[1].integerValue,
            let last = parts[2].integerValue, (0...9999).contains(year), last > 0
        else { return nil }
        self.init(kind: kind, year: year, last: last)
    }

    /// Of one push.
    public static let maximumCount = 256
    /// So far above what the server knows a number may be at most: nobody uses a sequence up by one claim.
    public static let aheadMax: Int64 = 100_000

    /// The record that keeps the sequence: one for each kind and year, wherever it is made.
    public var key: RecordKey { Self.key(kind: kind, year: year) }

    static func key(kind: String, year: Int64) -> RecordKey {
        RecordKey(
            Numbering.sequences,
            Identifier.version5(namespace: EntitySchema.linkNamespace, name: "\(Numbering.sequences)/\(kind)/\(year)"))
    }

    /// What makes the sequence go on behind it; nil when it does already, when nothing has numbers of that kind, or when that is too far
    /// ahead.
    /// - Parameter known: The sequence as the server has it; nil: there is none yet.
    public func change(_ known: RecordState?, in schema: Schema) -> Change? {
        let present = known?.integer("last") ?? 0
        guard schema.numberings.contains(where: { $0.kind == kind }), last > present, last - present <= Self.aheadMax else { return nil }
        guard known != nil else {
            return Change(
                key: key, operation: .create(fields: ["kind": .string(kind), "year": .integer(year), "last": .integer(last)]))
        }
        return Change(key: key, operation: .patch(fields: ["last": .integer(last)], was: [:]))
    }
}

extension SetDecider {
    /// The number that a record gets with a transition, and its place.
    struct GivenNumber {
        let numbering: Numbering
        let year: Int64
        let place: Int64
        var text: String { numbering.text(year: year, place: place) }
    }

    /// What it was called before a restore, if its author says so and nothing else is called so; the next one otherwise.
    func number(for record: RecordState, on transition: String) -> GivenNumber? {
        guard let numbering = schema.numbering(of: record.schema.name), numbering.transitions.contains(transition),
            record[numbering.field].isNull
        else { return nil }
        if submission.isOfLostHistory, let claimed = submission.numbers[record.id], let (year, place) = numbering.read(claimed) {
            let namesakes = workspace.lookup(record.schema.name, numbering.field, .string(claimed), includingDeleted: true)
            if namesakes.isEmpty, place - lastNumber(numbering, year) <= NumberReport.aheadMax {
                return GivenNumber(numbering: numbering, year: year, place: place)
            }
        }
        let year = numbering.year(of: record, operationMilliseconds: submission.timestamp.milliseconds)
        return GivenNumber(numbering: numbering, year: year, place: lastNumber(numbering, year) + 1)
    }

    private func lastNumber(_ numbering: Numbering, _ year: Int64) -> Int64 {
        workspace.record(NumberReport.key(kind: numbering.kind, year: year))?.integer("last") ?? 0
    }

    /// The sequence goes on behind a number that was given.
    mutating func advance(behind given: GivenNumber, cause: Int64) {
        let key = NumberReport.key(kind: given.numbering.kind, year: given.year)
        guard let entity = schema.entity(Numbering.sequences) else { return }
        let before = workspace.record(key)
        var row = before ?? RecordState(schema: entity, id: key.id)
        guard given.place > before?.integer("last") ?? 0 else { return }
        var changes: JSONObject = ["last": ["old": before?["last"] ?? .null, "new": .integer(given.place)]]
        row["last"] = .integer(given.place)
        if before == nil {
            for (name, value) in [("kind", JSONValue.string(given.numbering.kind)), ("year", .integer(given.year))] {
                row[name] = value
                changes[name] = ["old": .null, "new": value]
            }
            (row.createdAt, row.createdBy) = (nowMilliseconds, author.member)
            row.versions = RecordVersions(created: serverTag)
        } else {
            row.versions.fields["last"] = serverTag
        }
        touch(key, before: before, fields: before == nil ? Set(entity.fields.map(\.name)) : ["last"], isCreation: before == nil)
        commit(
            row, before: before, operation: before == nil ? .create : .derived,
            kind: "\(Numbering.sequences).\(before == nil ? "created" : "updated")", isMajor: false, changes: changes, cause: cause,
            side: .server)
    }
}
