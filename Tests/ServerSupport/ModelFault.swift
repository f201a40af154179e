// Ways in which a server can be wrong, built into the model on purpose: tests switch one on to prove that they would see it.

import SyncProtocol

@testable import Replica

public enum ModelFault: String, Sendable, CaseIterable {
    /// A set seen before is processed again.
    case skipsDeduplication
    /// A push is answered, then its transaction is lost.
    case acknowledgesBeforeCommit
    /// A position is visible to readers before what stands there: a commit that came late.
    case commitsLate
    /// Of two concurrent writes the one that arrives later stands.
    case lastWriterByArrival
    /// Every set is decided as if its author had seen everything.
    case knowsEverything
    /// A counter with other content is taken for the set that was stored under it.
    case mistakesCopies
    /// Cursors of a lost history are taken for its own.
    case overlooksRestores
    /// The positions of a new epoch go on where the backup ends.
    case reusesPositions
    /// Tombstones go without anybody who still needs them being told.
    case forgetsTombstonesSilently
    /// An accepted change leaves no entry in the feed.
    case leavesOutEntries
    /// The value that lost to a later one is recorded nowhere.
    case forgetsSuperseded
    /// A set that comes back after a restore is acknowledged and not applied.
    case dropsHealed
    /// What a courier brings is decided, whether it was decided before or not.
    case decidesBroughtAgain
    /// A file that enrols again is believed how far its sets were decided.
    case believesClaimedCounters
    /// An edit of a deleted record brings it back, and everybody is told so.
    case revivesEdited
    /// A delete takes along what its author had not seen.
    case deletesUnseen
    /// What a set was sealed as first counts for nothing.
    case forgetsOrigins
    /// What replicas say of numbers after a restore counts for nothing.
    case restartsNumbers
    /// Nobody is told that a record has left.
    case keepsWhatLeft
    /// What takes its scope from another record stays where it was when that one moves.
    case skipsRescope
    /// Digests are those of everything, whoever asks.
    case comparesWithEverything
    /// Pages have every row of every entity, whoever asks.
    case sendsEverything
    /// What a set is about is not held against what its author may see.
    case writesUnseen
    /// Pulled events leave one out.
    case skipsEvents
    /// An event that is told again has another id.
    case renamesEvents
    /// Reading an event counts as having dealt with it.
    case acknowledgesOnReading
    /// An acknowledgement counts for whatever stands at its position now.
    case acknowledgesBlindly
    /// What a built-in consumer changes commits before its cursor.
    case worksWithoutItsCursor
    /// The cursor of a built-in consumer commits before what it changes.
    case movesItsCursorFirst
}

extension ModelServer {
    /// With ``ModelFault/mistakesCopies``: takes the set for the one that has its counter.
    func mistakesForItsOwn(_ set: PushRequest.Received) -> Bool {
        guard fault == .mistakesCopies, let stored = state.outcomes[set.dot.replica]?[set.dot.counter] else { return false }
        state.outcomes[set.dot.replica]?[set.dot.counter] = (set.hash, stored.bytes)
        return true
    }

    /// With ``ModelFault/commitsLate``: the newest record is not there yet for whoever reads from below it.
    func lateRecord(_ after: Int64) -> RecordKey? {
        guard fault == .commitsLate, let newest = ordered?.records.last, newest.position.position > after else { return nil }
        return newest.key
    }

    /// With ``ModelFault/skipsRescope``: a record that nobody has written itself.
    func leavesBehind(_ record: RecordState, _ entries: [FeedEntry]) -> Bool {
        fault == .skipsRescope && entries.contains { $0.kind == FeedEntry.rescoped && $0.key == record.key }
    }

    /// With ``ModelFault/deletesUnseen``: whoever deletes counts as having seen everything.
    func overlooking(_ submission: Submission) -> VectorClock {
        guard fault == .deletesUnseen, submission.changes.contains(where: { $0.operation == .delete }) else { return submission.clock }
        return VectorClock(feed: FeedPosition(epoch: state.epoch, position: state.position), replicas: submission.clock.replicas)
    }

    /// With ``ModelFault/revivesEdited``: each deleted record is restored before the edit of it.
    func reviving(_ changes: [Change]) -> [Change] {
        guard fault == .revivesEdited else { return changes }
        return changes.flatMap { change in
            switch change.operation {
            case .patch where state.records[change.key]?.isLive == false: [Change(key: change.key, operation: .restore), change]
            default: [change]
            }
        }
    }

    /// The entries that reach the feed.
    func kept(_ entries: [ActivityEntry]) -> [ActivityEntry] {
        switch fault {
        case .leavesOutEntries: entries.filter { $0.position.position % 7 != 0 }
        case .forgetsSuperseded: entries.filter { $0.kind != "sync.superseded" }
        default: entries
        }
    }
}
