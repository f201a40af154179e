// A file whose replica the server has lost or shut out enrols again: everything in it stays, nothing takes effect twice, and no two
// files are one replica.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct ReenrolmentTests {
    private let world: World
    /// A replica that the backup knows.
    private let known: Site
    private let backup: ServerState

    init() async throws {
        world = try World(schema: .testing)
        known = try await world.replica("known")
        let member = world.server.invite("Ben", role: .owner).member
        backup = world.server.snapshot()
        ben = member
    }

    private let ben: Identifier

    private func restore() { world.server.restore(backup, keepsEnrolments: false) }

    @discardableResult
    private func enrolAgain(_ site: Site) async throws -> ContinuedReplica {
        let code = world.server.invite(site.name, role: .owner, member: site.member).code
        return try await enrolAgain(site, code)
    }

    private func enrolAgain(_ site: Site, _ code: String) async throws -> ContinuedReplica {
        let url = try #require(URL(string: "http://model"))
        return try #require(try await site.replica.enroll(server: url, code: code, label: site.name))
    }

    private func names(_ site: Site) async throws -> [String] {
        try await site.replica.list("client", sort: Sort("name")).data.map(\.title)
    }

    // MARK: Lost by a restore

    @Test func fileEnrolledAfterTheBackup_goesOnAsItself_andBringsBackWhatItHolds() async throws {
        let late = try await world.replica("late", member: ben)
        let part = try await late.create("part", ["sku": "bolt", "name": "Bolt"])
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await late.sync()
        try await known.sync()
        let pending = try await late.client("Pending")
        restore()
        let error = try await replicaError { try await late.sync() }
        #expect(error?.code == .notAllowed)

        let continued = try await enrolAgain(late)
        #expect(continued.keepsID)
        #expect(continued.replica == late.id)
        #expect(continued.pendingSets == 1)
        #expect(continued.heldSets == 2)
        let report = try await late.sync()
        #expect(report.healing == 2)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(world.server.record("client", pending) != nil)
        try await expectConverged(world, late, known)
        for counter in 1...3 { #expect(world.server.applications(of: Dot(replica: late.id, counter: Int64(counter))) == 1) }
        #expect(try await late.replica.problems().isEmpty)
    }

    /// Nothing was synced yet, so no cursor tells of the restore.
    @Test func fileThatNeverSynced_goesOnWithItsPendingWork() async throws {
        let late = try await world.replica("late", member: ben, synced: false)
        let id = try await late.client("Typed before the first sync")
        restore()
        try await enrolAgain(late)
        try await late.sync()
        #expect(world.server.record("client", id) != nil)
        try await expectConverged(world, late, known)
    }

    /// The set before the first one that the journal still has is gone everywhere.
    @Test func fileWhoseJournalIsShorterThanItsPast_goesOnBehindTheGap() async throws {
        let late = try await world.replica("late", member: ben)
        for number in 1...3 { try await late.client("Long ago \(number)") }
        try await late.sync()
        world.clock.advance((Store.journalDays + 1) * 86_400_000)
        let recent = try await late.client("Recent")
        try await late.sync()
        try await late.sync()
        restore()
        try await enrolAgain(late)
        try await late.sync()
        #expect(world.server.record("client", recent) != nil)
        try await expectConverged(world, late, known)
        #expect(try await names(late) == ["Recent"])
    }

    @Test func answerLostOnTheWay_isAskedForWithTheSameCode() async throws {
        let late = try await world.replica("late", member: ben)
        try await late.client("Confirmed")
        try await late.sync()
        restore()
        let code = world.server.invite("late", role: .owner, member: ben).code
        late.transport.breaking { call, number in call == .enroll && number == 1 ? .loseReply(.timeout) : nil }
        let error = try await replicaError { _ = try await enrolAgain(late, code) }
        #expect(error?.code == .unreachable)
        // The person works on meanwhile.
        try await late.client("Meanwhile")
        let continued = try await enrolAgain(late, code)
        #expect(continued.keepsID)
        try await late.sync()
        try await expectConverged(world, late, known)
        #expect(try await names(known) == ["Confirmed", "Meanwhile"])
        // Nobody else can have it, and this file not any more.
        let other = try await world.open("other", ModelTransport(world.server))
        let url = try #require(URL(string: "http://model"))
        let spent = try await replicaError { try await other.enroll(server: url, code: code, label: "other") }
        #expect(spent?.message.contains("code_used") == true)
    }

    /// With another code the server knows the id by then: the file has nothing to lose by a new one.
    @Test func answerLostOnTheWay_andAnotherCode_losesNothingEither() async throws {
        let late = try await world.replica("late", member: ben)
        let part = try await late.create("part", ["sku": "bolt", "name": "Bolt"])
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await late.sync()
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 7_000) }
        restore()
        late.transport.breaking { call, number in call == .enroll && number == 1 ? .loseReply(.timeout) : nil }
        _ = try await replicaError { _ = try await enrolAgain(late) }
        let continued = try await enrolAgain(late)
        #expect(!continued.keepsID)
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 11_000) }
        #expect(try await late.value("part", part, "on_hand_milli") == 23_000)
        try await late.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 23_000)
        try await expectConverged(world, late, known)
        #expect(try await late.replica.problems().isEmpty)
    }

    @Test func twoCopiesOfALostFile_bothEnrolAgain_andEverythingCountsOnce() async throws {
        let late = try await world.replica("late", member: ben)
        let part = try await late.create("part", ["sku": "bolt", "name": "Bolt"])
        try await late.sync()
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        let copy = try await world.copy(of: late, "copy")
        try await late.replica.write { try $0.increment("part", part, "on_hand_milli", by: 7_000) }
        try await copy.replica.write { try $0.increment("part", part, "on_hand_milli", by: 11_000) }
        restore()
        #expect(try await enrolAgain(copy).keepsID)
        #expect(try await enrolAgain(late).keepsID == false)
        try await late.sync()
        try await copy.sync()
        try await expectConverged(world, late, copy, known)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 23_000)
        #expect(try await late.replica.replicaID != copy.replica.replicaID)
        for site in [late, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    @Test func deathBetweenTheAnswerAndTheFile_onlyRepeatsIt() async throws {
        let late = try await world.replica("late", member: ben)
        try await late.client("Confirmed")
        try await late.sync()
        restore()
        let code = world.server.invite("late", role: .owner, member: ben).code
        await late.replica.close()
        let faults = StorageFaults()
        let dying = try await world.reopened("late", like: late, faults: faults)
        faults.fail(at: .fork)
        _ = try? await enrolAgain(dying, code)
        #expect(faults.reached.contains(.fork))
        await dying.replica.close()
        let again = try await world.reopened("late", like: late)
        #expect(try await enrolAgain(again, code).keepsID)
        try await again.sync()
        try await expectConverged(world, again, known)
    }

    // MARK: Shut out, and not needed

    @Test func revokedReplica_staysRevoked_andItsWorkGoesOnUnderANewID() async throws {
        let site = try await world.replica("laptop", member: ben)
        let part = try await site.create("part", ["sku": "bolt", "name": "Bolt"])
        try await site.sync()
        try await site.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        let copy = try await world.copy(of: site, "copy")
        world.server.revoked.insert(site.id)
        let continued = try await enrolAgain(site)
        #expect(!continued.keepsID)
        #expect(try await enrolAgain(copy).keepsID == false)
        try await site.sync()
        try await copy.sync()
        try await expectConverged(world, site, copy, known)
        // What both held was sealed by the same replica: it counts once, whoever brings it.
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(try await site.replica.problems().isEmpty)
    }

    /// A push was answered and the answer lost, then the replica was shut out.
    @Test func setAnsweredUnderTheOldID_isNotDoneAgain() async throws {
        let site = try await world.replica("laptop", member: ben)
        let part = try await site.create("part", ["sku": "bolt", "name": "Bolt"])
        try await site.sync()
        try await site.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        site.transport.breaking { call, _ in call == .push ? .loseReply(.timeout) : .fail(.timeout) }
        _ = try await replicaError { try await site.sync() }
        site.transport.breaking(nil)
        world.server.revoked.insert(site.id)
        #expect(try await enrolAgain(site).keepsID == false)
        try await site.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        try await expectConverged(world, site, known)
    }

    /// Both copies have pending work of their own under one counter.
    @Test func copiesThatParted_whileShutOut_bothKeepTheirWork() async throws {
        let site = try await world.replica("laptop", member: ben)
        try await site.client("Shared")
        try await site.sync()
        let copy = try await world.copy(of: site, "copy")
        for number in 1...2 { try await site.client("Laptop \(number)") }
        for number in 1...3 { try await copy.client("Copy \(number)") }
        world.server.revoked.insert(site.id)
        try await enrolAgain(site)
        try await site.sync()
        try await enrolAgain(copy)
        try await copy.client("Copy 4")
        let report = try await copy.sync()
        #expect(report.fork != nil)
        try await expectConverged(world, site, copy, known)
        #expect(try await names(site) == ["Copy 1", "Copy 2", "Copy 3", "Copy 4", "Laptop 1", "Laptop 2", "Shared"])
        for one in [site, copy] { #expect(try await one.replica.problems().isEmpty) }
    }

    /// A gap in the author's counters that this file fills with something of its own is a gap all the same: asking again for ever
    /// would not close it.
    @Test func gapThatOnlyAnotherNameFills_isLeftToTheOtherCopy() async throws {
        let site = try await world.replica("laptop", member: ben)
        for number in 1...3 { try await site.client("Pending \(number)") }
        world.server.revoked.insert(site.id)
        try await enrolAgain(site)
        let author = site.id
        let gap = ErrorReply(.counterGap, "", details: ["expected": 1])
        let names = try await site.replica.file.write { store -> [Identifier?] in
            try store.connection.execute("DELETE FROM _tideline_pending WHERE counter = 1")
            try store.connection.execute("UPDATE _tideline_pending SET author = NULL WHERE counter = 2")
            #expect(try store.settleCourier(gap, of: author))
            return try store.pendingRows().map(\.author)
        }
        #expect(names == [nil])
        #expect(try await site.replica.problems().map(\.violations) == [[Store.leftToOtherCopy]])
    }

    @Test func fileThatItsServerAccepts_keepsItsID_andTheCode() async throws {
        let site = try await world.replica("laptop", member: ben)
        let code = world.server.invite("laptop", role: .owner, member: ben).code
        let error = try await replicaError { _ = try await enrolAgain(site, code) }
        #expect(error?.code == .alreadyEnrolled)
        // The code is still good.
        let other = try await world.open("other", ModelTransport(world.server))
        try await other.enroll(server: try #require(URL(string: "http://model")), code: code, label: "other")
    }

    @Test func codeOfAnotherMember_isRefused_andStaysGood() async throws {
        let late = try await world.replica("late", member: ben)
        try await late.client("Ben's")
        restore()
        let code = world.server.invite("known", role: .owner, member: known.member).code
        let error = try await replicaError { _ = try await enrolAgain(late, code) }
        #expect(error?.code == .notAllowed)
        #expect(try await late.replica.replicaID == late.id)
        #expect(try await late.replica.pending().count == 1)
        let other = try await world.open("other", ModelTransport(world.server))
        try await other.enroll(server: try #require(URL(string: "http://model")), code: code, label: "other")
    }

    // MARK: Couriers

    /// The original is gone for good; the copy has gone on as a replica of its own.
    @Test func copy_bringsBackWhatItsOriginalMade_inTheOriginalsName() async throws {
        let original = try await world.replica("original", member: ben)
        let part = try await original.create("part", ["sku": "bolt", "name": "Bolt"])
        try await original.sync()
        let later = world.server.snapshot()
        try await original.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await original.sync()
        let copy = try await world.copy(of: original, "copy")
        try await original.client("Original's own")
        try await copy.client("Copy's own")
        try await original.sync()
        #expect(try await copy.sync().fork != nil)
        world.server.restore(later, keepsEnrolments: false)
        // The fork came after the backup.
        #expect(try await enrolAgain(copy).keepsID)
        try await copy.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(world.server.applications(of: Dot(replica: original.id, counter: 2)) == 1)
        #expect(try await copy.replica.problems().isEmpty)
        // And if the original comes back, it finds its sets done.
        try await original.sync()
        try await expectConverged(world, original, copy, known)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(try await names(known) == ["Copy's own", "Original's own"])
    }

    /// The original came back first and had forgotten a set, which its copy still holds: the counter is passed over, and the copy is
    /// refused with `fork` there before it has offered anything under an id of its own. It seals anew what it holds, and what lies
    /// behind the counter was brought by the original already.
    @Test func courierThatIsToldApart_beforeItHasOfferedAnything_doesNothingTwice() async throws {
        let original = try await world.replica("original", member: ben)
        let part = try await original.create("part", ["sku": "bolt", "name": "Bolt"])
        try await original.sync()
        try await known.sync()
        let backup = world.server.snapshot()
        try await original.replica.write { try $0.increment("part", part, "on_hand_milli", by: 1_000) }
        try await original.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        let copy = try await world.copy(of: original, "copy")
        try await original.sync()
        // As if its answer were a week older than the next one.
        try await original.replica.file.write { try $0.connection.execute("DELETE FROM _tideline_journal WHERE counter <= 2") }
        world.server.restore(backup)
        try await original.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        world.server.revoked.insert(original.id)
        #expect(try await enrolAgain(copy).keepsID == false)

        let report = try await copy.sync()
        #expect(report.fork?.movedSets == 2)
        try await expectConverged(world, copy, known)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 6_000)
        #expect(try await copy.replica.problems().isEmpty)
        let outcome = world.server.outcome(of: Dot(replica: try #require(report.fork).replica, counter: 3))
        #expect(outcome?.duplicateOf == Dot(replica: original.id, counter: 3))
    }

    /// A file that was three replicas parts below where the second of them began: nothing of that one's is shared any more. Its lane
    /// stayed, as long as that of the first, and the next restore offered a marker for one counter in the name of both.
    @Test func fileThatPartsBelowAFormerID_forgetsThatID_andTheNextRestoreIsHealed() async throws {
        let laptop = try await world.replica("laptop", member: ben)
        let client = try await laptop.client("Acme")
        try await laptop.sync()
        try await known.sync()
        try await known.set("client", client, ["notes": "Key at desk"])
        try await known.sync()
        try await laptop.set("client", client, ["notes": "Ask for Sam"])
        #expect(try await laptop.sync().rejected == 1)
        let twin = try await world.copy(of: laptop, "twin")
        let earlier = world.server.snapshot()
        let first = laptop.id
        try await laptop.client("First")
        try await laptop.sync()
        world.server.revoked.insert(laptop.id)
        let second = try await enrolAgain(laptop).replica
        try await laptop.client("Second")
        try await laptop.sync()
        world.server.revoked.insert(second)
        try await enrolAgain(laptop)
        // The twin goes on under the first id, in a history that knows of nothing else.
        world.server.revoked = []
        world.server.restore(earlier, keepsEnrolments: false)
        try await twin.client("Twin")
        try await twin.sync()
        try await enrolAgain(laptop)
        #expect(try await laptop.sync().fork != nil)
        #expect(try await laptop.replica.file.read { try Metadata(connection: $0.connection).sharedLanes() } == [first: 2])

        restore()
        for site in [laptop, twin] { try await enrolAgain(site) }
        try await expectConverged(world, laptop, twin, known)
        #expect(try await names(known) == ["Acme", "First", "Second", "Twin"])
        #expect(world.server.record("client", client)?.text("notes") == "Key at desk")
    }

    @Test func original_mayBeFirst_andTheCopyFindsItDone() async throws {
        let original = try await world.replica("original", member: ben)
        let part = try await original.create("part", ["sku": "bolt", "name": "Bolt"])
        try await original.sync()
        let copy = try await world.copy(of: original, "copy")
        let later = world.server.snapshot()
        try await original.client("Original's own")
        try await original.sync()
        try await copy.replica.write { try $0.increment("part", part, "on_hand_milli", by: 7_000) }
        #expect(try await copy.sync().fork != nil)
        world.server.restore(later)
        try await original.sync()
        try await copy.sync()
        try await expectConverged(world, original, copy, known)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 7_000)
        for site in [original, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    /// Original and copy were both enrolled after the backup, and only the copy is left.
    @Test func copyAlone_bringsBackAReplicaThatTheServerNeverHeardOf() async throws {
        let original = try await world.replica("original", member: ben)
        try await original.client("Original's own")
        try await original.sync()
        let copy = try await world.copy(of: original, "copy")
        try await original.client("Told apart by this")
        try await copy.client("Copy's own")
        try await original.sync()
        #expect(try await copy.sync().fork != nil)
        restore()
        try await enrolAgain(copy)
        try await copy.sync()
        try await expectConverged(world, copy, known)
        #expect(try await names(known) == ["Copy's own", "Original's own"])
        // The original enrols again as well: what the copy brought is done, the rest comes with it.
        #expect(try await enrolAgain(original).keepsID == false)
        try await original.sync()
        try await expectConverged(world, original, copy, known)
        #expect(try await names(known) == ["Copy's own", "Original's own", "Told apart by this"])
        for site in [original, copy] { #expect(try await site.replica.problems().isEmpty) }
    }
}
