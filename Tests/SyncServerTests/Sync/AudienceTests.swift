// A role that reads other fields than before: cursors end, and clocks of before vouch for nothing that was not sent (protocol §3.2, §7.3).

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct AudienceTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let client: Identifier

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
        client = server.newIdentifier()
        try tenant.write([Edit.client(client)]).requireAccepted()
        try tenant.write([Edit.patch("client", client, ["tax_number": "DE1"])]).requireAccepted()
    }

    private func setRole(_ role: Role, of member: Identifier) throws {
        try tenant.write([Edit.patch("member", member, ["role": .string(role.rawValue)])]).requireAccepted()
    }

    @Test func promotedReplica_isToldToStartAgain_andThenHasEverything() throws {
        let farah = try tenant.addMember(role: .field)
        let replica = try tenant.enroll(member: farah)
        #expect(try replica.pull().compactMap { try $0.row("client", client) }.first?["tax_number"] == .null)
        try setRole(.manager, of: farah)
        #expect(refusal { try replica.page() }?.knownCode == .resyncRequired)
        replica.cursor = nil
        #expect(try replica.pull().compactMap { try $0.row("client", client) }.first?["tax_number"] == "DE1")
        #expect(try replica.page().rowCount == 0, "its new cursor is good")
    }

    @Test func demotedReplica_isToldToStartAgain_andGetsTheFieldsNoMore() throws {
        let marcus = try tenant.addMember(role: .manager)
        let replica = try tenant.enroll(member: marcus)
        #expect(try replica.pull().compactMap { try $0.row("client", client) }.first?["tax_number"] == "DE1")
        try setRole(.field, of: marcus)
        #expect(refusal { try replica.page() }?.knownCode == .resyncRequired)
        replica.cursor = nil
        #expect(try replica.pull().compactMap { try $0.row("client", client) }.first?["tax_number"] == .null)
    }

    @Test func roleThatChangesBetweenPages_endsTheFirstSyncToo() throws {
        for _ in 0..<5 { try tenant.write([Edit.client(server.newIdentifier())]).requireAccepted() }
        let farah = try tenant.addMember(role: .field)
        let replica = try tenant.enroll(member: farah)
        #expect(try replica.page(limit: 2).hasMore)
        try setRole(.manager, of: farah)
        #expect(refusal { try replica.page(limit: 2) }?.knownCode == .resyncRequired)
    }

    @Test func guardedValue_neverSeen_isNotOverwritten_afterAPromotion() throws {
        let farah = try tenant.addMember(role: .field)
        let replica = try tenant.enroll(member: farah)
        try replica.pull()
        try setRole(.manager, of: farah)
        // Pushed first, as every sync does: its clock is from when the field was not sent.
        let blind = try replica.edit([Edit.patch("client", client, ["tax_number": "DE2"])])
        #expect(blind.violations.map { "\($0.field ?? "") \($0.code)" } == ["tax_number conflict"])
        #expect(try tenant.record("client", client)?["tax_number"] == "DE1")
        #expect(try replica.edit([Edit.patch("client", client, ["notes": "seen"])]).status == .accepted, "what was sent is known")
        replica.cursor = nil
        try replica.pull()
        #expect(try replica.edit([Edit.patch("client", client, ["tax_number": "DE3"])]).status == .accepted)
    }

    @Test func promotionBetweenTwoContacts_leavesNoGap_whereTheReplicaWasServedMeanwhile() throws {
        let marcus = try tenant.addMember(role: .manager)
        let replica = try tenant.enroll(member: marcus)
        try replica.pull()
        try setRole(.field, of: marcus)
        replica.cursor = nil
        try replica.pull()
        try tenant.write([Edit.patch("client", client, ["tax_number": "DE2"])]).requireAccepted()
        replica.cursor = nil
        try replica.pull()
        try setRole(.manager, of: marcus)
        let blind = try replica.edit([Edit.patch("client", client, ["tax_number": "DE9"])])
        #expect(blind.violations.map(\.code) == ["conflict"])
    }

    @Test func fork_keepsWhatItsFileWasSent() throws {
        let farah = try tenant.addMember(role: .field)
        let replica = try tenant.enroll(member: farah)
        try replica.pull()
        try replica.edit([Edit.patch("client", client, ["notes": "mine"])])
        try setRole(.manager, of: farah)
        let reply = try Fork(context: server.context, connection: server.connection).run(
            ForkRequest(counter: 1, label: "copy", platform: "linux", schemaVersion: 1), token: replica.token)
        let copy = try ReplicaUnderTest(server: server, reply: reply)
        (copy.counter, copy.checkpoint, copy.cursor) = (1, replica.checkpoint, replica.cursor)
        let blind = try copy.edit([Edit.patch("client", client, ["tax_number": "DE2"])])
        #expect(blind.violations.map(\.code) == ["conflict"])
    }

    @Test func cursorOfTheFirstFormat_isStartedAgain() throws {
        let replica = try tenant.enroll()
        try replica.pull()
        let mark = try #require(replica.checkpoint)
        let old = JSONValue.array([
            1, .string(tenant.id.text), .integer(mark.position.epoch), .integer(mark.position.position), .string(mark.fingerprint), 0, [],
        ])
        replica.cursor = server.context.cursorSeal.seal(old.canonicalBytes())
        #expect(refusal { try replica.page() }?.knownCode == .resyncRequired)
    }
}
