// A server that was restored from a backup gets back what its replicas still hold: once each, in the order in which it happened.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct HealingTests {
    @Test func confirmedSets_thatTheBackupLacks_goOutAgain_once() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let id = try await a.client("Acme", ["notes": "Key at desk"])
        try await a.set("client", id, ["phone": "+15550100"])
        try await a.sync()
        try await b.sync()
        world.server.restore(backup)

        let report = try await a.sync()
        #expect(report.healing == 2)
        #expect(report.accepted == 2)
        #expect(try await a.value("client", id, "phone") == "+15550100")
        #expect(world.server.record("client", id)?.text("notes") == "Key at desk")
        for counter in 1...2 { #expect(world.server.applications(of: Dot(replica: a.id, counter: Int64(counter))) == 1) }
        try await expectConverged(world, a, b)
        #expect(try await a.sync().healing == 0)
    }

    @Test func guardedEdit_onSomebodyElsesLostValue_waitsForIt_andIsNoConflict() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "first"])
        try await a.sync()
        try await b.sync()
        let backup = world.server.snapshot()
        try await a.set("client", id, ["notes": "second, by a"])
        try await a.sync()
        try await b.sync()
        try await b.set("client", id, ["notes": "third, by b"])
        try await b.sync()
        world.server.restore(backup)

        // The later one comes first.
        let waiting = try await b.sync()
        #expect(waiting.deferred == 1)
        #expect(try await b.replica.pending().map(\.isDeferred) == [true])
        #expect(try await b.value("client", id, "notes") == "third, by b")
        #expect(world.server.record("client", id)?.text("notes") == "first")
        try await a.sync()
        let done = try await b.sync()
        #expect(done.accepted == 1)
        #expect(done.deferred == 0)
        #expect(world.server.record("client", id)?.text("notes") == "third, by b")
        try await expectConverged(world, a, b)
        for site in [a, b] { #expect(try await site.replica.problems().isEmpty) }
    }

    /// The server had taken its own time for a stamp from the future. Once that future has come, the set still stands where it stood.
    @Test(arguments: [true, false]) func setOfAClockThatWasAhead_standsWhereItStood(aheadIsFirst: Bool) async throws {
        let world = try World()
        var a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        let backup = world.server.snapshot()
        // The clock jumps while nobody looks.
        await a.replica.close()
        let jumped = try await world.open("a", a.transport, offset: 3_600_000)
        a = Site(name: "a", replica: jumped, transport: a.transport, id: a.id, member: a.member)
        try await a.set("client", id, ["name": "an hour ahead"])
        try await a.sync()
        let told = try #require(world.server.outcome(of: Dot(replica: a.id, counter: 2)))
        #expect(told.warnings.map(\.code) == ["clock_skew"])
        #expect(told.timestamp?.milliseconds == world.clock.now)
        world.clock.advance(60_000)
        try await b.set("client", id, ["name": "a minute later"])
        #expect(try await b.sync().superseded == 0)
        try await expectConverged(world, a, b)

        world.server.restore(backup)
        world.clock.advance(7_200_000)
        for site in aheadIsFirst ? [a, b] : [b, a] { #expect(try await site.sync().healing == 1) }
        try await expectConverged(world, a, b)
        #expect(try await a.value("client", id, "name") == "a minute later")
        let again = try #require(world.server.outcome(of: Dot(replica: a.id, counter: 2)))
        #expect(again.timestamp == told.timestamp && again.warnings.isEmpty)
        // Once more, by what it was told the second time.
        world.server.restore(backup)
        for site in aheadIsFirst ? [b, a] : [a, b] { #expect(try await site.sync().healing == 1) }
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "name") == "a minute later")
    }

    /// Of the last two numbers one is with its author, who comes back last, and the other only with somebody who has seen it.
    @Test func numbers_areGivenBack_andNewOnesComeBehindAllThatWereSeen() async throws {
        let world = try World(schema: .testing)
        let (a, b, reader) = (
            try await world.replica("a"), try await world.replica("b"), try await world.replica("reader", role: .viewer)
        )
        func issued(_ site: Site) async throws -> Identifier {
            let document = try await site.replica.write { edit in
                let id = try edit.create("document", ["title": "Offer", "due_on": .integer(22_500)])
                try edit.create("document_line", ["document": .string(id.text), "label": "Work", "price": 100])
                try edit.transition("issue", "document", id)
                return id
            }.value
            try await site.sync()
            return document
        }
        func number(_ id: Identifier) -> String? { world.server.record("document", id)?.text("number") }
        let first = try await issued(a)
        for site in [b, reader] { try await site.sync() }
        let backup = world.server.snapshot()
        let (second, third) = (try await issued(a), try await issued(b))
        #expect([first, second, third].map(number) == ["DOC-2031-0001", "DOC-2031-0002", "DOC-2031-0003"])
        for site in [a, b, reader] { try await site.sync() }
        // The one who made the third is gone for now; who may only read says nothing.
        world.server.restore(backup)
        try await reader.sync()
        let lateFirst = world.server.record("number_sequence", NumberReport(kind: "document", year: 2031, last: 1).key.id)?.integer("last")
        #expect(lateFirst == 1)
        try await a.sync()
        try await a.sync()
        // Once more, when the report has been heard and what had the third number is not back: its row is gone from every file but b's.
        world.server.restore(backup)
        try await a.sync()
        try await a.sync()
        let fourth = try await issued(a)
        #expect(number(second) == "DOC-2031-0002")
        #expect(number(fourth) == "DOC-2031-0004")
        try await b.sync()
        #expect(number(third) == "DOC-2031-0003")
        #expect(try await a.replica.query("SELECT value FROM _tideline_meta WHERE key = 'numbers'").isEmpty)
        try await expectConverged(world, a, b)
        #expect(try await a.value("document", third, "number") == "DOC-2031-0003")
        // Nothing to report, nothing is pushed.
        let count = a.transport.sentPushes.count
        try await a.sync()
        #expect(a.transport.sentPushes.count == count)
    }

    @Test func newWork_onALostRecordOfSomebodyElse_waits_whileOtherWorkFlows() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let client = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        // Never sent before the restore.
        let site = try await b.create("site", ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Pier"]])
        let other = try await b.client("Other")
        world.server.restore(backup)

        let report = try await b.sync()
        #expect(report.deferred == 1)
        #expect(world.server.record("client", other) != nil)
        #expect(world.server.record("site", site) == nil)
        // An edit of what waits waits behind it, though it was made in the new epoch.
        try await b.set("site", site, ["name": "Yard 2"])
        #expect(try await b.sync().deferred == 2)
        #expect(try await b.value("site", site, "name") == "Yard 2")
        #expect(try await b.replica.integrityCheck() == [])
        try await a.sync()
        #expect(try await b.sync().accepted == 2)
        #expect(world.server.record("site", site)?.text("name") == "Yard 2")
        try await expectConverged(world, a, b)
    }

    @Test func setThatWaits_isDecidedAsItIs_whenTheTimeIsOver() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let client = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        try await b.create("site", ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Pier"]])
        world.server.restore(backup)
        #expect(try await b.sync().deferred == 1)

        world.clock.advance(Limits.healingMilliseconds)
        let report = try await b.sync()
        #expect(report.rejected == 1)
        let problem = try #require(try await b.replica.problems().first)
        #expect(problem.changes.first?.json["fields"]?["name"] == "Yard")
        // Its work is not lost: once the client is back, it can be done again.
        try await a.sync()
        try await b.sync()
        try await b.replica.retry(problem)
        try await expectConverged(world, a, b)
        #expect(world.server.digest()["site"]?.count == 1)
    }

    /// The backup has it waiting; since then it was refused, and confirmed work lies behind it.
    @Test func setThatWaitsAgain_andWasRefusedSince_isTakenBack_andIsNoGap() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let client = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        try await b.create("site", ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Pier"]])
        try await b.client("Behind")
        world.server.restore(backup)
        #expect(try await b.sync().deferred == 1)
        let waiting = world.server.snapshot()
        world.clock.advance(Limits.healingMilliseconds)
        #expect(try await b.sync().rejected == 1)
        world.server.restore(waiting)
        b.transport.breaking { call, _ in call == .push ? .fail(.timeout) : nil }
        try await b.client("New")
        _ = try? await b.sync()
        #expect(try await b.replica.pending().map(\.counter) == [1, 3])
        #expect(try await b.replica.integrityCheck() == [])
        b.transport.breaking(nil)
        try await expectConverged(world, a, b)
        let problem = try #require(try await b.replica.problems().first)
        try await b.replica.retry(problem)
        try await expectConverged(world, a, b)
        #expect(world.server.digest()["site"]?.count == 1)
    }

    @Test func removedElement_staysRemoved_whicheverComesBackFirst() async throws {
        for order in [false, true] {
            let world = try World()
            let a = try await world.replica("a")
            let b = try await world.replica("b")
            let id = try await a.client("Acme", ["tags": ["vip"]])
            try await a.sync()
            try await b.sync()
            let backup = world.server.snapshot()
            try await a.replica.write { try $0.add("client", id, "tags", ["late"]) }
            try await a.sync()
            try await b.sync()
            try await b.replica.write { try $0.remove("client", id, "tags", ["late"]) }
            try await b.sync()
            world.server.restore(backup)
            for site in order ? [a, b] : [b, a] { try await site.sync() }
            try await expectConverged(world, a, b)
            #expect(world.server.record("client", id)?.elements("tags") == ["vip"])
        }
    }

    @Test func rejectedSet_ofTheLostHistory_staysAProblem_andHoldsNothingUp() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "first"])
        try await a.sync()
        try await b.sync()
        let backup = world.server.snapshot()
        try await b.set("client", id, ["notes": "by b"])
        try await b.sync()
        try await a.set("client", id, ["notes": "by a"])
        try await a.client("Behind it")
        #expect(try await a.sync().rejected == 1)
        world.server.restore(backup)

        try await a.sync()
        try await b.sync()
        #expect(try await a.replica.problems().count == 1)
        #expect(world.server.record("client", id)?.text("notes") == "by b")
        try await expectConverged(world, a, b)
    }

    /// What was decided after the second backup waited in it.
    @Test func secondRestore_toABackupInWhichASetWaited_bringsItBackAgain() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let backup = world.server.snapshot()
        let client = try await a.client("Acme")
        try await a.sync()
        try await b.sync()
        let site = try await b.create("site", ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Pier"]])
        try await b.client("Behind it")
        try await b.sync()
        world.server.restore(backup)
        #expect(try await b.sync().deferred == 1)
        let second = world.server.snapshot()
        try await a.sync()
        try await b.sync()
        #expect(world.server.record("site", site) != nil)
        world.server.restore(second)

        try await b.sync()
        try await a.sync()
        try await expectConverged(world, a, b)
        #expect(world.server.record("site", site)?.text("name") == "Yard")
    }

    /// Two copies of one file after a restore: what one of them says with a counter, the other has said otherwise long ago.
    @Test func copyThatWentOnAfterTheRestore_doesNotHideWhatTheOtherHadConfirmed() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let before = try await a.client("Before")
        try await a.sync()
        let backup = world.server.snapshot()
        let copy = try await world.copy(of: a, "copy")
        let lost = try await a.client("Confirmed, then lost")
        try await a.sync()
        world.server.restore(backup)
        // The copy's cursor is as old as the backup, so only its push shows that it has work.
        let other = try await copy.client("Said with the same counter")
        try await copy.sync()

        let report = try await a.sync()
        #expect(report.fork != nil)
        for id in [before, lost, other] { #expect(world.server.record("client", id) != nil) }
        try await expectConverged(world, a, copy)
    }

    /// A copy went on after the restore, and one of its sets waits: under a counter that this file has confirmed something else for,
    /// behind the one where both parted.
    @Test func counterThatWaits_behindTheOneWhereCopiesPart_isOfferedAgainOnce() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        try await a.client("Before")
        try await a.sync()
        let backup = world.server.snapshot()
        let acme = try await b.client("Acme")
        for site in [b, a] { try await site.sync() }
        let copy = try await world.copy(of: a, "copy")
        for name in ["Confirmed", "Confirmed, too"] { try await a.client(name) }
        try await a.sync()
        try await copy.client("Of the copy")
        try await copy.create("site", ["client": .string(acme.text), "name": "Yard", "address": ["line1": "1 Pier"]])
        world.server.restore(backup)
        #expect(try await copy.sync().deferred == 1)

        let report = try await a.sync()
        #expect(report.fork?.movedSets == 2)
        #expect(report.accepted == 2)
        try await b.sync()
        try await copy.sync()
        try await expectConverged(world, a, b, copy)
        let names = try await a.replica.list("client", sort: Sort("name")).data.map(\.title)
        #expect(names == ["Acme", "Before", "Confirmed", "Confirmed, too", "Of the copy"])
        #expect(world.server.digest()["site"]?.count == 1)
        for site in [a, b, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    /// A push was answered and no checkpoint came behind it, then the server was restored, another copy brought the sets back, and a
    /// rebuild that was asked for is the first to hear of the new epoch: that the answer is an old one does not mean that the set is gone.
    @Test func answeredSet_thatAnotherCopyBroughtBack_isNoProblem() async throws {
        let world = try World(schema: .testing)
        let part = Identifier(high: 1, low: 2)
        world.server.write([Change("part", part, .create(fields: ["sku": "bolt", "name": "Bolt"]))])
        let a = try await world.replica("a")
        let backup = world.server.snapshot()
        world.server.write([Change("client", Identifier(high: 1, low: 1), .create(fields: ["name": "Somebody else's"]))])
        try await a.sync()
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        a.transport.breaking { call, _ in call == .pull ? .fail(.timeout) : nil }
        _ = try await replicaError { try await a.sync() }
        a.transport.breaking(nil)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 7_000) }
        let copy = try await world.copy(of: a, "copy")
        world.server.restore(backup)

        try await a.sync()
        #expect(try await copy.sync(SyncOptions(rebuilds: true)).newProblems.isEmpty)
        try await expectConverged(world, a, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 12_000)
        for site in [a, copy] { #expect(try await site.replica.problems().isEmpty) }
    }

    @Test func twoCopiesOfAFile_healOnce() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        try await a.sync()
        let backup = world.server.snapshot()
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await a.sync()
        let copy = try await world.copy(of: a, "copy")
        world.server.restore(backup)

        try await copy.sync()
        try await a.sync()
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        try await expectConverged(world, a, copy)
    }

    /// What was confirmed long ago stays in the journal while something below it waits: it comes back to the journal then, and after
    /// another restore it could not be offered from below a gap.
    @Test func journal_staysWithoutGaps_whileASetBelowWaits() async throws {
        let world = try World()
        let (a, b) = (try await world.replica("a"), try await world.replica("b"))
        for site in [a, b] { try await site.sync() }
        let first = world.server.snapshot()
        let theirs = try await b.client("Theirs")
        for site in [b, a] { try await site.sync() }
        try await a.set("client", theirs, ["notes": "waits"])
        let own = [try await a.client("One"), try await a.client("Two")]
        try await a.sync()
        // Two sets of three are back, the first waits for what only the other device can bring.
        world.server.restore(first)
        #expect(try await a.sync().deferred == 1)
        let second = world.server.snapshot()
        for site in [b, a] { try await site.sync() }
        #expect(try await a.replica.pending().isEmpty)
        // It waits once more, for longer than a journal is kept; only downloads work.
        world.server.restore(second)
        try await a.sync()
        #expect(try await a.replica.pending().map(\.counter) == [1])
        world.clock.advance((Store.journalDays + 2) * 86_400_000)
        a.transport.breaking { call, _ in call == .push ? .fail(.reply(ErrorReply(.overloaded, "busy"), status: 503)) : nil }
        _ = try await replicaError { try await a.sync() }
        a.transport.breaking(nil)
        for site in [b, a, b] { try await site.sync() }
        #expect(world.server.record("client", theirs)?.text("notes") == "waits")

        world.server.restore(first)
        for site in [b, a, b] { try await site.sync() }
        #expect(world.server.record("client", theirs)?.text("notes") == "waits", "the file holds it")
        for id in own { #expect(world.server.record("client", id) != nil) }
        try await expectConverged(world, a, b)
    }

    /// Of two copies the one has forgotten a set that the other still holds, and comes first: the counter is passed over, and what
    /// lies behind it is back. Further copies may hold the set as well, so that it is left to a person.
    @Test func copyWhoseJournalReachesFurtherBack_sealsNothingAnew() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        try await a.sync()
        let backup = world.server.snapshot()
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 1_000) }
        try await a.sync()
        world.clock.advance((Store.journalDays - 2) * 86_400_000)
        let client = try await a.client("Recent", ["notes": "recent"])
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        try await a.sync()
        let copy = try await world.copy(of: a, "copy")
        world.clock.advance(4 * 86_400_000)
        try await a.sync()
        try await copy.set("client", client, ["notes": "on top of it"])
        world.server.restore(backup)

        #expect(try await a.sync().healing == 2)
        let report = try await copy.sync()
        #expect(report.fork == nil)
        #expect(report.newProblems.map(\.violations) == [[Store.passedOverByOtherCopy]])
        try await expectConverged(world, a, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        // The copy knows what both had in common.
        #expect(world.server.record("client", client)?.text("notes") == "on top of it")
        #expect(try await a.replica.problems().isEmpty)
        try await copy.replica.retry(try #require(report.newProblems.first))
        try await expectConverged(world, a, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 6_000)
        // And both go on.
        for site in [a, copy] { try await site.client("Later on \(site.name)") }
        try await expectConverged(world, a, copy)
        for site in [a, copy] { #expect(try await site.replica.list("client").data.count == 3) }
    }

    /// The same, but the copy has never been answered, and its push is refused before it has heard of anything.
    @Test func copyThatWasNeverAnswered_sealsNothingAnewEither() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let part = try await a.create("part", ["sku": "bolt", "name": "Bolt"])
        try await a.sync()
        let backup = world.server.snapshot()
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 1_000) }
        try await a.replica.write { try $0.increment("part", part, "on_hand_milli", by: 5_000) }
        let copy = try await world.copy(of: a, "copy")
        try await a.sync()
        // As if its answer were a week older than the next one.
        try await a.replica.file.write { try $0.connection.execute("DELETE FROM _tideline_journal WHERE counter <= 2") }
        world.server.restore(backup)
        try await a.sync()

        let report = try await copy.sync()
        #expect(report.newProblems.map(\.violations) == [[Store.passedOverByOtherCopy]])
        try await expectConverged(world, a, copy)
        #expect(world.server.record("part", part)?.integer("on_hand_milli") == 5_000)
        #expect(try await a.replica.problems().isEmpty)
    }

    /// A process may die between the answers and the checkpoint that settles them.
    @Test func setThatWaits_betweenOthersThatAreNotSettled_isNoGap() async throws {
        let world = try World()
        let a = try await world.replica("a")
        for number in 1...3 { try await a.client("C\(number)") }
        try await a.replica.file.write { try $0.connection.execute("UPDATE _tideline_pending SET deferred = 1 WHERE counter = 2") }
        #expect(try await a.replica.integrityCheck() == [])
        try await a.replica.file.write { try $0.connection.execute("DELETE FROM _tideline_pending WHERE counter = 2") }
        #expect(try await a.replica.integrityCheck().count == 1)
    }
}
