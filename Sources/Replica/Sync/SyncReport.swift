// What a sync did, and what a replica is doing now.

import SyncProtocol

public struct SyncOptions: Sendable {
    /// How long the pull may wait for news when there is none, milliseconds.
    public var waitMilliseconds: Int
    /// Records on a page.
    public var pageLimit: Int
    /// Fetches all confirmed state anew, keeping pending sets.
    public var rebuilds: Bool
    /// Continuous syncs look at the file for edits of other processes.
    public var watchesFile: Bool

    #if os(iOS) || os(Android) || os(tvOS) || os(watchOS) || os(visionOS)
        /// On these systems an app has its file for itself.
        public static let watchesFileDefault = false
    #else
        public static let watchesFileDefault = true
    #endif

    public init(
        waitMilliseconds: Int = 0, pageLimit: Int = Limits.recordsPerPageDefault, rebuilds: Bool = false,
        watchesFile: Bool = SyncOptions.watchesFileDefault
    ) {
        self.waitMilliseconds = waitMilliseconds
        self.pageLimit = pageLimit
        self.rebuilds = rebuilds
        self.watchesFile = watchesFile
    }
}

public struct SyncReport: Sendable {
    /// Sets the server has answered.
    public internal(set) var pushed = 0
    public internal(set) var accepted = 0
    public internal(set) var noop = 0
    public internal(set) var rejected = 0
    /// Sets taken out because the server could not answer them.
    public internal(set) var withdrawn = 0
    /// Own values that were accepted but lost to later ones.
    public internal(set) var superseded = 0
    /// Pending sets that would be rejected as things stand now.
    public internal(set) var predictedRejections = 0
    /// Records received, tombstones included.
    public internal(set) var pulledRecords = 0
    public internal(set) var pages = 0
    public internal(set) var evicted = 0
    public internal(set) var newProblems: [Problem] = []
    public internal(set) var bytesSent = 0
    public internal(set) var bytesReceived = 0
    public internal(set) var durationMilliseconds: Int64 = 0
    /// Confirmed state was fetched anew.
    public internal(set) var isResync = false
    /// Pushing failed though pulling worked; the sets are still pending.
    public internal(set) var pushFailure: ReplicaError?

    init() {}

    mutating func add(_ applied: Applied) {
        accepted += applied.accepted
        noop += applied.noop
        rejected += applied.rejected
        superseded += applied.superseded
        predictedRejections += applied.predictedRejections
        pulledRecords += applied.records
        evicted += applied.evicted
    }
}

/// What the sync of a replica is doing.
public enum SyncState: Sendable, Hashable {
    case idle
    case pushing(pendingSets: Int)
    case pulling(records: Int)
    case applying
    /// Trying again after a failure, in so many milliseconds.
    case waiting(milliseconds: Int64, reason: String)
    /// Stopped until a person does something: enrols anew, updates, …
    case stopped(reason: String)
}

/// Data of these entities changed in the file.
public struct ChangeNotice: Sendable, Hashable {
    public let entities: Set<String>
}
