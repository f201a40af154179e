// One accepted change as the feed keeps it: complete enough for the timeline, for consumers and for "who overwrote me".

public struct FeedEntry: Sendable, Hashable {
    public enum Operation: String, Sendable { case create, update, delete, restore, transition, derived }

    /// The kind of an entry that says only this: who holds the record has changed, because what its scope follows from has. It gives
    /// the record a position, so that pulls carry it, and is on nobody's timeline.
    public static let rescoped = "sync.rescoped"

    public var position: FeedPosition
    /// Server time, milliseconds since 1970 UTC.
    public var atMilliseconds: Int64
    public var author: Author
    public var dot: Dot?
    public var key: RecordKey
    public var operation: Operation
    /// E.g. `client.updated`, `deal.won`, `sync.superseded`.
    public var kind: String
    public var category: String
    public var isMajor: Bool
    /// `{field: {old, new}}`, and `{field: {kept, lost}}` in `sync.superseded` entries.
    public var changes: JSONObject
    /// The same for restricted fields, which field readers do not get.
    public var restrictedChanges: JSONObject
    /// `entity:id` of every record on whose timeline it stands.
    public var anchors: [String]
    public var scopeKeys: [String]
    /// Position of the entry that caused this one, in the same change set.
    public var cause: Int64?
    /// Length of the chain of causes across change sets.
    public var depth: Int
    public var operationMilliseconds: Int64

    public init(
        position: FeedPosition, atMilliseconds: Int64, author: Author, dot: Dot?, key: RecordKey, operation: Operation, kind: String,
        category: String, isMajor: Bool, changes: JSONObject, restrictedChanges: JSONObject, anchors: [String], scopeKeys: [String],
        cause: Int64?, depth: Int, operationMilliseconds: Int64
    ) {
        self.position = position
        self.atMilliseconds = atMilliseconds
        self.author = author
        self.dot = dot
        self.key = key
        self.operation = operation
        self.kind = kind
        self.category = category
        self.isMajor = isMajor
        self.changes = changes
        self.restrictedChanges = restrictedChanges
        self.anchors = anchors
        self.scopeKeys = scopeKeys
        self.cause = cause
        self.depth = depth
        self.operationMilliseconds = operationMilliseconds
    }
}
