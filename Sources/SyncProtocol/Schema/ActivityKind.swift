// How kinds of feed entries look on the timeline: every entity's own kinds follow from its declaration, others are declared.

/// A derived kind that effects may add to the feed, e.g. `material.stock_negative`.
public struct ActivityKind: Hashable, Sendable {
    public var name: String
    /// Lucide icon name.
    public var icon: String
    public var isMajor: Bool

    public init(_ name: String, icon: String, major isMajor: Bool = false) {
        self.name = name
        self.icon = icon
        self.isMajor = isMajor
    }

    /// Of the engine itself.
    static let engine = [
        ActivityKind("sync.superseded", icon: "git-merge"), ActivityKind("sync.rejected", icon: "git-merge"),
        ActivityKind("sync.epoch_started", icon: "history"),
        ActivityKind(FeedEntry.rescoped, icon: "eye"),
    ]

    /// What every entity has, and one for each of its transitions.
    static func kinds(of entity: EntitySchema) -> [ActivityKind] {
        var kinds = [
            ActivityKind("\(entity.name).created", icon: "plus", major: entity.isMajor),
            ActivityKind("\(entity.name).updated", icon: "pencil"),
            ActivityKind("\(entity.name).deleted", icon: "trash", major: entity.isMajor),
            ActivityKind("\(entity.name).restored", icon: "archive-restore"),
        ]
        // Several transitions may share a kind; the first one gives its icon.
        for transition in entity.machine?.transitions ?? [] where !kinds.contains(where: { $0.name == transition.kind }) {
            kinds.append(ActivityKind(transition.kind, icon: transition.icon, major: true))
        }
        return kinds
    }
}

extension Schema {
    /// Icon of a kind that no declaration names.
    public static let defaultIcon = "circle-dot"

    /// Lucide icon name of a kind of feed entry.
    public func icon(ofKind kind: String) -> String { activityKind(kind)?.icon ?? Schema.defaultIcon }

    /// The feed categories in use.
    public var categories: [String] { Set(entities.map(\.category) + ["sync", "portal"]).sorted() }
}
