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
    /// The last number by year that it has seen and the server may have lost.
    var numbersOwed: [Int: Int] = [:]
    /// What documents were called that sets of this file had given their numbers.
    var called: [RecordKey: String] = [:]
    /// Sealed sets that this file has to account for, by what they say.
    var edits: Set<Int> = []
    /// Those of them that stood in the journal when it was last looked into, with the server's time of their confirmation.
    var confirmed: [Int: Int64] = [:]
    /// Of edits whose problem somebody has seen to: when a sync met it so.
    var settled: [Int: Int64] = [:]
    var tokensOf: [Int: Set<String>] = [:]
    /// As of which position records were seen last, nothing of their own on them, in which epoch.
    var positions: [String: Int64] = [:]
    var readEpoch: Int64?
    /// Its process dies there, while it waits for an answer.
    var diesDuring: (call: Call, moment: Moment)?
    /// It has an id and a token.
    var isEnrolled = false
    /// The server was restored since it last synced to the end; a copy of the file is about: what a death in the middle of these would hit.
    var mayHeal = false
    var mayFork = false
    /// There is, or was, another file with its past: then it may be told apart and go on under another id.
    var hasTwin = false
    /// It has asked to be enrolled, and has not heard that it keeps its id.
    var mayGetAnotherID = false
    /// As of the last look.
    var id: Identifier?
    /// The newest checkpoint seen, and the replica id that it was seen with.
    var checkpoint: FeedPosition?
    /// A code that was not seen to work yet.
    var code: String?
    /// While something is wrong with its disk, storage errors are what people expect.
    var expectsStorageErrors = false
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
                try die()
                throw error
            }
        }

        /// The file is left as it lies, if somebody wants to see it.
        func die() throws {
            guard let (from, to) = remains.with({ $0 }) else { return }
            for (old, new) in zip(Self.files(of: from), Self.files(of: to)) where FileManager.default.fileExists(atPath: old) {
                try FileManager.default.copyItem(atPath: old, toPath: new)
            }
            line.isDead.with { $0 = true }
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
    func script(_ sql: String) throws { try Self.script(sql, path) }

    static func script(_ sql: String, _ path: String) throws {
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
    let edits: Set<Int>
    let confirmed: [Int: Int64]
    let tokensOf: [Int: Set<String>]
    let build: Schema
}
