// What must hold: after every step at the replica that acted, and for everybody when everything has healed.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    // MARK: At any time

    func checkAlways(_ site: SimulatedSite) async throws {
        try await checkPair(site)
        let status = try await site.replica.status()
        // I5: within an epoch nothing goes back, and epochs do not either.
        if let before = site.checkpoint {
            guard let now = status.checkpoint, now >= before else {
                throw BrokenInvariant(
                    name: "I5", detail: "\(site.name) went from \(before.position) to \(status.checkpoint?.position ?? -1)")
            }
        }
        site.checkpoint = status.checkpoint
        // I6, I2: what was written is somewhere in the file.
        let missing = site.tokens.subtracting(try await tokensHeld(by: site))
        guard missing.isEmpty else { throw BrokenInvariant(name: "I6", detail: "\(site.name) has nothing left of \(missing.sorted())") }
        // I6: a set that the server has processed is replayed no more, so it must have its answer.
        let orphans = try await site.replica.query(
            """
            SELECT counter FROM _tideline_pending WHERE outcome IS NULL AND sealed IS NOT NULL AND deferred = 0 \
            AND counter <= (SELECT CAST(value AS INTEGER) FROM _tideline_meta WHERE key = 'acknowledged')
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

    /// Tokens of everything that this file still knows it was told.
    func tokensHeld(by site: SimulatedSite) async throws -> Set<String> {
        let rows = try await site.replica.query(
            """
            SELECT sealed AS b FROM _tideline_pending WHERE sealed IS NOT NULL UNION ALL \
            SELECT sealed FROM _tideline_journal WHERE sealed IS NOT NULL UNION ALL SELECT sealed FROM _tideline_problem UNION ALL \
            SELECT CAST(new AS BLOB) FROM _tideline_edit WHERE new IS NOT NULL
            """)
        var held: Set<String> = []
        for row in rows { if case .blob(let bytes)? = row["b"] { held.formUnion(Ledger.tokens(in: bytes)) } }
        return held
    }

    /// Tokens of the sets that this file can offer again after a restore of the server: what waits, and what was confirmed under
    /// its own id.
    func tokensToOffer(by site: SimulatedSite) async throws -> Set<String> {
        let own = try await site.replica.replicaID
        var held: Set<String> = []
        for row in try await site.replica.query(
            "SELECT sealed AS b FROM _tideline_pending WHERE sealed IS NOT NULL UNION ALL SELECT sealed FROM _tideline_journal")
        {
            guard case .blob(let bytes)? = row["b"] else { continue }
            let set = try ChangeSet(sealed: bytes)
            guard set.dot.replica == own else { continue }
            for change in set.changes {
                switch change.operation {
                // Not what its author saw before: that is somebody else's write.
                case .create(let fields), .patch(let fields, _), .transition(_, _, let fields):
                    held.formUnion(Ledger.tokens(in: JSONValue.object(fields).canonicalBytes()))
                case .delete, .restore: break
                }
            }
        }
        return held
    }

    static func tokens(of state: ModelServer.State) -> Set<String> {
        var held: Set<String> = []
        for entry in state.feed { held.formUnion(Ledger.tokens(in: JSONValue.object(entry.allChanges).canonicalBytes())) }
        return held
    }

    func tokensHeldByServer() -> Set<String> { Self.tokens(of: server.snapshot()) }

    // MARK: When everything has healed

    static let roundsMax = 8

    func heal() async throws {
        server.isRevoked = false
        if bug == .resurrects { plantResurrection() }
        for site in sites { site.model.breaking(nil) }
        // I12: everyone syncs until nothing changes.
        var rounds = 0
        var hasWaited = false
        while true {
            rounds += 1
            let before = server.position
            var isQuiet = true
            for site in sites {
                do {
                    let report = try await site.replica.sync()
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
                clock.advance(Limits.healingMilliseconds)
                rounds = 0
            }
            guard rounds < Self.roundsMax else { throw BrokenInvariant(name: "I12", detail: "no rest after \(rounds) rounds") }
        }
        note("quiet after \(rounds) rounds @\(server.position)")
        for site in sites { try await checkHealed(site) }
        try checkHistory()
        try await checkNothingLost()
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
        // I1
        let expected = server.digest(for: try await site.replica.replicaID)
        let found = try await site.replica.digest()
        for (entity, digest) in expected.sorted(by: { $0.key < $1.key }) where found[entity] != digest {
            throw BrokenInvariant(
                name: "I1",
                detail: "\(site.name) has \(found[entity]?.count ?? -1) of \(entity), the server \(digest.count); the content differs")
        }
        try await checkOutcomes(site)
    }

    /// I2, I9: what the file was told is what the server has stored.
    private func checkOutcomes(_ site: SimulatedSite) async throws {
        var stored: [String: [UInt8]] = [:]
        for (_, outcomes) in server.snapshot().outcomes { for (_, one) in outcomes { stored[one.hash] = one.bytes } }
        for row in try await site.replica.query("SELECT counter, hash, outcome FROM _tideline_journal") {
            guard case .text(let hash)? = row["hash"], case .text(let outcome)? = row["outcome"], !lostHashes.contains(hash) else {
                continue
            }
            guard let bytes = stored[hash], String(decoding: bytes, as: UTF8.self) == outcome else {
                throw BrokenInvariant(
                    name: "I2", detail: "\(site.name) was told \(outcome) of set \(row.values[0]), the server has another verdict or none")
            }
        }
        let problems = try await site.replica.query("SELECT id, hash, status FROM _tideline_problem WHERE resolved_at IS NULL")
        for row in problems {
            guard case .text(let hash)? = row["hash"], case .text(let status)? = row["status"], !lostHashes.contains(hash),
                let bytes = stored[hash], let outcome = Outcome(json: try JSONValue(parsing: bytes))
            else { continue }
            guard outcome.status != .accepted else {
                throw BrokenInvariant(name: "I9", detail: "\(status) problem \(row.values[0]) of \(site.name) took effect all the same")
            }
        }
    }

    /// I3, I11: the feed tells the state, every dot took effect once, and what was deleted last is gone.
    private func checkHistory() throws {
        let state = server.snapshot()
        if let (dot, count) = state.applications.filter({ $0.value > 1 }).min(by: { $0.key < $1.key }) {
            throw BrokenInvariant(name: "I3", detail: "\(dot) took effect \(count) times")
        }
        var values: [RecordKey: [String: JSONValue]] = [:]
        var isLive: [RecordKey: Bool] = [:]
        for entry in state.feed where !entry.kind.hasPrefix("sync.") {
            // What goes with another record is derived and says so by its kind and values.
            if entry.operation == .create { isLive[entry.key] = true }
            if let deletion = entry.changes["deleted_at"]?["new"] { isLive[entry.key] = deletion.isNull }
            if entry.operation == .derived { continue }
            for (field, change) in entry.allChanges { values[entry.key, default: [:]][field] = change["new"] }
        }
        for record in state.records.values.sorted(by: { $0.id < $1.id }) {
            if let live = isLive[record.key], live != record.isLive {
                throw BrokenInvariant(name: "I11", detail: "\(record.key) is \(record.isLive ? "alive" : "dead"), the feed says otherwise")
            }
            for (field, value) in values[record.key] ?? [:] {
                // Counters have sums of their own.
                guard let policy = record.schema.field(field)?.policy, policy != .counter, record[field] != value else { continue }
                throw BrokenInvariant(name: "I8", detail: "\(record.key).\(field) is \(record[field]), the feed last said \(value)")
            }
        }
        try checkCounters(state)
    }

    /// I3: a counter is the sum of what the accepted sets say.
    private func checkCounters(_ state: ModelServer.State) throws {
        var sums: [Identifier: Int64] = [:]
        for (_, outcomes) in state.outcomes {
            for (_, one) in outcomes {
                guard let outcome = Outcome(json: try JSONValue(parsing: one.bytes)), outcome.status == .accepted, let set = sent[one.hash]
                else { continue }
                for change in set.changes {
                    switch change.operation {
                    case .create(let fields) where change.key.entity == "part":
                        sums[change.key.id, default: 0] += fields["on_hand_milli"]?.integerValue ?? 0
                    case .create(let fields) where change.key.entity == "movement":
                        guard let part = fields["part"]?.stringValue.flatMap({ Identifier($0) }) else { continue }
                        sums[part, default: 0] += fields["quantity_milli"]?.integerValue ?? 0
                    case .patch(let fields, _) where change.key.entity == "part":
                        sums[change.key.id, default: 0] += fields["on_hand_milli"]?.integerValue ?? 0
                    default: continue
                    }
                }
            }
        }
        for record in state.records.values.sorted(by: { $0.id < $1.id }) where record.schema.name == "part" {
            let (shown, sum) = (record.integer("on_hand_milli") ?? 0, sums[record.id] ?? 0)
            guard shown == sum else { throw BrokenInvariant(name: "I3", detail: "part \(record.id) holds \(shown), its sets say \(sum)") }
        }
    }

    /// I8: every write is in the server's history (current, overwritten, superseded or rejected), or waits in somebody's problems.
    private func checkNothingLost() async throws {
        var found = tokensHeldByServer()
        for site in sites {
            let rows = try await site.replica.query("SELECT sealed AS b FROM _tideline_problem")
            for row in rows { if case .blob(let bytes)? = row["b"] { found.formUnion(Ledger.tokens(in: bytes)) } }
        }
        let lost = ledger.all.subtracting(found).subtracting(ledger.excused)
        guard lost.isEmpty else { throw BrokenInvariant(name: "I8", detail: "no trace is left of \(lost.sorted())") }
        // I9: a rejection stays with its author, with every word of it.
        for site in sites {
            let missing = site.tokens.subtracting(try await tokensHeld(by: site))
            guard missing.isEmpty else { throw BrokenInvariant(name: "I9", detail: "\(site.name) has nothing left of \(missing.sorted())") }
        }
    }

    private func plantResurrection() {
        let dead = server.snapshot().records.values.filter { !$0.isLive }.min { $0.id < $1.id }
        guard var record = dead else { return }
        record.deletedAt = nil
        server.load([record])
    }
}
