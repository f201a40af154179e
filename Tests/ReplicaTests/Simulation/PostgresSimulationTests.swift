// A few seeds on the store of the product, with another company beside, and bugs planted there. `TIDELINE_STORE=postgres` runs every
// simulation there.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite(.serialized) struct PostgresSimulationTests {
    private static func environment(_ name: String) -> String? { ProcessInfo.processInfo.environment[name] }

    /// Seeds of their own: another suite may be at work on the low ones in the same database.
    private static let firstSeed: UInt64 = 700_001

    /// `TIDELINE_POSTGRES_SIMULATIONS` says how many.
    private static let seeds: [UInt64] = {
        let count = environment("TIDELINE_POSTGRES_SIMULATIONS").flatMap(UInt64.init) ?? 3
        return (0..<count).map { firstSeed + $0 }
    }()

    @Test(arguments: seeds) func everySeed_keepsEveryInvariant_onPostgres(seed: UInt64) async {
        let report = await Simulation(seed: seed, steps: 80, store: .postgres).run()
        let last = report.trace.suffix(25).joined(separator: "\n  ")
        #expect(report.broken == nil, "TIDELINE_STORE=postgres TIDELINE_SEED=\(seed): \(String(describing: report.broken))\n  \(last)")
    }

    /// Those of the database, and one of the wire: the real server behind it must not hide it. `TIDELINE_PLANTED`
    /// names one, of all that do not lie in the model.
    static let plantedBugs: [PlantedBug] = {
        if let name = environment("TIDELINE_PLANTED") { return PlantedBug.allCases.filter { $0.serverFault == nil && $0.rawValue == name } }
        return PlantedBug.allCases.filter { $0.storeFault != nil } + [.skipsRecord]
    }()

    @Test(arguments: PostgresSimulationTests.plantedBugs) func plantedBug_isFound_onPostgres(bug: PlantedBug) async {
        var found: Simulation.Report?
        for seed in Self.firstSeed..<(Self.firstSeed + 20) where found == nil {
            let report = await Simulation(seed: seed, steps: 80, bug: bug, store: .postgres).run()
            guard let broken = report.broken else { continue }
            found = report
            print("\(bug.rawValue) is found on Postgres with seed \(seed) by \(broken)")
        }
        guard let found, let broken = found.broken else {
            Issue.record("\(bug) is not found on Postgres by 20 seeds")
            return
        }
        #expect(bug.entry.invariants.contains(broken.name), "\(bug): \(SimulationTests.tell(found))")
    }
}
