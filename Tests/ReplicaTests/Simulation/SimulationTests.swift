// Seeds by the dozen, and the proof that the invariants see what they are for.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite(.serialized) struct SimulationTests {
    private static func environment(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap(Int.init) }

    /// `TIDELINE_SEED` runs that one alone; `TIDELINE_FIRST_SEED` and `TIDELINE_SIMULATIONS` say which others.
    private static let seeds: [UInt64] = {
        if environment("TIDELINE_FIRST_SEED") == nil, environment("TIDELINE_SIMULATIONS") == nil, environment("TIDELINE_SEED") == nil {
            return usual
        }
        if let seed = ProcessInfo.processInfo.environment["TIDELINE_SEED"].flatMap(UInt64.init) { return [seed] }
        let first = UInt64(environment("TIDELINE_FIRST_SEED") ?? 1)
        return (0..<UInt64(environment("TIDELINE_SIMULATIONS") ?? 12)).map { first + $0 }
    }()

    /// Those in which every kind of fault fires and every operation happens: a dozen, and two for what is rare.
    private static let usual: [UInt64] = Array(1...12) + [15, 22]

    static let steps = environment("TIDELINE_STEPS") ?? 80

    /// `TIDELINE_PROFILE` names one for all of them.
    private static let profile = ProcessInfo.processInfo.environment["TIDELINE_PROFILE"].flatMap(Simulation.Profile.init(rawValue:))

    static func tell(_ report: Simulation.Report) -> Comment {
        let last = report.trace.suffix(environment("TIDELINE_LAST_LINES") ?? 25).joined(separator: "\n  ")
        return "TIDELINE_SEED=\(report.seed): \(report.broken?.description ?? "")\n  \(last)"
    }

    @Test func everySeed_keepsEveryInvariant() async throws {
        var statistics = Statistics()
        for seed in Self.seeds {
            let report = await Simulation(seed: seed, steps: Self.steps, profile: Self.profile).run()
            statistics.add(report.statistics)
            #expect(report.broken == nil, Self.tell(report))
            if let path = ProcessInfo.processInfo.environment["TIDELINE_TRACE"] {
                try Data(report.trace.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: path))
            }
        }
        for line in statistics.lines { print(line) }
        // A run that skips what it is for proves nothing. Of rare faults a few seeds that nobody chose say little.
        if Self.seeds.count >= 12, Self.profile == nil {
            #expect(statistics.rareLooks.isEmpty, "hardly compared: \(statistics.rareLooks)")
            for kind in FaultKind.allCases where kind.expectedPercent >= 60 || Self.seeds == Self.usual {
                #expect(statistics.seedsWith[kind] ?? 0 > 0, "\(kind) never fired")
            }
            for operation in Simulation.Operation.allCases {
                #expect(statistics.operations[operation.rawValue] ?? 0 > 0, "\(operation) never happened")
            }
        }
    }

    @Test func oneSeed_isOneRun() async {
        for seed in Self.seeds.prefix(3) {
            let first = await Simulation(seed: seed, steps: Self.steps).run()
            let second = await Simulation(seed: seed, steps: Self.steps).run()
            let place = zip(first.trace, second.trace).enumerated().first { $0.element.0 != $0.element.1 }
            #expect(first.trace == second.trace, "seed \(seed) parts at \(String(describing: place))")
        }
    }

    static let plantedSeedsMax = UInt64(environment("TIDELINE_PLANTED_SEEDS") ?? 20)
    /// `TIDELINE_PLANTED` names one of them.
    static let plantedBugs: [PlantedBug] = {
        let name = ProcessInfo.processInfo.environment["TIDELINE_PLANTED"]
        return PlantedBug.allCases.filter { $0.storeFault == nil && (name == nil || $0.rawValue == name) }
    }()

    /// The seed that the catalogue names comes first, then the others.
    @Test(arguments: SimulationTests.plantedBugs) func plantedBug_isFound(bug: PlantedBug) async {
        let entry = bug.entry
        var found: Simulation.Report?
        for seed in [entry.seed] + (1...Self.plantedSeedsMax).filter({ $0 != entry.seed }) where found == nil {
            let report = await Simulation(seed: seed, steps: max(Self.steps, entry.steps), bug: bug).run()
            guard let broken = report.broken else { continue }
            found = report
            print("\(bug.rawValue) is found with seed \(seed) by \(broken)")
        }
        guard let found, let broken = found.broken else {
            Issue.record("\(bug) is not found by \(Self.plantedSeedsMax) seeds")
            return
        }
        #expect(entry.invariants.contains(broken.name), "\(bug): \(Self.tell(found))")
    }
}
