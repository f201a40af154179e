// Numbers, one after another and without gaps, and what becomes of them when a server goes on from an old backup (protocol §7.4).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct NumberConformanceTests {
    /// A document with a line, ready to be issued.
    private func draft(_ company: Company, due: String? = nil) throws -> (id: Identifier, changes: [Change]) {
        let (id, line) = (company.newID(), company.newID())
        var fields: JSONObject = ["title": "Offer"]
        if let due { fields["due_on"] = .integer(try required(CalendarDate.days(fromISO: due))) }
        return (
            id,
            [
                Edit.create("document", id, fields),
                Edit.create("document_line", line, ["document": .string(id.text), "label": "Work", "price": 100]),
            ]
        )
    }

    private func issue(_ id: Identifier) -> Change { Edit.move("document", id, "issue", from: "draft") }

    /// Issues a new document; returns its number.
    private func issued(_ peer: Peer, _ company: Company, due: String? = nil) throws -> JSONValue {
        let (id, changes) = try draft(company, due: due)
        #expect(try peer.edit(changes + [issue(id)]).status == .accepted)
        return company.value("document", id, "number")
    }

    @Test func numbers_followEachOther_byYear_withoutGaps() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            #expect(try issued(ana, company, due: "2031-03-01") == "DOC-2031-0001")
            #expect(try issued(ana, company, due: "2031-12-31") == "DOC-2031-0002")
            #expect(try issued(ana, company, due: "2032-01-01") == "DOC-2032-0001")
            // What is refused uses none up; several of one set have one each.
            let (first, second) = (try draft(company, due: "2031-06-01"), try draft(company, due: "2031-06-02"))
            let empty = company.newID()
            let refused = try ana.edit(
                first.changes + [issue(first.id), Edit.create("document", empty, ["title": "Empty"]), issue(empty)])
            #expect(refused.status == .rejected)
            let (third, fourth) = (try draft(company, due: "2031-06-01"), try draft(company, due: "2031-06-02"))
            #expect(try ana.edit(third.changes + [issue(third.id)] + fourth.changes + [issue(fourth.id)]).status == .accepted)
            #expect(company.value("document", third.id, "number") == "DOC-2031-0003")
            #expect(company.value("document", fourth.id, "number") == "DOC-2031-0004")
            #expect(try issued(ana, company, due: "2031-06-01") == "DOC-2031-0005")
            _ = second
            // Nobody gives one to himself.
            let own = try ana.edit([Edit.create("document", company.newID(), ["title": "Mine", "number": "DOC-2031-0099"])])
            #expect(own.violations.map(\.field) == ["number"])
            // The sequence is nobody's to read.
            #expect(try ana.rebuild().allSatisfy { $0.blocks.allSatisfy { $0.entity != "number_sequence" } })
        }
    }

    /// Two have numbers that the backup does not know: what comes back is called as it was, what is new goes on behind.
    @Test func restoredServer_goesOnBehindWhatReplicasReport_andGivesBackWhatTheyHad() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            #expect(try issued(ana, company, due: "2031-03-01") == "DOC-2031-0001")
            for peer in [ana, ben] { try peer.pull() }
            let backup = company.core.snapshot()
            let (hers, his) = (try draft(company, due: "2031-04-01"), try draft(company, due: "2031-05-01"))
            var mine = ana.seal(hers.changes + [issue(hers.id)])
            #expect(try ana.push([mine])?.first?.status == .accepted)
            var theirs = ben.seal(his.changes + [issue(his.id)])
            #expect(try ben.push([theirs])?.first?.status == .accepted)
            #expect(company.value("document", his.id, "number") == "DOC-2031-0003")
            for peer in [ana, ben] { try peer.pull() }
            company.core.restore(backup)
            for peer in [ana, ben] {
                #expect(try peer.page() == nil)
                try peer.rebuild()
            }
            func heal(_ peer: Peer, _ sets: [OfferedSet], _ reports: [NumberReport] = []) throws -> [Outcome] {
                let push = PushRequest(schemaVersion: 1, cursor: peer.cursor, isHealing: true, numbers: reports, sets: sets)
                return try required(try peer.push(raw: push.bytes(replica: peer.id)))
            }
            // A report alone is a push without sets. What is unknown or beyond belief is left out.
            let reports = [
                NumberReport(kind: "document", year: 2031, last: 3), NumberReport(kind: "document", year: 2033, last: 5_000_000),
                NumberReport(kind: "invoice", year: 2031, last: 7),
            ]
            let before = company.core.position
            #expect(try heal(ben, [], reports).isEmpty)
            #expect(company.core.position == before + 1)
            #expect(try heal(ben, [], reports).isEmpty)
            #expect(company.core.position == before + 1, "told twice, done once")
            #expect(try issued(ben, company, due: "2031-07-01") == "DOC-2031-0004")
            #expect(try issued(ben, company, due: "2033-07-01") == "DOC-2033-0001")
            // Out of order, and each as it was.
            theirs.numbers = [his.id: "DOC-2031-0003"]
            mine.numbers = [hers.id: "DOC-2031-0002"]
            ben.counter += 1
            #expect(try heal(ana, [mine]).map(\.status) == [.accepted])
            #expect(company.value("document", hers.id, "number") == "DOC-2031-0002")
            #expect(company.core.epoch == 1)
            #expect(try issued(ana, company, due: "2031-08-01") == "DOC-2031-0005")
        }
    }

    /// What is called so by now keeps its name; and only what comes back from before has a say.
    @Test func numberThatIsTaken_orClaimedByNewWork_isNotGivenAgain() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            for peer in [ana, ben] { try peer.pull() }
            let backup = company.core.snapshot()
            let hers = try draft(company, due: "2031-04-01")
            var lost = ana.seal(hers.changes + [issue(hers.id)])
            #expect(try ana.push([lost])?.first?.status == .accepted)
            #expect(company.value("document", hers.id, "number") == "DOC-2031-0001")
            for peer in [ana, ben] { try peer.pull() }
            company.core.restore(backup)
            for peer in [ana, ben] {
                #expect(try peer.page() == nil)
                try peer.rebuild()
            }
            // Nobody has reported yet.
            #expect(try issued(ben, company, due: "2031-07-01") == "DOC-2031-0001")
            let his = try draft(company, due: "2031-04-01")
            var fresh = ben.seal(his.changes + [issue(his.id)])
            fresh.numbers = [his.id: "DOC-2031-0900"]
            let claim = PushRequest(schemaVersion: 1, cursor: ben.cursor, isHealing: true, sets: [fresh])
            #expect(try ben.push(raw: claim.bytes(replica: ben.id))?.map(\.status) == [.accepted])
            #expect(company.value("document", his.id, "number") == "DOC-2031-0002")
            lost.numbers = [hers.id: "DOC-2031-0001"]
            let push = PushRequest(schemaVersion: 1, cursor: ana.cursor, isHealing: true, sets: [lost])
            #expect(try ana.push(raw: push.bytes(replica: ana.id))?.map(\.status) == [.accepted])
            #expect(company.value("document", hers.id, "number") == "DOC-2031-0003")
        }
    }
}
