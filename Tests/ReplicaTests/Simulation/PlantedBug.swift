// Bugs put in on purpose, to prove that the invariants see what they are for. Each is switched on from outside of the product:
// by the server model, on the wire, or in the file between two calls.

import ServerSupport
import SyncProtocol

@testable import Replica

enum PlantedBug: String, Sendable, CaseIterable {
    // On the wire.
    case skipsRecord, halfPageApplied, pageCursorAsKnowledge, splitsSets, tellsOldRows
    case dropsOutcome, answersForAnother, acknowledgesTooFar, takesOtherCopysOutcome
    case appliesTwice, countsTwiceOnRetry, takesAnyAnswer
    // In the file.
    case losesPending, rebuildDropsPending, forgetsProblem, rejectedLosesText, baseNotSaved, dropsUnknownFields, cursorBeforeChanges,
        losesReturnedEdit, forkDropsIncrements, withdrawnWithoutTextVanishes, claimsUnseen, claimsTooLittle
    // At the server.
    case resurrects, revivesEdited, deletesUnseen, skipsDeduplication, acknowledgesBeforeCommit, commitsLate, lastWriterByArrival,
        knowsEverything, mistakesCopies, overlooksRestores, reusesPositions, forgetsTombstonesSilently, leavesOutEntries, forgetsSuperseded,
        dropsHealed, decidesBroughtAgain, believesClaimedCounters, forgetsOrigins, keepsWhatLeft, skipsRescope, comparesWithEverything,
        sendsEverything, writesUnseen, restartsNumbers
    // In the feed as consumers read it.
    case skipsEvents, renamesEvents, acknowledgesOnReading, acknowledgesBlindly, worksWithoutItsCursor, movesItsCursorFirst

    // In the database under a real server.
    case mixesTenants, forgetsAnswers, emptiesEntries, hidesChanges, dropsUpdates

    /// How the database is wrong under it.
    var storeFault: StoreFault? { StoreFault(rawValue: rawValue) }

    /// How the model server is wrong under it.
    var serverFault: ModelFault? { ModelFault(rawValue: rawValue) }

    struct Entry {
        /// What is broken, as the catalogue tells it.
        let breaks: String
        /// Promises that it breaks; the first that is looked at finds it.
        let invariants: Set<String>
        /// The seed that finds it, tried first; the others up to 20 follow.
        let seed: UInt64
        /// At least so many: what it takes has to come about first.
        let steps: Int
        /// What happens more often, so that it shows soon.
        let emphasis: [Simulation.Operation]
        let profile: Simulation.Profile
    }

    private static func entry(
        _ breaks: String, _ invariants: Set<String>, seed: UInt64 = 1, steps: Int = 80, more emphasis: [Simulation.Operation] = [],
        in profile: Simulation.Profile = .ordinary
    ) -> Entry {
        Entry(breaks: breaks, invariants: invariants, seed: seed, steps: steps, emphasis: emphasis, profile: profile)
    }

    var entry: Entry {
        switch self {
        case .skipsRecord: Self.entry("a page leaves out one of its records", ["I1", "I4", "I7", "I13"])
        case .halfPageApplied: Self.entry("only the first half of a page is applied", ["I1", "I4", "I13"])
        case .pageCursorAsKnowledge: Self.entry("the end of a page is taken for a checkpoint", ["I4", "I5", "I6", "I8"])
        case .splitsSets: Self.entry("one record of a set of two arrives later than the other", ["I4", "I1", "I13"])
        case .tellsOldRows: Self.entry("a record arrives as it was before", ["I5", "I1", "I4", "I13"], seed: 2, more: [.sync, .write])
        case .dropsOutcome: Self.entry("an outcome that was not heard at once never comes", ["I6", "I12"], seed: 4)
        case .answersForAnother: Self.entry("a rejection arrives as another set's acceptance", ["I2"])
        case .acknowledgesTooFar: Self.entry("the checkpoint acknowledges one set too many", ["I3", "I6", "I12"])
        case .takesOtherCopysOutcome:
            Self.entry("the outcome of another copy's set is taken for one's own", ["I2", "I9", "I12"], seed: 4, more: [.copyFile])
        case .appliesTwice: Self.entry("what a set adds to a counter is added twice", ["I3"], seed: 4)
        case .countsTwiceOnRetry: Self.entry("what a set adds to a counter is added again when it is sent again", ["I3"])
        case .takesAnyAnswer:
            Self.entry(
                "an answer to another request is taken for one's own", ["I1", "I2", "I4", "I5", "I6", "I7", "I13"], seed: 27,
                more: [.rebuild, .sync, .changeRole])
        case .losesPending: Self.entry("the newest pending set vanishes from the file", ["I6", "I14", "I15"])
        case .rebuildDropsPending: Self.entry("a rebuild drops what is pending", ["I6", "I14"], more: [.rebuild])
        case .forgetsProblem:
            Self.entry("the rejection of a set leaves no problem behind", ["I6", "I9"], seed: 2, more: [.serverWrite, .changeRole])
        case .rejectedLosesText:
            Self.entry("a problem loses the text of its edit", ["I6", "I9", "I15"], seed: 2, more: [.serverWrite, .changeRole])
        case .baseNotSaved: Self.entry("the confirmed image under a local edit is not saved", ["I1", "I5", "I14"])
        case .dropsUnknownFields: Self.entry("an older build drops fields that it does not know", ["I1"], seed: 3, more: [.upgrade])
        case .cursorBeforeChanges: Self.entry("the cursor is stored before the changes it stands for", ["I1", "I4", "I7", "I13"], seed: 3)
        case .losesReturnedEdit:
            Self.entry("an edit whose command has returned is lost with the process", ["I15", "I12", "I14"], seed: 2, more: [.crash])
        case .forkDropsIncrements:
            Self.entry(
                "a fork drops increments that it moves", ["I6", "I8", "I14", "I15"], seed: 12,
                more: [.copyFile, .restoreFile, .backUpFile, .write])
        case .withdrawnWithoutTextVanishes:
            Self.entry(
                "a set without text that was taken out, because it got no answer, leaves no problem behind", ["I6", "I8"], seed: 32,
                more: [.write, .sync])
        case .claimsUnseen:
            Self.entry(
                "a set claims the server's head, which its author had not seen", ["I5", "I8"], steps: 160, more: [.write, .sync, .serverWrite])
        case .claimsTooLittle: Self.entry("a set claims to know nothing of what its author was looking at", ["I5"])
        case .dropsHealed:
            Self.entry(
                "a set that comes back after a restore is acknowledged and not applied", ["I2", "I8", "I3"],
                more: [.snapshotServer, .restoreServer])
        case .resurrects: Self.entry("a tombstone comes back to life", ["I11"], seed: 4)
        case .revivesEdited:
            Self.entry(
                "an edit of a deleted record brings it back, and the feed says so", ["I11"], seed: 6, more: [.write, .sync], in: .steady)
        case .deletesUnseen:
            Self.entry("a delete takes along what its author had not seen", ["I11"], seed: 4, more: [.write, .sync], in: .steady)
        case .skipsDeduplication: Self.entry("a set seen before is processed again", ["I2", "I3", "I11"], seed: 2)
        case .acknowledgesBeforeCommit: Self.entry("a push is answered before its transaction commits", ["I2"])
        case .commitsLate: Self.entry("positions are given out without the lock, so a commit may come late", ["I1", "I13"])
        case .lastWriterByArrival: Self.entry("of two concurrent writes the one that arrives later stands", ["I8"], seed: 13)
        case .knowsEverything: Self.entry("a set counts as having known everything", ["I8"], seed: 10)
        case .mistakesCopies:
            Self.entry("a copied file's set is taken for the one with its counter", ["I2", "I8", "I9"], seed: 2, more: [.copyFile])
        case .overlooksRestores:
            Self.entry(
                "a restored server is not noticed", ["I1", "I2", "I5", "I6", "I12", "I13"], more: [.snapshotServer, .restoreServer])
        case .reusesPositions:
            Self.entry(
                "a new epoch goes on at the positions of the lost one", ["I1", "I5", "I8"], seed: 2,
                more: [.snapshotServer, .restoreServer])
        case .forgetsTombstonesSilently:
            Self.entry("tombstones go before their horizon", ["I1", "I7", "I13"], seed: 14, more: [.forgetTombstones])
        case .leavesOutEntries: Self.entry("an accepted change leaves no entry in the feed", ["I2", "I8", "I11", "I16"])
        case .forgetsSuperseded: Self.entry("the value that lost is recorded nowhere", ["I2", "I8"], seed: 3)
        case .decidesBroughtAgain:
            Self.entry(
                "a set that a courier brings is decided though it was before", ["I2", "I3"], seed: 2,
                more: [.copyFile, .snapshotServer, .restoreServer, .revoke])
        case .believesClaimedCounters:
            Self.entry(
                "a file that enrols again is believed how far its sets were decided", ["I3"],
                more: [.snapshotServer, .restoreServer, .sync])
        case .forgetsOrigins:
            Self.entry("what a set was sealed as first counts for nothing", ["I3"], seed: 4, in: .parting)
        case .keepsWhatLeft:
            Self.entry("a record that changes hands stays with who had it", ["I1", "I7", "I13"], seed: 11, more: [.handOver, .sync])
        case .skipsRescope:
            Self.entry("what takes its scope from a link stays where it was when the link goes", ["I7"], seed: 2, more: [.handOver, .sync])
        case .comparesWithEverything: Self.entry("digests are of everything, whoever asks", ["I13"])
        case .sendsEverything: Self.entry("pages have every row, whoever asks", ["I1", "I7", "I13"])
        case .writesUnseen:
            Self.entry(
                "a set may change what its author does not see any more", ["I7"], seed: 27, more: [.handOver, .changeRole, .write])
        case .restartsNumbers:
            Self.entry(
                "a restored server gives numbers that others have seen again", ["I17"], seed: 26, steps: 160,
                more: [.write, .snapshotServer, .restoreServer])
        case .skipsEvents: Self.entry("a consumer is never told of an event", ["I10"])
        case .renamesEvents: Self.entry("an event that is told again has another id", ["I10"], seed: 3)
        case .acknowledgesOnReading: Self.entry("a consumer's cursor is stored before it has dealt with the events", ["I10"], seed: 8)
        case .acknowledgesBlindly:
            Self.entry(
                "an acknowledgement from a lost history counts", ["I10"], seed: 19, steps: 160,
                more: [.consume, .snapshotServer, .restoreServer, .serverWrite, .handOver])
        case .worksWithoutItsCursor:
            Self.entry("what a built-in consumer changes commits before its cursor", ["I16"], more: [.runBuiltin])
        case .movesItsCursorFirst:
            Self.entry("the cursor of a built-in consumer commits before what it changes", ["I16"], more: [.runBuiltin])
        case .mixesTenants: Self.entry("a lookup by id takes the other company's record", ["I7"])
        case .forgetsAnswers: Self.entry("the outcome of a set is answered and not kept", ["I2", "I12"])
        case .emptiesEntries: Self.entry("entries of the feed do not say what has changed", ["I8", "I11"])
        case .hidesChanges: Self.entry("an entity that has changed looks as if it had not", ["I1", "I4", "I7"])
        case .dropsUpdates: Self.entry("an update of a record is dropped, and its entry stays", ["I1", "I4", "I8"])
        }
    }
}
