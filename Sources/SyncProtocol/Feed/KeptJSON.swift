// What a refused set said, as the feed keeps it. Nobody has judged these values: they may be numbers that a database writes in its own
// way, or nested so deep that the entry around them could not be read again.

extension JSONValue {
    /// The same with numbers that are not whole as their text, and without what lies deeper than so many arrays and objects.
    func kept(levels: Int) -> JSONValue {
        switch self {
        case .null, .bool, .integer, .string: return self
        case .decimal(let text): return .string(text)
        case .array(let elements): return levels > 0 ? .array(elements.map { $0.kept(levels: levels - 1) }) : "…"
        case .object(let members): return levels > 0 ? .object(JSONObject(members.map { ($0, $1.kept(levels: levels - 1)) })) : "…"
        }
    }
}
