// A set that was taken out because no answer came, and the answer that exists all the same.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct WithdrawnSetTests {
    /// The pull comes first, then every answer to a push is lost but that to the probe, which has no sets.
    @Test func withdrawnSet_thatTookEffect_isNoProblem() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let id = try await a.client("Acme")
        a.transport.breaking { call, number in call == .push && number <= 3 ? .loseReply(.timeout) : nil }
        let report = try await a.sync(SyncOptions(rebuilds: true))
        a.transport.breaking(nil)
        #expect(report.withdrawn == 1)
        try await expectConverged(world, a)
        #expect(try await a.replica.problems().isEmpty)
        #expect(try await a.value("client", id, "name") == "Acme")
        // It can be undone like any other.
        #expect(try await a.replica.undo().undone == 1)
    }

    @Test func markerWithoutAnAnswer_endsTheSync() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        try await a.client("Acme")
        // The probes, 4 and 8, are answered.
        a.transport.breaking { call, number in call == .push && number % 4 != 0 ? .loseReply(.timeout) : nil }
        let report = try await a.sync(SyncOptions(rebuilds: true))
        #expect(a.transport.count(.push) == 8)
        a.transport.breaking(nil)
        #expect(report.withdrawn == 1)
        #expect(report.pushFailure != nil)
        try await expectConverged(world, a)
        #expect(try await a.replica.problems().isEmpty)
    }

    @Test func setThatAnotherCopyTookOut_becomesAProblemHere() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        try await a.client("Acme")
        try await SQLiteShell(path: a.replica.path).execute("VACUUM INTO '\(world.path("b"))';")
        world.server.poison = { _ in true }
        #expect(try await a.sync().withdrawn == 1)
        world.server.poison = nil
        let replica = try await world.open("b", ModelTransport(world.server))
        try await replica.sync()
        #expect(try await replica.pending().isEmpty)
        #expect(try await replica.problems().map(\.status) == ["withdrawn"])
    }
}
