// Files that enrol again: who gets which id, and what claims are worth.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct EnrolAgainTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    private func enroll(
        _ member: Identifier? = nil, in tenant: TenantUnderTest? = nil, continues: FormerReplica? = nil
    ) throws -> EnrollmentReply {
        let code = try (tenant ?? self.tenant).code(for: member)
        return try Enroll(context: server.context, connection: server.connection).run(
            EnrollmentRequest(code: code.text, label: "laptop", platform: "linux", schemaVersion: 1, continues: continues))
    }

    /// A statement as a server makes it that has lost the replica since.
    private func statement(of replica: Identifier, member: Identifier? = nil, base: Int64 = 0) -> FormerReplica {
        let identity = SealedIdentity(tenant: tenant.id, member: member ?? tenant.owner, replica: replica, base: base)
        return FormerReplica(identity: server.context.cursorSeal.seal(identity), counter: 12)
    }

    @Test func lostID_isGivenBack_whereItOnceBegan() throws {
        let id = server.newIdentifier()
        let reply = try enroll(continues: statement(of: id, base: 7))
        #expect(reply.replica == id)
        #expect(try tenant.record("replica", id)?.identifier("member") == tenant.owner)
        let replica = try ReplicaUnderTest(server: server, reply: reply)
        #expect(try replica.pull().last?.checkpoint?.acknowledged == 7)
        // It may begin where its journal does.
        replica.counter = 9
        #expect(try replica.edit([Edit.client(server.newIdentifier())]).status == .accepted)
    }

    @Test func knownID_isNeverGivenOutAgain() throws {
        let first = try enroll()
        let former = FormerReplica(identity: try required(first.identity), counter: 12)
        let second = try enroll(continues: former)
        #expect(second.replica != first.replica)
        #expect(try ReplicaUnderTest(server: server, reply: second).pull().last?.checkpoint?.acknowledged == 12)
        // Its owner notices nothing.
        let live = try ReplicaUnderTest(server: server, reply: first)
        #expect(try live.edit([Edit.client(server.newIdentifier())]).status == .accepted)
        // Of a deleted record and of a revoked one as little.
        try tenant.write([Change("replica", first.replica, .transition(name: "revoke", observed: "active", arguments: JSONObject()))])
            .requireAccepted()
        #expect(try enroll(continues: former).replica != first.replica)
        #expect(refusal { try live.pull() }?.knownCode == .replicaRevoked)
    }

    @Test func claim_isRefused_whenForgedOrOfAnotherTenantOrMember() throws {
        let (mine, other) = (try enroll(), try server.makeTenant())
        let member = try tenant.addMember(role: .manager)
        let text = try required(mine.identity)
        var bytes = Array(text.utf8)
        bytes[bytes.count / 2] = bytes[bytes.count / 2] == 0x41 ? 0x42 : 0x41
        // A cursor is sealed with the same key, and says something else.
        let replica = try ReplicaUnderTest(server: server, reply: mine)
        try replica.pull()
        for forged in ["x", String(decoding: bytes, as: UTF8.self), String(text.dropLast()), try required(replica.cursor)] {
            let error = refusal { try enroll(continues: FormerReplica(identity: forged, counter: 1)) }
            #expect(error?.knownCode == .badRequest && error?.details["field"] == "identity", "\(forged)")
        }
        let former = FormerReplica(identity: text, counter: 1)
        let foreign = refusal { try enroll(in: other, continues: former) }
        #expect(foreign?.knownCode == .forbidden && foreign?.details["field"] == "tenant")
        let theirs = refusal { try enroll(member, continues: former) }
        #expect(theirs?.knownCode == .forbidden && theirs?.details["field"] == "member")
        // Refused claims made nothing.
        #expect(try tenant.rows("tideline.replica") == 1)
        #expect(try other.rows("tideline.replica") == 0)
        // And a statement is no cursor.
        replica.cursor = text
        #expect(refusal { try replica.page() }?.knownCode == .invalidCursor)
    }

    @Test func refusedClaim_leavesTheCodeGood() throws {
        let code = try tenant.code()
        let run = { (continues: FormerReplica?) in
            try Enroll(context: server.context, connection: server.connection).run(
                EnrollmentRequest(code: code.text, label: "laptop", platform: "linux", schemaVersion: 1, continues: continues))
        }
        #expect(refusal { try run(FormerReplica(identity: "forged", counter: 1)) } != nil)
        #expect(try run(nil).member == tenant.owner)
    }

    /// Both have a statement and a code. One of them is the replica, the other gets an id of its own.
    @Test func twoClaimsOfOneLostID_makeTwoReplicas() throws {
        let former = statement(of: server.newIdentifier())
        let replies = [try enroll(continues: former), try enroll(continues: former)]
        #expect(replies[0].replica != replies[1].replica)
        #expect(Set(replies.map(\.token)).count == 2)
    }

    @Test func requests_areRead_andNonsenseIsNamed() throws {
        let sound = EnrollmentRequest(
            code: "c", label: "l", platform: "p", schemaVersion: 1, attempt: String(repeating: "0f", count: 32),
            continues: FormerReplica(identity: "i", counter: 3))
        #expect(try EnrollmentRequest(json: sound.json) == sound)
        let broken: [(String, JSONValue)] = [
            ("attempt", "short"), ("attempt", 1), ("continues", "i"), ("continues", ["identity": "i"]),
            ("continues", ["identity": "", "counter": 1]), ("continues", ["identity": "i", "counter": -1]),
            ("continues", ["identity": "i", "counter": .integer(.max)]),
        ]
        for (name, value) in broken {
            var json = try required(sound.json.objectValue)
            json[name] = value
            #expect(throws: WireError.self, "\(name): \(value)") { try EnrollmentRequest(json: .object(json)) }
        }
    }
}
