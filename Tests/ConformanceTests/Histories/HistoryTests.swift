// Random histories on both stores, and against the reference.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite(.serialized) struct HistoryTests {
    private static func environment(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) }

    /// `TIDELINE_SEED` runs that one alone, the variable says how many.
    private static func seeds(_ variable: String, default count: UInt64) -> [UInt64] {
        if let seed = environment("TIDELINE_SEED") { return [seed] }
        let first = environment("TIDELINE_FIRST_SEED") ?? 1
        return (0..<(environment(variable) ?? count)).map { first + $0 }
    }

    private static let steps = Int(environment("TIDELINE_STEPS") ?? 200)

    /// Both stores answer every request of a history alike, outcomes byte for byte.
    @Test func everyHistory_isTheSame_onBothStores() throws {
        for seed in Self.seeds("TIDELINE_HISTORIES", default: 6) {
            let tenant = freshTenant()
            let transcripts = try Store.allCases.map { store in
                let history = try History(seed: seed, store: store, tenant: tenant, looksAtRecords: false)
                try history.run(steps: Self.steps)
                #expect(history.references[0].difference == nil, "TIDELINE_SEED=\(seed) on \(store)")
                return history.company.transcript
            }
            let difference = firstDifference(transcripts[0], transcripts[1])
            #expect(difference == nil, "TIDELINE_SEED=\(seed): \(difference ?? "")")
        }
    }

    /// Every outcome and every value is what the reference says.
    @Test func everyHistory_isWhatTheReferenceSays() throws {
        var counts: [String: Int] = [:]
        for seed in Self.seeds("TIDELINE_REFERENCES", default: 30) {
            let history = try History(seed: seed, store: .model, tenant: freshTenant(), looksAtRecords: true)
            try history.run(steps: Self.steps)
            counts.merge(history.counts, uniquingKeysWith: +)
            #expect(history.references[0].difference == nil, "TIDELINE_SEED=\(seed)")
        }
        print("histories: \(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))")
        // A history that skips what it is for proves nothing.
        if Self.environment("TIDELINE_SEED") == nil {
            for what in [
                "accepted", "rejected", "noop", "withdrawn", "new_epoch", "resync_required", "counter_gap", "restore", "fork", "duplicate",
            ] {
                #expect(counts[what] ?? 0 > 0, "\(what) never happened")
            }
        }
    }

    static let mistakenSeedsMax: UInt64 = 24

    /// The comparison can fail: told wrong in any one rule, the reference does not agree with the same histories.
    @Test func everyMistake_isFound() throws {
        var open = Set(Reference.Mistake.allCases)
        for seed in 1...Self.mistakenSeedsMax where !open.isEmpty {
            let mistakes = open.sorted { $0.rawValue < $1.rawValue }
            let history = try History(
                seed: seed, store: .model, tenant: freshTenant(), mistakes: [nil] + mistakes.map { $0 }, looksAtRecords: true)
            try history.run(steps: Self.steps)
            #expect(history.references[0].difference == nil, "seed \(seed)")
            for (mistake, found) in zip(mistakes, history.references.dropFirst()) {
                guard let difference = found.difference else { continue }
                print("\(mistake.rawValue) is found with seed \(seed): \(difference.prefix(200))")
                open.remove(mistake)
            }
        }
        #expect(open.isEmpty, "not found by \(Self.mistakenSeedsMax) seeds: \(open)")
    }
}
