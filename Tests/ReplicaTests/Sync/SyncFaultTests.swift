// The network loses, doubles, cuts and reorders; nothing is lost and nothing takes effect twice.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct SyncFaultTests {
    @Test func lostPushReply_isRetriedWithTheSameBytes_andHasOneEffect() async throws {
        let world = try World(schema: .testing)
        let site = try await world.replica("a")
        let part = try await site.create("part", ["sku": "bolt", "name": "Bolt", "on_hand_milli": 0])
        try await site.sync()
        try await site.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5) }
        let sentBefore = site.transport.sentPushes.count
        site.transport.breaking { call, _ in call == .push ? .loseReply(.dropped("lost")) : .fail(.unreachable("gone")) }
        for _ in 0..<2 { _ = try await replicaError { try await site.sync() } }
        site.transport.breaking(nil)
        let report = try await site.sync()
        #expect(report.accepted == 1)
        #expect(report.pushFailure == nil)
        let sets = try site.transport.sentPushes.dropFirst(sentBefore).map { try PushRequest.receive($0).sets.map(\.sealed) }
        try #require(sets.count == 3)
        #expect(sets[0] == sets[1])
        #expect(sets[0] == sets[2])
        #expect(world.server.applications(of: Dot(replica: site.id, counter: 2)) == 1)
        #expect(world.server.record("part", part)?["on_hand_milli"] == 5)
        try await expectConverged(world, site)
    }

    @Test func lostPushReply_isMadeUpForByThePull_thatFollows() async throws {
        let world = try World()
        let site = try await world.replica("a")
        try await site.client()
        let sentBefore = site.transport.sentPushes.count
        site.transport.breaking { call, _ in call == .push ? .loseReply(.dropped("lost")) : nil }
        let report = try await site.sync()
        #expect(report.accepted == 1)
        #expect(report.pushFailure == nil)
        #expect(site.transport.sentPushes.count == sentBefore + 1)
        try await expectConverged(world, site)
    }

    @Test(arguments: ["fail", "lose", "truncate", "duplicate", "stranger"]) func everyCallBrokenOnce_stillConverges(kind: String)
        async throws
    {
        let fault: Fault =
            switch kind {
            case "fail": .fail(.dropped("broken"))
            case "lose": .loseReply(.timeout)
            case "truncate": .truncate
            case "duplicate": .duplicate
            default: .strangersReply
            }
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["tags": ["x"]])
        try await expectConverged(world, a, b)
        for step in 1...5 {
            for call in [Call.push, .pull] {
                try await a.set("client", id, ["name": .string("\(kind) \(step) \(call)"), "tags": ["x", .string("\(kind)-\(step)")]])
                try await b.set("client", id, ["phone": .string("+1555010\(step)")])
                try await b.sync()
                a.transport.breaking { other, number in other == call && number == step % 3 + 1 ? fault : nil }
                _ = try await replicaError { try await a.sync(SyncOptions(pageLimit: 1)) }
                a.transport.breaking(nil)
                #expect(try await a.replica.integrityCheck() == [])
                _ = try await replicaError { try await a.sync(SyncOptions(pageLimit: 1)) }
            }
        }
        try await expectConverged(world, a, b)
        for counter in 1...11 { #expect(world.server.applications(of: Dot(replica: a.id, counter: Int64(counter))) == 1) }
        #expect(try await b.value("client", id, "name") == .string("\(kind) 5 pull"))
    }

    @Test func unreachableServer_isSaid_andNothingIsLost() async throws {
        let world = try World()
        let site = try await world.replica("a")
        try await site.client()
        site.transport.breaking { _, _ in .fail(.unreachable("no route")) }
        let error = try await replicaError { try await site.sync() }
        #expect(error?.code == .unreachable)
        #expect(error?.isRetryable == true)
        #expect(try await site.replica.pending().count == 1)
        site.transport.breaking(nil)
        try await expectConverged(world, site)
    }

    @Test func revokedReplica_stopsSyncing_andKeepsTheWork() async throws {
        let world = try World()
        let site = try await world.replica("a")
        try await site.client("Before")
        world.server.isRevoked = true
        let error = try await replicaError { try await site.sync() }
        #expect(error?.code == .notAllowed)
        #expect(error?.isRetryable == false)
        try await site.client("After")
        #expect(try await site.replica.pending().count == 2)
        await #expect(throws: ReplicaError.self) { try await site.replica.syncContinuously() }
        world.server.isRevoked = false
        try await expectConverged(world, site)
    }

    @Test(arguments: [503, 500]) func failingPushes_neverStopThePull(status: Int) async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let mine = try await a.client("Mine")
        let theirs = try await b.client("Theirs")
        try await b.sync()
        a.transport.breaking { call, _ in
            call == .push ? .fail(.reply(ErrorReply(status == 503 ? .unavailable : .internal, "broken"), status: status)) : nil
        }
        let report = try await a.sync()
        #expect(report.pushFailure?.code == .unreachable)
        #expect(report.withdrawn == 0)
        #expect(try await a.value("client", theirs, "name") == "Theirs")
        #expect(try await a.value("client", mine, "name") == "Mine")
        #expect(try await a.replica.problems().isEmpty)
        a.transport.breaking(nil)
        try await expectConverged(world, a, b)
    }

    @Test func setThatKillsTheServer_isFoundByHalving_andWithdrawn_whileTheRestFlows() async throws {
        let world = try World()
        let site = try await world.replica("a")
        for index in 0..<40 { try await site.client(index == 17 ? "deadly" : "c\(index)") }
        world.server.poison = { set in
            set.changes.contains { if case .create(let fields) = $0.operation { fields["name"] == "deadly" } else { false } }
        }
        let report = try await site.sync()
        #expect(report.withdrawn == 1)
        #expect(report.accepted == 39)
        let problem = try #require(try await site.replica.problems().first)
        #expect(problem.isWithdrawn)
        #expect(problem.counter == 18)
        #expect(problem.summary == "create client deadly")
        #expect(try await site.replica.count("client") == 39)
        #expect(world.server.outcome(of: Dot(replica: site.id, counter: 18))?.status == .withdrawn)
        try await expectConverged(world, site)
        // The person can say it again once the server is mended.
        world.server.poison = nil
        try await site.replica.retry(problem)
        try await expectConverged(world, site)
        #expect(try await site.replica.count("client") == 40)
    }

    @Test func clockADayOff_isCorrectedByTheServer() async throws {
        let day: Int64 = 86_400_000
        let world = try World()
        let ahead = try await world.replica("ahead", synced: false, offset: day)
        let behind = try await world.replica("behind", offset: -day)
        #expect(try await ahead.replica.status().clockOffsetMilliseconds == -day)
        let id = try await ahead.client("Acme")
        try await expectConverged(world, ahead, behind)
        try await ahead.set("client", id, ["name": "first"])
        world.clock.advance(1_000)
        try await behind.set("client", id, ["name": "second"])
        try await behind.sync()
        let report = try await ahead.sync()
        #expect(report.superseded == 1)
        try await expectConverged(world, ahead, behind)
        #expect(try await ahead.value("client", id, "name") == "second")
        #expect(world.server.record("client", id)?.createdAt ?? 0 < world.clock.now + 1_000)
    }

    @Test func onlyOneProcess_syncsAFileAtATime() async throws {
        let world = try World()
        let site = try await world.replica("a")
        let lock = try SyncLock(path: world.path("a") + ".sync-lock")
        let error = try await replicaError { try await site.sync() }
        #expect(error?.code == .syncInProgress)
        #expect(error?.isRetryable == true)
        // Edits never wait for it.
        try await site.client()
        withExtendedLifetime(lock) {}
    }

    @Test func concurrentSyncs_ofOneReplica_followEachOther() async throws {
        let world = try World()
        let site = try await world.replica("a")
        for index in 0..<10 { try await site.client("c\(index)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { try await site.sync() } }
            for index in 0..<4 { group.addTask { try await site.client("late \(index)") } }
            try await group.waitForAll()
        }
        try await expectConverged(world, site)
        #expect(try await site.replica.count("client") == 14)
    }

    @Test func continuousSync_sendsEditsAtOnce_andHearsNews() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        var notices = b.replica.changes().makeAsyncIterator()
        let watching = [a, b].map { site in Task { try await site.replica.syncContinuously() } }
        let id = try await a.client("Live")
        while try await b.replica.get("client", id) == nil { _ = await notices.next() }
        for task in watching { task.cancel() }
        for task in watching { try await task.value }
        try await expectConverged(world, a, b)
    }

    /// A server that takes nothing (older than the program, or the member may only read) is no reason to hear nothing.
    @Test func continuousSync_staysLive_whenOnlyPushesAreRefused() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        try await b.client("Waits")
        let isOpen = Locked(false)
        b.transport.breaking { call, _ in
            call == .push && !isOpen.with { $0 } ? .fail(.reply(ErrorReply(.schemaTooOld, "older"), status: 409)) : nil
        }
        var states = b.replica.state.makeAsyncIterator()
        var notices = b.replica.changes().makeAsyncIterator()
        let sleeps = world.clock.sleeps.count
        let watching = Task { try await b.replica.syncContinuously() }
        while let state = await states.next() { if case .refused = state { break } }
        for name in ["One", "Two", "Three"] {
            let id = try await a.client(name)
            try await a.sync()
            while try await b.replica.get("client", id) == nil { _ = await notices.next() }
        }
        #expect(world.clock.sleeps.count == sleeps, "no pause between what comes down")
        #expect(b.transport.count(.push) <= 4, "what is refused is not offered with each poll: \(b.transport.count(.push))")
        #expect(try await b.replica.pending().count == 1)
        // Time passes, the server is updated, and what waited goes up by itself.
        isOpen.with { $0 = true }
        world.clock.sleep(400_000)
        while try await !b.replica.pending().isEmpty {
            _ = try await a.client("News")
            try await a.sync()
            _ = await notices.next()
        }
        watching.cancel()
        try await watching.value
        try await expectConverged(world, a, b)
    }

    /// A company that stores as much as it may: what comes down is live, what goes up says why it waits, and goes when it may.
    @Test func fullTenant_saysWhatItWaitsFor_andHearsNewsMeanwhile() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let acme = try await a.client("Acme")
        try await a.sync()
        try await b.client("Waits")
        world.server.storageQuota = StorageQuota(bytesMax: 1)
        let report = try await b.sync()
        let failure = try #require(report.pushFailure)
        #expect(failure.code == .serverRefused && failure.isRetryable && failure.message.contains("whoever runs the server"))
        #expect(try await b.replica.get("client", acme) != nil)
        #expect(try await b.replica.pending().count == 1)
        #expect(try await b.replica.problems().isEmpty)
        var states = b.replica.state.makeAsyncIterator()
        var notices = b.replica.changes().makeAsyncIterator()
        let watching = Task { try await b.replica.syncContinuously() }
        while let state = await states.next() {
            guard case .refused(let reason) = state else { continue }
            #expect(reason.contains("--tenant-quota-gb"))
            break
        }
        world.server.storageQuota = StorageQuota()
        world.clock.sleep(400_000)
        while try await !b.replica.pending().isEmpty {
            _ = try await a.client("News")
            try await a.sync()
            _ = await notices.next()
        }
        watching.cancel()
        try await watching.value
        try await expectConverged(world, a, b)
    }

    @Test func continuousSync_waitsLongerAfterEachFailure() async throws {
        let world = try World()
        let site = try await world.replica("a")
        let before = world.clock.sleeps.count
        site.transport.breaking { _, number in
            number <= 12 ? .fail(.unreachable("gone")) : .fail(.reply(ErrorReply(.unauthorized, "no"), status: 401))
        }
        let error = try await replicaError { try await site.replica.syncContinuously() }
        #expect(error?.code == .notAllowed)
        let sleeps = Array(world.clock.sleeps.dropFirst(before))
        #expect(sleeps.count >= 10)
        #expect(sleeps.first.map { (500...1_000).contains($0) } == true)
        #expect(sleeps.max().map { (150_000...300_000).contains($0) } == true)
    }

    /// A server that takes requests and says nothing: an edit that waits must not keep a continuous sync from noticing.
    @Test func watch_ofASilentServer_saysThatItWaits_andNeverThatItSynced() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        try await a.client("Acme")
        try await expectConverged(world, a, b)
        a.transport.breaking { _, _ in .fail(.timeout) }
        let reports = Locked(0)
        let states = a.replica.state
        let id = try await a.client("Written while it is silent")
        let watching = Task { try await a.replica.syncContinuously { _ in reports.with { $0 += 1 } } }
        var waits = 0
        for await state in states {
            if case .waiting = state { waits += 1 }
            if waits == 3 { break }
        }
        #expect(reports.with { $0 } == 0, "nothing was synced")
        a.transport.breaking(nil)
        while try await !a.replica.pending().isEmpty { try await Task.sleep(nanoseconds: 10_000_000) }
        #expect(world.server.record("client", id) != nil)
        watching.cancel()
        _ = try await watching.value
    }

    @Test func watch_endsWhenAnotherFileTakesThePlaceOfItsOwn() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.sync()
        let backup = world.path("backup")
        try await a.shell.execute("VACUUM INTO '\(backup)';")
        let watching = Task { try await a.replica.syncContinuously() }
        guard rename(backup, a.replica.path) == 0 else { throw Crash(at: "rename") }
        let error = try await replicaError { try await watching.value }
        #expect(error?.code == .storage && error?.message.contains("another file") == true && error?.isRetryable == false)
    }
}
