// A few seeds on the store of the product. `TIDELINE_STORE=postgres` runs every simulation there.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite(.serialized) struct PostgresSimulationTests {
    /// `TIDELINE_POSTGRES_SIMULATIONS` says how many.
    private static let seeds: [UInt64] = {
        let count = ProcessInfo.processInfo.environment["TIDELINE_POSTGRES_SIMULATIONS"].flatMap(UInt64.init) ?? 3
        // Seeds of their own: another suite may be at work on the low ones in the same database.
        return (0..<count).map { 700_001 + $0 }
    }()

    @Test(arguments: seeds) func everySeed_keepsEveryInvariant_onPostgres(seed: UInt64) async {
        let report = await Simulation(seed: seed, steps: 80, store: .postgres).run()
        let last = report.trace.suffix(25).joined(separator: "\n  ")
        #expect(report.broken == nil, "TIDELINE_STORE=postgres TIDELINE_SEED=\(seed): \(String(describing: report.broken))\n  \(last)")
    }
}
