// What a timeline can be asked for by word: kinds, categories, levels. The server's timeline and a replica's own copy of it take the
// same words, and refuse one that no entry can carry instead of finding nothing.

/// A word that stands for nothing on a timeline, and those that do.
public struct UnknownTimelineChoice: Error, Hashable, Sendable {
    /// `kind`, `category` or `level`.
    public let name: String
    public let choices: [String]

    /// What the value has to be: `is one of relationship, sync`.
    public var requirement: String { choices.count == 1 ? "is \(choices[0])" : "is one of \(choices.joined(separator: ", "))" }
}

/// One kind of entries, or all kinds of what stands before the dot: `client.updated`, `client.*`.
public struct KindPattern: Hashable, Sendable {
    public let text: String

    /// Throws ``UnknownTimelineChoice`` with the kinds of the same beginning, or, when there is none such, with the beginnings.
    public init(_ text: String, schema: Schema) throws(UnknownTimelineChoice) {
        let all = KindPattern.choices(schema)
        guard all.contains(text) else {
            let beginning = text.prefix { $0 != "." } + "."
            let near = all.filter { $0.hasPrefix(beginning) }
            throw UnknownTimelineChoice(name: "kind", choices: near.isEmpty ? all.filter { $0.hasSuffix(".*") } : near)
        }
        self.text = text
    }

    /// What all kinds that it stands for begin with, the dot included; nil: it is one kind.
    public var beginning: String? { text.hasSuffix(".*") ? String(text.dropLast()) : nil }

    /// Every kind that an entry of a timeline can have, and before those with the same beginning that beginning.
    public static func choices(_ schema: Schema) -> [String] {
        let hidden = Set(schema.entities.filter { !$0.isServed }.flatMap(ActivityKind.kinds).map(\.name))
        var choices: [String] = []
        var seen: Set<String> = []
        for kind in schema.activityKinds.map(\.name) where kind != FeedEntry.rescoped && !hidden.contains(kind) {
            for word in [kind.prefix { $0 != "." } + ".*", kind] where seen.insert(word).inserted { choices.append(word) }
        }
        return choices
    }
}

extension Schema {
    public static let timelineLevels = ["major", "minor"]

    /// Throws ``UnknownTimelineChoice`` if no entry is of that category.
    public func requireCategory(_ text: String) throws(UnknownTimelineChoice) {
        guard categories.contains(text) else { throw UnknownTimelineChoice(name: "category", choices: categories) }
    }

    /// Throws ``UnknownTimelineChoice`` if there is no such level.
    public func requireLevel(_ text: String) throws(UnknownTimelineChoice) {
        guard Schema.timelineLevels.contains(text) else { throw UnknownTimelineChoice(name: "level", choices: Schema.timelineLevels) }
    }
}
