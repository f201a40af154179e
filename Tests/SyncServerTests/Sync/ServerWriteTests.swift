// What the server writes itself meets what replicas write, by the same policies.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ServerWriteTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest
    private let replica: ReplicaUnderTest
    private let client: Identifier
    private var author: Author { Author(kind: .member, member: tenant.owner, role: .owner) }

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
        replica = try tenant.enroll()
        client = server.newIdentifier()
        try replica.edit([Edit.client(client)])
        try replica.pull()
    }

    @Test func staleReplicaEdit_meetsAServerWrite_byPolicy() throws {
        let stale = server.context.now()
        try tenant.write([Edit.patch("client", client, ["name": "By REST", "notes": "By REST"])], author: author).requireAccepted()
        replica.milliseconds = stale
        let name = try replica.edit([Edit.patch("client", client, ["name": "By replica"])])
        #expect(name.superseded.map(\.kept) == ["By REST"])
        #expect(name.superseded.first?.by == tenant.owner)
        let notes = try replica.edit([Edit.patch("client", client, ["notes": "By replica"])])
        #expect(notes.violations.first?.code == "conflict")
        #expect(notes.violations.first?.parameters["server"] == "By REST")
        #expect(try replica.edit([Change("client", client, .delete)]).violations.first?.code == "delete_conflict")
        // After a pull all of it is known.
        try replica.pull()
        replica.milliseconds = nil
        #expect(try replica.edit([Edit.patch("client", client, ["notes": "By replica"])]).status == .accepted)
    }

    @Test func serverWrite_isJudgedByWhatItsAuthorHadSeen() throws {
        let seen = try tenant.head.position
        try replica.edit([Edit.patch("client", client, ["notes": "By replica"])])
        let outcome = try tenant.write([Edit.patch("client", client, ["notes": "By REST"])], author: author, knowledge: seen)
        #expect(outcome.violations.map(\.code) == ["conflict"])
        #expect(try tenant.write([Edit.patch("client", client, ["notes": "By REST"])], author: author).status == .accepted)
        let tag = try required(try tenant.record("client", client)?.versions.fields["notes"])
        #expect(tag.dot == nil && tag.actor == tenant.owner)
    }

    @Test func serverWrite_isStampedAfterEverythingStored() throws {
        replica.milliseconds = server.context.now() + 200_000
        try replica.edit([Edit.patch("client", client, ["name": "A little ahead"])])
        let before = try tenant.head.timestamp
        try tenant.write([Edit.patch("client", client, ["name": "By REST"])], author: author).requireAccepted()
        let tag = try required(try tenant.record("client", client)?.versions.fields["name"])
        #expect(tag.timestamp > before)
        #expect(try tenant.head.timestamp == tag.timestamp)
    }

    @Test func everyWrite_isAnnounced_afterItsCommit() throws {
        server.announced.with { $0 = [] }
        try tenant.write([Edit.patch("client", client, ["name": "x"])]).requireAccepted()
        try replica.edit([Edit.patch("client", client, ["phone": "+15550100"])])
        #expect(server.announced.with { $0 } == [tenant.id, tenant.id])
    }

    @Test func feed_keepsWhoDidWhatToWhat() throws {
        try replica.edit([Edit.patch("client", client, ["name": "Renamed", "tax_number": "PT9"])])
        let row = try server.connection.run(
            """
            SELECT operation, kind, category, level, actor_kind, actor, replica, counter, changes->'name'->>'new', \
            restricted_changes->'tax_number'->>'new', changes ? 'tax_number', anchors, scope_keys, length(fingerprint) \
            FROM tideline.feed WHERE tenant = $1::uuid ORDER BY position DESC LIMIT 1
            """, .identifier(tenant.id))
        #expect((0..<5).map { row.text(0, $0) } == ["update", "client.updated", "relationship", "minor", "member"])
        #expect(row.identifier(0, 5) == tenant.owner && row.identifier(0, 6) == replica.id && row.integer(0, 7) == 2)
        #expect(row.text(0, 8) == "Renamed" && row.text(0, 9) == "PT9" && row.bool(0, 10) == false)
        #expect(row.textArray(0, 11) == ["client:\(client.text)"] && row.textArray(0, 12) == ["client:\(client.text)"])
        #expect(row.integer(0, 13) == 16)
        let distinct = try tenant.count(
            "SELECT count(*) - count(DISTINCT fingerprint) FROM tideline.feed WHERE tenant = $1::uuid", .identifier(tenant.id))
        #expect(distinct == 0)
    }
}
