// How much a server keeps for one tenant, how that is counted, and how it says that there is no room for more.

/// How much a tenant may store. Whatever makes a server keep more leaves an entry in the feed or an outcome, which are never forgotten:
/// those are counted, with about as much as the rows beside them take (what is indexed, the record itself, its name on timelines). So
/// the count only grows, and nobody has to look at the tables for it.
public struct StorageQuota: Sendable, Hashable {
    /// nil: as much as the disk holds.
    public var bytesMax: Int64?

    public static let bytesMaxDefault: Int64 = 100 << 30

    public init(bytesMax: Int64? = StorageQuota.bytesMaxDefault) { self.bytesMax = bytesMax }

    /// The cap's name in refusals.
    public static let name = "tenant_bytes"

    /// What an entry of the feed takes besides what it says: its other columns and indexes, its places on timelines, and its record. (A
    /// client made by a set of its own takes 2.1 KiB of Postgres, of which this is the most; a change of one field 1.2 KiB.)
    public static let entryBytes: Int64 = 1_536
    /// The same of a decided set besides its outcome.
    public static let setBytes: Int64 = 256
    /// The same of a replica besides its record.
    public static let replicaBytes: Int64 = 512

    /// Of an entry of the feed that says so much (``FeedEntry/saidBytes(_:_:)``).
    public static func bytes(ofEntryWith saidBytes: Int) -> Int64 { entryBytes + Int64(saidBytes) }
    /// - Parameter outcomeBytes: Of the outcome's text.
    public static func bytes(ofSetWith outcomeBytes: Int) -> Int64 { setBytes + Int64(outcomeBytes) }

    /// Throws `limit_reached` when nothing more may be stored. What is over the limit then is the last request that was not refused.
    /// - Parameters:
    ///   - field: What of the request it is about.
    ///   - fits: Of a push: how many of its sets, from the first on, there is room for.
    public func requireRoom(beside stored: Int64, field: String, fits: Int? = nil) throws(ErrorReply) {
        guard let bytesMax, stored >= bytesMax else { return }
        throw .limitReached(
            StorageQuota.name, max: Int(bytesMax), field: field, retryAfterSeconds: 300,
            details: fits.map { ["fits": .integer(Int64($0))] } ?? JSONObject(),
            "this company has stored as much as its server lets it; whoever runs the server can allow more "
                + "(sync-server serve --tenant-quota-gb), and nothing that waits for it is lost")
    }
}

extension FeedEntry {
    /// About as many bytes as what it says takes, as JSON.
    public var saidBytes: Int { FeedEntry.saidBytes(changes, restrictedChanges) }

    public static func saidBytes(_ changes: JSONObject, _ restrictedChanges: JSONObject) -> Int {
        changes.roughBytes + restrictedChanges.roughBytes
    }

    /// What it counts for a tenant's ``StorageQuota``.
    public var storedBytes: Int64 { StorageQuota.bytes(ofEntryWith: saidBytes) }
}

extension JSONObject {
    fileprivate var roughBytes: Int { reduce(2) { $0 + $1.key.utf8.count + 4 + $1.value.roughBytes } }
}

extension JSONValue {
    fileprivate var roughBytes: Int {
        switch self {
        case .string(let text): text.utf8.count + 2
        case .array(let elements): elements.reduce(2) { $0 + $1.roughBytes + 1 }
        case .object(let object): object.roughBytes
        default: 8
        }
    }
}
