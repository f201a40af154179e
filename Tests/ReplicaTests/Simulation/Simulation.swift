// One run: a server, some replicas, consumers, and a seed that decides everything that happens. Operations come one after
// another; after each the invariants that hold at any time are checked, at the end everything heals and the others are.
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
        var statistics: Statistics
    }

    enum Operation: String, CaseIterable {
        case write, writePair, writeSQL, editByTool, undo, resolve, sync, serverWrite, consume, runBuiltin
        case clock, crash, fillDisk, copyFile, backUpFile, restoreFile, snapshotServer, restoreServer
        case revoke, changeRole, forgetTombstones, handOver, rebuild, upgrade, lateRequests, rest
    }

    static let sitesMax = 5

    let seed: UInt64
    let steps: Int
    let bug: PlantedBug?
    let profile: Profile
    let chance: Chance
    /// What the product and the server draw from, apart from the decisions of the run.
    let entropy: Chance
    // Far behind the real time: stamps of triggers, which SQLite takes from the machine, are always the replica's own next one.
    let clock = TestClock(milliseconds: 4_000_000_000_000)
    /// How far the server's clock is off, milliseconds; and the latest time that it has told.
    let serverError = Locked<Int64>(0)
    let serverTime = Locked<Int64>(0)
    let server: any ServerCore
    /// Where the store is the model: what only that one can do to itself.
    let model: ModelServer?
    let folder: URL
    let sent = SentSets()
    /// What ours hear, and the server of another company beside it, where the store has more than one.
    let words = Words(of: Words.own)
    let neighbourServer: (any ServerCore)?
    let tally = Tally()

    var sites: [SimulatedSite] = []
    var consumers: [SimulatedConsumer] = []
    var neighbour: Neighbour?
    var ledger = Ledger()
    var trace: [String] = []
    var statistics = Statistics()
    var backups: [(site: SimulatedSite, file: FileBackup)] = []
    var snapshots: [ServerBackup] = []
    /// What the server wrote itself, in the history that it has now.
    var ownWrites: [OwnWrite] = []
    /// What is left of a series of misfortunes under way.
    var plan: [Planned] = []
    /// Ids under which files have gone on that were enrolled before.
    var laterIDs: Set<Identifier> = []
    /// Hashes whose outcome was lost with a server's newer history.
    var lostHashes: Set<String> = []
    /// Those outcomes themselves.
    var lostAnswers: Set<String> = []
    /// What was shown where a token was written, until the set that holds it is seen; and then by that set.
    var seen: [String: Sight] = [:]
    var sightsNoted: Set<String> = []
    var sights: [Int: [Sight]] = [:]
    /// Replicas that an owner has shut out for good. Their work stays in their files.
    var revokedForGood: Set<Identifier> = []
    /// Members who could only read for a while: they report nothing.
    var hasOnlyRead: Set<Identifier> = []
    /// Roles as of the beginning, by member.
    var roles: [Identifier: Role] = [:]
    /// Two records that are only ever written together, with one value.
    var pair: [Identifier] = []
    /// The client that everybody writes about.
    var busyClient = Identifier.zero
    /// How often something else happens in the middle of the sync under way, percent of its moments; 0: never.
    var meanwhileRate = 0
    /// While that happens: one thing at a time.
    var isMeanwhile = false
    /// What did not hold in the middle of something.
    var brokenMeanwhile: BrokenInvariant?
    private var files = 0

    /// - Parameter profile: nil: that of the seed, or of the bug.
    init(seed: UInt64, steps: Int, bug: PlantedBug? = nil, profile: Profile? = nil, store: SimulatedStore = .chosen) {
        self.seed = seed
        self.steps = steps
        self.bug = bug
        self.profile = profile ?? bug?.entry.profile ?? Profile(of: seed)
        chance = Chance(seed: seed)
        let entropy = Chance(seed: seed ^ 0x5EED_0F_C4A0_5)
        self.entropy = entropy
        let (clock, serverError, serverTime) = (clock, serverError, serverTime)
        // Only the model can become a newer build in the middle of a run.
        let schema: Schema = chance.percent(60) || store == .postgres ? .testingLater : .testing
        (server, neighbourServer) = store.servers(
            seed: seed, schema: schema, random: { entropy.next() },
            now: {
                let now = clock.now + serverError.with { $0 }
                serverTime.with { $0 = max($0, now) }
                return now
            }, fault: bug?.storeFault)
        model = server as? ModelServer
        model?.fault = bug?.serverFault
        // Deaths are simulated by errors, so the files need no disk under them.
        let memory = URL(fileURLWithPath: "/dev/shm")
        let parent = FileManager.default.isWritableFile(atPath: memory.path) ? memory : FileManager.default.temporaryDirectory
        folder = parent.appendingPathComponent("tideline-simulation-\(UUID().uuidString)")
    }

    func run() async -> Report {
        var broken: BrokenInvariant?
        let begun = clock.now
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
        for site in sites {
            site.model.during(nil)
            await site.replica.close()
        }
        do { try FileManager.default.removeItem(at: folder) } catch { trace.append("the folder stays: \(error)") }
        if let broken { trace.append("BROKEN \(broken)") }
        statistics.seeds = 1
        statistics.faults = tally.faults
        statistics.deaths = tally.deaths
        statistics.seedsWith = tally.faults.mapValues { _ in 1 }
        statistics.simulatedMilliseconds = clock.now - begun
        return Report(seed: seed, trace: trace, broken: broken, statistics: statistics)
    }

    // MARK: Beginning

    private func begin() async throws {
        let ids = (0..<10).map { _ in newIdentifier() }
        pair = [ids[0], ids[1]]
        busyClient = ids[4]
        serverWrites([
            Change("client", ids[0], .create(fields: ["name": "Left", "legal_name": "same"])),
            Change("client", ids[1], .create(fields: ["name": "Right", "legal_name": "same"])),
            Change("part", ids[2], .create(fields: ["sku": "bolt", "name": "Bolt"])),
            Change("custom_field", ids[3], .create(fields: ["entity": "client", "key": "k", "label": "K", "kind": "text"])),
            Change("client", ids[4], .create(fields: ["name": "Acme", "tags": ["a", "b"], "notes": "base", "tax_number": "PT1"])),
            Change("client", ids[5], .create(fields: ["name": "Pier 9", "notes": "base"])),
            Change("contact", ids[6], .create(fields: ["last_name": "Ortiz", "tags": ["a"]])),
            Change("document", ids[7], .create(fields: JSONObject(document(["title": "Quote"], server.schema).map { ($0.key, $0.value) }))),
            Change("document_line", ids[8], .create(fields: ["document": .string(ids[7].text), "label": "Work", "price": 100])),
            Change("note", ids[9], .create(fields: ["subject_type": "part", "subject_id": .string(ids[2].text), "body": "Rusty"])),
        ])
        try registerConsumers()
        try await settleNeighbour()
        let count = 2 + chance.below(2)
        // Somebody new may come in the middle of it.
        while sites.count < count {
            // Of the last one the oldest backup knows nothing.
            if sites.count == count - 1 { snapshots.append(backUpServer()) }
            let role: Role = sites.isEmpty ? .owner : chance.weighted([(2, .owner), (3, .manager), (4, .field)])
            try await enroll("s\(sites.count)", role: role)
        }
    }

    func newIdentifier() -> Identifier { Identifier.version7(milliseconds: clock.now, random: (entropy.next(), entropy.next())) }

    /// What a build that knows the purpose of documents must say.
    func document(_ fields: [String: JSONValue], _ build: Schema) -> [String: JSONValue] {
        build.version > 1 ? fields.merging(["purpose": "offer"]) { $1 } : fields
    }

    // MARK: Files

    func newPath() -> String {
        files += 1
        return folder.appendingPathComponent("f\(files).sqlite").path
    }

    /// A site on a file of its own, which may exist already.
    func open(_ name: String, member: Identifier, error: Int64, build: Schema, path: String? = nil) async throws -> SimulatedSite {
        let path = path ?? newPath()
        let surroundings = SimulatedSite.Surroundings(server, clockError: error)
        surroundings.model.takesAnyReply = bug == .takesAnyAnswer
        surroundings.model.during { [weak self, model = surroundings.model] call, moment in await self?.meanwhile(model, call, moment) }
        let replica = try await open(path, build, surroundings)
        let site = SimulatedSite(name: name, member: member, surroundings: surroundings, path: path, build: build, replica: replica)
        plantInFile(site)
        return site
    }

    func open(
        _ path: String, _ build: Schema, _ surroundings: SimulatedSite.Surroundings, words: Words? = nil
    ) async throws -> Replica {
        let (clock, entropy) = (clock, entropy)
        var environment = ReplicaEnvironment(
            wallMilliseconds: { clock.now + surroundings.clockError.with { $0 } }, random: { entropy.next() },
            sleep: { milliseconds in
                try Task.checkCancellation()
                clock.sleep(milliseconds)
            })
        environment.capturedMilliseconds = { _ in clock.now + surroundings.clockError.with { $0 } }
        environment.storageStep = { try surroundings.step($0) }
        let network = SimulatedNetwork(
            model: surroundings.model, sent: words == nil ? sent : SentSets(), bug: words == nil ? bug : nil, chance: entropy,
            words: words ?? self.words,
            line: surroundings.line)
        (environment.sealedAtOnce, environment.sealingPauseMilliseconds) = (2, 0)
        return try await Replica.open(path, schema: build, transport: network, environment: environment)
    }

    var serverLatest: Int64 { serverTime.with { $0 } }

    /// Opens the site's file as a new process would.
    func reopen(_ site: SimulatedSite) async throws {
        site.faults.fail(at: nil)
        site.replica = try await open(site.path, site.build, site.surroundings)
        plantInFile(site)
    }

    // MARK: Steps

    private static let weights: [(weight: Int, value: Operation)] = [
        (30, .write), (6, .writePair), (5, .writeSQL), (4, .editByTool), (4, .undo), (8, .resolve), (34, .sync), (4, .serverWrite),
        (6, .consume), (4, .runBuiltin), (4, .clock), (9, .crash), (2, .fillDisk), (1, .copyFile), (2, .backUpFile), (2, .restoreFile),
        (3, .snapshotServer),
        (2, .restoreServer), (2, .revoke), (2, .changeRole), (1, .forgetTombstones), (4, .handOver), (1, .rebuild), (2, .upgrade),
        (2, .lateRequests), (1, .rest),
    ]

    /// A planted bug shows sooner when what it takes happens more often.
    private lazy var weights: [(weight: Int, value: Operation)] = {
        let emphasis = bug?.entry.emphasis ?? []
        return Self.weights.map { (profile.weight(of: $0.value, $0.weight) + (emphasis.contains($0.value) ? 6 : 0), $0.value) }
    }()

    private func step(_ number: Int) async throws {
        clock.advance(chance.within(1...120_000))
        for site in sites { site.clockError.with { if abs($0 + site.drift) < 172_800_000 { $0 += site.drift } } }
        // Nobody lets everybody wait for long.
        if server.isRevoked, chance.percent(15) { server.isRevoked = false }
        statistics.steps += 1
        if let planned = nextPlanned() {
            let (what, site) = try await perform(planned)
            return try await finish(site, "\(number) \(site.name): \(what)")
        }
        let operation = chance.weighted(weights)
        let site = sites[chance.below(sites.count)]
        statistics.operations[operation.rawValue, default: 0] += 1
        let what: String
        if !site.isEnrolled, operation != .restoreServer, operation != .snapshotServer, operation != .rest {
            what = chance.percent(20) ? try await crash(site) : try await enrolFirst(site)
        } else {
            what = try await perform(operation, site)
        }
        try await finish(site, "\(number) \(operation.rawValue) \(site.name): \(what)")
    }

    /// After each step.
    private func finish(_ site: SimulatedSite, _ what: String) async throws {
        note("\(what) @\(server.position)")
        if let brokenMeanwhile { throw brokenMeanwhile }
        try await checkAlways(site)
        try await neighbourActs()
    }

    func perform(_ operation: Operation, _ site: SimulatedSite) async throws -> String {
        switch operation {
        case .write: return try await write(site)
        case .writePair: return try await writePair(site)
        case .writeSQL: return try await writeSQL(site)
        case .editByTool: return try await editByTool(site)
        case .undo: return try await undo(site)
        case .resolve: return try await resolve(site)
        case .sync: return try await sync(site)
        case .serverWrite: return try await serverWrite()
        case .consume: return try await consume()
        case .runBuiltin: return runBuiltin()
        case .clock: return moveClock(site)
        case .crash: return try await crash(site)
        case .fillDisk: return try await fillDisk(site)
        case .copyFile: return try await copyFile(site)
        case .backUpFile: return try await backUpFile(site)
        case .restoreFile: return try await restoreFile()
        case .snapshotServer: return try await snapshotServer()
        case .restoreServer: return try await restoreServer()
        case .revoke: return try await revoke(site)
        case .changeRole: return changeRole(site)
        case .forgetTombstones: return forgetTombstones()
        case .handOver: return try await handOver(site)
        case .rebuild:
            tally.count(.rebuilt)
            return try await sync(site, rebuilds: true)
        case .upgrade: return try await upgrade(site)
        case .lateRequests: return deliverLate()
        case .rest: return rest()
        }
    }

    func note(_ line: String) { trace.append(line) }

    /// Does what a person may be refused; says what came of it. Storage errors are never expected, unless the disk is at fault.
    func attempt(_ site: SimulatedSite, _ body: () async throws -> String) async throws -> String {
        do {
            return try await body()
        } catch let error as ReplicaError {
            if error.code == .storage, !error.message.hasPrefix("Crash("), !site.expectsStorageErrors {
                throw BrokenInvariant(name: "I0", detail: "\(error)")
            }
            let codes = error.violations.map { "\($0.field ?? "")=\($0.code)" }.joined(separator: ",")
            return "\(error.code.rawValue) \(codes.isEmpty ? error.message : codes)"
        }
    }
}
