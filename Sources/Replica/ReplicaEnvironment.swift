// Time, chance and waiting come in here, so that tests decide them.

import Foundation

public struct ReplicaEnvironment: Sendable {
    /// Milliseconds since 1970 UTC as this machine believes.
    public var wallMilliseconds: @Sendable () -> Int64
    public var random: @Sendable () -> UInt64
    /// Waits; throws `CancellationError` when its task is cancelled.
    public var sleep: @Sendable (_ milliseconds: Int64) async throws -> Void
    /// Told now and then how far long work is, on whatever thread does it; must not block.
    public var progress: @Sendable (ReplicaProgress) -> Void = { _ in }
    /// Captured rows that are sealed in one transaction, to begin with; 1...
    package var sealedAtOnce = 1_000
    package var sealingPauseMilliseconds: Int64 = 120
    /// The time of an edit by plain SQL, which only SQLite's own clock has told; a test that decides the time says another one.
    package var capturedMilliseconds: @Sendable (_ told: Int64) -> Int64 = { $0 }
    /// How long a write waits for another process that writes.
    package var lockPatienceMilliseconds = 30_000
    /// Called before each durable step; throwing stands for a crash or an I/O error right there.
    package var storageStep: @Sendable (StorageStep) throws -> Void = { _ in }

    public init(
        wallMilliseconds: @escaping @Sendable () -> Int64, random: @escaping @Sendable () -> UInt64,
        sleep: @escaping @Sendable (Int64) async throws -> Void
    ) {
        self.wallMilliseconds = wallMilliseconds
        self.random = random
        self.sleep = sleep
    }

    public static let system = ReplicaEnvironment(
        wallMilliseconds: { Int64((Date().timeIntervalSince1970 * 1000).rounded()) },
        random: { UInt64.random(in: 0...UInt64.max) },
        sleep: { try await Task.sleep(nanoseconds: UInt64(max(0, $0)) * 1_000_000) })
}

/// How far long work is that nobody asked for by name.
public struct ReplicaProgress: Sendable, Equatable {
    public enum Work: String, Sendable {
        /// Edits by plain SQL become change sets; counted in edited rows.
        case sealing
        /// ``Replica/diagnose(online:)`` and ``Replica/digest()`` read every record; counted in entities.
        case comparing
    }

    public var work: Work
    public var done: Int
    public var total: Int
}

/// The points at which a replica can die between two writes.
package enum StorageStep: String, Sendable, CaseIterable {
    case applySeal, applyForget, applyRows, applyOutcomes, applyView, applyReplay, applyCheckpoint, applyCleanup
    case stagePage, recordOutcomes, writeBases, writeView, writePending, withdraw, prepareRebuild, fork, heal
    // Enrolling: the file is ready to ask; the answer is here and not stored; it is stored and not committed.
    case enrolAsk, enrolAnswer, enrolStored
    // Opening a file of an earlier build: nothing is done; the engine's tables are; the records' are; all of it is, not committed.
    case upgradeBegin, upgradeRecords, upgradeTriggers, upgradeStored

    /// Those of a file that is enrolled and of this build.
    package static let whileWorking = allCases.filter { ![.enrolAsk, .enrolAnswer, .enrolStored].contains($0) && !ofUpgrades.contains($0) }
    package static let ofUpgrades: [StorageStep] = [.upgradeBegin, .upgradeRecords, .upgradeTriggers, .upgradeStored]
}
