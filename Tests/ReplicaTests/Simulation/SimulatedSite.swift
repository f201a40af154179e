// One replica of a simulation with everything that can happen to it.

import Foundation
import SyncProtocol
import TestSupport

@testable import Replica

final class SimulatedSite {
    let name: String
    let path: String
    let role: Role
    let member: Identifier
    let faults: StorageFaults
    let model: ModelTransport
    /// How far this machine's clock is off, milliseconds.
    let clockError: Locked<Int64>
    let isDeaf: Locked<Bool>
    var replica: Replica
    /// Milliseconds by which the clock error grows with every step.
    var drift: Int64 = 0
    /// Records that a tool has edited since the last seal: a second edit of the same one would be the same set.
    var unsealed: Set<Identifier> = []
    /// What was written here, as far as this file has to account for it.
    var tokens: Set<String> = []
    /// The newest checkpoint seen, and the replica id that it was seen with.
    var checkpoint: FeedPosition?
    /// Open problems as of the last look.
    var openProblems: Set<Int64> = []

    init(
        name: String, path: String, role: Role, member: Identifier, faults: StorageFaults, model: ModelTransport, clockError: Locked<Int64>,
        isDeaf: Locked<Bool>,
        replica: Replica
    ) {
        self.name = name
        self.path = path
        self.role = role
        self.member = member
        self.faults = faults
        self.model = model
        self.clockError = clockError
        self.isDeaf = isDeaf
        self.replica = replica
    }
}

/// An older copy of a site's file.
struct FileBackup {
    let path: String
    /// What this file has to account for.
    let tokens: Set<String>
}
