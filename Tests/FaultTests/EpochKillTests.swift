// The server, its backend or Postgres killed at every step of a new epoch's beginning, after Postgres was put back from a backup: the
// epoch begins once, whoever asks first, and what devices hold comes back once.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

extension FaultTests {
    @Suite struct EpochKillTests {
        @Test func death_atEveryStepOfAnEpochsBeginning_leavesOneEpoch_andHealingWorks() async throws {
            let place = try await Workplace()
            let steady = try await place.server()
            let doomed = Server(place.database + ["--workers", "2", "--webhook-threads", "0"])
            let olivia = try await Person("olivia", in: place.folder, server: steady.address, code: place.tenant.ownerCode)
            let reader = try await RawReplica(at: steady, code: try await place.tenant.code(for: "reader"))
            _ = try await olivia.add("client", "name=Backed up")
            try await olivia.syncUntilQuiet()
            try await offPool { try place.cluster.backUp() }
            for (index, (step, victim)) in Victim.deaths(at: ServerStep.ofEpochs).enumerated() {
                _ = try await olivia.add("client", "name=Lost \(index)")
                try await olivia.syncUntilQuiet()
                let cursor = try await reader.cursor(port: steady.port)
                try await offPool { try place.cluster.putBack() }
                let first = try await place.answer(of: doomed, at: step, killing: victim) {
                    try await reader.pull(cursor: cursor, port: $0)
                }
                if let first {
                    #expect([409, 503].contains(first.status), "\(step): \(first.text)")
                    if first.status == 409 { #expect(first.errorCode == "new_epoch", "\(step)") }
                }
                let isBegun = step == .epochCommitted || step == .epochAnnounced || first?.status == 409
                #expect(try await place.number("SELECT epoch FROM tideline.tenant_head") >= (isBegun ? 1 : 0), "\(step)")
                for _ in 0..<2 {
                    let again = try await place.firm { try await reader.pull(cursor: cursor, port: steady.port) }
                    #expect(again.errorCode == "new_epoch", "\(step): \(again.text)")
                }
                // The file may have been in one epoch more than the backup knows of: it asks for the next one after that.
                try await olivia.syncUntilQuiet()
                #expect(try await olivia.isIdentical(), "\(step)")
                let epochs = try await place.sql(
                    "SELECT position / \(FeedPosition.epochStride), count(*) FROM tideline.feed WHERE kind = 'sync.epoch_started' GROUP BY 1"
                )
                #expect(epochs.allSatisfy { $0[1] == "1" }, "\(step): \(epochs)")
                #expect(
                    try await place.number(
                        "SELECT max(position) / \(FeedPosition.epochStride) - (SELECT epoch FROM tideline.tenant_head) FROM tideline.feed")
                        == 0, "\(step)")
                for number in 0...index {
                    #expect(try await place.number("SELECT count(*) FROM client WHERE name = 'Lost \(number)'") == 1, "\(step): \(number)")
                }
            }
            try await olivia.json("doctor")
            #expect(await steady.end(SIGTERM) == 0)
        }

        /// The operator's word for it, with two tenants: what is done for one stays, and the command can be given again.
        @Test func restored_thatDies_canBeGivenAgain() async throws {
            let place = try await Workplace()
            _ = try await Tenant.made(place.database)
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            let deaths = Victim.deaths(at: drawn(2, of: ServerStep.ofEpochs))
            // At the first tenant, and at the second.
            for (index, (step, victim)) in deaths.enumerated() {
                let occurrence = index % 2 + 1
                _ = try await olivia.add("client", "name=Before")
                let died = try await place.command(["restored"], at: step, occurrence: occurrence, killing: victim)
                if victim != .itself { #expect([0, 3, 5].contains(died.code), "\(step): \(died)") }
                _ = try await Tenant.admin(["restored"], place.database)
                let heads = try await place.sql(
                    "SELECT h.epoch, h.position, max(f.position) FROM tideline.tenant_head h JOIN tideline.feed f USING (tenant) GROUP BY h.tenant, 1, 2"
                )
                #expect(heads.count == 2 && heads.allSatisfy { (Int($0[0]) ?? 0) > 0 && $0[1] == $0[2] }, "\(step): \(heads)")
                let started = try await place.sql(
                    "SELECT tenant, position FROM tideline.feed WHERE kind = 'sync.epoch_started' AND position % \(FeedPosition.epochStride) <> 0"
                )
                #expect(started.isEmpty, "\(step): \(started)")
                try await olivia.syncUntilQuiet()
                #expect(try await olivia.isIdentical(), "\(step)")
            }
            #expect(try await olivia.count(ofClient: "Before") == Int64(deaths.count))
            #expect(await server.end(SIGTERM) == 0)
        }
    }
}
