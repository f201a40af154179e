// What a sync did, and what a replica is doing now.

import SyncProtocol

public struct SyncOptions: Sendable {
    /// How long the pull may wait for news when there is none, milliseconds.
    public var waitMilliseconds: Int
    /// Records on a page.
    public var pageLimit: Int
    /// Fetches all confirmed state anew, keeping pending sets.
    public var rebuilds: Bool
    /// Entries of the timeline that the file keeps, at most; 0: none.
    public var activityEntries = 10_000
    /// How far back the timeline goes, days.
    public var activityDays = 90
    /// Continuous syncs look at the file for edits of other processes.
    public var watchesFile: Bool
    /// Offers what is pending. A continuous sync does without for a while after the server refused to take anything.
    var pushes = true

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
    /// Sets taken out: because the server could not answer them, or because they were written by plain SQL and refused here.
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
    /// Sets that were confirmed once, are missing at the server since it was restored from a backup, and go out again.
    public internal(set) var healing = 0
    /// Sets that wait for what another replica still has to bring back.
    public internal(set) var deferred = 0
    /// Confirmed state was fetched anew.
    public internal(set) var isResync = false
    /// The file turned out to be a copy, or an old state, of another one that has synced since; it goes on as a replica of its own.
    public internal(set) var fork: ForkReport?
    /// The timeline could not be brought up to date; the data was.
    public internal(set) var activityFailure: ReplicaError?
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
        healing += applied.healing
    }
}

/// A copied or restored file has become a replica of its own. Nothing was applied twice, nothing was lost.
public struct ForkReport: Sendable, Hashable {
    /// Unsent sets that moved to the new id.
    public let movedSets: Int
    /// Sets that the other copy has sent and this file never had; their effects came with this sync.
    public let unknownSets: Int
    /// Those of them that the server rejected: they wait in the problems of the other copy.
    public let unknownRejected: Int
    /// The new id.
    public let replica: Identifier
}

/// What the sync of a replica is doing.
public enum SyncState: Sendable, Hashable {
    case idle
    case pushing(pendingSets: Int)
    case pulling(records: Int)
    case applying
    /// Trying again after a failure, in so many milliseconds.
    case waiting(milliseconds: Int64, reason: String)
    /// News comes, but the server refuses to take what is pending; it is offered again later.
    case refused(reason: String)
    /// Stopped until a person does something: enrols anew, updates, …
    case stopped(reason: String)
}

/// Data of these entities changed in the file.
public struct ChangeNotice: Sendable, Hashable {
    public let entities: Set<String>
}
