// Things that happen in the middle of a sync or an enrolment: between a request and its processing, and between that and the answer.
// One at a time; what happens then is not interrupted itself.

import Foundation
import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    private enum Event { case edit, sync, write, revoke, role, restore, snapshot, forget, upgrade, consume, copy, file, deliver }

    private static let events: [(weight: Int, value: Event)] = [
        (9, .edit), (7, .sync), (4, .write), (2, .revoke), (2, .role), (2, .restore), (2, .snapshot), (1, .forget), (1, .upgrade),
        (1, .consume), (2, .copy), (1, .file), (1, .deliver),
    ]

    /// Called by a site's transport, while the site's own operation is suspended.
    func meanwhile(_ model: ModelTransport, _ call: Call, _ moment: Moment) async {
        // A dead process waits for nothing; what its memory still does happens in a file that nobody will see.
        guard let site = sites.first(where: { $0.model === model }), !site.line.isDead.with({ $0 }) else { return }
        if let dies = site.diesDuring, dies == (call, moment) {
            site.diesDuring = nil
            do { try site.surroundings.die() } catch { brokenMeanwhile = BrokenInvariant(name: "I0", detail: "\(error)") }
            return
        }
        guard meanwhileRate > 0, !isMeanwhile, brokenMeanwhile == nil, chance.percent(meanwhileRate) else { return }
        isMeanwhile = true
        defer { isMeanwhile = false }
        do {
            let what = try await perform(chance.weighted(Self.events), during: site)
            note("  \(moment.rawValue) the \(call.rawValue) of \(site.name), \(what) @\(server.position)")
        } catch let broken as BrokenInvariant {
            brokenMeanwhile = broken
        } catch {
            brokenMeanwhile = BrokenInvariant(name: "I0", detail: "an error nobody expected in the middle of a \(call.rawValue): \(error)")
        }
    }

    private func perform(_ event: Event, during site: SimulatedSite) async throws -> String {
        let others = sites.filter { $0 !== site && $0.isEnrolled }
        let anyone = chance.pick(sites.filter(\.isEnrolled)) ?? site
        switch event {
        case .edit:
            guard site.isEnrolled else { return "\(site.name) waits" }
            tally.count(.meanwhileEdited)
            let what = try await edit(site)
            // Whoever looks into the file now sees it between two steps of the sync.
            if !site.line.isDead.with({ $0 }) { try await checkAlways(site) }
            return "\(site.name) itself \(what)"
        case .sync:
            guard let other = chance.pick(others) else { return "nobody else syncs" }
            tally.count(.meanwhileSynced)
            let what = try await sync(other, rebuilds: chance.percent(5))
            try await checkAlways(other)
            return "\(other.name) syncs: \(what)"
        case .write:
            tally.count(.meanwhileWritten)
            return "the server: \(chance.percent(50) ? try await serverWrite() : try await handOver(anyone))"
        case .revoke:
            tally.count(.meanwhileRevoked)
            return try await revoke(anyone)
        case .role:
            tally.count(.meanwhileRoleChanged)
            return "\(anyone.name): \(changeRole(anyone))"
        case .restore:
            guard profile.restoresServer, !snapshots.isEmpty else { return "no backup" }
            tally.count(.meanwhileRestored)
            return try await restoreServer()
        case .snapshot: return try await snapshotServer()
        case .forget:
            tally.count(.meanwhileForgotten)
            return forgetTombstones()
        case .upgrade:
            guard let other = chance.pick(others) else { return "no upgrade" }
            return try await upgrade(other)
        case .consume:
            tally.count(.meanwhileConsumed)
            return chance.percent(60) ? try await consume() : runBuiltin()
        case .copy:
            guard site.isEnrolled else { return "\(site.name) waits" }
            tally.count(.meanwhileCopied)
            // As it lies, between two steps of the sync.
            return "\(site.name) is \(chance.percent(50) ? try await copyFile(site) : try await backUpFile(site))"
        case .file:
            let what = try await restoreFile(but: site)
            for other in others { try await checkAlways(other) }
            return what
        case .deliver: return deliverLate()
        }
    }

    private func edit(_ site: SimulatedSite) async throws -> String {
        switch chance.below(10) {
        case 0, 1, 2, 3: try await write(site)
        case 4: try await writePair(site)
        case 5: try await writeSQL(site)
        case 6: try await editByTool(site)
        case 7: try await undo(site)
        default: try await resolve(site)
        }
    }
}
