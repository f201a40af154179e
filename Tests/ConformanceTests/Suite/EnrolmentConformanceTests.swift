// Files that enrol again, and couriers of what others have sealed (protocol §7.1, §7.2).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct EnrolmentConformanceTests {
    private static let attempt = String(repeating: "a1", count: 32)

    @Test func replicaLostByARestore_isItselfAgain_andItsSetsComeBackOnce() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let member = company.core.invite("Ben", role: .owner, member: nil).member
            let id = company.create("client", ["name": "Acme"])
            let backup = company.core.snapshot()
            let ben = try company.enroll("Ben", member: member)
            try ben.pull()
            let set = ben.seal([Edit.patch("client", id, ["phone": "+15550100"])])
            #expect(try ben.push([set])?.first?.status == .accepted)
            try ben.pull()
            company.core.restore(backup, keepsEnrolments: false)
            #expect(try ben.page() == nil)
            #expect(company.refused?.knownCode == .unauthorized)

            let again = try required(try ben.enrolAgain())
            #expect(again.id == ben.id)
            #expect(try again.page() == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            let checkpoint = try required(try again.rebuild().last?.checkpoint)
            #expect(checkpoint.acknowledged == 0)
            #expect(try again.push([set])?.first?.status == .accepted)
            #expect(try again.push([set])?.first?.status == .accepted)
            #expect(company.value("client", id, "phone") == "+15550100")
            #expect(try ana.pull().count == 1)
        }
    }

    @Test func replicaThatTheServerKnows_getsANewID_andBringsTheRestAsACourier() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            try ana.pull()
            let first = ana.seal([Edit.patch("part", part, ["on_hand_milli": 5_000])])
            let second = ana.seal([Edit.patch("part", part, ["on_hand_milli": 7_000])])
            #expect(try ana.push([first])?.first?.status == .accepted)
            company.core.revoke(ana.id)
            #expect(try ana.push([second]) == nil)
            #expect(company.refused?.knownCode == .replicaRevoked)

            let again = try required(try ana.enrolAgain())
            #expect(again.id != ana.id)
            #expect(try again.carry([first, second], of: ana)?.map(\.status) == [.accepted, .accepted])
            // A further copy brings the same, and one that parted is told.
            let copy = try required(try ana.enrolAgain())
            #expect(try copy.carry([second], of: ana)?.map(\.status) == [.accepted])
            ana.counter = 1
            let other = ana.seal([Edit.patch("part", part, ["on_hand_milli": 11_000])])
            #expect(try copy.carry([other], of: ana) == nil)
            #expect(company.refused?.knownCode == .fork)
            #expect(company.value("part", part, "on_hand_milli") == 12_000)
            // Its own begin behind what the file had spent, and know what it did before.
            let own = again.seal([Edit.patch("part", part, ["on_hand_milli": 1_000])])
            #expect(own.counter == 3)
            #expect(try again.push([own])?.first?.status == .accepted)
            // The old id stays shut.
            #expect(try ana.page() == nil)
            #expect(company.refused?.knownCode == .replicaRevoked)
        }
    }

    @Test func courier_neverPassesACounterOver() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            let copy = try required(try ana.fork(counter: 0))
            let first = ana.seal([Edit.patch("client", id, ["phone": "+15550100"])])
            let second = ana.seal([Edit.patch("client", id, ["email": "a@example.com"])])
            #expect(try copy.carry([second], of: ana) == nil)
            #expect(company.refused?.details["expected"] == 1)
            #expect(try copy.carry([first], of: ana)?.first?.status == .accepted)
            // In a new epoch neither, where the author itself may.
            let backup = company.core.snapshot()
            let third = ana.seal([Edit.patch("client", id, ["name": "lost"])])
            try ana.push([second, third])
            try ana.pull()
            company.core.restore(backup)
            #expect(try ana.page() == nil)
            try ana.rebuild()
            try copy.rebuild()
            #expect(try copy.carry([third], of: ana) == nil)
            #expect(company.refused?.details["expected"] == 2)
            #expect(try ana.push([third])?.first?.status == .accepted)
        }
    }

    @Test func courier_bringsAReplicaThatTheServerNeverHeardOf() throws {
        try onEveryStore { (company: Company) throws in
            let member = company.core.invite("Ben", role: .owner, member: nil).member
            let id = company.create("client", ["name": "Acme"])
            let backup = company.core.snapshot()
            let ben = try company.enroll("Ben", member: member)
            try ben.pull()
            let set = ben.seal([Edit.patch("client", id, ["phone": "+15550100"])])
            try ben.push([set])
            let copy = try required(try ben.fork(counter: 1))
            company.core.restore(backup, keepsEnrolments: false)

            let again = try required(try copy.enrolAgain())
            #expect(again.id == copy.id)
            #expect(try again.page() == nil)
            try again.rebuild()
            #expect(try again.carry([set], of: ben)?.first?.status == .accepted)
            #expect(company.value("client", id, "phone") == "+15550100")
            // Its own file comes, too: the id is known by then.
            let late = try required(try ben.enrolAgain())
            #expect(late.id != ben.id)
            try late.rebuild()
            #expect(try late.carry([set], of: ben)?.first?.status == .accepted)
        }
    }

    @Test func courierOfAnotherMember_orWithAForgedStatement_isRefused() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let id = company.create("client", ["name": "Acme"])
            let set = ana.seal([Edit.patch("client", id, ["phone": "+15550100"])])
            #expect(try ben.carry([set], of: ana) == nil)
            #expect(company.refused?.details["field"] == "member")
            #expect(company.refused?.knownCode == .forbidden)
            let forged = String(try required(ana.identity).dropLast()) + "!"
            #expect(try ana.carry([set], of: ana, identity: forged) == nil)
            #expect(company.refused?.details["field"] == "identity")
            #expect(company.value("client", id, "phone") == .null)
        }
    }

    @Test func claimOfAnotherMembersReplica_isRefused_andTheCodeStaysGood() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let code = company.core.invite("Ben", role: .owner, member: ben.member).code
            #expect(try ana.enrolAgain(code: code) == nil)
            #expect(company.refused?.details["field"] == "member")
            let former = FormerReplica(identity: "forged", counter: 3)
            #expect(try company.enroll(code: code, label: "forged", continues: former) == nil)
            #expect(company.refused?.details["field"] == "identity")
            #expect(try company.enroll(code: code, label: "new")?.member == ben.member)
        }
    }

    @Test func answerLostOnTheWay_isGivenAgain_untilTheReplicaHasDoneAnything() throws {
        try onEveryStore { (company: Company) throws in
            let id = company.create("client", ["name": "Acme"])
            let code = company.core.invite("Ana", role: .owner, member: nil).code
            let lost = try required(try company.enroll(code: code, label: "Ana", attempt: Self.attempt))
            #expect(try company.enroll(code: code, label: "Ana") == nil)
            #expect(try company.enroll(code: code, label: "Ana", attempt: String(repeating: "b2", count: 32)) == nil)
            #expect(company.refused?.knownCode == .codeUsed)
            let reply = try required(try company.enroll(code: code, label: "Ana", attempt: Self.attempt))
            #expect(reply.replica == lost.replica)
            #expect(reply.token != lost.token)
            // One file has it, not two.
            let (first, ana) = (Peer(company, "lost", lost), Peer(company, "Ana", reply))
            #expect(try first.page() == nil)
            try ana.pull()
            try ana.edit([Edit.patch("client", id, ["phone": "+15550100"])])
            #expect(try company.enroll(code: code, label: "Ana", attempt: Self.attempt) == nil)
            #expect(company.refused?.knownCode == .codeUsed)
        }
    }

    @Test func repeatedRequest_ofAFileThatWentOn_takesItsCounter() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let id = company.create("client", ["name": "Acme"])
            try ana.pull()
            let sets = [ana.seal([Edit.patch("client", id, ["phone": "+15550100"])])]
            let code = company.core.invite("Ana", role: .owner, member: ana.member).code
            _ = try required(try ana.enrolAgain(code: code, attempt: Self.attempt))
            let more = ana.seal([Edit.patch("client", id, ["email": "a@example.com"])])
            let again = try required(try ana.enrolAgain(code: code, attempt: Self.attempt))
            #expect(try again.carry(sets + [more], of: ana)?.map(\.status) == [.accepted, .accepted])
            let own = again.seal([Edit.patch("client", id, ["name": "Acme Marine"])])
            #expect(try again.push([own])?.first?.status == .accepted)
        }
    }
}
