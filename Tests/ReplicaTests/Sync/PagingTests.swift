// Pulls of several pages: never half of a change set, never knowledge that was not applied, and a kill costs one page.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct PagingTests {
    @Test func interruptedPull_showsNothingHalf_andResumesAtTheLastDurablePage() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        var ids: [Identifier] = []
        for index in 0..<9 { ids.append(try await a.client("c\(index)", ["notes": "old"])) }
        try await expectConverged(world, a, b)
        // One set that spans the pages.
        let all = ids
        try await a.replica.write { edit in for id in all { try edit.set("client", id, ["notes": "new"]) } }
        try await a.sync()

        b.transport.breaking { call, number in call == .pull && number == 4 ? .fail(.unreachable("gone")) : nil }
        _ = try await replicaError { try await b.sync(SyncOptions(pageLimit: 2)) }
        for id in ids { #expect(try await b.value("client", id, "notes") == "old") }
        // An edit made now has not seen the pages that are staged.
        try await b.set("client", ids[0], ["notes": "blind"])
        await b.replica.close()

        let reopened = try await world.open("b", b.transport)
        b.transport.breaking(nil)
        let pullsBefore = b.transport.sentPulls.count
        let report = try await reopened.sync(SyncOptions(pageLimit: 2))
        #expect(b.transport.sentPulls.count - pullsBefore == 2)
        #expect(report.newProblems.flatMap(\.violations).map(\.code) == ["conflict"])
        for id in ids { #expect(try await reopened.get("client", id)?["notes"] == "new") }
        #expect(try await reopened.digest() == world.server.digest())
    }

    @Test func recordChangingBetweenPages_isNeverHalfSeen() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        var ids: [Identifier] = []
        for index in 0..<6 { ids.append(try await a.client("c\(index)", ["notes": "v0"])) }
        try await expectConverged(world, a, b)
        let all = ids
        try await a.replica.write { edit in for id in all { try edit.set("client", id, ["notes": "v1"]) } }
        try await a.sync()
        // Someone is blind to v1 and edits a record whose row comes on the first page and again on the last.
        try await b.set("client", ids[0], ["notes": "blind"])
        let server = world.server
        let key = RecordKey("client", ids[0])
        b.transport.breaking { call, number in
            if call == .pull, number == 2 { server.write([Change(key: key, operation: .patch(fields: ["phone": "+15550100"], was: [:]))]) }
            return call == .push && number == 1 ? .fail(.reply(ErrorReply(.unavailable, "later"), status: 503)) : nil
        }
        let report = try await b.sync(SyncOptions(pageLimit: 2))
        // What was written before the last change of the record is still told apart.
        #expect(report.predictedRejections == 1)
        #expect(try await b.value("client", ids[0], "notes") == "v1")
        #expect(try await b.value("client", ids[0], "phone") == "+15550100")
        b.transport.breaking(nil)
        try await expectConverged(world, a, b)
        #expect(try await b.replica.problems().count == 1)
    }

    @Test func firstSync_appliesPageByPage_andResumesWhereverItStops() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.replica.write { edit in for index in 0..<50 { try edit.create("client", ["name": .string("c\(index)")]) } }
        try await a.sync()
        let b = try await world.replica("b", synced: false)
        var syncs = 0
        while try await b.replica.status().checkpoint == nil {
            // Every second call breaks the line: one page a sync.
            b.transport.breaking { call, number in call == .pull && number == 2 ? .fail(.unreachable("gone")) : nil }
            let before = try await b.replica.count("client")
            do { try await b.sync(SyncOptions(pageLimit: 7)) } catch let error as ReplicaError { #expect(error.code == .unreachable) }
            let after = try await b.replica.count("client")
            let isDone = try await b.replica.status().checkpoint != nil
            #expect(after > before || isDone)
            syncs += 1
            try #require(syncs < 30)
        }
        b.transport.breaking(nil)
        try await expectConverged(world, a, b)
    }

    @Test func hundredThousandRecords_areFetchedOnce_acrossAnInterruption() async throws {
        let small = Schema(
            version: 1,
            domains: [
                Domain(
                    "small",
                    entities: [EntitySchema("item", category: "admin", access: .config, scopes: [.tenant], fields: [.text("name", 20)])])
            ])
        let world = try World(schema: small)
        let entity = try #require(small.entity("item"))
        world.server.load(
            (0..<100_000).map { index in
                var record = RecordState(schema: entity, id: Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | UInt64(index)))
                record.values[0] = .string("i\(index)")
                record.createdAt = 1
                return record
            })
        let site = try await world.replica("a", synced: false)
        site.transport.breaking { call, number in call == .pull && number == 8 ? .fail(.unreachable("gone")) : nil }
        _ = try await replicaError { try await site.sync(SyncOptions(pageLimit: 5_000)) }
        #expect(try await site.replica.count("item") == 35_000)
        await site.replica.close()
        let again = try await world.open("a", site.transport)
        site.transport.breaking(nil)
        let report = try await again.sync(SyncOptions(pageLimit: 5_000))
        #expect(report.pulledRecords == 65_000)
        #expect(try await again.count("item") == 100_000)
        let last = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 99_999)
        #expect(try await again.get("item", last)?["name"] == "i99999")
    }

    @Test func resync_keepsPending_andDropsWhatTheServerNoLongerHas() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let stays = try await a.client("Stays", ["notes": "base"])
        let goes = try await a.client("Goes")
        try await expectConverged(world, a, b)
        try await b.set("client", stays, ["phone": "+15550100"])
        let mine = try await b.client("Mine")
        try await a.replica.write { try $0.delete("client", goes) }
        try await a.set("client", stays, ["notes": "from a"])
        try await a.sync()
        world.server.forgetTombstones()
        try await a.client("Later")
        try await a.sync()
        let report = try await b.sync(SyncOptions(pageLimit: 3))
        #expect(report.isResync)
        #expect(try await b.replica.get("client", goes) == nil)
        #expect(try await b.value("client", stays, "phone") == "+15550100")
        #expect(try await b.value("client", stays, "notes") == "from a")
        #expect(try await b.replica.get("client", mine) != nil)
        #expect(try await b.replica.digest() == world.server.digest())
        try await expectConverged(world, b)
    }

    /// A damaged file, or a server whose key is another one: neither may stop a file for ever.
    @Test(arguments: [true, false]) func cursorThatTheServerDidNotMake_isLeftBehind_keepingPending(pushesFirst: Bool) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let shared = try await a.client("Shared", ["notes": "base"])
        try await expectConverged(world, a, b)
        try await a.set("client", shared, ["notes": "from a"])
        try await a.sync()
        let mine = pushesFirst ? try await b.client("Mine") : shared
        for isStaged in [false, true] {
            if isStaged {
                b.transport.breaking { call, number in call == .pull && number == 2 ? .fail(.unreachable("gone")) : nil }
                _ = try await replicaError { try await b.sync(SyncOptions(pageLimit: 1, rebuilds: true)) }
                b.transport.breaking(nil)
            }
            _ = try await b.replica.file.write {
                try Metadata(connection: $0.connection).set(isStaged ? Metadata.Key.stageNext : .cursor, "rubbish")
            }
            let report = try await b.sync(SyncOptions(pageLimit: 2))
            #expect(report.isResync && report.pushFailure == nil && report.newProblems.isEmpty, "\(isStaged)")
            #expect(try await b.replica.pending().isEmpty)
        }
        #expect(try await b.replica.get("client", mine) != nil)
        #expect(try await b.value("client", shared, "notes") == "from a")
        let next = try await b.sync()
        #expect(!next.isResync)
        try await expectConverged(world, a, b)
    }

    /// Every cursor is refused, those that were just made as well: the sync ends with the reason, and nothing is lost.
    @Test func serverThatRefusesEveryCursor_endsTheSync_withItsReason() async throws {
        let world = try World()
        let b = try await world.replica("b")
        let mine = try await b.client("Mine")
        try await b.sync()
        let later = try await b.client("Later")
        let refused = TransportFailure.reply(ErrorReply(.invalidCursor, "not mine", requestID: "r"), status: 400)
        b.transport.breaking { call, _ in call == .pull ? .fail(refused) : nil }
        let error = try await replicaError { try await b.sync() }
        #expect(error?.message.contains("not mine") == true, "\(String(describing: error))")
        b.transport.breaking(nil)
        try await b.sync()
        for id in [mine, later] { #expect(try await b.replica.get("client", id) != nil) }
        try await expectConverged(world, b)
    }

    @Test func resync_isResumed_whereverItStops() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.replica.write { edit in for index in 0..<20 { try edit.create("client", ["name": .string("c\(index)")]) } }
        let b = try await world.replica("b")
        let mine = try await b.client("Mine")
        try await a.sync()
        for round in 1...3 {
            b.transport.breaking { call, number in call == .pull && number == 2 ? .fail(.unreachable("gone")) : nil }
            let error = try await replicaError { try await b.sync(SyncOptions(pageLimit: 4, rebuilds: round == 1)) }
            #expect(error?.code == .unreachable)
            #expect(try await b.replica.get("client", mine) != nil)
        }
        b.transport.breaking(nil)
        let report = try await b.sync(SyncOptions(pageLimit: 4))
        #expect(report.isResync)
        try await expectConverged(world, a, b)
    }

    /// What a rebuild has staged may be deleted at the server, and the tombstone forgotten, before the rebuild goes on.
    @Test func tombstoneForgotten_betweenThePagesOfARebuild_leavesNothingBehind() async throws {
        let world = try World()
        let a = try await world.replica("a")
        var ids: [Identifier] = []
        for number in 1...8 { ids.append(try await a.client("Client \(number)")) }
        let b = try await world.replica("b")
        try await expectConverged(world, a, b)
        b.transport.breaking { call, number in call == .pull && number > 3 ? .fail(.unreachable("gone")) : nil }
        _ = try await replicaError { try await b.sync(SyncOptions(pageLimit: 4, rebuilds: true)) }
        b.transport.breaking(nil)
        try await a.replica.write { [ids] in try $0.delete("client", ids[0]) }
        try await a.sync()
        world.server.forgetTombstones()
        try await b.sync(SyncOptions(pageLimit: 4))
        #expect(try await b.replica.get("client", ids[0]) == nil)
        try await expectConverged(world, a, b)
    }

    @Test func restoredServer_startsANewEpoch_andNoPendingWorkIsLost() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)
        let backup = world.server.snapshot()
        // This is lost with the server's disk; the replicas had seen it.
        try await a.set("client", id, ["notes": "lost"])
        try await expectConverged(world, a, b)
        // Made on what is lost.
        try await b.set("client", id, ["phone": "+15550100"])
        try await a.client("Offline")
        world.server.restore(backup)
        // Someone writes at positions that the lost history had used too.
        world.server.write([Change("client", id, .patch(fields: ["notes": "after the restore"], was: [:]))])

        let report = try await b.sync()
        #expect(report.isResync)
        #expect(world.server.epoch == 1)
        #expect(try #require(try await b.replica.status().checkpoint).position >= FeedPosition.epochStride)
        #expect(try await b.value("client", id, "notes") == "after the restore")
        #expect(try await b.value("client", id, "phone") == "+15550100")
        try await expectConverged(world, a, b)
        #expect(try await b.replica.list("client").total == 2)
        #expect(try await b.replica.problems().isEmpty)
        #expect(b.transport.sentPushes.contains { (try? PushRequest.receive($0).recognised.isEmpty) == false })
    }

    @Test func guardedEdit_madeOnLostHistory_isAConflictAfterTheRestore() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a)
        let backup = world.server.snapshot()
        world.server.write([Change("client", id, .patch(fields: ["notes": "lost"], was: [:]))])
        try await a.sync()
        try await a.set("client", id, ["notes": "on top of what is lost"])
        world.server.restore(backup)
        world.server.write([Change("client", id, .patch(fields: ["notes": "other history"], was: [:]))])
        let report = try await a.sync()
        #expect(report.newProblems.flatMap(\.violations).map(\.code) == ["conflict"])
        try await expectConverged(world, a)
        #expect(try await a.value("client", id, "notes") == "other history")
    }
}
