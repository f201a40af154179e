// Who may ask, and what becomes of those who may no more (protocol §7.1, §7.6).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct AccessConformanceTests {
    @Test func code_isSpentOnce_andExpires() throws {
        try onEveryStore { (company: Company) throws in
            let invitation = company.core.invite("Ana", role: .owner)
            #expect(try company.enroll(code: invitation.code, label: "one")?.role == .owner)
            #expect(company.core.record("member", invitation.member)?.text("status") == "active")
            #expect(try company.enroll(code: invitation.code, label: "two") == nil)
            #expect(company.refused?.knownCode == .codeUsed)
            #expect(try company.enroll(code: "0000-0000-0000-0000", label: "guess") == nil)
            #expect(company.refused?.knownCode == .codeInvalid)
            let late = company.core.invite("Ben", role: .field)
            company.pass(72 * 3_600_000)
            #expect(try company.enroll(code: late.code, label: "late") == nil)
            #expect(company.refused?.knownCode == .codeExpired)
        }
    }

    @Test func voidToken_isRefusedEverywhere_andChangesNothing() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            try ana.pull()
            let position = company.core.position
            func expectRefusals(_ code: ErrorCode) throws {
                ana.counter = 0
                let calls: [() throws -> Bool] = [
                    { try ana.push([ana.seal([Edit.create("client", company.newID(), ["name": "A"])])]) == nil }, { try ana.page() == nil },
                    { try ana.get("digest") == nil }, { try ana.get("activity") == nil },
                    { try ana.get("records", [("entity", "client"), ("ids", company.newID().text)]) == nil },
                    { try ana.fork(counter: 0) == nil },
                ]
                for call in calls {
                    #expect(try call())
                    #expect(company.refused?.knownCode == code)
                }
            }
            company.core.isRevoked = true
            #expect(company.core.isRevoked)
            try expectRefusals(.replicaRevoked)
            company.core.isRevoked = false
            #expect(company.core.position == position)
            #expect(try ana.page() != nil)
            // By the record that people see.
            company.write([Edit.move("replica", ana.id, "revoke", from: "active")])
            try expectRefusals(.replicaRevoked)
            let ben = try company.enroll("Ben", .manager)
            company.write([Edit.move("member", ben.member, "disable", from: "active")])
            #expect(try ben.page() == nil)
            #expect(company.refused?.knownCode == .forbidden)
            company.write([Edit.move("member", ben.member, "enable", from: "disabled")])
            #expect(try ben.page() != nil)
        }
    }

    @Test func role_countsAsItIsNow() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, ben) = (try company.enroll("Olga"), try company.enroll("Ben", .manager))
            let id = company.create("client", ["name": "Acme", "tax_number": "T1"])
            try ben.pull()
            #expect(try ben.edit([Edit.patch("client", id, ["credit_limit": 5])]).status == .accepted)
            try olga.pull()
            #expect(try olga.edit([Edit.patch("member", ben.member, ["role": "field"])]).status == .accepted)
            let outcome = try ben.edit([
                Edit.patch("client", id, ["phone": "+15550100", "credit_limit": 6]),
                Edit.create("client", company.newID(), ["name": "Mine"]),
                Edit.create("custom_field", company.newID(), ["entity": "client", "key": "k", "label": "K", "kind": "text"]),
            ])
            #expect(outcome.violations.map(\.code) == ["forbidden", "forbidden", "forbidden"])
            // And what it may not see it gets no more.
            let row = try required(try ben.rebuild().last?.row("client", id))
            #expect(row["tax_number"] == .null)
            #expect(row["credit_limit"] == .null)
            #expect(row["name"] == "Acme")
            #expect(try olga.edit([Edit.patch("member", ben.member, ["role": "viewer"])]).status == .accepted)
            #expect(try ben.push([]) == nil)
            #expect(company.refused?.knownCode == .forbidden)
            // Who reads other fields than before starts anew, and then goes on reading.
            #expect(try ben.page() == nil)
            #expect(company.refused?.knownCode == .resyncRequired)
            #expect(try required(try ben.rebuild().last?.row("client", id))["tax_number"] == "T1")
            #expect(try ben.page() != nil)
        }
    }

    @Test func fieldMember_worksOnOwnDealsAndFacts() throws {
        try onEveryStore { (company: Company) throws in
            let (olga, finn) = (try company.enroll("Olga"), try company.enroll("Finn", .field))
            let client = company.create("client", ["name": "Acme"])
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            func deal(_ owner: Peer) -> Change {
                Edit.create(
                    "deal", company.newID(),
                    ["title": "D", "client": .string(client.text), "currency": "USD", "owner": .string(owner.member.text)])
            }
            try finn.pull()
            #expect(try finn.edit([deal(finn)]).status == .accepted)
            #expect(try finn.edit([deal(olga)]).violations.map(\.code) == ["forbidden"])
            func note(_ id: Identifier) -> Change {
                Edit.create("note", id, ["subject_type": "part", "subject_id": .string(part.text), "body": "Rusty"])
            }
            let (mine, theirs) = (company.newID(), company.newID())
            #expect(try finn.edit([note(mine)]).status == .accepted)
            #expect(try olga.edit([note(theirs)]).status == .accepted)
            #expect(try finn.edit([Edit.patch("note", mine, ["body": "Very"])]).status == .accepted)
            #expect(try finn.edit([Edit.patch("note", theirs, ["body": "Very"])]).violations.map(\.code) == ["forbidden"])
            #expect(try finn.edit([Edit.delete("note", theirs)]).violations.map(\.code) == ["forbidden"])
            #expect(try finn.edit([Edit.patch("note", mine, ["secret_remark": "x"])]).violations.map(\.code) == ["forbidden"])
            #expect(
                try finn.edit([
                    Edit.create("movement", company.newID(), ["part": .string(part.text), "kind": "receive", "quantity_milli": 5])
                ])
                .status == .accepted)
        }
    }

    @Test func fork_goesOnBehindWhatBothShare() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.newID()
            #expect(try ana.edit([Edit.create("client", id, ["name": "Acme", "notes": "one"])]).status == .accepted)
            #expect(try ana.edit([Edit.patch("client", id, ["notes": "two"])]).status == .accepted)
            #expect(try ana.fork(counter: 3) == nil)
            #expect(company.refused?.details["acknowledged"] == 2)
            let copy = try required(try ana.fork(counter: 2))
            #expect(copy.member == ana.member)
            copy.counter = 1
            #expect(try copy.push([copy.seal([Edit.patch("client", id, ["notes": "x"])])]) == nil)
            #expect(company.refused?.knownCode == .fork)
            // Own edits from before the copy are known by the old replica's lane.
            copy.counter = 2
            #expect(try copy.edit([Edit.patch("client", id, ["notes": "three"])]).status == .accepted)
            // Not so the copy's to the original.
            #expect(try ana.edit([Edit.patch("client", id, ["notes": "four"])]).violations.map(\.code) == ["conflict"])
            #expect(try copy.pull().last?.checkpoint?.acknowledged == 3)
            #expect(try ana.pull().last?.checkpoint?.acknowledged == 3)
        }
    }
}
