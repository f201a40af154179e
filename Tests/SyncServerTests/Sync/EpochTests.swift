// A server that was restored from a backup: noticed by the first replica that knows more, never by losing its work.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct EpochTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    /// Puts the database back to an earlier position, as a restore does.
    private func restore(to position: Int64, counters: [Identifier: Int64]) throws {
        let connection = server.connection
        for entity in server.context.tables.all {
            try connection.run(
                "DELETE FROM \(entity.name) WHERE tenant = $1::uuid AND position > $2", .identifier(tenant.id), .integer(position))
        }
        try connection.run(
            "DELETE FROM tideline.feed WHERE tenant = $1::uuid AND position > $2", .identifier(tenant.id), .integer(position))
        try connection.run(
            "UPDATE tideline.tenant_head SET position = $2 WHERE tenant = $1::uuid", .identifier(tenant.id), .integer(position))
        try connection.run(
            "UPDATE tideline.entity_head SET position = least(position, $2) WHERE tenant = $1::uuid", .identifier(tenant.id),
            .integer(position))
        for (replica, counter) in counters {
            try connection.run(
                "DELETE FROM tideline.change_set WHERE replica = $1::uuid AND counter > $2", .identifier(replica), .integer(counter))
            try connection.run("UPDATE tideline.replica SET acknowledged = $2 WHERE id = $1::uuid", .identifier(replica), .integer(counter))
        }
    }

    private static let firstOfEpochOne = FeedPosition.epochStride

    @Test func newEpoch_begins_whenACursorIsBeyondHead() throws {
        let (ahead, behind) = (try tenant.enroll(), try tenant.enroll())
        try ahead.edit([Edit.client(server.newIdentifier())])
        try behind.pull()
        let backup = try tenant.head.position.position
        try ahead.edit([Edit.client(server.newIdentifier())])
        try ahead.pull()
        try restore(to: backup, counters: [ahead.id: 1])
        let error = refusal { try ahead.page() }
        #expect(error?.knownCode == .newEpoch)
        #expect(error?.details["epoch"] == 1)
        let head = try tenant.head.position
        #expect(head.epoch == 1)
        #expect(head.position >= Self.firstOfEpochOne)
        // Asked again, by it or by others, no further epoch begins.
        #expect(refusal { try ahead.page() }?.details["epoch"] == 1)
        #expect(refusal { try behind.page() }?.details["epoch"] == 1)
        #expect(refusal { try behind.edit([Edit.client(server.newIdentifier())]) }?.knownCode == .newEpoch)
        #expect(try tenant.head.position.position == head.position)
        // A pull from nothing works and leads into the new epoch.
        ahead.cursor = nil
        let page = try required(try ahead.pull().last)
        #expect(page.checkpoint?.mark.position.epoch == 1)
        #expect(try ahead.page().rowCount == 0)
        let made = try tenant.count("SELECT min(position) FROM tideline.feed WHERE tenant = $1::uuid AND epoch = 1", .identifier(tenant.id))
        #expect(made == Self.firstOfEpochOne)
    }

    @Test func newEpoch_begins_whenAPositionWasUsedAgain() throws {
        let replica = try tenant.enroll()
        let other = try tenant.enroll()
        try replica.pull()
        let backup = try tenant.head.position.position
        try other.edit([Edit.client(server.newIdentifier(), "Lost")])
        try replica.pull()
        try restore(to: backup, counters: [other.id: 0])
        // The same position, another entry there: only the fingerprint tells.
        try tenant.write([Edit.client(server.newIdentifier(), "Rewritten")]).requireAccepted()
        #expect(try tenant.head.position == (try required(replica.checkpoint)).position)
        let push = refusal { try replica.edit([Edit.client(server.newIdentifier())]) }
        #expect(push?.knownCode == .newEpoch, "a push notices before anything is merged")
        #expect(try tenant.count("SELECT count(*) FROM tideline.change_set WHERE replica = $1::uuid", .identifier(replica.id)) == 0)
        #expect(try tenant.head.position.epoch == 1)
    }

    @Test func clocksOfLostHistory_vouchOnlyForWhatIsStillThere() throws {
        let (replica, other) = (try tenant.enroll(), try tenant.enroll())
        let client = server.newIdentifier()
        try other.edit([Edit.client(client)])
        try replica.pull()
        let mark = try required(replica.checkpoint)
        let backup = try tenant.head.position.position
        try other.edit([Edit.client(server.newIdentifier(), "Lost")])
        try replica.pull()
        let lostMark = try required(replica.checkpoint)
        // Sealed with knowledge of the lost history.
        let pending = [replica.seal([Edit.patch("client", client, ["notes": "mine"])])]
        let conflicting = replica.seal([Edit.patch("client", client, ["tax_number": "mine"])])
        try restore(to: backup, counters: [other.id: 1])
        #expect(refusal { try replica.page() }?.knownCode == .newEpoch)
        replica.cursor = nil
        try replica.pull()
        // What the new epoch writes is not known to clocks of the old one, however high their positions were.
        try tenant.write([Edit.patch("client", client, ["tax_number": "theirs"])]).requireAccepted()
        let reply = try replica.push(pending + [conflicting], recognised: [lostMark, mark])
        #expect(try replica.outcome(reply).status == .accepted, "the field as of the recognised checkpoint")
        #expect(try replica.outcome(reply, 1).violations.map(\.code) == ["conflict"])
    }

    @Test func clocksOfLostHistory_vouchForNothing_whenNoCheckpointIsRecognised() throws {
        let (replica, other) = (try tenant.enroll(), try tenant.enroll())
        let client = server.newIdentifier()
        try other.edit([Edit.client(client)])
        try other.edit([Edit.patch("client", client, ["notes": "theirs"])])
        try replica.pull()
        let set = replica.seal([Edit.patch("client", client, ["notes": "mine"])])
        try Epoch(context: server.context, tenant: tenant.id, connection: server.connection).begin(after: 0)
        replica.cursor = nil
        let forged = CheckpointMark(position: FeedPosition(epoch: 0, position: 6), fingerprint: "0000000000000000")
        #expect(try replica.outcome(try replica.push([set], recognised: [forged])).violations.map(\.code) == ["conflict"])
    }

    @Test func counters_mayJumpOnce_inTheFirstPushOfANewEpoch() throws {
        let replica = try tenant.enroll()
        for _ in 0..<4 { try replica.edit([Edit.client(server.newIdentifier())]) }
        let backup = try tenant.head.position.position - 3
        try restore(to: backup, counters: [replica.id: 1])
        let set = replica.seal([Edit.client(server.newIdentifier())])
        #expect(refusal { try replica.push([set]) }?.knownCode == .counterGap, "not before the epoch is known")
        try Epoch(context: server.context, tenant: tenant.id, connection: server.connection).begin(after: 0)
        #expect(try replica.outcome(try replica.push([set])).status == .accepted)
        replica.counter = 8
        #expect(refusal { try replica.push([replica.seal([Edit.client(server.newIdentifier())])]) }?.details["expected"] == 6)
        // Counters of the hole cannot come back: whoever offers them is a copy.
        replica.counter = 2
        #expect(refusal { try replica.push([replica.seal([Edit.client(server.newIdentifier())])]) }?.knownCode == .fork)
    }

    @Test func epochs_neverRepeat_whenAServerIsRestoredTwice() throws {
        let replica = try tenant.enroll()
        let backup = try tenant.head.position.position
        try Epoch(context: server.context, tenant: tenant.id, connection: server.connection).begin(after: 0)
        try replica.pull()
        // Back again to before the first restore was noticed.
        try restore(to: backup, counters: [:])
        try server.connection.run("UPDATE tideline.tenant_head SET epoch = 0 WHERE tenant = $1::uuid", .identifier(tenant.id))
        #expect(refusal { try replica.page() }?.details["epoch"] == 2)
        #expect(try tenant.head.position.position == 2 * FeedPosition.epochStride)
    }
}
