// What goes wrong: networks, processes, clocks, disks, and the people who copy files.

import Foundation
import SyncProtocol

@testable import Replica

extension Simulation {
    // MARK: Network

    func sync(_ site: SimulatedSite, rebuilds: Bool = false) async throws -> String {
        let isFaulty = chance.percent(45)
        if isFaulty {
            let chance = chance
            let rate = 10 + chance.below(60)
            site.model.breaking { call, _ in chance.percent(rate) ? Self.fault(call, chance) : nil }
        }
        let isDeaf = !isFaulty && chance.percent(8)
        site.isDeaf.with { $0 = isDeaf }
        defer {
            site.model.breaking(nil)
            site.isDeaf.with { $0 = false }
        }
        let options = SyncOptions(pageLimit: chance.percent(60) ? 1 + chance.below(6) : 1000, rebuilds: rebuilds)
        return try await attempt {
            site.unsealed = []
            let report = try await site.replica.sync(options)
            var words = ["\(report.accepted)a \(report.noop)n \(report.rejected)r \(report.withdrawn)w"]
            words.append("\(report.pulledRecords) records on \(report.pages) pages")
            if report.predictedRejections > 0 { words.append("\(report.predictedRejections) predicted") }
            if let fork = report.fork { words.append("forked, \(fork.movedSets) moved, \(fork.unknownSets) unknown") }
            if report.isResync { words.append("rebuilt") }
            if let failure = report.pushFailure { words.append("push: \(failure.message)") }
            try plantInFile(site)
            return words.joined(separator: ", ")
        }
    }

    static func fault(_ call: Call, _ chance: Chance) -> Fault {
        let lost: TransportFailure = chance.percent(50) ? .timeout : .dropped("cut")
        return chance.weighted([
            (4, .fail(.unreachable("no network"))), (4, .fail(lost)), (5, .loseReply(lost)), (3, .truncate), (3, .duplicate),
            (call == .pull ? 0 : 2, .previousReply),
            (2, .fail(.reply(ErrorReply(.overloaded, "busy", requestID: "model"), status: 503))),
        ])
    }

    func revokeOrGiveBack() -> String {
        server.isRevoked.toggle()
        return server.isRevoked ? "tokens are void" : "tokens hold again"
    }

    // MARK: Processes

    /// The process dies at some storage step of an edit or a sync, and is started again.
    func crash(_ site: SimulatedSite) async throws -> String {
        guard let step = chance.pick(StorageStep.allCases) else { return "" }
        site.faults.fail(at: step, number: 1 + chance.below(3))
        var what: String
        switch chance.below(4) {
        case 0: what = try await write(site)
        case 1: what = try await writeSQL(site)
        case 2: what = try await sync(site, rebuilds: true)
        default: what = try await sync(site)
        }
        what += what.contains("Crash(") ? "" : " (\(step.rawValue) was not reached)"
        try await reopen(site)
        let findings = try await site.replica.integrityCheck()
        guard findings.isEmpty else { throw BrokenInvariant(name: "I14", detail: "\(site.name) after \(what): \(findings)") }
        return what
    }

    func moveClock(_ site: SimulatedSite) -> String {
        if chance.percent(50) {
            site.drift = chance.within(-5_000...5_000)
            return "drifts by \(site.drift) ms a step"
        }
        let jump = chance.within(-21_600_000...21_600_000)
        site.clockError.with { $0 = max(-172_800_000, min(172_800_000, $0 + jump)) }
        return "jumps by \(jump) ms"
    }

    // MARK: Files

    private func vacuum(_ site: SimulatedSite, into path: String) throws {
        let connection = try SQLiteConnection(path: site.path, mode: .readWrite, busyTimeoutMilliseconds: 30_000)
        defer { connection.close() }
        try connection.script("VACUUM INTO '\(path)'")
    }

    /// A second machine gets a copy, and both work on.
    func copyFile(_ site: SimulatedSite) async throws -> String {
        guard sites.count < Self.sitesMax else { return "enough copies" }
        let path = newPath()
        try vacuum(site, into: path)
        let copy = try await open(
            "\(site.name)'", role: site.role, member: site.member, error: chance.within(-60_000...60_000), path: path)
        copy.tokens = site.tokens
        copy.unsealed = site.unsealed
        try await reset(copy)
        sites.append(copy)
        return "copied to \(copy.name)"
    }

    func backUpFile(_ site: SimulatedSite) async throws -> String {
        let path = newPath()
        try vacuum(site, into: path)
        backups.append((site, FileBackup(path: path, tokens: site.tokens)))
        return "backed up"
    }

    /// The disk dies; an old backup takes the file's place.
    func restoreFile() async throws -> String {
        guard let (site, backup) = chance.pick(backups) else { return "no backup" }
        // What was written since is lost with the disk, unless the server has heard of it.
        let heard = tokensHeldByServer()
        ledger.excuse(site.tokens.subtracting(backup.tokens).subtracting(heard))
        await site.replica.close()
        for suffix in ["", "-journal", "-wal", "-shm"] where FileManager.default.fileExists(atPath: site.path + suffix) {
            try FileManager.default.removeItem(atPath: site.path + suffix)
        }
        try FileManager.default.copyItem(atPath: backup.path, toPath: site.path)
        site.tokens = backup.tokens
        site.unsealed = []
        try await reopen(site)
        try await reset(site)
        return "\(site.name) goes on from a backup"
    }

    /// The site's file is another one now: nothing of before can be compared with.
    private func reset(_ site: SimulatedSite) async throws {
        site.checkpoint = try await site.replica.status().checkpoint
        site.openProblems = Set(try await site.replica.problems().map(\.id))
    }

    // MARK: Server

    func snapshotServer() -> String {
        snapshots.append(server.snapshot())
        return "backed up"
    }

    /// The server's disk dies; an old backup takes its place, and nobody is told.
    func restoreServer() async throws -> String {
        guard let old = chance.pick(snapshots) else { return "no backup" }
        let now = server.snapshot()
        // What a device still holds comes back; only what nobody holds is lost with the disk.
        var held: Set<String> = []
        for site in sites { held.formUnion(try await tokensToOffer(by: site)) }
        ledger.excuse(Self.tokens(of: now).subtracting(Self.tokens(of: old)).subtracting(held))
        for (replica, outcomes) in now.outcomes {
            for (counter, outcome) in outcomes where old.outcomes[replica]?[counter]?.hash != outcome.hash {
                lostHashes.insert(outcome.hash)
            }
        }
        server.restore(old)
        return "from \(now.position) back to \(old.position)"
    }

    func forgetTombstones() -> String {
        server.forgetTombstones()
        return "forgotten up to \(server.position)"
    }

    func evict(_ site: SimulatedSite) async throws -> String {
        guard let replica = try await site.replica.replicaID,
            let record = chance.pick(
                server.snapshot().records.values.filter { ["site", "note", "contact"].contains($0.schema.name) }.sorted { $0.id < $1.id })
        else { return "nothing to evict" }
        server.evict(record.key, from: replica)
        return "\(record.key.entity) leaves"
    }

    // MARK: Planted bugs

    /// Bugs that lie in the file rather than on the wire.
    private func plantInFile(_ site: SimulatedSite) throws {
        let sql: String
        switch bug {
        case .losesPending: sql = "DELETE FROM _tideline_pending WHERE counter = (SELECT max(counter) FROM _tideline_pending)"
        case .forgetsProblem: sql = "DELETE FROM _tideline_problem WHERE status = 'rejected'"
        default: return
        }
        let connection = try SQLiteConnection(path: site.path, mode: .readWrite, busyTimeoutMilliseconds: 30_000)
        defer { connection.close() }
        try connection.script(sql)
    }
}
