// Caps on what a tenant may leave lying: both stores refuse at the same place, in the same words, and nothing that was refused is lost.

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct LimitConformanceTests {
    @Test func replicasOfAMember_areSoMany_untilOneIsRevoked() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            var copies: [Peer] = []
            while copies.count < Limits.replicasPerMember - 1 { copies.append(try required(try ana.fork(counter: 0))) }
            #expect(try ana.fork(counter: 0) == nil)
            let refused = try required(company.refused)
            #expect(refused.knownCode == .limitReached && refused.details["field"] == "member", "\(refused)")
            #expect(refused.details["max"] == .integer(Int64(Limits.replicasPerMember)))
            // Enrolment is no other way in, and the code is good for later. Another member has a count of their own.
            let code = company.core.invite("Ana", role: .owner, member: ana.member).code
            #expect(try company.enroll(code: code, label: "one more") == nil)
            #expect(company.refused?.knownCode == .limitReached)
            #expect(try ben.fork(counter: 0) != nil)
            // Those that there are go on.
            #expect(try copies[0].edit([Edit.create("client", company.newID(), ["name": "Acme"])]).status == .accepted)
            company.core.revoke(copies[1].id)
            #expect(try company.enroll(code: code, label: "one more") != nil)
            #expect(try ana.fork(counter: 0) == nil)
        }
    }

    @Test func copiesThatShareAnID_areSoMany() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let first = ana.seal([Edit.create("client", company.newID(), ["name": "Acme"])])
            var copies: [Peer] = []
            while copies.count < Limits.copiesPerReplica { copies.append(try required(try ana.fork(counter: 0, first: first))) }
            #expect(Set(copies.map(\.id)).count == 1)
            #expect(try ana.fork(counter: 0, first: first) == nil)
            #expect(company.refused?.knownCode == .limitReached && company.refused?.details["limit"] == "copies_per_replica")
            #expect(try copies[0].page() != nil)
            // Shut out, they leave the id behind; whoever parts now gets another one.
            company.core.revoke(copies[0].id)
            #expect(try required(try ana.fork(counter: 0, first: first)).id != copies[0].id)
        }
    }

    // MARK: Storage

    @Test func tenant_storesSoMuch_andGoesOnWhenItMayStoreMore() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let acme = company.newID()
            let first = ana.seal([Edit.create("client", acme, ["name": "Acme"])])
            #expect(try ana.push([first])?.map(\.status) == [.accepted])
            let stored = company.core.snapshot().storedBytes
            company.core.storageQuota = StorageQuota(bytesMax: stored)
            let later = [
                ana.seal([Edit.patch("client", acme, ["phone": "+15550100"])]), ana.seal([Edit.create("client", acme, ["name": "twice"])]),
            ]
            #expect(try ana.push([first] + later) == nil)
            let refused = try required(company.refused)
            #expect(refused.knownCode == .limitReached && refused.details["limit"] == "tenant_bytes", "\(refused)")
            #expect(refused.details["max"] == .integer(stored) && refused.details["field"] == "sets" && refused.details["fits"] == 1)
            #expect(refused.message.contains("--tenant-quota-gb"), "who can make room, and how")
            #expect(try ana.push(later) == nil)
            #expect(company.refused?.details["fits"] == 0)
            // Nothing of it was stored; what was decided before is answered, and whoever reads goes on.
            #expect(try ana.push([first])?.map(\.status) == [.accepted])
            #expect(try ana.push([])?.isEmpty == true)
            #expect(company.core.snapshot().storedBytes == stored && company.value("client", acme, "phone") == .null)
            #expect(try ana.page()?.checkpoint?.acknowledged == 1)
            #expect(try ben.pull().last?.row("client", acme) != nil)
            // The server itself is not refused: here it invites, writes and shuts out.
            let code = company.core.invite("Cleo", role: .owner).code
            #expect(company.write([Edit.patch("client", acme, ["phone": "+15550199"])]).status == .accepted)
            company.core.revoke(ben.id)
            #expect(try ben.page() == nil)
            #expect(try enrols(company, code) == false && company.refused?.details["field"] == "replica")
            #expect(try ana.fork(counter: 1) == nil && company.refused?.details["limit"] == "tenant_bytes")
            // Allowed more, everything goes on as it was: the request with which it is full is the last one taken.
            company.core.storageQuota = StorageQuota(bytesMax: company.core.snapshot().storedBytes + 1)
            #expect(try ana.push(later)?.map(\.status) == [.accepted, .rejected])
            #expect(try ana.push([ana.seal([Edit.delete("client", acme)])]) == nil)
            company.core.storageQuota = StorageQuota(bytesMax: nil)
            #expect(try enrols(company, code))
            #expect(try ana.fork(counter: 1) != nil)
        }
    }

    private func enrols(_ company: Company, _ code: String) throws -> Bool { try company.enroll(code: code, label: "one more") != nil }

    @Test func courier_isRefusedToo_andPutsNobodyBack() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            try ana.pull()
            let backup = company.core.snapshot()
            let copy = try required(try ana.fork(counter: 0))
            try copy.pull()
            let sets = [copy.seal([Edit.create("client", company.newID(), ["name": "Acme"])])]
            company.core.restore(backup, keepsEnrolments: false)
            company.core.storageQuota = StorageQuota(bytesMax: company.core.snapshot().storedBytes)
            // What it must not leave behind is the replica that it speaks for.
            ana.cursor = nil
            #expect(try ana.carry(sets, of: copy) == nil)
            #expect(company.refused?.details["limit"] == "tenant_bytes")
            #expect(company.core.record("replica", copy.id) == nil)
            company.core.storageQuota = StorageQuota()
            #expect(try ana.carry(sets, of: copy)?.map(\.status) == [.accepted])
        }
    }

    /// Creations, changes, refusals, withdrawals, restricted fields, deletions that are forgotten, copies, couriers, a new epoch: what is
    /// counted while they happen is what the tables hold. (That both stores count the same, every scenario says in the end.)
    @Test func storedBytes_areWhatTheTablesHold() throws {
        try onEveryStore { (company: Company) throws in
            func expectCounted(_ when: String) throws {
                let state = company.core.snapshot()
                if company.store == .postgres { #expect(try state.recountedBytes() == state.storedBytes, "\(when)") }
            }
            try expectCounted("made")
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben", .field))
            try expectCounted("enrolled")
            let acme = company.newID()
            company.create("custom_field", ["entity": "client", "key": "a", "label": "A", "kind": "integer"])
            company.create("custom_field", ["entity": "client", "key": "b", "label": "B", "kind": "text"])
            let text: JSONValue = "Acme \u{1F6B2} \"quoted\" \\ \u{1}"
            try ana.edit([Edit.create("client", acme, ["name": text, "tags": ["x", "y"], "custom": ["a": 1, "b": "é"]])])
            try ana.edit([Edit.patch("client", acme, ["custom": ["a": .null]])])
            try ben.edit([Edit.patch("client", company.newID(), ["name": "nobody"])])
            try expectCounted("edited")
            try ana.pull()
            try ana.edit([Edit.delete("client", acme)])
            ben.counter += 1
            try ben.push([OfferedSet(counter: ben.counter, hash: String(repeating: "0", count: 64), sealed: nil)])
            try expectCounted("deleted and withdrawn")
            company.core.forgetTombstones()
            try expectCounted("forgotten")
            let copy = try required(try ana.fork(counter: ana.counter))
            try copy.pull()
            try expectCounted("forked")
            let backup = company.core.snapshot()
            company.create("client", ["name": "lost"])
            try ana.pull()
            company.core.restore(backup)
            #expect(try ana.page() == nil)
            try ana.rebuild()
            try ana.edit([Edit.create("client", company.newID(), ["name": "after"])])
            try expectCounted("restored")
        }
    }

    // MARK: Waiting after a restore

    /// A server that has lost what was behind the backup, and replicas that know.
    private func restored(_ company: Company, _ names: [String]) throws -> [Peer] {
        let peers = try names.map { try company.enroll($0) }
        for peer in peers { try peer.pull() }
        let backup = company.core.snapshot()
        company.create("client", ["name": "lost"])
        try peers[0].pull()
        company.core.restore(backup)
        #expect(try peers[0].page() == nil)
        for peer in peers { try peer.rebuild() }
        return peers
    }

    private func heal(_ peer: Peer, _ sets: [OfferedSet]) throws -> [Outcome.Status]? {
        try peer.push(
            raw: PushRequest(schemaVersion: 1, cursor: peer.cursor, isHealing: true, sets: sets).bytes(replica: peer.id))?.map(\.status)
    }

    @Test func setsThatWait_areSoManyOfAReplica_andTheRestIsTakenWhenThereIsRoom() throws {
        try onEveryStore(waitingLimits: WaitingLimits(setsPerReplica: 2)) { (company: Company) throws in
            let ana = try restored(company, ["Ana"])[0]
            let missing = (0..<3).map { _ in company.newID() }
            func edit(_ id: Identifier) -> OfferedSet { ana.seal([Edit.patch("client", id, ["phone": "+15550100"])]) }
            let first = edit(missing[0])
            let sets = [
                first, ana.seal([Edit.create("client", company.newID(), ["name": "Acme"])]), edit(missing[1]), edit(missing[2]),
            ]
            #expect(try heal(ana, sets) == nil)
            let refused = try required(company.refused)
            #expect(refused.knownCode == .limitReached && refused.details["limit"] == "waiting_sets_per_replica", "\(refused)")
            #expect(refused.details["fits"] == 3 && refused.details["field"] == "sets")
            // Nothing was stored, and what fits is taken.
            #expect(try ana.page()?.checkpoint?.acknowledged == 0)
            #expect(try heal(ana, Array(sets.prefix(3))) == [.deferred, .accepted, .deferred])
            #expect(try heal(ana, [sets[3]]) == nil)
            #expect(company.refused?.details["fits"] == 0)
            // Those that wait may be offered again, and one that is decided makes room.
            #expect(try heal(ana, [sets[0], sets[2]]) == [.deferred, .deferred])
            company.write([Edit.create("client", missing[0], ["name": "Back"])])
            #expect(try heal(ana, [sets[0]]) == [.accepted])
            #expect(try heal(ana, [sets[3]]) == [.deferred])
            #expect(company.value("client", missing[0], "phone") == "+15550100")
            // In the end all are decided, as they are.
            company.pass(Limits.healingMilliseconds)
            #expect(try heal(ana, [sets[2], sets[3]]) == [.rejected, .rejected])
        }
    }

    @Test(arguments: [
        (WaitingLimits(setsPerTenant: 3), "waiting_sets_per_tenant"), (WaitingLimits(recordsPerTenant: 3), "waiting_records_per_tenant"),
    ])
    func setsThatWait_areSoManyOfATenant(limits: WaitingLimits, name: String) throws {
        try onEveryStore(waitingLimits: limits) { (company: Company) throws in
            let peers = try restored(company, ["Ana", "Ben"])
            func edit(_ peer: Peer) -> OfferedSet { peer.seal([Edit.patch("client", company.newID(), ["phone": "+15550100"])]) }
            #expect(try heal(peers[0], [edit(peers[0]), edit(peers[0])]) == [.deferred, .deferred])
            let sets = [edit(peers[1]), edit(peers[1])]
            #expect(try heal(peers[1], sets) == nil)
            #expect(
                company.refused?.details["limit"] == .string(name) && company.refused?.details["fits"] == 1, "\(company.refused as Any)")
            #expect(try heal(peers[1], [sets[0]]) == [.deferred])
            #expect(try heal(peers[1], [sets[1]]) == nil)
        }
    }
}
