// One replica of a simulation with everything that can happen to it.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

final class SimulatedSite {
    let name: String
    let member: Identifier
    /// What lies around the file whatever process has it open.
    let surroundings: Surroundings
    var path: String
    /// Grows by updates only.
    var build: Schema
    var replica: Replica
    /// Milliseconds by which the clock error grows with every step.
    var drift: Int64 = 0
    /// Records that a tool has edited since the last seal: a second edit of the same one would be the same set.
    var unsealed: Set<Identifier> = []
    /// What was written here, as far as this file has to account for it.
    var tokens: Set<String> = []
    /// The newest checkpoint seen, and the replica id that it was seen with.
    var checkpoint: FeedPosition?
    /// A code that was not seen to work yet.
    var code: String?
    /// Open problems as of the last look.
    var openProblems: Set<Int64> = []

    struct Surroundings: Sendable {
        let faults = StorageFaults()
        let model: ModelTransport
        /// How far this machine's clock is off, milliseconds.
        let clockError: Locked<Int64>
        let line = SimulatedNetwork.Line()
        /// Where a dying process leaves its file, byte for byte as it was at that moment.
        let remains = Locked<(from: String, to: String)?>(nil)

        init(_ server: any ServerCore, clockError: Int64) {
            model = ModelTransport(server)
            self.clockError = Locked(clockError)
        }

        /// The files that belong to a database, the journal of an open transaction included.
        static func files(of path: String) -> [String] { ["", "-journal", "-wal"].map { path + $0 } }

        func step(_ step: StorageStep) throws {
            do { try faults.check(step) } catch {
                if let (from, to) = remains.with({ $0 }) {
                    for (old, new) in zip(Self.files(of: from), Self.files(of: to)) where FileManager.default.fileExists(atPath: old) {
                        try FileManager.default.copyItem(atPath: old, toPath: new)
                    }
                }
                throw error
            }
        }
    }

    init(name: String, member: Identifier, surroundings: Surroundings, path: String, build: Schema, replica: Replica) {
        self.name = name
        self.member = member
        self.surroundings = surroundings
        self.path = path
        self.build = build
        self.replica = replica
    }

    var faults: StorageFaults { surroundings.faults }
    var model: ModelTransport { surroundings.model }
    var clockError: Locked<Int64> { surroundings.clockError }
    var line: SimulatedNetwork.Line { surroundings.line }

    /// Past all of the library, its triggers included.
    func script(_ sql: String) throws {
        let connection = try SQLiteConnection(path: path, mode: .readWrite, busyTimeoutMilliseconds: 30_000)
        defer { connection.close() }
        try connection.disableTriggers()
        try connection.script(sql)
    }
}

/// An older copy of a site's file.
struct FileBackup {
    let path: String
    /// What this file has to account for.
    let tokens: Set<String>
    let build: Schema
}
