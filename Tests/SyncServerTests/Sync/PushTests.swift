// Push on a real database: repeated, forked, gapped, poisoned, concurrent.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct PushTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let replica: ReplicaUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
        replica = try tenant.enroll()
        try replica.pull()
    }

    // MARK: Repeating

    @Test func push_answersTheSameBytesOnce_whenTheReplyWasLost() throws {
        let client = server.newIdentifier()
        let sets = [
            replica.seal([Edit.client(client)]), replica.seal([Edit.patch("client", client, ["name": ""])]),
            replica.seal([Edit.patch("client", client, ["tags": ["add": ["new"]]])]),
        ]
        let first = try replica.push(sets)
        let feed = try tenant.feedCount
        let head = try tenant.head
        let second = try replica.push(sets)
        #expect(first.outcomes.map(\.outcome) == second.outcomes.map(\.outcome))
        #expect(try first.outcomes.indices.map { try replica.outcome(first, $0).status } == [.accepted, .rejected, .accepted])
        #expect(try tenant.feedCount == feed)
        #expect(try tenant.head == head)
        // Part of a batch is known, the rest is new.
        let third = try replica.push([sets[2], replica.seal([Edit.patch("client", client, ["name": "Later"])])])
        #expect(third.outcomes[0].outcome == first.outcomes[2].outcome)
        #expect(try replica.outcome(third, 1).status == .accepted)
        #expect(try tenant.record("client", client)?.text("name") == "Later")
    }

    @Test func lookingForAnswers_readsAsMuchForALongHistory_asForAShortOne() throws {
        // Nobody has analysed these tables yet, as in the first minute of an import.
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let count: Int64 = 60_000
        _ = try server.connection.run(
            """
            INSERT INTO tideline.change_set (tenant, replica, counter, hash, status, outcome, received_at) \
            SELECT $1::uuid, $2::uuid, n, 'hash', 'accepted', '{}', 0 FROM generate_series(1, $3::bigint) n
            """, .identifier(tenant.id), .identifier(tenant.owner), .integer(count))
        for first in [count - 99, count + 1] {
            let blocks = try tenant.blocks(
                of: Outcomes.find(Array(first..<first + 100), replica: tenant.owner, tenant: tenant.id),
                after: [TenantSession.planForTablesAsTheyAre])
            #expect(blocks < 600, "\(blocks) blocks for 100 sets: a few each")
        }
        let head = try tenant.head.position.position
        _ = try server.connection.run(
            """
            INSERT INTO tideline.feed SELECT tenant, $2::bigint + n, epoch, at, actor_kind, actor, replica, counter, entity, record, operation, \
            kind, category, level, changes, restricted_changes, anchors, scope_keys, cause, depth, operation_at, fingerprint \
            FROM tideline.feed, generate_series(1, $3::bigint) n WHERE tenant = $1::uuid AND position = $2::bigint
            """, .identifier(tenant.id), .integer(head), .integer(count))
        let blocks = try tenant.blocks(
            of: OutboxEvent.read(at: Array(head + count - 19...head + count), tenant: tenant.id, includesRestricted: true))
        #expect(blocks < 200, "\(blocks) blocks for 20 events")
    }

    @Test func push_isRefusedAsFork_whenADotComesWithOtherContent() throws {
        let client = server.newIdentifier()
        try replica.edit([Edit.client(client)])
        replica.counter = 0
        let feed = try tenant.feedCount
        let error = refusal { try replica.push([replica.seal([Edit.client(client, "Other")])]) }
        #expect(error?.knownCode == .fork)
        #expect(error?.details["counter"] == 1)
        #expect(try tenant.feedCount == feed)
    }

    @Test func push_isRefused_whenACounterIsSkipped() throws {
        try replica.edit([Edit.client(server.newIdentifier())])
        replica.counter = 4
        let error = refusal { try replica.push([replica.seal([Edit.client(server.newIdentifier())])]) }
        #expect(error?.knownCode == .counterGap)
        #expect(error?.details["expected"] == 2)
        replica.counter = 1
        let first = replica.seal([Edit.client(server.newIdentifier())])
        replica.counter = 3
        let gap = refusal { try replica.push([first, replica.seal([Edit.client(server.newIdentifier())])]) }
        #expect(gap?.details["expected"] == 3)
        let twice = refusal { try replica.push([first, first]) }
        #expect(twice?.knownCode == .badRequest)
    }

    @Test func withdrawnSet_spendsItsCounter() throws {
        let sealed = replica.seal([Edit.client(server.newIdentifier())])
        let withdrawn = OfferedSet(counter: 1, hash: sealed.hash, sealed: nil)
        #expect(try replica.outcome(try replica.push([withdrawn])).status == .withdrawn)
        // The set itself, should it still arrive, meets the same verdict.
        #expect(try replica.outcome(try replica.push([sealed])).status == .withdrawn)
        #expect(try replica.edit([Edit.client(server.newIdentifier())]).status == .accepted)
    }

    @Test func undecodableSet_getsAStoredRejection() throws {
        var json = try required(
            try ChangeSet(sealed: required(replica.seal([Edit.client(server.newIdentifier())]).sealed)).json.objectValue)
        json["changes"] = [["op": "explode", "entity": "client", "id": .string(server.newIdentifier().text)]]
        let bytes = JSONValue.object(json).canonicalBytes()
        let offered = OfferedSet(counter: 1, hash: ChangeSet.hash(ofSealed: bytes), sealed: bytes)
        let reply = try replica.push([offered, replica.seal([Edit.client(server.newIdentifier())])])
        #expect(try replica.outcome(reply).violations.first?.code == "invalid_syntax")
        #expect(try replica.outcome(reply, 1).status == .accepted)
        #expect(try replica.push([offered]).outcomes[0].outcome == reply.outcomes[0].outcome)
    }

    @Test func push_answersNothing_whenItHasNoSets() throws {
        #expect(try replica.push([]).outcomes.isEmpty)
        #expect(server.announced.with { $0.count } == 1, "only the enrolment was news")
    }

    // MARK: The database refuses

    @Test func poisonedSet_isRejectedAlone_whenTheDatabaseRefusesTheBatch() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        try server.connection.script("ALTER TABLE public.client ADD CONSTRAINT poison CHECK (name <> 'Poison')")
        let ids = (0..<4).map { _ in server.newIdentifier() }
        let sets = [
            replica.seal([Edit.client(ids[0])]), replica.seal([Edit.client(ids[1]), Edit.client(ids[2], "Poison")]),
            replica.seal([Edit.patch("client", ids[0], ["name": "Second"])]), replica.seal([Edit.client(ids[3])]),
        ]
        let reply = try replica.push(sets)
        let outcomes = try reply.outcomes.indices.map { try replica.outcome(reply, $0) }
        #expect(outcomes.map(\.status) == [.accepted, .rejected, .accepted, .accepted])
        #expect(outcomes[1].violations.map(\.code) == ["internal"])
        #expect(outcomes[1].requestID == "request-1")
        #expect(try tenant.record("client", ids[1]) == nil, "a set is all or nothing")
        #expect(try tenant.record("client", ids[0])?.text("name") == "Second")
        #expect(try tenant.head.position.position == (try tenant.feedCount), "positions stay dense")
        #expect(try replica.push(sets).outcomes.map(\.outcome) == reply.outcomes.map(\.outcome))
        #expect(server.logged.with { log in log.contains { $0.message == "set_rejected_internal" && $0.requestID == "request-1" } })
        // What builds on it is told so.
        let dependent = try replica.edit([Edit.patch("client", ids[1], ["name": "x"])])
        #expect(dependent.violations.map(\.code) == ["depends_on_rejected"])
    }

    @Test func setsBehindAPoisonedOne_dependOnIt_inTheSamePush() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        try server.connection.script("ALTER TABLE public.client ADD CONSTRAINT poison CHECK (name <> 'Poison')")
        let (poison, client) = (server.newIdentifier(), server.newIdentifier())
        let site: JSONObject = ["client": .string(client.text), "name": "Yard", "address": ["line1": "Quay 1"]]
        let reply = try replica.push([
            replica.seal([Edit.client(poison, "Poison"), Edit.client(client)]),
            replica.seal([Edit.patch("client", client, ["name": "x"])]),
            replica.seal([Change("site", server.newIdentifier(), .create(fields: site))]),
        ])
        let outcomes = try reply.outcomes.indices.map { try replica.outcome(reply, $0) }
        #expect(outcomes.map { $0.violations.map(\.code) } == [["internal"], ["depends_on_rejected"], ["depends_on_rejected"]])
    }

    @Test func push_storesNothing_whenTheFaultIsTheDatabases() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let replica = try tenant.enroll()
        try server.connection.script("ALTER TABLE public.client RENAME TO client_moved")
        let set = replica.seal([Edit.client(server.newIdentifier())])
        let error = PostgresTesting.error { try replica.push([set]) }
        #expect(error?.sqlState == "42P01")
        try server.connection.script("ALTER TABLE public.client_moved RENAME TO client")
        #expect(try tenant.rows("tideline.change_set") == 0)
        #expect(try replica.outcome(try replica.push([set])).status == .accepted)
    }

    // MARK: Order

    @Test func positions_areNeverSkipped_whenTwoTransactionsAreHeldOpen() async throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let second = try tenant.enroll()
        second.connection = try server.secondConnection()
        let reader = try tenant.enroll()
        reader.connection = try server.secondConnection()
        try reader.pull()
        let before = try tenant.head.position.position

        // One writer has the head and has not committed.
        let holder = Box(try server.secondConnection())
        let (early, late) = (server.newIdentifier(), server.newIdentifier())
        let entered = DispatchSemaphore(value: 0)
        let release = DispatchSemaphore(value: 0)
        let write = Box(ServerWrite(context: server.context, tenant: tenant.id, connection: holder.value))
        let held = Task {
            try await onOwnThread {
                try holder.value.transactionForTest(tenant: write.value.tenant) {
                    _ = try write.value.writeInTransaction([Edit.client(early, "Early")], author: .system)
                    entered.signal()
                    release.wait()
                }
            }
        }
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            Thread.detachNewThread {
                entered.wait()
                done.resume()
            }
        }
        // The other waits for it.
        let body = Box((second, second.seal([Edit.client(late, "Late")])))
        let waiting = Task { try await onOwnThread { _ = try body.value.0.push([body.value.1]) } }
        let waiters = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        var isWaiting = false
        for _ in 0..<2_000 where !isWaiting {
            isWaiting = try tenant.count(waiters) == 1
            if !isWaiting { await Task.yield() }
        }
        #expect(isWaiting, "the second push waits for the head")
        // Whoever reads meanwhile sees neither, and no position beyond.
        let between = try reader.page()
        #expect(between.rowCount == 0)
        #expect(between.checkpoint?.mark.position.position == before)
        release.signal()
        try await held.value
        try await waiting.value
        let after = try reader.page()
        let positions = try after.rows("client").compactMap { $0["position"]?.integerValue }
        #expect(positions == [before + 1, before + 2])
        #expect(try after.rows("client").map { $0["name"] } == ["Early", "Late"])
    }

    // MARK: Rules

    @Test func laterSet_dependsOnRejected_inALaterRequest() throws {
        let (client, site) = (server.newIdentifier(), server.newIdentifier())
        #expect(try replica.edit([Edit.client(client, "")]).status == .rejected)
        let outcome = try replica.edit([
            Change("site", site, .create(fields: ["client": .string(client.text), "name": "Yard", "address": ["line1": "1 Quay"]]))
        ])
        #expect(outcome.violations.map(\.code) == ["depends_on_rejected"])
        let next = try replica.edit([Edit.patch("site", site, ["name": "x"])])
        #expect(next.violations.map(\.code) == ["depends_on_rejected"])
    }

    @Test func concurrentEdits_meetTheirPolicies_betweenReplicas() throws {
        let client = server.newIdentifier()
        try replica.edit([Edit.client(client)])
        let other = try tenant.enroll()
        try replica.pull()
        try other.pull()
        // Both change the same two fields without having seen each other; the stale one is stamped earlier.
        let stale = server.context.now()
        #expect(try replica.edit([Edit.patch("client", client, ["name": "From one", "notes": "one"])]).status == .accepted)
        other.milliseconds = stale
        let name = try other.edit([Edit.patch("client", client, ["name": "From two"])])
        #expect(name.status == .accepted)
        #expect(name.superseded.map(\.field) == ["name"])
        #expect(name.superseded.first?.kept == "From one")
        let notes = try other.edit([Edit.patch("client", client, ["notes": "two"])])
        #expect(notes.violations.map(\.code) == ["conflict"])
        #expect(try tenant.record("client", client)?.text("name") == "From one")
    }

    // MARK: Clocks

    @Test func stampsFromTheFuture_areClampedInOrder() throws {
        let client = server.newIdentifier()
        replica.milliseconds = server.context.now() + 86_400_000
        let reply = try replica.push([
            replica.seal([Edit.client(client)]), replica.seal([Edit.patch("client", client, ["name": "Second"])]),
            replica.seal([Edit.patch("client", client, ["name": "Third"])]),
        ])
        for index in 0..<3 { #expect(try replica.outcome(reply, index).warnings.map(\.code) == ["clock_skew"]) }
        let now = server.clock.with { $0 }
        let versions = try required(try tenant.record("client", client)).versions
        let (created, renamed) = (try required(versions.created).timestamp, try required(versions.fields["name"]).timestamp)
        #expect(renamed > created)
        #expect(renamed.milliseconds <= now)
        // The next set of the same replica, its clock mended, still sorts after them.
        replica.milliseconds = nil
        let fourth = try replica.edit([Edit.patch("client", client, ["name": "Fourth"])])
        #expect(fourth.warnings.isEmpty)
        #expect(try required(try tenant.record("client", client)).versions.fields["name"].map { $0.timestamp > renamed } == true)
        #expect(try tenant.record("client", client)?.text("name") == "Fourth")
    }

    @Test func clock_isRejected_whenItKnowsItsOwnFuture() throws {
        let client = server.newIdentifier()
        let set = replica.seal([Edit.client(client)], clock: VectorClock(replicas: [replica.id: 1]))
        let outcome = try replica.outcome(try replica.push([set]))
        #expect(outcome.violations.map(\.field) == ["clock"])
    }

    @Test func clock_vouchesForNothing_whenItClaimsMoreThanTheFeedHas() throws {
        let client = server.newIdentifier()
        try replica.edit([Edit.client(client)])
        let other = try tenant.enroll()
        try other.pull()
        try replica.edit([Edit.patch("client", client, ["notes": "one"])])
        let beyond = VectorClock(feed: FeedPosition(epoch: 0, position: 1_000_000), replicas: [replica.id: .max])
        let outcome = try other.outcome(try other.push([other.seal([Edit.patch("client", client, ["notes": "two"])], clock: beyond)]))
        #expect(outcome.violations.isEmpty, "the other replica's lane is known up to what it pushed")
        try replica.pull()
        #expect(try replica.edit([Edit.patch("client", client, ["notes": "three"])]).status == .accepted)
        let feedOnly = VectorClock(feed: FeedPosition(epoch: 0, position: 1_000_000))
        let second = try other.outcome(try other.push([other.seal([Edit.patch("client", client, ["notes": "four"])], clock: feedOnly)]))
        #expect(second.violations.map(\.code) == ["conflict"], "\(second.json)")
    }

    // MARK: Who may

    @Test func push_isRefused_forWhoMayNotWrite() throws {
        let viewer = try tenant.enroll(member: try tenant.addMember(role: .viewer))
        #expect(refusal { try viewer.edit([Edit.client(server.newIdentifier())]) }?.knownCode == .forbidden)
        _ = try viewer.page()
        let readonly = try tenant.enroll(member: try tenant.addMember(role: .manager), replication: "readonly")
        #expect(refusal { try readonly.edit([Edit.client(server.newIdentifier())]) }?.knownCode == .forbidden)

        let member = try tenant.addMember(role: .manager)
        let disabled = try tenant.enroll(member: member)
        try tenant.write([Change("member", member, .transition(name: "disable", observed: "active", arguments: JSONObject()))])
            .requireAccepted()
        #expect(refusal { try disabled.edit([Edit.client(server.newIdentifier())]) }?.knownCode == .forbidden)
        #expect(refusal { try disabled.page() }?.knownCode == .forbidden)
        #expect(try tenant.rows("tideline.change_set") == 0)
    }

    @Test func replica_isRefused_whenItsRecordWasRevoked() throws {
        let other = try tenant.enroll()
        try tenant.write([Change("replica", other.id, .transition(name: "revoke", observed: "active", arguments: JSONObject()))])
            .requireAccepted()
        #expect(refusal { try other.page() }?.knownCode == .replicaRevoked)
        #expect(refusal { try other.edit([Edit.client(server.newIdentifier())]) }?.knownCode == .replicaRevoked)
    }

    @Test func token_isUnauthorized_whenUnknownOrOfAnotherTenant() throws {
        let stranger = AccessToken(tenant: tenant.id, secret: [UInt8](repeating: 7, count: 32))
        let push = Push(context: server.context, connection: server.connection, requestID: "r")
        #expect(refusal { try push.run(replica.body([]), token: stranger) }?.knownCode == .unauthorized)
        let elsewhere = try server.makeTenant()
        let secret = try required(Base64URL.decode(String(replica.token.text.suffix(43))))
        #expect(
            refusal { try push.run(replica.body([]), token: AccessToken(tenant: elsewhere.id, secret: secret)) }?.knownCode == .unauthorized
        )
    }

    @Test func push_isRefused_forSetsOfAnotherReplica() throws {
        let other = try tenant.enroll()
        let foreign = other.seal([Edit.client(server.newIdentifier())])
        let push = Push(context: server.context, connection: server.connection, requestID: "r")
        #expect(refusal { try push.run(other.body([foreign]), token: replica.token) }?.knownCode == .forbidden)
    }

    @Test func push_isRefusedWhole_whenTheReplicasSchemaIsNewer() throws {
        let push = Push(context: server.context, connection: server.connection, requestID: "r")
        let body = replica.body([replica.seal([Edit.client(server.newIdentifier())])], schemaVersion: 99)
        #expect(refusal { try push.run(body, token: replica.token) }?.knownCode == .schemaTooOld)
        #expect(refusal { try push.run(Array("{".utf8), token: replica.token) }?.knownCode == .badRequest)
        #expect(
            refusal { try push.run([UInt8](repeating: 0x20, count: Limits.bytesPerPush + 1), token: replica.token) }?.knownCode
                == .payloadTooLarge)
    }
}

/// @unchecked Sendable: a value that one thread hands to another and does not touch meanwhile.
struct Box<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

extension PostgresConnection {
    func transactionForTest(tenant: Identifier, _ body: () throws -> Void) throws {
        try transaction(.readWrite, tenant: tenant) { _ in try body() }
    }
}
