// A server that was restored from a backup, met at awkward moments: what the simulator found, each by name.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct RestoredServerTests {
    /// The answer to the push arrived, the checkpoint did not, and the backup is as old as the cursor.
    @Test func answerLostByARestore_whileTheCursorIsStillGood_isAskedForAgain() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        try await a.sync()
        let backup = world.server.snapshot()
        let id = try await a.client("Acme")
        a.transport.breaking { call, _ in call == .pull ? .fail(.unreachable("no network")) : nil }
        let error = try await replicaError { try await a.sync() }
        #expect(error?.code == .unreachable)
        #expect(try await a.replica.pending().first?.outcome?.status == .accepted)
        a.transport.breaking(nil)
        world.server.restore(backup)

        try await a.sync()
        #expect(try await a.replica.pending().isEmpty)
        #expect(world.server.record("client", id) != nil)
        try await expectConverged(world, a, b)
    }

    /// It has no cursor that could tell, and in the new epoch its next counter would be taken for its first.
    @Test func setsAnsweredBeforeTheFirstPage_andLostByARestore_areOfferedAgain() async throws {
        let world = try World()
        let a = try await world.replica("a", synced: false)
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        var ids = [try await a.client("One"), try await a.client("Two")]
        a.transport.breaking { call, _ in call == .pull ? .fail(.unreachable("no network")) : nil }
        _ = try await replicaError { try await a.sync() }
        #expect(try await a.replica.pending().map { $0.outcome?.status } == [.accepted, .accepted])
        try await b.client("So that somebody notices")
        try await b.sync()
        world.server.restore(backup)
        try await b.sync()
        ids.append(try await a.client("Three"))
        a.transport.breaking(nil)
        for _ in 0..<2 { try await a.sync() }
        #expect(try await a.replica.pending().isEmpty)
        for id in ids { #expect(world.server.record("client", id) != nil) }
        for counter in 1...3 { #expect(world.server.applications(of: Dot(replica: a.id, counter: Int64(counter))) == 1) }
        try await expectConverged(world, a, b)
        for site in [a, b] { #expect(try await site.replica.problems().isEmpty) }
    }

    /// The place where its first sync was interrupted lies in a history that everybody knows to be lost: showing it once more proves nothing.
    @Test func restoreInTheMiddleOfAFirstSync_doesNotStopIt() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b", synced: false)
        let backup = world.server.snapshot()
        for number in 1...4 { try await a.client("Client \(number)") }
        try await a.sync()
        b.transport.breaking { call, number in call == .pull && number == 3 ? .fail(.unreachable("no network")) : nil }
        let error = try await replicaError { try await b.sync(SyncOptions(pageLimit: 2)) }
        #expect(error?.code == .unreachable)
        b.transport.breaking(nil)
        let made = try await b.client("Made meanwhile")
        world.server.restore(backup)
        try await a.sync()
        #expect(world.server.epoch == 1)

        let report = try await b.sync(SyncOptions(pageLimit: 2))
        #expect(report.isResync)
        try await b.sync()
        #expect(world.server.record("client", made) != nil)
        try await expectConverged(world, a, b)
    }

    /// The journal is what a restored server is healed from; a device's clock has no say in how long it is kept.
    @Test(arguments: [400, -20_000] as [Int64]) func journal_isKeptForDays_whateverTheClockOfTheDeviceSays(days: Int64) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let id = try await a.client("Acme")
        try await a.sync()
        await a.replica.close()
        // Off by much, and right again.
        for offset in [days * 86_400_000, 0] {
            let replica = try await world.open("a", a.transport, offset: offset)
            try await replica.sync()
            #expect(try await replica.query("SELECT count(*) FROM _tideline_journal").first?.values == [.integer(1)])
            await replica.close()
        }
        world.server.restore(backup)
        let replica = try await world.open("a", a.transport)
        #expect(try await replica.sync().healing == 1)
        #expect(world.server.record("client", id) != nil)
        try await b.sync()
        #expect(try await b.replica.get("client", id) != nil)
        await replica.close()
    }

    @Test func restore_isNoticedByARebuild_thoughItPullsFromNothing() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let backup = world.server.snapshot()
        try await a.client("Lost with the disk")
        try await a.sync()
        world.server.restore(backup)

        let report = try await a.sync(SyncOptions(rebuilds: true))
        #expect(report.isResync)
        #expect(world.server.epoch == 1)
        #expect(try await a.replica.status().checkpoint?.epoch == 1)
        try await expectConverged(world, a)
    }

    /// The first pages come from before the restore, the last ones from after it.
    @Test func restore_betweenThePagesOfARebuild_isNoticed() async throws {
        let world = try World()
        let a = try await world.replica("a")
        for number in 1...6 { try await a.client("Client \(number)") }
        try await a.sync()
        let backup = world.server.snapshot()
        try await a.client("Lost with the disk")
        try await a.sync()
        a.transport.breaking { call, number in call == .pull && number > 2 ? .fail(.unreachable("no network")) : nil }
        let error = try await replicaError { try await a.sync(SyncOptions(pageLimit: 2, rebuilds: true)) }
        #expect(error?.code == .unreachable)
        a.transport.breaking(nil)
        world.server.restore(backup)

        try await a.sync()
        #expect(try await a.replica.status().checkpoint?.epoch == 1)
        try await expectConverged(world, a)
    }

    /// A record that was to come on a later page, because it had been written again, stands before the place between the pages now.
    @Test func recordThatARestoreMovesBeforeThePage_isNotMissed() async throws {
        let world = try World()
        let (a, b) = (try await world.replica("a"), try await world.replica("b"))
        let ids = [try await b.client("One"), try await b.client("Two"), try await b.client("Three")]
        try await b.sync()
        try await a.sync()
        for id in ids {
            try await b.set("client", id, ["phone": "+15550100"])
            try await b.sync()
        }
        let backup = world.server.snapshot()
        world.server.write([Change("client", ids[0], .patch(fields: ["phone": "+15550199"], was: [:]))])
        a.transport.breaking { call, number in call == .pull && number > 1 ? .fail(.unreachable("no network")) : nil }
        let error = try await replicaError { try await a.sync(SyncOptions(pageLimit: 1)) }
        #expect(error?.code == .unreachable)
        a.transport.breaking(nil)
        world.server.restore(backup)

        try await a.sync()
        #expect(try await a.value("client", ids[0], "phone") == "+15550100")
        try await expectConverged(world, a, b)
    }

    /// The file was put back to before it brought the set again, and with it went the problem that said how that ended.
    @Test func setRefusedWhenItCameBack_isAProblemInAnOldCopyToo() async throws {
        let world = try World()
        let (a, b) = (try await world.replica("a"), try await world.replica("b"))
        let id = try await b.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        let backup = world.server.snapshot()
        try await a.set("client", id, ["notes": "from a"])
        #expect(try await a.sync().accepted == 1)
        let old = try await world.copy(of: a, "old")
        world.server.restore(backup)
        try await b.set("client", id, ["notes": "from b"])
        #expect(try await b.sync().accepted == 1)
        #expect(try await a.sync().healing == 1)
        try await a.sync()
        #expect(try await a.replica.problems().map { $0.violations.map(\.code) } == [["conflict"]])

        _ = try await old.sync()
        #expect(try await old.replica.problems().map { $0.violations.map(\.code) } == [["conflict"]])
        #expect(try await old.value("client", id, "notes") == "from b")
        #expect(try await old.replica.integrityCheck().isEmpty)
        try await expectConverged(world, b, old)
    }

    /// The server has processed more than this file ever spent, but has no outcome for the first set that differs.
    @Test func fileAndServerBothRestored_forkWhereTheyReallyPart() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let backup = world.server.snapshot()
        for number in 1...2 { try await a.client("Before \(number)") }
        try await a.sync()
        try await SQLiteShell(path: a.replica.path).execute("VACUUM INTO '\(world.path("old"))';")
        for number in 3...5 { try await a.client("After \(number)") }
        try await a.sync()
        world.server.restore(backup)
        try await a.client("In the new epoch")
        try await a.sync()

        let transport = ModelTransport(world.server)
        let old = Site(name: "old", replica: try await world.open("old", transport), transport: transport, id: a.id, member: a.member)
        try await old.client("From the old file")
        let report = try await old.sync()
        #expect(report.fork?.movedSets == 1)
        #expect(report.accepted == 1)
        try await expectConverged(world, a, old)
    }

    /// One copy has pushed in the new epoch already, under counters that the other had used for what was lost.
    @Test func setsThatACopyLost_comeBack_thoughTheOtherCopyWasFirst() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await SQLiteShell(path: a.replica.path).execute("VACUUM INTO '\(world.path("copy"))';")
        let transport = ModelTransport(world.server)
        let copy = Site(name: "copy", replica: try await world.open("copy", transport), transport: transport, id: a.id, member: a.member)
        let backup = world.server.snapshot()
        for number in 1...3 { try await copy.client("Lost with the disk \(number)") }
        try await copy.sync()
        world.server.restore(backup)
        try await a.client("First in the new epoch")
        try await copy.client("Fourth of the copy")
        // The copy's cursor shows the restore; the other one pushes before the copy does.
        copy.transport.breaking { call, _ in call == .push ? .fail(.unreachable("no network")) : nil }
        try await copy.sync()
        copy.transport.breaking(nil)
        try await a.sync()

        let report = try await copy.sync()
        #expect(report.pushFailure == nil)
        #expect(report.accepted == 4)
        try await a.client("Once more")
        try await expectConverged(world, a, copy)
        #expect(try await a.replica.list("client").total == 6)
    }

    /// Sets without an entry in the feed move no position: the backup is as far as the cursor, and still lacks them.
    @Test func setThatLeftNoEntry_lostByARestore_isOfferedAgain() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        try await a.replica.write { try $0.transition("hold", "client", id) }
        try await a.sync()
        // The same, by somebody who does not know: accepted as already so.
        try await b.replica.write { try $0.transition("hold", "client", id) }
        try await b.sync()
        let backup = world.server.snapshot()
        try await SQLiteShell(path: b.replica.path).execute("UPDATE client SET email = 'not an address' WHERE name = 'Acme';")
        try await b.sync()
        #expect(world.server.position == backup.position)
        world.server.restore(backup)
        try await b.client("Behind it")
        let report = try await b.sync()
        #expect(report.pushFailure == nil)
        try await expectConverged(world, a, b)
    }

    /// The rebuild for the new epoch does not get far, and then the server is as it was before that epoch began.
    @Test func secondRestore_duringARebuildForANewEpoch_isNoticedToo() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        let backup = world.server.snapshot()
        try await a.set("client", id, ["notes": "lost with the disk"])
        try await a.client("Lost with the disk")
        try await a.sync()
        world.server.restore(backup)
        a.transport.breaking { call, number in call == .pull && number > 1 ? .fail(.unreachable("no network")) : nil }
        let error = try await replicaError { try await a.sync() }
        #expect(error?.code == .unreachable)
        #expect(world.server.epoch == 1)
        a.transport.breaking(nil)
        world.server.restore(backup)

        // Known to nobody but b: a's clock must not vouch for it because it once reached the same position.
        try await b.set("client", id, ["notes": "from b"])
        try await b.sync()
        try await a.set("client", id, ["notes": "from a"])
        try await a.client("After both")
        let report = try await a.sync()
        #expect(report.pushFailure == nil)
        // What was lost comes back, but for what b has written meanwhile.
        #expect(report.accepted == 2)
        #expect(try await a.replica.problems().first?.violations.map(\.code) == ["conflict"])
        #expect(try await a.replica.status().checkpoint?.epoch ?? 0 > 0)
        #expect(world.server.record("client", id)?["notes"] == "from b")
        try await expectConverged(world, a, b)
    }

    /// What changes nothing leaves nothing in the feed, so the restore that loses it starts no epoch.
    @Test func answerThatLeftNothingInTheFeed_lostByARestore_isMadeUpFor() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        try await expectConverged(world, a, b)
        for site in [a, b] { try await site.replica.write { try $0.delete("client", id) } }
        try await b.sync()
        let backup = world.server.snapshot()
        #expect(try await a.sync().noop == 1)
        world.server.restore(backup)

        try await a.client("Next")
        let report = try await a.sync()
        #expect(report.pushFailure == nil)
        #expect(report.accepted == 1)
        #expect(world.server.epoch == 0)
        try await expectConverged(world, a, b)
    }

    /// The other copy's first push in the new epoch jumps over a counter that this one has used: the server acknowledges it and
    /// has no answer for it.
    @Test func setWhoseCounterACopySkipped_staysInView_andMovesWithTheFork() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let kept = try await a.client("Acme")
        try await a.sync()
        let backup = world.server.snapshot()
        try await SQLiteShell(path: a.replica.path).execute("VACUUM INTO '\(world.path("copy"))';")
        let transport = ModelTransport(world.server)
        let copy = Site(name: "copy", replica: try await world.open("copy", transport), transport: transport, id: a.id, member: a.member)
        try await a.client("Lost with the disk")
        try await a.sync()
        world.server.restore(backup)
        try await a.client("Third of the original")
        try await a.sync()
        try await copy.set("client", kept, ["phone": "+15550100"])
        try await copy.set("client", kept, ["website": "https://acme.example"])
        copy.transport.breaking { call, _ in call == .push || call == .fork ? .fail(.unreachable("no network")) : nil }
        _ = try await replicaError { try await copy.sync() }
        #expect(try await copy.value("client", kept, "phone") == "+15550100")
        #expect(try await copy.value("client", kept, "website") == "https://acme.example")
        copy.transport.breaking(nil)

        let report = try await copy.sync()
        #expect(report.fork?.movedSets == 2)
        #expect(report.accepted == 2)
        try await expectConverged(world, a, copy)
        #expect(world.server.record("client", kept)?["phone"] == "+15550100")
    }
}
