// A set that was taken out because no answer came, seen by another copy of the file.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct WithdrawnSetTests {
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
