// What happened in a simulation, counted: which faults fired, and what came of the edits.

import TestSupport

@testable import Replica

/// A kind of fault. A soak in which one of them hardly fired has not looked where it says it looked.
enum FaultKind: String, Sendable, CaseIterable, Comparable {
    // The network.
    case unreachable, requestLost, requestCut, replyLost, replyTruncated, requestDoubled, requestLate, replyToAnother, serverBusy, serverDeaf
    // The machine.
    case processDied, diskFull, storageFailed, clockDrifted, clockJumped, clockYearsOff, journalPruned
    // People and their files.
    case fileCopied, fileRestored, rebuilt, replicaUpgraded
    // The server and its operators.
    case serverRestored, serverUpgraded, tokensVoid, replicaSuspended, replicaRevoked, roleNarrowed, roleWidened, tombstonesForgotten,
        leftScope, serverClockJumped, weekPassed
    // Replicas that a restored server does not know any more, new ones, and files that enrolled again.
    case replicaForgotten, enrolledLate, enrolledAgain, enrolmentFailed
    // Consumers.
    case consumerDied, acknowledgementLost, acknowledgementLate, builtinDied
    // In the middle of somebody's sync or enrolment.
    case meanwhileEdited, meanwhileSynced, meanwhileWritten, meanwhileRevoked, meanwhileRoleChanged, meanwhileRestored, meanwhileForgotten,
        meanwhileConsumed, meanwhileCopied

    static func < (one: FaultKind, other: FaultKind) -> Bool { one.rawValue < other.rawValue }

    /// How many of a hundred simulations of a soak have at least one: somewhat below what a soak had. In a sound run it is not less
    /// than half of that, whatever the seeds.
    var expectedPercent: Int {
        switch self {
        case .replicaRevoked, .serverUpgraded: 10
        case .diskFull, .storageFailed, .clockYearsOff, .requestCut: 15
        case .serverClockJumped, .weekPassed, .journalPruned, .requestLate: 25
        case .acknowledgementLost, .roleWidened, .meanwhileForgotten, .meanwhileRestored: 35
        case .replyToAnother, .enrolledLate, .meanwhileConsumed, .meanwhileCopied, .replicaForgotten: 40
        case .replicaSuspended, .roleNarrowed, .fileCopied, .fileRestored, .rebuilt, .enrolledAgain, .enrolmentFailed: 45
        case .tombstonesForgotten, .tokensVoid, .acknowledgementLate, .builtinDied, .clockJumped, .clockDrifted, .meanwhileRevoked,
            .meanwhileRoleChanged:
            55
        case .serverRestored: 60
        case .consumerDied, .serverDeaf, .serverBusy: 65
        case .processDied, .replyTruncated, .requestDoubled, .leftScope, .replicaUpgraded, .meanwhileWritten: 75
        case .unreachable, .requestLost, .replyLost, .meanwhileEdited, .meanwhileSynced: 85
        }
    }
}

/// Shared by a run and everything in it.
final class Tally: Sendable {
    private let counts = Locked<[FaultKind: Int]>([:])
    private let steps = Locked<[String: Int]>([:])

    func count(_ kind: FaultKind) { counts.with { $0[kind, default: 0] += 1 } }
    var faults: [FaultKind: Int] { counts.with { $0 } }
    func count(deathAt place: String) { steps.with { $0[place, default: 0] += 1 } }
    /// Deaths of replicas' processes by storage step, or by the call whose answer they waited for.
    var deaths: [String: Int] { steps.with { $0 } }
}

/// The sums of several runs.
struct Statistics: Sendable {
    var seeds = 0
    var steps = 0
    var operations: [String: Int] = [:]
    var faults: [FaultKind: Int] = [:]
    /// In how many runs each kind fired at all.
    var seedsWith: [FaultKind: Int] = [:]
    /// Deaths of replicas' processes, by where they died.
    var deaths: [String: Int] = [:]
    /// Sealed sets that were followed to the end, and guarded writes of which it is known what their author was looking at.
    var edits = 0
    var sights = 0
    /// Deletes that took effect, and what was brought back on purpose, of which it was followed what they took along.
    var deletes = 0
    var revivals = 0
    /// Sets by the server's verdict.
    var outcomes: [String: Int] = [:]
    /// Entries that say so: values lost to later ones, sets refused because of somebody else's edit.
    var conflicts = 0
    var events = 0
    /// Documents that got one.
    var numbers = 0
    /// Sets that were answered as the same as one that had been decided under another id.
    var duplicates = 0
    var simulatedMilliseconds: Int64 = 0

    mutating func add(_ other: Statistics) {
        seeds += other.seeds
        steps += other.steps
        operations.merge(other.operations, uniquingKeysWith: +)
        faults.merge(other.faults, uniquingKeysWith: +)
        deaths.merge(other.deaths, uniquingKeysWith: +)
        edits += other.edits
        sights += other.sights
        deletes += other.deletes
        revivals += other.revivals
        seedsWith.merge(other.seedsWith, uniquingKeysWith: +)
        outcomes.merge(other.outcomes, uniquingKeysWith: +)
        conflicts += other.conflicts
        events += other.events
        numbers += other.numbers
        duplicates += other.duplicates
        simulatedMilliseconds += other.simulatedMilliseconds
    }

    private static func list(_ counts: [(key: String, value: Int)]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    var lines: [String] {
        [
            "operations: " + Self.list(operations.map { ($0.key, $0.value) }),
            "faults: " + Self.list(FaultKind.allCases.map { ($0.rawValue, faults[$0] ?? 0) }),
            "fired in % of seeds: " + Self.list(FaultKind.allCases.map { ($0.rawValue, (seedsWith[$0] ?? 0) * 100 / max(1, seeds)) }),
            "deaths: " + Self.list(deaths.map { ($0.key, $0.value) }),
            "steps at which nobody died: " + StorageStep.allCases.map(\.rawValue).filter { deaths[$0] == nil }.joined(separator: ", "),
            "\(edits) sets followed to the end, \(sights) overwritten guarded values compared with what their author was looking at",
            "\(deletes) deletes and \(revivals) that were brought back followed to the end",
            "verdicts: " + Self.list(outcomes.map { ($0.key, $0.value) }),
            "\(seeds) seeds, \(steps) operations, \(faults.values.reduce(0, +)) faults, \(conflicts) conflicts, \(duplicates) duplicates, \(events) events, \(numbers) numbers, "
                + "\(simulatedMilliseconds / 3_600_000) simulated hours",
        ]
    }

    /// What has hardly been looked at: less than half of what a hundred seeds of a sound run have at least. One run says little.
    var rareLooks: [String] {
        [("sights", sights, 150), ("deletes", deletes, 80), ("revivals", revivals, 10)].filter { _, count, expected in
            count < seeds * expected / 200
        }.map { name, count, _ in "\(name) (\(count))" }
    }

    /// Kinds that fired in far fewer simulations than in a sound run: less than half of their share.
    var rareFaults: [FaultKind] {
        FaultKind.allCases.filter { (seedsWith[$0] ?? 0) < max(1, seeds * $0.expectedPercent / 200) }
    }
}
