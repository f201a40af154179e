// Where every sealed set is: what a file holds, what it could offer a server that was restored, and what has become of each set in the
// end. Told from the rows of the files, not by the code that keeps them.

import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

/// What a file holds of its own work.
struct Holdings {
    enum Place: Int64 { case pending, journal, problem }

    struct Row {
        let place: Place
        let counter: Int64
        /// nil: only a marker.
        let sealed: Ledger.Sealed?
        /// Pending in somebody else's name.
        let author: String?
        /// Of the journal, by the server's clock.
        let confirmedAt: Int64
        let isRejected: Bool
        /// Of a problem that somebody has seen to, by the server's clock: when a sync met it so.
        let settledAt: Int64?
    }

    var rows: [Row] = []
    /// What a tool has written and nothing has sealed yet.
    var captured: Set<String> = []
    var edits: Set<Int> = []
    var tokens: Set<String> = []

    var confirmed: [Int: Int64] {
        var confirmed: [Int: Int64] = [:]
        for row in rows where row.place == .journal { if let sealed = row.sealed { confirmed[sealed.edit] = row.confirmedAt } }
        return confirmed
    }

    var settled: [Int: Int64] {
        var settled: [Int: Int64] = [:]
        for row in rows { if let sealed = row.sealed, let at = row.settledAt { settled[sealed.edit] = at } }
        return settled
    }

    func edits(in places: Place...) -> Set<Int> {
        Set(rows.lazy.filter { places.contains($0.place) }.compactMap { $0.sealed?.edit })
    }
}

extension Simulation {
    /// Journals are kept that long, by the server's clock.
    static let journalMilliseconds: Int64 = 7 * 86_400_000
    /// The same of problems that somebody has seen to.
    static let settledMilliseconds: Int64 = 90 * 86_400_000

    func holdings(of site: SimulatedSite) async throws -> Holdings {
        let rows = try await site.replica.query(
            """
            SELECT 0 AS place, counter, sealed, author, 0 AS at, 0 AS rejected, NULL AS settled FROM _tideline_pending UNION ALL \
            SELECT 1, counter, sealed, NULL, confirmed_at, 0, NULL FROM _tideline_journal UNION ALL \
            SELECT 2, counter, sealed, NULL, id, status = 'rejected', settled_at FROM _tideline_problem UNION ALL \
            SELECT 3, 0, CAST(new AS BLOB), NULL, 0, 0, NULL FROM _tideline_edit WHERE new IS NOT NULL ORDER BY 1, 2, 5
            """)
        var held = Holdings()
        for row in rows {
            guard case .integer(let place) = row.values[0], case .integer(let counter) = row.values[1],
                case .integer(let at) = row.values[4]
            else { continue }
            guard let place = Holdings.Place(rawValue: place) else {
                if case .blob(let bytes) = row.values[2] { held.captured.formUnion(Tokens.found(in: bytes)) }
                continue
            }
            var sealed: Ledger.Sealed?
            if case .blob(let bytes) = row.values[2] { sealed = try ledger.sealed(bytes) }
            var settledAt: Int64?
            if case .integer(let at) = row.values[6] { settledAt = at }
            var author: String?
            if case .text(let text) = row.values[3] { author = text }
            held.rows.append(
                Holdings.Row(
                    place: place, counter: counter, sealed: sealed, author: author, confirmedAt: at,
                    isRejected: row.values[5] == .integer(1), settledAt: settledAt))
            if let sealed {
                held.edits.insert(sealed.edit)
                held.tokens.formUnion(sealed.tokens)
            }
        }
        held.tokens.formUnion(held.captured)
        return held
    }

    /// Tokens of everything that this file still knows it was told.
    func tokensHeld(by site: SimulatedSite) async throws -> Set<String> { try await holdings(of: site).tokens }

    // MARK: At any time

    /// What was written or sealed here is somewhere in the file (I6, I9, I15, by who asks). Only what was confirmed a journal's time
    /// ago may be forgotten, and what somebody has seen to long ago: nobody has to account for it any more.
    func checkHeld(_ site: SimulatedSite, _ name: String, _ words: String = "has nothing left of") async throws {
        let held = try await holdings(of: site)
        let horizon = serverLatest - Self.journalMilliseconds
        let pruned = site.edits.subtracting(held.edits).filter { edit in site.confirmed[edit].map { $0 <= horizon } ?? false }
        if !pruned.isEmpty {
            tally.count(.journalPruned)
            try await excuse(pruned, of: site)
        }
        let settledHorizon = serverLatest - Self.settledMilliseconds
        let settled = site.edits.subtracting(held.edits).filter { edit in site.settled[edit].map { $0 < settledHorizon } ?? false }
        for edit in settled { ledger.excuse(site.tokensOf[edit] ?? []) }
        ledger.excuse(edits: settled)
        let forgotten = pruned.union(settled)
        if !forgotten.isEmpty {
            site.edits.subtract(forgotten)
            var tokens: Set<String> = []
            for edit in forgotten { tokens.formUnion(site.tokensOf[edit] ?? []) }
            site.tokens.subtract(tokens.subtracting(held.tokens))
        }
        let missing = site.tokens.subtracting(held.tokens)
        guard missing.isEmpty else { throw BrokenInvariant(name: name, detail: "\(site.name) \(words) \(missing.sorted())") }
        let lost = site.edits.subtracting(held.edits)
        guard lost.isEmpty else { throw BrokenInvariant(name: name, detail: "\(site.name) \(words) \(ledger.words(lost))") }
        // What a tool wrote, or a problem that was retried, became sets of itself.
        let new = held.edits.subtracting(site.edits)
        for row in held.rows { if let sealed = row.sealed, new.contains(sealed.edit) { noteSights(of: sealed) } }
        for row in held.rows { if let sealed = row.sealed { site.tokensOf[sealed.edit] = sealed.tokens } }
        ledger.took(edits: new)
        site.edits = held.edits
        site.confirmed = held.confirmed
        site.settled = held.settled
    }

    /// A page from before a restore of the server may be what makes a file forget, after the restore: what was as old as that may go, unless
    /// the server or another file has it.
    private func excuse(_ pruned: Set<Int>, of site: SimulatedSite) async throws {
        let elsewhere = try await heldElsewhere(than: site)
        excuse(pruned, of: site, but: elsewhere)
    }

    /// Edits that a file has lost, and what they said, a text of somebody else's included, as a set says that takes something back.
    func excuse(_ lost: Set<Int>, of site: SimulatedSite, but elsewhere: (edits: Set<Int>, tokens: Set<String>)) {
        let gone = lost.subtracting(elsewhere.edits)
        ledger.excuse(edits: gone)
        ledger.excuse(gone.reduce(into: Set<String>()) { $0.formUnion(site.tokensOf[$1] ?? []) }.subtracting(elsewhere.tokens))
    }

    /// What the server has decided, or another file has to offer or to show.
    func heldElsewhere(than site: SimulatedSite) async throws -> (edits: Set<Int>, tokens: Set<String>) {
        var edits = decided(in: server.snapshot())
        var tokens = tokensHeldByServer()
        for other in sites where other !== site {
            let (offers, holdings) = (try await offers(of: other), try await holdings(of: other))
            edits.formUnion(offers.edits)
            edits.formUnion(holdings.edits(in: .pending, .problem))
            tokens.formUnion(offers.tokens)
            tokens.formUnion(holdings.tokens)
        }
        return (edits, tokens)
    }

    // MARK: After a restore

    /// Sets that this file can offer again after a restore of the server: what waits, and what was confirmed under its own id, or
    /// under that of a replica whose courier it may be: from the last counter that both share down, as far as nothing is missing.
    func offers(of site: SimulatedSite) async throws -> (edits: Set<Int>, tokens: Set<String>) {
        let held = try await holdings(of: site)
        var meta: [String: String] = [:]
        let told = try await site.replica.query(
            "SELECT key, value FROM _tideline_meta WHERE key IN ('replica', 'shared_lanes', 'former_identities')")
        for row in told { if case .text(let key) = row.values[0], case .text(let value) = row.values[1] { meta[key] = value } }
        guard let own = meta["replica"] else { return ([], []) }
        var sets: [Ledger.Sealed] = []
        for row in held.rows {
            guard let sealed = row.sealed else { continue }
            if row.place == .pending || row.place == .journal && sealed.set.dot.replica.text == own { sets.append(sealed) }
        }
        // What is pending stands before what was confirmed, and that before what a person has to see to, the newest of those first.
        var byCounter: [Int64: Holdings.Row] = [:]
        for row in held.rows {
            if let one = byCounter[row.counter], one.place != .problem || row.place != .problem { continue }
            byCounter[row.counter] = row
        }
        let lanes = try meta["shared_lanes"].flatMap { try JSONValue(parsing: $0).objectValue } ?? JSONObject()
        let statements = try meta["former_identities"].flatMap { try JSONValue(parsing: $0).objectValue } ?? JSONObject()
        for (author, _) in statements {
            var counter = lanes[author]?.integerValue ?? 0
            walk: while counter > 0, let row = byCounter[counter] {
                switch row.place {
                case .pending:
                    guard (row.author ?? row.sealed?.set.dot.replica.text) == author else { break walk }
                case .journal:
                    if let sealed = row.sealed {
                        guard sealed.set.dot.replica.text == author else { break walk }
                        sets.append(sealed)
                    }
                case .problem: guard row.isRejected else { break walk }
                }
                counter -= 1
            }
        }
        return (Set(sets.map(\.edit)), sets.reduce(into: []) { $0.formUnion($1.written) })
    }

    /// The edits that a state of the server has decided, under whatever id.
    func decided(in state: ServerState) -> Set<Int> {
        var decided: Set<Int> = []
        for (_, outcomes) in state.outcomes {
            for (_, one) in outcomes { if let set = sent[one.hash] { decided.insert(ledger.number(of: set)) } }
        }
        return decided
    }

    // MARK: In the end

    /// I8, I9: every set that was ever sealed or sent was decided and has taken effect, or somebody has been told why not, or it waits
    /// with somebody who is shut out.
    func checkEverySetAccounted(_ going: [SimulatedSite]) async throws {
        // What was sealed and sent within one step was in no file when that was looked into.
        for set in sent.everything.sorted(by: { Ledger.edit($0) < Ledger.edit($1) }) { ledger.took(edits: [ledger.number(of: set)]) }
        var effective: Set<Int> = []
        var refused: Set<Int> = []
        for (_, outcomes) in server.snapshot().outcomes {
            for (_, one) in outcomes {
                guard let set = sent[one.hash], let outcome = Outcome(json: try JSONValue(parsing: one.bytes)) else { continue }
                switch outcome.status {
                case .accepted, .noop: effective.insert(ledger.number(of: set))
                case .rejected, .withdrawn: refused.insert(ledger.number(of: set))
                case .deferred: break
                }
            }
        }
        var told: Set<Int> = []
        var kept: Set<Int> = []
        for site in sites {
            let held = try await holdings(of: site)
            told.formUnion(held.edits(in: .problem))
            // Who is shut out keeps what could not be sent.
            if !going.contains(where: { $0 === site }) { kept.formUnion(held.edits) }
        }
        statistics.edits += ledger.edits.count
        let open = ledger.edits.subtracting(effective).subtracting(told).subtracting(kept)
        let unheard = open.intersection(refused).subtracting(ledger.orphans).subtracting(ledger.excusedEdits)
        guard unheard.isEmpty else {
            throw BrokenInvariant(name: "I9", detail: "refused, and nobody was told: \(ledger.words(unheard))")
        }
        let lost = open.subtracting(refused).subtracting(ledger.excusedEdits)
        guard lost.isEmpty else { throw BrokenInvariant(name: "I8", detail: "no trace is left of \(ledger.words(lost))") }
    }
}
