// Sets that were sealed anew under another id: the one that comes first is decided, the others get its answer (protocol §4.1).

import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct OriginConformanceTests {
    /// A copy of the file of `peer`, on its way behind `counter`; not told apart from others by what it will seal.
    private func copy(of peer: Peer, behind counter: Int64) throws -> Peer { try required(try peer.fork(counter: counter)) }

    /// What a copy makes of a set that it shares.
    private func reseal(_ offered: OfferedSet, by peer: Peer) throws -> OfferedSet {
        var set = try ChangeSet(sealed: try required(offered.sealed)).resealed(by: peer.id, hash: offered.hash)
        set.clock.replicas = peer.lanes.merging([peer.id: offered.counter - 1]) { $1 }
        peer.counter = offered.counter
        return peer.offered(set.sealedBytes())
    }

    private func stock(_ part: Identifier, _ quantity: Int64) -> Change { Edit.patch("part", part, ["on_hand_milli": .integer(quantity)]) }

    @Test func setSealedAnewByTwoCopies_isDecidedOnce_andAnsweredAlike() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            try ana.pull()
            let set = ana.seal([stock(part, 5_000)])
            let (one, two) = (try copy(of: ana, behind: 0), try copy(of: ana, behind: 0))
            let first = try required(try one.push([try reseal(set, by: one)])?.first)
            #expect(first.status == .accepted && first.duplicateOf == nil)
            let second = try required(try two.push([try reseal(set, by: two)])?.first)
            #expect(second.duplicateOf == Dot(replica: one.id, counter: 1))
            #expect(second.status == .accepted && second.positions == first.positions)
            // What was sealed first comes last, and a copy of a copy later still.
            #expect(try ana.push([set])?.first?.duplicateOf == Dot(replica: one.id, counter: 1))
            let third = try copy(of: two, behind: 0)
            #expect(try third.push([try reseal(try reseal(set, by: two), by: third)])?.first == second)
            // Answers that were lost are given again as they were.
            #expect(try two.push([try reseal(set, by: two)])?.first == second)
            #expect(company.value("part", part, "on_hand_milli") == 5_000)
            // Each goes on behind it.
            for (number, peer) in [ana, one, two].enumerated() {
                #expect(try peer.edit([stock(part, Int64(number + 1))]).status == .accepted)
            }
            #expect(company.value("part", part, "on_hand_milli") == 5_006)
        }
    }

    @Test func setThatCameAsItWasSealedFirst_isNotDoneAnew_andOtherSetsAre() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            try ana.pull()
            let copy = try copy(of: ana, behind: 0)
            let set = ana.seal([stock(part, 5_000)])
            try ana.push([set])
            #expect(try copy.push([try reseal(set, by: copy)])?.first?.duplicateOf == Dot(replica: ana.id, counter: 1))
            // The counter alone says nothing: a copy has spent it on something else.
            ana.counter = 1
            let others = [ana.seal([stock(part, 100)]), ana.seal([stock(part, 200)])]
            try ana.push(others)
            ana.counter = 1
            let own = ana.seal([stock(part, 10)])
            #expect(try ana.push([own]) == nil)
            #expect(company.refused?.knownCode == .fork)
            let outcome = try copy.push([try reseal(own, by: copy)])?.first
            #expect(outcome?.status == .accepted && outcome?.duplicateOf == nil)
            #expect(company.value("part", part, "on_hand_milli") == 5_310)
        }
    }

    @Test func rejection_isRepeated_andAMarkerIsNoDecision() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let client = company.create("client", ["name": "Acme", "notes": "base"])
            try ana.pull()
            let (one, two) = (try copy(of: ana, behind: 0), try copy(of: ana, behind: 0))
            company.write([Edit.patch("client", client, ["notes": "by somebody else"])])
            let sets = [
                ana.seal([Edit.patch("client", client, ["notes": "by Ana"])]), ana.seal([Edit.create("client", client, ["name": "Again"])]),
                ana.seal([Edit.patch("client", client, ["phone": "+15550100"])]),
            ]
            let answers = try required(try one.push(try sets.map { try reseal($0, by: one) }))
            #expect(answers.map(\.status) == [.rejected, .rejected, .accepted])
            let repeated = try required(try two.push(try sets.map { try reseal($0, by: two) }))
            #expect(repeated.map(\.status) == answers.map(\.status))
            #expect(repeated.map(\.violations) == answers.map(\.violations))
            // Who takes a set out leaves it to others.
            let taken = ana.seal([Edit.patch("client", client, ["email": "a@example.com"])])
            let marker = OfferedSet(counter: taken.counter, hash: taken.hash, sealed: nil)
            #expect(try ana.push(sets + [marker])?.last?.status == .withdrawn)
            let outcome = try one.push([try reseal(taken, by: one)])?.first
            #expect(outcome?.status == .accepted && outcome?.duplicateOf == nil)
        }
    }

    /// Whoever says of a set that it was somebody else's first suppresses nothing of theirs, and learns nothing.
    @Test func originOfAnotherMembersSet_countsForNothing() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            for peer in [ana, ben] { try peer.pull() }
            let sets = [ana.seal([stock(part, 1_000)]), ana.seal([stock(part, 2_000)])]
            try ana.push([sets[0]])
            // Of one that is decided, and of one that is still to come.
            for set in sets {
                let forged = try reseal(set, by: ben)
                let outcome = try required(try ben.push([forged])?.first)
                #expect(outcome.status == .accepted && outcome.duplicateOf == nil)
            }
            let outcome = try required(try ana.push(sets)?.last)
            #expect(outcome.status == .accepted && outcome.duplicateOf == nil)
            #expect(company.value("part", part, "on_hand_milli") == 6_000)
        }
    }

    /// No file seals one set anew under two counters; whoever says so has two sets.
    @Test func originNamedTwice_isTwoSets() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            try ana.pull()
            let origin = Origin(replica: ana.id, hash: String(repeating: "a", count: 64))
            let sets = try (1...2).map { number in
                var set = try ChangeSet(sealed: try required(ana.seal([stock(part, Int64(number))]).sealed))
                set.origin = origin
                return ana.offered(set.sealedBytes())
            }
            #expect(try ana.push(sets)?.map(\.duplicateOf) == [nil, nil])
            #expect(company.value("part", part, "on_hand_milli") == 3)
        }
    }

    @Test func originThatIsNone_isRejected() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let client = company.create("client", ["name": "Acme"])
            try ana.pull()
            for origin: JSONValue in [
                .null, [], .string(ana.id.text), [.string(ana.id.text), 1],
                [.string(ana.id.text), .string(String(repeating: "A", count: 64))],
                ["x", .string(String(repeating: "a", count: 64))], [.string(ana.id.text), .string(String(repeating: "a", count: 64)), 1],
            ] {
                let sealed = try required(ana.seal([Edit.patch("client", client, ["phone": "+15550100"])]).sealed)
                var json = try required(try JSONValue(parsing: sealed).objectValue)
                json["origin"] = origin
                let outcome = try required(try ana.push([ana.offered(JSONValue.object(json).canonicalBytes())])?.first)
                #expect(outcome.violations.map(\.code) == ["invalid_syntax"])
                #expect(outcome.violations.map(\.field) == ["origin"])
            }
        }
    }

    /// The copy's own set was answered as another one: what it did is known to the copy's later sets all the same.
    @Test func laterSetOfACopy_knowsWhatItsOwnWasDecidedAs() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            let client = company.create("client", ["name": "Acme", "notes": "base"])
            try ana.pull()
            let (one, two) = (try copy(of: ana, behind: 0), try copy(of: ana, behind: 0))
            for peer in [one, two] { peer.checkpoint = ana.checkpoint }
            let set = ana.seal([Edit.patch("client", client, ["notes": "shared"])])
            try one.push([try reseal(set, by: one)])
            // In one push, and in a later one.
            let same = try reseal(set, by: two)
            let next = two.seal([Edit.patch("client", client, ["notes": "on top of it"])])
            #expect(try two.push([same, next])?.map(\.status) == [.accepted, .accepted])
            company.core.write([Edit.patch("client", client, ["phone": "+15550100"])])
            #expect(try two.edit([Edit.delete("client", client)]).status == .rejected)
            try two.pull()
            // Of a third copy, which holds it and was not answered yet, it is a conflict still: it did not say it.
            let third = try copy(of: ana, behind: 0)
            third.checkpoint = ana.checkpoint
            third.counter = 1
            let stranger = third.seal(
                [Edit.patch("client", client, ["notes": "beside it"])], clock: VectorClock(feed: ana.checkpoint?.position ?? .start))
            third.counter = 0
            let marker = OfferedSet(counter: 1, hash: set.hash, sealed: nil)
            #expect(try third.push([marker, stranger])?.map(\.status) == [.withdrawn, .rejected])
            #expect(company.value("client", client, "notes") == "on top of it")
        }
    }

    /// After a restore another copy may be the first one to come.
    @Test func restoredServer_takesWhoeverComesFirst_andWaitingSetsToo() throws {
        try onEveryStore { (company: Company) throws in
            let (ana, ben) = (try company.enroll("Ana"), try company.enroll("Ben"))
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            for peer in [ana, ben] { try peer.pull() }
            let (one, two) = (try copy(of: ana, behind: 0), try copy(of: ana, behind: 0))
            let backup = company.core.snapshot()
            let creation = ben.seal([Edit.create("client", company.newID(), ["name": "Acme"])])
            let client = try required(try ChangeSet(sealed: try required(creation.sealed)).changes.first?.key.id)
            try ben.push([creation])
            try ana.pull()
            let sets = [
                ana.seal([stock(part, 5_000)]),
                ana.seal([
                    Edit.create("site", company.newID(), ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Pier"]])
                ]),
            ]
            let mine = [try sets.map { try reseal($0, by: one) }, try sets.map { try reseal($0, by: two) }]
            #expect(try one.push(mine[0])?.map(\.duplicateOf) == [nil, nil])
            #expect(try two.push(mine[1])?.compactMap(\.duplicateOf).count == 2)
            try two.pull()
            company.core.restore(backup)
            #expect(try two.page() == nil)
            for peer in [one, two, ben] { try peer.rebuild() }

            func heal(_ peer: Peer, _ sets: [OfferedSet]) throws -> [Outcome] {
                try required(
                    try peer.push(
                        raw: PushRequest(schemaVersion: 1, cursor: peer.cursor, isHealing: true, sets: sets).bytes(replica: peer.id)))
            }
            #expect(try heal(two, mine[1]).map(\.status) == [.accepted, .deferred])
            #expect(try heal(one, mine[0]).map(\.status) == [.accepted, .deferred])
            #expect(try heal(one, mine[0]).first?.duplicateOf == Dot(replica: two.id, counter: 1))
            #expect(try ben.push([creation])?.first?.status == .accepted)
            #expect(try heal(one, [mine[0][1]]).map(\.duplicateOf) == [nil])
            #expect(try heal(two, [mine[1][1]]).map(\.duplicateOf) == [Dot(replica: one.id, counter: 2)])
            #expect(company.value("part", part, "on_hand_milli") == 5_000)
            #expect(company.core.digest()["site"]?.count == 1)
        }
    }
}
