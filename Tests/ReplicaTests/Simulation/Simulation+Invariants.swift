// What must hold: after every step at the replica that acted, and for everybody when everything has healed.

import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

extension Simulation {
    // MARK: At any time

    func checkAlways(_ site: SimulatedSite) async throws {
        try checkWords()
        let status = try await site.replica.status()
        // The first sync is shown as it comes, page by page.
        if status.checkpoint != nil { try await checkPair(site) }
        // I5: within an epoch nothing goes back, and epochs do not either.
        if let before = site.checkpoint {
            guard let now = status.checkpoint, now >= before else {
                throw BrokenInvariant(
                    name: "I5", detail: "\(site.name) went from \(before.position) to \(status.checkpoint?.position ?? -1)")
            }
        }
        site.checkpoint = status.checkpoint
        // I3: only what has a copy is told apart from it, or what was sealed once goes under two ids for nothing.
        if let before = site.id, before != status.replica {
            guard site.hasTwin || site.mayGetAnotherID else {
                throw BrokenInvariant(name: "I3", detail: "\(site.name) was told apart from a copy, and there is none")
            }
            site.mayGetAnotherID = false
        }
        site.id = status.replica
        // I6, I2: what was written is somewhere in the file.
        try await checkHeld(site, "I6")
        // I6: a set that the server has processed is replayed no more, so it must have its answer.
        let orphans = try await site.replica.query(
            """
            SELECT counter FROM _tideline_pending WHERE outcome IS NULL AND sealed IS NOT NULL AND deferred = 0 \
            AND author IS NULL AND counter <= (SELECT CAST(value AS INTEGER) FROM _tideline_meta WHERE key = 'acknowledged')
            """)
        guard orphans.isEmpty || status.checkpoint == nil else {
            throw BrokenInvariant(name: "I6", detail: "\(site.name) shows sets no more that have no answer: \(orphans.map(\.values))")
        }
        // I9: nothing leaves the problems by itself, and each says why.
        let problems = try await site.replica.problems()
        // What was taken out unanswered may be answered all the same.
        let answered = try await site.replica.query("SELECT id FROM _tideline_problem WHERE resolution = 'answered'")
        let settled = answered.compactMap { row -> Int64? in if case .integer(let id)? = row["id"] { id } else { nil } }
        let gone = site.openProblems.subtracting(problems.map(\.id)).subtracting(settled)
        guard gone.isEmpty else { throw BrokenInvariant(name: "I9", detail: "problems \(gone.sorted()) of \(site.name) are gone") }
        if let silent = problems.first(where: { $0.violations.isEmpty || $0.changes.isEmpty }) {
            throw BrokenInvariant(name: "I9", detail: "problem \(silent.id) of \(site.name) does not say what and why")
        }
        site.openProblems = Set(problems.map(\.id))
        try await checkAnswers(site)
    }

    /// I2: an answer that has been given is stored, and will be given again.
    private func checkAnswers(_ site: SimulatedSite) async throws {
        if let unstored = model?.unstoredAnswer { throw BrokenInvariant(name: "I2", detail: "answered and not stored: \(unstored)") }
        let rows = try await site.replica.query("SELECT counter, hash, outcome FROM _tideline_pending WHERE outcome IS NOT NULL")
        guard !rows.isEmpty else { return }
        let stored = verdicts()
        for row in rows {
            guard case .text(let hash)? = row["hash"], case .text(let outcome)? = row["outcome"],
                !lostAnswers.contains("\(hash) \(outcome)")
            else {
                continue
            }
            guard stored[hash]?.contains(Array(outcome.utf8)) == true else {
                throw BrokenInvariant(
                    name: "I2",
                    detail: "\(site.name) was answered \(outcome) for set \(row.values[0]), the server has stored something else")
            }
        }
    }

    /// What the server has stored, by hash. A copy may offer a marker for a set under its own id, so there can be several.
    private func verdicts() -> [String: Set<[UInt8]>] {
        var stored: [String: Set<[UInt8]>] = [:]
        for (_, outcomes) in server.snapshot().outcomes { for (_, one) in outcomes { stored[one.hash, default: []].insert(one.bytes) } }
        return stored
    }

    /// I1, I5: whoever is at the server's head holds what the server holds, pending sets aside. A cursor that skipped something
    /// shows here, before a rebuild can hide it.
    func checkContent(_ site: SimulatedSite) async throws {
        let mark = try await site.replica.file.read { try Metadata(connection: $0.connection).checkpoint() }
        guard mark == server.headMark else { return }
        try await compare(site)
        try await checkAccess(site)
    }

    private func compare(_ site: SimulatedSite) async throws {
        let expected = server.digest(for: try await site.replica.replicaID, build: site.build)
        let found = try await site.replica.digest()
        for (entity, digest) in expected.sorted(by: { $0.key < $1.key }) where found[entity] != digest {
            throw BrokenInvariant(
                name: "I1",
                detail: "\(site.name) has \(found[entity]?.count ?? -1) of \(entity), the server \(digest.count); the content differs")
        }
    }

    /// I4: two values that are only ever written together are never seen apart.
    private func checkPair(_ site: SimulatedSite) async throws {
        var values: [JSONValue] = []
        for id in pair { values.append(try await site.replica.get("client", id)?["legal_name"] ?? .null) }
        guard values[0] == values[1] else {
            throw BrokenInvariant(name: "I4", detail: "\(site.name) sees \(values[0]) beside \(values[1])")
        }
        let records = pair.map { server.record("client", $0)?["legal_name"] }
        guard records[0] == records[1] else { throw BrokenInvariant(name: "I4", detail: "the server holds half a set") }
    }

    static func tokens(of state: ServerState) -> Set<String> {
        var held: Set<String> = []
        for entry in state.feed { held.formUnion(Tokens.found(in: JSONValue.object(entry.allChanges).canonicalBytes())) }
        return held
    }

    func tokensHeldByServer() -> Set<String> { Self.tokens(of: server.snapshot()) }

    // MARK: When everything has healed

    static let roundsMax = 8

    /// Sites that may sync. The others keep their work.
    private func admitted() async throws -> [SimulatedSite] {
        var admitted: [SimulatedSite] = []
        for site in sites {
            if let id = try await site.replica.replicaID, !revokedForGood.contains(id) { admitted.append(site) }
        }
        return admitted
    }

    func heal() async throws {
        meanwhileRate = 0
        serverError.with { $0 = 0 }
        server.isRevoked = false
        model?.revoked = revokedForGood
        if server.schema.version < Schema.testingLater.version { model?.upgrade(to: .testingLater) }
        // Owners first, or nobody could be made one.
        for (member, role) in roles.sorted(by: { ($0.value == .owner ? 0 : 1, $0.key) < ($1.value == .owner ? 0 : 1, $1.key) })
        where server.record("member", member)?.text("role") != role.rawValue {
            setRole(role, of: member)
        }
        if bug == .resurrects { plantResurrection() }
        for site in sites {
            site.model.breaking(nil)
            _ = site.model.deliverLate()
        }
        for consumer in consumers { if let late = consumer.late { acknowledge(late, consumer.name) } }
        try checkBuiltin()
        for site in sites where !site.isEnrolled { try await enrolInTheEnd(site) }
        let going = try await admitted()
        try await enrolEveryone(going)
        // I12: everyone syncs until nothing changes.
        var rounds = 0
        var hasWaited = false
        while true {
            rounds += 1
            let before = server.position
            var isQuiet = true
            for site in going {
                do {
                    let report = try await site.replica.sync()
                    note("round \(rounds) \(site.name): \(Self.words(report)) @\(server.position)")
                    if let failure = report.pushFailure { throw failure }
                    if report.pushed > report.deferred || report.pulledRecords > 0 || report.fork != nil || report.isResync {
                        isQuiet = false
                    }
                } catch {
                    throw BrokenInvariant(name: "I12", detail: "\(site.name) cannot sync with a sound network: \(error)")
                }
                try await checkAlways(site)
            }
            if isQuiet, server.position == before {
                // What waits for a device that never comes back is decided when the time is over.
                if hasWaited { break }
                hasWaited = true
                // The server's clock may have been ahead when the time began.
                clock.advance(Limits.healingMilliseconds + Self.serverErrorMax)
                rounds = 0
            }
            guard rounds < Self.roundsMax else { throw BrokenInvariant(name: "I12", detail: "no rest after \(rounds) rounds") }
        }
        note("quiet after \(rounds) rounds @\(server.position)")
        for site in going { try await checkHealed(site) }
        for site in going where site.build.version < server.schema.version {
            // What the older build did not know was kept, so nothing has to be fetched.
            try await upgradeBuild(site)
            try await compare(site)
        }
        try checkLives()
        try checkHistory()
        try checkMerges()
        try checkConsumers()
        try checkBuiltin()
        try await checkNothingLost(going)
        try checkSight()
        try checkNumbers(going)
        try await checkNeighbour()
        for (entity, digest) in server.digest().sorted(by: { $0.key < $1.key }) {
            note("\(entity) \(digest.count) \(digest.hash.prefix(12))")
        }
    }

    private func checkHealed(_ site: SimulatedSite) async throws {
        // I12
        let pending = try await site.replica.pending()
        guard pending.isEmpty else {
            throw BrokenInvariant(name: "I12", detail: "\(site.name) still has \(pending.map(\.counter)) pending")
        }
        // I14
        let findings = try await site.replica.integrityCheck()
        guard findings.isEmpty else { throw BrokenInvariant(name: "I14", detail: "\(site.name): \(findings)") }
        try await compare(site)
        try await checkAccess(site)
        try await checkTimeline(site)
        // I13: the same through what a person would ask.
        let diagnosis = try await site.replica.diagnose()
        if site.build.version == server.schema.version {
            guard diagnosis.isCompared, diagnosis.differences.isEmpty else {
                let words = diagnosis.findings.filter { $0.level != .ok }.map(\.text)
                throw BrokenInvariant(name: "I13", detail: "\(site.name): \(words), \(diagnosis.differences.count) records differ")
            }
        }
        try await checkOutcomes(site)
    }

    /// I2, I9: what the file was told is what the server has stored.
    private func checkOutcomes(_ site: SimulatedSite) async throws {
        let stored = verdicts()
        for row in try await site.replica.query("SELECT counter, hash, outcome FROM _tideline_journal") {
            guard case .text(let hash)? = row["hash"], case .text(let outcome)? = row["outcome"],
                !lostAnswers.contains("\(hash) \(outcome)")
            else {
                continue
            }
            guard stored[hash]?.contains(Array(outcome.utf8)) == true else {
                throw BrokenInvariant(
                    name: "I2", detail: "\(site.name) was told \(outcome) of set \(row.values[0]), the server has another verdict or none")
            }
        }
        let problems = try await site.replica.query("SELECT id, hash, status, violations FROM _tideline_problem WHERE resolved_at IS NULL")
        for row in problems {
            guard case .text(let hash)? = row["hash"], case .text(let status)? = row["status"], !lostHashes.contains(hash) else { continue }
            for bytes in stored[hash] ?? [] where Outcome(json: try JSONValue(parsing: bytes))?.status == .accepted {
                throw BrokenInvariant(
                    name: "I9", detail: "\(status) problem \(row.values[0]) of \(site.name) took effect all the same: \(row.values[3])")
            }
        }
    }

    /// I8: every write is in the server's history (current, overwritten, superseded or rejected), or waits in somebody's problems.
    private func checkNothingLost(_ going: [SimulatedSite]) async throws {
        var found = tokensHeldByServer()
        for site in sites {
            // Who is shut out keeps what could not be sent.
            if !going.contains(where: { $0 === site }) { found.formUnion(try await tokensHeld(by: site)) }
            let rows = try await site.replica.query("SELECT sealed AS b FROM _tideline_problem")
            for row in rows { if case .blob(let bytes)? = row["b"] { found.formUnion(Tokens.found(in: bytes)) } }
        }
        let lost = ledger.all.subtracting(found).subtracting(ledger.excused)
        guard lost.isEmpty else { throw BrokenInvariant(name: "I8", detail: "no trace is left of \(lost.sorted())") }
        // I9: a rejection stays with its author, with every word of it.
        for site in sites { try await checkHeld(site, "I9") }
        try await checkEverySetAccounted(going)
    }

    private func plantResurrection() {
        let dead = server.snapshot().records.values.filter { !$0.isLive }.min { $0.id < $1.id }
        guard var record = dead else { return }
        record.deletedAt = nil
        server.load([record])
    }
}
