// After a restore the server takes back what replicas still hold; a set that builds on one that is not back yet waits.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct HealingTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let a: ReplicaUnderTest
    private let b: ReplicaUnderTest
    private let client: Identifier

    /// A tenant whose server lost everything behind a client that both replicas know.
    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
        (a, b) = (try tenant.enroll(), try tenant.enroll())
        client = server.newIdentifier()
        try a.edit([Edit.client(client)])
        for replica in [a, b] { try replica.pull() }
        try Epoch(context: server.context, tenant: tenant.id, connection: server.connection).begin(after: 0)
        for replica in [a, b] {
            replica.cursor = nil
            try replica.pull()
        }
    }

    private func push(_ replica: ReplicaUnderTest, _ sets: [OfferedSet]) throws -> [Outcome] {
        let body = PushRequest(schemaVersion: 1, cursor: replica.cursor, isHealing: true, sets: sets).bytes(replica: replica.id)
        let reply = try Push(context: server.context, connection: server.connection, requestID: "heal").run(body, token: replica.token)
        return try reply.outcomes.indices.map { try replica.outcome(reply, $0) }
    }

    /// A clock of the lost history, behind everything that it said.
    private func lostClock(_ replica: ReplicaUnderTest) -> VectorClock {
        VectorClock(feed: FeedPosition(epoch: 0, position: 1_000), replicas: [replica.id: replica.counter])
    }

    private func after(_ set: OfferedSet, _ replica: ReplicaUnderTest) throws -> [SeenSet] {
        let stamp = try ChangeSet(sealed: required(set.sealed)).timestamp
        return [SeenSet(dot: Dot(replica: replica.id, counter: set.counter), milliseconds: stamp.milliseconds)]
    }

    @Test func setBehindOneThatIsToCome_waits_andIsDecidedWhenThatIsThere() throws {
        let first = a.seal([Edit.patch("client", client, ["notes": "by a"])], clock: lostClock(a))
        var second = b.seal([Edit.patch("client", client, ["notes": "by b, who had seen it"])], clock: lostClock(b))
        second.after = try after(first, a)
        let third = b.seal([Edit.client(server.newIdentifier(), "Elsewhere")])

        let early = try push(b, [second, third])
        #expect(early.map(\.status) == [.deferred, .accepted])
        #expect(early[0].waitsFor == [Dot(replica: a.id, counter: first.counter)])
        let page = try required(try b.pull().last)
        #expect(page.checkpoint?.waiting == [second.counter])
        #expect(page.checkpoint?.acknowledged == third.counter)
        #expect(!page.outcomes.contains { $0.counter == second.counter })
        // Nothing was told of it.
        let told = "SELECT count(*) FROM tideline.feed WHERE tenant = $1::uuid AND kind = 'sync.rejected'"
        #expect(try tenant.count(told, .identifier(tenant.id)) == 0)

        #expect(try push(a, [first]).map(\.status) == [.accepted])
        let late = try push(b, [second])
        #expect(late.map(\.status) == [.accepted])
        #expect(try tenant.record("client", client)?.text("notes") == "by b, who had seen it")
        // Once more: the stored outcome.
        #expect(try push(b, [second]) == late)
        #expect(try tenant.rows("tideline.deferred_set") == 0)
        #expect(try b.pull().last?.checkpoint?.waiting == [])
    }

    /// What its author could see when it was made went down with the server.
    @Test func setOfTheLostHistory_isNotAskedWhatItsAuthorSeesNow() throws {
        let contact = server.newIdentifier()
        try tenant.write([Change("contact", contact, .create(fields: ["last_name": "Alone"]))]).requireAccepted()
        let finn = try tenant.enroll(member: try tenant.addMember(role: .field))
        try finn.pull()
        func edit(_ clock: VectorClock? = nil) throws -> OfferedSet {
            finn.seal([Edit.patch("contact", contact, ["job_title": "Chef"])], clock: clock)
        }
        let body = PushRequest(schemaVersion: 1, cursor: finn.cursor, sets: [try edit(lostClock(finn))]).bytes(replica: finn.id)
        let reply = try Push(context: server.context, connection: server.connection, requestID: "plain").run(body, token: finn.token)
        #expect(try finn.outcome(reply, 0).violations.map(\.code) == ["not_found"], "whoever does not heal is asked")
        #expect(try push(finn, [edit(lostClock(finn))]).map(\.status) == [.accepted])
        // Made after it: the record may come back to them, as one that is not there may.
        let later = try required(try push(finn, [edit()]).first)
        #expect(later.status == .deferred && later.violations.map(\.code) == ["not_found"])
        #expect(try tenant.record("contact", contact)?.text("job_title") == "Chef")
    }

    @Test func seenSet_isKnownByItsTimeAsWell() throws {
        let first = a.seal([Edit.patch("client", client, ["notes": "by a"])], clock: lostClock(a))
        for outcome in try push(a, [first]) { #expect(outcome.status == .accepted) }
        var second = b.seal([Edit.patch("client", client, ["notes": "by b"])], clock: lostClock(b))
        // Another copy of a's file has spent the counter on something else.
        second.after = try after(first, a).map { SeenSet(dot: $0.dot, milliseconds: $0.milliseconds - 1) }
        let outcome = try required(try push(b, [second]).first)
        #expect(outcome.status == .rejected)
        #expect(outcome.violations.first?.code == "conflict")
    }

    @Test func setOnAMissingRecord_waits_andSoDoesWhatTouchesItsRecords() throws {
        let (missing, site) = (server.newIdentifier(), server.newIdentifier())
        let fields: JSONObject = ["client": .string(missing.text), "name": "Yard", "address": ["line1": "1 Pier"]]
        let first = b.seal([Change("site", site, .create(fields: fields))], clock: lostClock(b))
        let second = b.seal([Edit.patch("site", site, ["name": "Yard 2"])])
        #expect(try push(b, [first]).map(\.status) == [.deferred])
        #expect(try push(b, [second]).map(\.status) == [.deferred])
        // The record appears; the second alone still waits for the first.
        try tenant.write([Edit.client(missing)]).requireAccepted()
        #expect(try push(b, [second]).map(\.status) == [.deferred])
        #expect(try push(b, [first, second]).map(\.status) == [.accepted, .accepted])
        #expect(try tenant.record("site", site)?.text("name") == "Yard 2")
    }

    @Test func withoutARestore_orForOthers_nothingWaits() throws {
        let site = server.newIdentifier()
        let fields: JSONObject = [
            "client": .string(server.newIdentifier().text), "name": "Yard", "address": ["line1": "1 Pier"],
        ]
        let plain = b.seal([Change("site", site, .create(fields: fields))])
        #expect(try b.outcome(try b.push([plain])).status == .rejected)
        // Of a replica that nobody knows nothing will come.
        var other = b.seal([Edit.patch("client", client, ["phone": "+15550100"])], clock: lostClock(b))
        other.after = [SeenSet(dot: Dot(replica: server.newIdentifier(), counter: 7), milliseconds: 1)]
        #expect(try push(b, [other]).map(\.status) == [.accepted])
    }

    @Test func deferredDot_withOtherContent_isAFork() throws {
        var set = b.seal([Edit.patch("client", server.newIdentifier(), ["phone": "+15550100"])], clock: lostClock(b))
        #expect(try push(b, [set]).map(\.status) == [.deferred])
        b.counter -= 1
        set = b.seal([Edit.patch("client", client, ["phone": "+15550199"])], clock: lostClock(b))
        #expect(refusal { try push(b, [set]) }?.knownCode == .fork)
    }
}
