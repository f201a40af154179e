// What goes wrong: networks, processes, clocks, disks, and the people who copy files.

import Foundation
import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    // MARK: Network

    func sync(_ site: SimulatedSite, rebuilds: Bool = false, isDeaf: Bool = false) async throws -> String {
        let isFaulty = !isDeaf && chance.percent(45)
        if isFaulty {
            let (chance, tally) = (chance, tally)
            let rate = 10 + chance.below(60)
            site.model.breaking { call, _ in chance.percent(rate) ? Self.fault(call, chance, tally) : nil }
        }
        if !isMeanwhile { meanwhileRate = chance.percent(45) ? 6 + chance.below(24) : 0 }
        let isDeaf = isDeaf || !isFaulty && chance.percent(bug == .withdrawnWithoutTextVanishes ? 40 : 8)
        if isDeaf { tally.count(.serverDeaf) }
        site.line.isDeaf.with { $0 = isDeaf }
        site.line.next.with { $0 = nil }
        defer {
            site.model.breaking(nil)
            site.line.isDeaf.with { $0 = false }
            if !isMeanwhile { meanwhileRate = 0 }
        }
        let options = SyncOptions(pageLimit: chance.percent(60) ? 1 + chance.below(6) : 1000, rebuilds: rebuilds)
        var isDone = false
        let what = try await attempt(site) {
            site.unsealed = []
            let report = try await site.replica.sync(options)
            isDone = true
            try plantAfterSync(site, report)
            if report.fork != nil { site.mayFork = false }
            return Self.words(report)
        }
        try await checkReads(site)
        if isDone {
            try await checkContent(site)
            site.mayHeal = false
        } else {
            try plantAfterFailure(site)
        }
        if what.hasPrefix("not_allowed"), try await mayEnrolAgain(site, what), chance.percent(60) {
            return "\(what); \(try await enrolAgain(site))"
        }
        return what
    }

    static func words(_ report: SyncReport) -> String {
        var words = ["\(report.accepted)a \(report.noop)n \(report.rejected)r \(report.withdrawn)w"]
        words.append("\(report.pulledRecords) records on \(report.pages) pages")
        if report.evicted > 0 { words.append("\(report.evicted) evicted") }
        if report.predictedRejections > 0 { words.append("\(report.predictedRejections) predicted") }
        if let fork = report.fork { words.append("forked, \(fork.movedSets) moved, \(fork.unknownSets) unknown") }
        if report.isResync { words.append("rebuilt") }
        if let failure = report.pushFailure { words.append("push: \(failure.message)") }
        return words.joined(separator: ", ")
    }

    static func fault(_ call: Call, _ chance: Chance, _ tally: Tally) -> Fault {
        let lost: TransportFailure = chance.percent(50) ? .timeout : .dropped("cut")
        let busy = TransportFailure.reply(ErrorReply(.overloaded, "busy", requestID: "model"), status: 503)
        let (kind, fault): (FaultKind, Fault) = chance.weighted([
            (4, (.unreachable, .fail(.unreachable("no network")))), (4, (.requestLost, .fail(lost))), (5, (.replyLost, .loseReply(lost))),
            (3, (.replyTruncated, .truncate)), (3, (.requestDoubled, .duplicate)),
            (2, (.replyToAnother, .strangersReply)), (call == .push ? 3 : 0, (.requestLate, .late(lost))),
            (2, (.serverBusy, .fail(busy))),
        ])
        // Every other push that gets lost does so under way.
        if kind == .requestLost, call == .push, tally.faults[.requestLost, default: 0] > tally.faults[.requestCut, default: 0] {
            tally.count(.requestCut)
            return .cutRequest(lost)
        }
        tally.count(kind)
        return fault
    }

    /// Pushes that nobody waits for any more reach the server.
    func deliverLate() -> String {
        "\(sites.reduce(0) { $0 + $1.model.deliverLate() }) pushes arrive late"
    }

    // MARK: Operators

    func revoke(_ site: SimulatedSite) async throws -> String {
        guard let replica = try await site.replica.replicaID else { return "nobody to revoke" }
        switch chance.below(8) {
        case 0...2:
            server.isRevoked.toggle()
            if server.isRevoked { tally.count(.tokensVoid) }
            return server.isRevoked ? "tokens are void" : "tokens hold again"
        case 3...5:
            guard let model else { return "not in this store" }
            guard model.revoked.insert(replica).inserted else {
                if !revokedForGood.contains(replica) { model.revoked.remove(replica) }
                return "\(site.name) may sync again"
            }
            tally.count(.replicaSuspended)
            return "\(site.name) may not sync"
        default:
            guard let model else { return "not in this store" }
            // Two that go on are left at least.
            var others: Set<Identifier> = []
            for other in sites {
                if let id = try await other.replica.replicaID, id != replica, !revokedForGood.contains(id) { others.insert(id) }
            }
            guard others.count >= 2 else { return "too few replicas to revoke one" }
            model.revoked.insert(replica)
            revokedForGood.insert(replica)
            tally.count(.replicaRevoked)
            return "\(site.name) is shut out for good"
        }
    }

    /// A member's role is another one now, whatever their replicas are doing.
    func changeRole(_ site: SimulatedSite) -> String {
        let ranks: [Role] = [.viewer, .field, .manager, .owner]
        guard let new = chance.pick(ranks),
            let old = server.record("member", site.member)?.text("role").flatMap(Role.init(rawValue:)), old != new
        else { return "the role stays" }
        let outcome = setRole(new, of: site.member)
        if new == .viewer { hasOnlyRead.insert(site.member) }
        guard outcome.status == .accepted else { return "\(old.rawValue) cannot become \(new.rawValue)" }
        let isNarrower = (ranks.firstIndex(of: new) ?? 0) < (ranks.firstIndex(of: old) ?? 0)
        tally.count(isNarrower ? .roleNarrowed : .roleWidened)
        return "\(old.rawValue) becomes \(new.rawValue)"
    }

    @discardableResult
    func setRole(_ role: Role, of member: Identifier) -> Outcome {
        server.write([Change("member", member, .patch(fields: ["role": .string(role.rawValue)], was: [:]))])
    }

    /// A newer build, of the replica or of the server.
    func upgrade(_ site: SimulatedSite) async throws -> String {
        if chance.percent(25) {
            guard let model, server.schema.version < Schema.testingLater.version else { return "the server is new already" }
            model.upgrade(to: .testingLater)
            tally.count(.serverUpgraded)
            return "the server has version \(server.schema.version) now"
        }
        guard site.build.version < Schema.testingLater.version else { return "\(site.name) is new already" }
        try await upgradeBuild(site)
        return "\(site.name) has version \(site.build.version) now"
    }

    func upgradeBuild(_ site: SimulatedSite) async throws {
        await site.replica.close()
        site.build = .testingLater
        // What tools wrote is sealed as the file opens.
        site.unsealed = []
        try await reopen(site)
        tally.count(.replicaUpgraded)
    }

    // MARK: Processes

    /// The process dies at some storage step of an edit or a sync, or while it waits for an answer, and is started again on what it
    /// left.
    func crash(_ site: SimulatedSite) async throws -> String {
        let (action, place) = whereToDie(site)
        let remains = newPath()
        site.surroundings.remains.with { $0 = (site.path, remains) }
        var step: StorageStep?
        switch place {
        case .step(let one):
            step = one
            // There has to be something to take out.
            if one == .withdraw, action == .sync { _ = try await write(site) }
            site.faults.fail(at: one, number: chance.percent(70) ? 1 : 2)
        case .call(let call, let moment): site.diesDuring = (call, moment)
        }
        let shown = (site.positions, site.readEpoch)
        var what = try await act(action, site, isDeaf: step == .withdraw)
        site.surroundings.remains.with { $0 = nil }
        site.line.isDead.with { $0 = false }
        site.diesDuring = nil
        site.unsealed = []
        if FileManager.default.fileExists(atPath: remains) {
            tally.count(.processDied)
            tally.count(deathAt: place.name)
            // Nothing that the dying process would still do reaches its file.
            await site.replica.close()
            try remove(site.path)
            site.path = remains
            // Nor does it show anything any more.
            (site.positions, site.readEpoch) = shown
        } else {
            what += " (\(place.name) was not reached)"
        }
        try plantAtDeath(site)
        try await reopen(site)
        site.isEnrolled = try await site.replica.isEnrolled
        let findings = try await site.replica.integrityCheck()
        guard findings.isEmpty else { throw BrokenInvariant(name: "I14", detail: "\(site.name) after \(what): \(findings)") }
        // I15: what a command has returned from is in the file, whatever happened then.
        try await checkHeld(site, "I15", "lost with its process")
        return what
    }

    /// What is under way when the machine fails.
    private enum Action { case edit, sync, rebuild, enrol }

    private static let actions: [(weight: Int, value: Action)] = [(2, .edit), (3, .sync), (1, .rebuild)]

    private enum PlaceToDie {
        case step(StorageStep)
        case call(Call, Moment)

        var name: String {
            switch self {
            case .step(let step): step.rawValue
            case .call(let call, let moment): "\(moment.rawValue) \(call.rawValue)"
            }
        }
    }

    /// Steps that only some syncs have are tried where they may come about.
    private func whereToDie(_ site: SimulatedSite) -> (Action, PlaceToDie) {
        func any(_ steps: [StorageStep]) -> PlaceToDie { .step(chance.pick(steps) ?? .applyRows) }
        let moment: Moment = chance.percent(30) ? .before : .after
        guard site.isEnrolled else {
            return (.enrol, chance.percent(50) ? .call(.enroll, moment) : any([.applyRows, .applyView, .applyCheckpoint, .applyCleanup]))
        }
        if site.mayHeal, chance.percent(50) { return (.sync, any([.heal, .prepareRebuild, .applyForget])) }
        if site.mayFork || site.code != nil, chance.percent(50) {
            return (.sync, chance.percent(60) ? .step(.fork) : .call(site.code != nil ? .enroll : .fork, moment))
        }
        if chance.percent(12) { return (.sync, .step(.withdraw)) }
        if chance.percent(20) { return (.sync, .call(chance.pick([.push, .pull, .get]) ?? .push, moment)) }
        let action = chance.weighted(Self.actions)
        return (action, any(Self.steps(of: action)))
    }

    private static func steps(of action: Action) -> [StorageStep] {
        let applying: [StorageStep] = [
            .applySeal, .applyRows, .applyOutcomes, .applyView, .applyReplay, .applyCheckpoint, .applyCleanup, .stagePage, .recordOutcomes,
        ]
        switch action {
        case .edit: return [.applySeal, .writeBases, .writeView, .writePending]
        case .sync: return applying
        case .rebuild: return applying + [.prepareRebuild, .applyForget]
        case .enrol: return [.applyRows]
        }
    }

    private func act(_ action: Action, _ site: SimulatedSite, isDeaf: Bool = false) async throws -> String {
        switch action {
        case .edit: return chance.percent(60) ? try await write(site) : try await writeSQL(site)
        case .sync: return try await sync(site, isDeaf: isDeaf)
        case .rebuild: return try await sync(site, rebuilds: true)
        case .enrol: return try await enrolFirst(site)
        }
    }

    func moveClock(_ site: SimulatedSite) -> String {
        switch chance.below(20) {
        case 0...8:
            site.drift = chance.within(-5_000...5_000)
            tally.count(.clockDrifted)
            return "drifts by \(site.drift) ms a step"
        case 9...15:
            let jump = chance.within(-21_600_000...21_600_000)
            site.clockError.with { $0 = max(-172_800_000, min(172_800_000, $0 + jump)) }
            tally.count(.clockJumped)
            return "jumps by \(jump) ms"
        case 16, 17:
            // A dead battery, or somebody's mistake.
            let error = chance.within(-5...5) * 31_556_952_000
            site.clockError.with { $0 = error }
            tally.count(.clockYearsOff)
            return "is \(error / 31_556_952_000) years off"
        default:
            let error = chance.within(-Self.serverErrorMax...Self.serverErrorMax)
            serverError.with { $0 = error }
            tally.count(.serverClockJumped)
            return "the server's clock is \(error) ms off"
        }
    }

    /// Three days: less than journals are kept.
    static let serverErrorMax: Int64 = 3 * 86_400_000

    /// Nobody does anything for days: journals are forgotten, codes expire, what waits for a device is decided without it.
    func rest() -> String {
        let days = chance.within(1...15)
        clock.advance(days * 86_400_000)
        if days > 7 { tally.count(.weekPassed) }
        return "nothing for \(days) days"
    }

    // MARK: Disks

    /// The disk is full, or a single write to it fails: edits are refused, and nothing is lost.
    func fillDisk(_ site: SimulatedSite) async throws -> String {
        site.expectsStorageErrors = true
        defer { site.expectsStorageErrors = false }
        let full = SQLiteError(code: 13, message: "database or disk is full", operation: "run")
        let kind: FaultKind = chance.percent(50) ? .diskFull : .storageFailed
        var words: [String] = []
        if kind == .diskFull {
            let room = Int64(chance.below(2))
            try await setPagesMax(site) { $0 + room }
            for _ in 0..<(3 + chance.below(4)) { words.append(try await act(chance.weighted(Self.actions), site)) }
            try await setPagesMax(site) { _ in 1 << 30 }
        } else {
            let action = chance.weighted(Self.actions)
            site.faults.fail(at: chance.pick(Self.steps(of: action)), number: 1 + chance.below(2), with: full)
            words.append(try await act(action, site))
            site.faults.fail(at: nil)
        }
        if words.contains(where: { $0.hasPrefix("storage") }) { tally.count(kind) }
        let findings = try await site.replica.integrityCheck()
        guard findings.isEmpty else { throw BrokenInvariant(name: "I14", detail: "\(site.name) after \(words): \(findings)") }
        return "\(kind.rawValue): " + words.joined(separator: "; ")
    }

    private func setPagesMax(_ site: SimulatedSite, _ limit: @escaping @Sendable (Int64) -> Int64) async throws {
        try await site.replica.file.write { store in
            let pages = try store.connection.scalarInteger("PRAGMA page_count") ?? 0
            _ = try store.connection.scalarInteger("PRAGMA max_page_count = \(limit(pages))")
        }
    }

    // MARK: Files

    private func vacuum(_ site: SimulatedSite, into path: String) throws { try site.script("VACUUM INTO '\(path)'") }

    private func remove(_ path: String) throws {
        for file in SimulatedSite.Surroundings.files(of: path) + [path + "-shm"] where FileManager.default.fileExists(atPath: file) {
            try FileManager.default.removeItem(atPath: file)
        }
    }

    /// A second machine gets a copy, and both work on.
    func copyFile(_ site: SimulatedSite) async throws -> String {
        guard sites.count < Self.sitesMax else { return "enough copies" }
        let path = newPath()
        try vacuum(site, into: path)
        let copy = try await open(
            "\(site.name)'", member: site.member, error: chance.within(-60_000...60_000), build: site.build, path: path)
        (copy.tokens, copy.edits, copy.confirmed, copy.tokensOf) = (site.tokens, site.edits, site.confirmed, site.tokensOf)
        (copy.isEnrolled, copy.mayHeal, copy.mayFork, site.mayFork) = (site.isEnrolled, site.mayHeal, true, true)
        (copy.hasTwin, site.hasTwin) = (true, true)
        try await reset(copy)
        sites.append(copy)
        tally.count(.fileCopied)
        return "copied to \(copy.name)"
    }

    func backUpFile(_ site: SimulatedSite) async throws -> String {
        let path = newPath()
        try vacuum(site, into: path)
        let file = FileBackup(
            path: path, tokens: site.tokens, edits: site.edits, confirmed: site.confirmed, tokensOf: site.tokensOf, build: site.build)
        backups.append((site, file))
        return "backed up"
    }

    /// The disk dies; an old backup takes the file's place.
    /// - Parameter busy: Whose file is open in the middle of something.
    func restoreFile(but busy: SimulatedSite? = nil) async throws -> String {
        guard let (site, backup) = chance.pick(backups.filter { $0.site !== busy }) else { return "no backup" }
        return try await putBack(site, backup)
    }

    func putBack(_ site: SimulatedSite, _ backup: FileBackup) async throws -> String {
        // What was written since is lost with the disk, unless the server has heard of it.
        let heard = tokensHeldByServer()
        ledger.excuse(site.tokens.subtracting(backup.tokens).subtracting(heard))
        // Nor if another file still has it to offer or to show.
        let lost = site.edits.subtracting(backup.edits)
        let elsewhere = try await heldElsewhere(than: site)
        excuse(lost, of: site, but: elsewhere)
        ledger.orphan(lost)
        await site.replica.close()
        try remove(site.path)
        try FileManager.default.copyItem(atPath: backup.path, toPath: site.path)
        (site.tokens, site.edits, site.confirmed, site.tokensOf) = (backup.tokens, backup.edits, backup.confirmed, backup.tokensOf)
        site.unsealed = []
        (site.mayHeal, site.mayFork, site.hasTwin) = (true, true, true)
        try await reopen(site)
        site.isEnrolled = try await site.replica.isEnrolled
        try await reset(site)
        tally.count(.fileRestored)
        return "\(site.name) goes on from a backup"
    }

    /// The site's file is another one now: nothing of before can be compared with.
    private func reset(_ site: SimulatedSite) async throws {
        site.checkpoint = try await site.replica.status().checkpoint
        (site.positions, site.readEpoch, site.numbersOwed, site.called) = ([:], nil, [:], [:])
        site.openProblems = Set(try await site.replica.problems().map(\.id))
        // It may have been taken in the middle of a sync, after something was confirmed, or forgotten.
        let held = try await holdings(of: site)
        site.confirmed.merge(held.confirmed) { $1 }
        site.settled.merge(held.settled) { $1 }
    }

    // MARK: Server

    /// What comes after the backup is what a restore takes: often somebody new.
    func snapshotServer() async throws -> String {
        snapshots.append(backUpServer())
        guard !server.isRevoked, sites.count < Self.sitesMax, chance.percent(35) else { return "backed up" }
        try await enroll("s\(sites.count)", role: chance.weighted([(4, .owner), (3, .manager)]))
        tally.count(.enrolledLate)
        return "backed up, and somebody new"
    }

    /// The server's disk dies; an old backup takes its place, and nobody is told.
    func restoreServer() async throws -> String {
        guard profile.restoresServer, let old = chance.pick(snapshots) else { return "no backup" }
        return try await restoreServer(to: old)
    }

    func restoreServer(to backup: ServerBackup) async throws -> String {
        let old = backup.state
        let now = server.snapshot()
        // What a device still holds comes back; only what nobody holds is lost with the disk.
        var held: Set<String> = []
        var heldEdits: Set<Int> = []
        for site in sites {
            let offers = try await offers(of: site)
            held.formUnion(offers.tokens)
            heldEdits.formUnion(offers.edits)
            heldEdits.formUnion(try await holdings(of: site).edits(in: .problem))
            site.mayHeal = true
            try await noteNumbers(site)
        }
        ledger.excuse(Self.tokens(of: now).subtracting(Self.tokens(of: old)).subtracting(held))
        ledger.excuse(edits: decided(in: now).subtracting(decided(in: old)).subtracting(heldEdits))
        for (replica, outcomes) in now.outcomes {
            for (counter, outcome) in outcomes {
                guard let kept = old.outcomes[replica]?[counter], kept.hash == outcome.hash, kept.bytes == outcome.bytes else {
                    lostHashes.insert(outcome.hash)
                    // The set may come back: then its new answer has to be kept like any other.
                    lostAnswers.insert("\(outcome.hash) \(String(decoding: outcome.bytes, as: UTF8.self))")
                    continue
                }
            }
        }
        // The counter that an id of before began behind is known to nobody but who keeps the id, so such ids cannot outlive a restore.
        let forgets = chance.percent(50) || laterIDs.contains { old.records[RecordKey("replica", $0)] == nil }
        server.restore(old, keepsEnrolments: !forgets)
        ownWrites = backup.ownWrites
        tally.count(.serverRestored)
        var words = "from \(now.position) back to \(old.position)"
        if forgets { words += try await noteForgotten() }
        return words
    }

    func forgetTombstones() -> String {
        server.forgetTombstones()
        tally.count(.tombstonesForgotten)
        return "forgotten up to \(server.position)"
    }

    /// By ordinary edits: a deal gets another owner, a contact a client more or less. Whoever may not read it any more has to lose it.
    func handOver(_ site: SimulatedSite) async throws -> String {
        let before = server.snapshot().records
        let records = before.values.filter(\.isLive).sorted { $0.id < $1.id }
        func any(_ entity: String) -> RecordState? { chance.pick(records.filter { $0.schema.name == entity }) }
        let links = records.filter { $0.schema.name == "client_contact" }
        let change: Change
        switch chance.below(6) {
        case 0, 1:
            guard let deal = any("deal"), let owner = any("member") else { return "no deal" }
            change = Change(key: deal.key, operation: .patch(fields: ["owner": .string(owner.id.text)], was: [:]))
        case 2, 3, 4 where !links.isEmpty:
            // A contact that has no other leaves the sight of the field.
            let last = links.filter { link in !links.contains { $0.id != link.id && $0["contact"] == link["contact"] } }
            guard let link = chance.pick(last.isEmpty || chance.percent(30) ? links : last) else { return "no link" }
            change = Change(key: link.key, operation: .delete)
        default:
            let (first, second) = links.isEmpty || chance.percent(50) ? ("client", "contact") : ("deal", "contact")
            guard let one = any(first), let other = any(second) else { return "nothing to link" }
            let fields: JSONObject = [first: .string(one.id.text), second: .string(other.id.text)]
            guard let id = server.schema.entity("\(first)_\(second)")?.deterministicID({ fields[$0] }) else { return "no link" }
            change = Change("\(first)_\(second)", id, .create(fields: fields))
        }
        let outcome = serverWrites([change])
        let words = "\(change.key.entity) \(change.operation.name) \(outcome.status.rawValue)"
        guard outcome.status == .accepted else { return words }
        tally.count(.leftScope)
        guard let written = try await writeToWhatLeft(before) else { return words }
        return words + ", and " + written
    }

    /// Who has just lost sight of something may be writing to it at that moment.
    private func writeToWhatLeft(_ before: [RecordKey: RecordState]) async throws -> String? {
        let after = server.snapshot().records
        for site in sites where site.isEnrolled && chance.percent(50) {
            guard let role = after[RecordKey("member", site.member)]?.text("role").flatMap(Role.init(rawValue:)) else { continue }
            let (had, has) = (Reader(member: site.member, role: role, records: before), Reader(member: site.member, role: role, records: after))
            let left = after.values.filter { record in
                record.isLive && before[record.key].map { had.mayHold($0) } == true && !has.mayHold(record)
            }
            guard let record = chance.pick(left.sorted { $0.id < $1.id }) else { continue }
            if let what = try await write(site, to: record.key) { return "\(site.name) \(what)" }
        }
        return nil
    }

    // MARK: Planted bugs

    /// Bugs that lie in the file rather than on the wire.
    private func plantAfterSync(_ site: SimulatedSite, _ report: SyncReport) throws {
        switch bug {
        case .losesPending:
            try site.script("DELETE FROM _tideline_pending WHERE counter = (SELECT max(counter) FROM _tideline_pending)")
        case .rebuildDropsPending where report.isResync: try site.script("DELETE FROM _tideline_pending WHERE state = 'pending'")
        case .forgetsProblem: try site.script("DELETE FROM _tideline_problem WHERE status = 'rejected'")
        case .withdrawnWithoutTextVanishes:
            try site.script(
                "DELETE FROM _tideline_problem WHERE status = 'withdrawn' AND CAST(sealed AS TEXT) NOT GLOB '*\"t[0-9]*z\"*'")
        case .rejectedLosesText:
            try site.script(
                "UPDATE _tideline_problem SET sealed = CAST(replace(CAST(sealed AS TEXT), 'z\"', '\"') AS BLOB) WHERE status = 'rejected'")
        case .dropsUnknownFields where site.build.version < server.schema.version:
            for entity in ["part", "document", "document_line", "note"] { try site.script("UPDATE \"\(entity)\" SET _extra = NULL") }
        case .takesOtherCopysOutcome:
            let path = site.path
            site.line.pendingHash.with {
                $0 = { counter in
                    let connection = try? SQLiteConnection(path: path, mode: .readOnly, busyTimeoutMilliseconds: 30_000)
                    defer { connection?.close() }
                    return try? connection?.scalarText("SELECT hash FROM _tideline_pending WHERE counter = ?1", [.integer(counter)])
                }
            }
        default: break
        }
    }

    private func plantAfterFailure(_ site: SimulatedSite) throws {
        guard bug == .cursorBeforeChanges, site.checkpoint != nil, let next = site.line.next.with({ $0 }) else { return }
        try site.script(
            "UPDATE _tideline_meta SET value = '\(next)' WHERE key = 'cursor'; DELETE FROM _tideline_stage; "
                + "DELETE FROM _tideline_meta WHERE key IN ('stage_next', 'stage_purpose', 'stage_versions_after')")
    }

    private func plantAtDeath(_ site: SimulatedSite) throws {
        guard bug == .losesReturnedEdit else { return }
        try site.script("DELETE FROM _tideline_pending WHERE counter = (SELECT max(counter) FROM _tideline_pending)")
    }

    /// Whenever a file is opened.
    func plantInFile(_ site: SimulatedSite) {
        guard bug == .forkDropsIncrements else { return }
        site.line.beforeMoving.with {
            $0 = { [path = site.path] counter in
                let drops =
                    "UPDATE _tideline_pending SET sealed = NULL WHERE counter > \(counter) AND CAST(sealed AS TEXT) LIKE '%on_hand_milli%'"
                do { try SimulatedSite.script(drops, path) } catch { preconditionFailure("\(error)") }
            }
        }
    }

    /// What the clock of the next edit claims. Returns what the file says itself.
    func plantBeforeWrite(_ site: SimulatedSite) async throws -> String? {
        guard bug == .claimsUnseen || bug == .claimsTooLittle, let head = model?.headMark else { return nil }
        let rows = try await site.replica.query("SELECT value FROM _tideline_meta WHERE key = 'checkpoint'")
        guard case .text(let own)? = rows.first?.values.first else { return nil }
        let claimed = bug == .claimsUnseen ? head.json.canonicalText : "[0,0,\"start\"]"
        try site.script("UPDATE _tideline_meta SET value = '\(claimed)' WHERE key = 'checkpoint'")
        return own
    }

    func plantAfterWrite(_ site: SimulatedSite, checkpoint: String?) throws {
        if let checkpoint { try site.script("UPDATE _tideline_meta SET value = '\(checkpoint)' WHERE key = 'checkpoint'") }
        guard bug == .baseNotSaved else { return }
        try site.script("DELETE FROM _tideline_base WHERE image IS NOT NULL")
    }
}
