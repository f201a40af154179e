// One run: a server, some replicas, and a seed that decides everything that happens. Operations come one after another;
// after each the invariants that hold at any time are checked, at the end everything heals and the others are.
//
//   seed ─► operation ─► replicas, network, server ─► invariants ─► … ─► heal ─► invariants

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

actor Simulation {
    struct Report: Sendable {
        var seed: UInt64
        var trace: [String]
        var broken: BrokenInvariant?
        /// How often each operation was done.
        var operations: [String: Int]
    }

    enum Operation: String, CaseIterable {
        case write, writePair, writeSQL, editByTool, undo, resolve, sync, serverWrite
        case clock, crash, copyFile, backUpFile, restoreFile, snapshotServer, restoreServer, revoke, forgetTombstones, evict
        case rebuild
    }

    static let sitesMax = 5

    let seed: UInt64
    let steps: Int
    let bug: PlantedBug?
    let chance: Chance
    /// What the product and the server draw from, apart from the decisions of the run.
    let entropy: Chance
    // Far behind the real time: stamps of triggers, which SQLite takes from the machine, are always the replica's own next one.
    let clock = TestClock(milliseconds: 4_000_000_000_000)
    let server: any ServerCore
    let folder: URL
    let sent = SentSets()

    var sites: [SimulatedSite] = []
    var ledger = Ledger()
    var trace: [String] = []
    var operations: [String: Int] = [:]
    var backups: [(site: SimulatedSite, file: FileBackup)] = []
    var snapshots: [ModelServer.State] = []
    /// Hashes whose outcome was lost with a server's newer history.
    var lostHashes: Set<String> = []
    /// Two records that are only ever written together, with one value.
    var pair: [Identifier] = []
    var files = 0

    init(seed: UInt64, steps: Int, bug: PlantedBug? = nil, store: SimulatedStore = .chosen) {
        self.seed = seed
        self.steps = steps
        self.bug = bug
        chance = Chance(seed: seed)
        let entropy = Chance(seed: seed ^ 0x5EED_0F_C4A0_5)
        self.entropy = entropy
        let clock = clock
        server = store.server(seed: seed, random: { entropy.next() }, now: { clock.now })
        // Deaths are simulated by errors, so the files need no disk under them.
        let memory = URL(fileURLWithPath: "/dev/shm")
        let parent = FileManager.default.isWritableFile(atPath: memory.path) ? memory : FileManager.default.temporaryDirectory
        folder = parent.appendingPathComponent("tideline-simulation-\(UUID().uuidString)")
    }

    func run() async -> Report {
        var broken: BrokenInvariant?
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try await begin()
            for number in 1...steps { try await step(number) }
            try await heal()
        } catch let failure as BrokenInvariant {
            broken = failure
        } catch {
            broken = BrokenInvariant(name: "I0", detail: "an error nobody expected: \(error)")
        }
        for site in sites { await site.replica.close() }
        do { try FileManager.default.removeItem(at: folder) } catch { trace.append("the folder stays: \(error)") }
        if let broken { trace.append("BROKEN \(broken)") }
        return Report(seed: seed, trace: trace, broken: broken, operations: operations)
    }

    // MARK: Beginning

    private func begin() async throws {
        let ids = (0..<10).map { _ in Identifier.version7(milliseconds: clock.now, random: (entropy.next(), entropy.next())) }
        pair = [ids[0], ids[1]]
        server.write([
            Change("client", ids[0], .create(fields: ["name": "Left", "legal_name": "same"])),
            Change("client", ids[1], .create(fields: ["name": "Right", "legal_name": "same"])),
            Change("part", ids[2], .create(fields: ["sku": "bolt", "name": "Bolt"])),
            Change("custom_field", ids[3], .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": "text"])),
            Change("client", ids[4], .create(fields: ["name": "Acme", "tags": ["a", "b"], "notes": "base"])),
            Change("client", ids[5], .create(fields: ["name": "Pier 9", "notes": "base"])),
            Change("contact", ids[6], .create(fields: ["last_name": "Ortiz", "tags": ["a"]])),
            Change("document", ids[7], .create(fields: ["title": "Quote"])),
            Change("document_line", ids[8], .create(fields: ["document": .string(ids[7].text), "label": "Work", "price": 100])),
            Change("note", ids[9], .create(fields: ["subject_type": "part", "subject_id": .string(ids[2].text), "body": "Rusty"])),
        ])
        let count = 2 + chance.below(2)
        for number in 0..<count {
            let role: Role = number == 0 ? .owner : chance.weighted([(4, .owner), (3, .manager), (1, .field)])
            try await enroll("s\(number)", role: role)
        }
    }

    private func enroll(_ name: String, role: Role) async throws {
        let invitation = server.invite(name, role: role)
        let site = try await open(name, role: role, member: invitation.member, error: chance.within(-60_000...60_000))
        guard let url = URL(string: "http://model") else { return }
        try await site.replica.enroll(server: url, code: invitation.code, label: name)
        try await site.replica.sync()
        sites.append(site)
        note("\(name) enrols as \(role.rawValue)")
    }

    // MARK: Files

    func newPath() -> String {
        files += 1
        return folder.appendingPathComponent("f\(files).sqlite").path
    }

    /// A site on a file of its own, which may exist already.
    func open(_ name: String, role: Role, member: Identifier, error: Int64, path: String? = nil) async throws -> SimulatedSite {
        let path = path ?? newPath()
        let (faults, model, clockError) = (StorageFaults(), ModelTransport(server), Locked(error))
        let isDeaf = Locked(false)
        let replica = try await open(path, faults, model, clockError, isDeaf)
        return SimulatedSite(
            name: name, path: path, role: role, member: member, faults: faults, model: model, clockError: clockError, isDeaf: isDeaf,
            replica: replica)
    }

    private func open(
        _ path: String, _ faults: StorageFaults, _ model: ModelTransport, _ clockError: Locked<Int64>, _ isDeaf: Locked<Bool>
    ) async throws -> Replica {
        let (clock, entropy) = (clock, entropy)
        var environment = ReplicaEnvironment(
            wallMilliseconds: { clock.now + clockError.with { $0 } }, random: { entropy.next() },
            sleep: { milliseconds in
                try Task.checkCancellation()
                clock.sleep(milliseconds)
            })
        environment.storageStep = { try faults.check($0) }
        return try await Replica.open(
            path, schema: .testing, transport: SimulatedNetwork(model: model, sent: sent, bug: bug, chance: entropy, isDeaf: isDeaf),
            environment: environment)
    }

    /// Opens the site's file as a new process would.
    func reopen(_ site: SimulatedSite) async throws {
        site.faults.fail(at: nil)
        site.replica = try await open(site.path, site.faults, site.model, site.clockError, site.isDeaf)
    }

    // MARK: Steps

    private static let weights: [(weight: Int, value: Operation)] = [
        (30, .write), (6, .writePair), (5, .writeSQL), (4, .editByTool), (4, .undo), (8, .resolve), (34, .sync), (4, .serverWrite),
        (4, .clock), (6, .crash), (1, .copyFile), (2, .backUpFile), (2, .restoreFile), (3, .snapshotServer), (2, .restoreServer),
        (1, .revoke), (1, .forgetTombstones), (1, .evict), (1, .rebuild),
    ]

    private func step(_ number: Int) async throws {
        clock.advance(chance.within(1...120_000))
        for site in sites { site.clockError.with { $0 = max(-172_800_000, min(172_800_000, $0 + site.drift)) } }
        let operation = chance.weighted(Self.weights)
        let site = sites[chance.below(sites.count)]
        operations[operation.rawValue, default: 0] += 1
        let what = try await perform(operation, site)
        note("\(number) \(operation.rawValue) \(site.name): \(what) @\(server.position)")
        try await checkAlways(site)
    }

    private func perform(_ operation: Operation, _ site: SimulatedSite) async throws -> String {
        switch operation {
        case .write: return try await write(site)
        case .writePair: return try await writePair(site)
        case .writeSQL: return try await writeSQL(site)
        case .editByTool: return try await editByTool(site)
        case .undo: return try await undo(site)
        case .resolve: return try await resolve(site)
        case .sync: return try await sync(site)
        case .serverWrite: return try await serverWrite(site)
        case .clock: return moveClock(site)
        case .crash: return try await crash(site)
        case .copyFile: return try await copyFile(site)
        case .backUpFile: return try await backUpFile(site)
        case .restoreFile: return try await restoreFile()
        case .snapshotServer: return snapshotServer()
        case .restoreServer: return try await restoreServer()
        case .revoke: return revokeOrGiveBack()
        case .forgetTombstones: return forgetTombstones()
        case .evict: return try await evict(site)
        case .rebuild: return try await sync(site, rebuilds: true)
        }
    }

    func note(_ line: String) { trace.append(line) }

    /// Does what a person may be refused; says what came of it. Storage errors are never expected, unless a crash is.
    func attempt(_ body: () async throws -> String) async throws -> String {
        do {
            return try await body()
        } catch let error as ReplicaError {
            if error.code == .storage, !error.message.hasPrefix("Crash(") { throw BrokenInvariant(name: "I0", detail: "\(error)") }
            let codes = error.violations.map { "\($0.field ?? "")=\($0.code)" }.joined(separator: ",")
            return "\(error.code.rawValue) \(codes.isEmpty ? error.message : codes)"
        }
    }
}
