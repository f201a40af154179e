// A server that goes on from an old backup (protocol §7.4).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct RestoreConformanceTests {
    @Test func cursorOfLostHistory_beginsANewEpoch_once() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            try ben.pull()
            let backup = company.core.snapshot()
            company.write([Edit.patch("client", id, ["name": "lost"])])
            try ana.pull()
            company.core.restore(backup)
            // Ben's cursor is still good: nobody has noticed yet.
            #expect(try ben.page()?.rowCount == 0)
            #expect(try ana.page() == nil)
            #expect(company.refused?.details["epoch"] == 1)
            #expect(company.core.epoch == 1)
            #expect(company.core.position == FeedPosition.epochStride)
            #expect(try ben.page() == nil)
            #expect(company.refused?.details["epoch"] == 1)
            #expect(try ana.page() == nil)
            #expect(company.core.position == FeedPosition.epochStride)
            let page = try required(try ana.rebuild().last)
            #expect(page.checkpoint?.mark.position.position == FeedPosition.epochStride)
            #expect(try page.row("client", id)?["name"] == "Acme")
            #expect(try ana.page()?.rowCount == 0)
        }
    }

    /// What was to come on a later page went down with the disk, and an older state of the record, which an earlier page had left out,
    /// is back: the place between the pages is in both histories, the head of that page is not.
    @Test func restoreBetweenPages_isNoticed_thoughThePlaceIsInBothHistories() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let ids = ["One", "Two", "Three"].map { company.create("client", ["name": .string($0)]) }
            try ana.pull()
            for id in ids { company.write([Edit.patch("client", id, ["phone": "+15550100"])]) }
            let backup = company.core.snapshot()
            company.write([Edit.patch("client", ids[0], ["phone": "+15550199"])])
            let first = try required(try ana.page(limit: 1))
            #expect(try first.row("client", ids[1]) != nil)
            company.core.restore(backup)
            #expect(try ana.page(limit: 1) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            #expect(company.core.epoch == 1)
            let pages = try ana.rebuild(limit: 1)
            #expect(try pages.compactMap { try $0.row("client", ids[0])?["phone"] } == ["+15550100"])
            #expect(try ana.page()?.rowCount == 0)
        }
    }

    /// The same shown by a push: a first sync applies page by page, and edits may be made in between.
    @Test func restoreBetweenPages_isNoticedByAPushAsWell() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let ids = ["One", "Two", "Three"].map { company.create("client", ["name": .string($0)]) }
            let backup = company.core.snapshot()
            company.write([Edit.patch("client", ids[0], ["phone": "+15550199"])])
            while let page = try ana.page(limit: 1), try page.row("client", ids[1]) == nil {}
            company.core.restore(backup)
            #expect(try ana.push([ana.seal([Edit.patch("client", ids[2], ["phone": "+15550100"])])]) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
        }
    }

    @Test func fingerprintThatDiffers_isNoticedByAPush_beforeAnythingIsMerged() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            let backup = company.core.snapshot()
            company.write([Edit.patch("client", id, ["name": "lost"])])
            try ana.pull()
            company.core.restore(backup)
            // The same positions again, by another history.
            company.write([Edit.patch("client", id, ["name": "again"])])
            company.write([Edit.patch("client", id, ["name": "and again"])])
            #expect(try ana.push([ana.seal([Edit.patch("client", id, ["phone": "+15550100"])])]) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            #expect(company.value("client", id, "phone") == .null)
        }
    }

    @Test func recognisedCheckpoints_capWhatOldClocksClaim() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let (first, second, third) = (
                company.create("client", ["name": "One", "notes": "base"]), company.create("client", ["name": "Two", "notes": "base"]),
                company.create("client", ["name": "Three", "notes": "base"])
            )
            try ana.pull()
            company.write([Edit.patch("client", second, ["notes": "kept"])])
            let backup = company.core.snapshot()
            try ana.pull()
            company.write([Edit.patch("client", third, ["notes": "lost"])])
            try ana.pull()
            let sets = [first, second, third].map { ana.seal([Edit.patch("client", $0, ["notes": "Ana"])]) }
            company.core.restore(backup)
            company.write([Edit.patch("client", third, ["notes": "new"])])
            #expect(try ana.page() == nil)
            try ana.rebuild()
            let recognised = Array(ana.recent.dropFirst())
            // The oldest alone: what the server wrote behind it counts as unseen.
            let copy = try required(try ana.fork(counter: 0))
            let other = copy.seal([Edit.patch("client", second, ["notes": "copy"])], clock: VectorClock(feed: recognised[1].position))
            #expect(try copy.push([other], recognised: [recognised[2]])?.first?.violations.map(\.code) == ["conflict"])
            let outcomes = try required(try ana.push(sets, recognised: recognised))
            #expect(outcomes.map(\.status) == [.accepted, .accepted, .rejected])
            #expect(outcomes[2].violations.map(\.code) == ["conflict"])
            // None recognised: such a clock knows nothing.
            let blind = ana.seal(
                [Edit.patch("client", third, ["notes": "blind"])], clock: VectorClock(feed: FeedPosition(epoch: 0, position: 900)))
            #expect(try ana.push([blind])?.first?.violations.map(\.code) == ["conflict"])
        }
    }

    @Test func countersOfLostHistory_mayBeSkipped_butNotOfferedAgain() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            try ana.edit([Edit.patch("client", id, ["phone": "+15550100"])])
            try ana.pull()
            let backup = company.core.snapshot()
            let lost = ana.seal([Edit.patch("client", id, ["phone": "+15550101"])])
            try ana.push([lost])
            try ana.pull()
            company.core.restore(backup)
            #expect(try ana.page() == nil)
            try ana.rebuild()
            ana.counter = 5
            let jump = ana.seal([Edit.patch("client", id, ["email": "a@example.com"])])
            ana.counter = 7
            let gap = ana.seal([Edit.patch("client", id, ["email": "b@example.com"])])
            // Only the first push of the epoch may begin higher, and only there.
            #expect(try ana.push([jump, gap]) == nil)
            #expect(company.refused?.details["expected"] == 7)
            #expect(try ana.push([jump])?.first?.status == .accepted)
            #expect(try ana.push([gap]) == nil)
            #expect(company.refused?.details["expected"] == 7)
            #expect(try ana.push([lost]) == nil)
            #expect(company.refused?.knownCode == .fork)
            #expect(try ana.pull().last?.checkpoint?.acknowledged == 6)
        }
    }

    @Test func outcomesLostWithTheHistory_areGivenAnew() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            let backup = company.core.snapshot()
            let set = ana.seal([Edit.patch("client", id, ["phone": "+15550100"])])
            let first = try required(try ana.push([set])?.first)
            try ana.pull()
            company.core.restore(backup)
            #expect(try ana.page() == nil)
            try ana.rebuild()
            let second = try required(try ana.push([set])?.first)
            #expect(second.status == .accepted)
            #expect(second.positions != first.positions)
            #expect(company.value("client", id, "phone") == "+15550100")
        }
    }

    /// What the server had made of a stamp is told with the set when it comes again. It is worth no more than a stamp of its own.
    @Test func stampThatASetCountedWith_isTakenForItsOwn() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let id = company.create("client", ["name": "Acme"])
            for peer in [ana, ben] { try peer.pull() }
            let backup = company.core.snapshot()
            ana.clockError = 3_600_000
            var ahead = [
                ana.seal([Edit.patch("client", id, ["legal_name": "ahead"])]), ana.seal([Edit.patch("client", id, ["phone": "+15550100"])]),
            ]
            let told = try required(try ana.push(ahead))
            #expect(told.map(\.timestamp) == [HybridTimestamp(milliseconds: company.now), HybridTimestamp(milliseconds: company.now).next])
            #expect(try ben.edit([Edit.patch("client", id, ["email": "b@example.com"])]).timestamp == nil, "its own stamp counts")
            for peer in [ana, ben] { try peer.pull() }
            company.core.restore(backup)
            company.pass(600_000)
            for peer in [ana, ben] {
                #expect(try peer.page() == nil)
                try peer.rebuild()
            }
            #expect(try ben.edit([Edit.patch("client", id, ["legal_name": "ten minutes later"])]).status == .accepted)
            company.pass(7_200_000)
            for index in ahead.indices { ahead[index].timestamp = told[index].timestamp }
            let again = try required(try ana.push(ahead))
            #expect(again.map(\.timestamp) == told.map(\.timestamp) && again.allSatisfy(\.warnings.isEmpty))
            #expect(again[0].superseded.map(\.kept) == ["ten minutes later"])
            #expect(company.value("client", id, "phone") == "+15550100")
            #expect(try ana.push(ahead) == again)
            // Nobody gets ahead by it.
            var boast = ana.seal([Edit.patch("client", id, ["phone": "+15550101"])])
            boast.timestamp = HybridTimestamp(milliseconds: company.now + 86_400_000)
            let outcome = try required(try ana.push([boast])?.first)
            #expect(outcome.warnings.map(\.code) == ["clock_skew"])
            #expect(outcome.timestamp == HybridTimestamp(milliseconds: company.now))
        }
    }
}
