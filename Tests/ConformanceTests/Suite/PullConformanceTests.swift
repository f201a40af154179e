// Pages, checkpoints, cursors, tombstones (protocol §7.3).

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct PullConformanceTests {
    @Test func pages_skipNothing_repeatNothing_andOnlyTheLastHasACheckpoint() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let clients = (1...7).map { company.create("client", ["name": .string("C\($0)")]) }
            for client in clients.prefix(4) {
                company.create(
                    "deal", ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(ana.member.text)])
            }
            // An owner as well: replicas of others are for owners only.
            let whole = try required(try company.enroll("Ben").page())
            for limit in [1, 2, 3, 5, 100] {
                ana.cursor = nil
                let pages = try ana.pull(limit: limit)
                #expect(pages.allSatisfy { $0.rowCount <= limit })
                #expect(pages.dropLast().allSatisfy { $0.hasMore && $0.checkpoint == nil && $0.outcomes.isEmpty })
                let ids = try pages.flatMap { try $0.rows("client") }.map { $0["id"] }
                #expect(ids == clients.map { .string($0.text) })
                #expect(pages.reduce(0) { $0 + $1.rowCount } == whole.rowCount)
            }
            let nothing = try required(try ana.page())
            #expect(nothing.rowCount == 0)
            #expect(nothing.checkpoint?.mark == ana.checkpoint)
        }
    }

    @Test func recordThatChangesBetweenPages_comesAgain() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let clients = (1...4).map { company.create("client", ["name": .string("C\($0)")]) }
            ana.cursor = nil
            var page = try required(try ana.page(limit: 2))
            company.write([Edit.patch("client", clients[0], ["name": "again"]), Edit.delete("client", clients[3])])
            var pages = [page]
            while page.hasMore {
                page = try required(try ana.page(limit: 2))
                pages.append(page)
            }
            let names = try pages.flatMap { try $0.rows("client") }.filter { $0["id"] == .string(clients[0].text) }.map { $0["name"] }
            #expect(names.last == "again")
            // It was alive when the first sync began: the tombstone is news.
            let tombstone = try required(try pages.compactMap { try $0.row("client", clients[3]) }.last)
            #expect(tombstone["deleted_at"] != .null)
            #expect(page.checkpoint?.mark.position.position == company.core.position)
        }
    }

    @Test func outcomes_comeWithTheirHashes_behindTheCounterAskedFor() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let sets = (1...3).map { ana.seal([Edit.create("client", company.newID(), $0 == 2 ? [:] : ["name": "C"])]) }
            try ana.push(sets)
            let all = try required(try ana.page())
            #expect(all.outcomes.map(\.counter) == [1, 2, 3])
            #expect(all.outcomes.map(\.hash) == sets.map(\.hash))
            #expect(all.checkpoint?.acknowledged == 3)
            #expect(try ana.page(outcomesAfter: 2)?.outcomes.map(\.counter) == [3])
            #expect(try ana.page(outcomesAfter: 3)?.outcomes.isEmpty == true)
        }
    }

    @Test func versions_areWhatWasWrittenBehindThePosition() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme", "tags": ["a", "b"], "notes": "base"])
            #expect(try ana.page()?.row("client", id)?["versions"] == .null)
            let before = try required(ana.checkpoint?.position.position)
            company.write([Edit.patch("client", id, ["phone": "+15550100", "tags": ["add": ["c"], "remove": ["a"]]])])
            let news = try required(try ana.page()?.row("client", id)?["versions"]?.objectValue)
            #expect(Set(news.keys) == ["phone", "tags"])
            #expect(news["tags"]?.objectValue?.keys.sorted() == ["c"])
            // Asked for from the beginning, the creation is told too.
            ana.cursor = nil
            let all = try required(try ana.page(versionsAfter: 0)?.row("client", id)?["versions"]?.objectValue)
            #expect(Set(all.keys) == ["*", "phone", "tags"])
            ana.cursor = nil
            let since = try required(try ana.page(versionsAfter: before)?.row("client", id)?["versions"]?.objectValue)
            #expect(since == news)
        }
    }

    @Test func tombstones_goToWhoHeldTheRecord_only() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            company.write([Edit.delete("client", id)])
            let ben = try company.enroll("Ben")
            #expect(try ben.page()?.row("client", id) == nil)
            #expect(try ana.page()?.row("client", id)?["deleted_cause"] != .null)
            // Revived, it is a record like any other.
            company.write([Edit.restore("client", id)])
            #expect(try ben.page()?.row("client", id)?["deleted_at"] == .null)
        }
    }

    @Test func belowTheHorizon_aReplicaBeginsAgain() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let ids = (1...3).map { company.create("client", ["name": .string("C\($0)")]) }
            try ana.pull()
            company.write([Edit.delete("client", ids[0])])
            try ben.pull()
            company.write([Edit.patch("client", ids[1], ["name": "still here"])])
            company.core.forgetTombstones()
            // Ben has heard of the last tombstone that was forgotten.
            #expect(try ben.page()?.rows("client").count == 1)
            #expect(try ana.page() == nil)
            #expect(company.refused?.knownCode == .resyncRequired)
            #expect(try ana.rebuild().last?.rows("client").count == 2)
            // Nothing was forgotten since.
            company.core.forgetTombstones()
            #expect(try ana.page() != nil)
        }
    }

    @Test func firstSync_isNotDisturbedByTombstonesForgottenMeanwhile() throws {
        try onEveryStore { (company: Company) throws in
            let ids = (1...4).map { company.create("client", ["name": .string("C\($0)")]) }
            company.write([Edit.delete("client", ids[3])])
            let ana = try company.enroll("Ana")
            _ = try ana.page(limit: 2)
            company.core.forgetTombstones()
            #expect(try ana.page(limit: 2) != nil)
            // One that was made since it began is missing for good.
            company.write([Edit.delete("client", ids[0])])
            company.core.forgetTombstones()
            #expect(try ana.page(limit: 1) == nil)
            #expect(company.refused?.knownCode == .resyncRequired)
        }
    }

    @Test func changedAndForeignCursors_areInvalid() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            try ana.pull()
            let good = try required(ana.cursor)
            let middle = good.index(good.startIndex, offsetBy: good.count / 2)
            let cut = String(good.dropLast())
            let changed = good.replacingCharacters(in: middle...middle, with: good[middle] == "1" ? "2" : "1")
            for bad in [cut, changed, "", "AAAA", good + "A", "../../etc/passwd"] {
                ana.cursor = bad
                #expect(try ana.page() == nil, "\(bad)")
                #expect(company.refused?.knownCode == .invalidCursor)
                #expect(try ana.push([]) == nil)
                #expect(company.refused?.knownCode == .invalidCursor)
            }
            ana.cursor = good
            #expect(try ana.page() != nil)
        }
    }
}
