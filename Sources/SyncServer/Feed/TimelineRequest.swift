// The query of the timeline.

import SyncProtocol

struct TimelineRequest: Sendable {
    static let limitDefault = 50
    static let limitMax = 200

    var limit = TimelineRequest.limitDefault
    var cursor: String?
    /// `entity:id`: entries on the timeline of this record, its own and those of what belongs to it.
    var anchor: RecordKey?
    var entity: String?
    var id: Identifier?
    var category: String?
    var kind: KindPattern?
    var actor: Identifier?
    var isMajor: Bool?
    /// Milliseconds since 1970 UTC, both included.
    var since: Int64?
    var until: Int64?

    /// Throws `bad_request` that names the parameter.
    init(_ query: [(name: String, value: String)], schema: Schema) throws(ErrorReply) {
        var seen: Set<String> = []
        for (name, value) in query {
            guard seen.insert(name).inserted else { throw ListRequest.refuse(name, "comes once") }
            switch name {
            case "limit":
                guard let number = Decimals.parse(value, scale: 0), (1...Int64(TimelineRequest.limitMax)).contains(number) else {
                    throw ListRequest.refuse(name, "is a whole number from 1 to \(TimelineRequest.limitMax)")
                }
                limit = Int(number)
            case "cursor": cursor = value
            case "anchor":
                let parts = value.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, schema.entity(String(parts[0]))?.isServed == true, let id = Identifier(String(parts[1])) else {
                    throw ListRequest.refuse(name, "is an entity and an id, for example client:01900000-0000-7000-8000-00000000000c")
                }
                anchor = RecordKey(String(parts[0]), id)
            case "entity":
                let names = schema.entities.filter(\.isServed).map(\.name)
                guard names.contains(value) else { throw ListRequest.refuse(name, "is one of \(names.joined(separator: ", "))", names) }
                entity = value
            case "id": id = try TimelineRequest.identifier(name, value)
            case "actor": actor = try TimelineRequest.identifier(name, value)
            case "category":
                try TimelineRequest.choose { () throws(UnknownTimelineChoice) in try schema.requireCategory(value) }
                category = value
            case "kind": kind = try TimelineRequest.choose { () throws(UnknownTimelineChoice) in try KindPattern(value, schema: schema) }
            case "level":
                try TimelineRequest.choose { () throws(UnknownTimelineChoice) in try schema.requireLevel(value) }
                isMajor = value == "major"
            case "since": since = try TimelineRequest.instant(name, value)
            case "until": until = try TimelineRequest.instant(name, value)
            default:
                throw ListRequest.refuse(
                    name,
                    "is not a parameter of the timeline: limit, cursor, anchor, entity, id, category, kind, actor, level, since, until")
            }
        }
    }

    private static func choose<R>(_ check: () throws(UnknownTimelineChoice) -> R) throws(ErrorReply) -> R {
        do throws(UnknownTimelineChoice) { return try check() } catch {
            throw ListRequest.refuse(error.name, error.requirement, error.choices)
        }
    }

    private static func identifier(_ name: String, _ value: String) throws(ErrorReply) -> Identifier {
        guard let id = Identifier(value) else { throw ListRequest.refuse(name, "is a UUID") }
        return id
    }

    private static func instant(_ name: String, _ value: String) throws(ErrorReply) -> Int64 {
        let time = Decimals.parse(value, scale: 0) ?? Instant.milliseconds(fromISO8601: value)
        // What an instant can be; before the year 1 and after 9999 nothing has happened.
        guard let time, case .some(.integer) = try? FieldType.instant.normalized(.integer(time)) else {
            throw ListRequest.refuse(name, "is a time: milliseconds since 1970 UTC, or ISO 8601 with zone")
        }
        return time
    }

    /// What a cursor belongs to.
    var fingerprint: String {
        var parts: [String] = ["activity"]
        parts.append(anchor.map { "\($0.entity):\($0.id.text)" } ?? "")
        parts += [entity ?? "", id?.text ?? "", category ?? "", kind?.text ?? "", actor?.text ?? ""]
        parts.append(isMajor.map { String($0) } ?? "")
        parts.append(since.map { String($0) } ?? "")
        parts.append(until.map { String($0) } ?? "")
        let bytes = JSONValue.array(parts.map { .string($0) }).canonicalBytes()
        return String(Hex.encode(SHA256.hash(bytes)).prefix(16))
    }
}
