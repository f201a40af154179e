// Death between any two writes: the file is sound, shows one state or the other, and goes on.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct CrashTests {
    @Test(arguments: StorageStep.whileWorking.filter { $0 != .fork }) func death_atAStorageStep_losesNothing(step: StorageStep) async throws
    {
        let world = try World()
        let faults = StorageFaults()
        let a = try await world.replica("a")
        let b = try await world.replica("b", faults: faults)
        var ids: [Identifier] = []
        for index in 0..<6 { ids.append(try await a.client("c\(index)", ["notes": "base"])) }
        try await expectConverged(world, a, b)
        for id in ids { try await a.set("client", id, ["notes": "from a", "tags": ["a"]]) }
        try await a.sync()
        let backup = world.server.snapshot()
        world.server.poison = { set in set.changes.contains { $0.operation == .create(fields: ["name": "deadly"]) } }

        func work(_ replica: Replica) async throws {
            try await replica.write { [ids] edit in
                try edit.set("client", ids[0], ["notes": "from b"])
                try edit.add("client", ids[1], "tags", ["b"])
            }
            try await replica.write { try $0.create("client", ["name": "deadly"]) }
            try await replica.write { try $0.create("client", ["name": "new"]) }
            try await replica.sync(SyncOptions(pageLimit: 2))
            try await replica.sync(SyncOptions(pageLimit: 2, rebuilds: true))
            world.server.restore(backup)
            try await replica.sync(SyncOptions(pageLimit: 2))
        }
        faults.fail(at: step)
        let error = try await replicaError { try await work(b.replica) }
        #expect(error?.message.contains(step.rawValue) == true, "the step \(step) was never reached")
        faults.fail(at: nil)
        // As a dead process leaves it: not closed, whatever was in memory gone.
        let again = try await world.open("b", b.transport)
        #expect(try await again.integrityCheck() == [])
        for id in ids {
            let notes = try #require(try await again.get("client", id))["notes"]
            #expect(["base", "from a", "from b"].contains(notes))
        }
        let counters = try await again.pending().map(\.counter)
        #expect(counters == Array(counters.sorted()))
        if try await again.status().pendingSets == 0, try await again.problems().isEmpty { try await work(again) }
        for _ in 0..<3 { try await again.sync(SyncOptions(pageLimit: 2)) }
        #expect(try await again.digest() == world.server.digest())
        #expect(try await again.pending().isEmpty)
        #expect(try await again.integrityCheck() == [])
        await again.close()
        await b.replica.close()
    }

    @Test func readers_neverSeeHalfAPull() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let ids = try await a.replica.write { edit in
            try (0..<20).map { try edit.create("client", ["name": "v0", "payment_terms_days": .integer(Int64($0))]) }
        }.value
        try await expectConverged(world, a, b)
        let reading = Task {
            var seen = 0
            while !Task.isCancelled {
                let rows = try await b.replica.query("SELECT count(DISTINCT name) AS n FROM client")
                #expect(rows.first?["n"] == 1)
                seen += 1
            }
            return seen
        }
        for round in 1...8 {
            try await a.replica.write { edit in for id in ids { try edit.set("client", id, ["name": .string("v\(round)")]) } }
            try await a.sync()
            try await b.sync(SyncOptions(pageLimit: 3))
        }
        reading.cancel()
        #expect(try await reading.value > 0)
        #expect(try await b.value("client", ids[0], "name") == "v8")
    }
}
