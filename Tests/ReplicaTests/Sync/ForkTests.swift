// Copied and restored files: both sides go on working, nothing is applied twice, nothing is lost, and the person is told.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct ForkTests {
    private func names(_ site: Site) async throws -> [String] {
        try await site.replica.list("client", sort: Sort("name")).data.map(\.title)
    }

    @Test func copyOnTwoLaptops_bothWorking_becomesTwoReplicas() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Shared")
        try await a.sync()
        let b = try await world.copy(of: a, "b")
        try await a.client("Only a")
        try await b.client("Only b")
        let shared = try #require(try await b.replica.list("client", where: [Filter("name", .equal, "Shared")]).data.first).id
        try await b.set("client", shared, ["phone": "+15550100"])
        try await a.sync()

        let report = try await b.sync()
        let fork = try #require(report.fork)
        #expect(fork.movedSets == 2)
        #expect(report.accepted == 2)
        let moved = try await b.replica.replicaID
        #expect(moved == fork.replica)
        #expect(moved != a.id)
        try await expectConverged(world, a, b)
        #expect(try await names(a) == ["Only a", "Only b", "Shared"])
        #expect(try await a.value("client", shared, "phone") == "+15550100")
        // Both go on under their own ids without a further fork.
        for site in [a, b] {
            try await site.client("Again \(site.name)")
            #expect(try await site.sync().fork == nil)
        }
        try await expectConverged(world, a, b)
        #expect(try await names(b).count == 5)
    }

    /// No room for another replica at the server: the copy hears news, keeps what is its own, and parts when it may.
    @Test func copyInAFullTenant_hearsNews_andPartsWhenThereIsRoom() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Shared")
        try await a.sync()
        let b = try await world.copy(of: a, "b")
        try await a.client("Only a")
        try await b.client("Only b")
        try await a.sync()
        world.server.storageQuota = StorageQuota(bytesMax: 1)
        for _ in 0..<2 {
            let error = try await replicaError { try await b.sync() }
            #expect(error?.code == .serverRefused && error?.isRetryable == true)
            #expect(error?.message.contains("whoever runs the server") == true)
            #expect(try await names(b) == ["Only a", "Only b", "Shared"])
        }
        world.server.storageQuota = StorageQuota()
        #expect(try await b.sync().fork?.movedSets == 1)
        try await expectConverged(world, a, b)
    }

    @Test func copyMadeWhilePending_appliesTheSharedSetsOnce() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        for number in 1...3 { try await a.client("Pending \(number)") }
        let b = try await world.copy(of: a, "b")
        try await a.sync()
        try await b.client("After the copy")
        // The other copy goes on, too.
        try await a.client("Also after")
        try await a.sync()

        let report = try await b.sync()
        #expect(report.fork?.movedSets == 1)
        try await expectConverged(world, a, b)
        #expect(try await names(b) == ["After the copy", "Also after", "Pending 1", "Pending 2", "Pending 3"])
        for counter in 1...3 { #expect(world.server.applications(of: Dot(replica: a.id, counter: Int64(counter))) <= 1) }
        #expect(try await b.replica.pending().isEmpty)
    }

    @Test func fileRestoredFromABackup_isToldApart_evenBeforeItsFirstEdit() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Before the backup")
        try await a.sync()
        let b = try await world.copy(of: a, "backup")
        for number in 1...4 { try await a.client("After \(number)") }
        let report = try await a.sync()
        #expect(report.accepted == 4)
        await a.replica.close()

        let restored = try await b.sync()
        #expect(restored.fork?.unknownSets == 4)
        #expect(restored.fork?.movedSets == 0)
        #expect(try await names(b).count == 5)
        try await b.client("New work")
        #expect(try await b.sync().accepted == 1)
        try await expectConverged(world, b)
    }

    /// An old file goes on, and is copied before it has heard that it is not the newest one: both copies hold what was written meanwhile.
    @Test func oldFileCopiedBeforeItWasToldApart_doesItsWorkOnce() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        try await a.sync()
        let old = try await world.copy(of: a, "old")
        try await a.client("Lost with the old file's disk")
        try await a.sync()
        await a.replica.close()
        try await old.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await old.shell.execute("UPDATE part SET name = 'By a tool';")
        let copy = try await world.copy(of: old, "copy")
        try await old.replica.write { try $0.increment("part", part, "on_hand_milli", by: 7_000) }
        try await copy.replica.write { try $0.increment("part", part, "on_hand_milli", by: 11_000) }

        #expect(try await old.sync().fork != nil)
        #expect(try await copy.sync().fork != nil)
        try await expectConverged(world, old, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 23_000)
        #expect(try await old.replica.replicaID != copy.replica.replicaID)
        for site in [old, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    /// What a tool wrote is sealed in each copy by itself, and comes to the same set though one of them has a newer build by then.
    @Test func toolsEditCopiedBeforeItWasSealed_byBuildsOfDifferentAge_countsOnce() async throws {
        let world = try World(schema: .testing)
        world.server.upgrade(to: .testingLater)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        try await a.sync()
        try await a.shell.execute("UPDATE part SET on_hand_milli = on_hand_milli + 5000;")
        try await SQLiteShell(path: a.replica.path).execute("VACUUM INTO '\(world.path("copy"))';")
        let transport = ModelTransport(world.server)
        let newer = try await world.open("copy", transport, schema: .testingLater)
        let copy = Site(name: "copy", replica: newer, transport: transport, id: a.id, member: a.member)
        // The next edit is of the new build's schema again.
        try await copy.set("part", part, ["name": "Newer"])

        try await a.sync()
        #expect(try await copy.sync().fork == nil)
        try await copy.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(world.server.record("part", part)?.text("name") == "Newer")
        let versions = try await newer.query(
            "SELECT counter, json_extract(CAST(sealed AS TEXT), '$.schema') FROM _tideline_journal ORDER BY counter")
        #expect(versions.map { $0.values[1] } == [.integer(1), .integer(1), .integer(Schema.testingLater.version)])
    }

    /// An old file was told apart and its copy was not, then the server is restored to before it knew of either history: what both
    /// hold has two names now, that of the lost file and that of the old one. Whoever comes second is told what was said first.
    @Test(arguments: [true, false]) func copiesThatPartedARestoreApart_doWhatBothHoldOnce(isMovedFirst: Bool) async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        let client = try await a.client("Acme", ["notes": "base"])
        try await a.sync()
        let backup = world.server.snapshot()
        let old = try await world.copy(of: a, "old")
        try await a.client("Lost with the old file's disk")
        try await a.sync()
        await a.replica.close()
        try await old.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await old.set("client", client, ["notes": "held by both"])
        let copy = try await world.copy(of: old, "copy")
        #expect(try await old.sync().fork?.movedSets == 2)
        world.server.restore(backup)
        // Both go on with what they did themselves.
        try await old.set("client", client, ["notes": "on top of it"])
        try await copy.set("client", client, ["phone": "+15550100"])

        for site in isMovedFirst ? [old, copy] : [copy, old] { try await site.sync() }
        try await expectConverged(world, old, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(world.server.record("client", client)?.text("notes") == "on top of it")
        #expect(world.server.record("client", client)?.text("phone") == "+15550100")
        for site in [old, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    @Test func backupWithPendingWork_keepsIt_andJudgesItByWhatItsAuthorKnew() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["notes": "base"])
        try await a.sync()
        let b = try await world.copy(of: a, "backup")
        try await a.set("client", id, ["notes": "newer"])
        try await a.sync()
        // notes are guarded: the restored file did not know the newer text.
        try await b.set("client", id, ["notes": "from the old file"])
        try await b.set("client", id, ["phone": "+15550100"])
        let report = try await b.sync()
        #expect(report.fork != nil)
        #expect(report.rejected == 1)
        #expect(report.newProblems.first?.violations.map(\.code) == ["conflict"])
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "notes") == "newer")
        #expect(try await a.value("client", id, "phone") == "+15550100")
    }

    /// An own edit made before the copy is known to both, though it carries the old id.
    @Test func guardedEditOnSharedHistory_isNoConflict() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["notes": "base"])
        try await a.sync()
        try await a.set("client", id, ["notes": "shared edit"])
        let b = try await world.copy(of: a, "b")
        try await a.sync()
        try await a.client("Elsewhere")
        try await a.sync()
        try await b.set("client", id, ["notes": "on top of the shared edit"])
        let report = try await b.sync()
        #expect(report.fork != nil)
        #expect(report.rejected == 0)
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "notes") == "on top of the shared edit")
    }

    /// The push is lost, so only the pull tells: the outcome it brings belongs to the other copy's set.
    @Test func outcomeOfTheOtherCopy_isNotTakenForOnesOwn() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let b = try await world.copy(of: a, "b")
        try await a.client("From a")
        try await b.client("From b")
        try await a.sync()
        b.transport.breaking { call, number in call == .push && number == 1 ? .fail(.timeout) : nil }
        let report = try await b.sync()
        b.transport.breaking(nil)
        #expect(report.fork != nil)
        try await b.sync()
        try await expectConverged(world, a, b)
        #expect(try await names(a) == ["From a", "From b"])
    }

    @Test func crashOrLostReply_whileForking_onlyRepeatsIt() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let shell = SQLiteShell(path: a.replica.path)
        try await shell.execute("VACUUM INTO '\(world.path("b"))';")
        let faults = StorageFaults()
        let transport = ModelTransport(world.server)
        let replica = try await world.open("b", transport, faults: faults)
        let b = Site(name: "b", replica: replica, transport: transport, id: a.id, member: a.member)
        try await a.client("From a")
        try await b.client("From b")
        try await a.sync()
        transport.breaking { call, number in call == .fork && number == 1 ? .loseReply(.dropped("cut")) : nil }
        _ = try? await b.sync()
        transport.breaking(nil)
        faults.fail(at: .fork)
        _ = try? await b.sync()
        #expect(faults.reached.contains(.fork))
        faults.fail(at: nil)
        #expect(try await b.sync().fork != nil)
        try await expectConverged(world, a, b)
        #expect(try await names(b) == ["From a", "From b"])
    }

    @Test func ownEdits_stayInView_whileTheForkCannotBeSettled() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme")
        try await a.sync()
        let b = try await world.copy(of: a, "b")
        try await a.client("From a")
        try await b.set("client", id, ["phone": "+15550100"])
        try await a.sync()
        // Only the pull comes through: it tells of the other copy.
        b.transport.breaking { call, _ in call == .pull || call == .get ? nil : .fail(.timeout) }
        let error = try await replicaError { try await b.sync() }
        #expect(error?.code == .unreachable)
        #expect(try await b.value("client", id, "phone") == "+15550100")
        b.transport.breaking(nil)
        #expect(try await b.sync().fork?.movedSets == 1)
        try await expectConverged(world, a, b)
    }

    @Test func editsByPlainSQL_inBothCopies_areKept() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        try await a.shell.execute("UPDATE client SET notes = 'captured before the copy';")
        let b = try await world.copy(of: a, "b")
        try await b.shell.execute("INSERT INTO client (name) VALUES ('Made in the copy');")
        try await a.client("Made in the original")
        try await a.sync()
        try await b.sync()
        #expect(try await b.replica.problems().isEmpty)
        try await expectConverged(world, a, b)
        #expect(try await names(a) == ["Acme", "Made in the copy", "Made in the original"])
    }
}
