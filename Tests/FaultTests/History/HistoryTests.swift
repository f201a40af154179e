// Histories by seed. `TIDELINE_SEED` repeats a plan, `TIDELINE_FAULT_SECONDS` goes on with new ones for so long.

import Foundation
import TestSupport
import Testing

extension FaultTests {
    @Suite struct HistoryTests {
        @Test func everyHistory_losesNothing_doublesNothing_andEndsEqual() async throws {
            let seconds = ProcessInfo.processInfo.environment["TIDELINE_FAULT_SECONDS"].flatMap(Double.init) ?? 0
            let deadline = Date(timeIntervalSinceNow: seconds)
            var seed = SeededRandom.fresh().seed
            var total = HistoryFigures()
            var histories = 0
            // On a busy machine one history's kills may all come between syncs, and not every history has every disaster: another one then.
            repeat {
                print("history: seed \(seed)")
                let figures = try await history(seed)
                print("history: seed \(seed): \(figures)")
                total.add(figures)
                histories += 1
                seed &+= 1
            } while Date() < deadline || (histories < 4 && (total.counts["kill of a sync"] ?? 0 == 0 || !missing(total).isEmpty))
            print("histories: \(histories); \(total)")
            // A fault that never comes proves nothing.
            #expect(missing(total).isEmpty, "these must come")
            #expect(total.faults.values.reduce(0, +) >= 10, "connections must be spoilt")
            #expect(total.counts["failed calls to a disk"] ?? 0 > 0, "disks must fail")
            #expect(total.counts["kill of a sync"] ?? 0 > 0, "kills must hit running syncs")
            #expect(total.counts["writes accounted for"] ?? 0 > 20)
        }

        /// Disasters that did not come. pgbouncer's only comes where it is.
        private func missing(_ total: HistoryFigures) -> [PlannedDisaster] {
            PlannedDisaster.allCases.filter { disaster in
                total.counts["\(disaster)"] ?? 0 == 0
                    && (disaster != .killPooler || total.counts["histories through pgbouncer"] ?? 0 > 0)
            }
        }

        private func history(_ seed: UInt64) async throws -> HistoryFigures {
            let plan = HistoryPlan(seed: seed, people: 4, stepsEach: 32, more: 3)
            let history = try await History.prepared(plan)
            let supervisor = history.supervisePostgres()
            defer { supervisor.cancel() }
            do {
                try await history.run()
                try await history.settle()
                for promise in try await history.brokenPromises() { Issue.record("seed \(seed): \(promise)") }
                let figures = await history.figures()
                await history.close()
                return figures
            } catch {
                Issue.record("seed \(seed): \(error); \(await history.ledger.surprises)")
                print("postgres said: \(history.cluster.log.suffix(6000))")
                await history.close()
                throw error
            }
        }
    }
}
