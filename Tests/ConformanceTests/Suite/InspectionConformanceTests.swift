// Digests, single records, and the feed's past (protocol §7.5, §7.8, §7.9).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct InspectionConformanceTests {
    @Test func digests_tellRangesAndRecords() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, finn) = (try company.enroll("Ana"), try company.enroll("Finn", .field))
            let schema = try required(Schema.testing.entity("contact"))
            // More than two ranges, put in place at once.
            company.core.load(
                (0..<2_100).map { number in
                    var record = RecordState(schema: schema, id: company.newID())
                    record["last_name"] = .string("Contact \(number)")
                    record["tags"] = []
                    record["alt_emails"] = []
                    record["alt_phones"] = []
                    record["custom"] = [:]
                    record.scopeKeys = ["tenant"]
                    return record
                })
            let client = company.create("client", ["name": "Acme", "tax_number": "T1"])
            company.write([Edit.delete("client", company.create("client", ["name": "Gone"]))])
            let whole = try required(try ana.json("digest"))
            #expect(whole["position"]?.integerValue == company.core.position)
            #expect(whole["entities"]?["client"]?["count"] == 1)
            #expect(whole["entities"]?["contact"]?["hash"]?.stringValue == company.core.digest()["contact"]?.hash)
            let ranges = try required(
                try ana.json("digest", [("entity", "contact")])?["ranges"]?.arrayValue?.compactMap(DigestRange.init(json:)))
            #expect(ranges.map(\.count) == [1_000, 1_000, 100])
            let stretch = DigestRequest(entity: "contact", after: ranges[1].through, through: nil)
            #expect(try ana.json("digest", stretch.query)?["records"]?.arrayValue?.count == 100)
            // Twice a range is the most that one answer lists.
            #expect(try ana.get("digest", DigestRequest(entity: "contact", after: nil, through: nil).query) == nil)
            #expect(company.refused?.knownCode == .badRequest)
            for bad in [
                [("entity", "account")], [("entity", "spaceship")], [("after", "")], [("colour", "red")],
                [("entity", "client"), ("after", "x")],
            ] {
                #expect(try ana.get("digest", bad.map { (name: $0.0, value: $0.1) }) == nil)
                #expect(company.refused?.knownCode == .badRequest)
            }
            // Restricted fields are not there for the field role; records that everybody may read are the same.
            let (full, hidden) = (try required(try ana.json("digest")), try required(try finn.json("digest")))
            #expect(full["entities"]?["client"] != hidden["entities"]?["client"])
            #expect(full["entities"]?["contact"] == hidden["entities"]?["contact"])
            #expect(hidden["entities"]?["client"]?["hash"]?.stringValue == company.core.digest(for: finn.id)["client"]?.hash)
            let one = try finn.json("records", RecordsRequest(entity: "client", ids: [client]).query)
            #expect(one?["entities"]?.arrayValue?.first?["rows"]?.arrayValue?.count == 1)
        }
    }

    @Test func records_comeAsTheyAre_tombstonesIncluded() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let (live, dead) = (company.create("client", ["name": "Acme"]), company.create("client", ["name": "Gone"]))
            company.write([Edit.delete("client", dead)])
            let reply = try required(
                try ana.json("records", RecordsRequest(entity: "client", ids: [dead, company.newID(), live]).query))
            #expect(reply["entities"]?.arrayValue?.first?["rows"]?.arrayValue?.count == 2)
            for bad in [
                [("entity", "client")], [("ids", live.text)], [("entity", "account"), ("ids", live.text)],
                [("entity", "client"), ("ids", "x")],
            ] {
                #expect(try ana.get("records", bad.map { (name: $0.0, value: $0.1) }) == nil)
                #expect(company.refused?.knownCode == .badRequest)
            }
        }
    }

    @Test func activity_isTheFeedInOrder_withoutWhatIsForOthers() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, finn) = (try company.enroll("Ana"), try company.enroll("Finn", .field))
            let client = company.create("client", ["name": "Acme", "tax_number": "T1"])
            for number in 1...5 { try ana.edit([Edit.patch("client", client, ["phone": .string("+1555010\(number)")])]) }
            #expect(try ana.edit([Edit.create("client", company.newID(), [:])]).status == .rejected)
            let time = company.now
            company.pass(1_000)
            company.write([Edit.patch("client", client, ["tax_number": "T2"])])
            let everything = try required(try ana.activity(ActivityRequest(after: 0)))
            #expect(everything.entries.contains { $0.kind == "sync.rejected" })
            #expect(!everything.hasMore)
            #expect(everything.next == company.core.position)
            var paged: [ActivityEntry] = []
            var after: Int64 = 0
            while true {
                let page = try required(try ana.activity(ActivityRequest(after: after, limit: 3)))
                paged += page.entries
                after = page.next
                if !page.hasMore { break }
            }
            #expect(paged == everything.entries)
            let theirs = try required(try finn.activity(ActivityRequest(after: 0)))
            #expect(!theirs.entries.contains { $0.kind == "sync.rejected" })
            #expect(theirs.entries.allSatisfy { $0.restrictedChanges.isEmpty })
            #expect(everything.entries.contains { !$0.restrictedChanges.isEmpty })
            #expect(try ana.activity(ActivityRequest(newest: 2))?.entries.count == 2)
            #expect(try ana.activity(ActivityRequest(sinceMilliseconds: time + 500))?.entries.count == 1)
            #expect(try ana.activity(ActivityRequest(sinceMilliseconds: company.now + 500))?.entries.isEmpty == true)
            #expect(try ana.activity(ActivityRequest(after: everything.next))?.entries.isEmpty == true)
        }
    }

    /// What a role that lasted for a moment may read would stay in a file: no pull tells of that role.
    @Test func whatIsKept_isRefused_whenTheCursorIsOfAnotherRole() throws {
        try onEveryStore { (company: Company) throws in
            _ = try company.enroll("Olga")
            let finn = try company.enroll("Finn", .field)
            try finn.pull()
            let cursor = try required(finn.cursor)
            func become(_ role: String) { company.write([Edit.patch("member", finn.member, ["role": .string(role)])]) }
            let client = company.create("client", ["name": "Acme"])
            func records(_ cursor: String?) throws -> Bool {
                try finn.json("records", RecordsRequest(entity: "client", ids: [client], cursor: cursor).query) != nil
            }
            become("manager")
            #expect(try finn.activity(ActivityRequest(after: 0, cursor: cursor)) == nil)
            #expect(company.refused?.knownCode == .resyncRequired)
            #expect(try !records(cursor))
            #expect(company.refused?.knownCode == .resyncRequired)
            #expect(try records(nil))
            #expect(try finn.activity(ActivityRequest(after: 0)) != nil, "who keeps nothing of before names no cursor")
            become("field")
            #expect(try records(cursor))
            #expect(try finn.activity(ActivityRequest(after: 0, cursor: cursor))?.entries.isEmpty == false)
            #expect(try finn.activity(ActivityRequest(after: 0, cursor: "x")) == nil)
            #expect(company.refused?.knownCode == .invalidCursor)
        }
    }
}
