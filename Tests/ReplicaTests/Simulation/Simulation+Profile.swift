// What a seed is about. Most let everything happen; a stated share of them is for what is rare where everything happens, or cannot be
// looked into there.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    enum Profile: String, Sendable, CaseIterable {
        /// Everything happens.
        case ordinary
        /// The server is never put back, and people write guarded values more: what their authors saw can be compared to the end.
        case steady
        /// Files are copied and put back around restores of the server, and enrol again, so that copies part and meet again.
        case parting

        /// Of twenty seeds six are steady, and two are for copies. Planted bugs and kept seeds have theirs named.
        init(of seed: UInt64) {
            switch seed % 20 {
            case 2, 5, 8, 12, 15, 18: self = .steady
            case 4, 10: self = .parting
            default: self = .ordinary
            }
        }

        var restoresServer: Bool { self != .steady }

        /// What is done more often, or not at all, than in an ordinary run.
        func weight(of operation: Operation, _ ordinary: Int) -> Int {
            switch (self, operation) {
            case (.steady, .write), (.steady, .resolve), (.parting, .copyFile), (.parting, .backUpFile): ordinary * 2
            case (.steady, .restoreServer): 0
            default: ordinary
            }
        }
    }

    /// One misfortune of a series, which everything else may come between.
    enum Planned {
        case does(Operation, SimulatedSite)
        /// The newest backup takes the place of the site's file.
        case putsBack(SimulatedSite)
        /// The server's disk is the backup that was taken then; nil: before the series began, perhaps before somebody was enrolled.
        case restores(ServerBackup?)
    }

    /// What comes next of a series under way, or of one that begins now; nil: anything.
    func nextPlanned() -> Planned? {
        guard profile == .parting else { return nil }
        if plan.isEmpty, chance.percent(25), let site = chance.pick(sites.filter(\.isEnrolled)) { plan = series(site) }
        guard !plan.isEmpty, chance.percent(75) else { return nil }
        return plan.removeFirst()
    }

    private func series(_ site: SimulatedSite) -> [Planned] {
        let backup = backUpServer()
        snapshots.append(backup)
        let works: [Planned] = (0...chance.below(2)).map { _ in .does(.write, site) }
        let restores = Planned.restores(chance.percent(70) ? backup : nil)
        let meets: [Planned] = [.does(.write, site), .does(.sync, site)]
        // An old file goes on where a lost one went another way, a copy of it is made, and it is told apart; then the server forgets
        // what they parted from.
        if chance.percent(60) {
            return [.does(.backUpFile, site), .does(.write, site), .does(.sync, site), .putsBack(site)] + works
                + [.does(.copyFile, site), .does(.sync, site), restores] + meets
        }
        // Copies part, and then the server knows nothing of either, or of one of them.
        return [.does(.write, site), .does(.copyFile, site)] + works + [.does(.sync, site), restores] + meets
    }

    func perform(_ planned: Planned) async throws -> (what: String, site: SimulatedSite) {
        switch planned {
        case .does(let operation, let site):
            let what = site.isEnrolled ? try await perform(operation, site) : try await enrolFirst(site)
            return ("in a series, \(operation.rawValue): \(what)", site)
        case .putsBack(let site):
            guard let backup = backups.last(where: { $0.site === site })?.file else { return ("in a series, no backup", site) }
            return ("in a series, \(try await putBack(site, backup))", site)
        case .restores(let backup):
            guard let old = backup ?? snapshots.first else { return ("in a series, no backup of the server", sites[0]) }
            return ("in a series, the server goes \(try await restoreServer(to: old))", sites[0])
        }
    }
}

/// What an operator keeps of the server, and what the simulation knew then of the server's own writes.
struct ServerBackup: Sendable {
    let state: ServerState
    let ownWrites: [Simulation.OwnWrite]
}

extension Simulation {
    func backUpServer() -> ServerBackup { ServerBackup(state: server.snapshot(), ownWrites: ownWrites) }
}
