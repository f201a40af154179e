// A copied file gets an id of its own, which goes on behind what both copies share.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ForkTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    private func fork(_ replica: ReplicaUnderTest, at counter: Int64, first: String? = nil) throws -> EnrollmentReply {
        try Fork(context: server.context, connection: server.connection).run(
            ForkRequest(counter: counter, label: "copy", platform: "linux", schemaVersion: 1, first: first),
            token: replica.token)
    }

    @Test func copy_goesOnBehindTheSharedCounter_underItsOwnID() throws {
        let original = try tenant.enroll()
        for name in ["Shared", "Only the original"] {
            _ = try original.edit([Change("client", server.newIdentifier(), .create(fields: ["name": .string(name)]))])
        }
        let reply = try fork(original, at: 1)
        #expect(reply.replica != original.id)
        #expect(reply.member == tenant.owner)
        #expect(try tenant.record("replica", reply.replica)?.text("label") == "copy")
        let copy = try ReplicaUnderTest(server: server, reply: reply)
        #expect(try copy.page().checkpoint?.acknowledged == 1)
        // The next counter is the one behind what is shared; anything else is refused.
        copy.counter = 1
        let outcome = try copy.edit([Change("client", server.newIdentifier(), .create(fields: ["name": "Only the copy"]))])
        #expect(outcome.status == .accepted)
        #expect(try copy.page().checkpoint?.acknowledged == 2)
        // The original goes on as if nothing had happened.
        #expect(try original.edit([Change("client", server.newIdentifier(), .create(fields: ["name": "More"]))]).status == .accepted)
    }

    @Test func copiesThatPartWithTheSameSet_getOneID_unlessItIsShutOut() throws {
        let original = try tenant.enroll()
        let (first, other) = (String(repeating: "a", count: 64), String(repeating: "b", count: 64))
        let one = try fork(original, at: 0, first: first)
        let two = try fork(original, at: 0, first: first)
        #expect(one.replica == two.replica)
        // Each file has a token, and both are good.
        #expect(one.token != two.token)
        for reply in [one, two] { #expect(try ReplicaUnderTest(server: server, reply: reply).page().checkpoint?.acknowledged == 0) }
        #expect(try fork(original, at: 0, first: other).replica != one.replica)
        // Of another member it is another one.
        let stranger = try tenant.enroll(member: try tenant.addMember(role: .owner))
        #expect(try fork(stranger, at: 0, first: first).replica != one.replica)
        _ = try server.connection.run(
            "UPDATE tideline.replica SET revoked_at = 1 WHERE tenant = $1::uuid AND id = $2::uuid", .identifier(tenant.id),
            .identifier(one.replica))
        #expect(try fork(original, at: 0, first: first).replica != one.replica)
    }

    @Test func fork_isRefused_beyondWhatWasProcessed_andForRevokedReplicas() throws {
        let original = try tenant.enroll()
        #expect(refusal { try fork(original, at: 1) }?.knownCode == .badRequest)
        #expect(refusal { try fork(original, at: 1) }?.message.contains("counter") == true)
        _ = try server.connection.run(
            "UPDATE tideline.replica SET revoked_at = 1 WHERE tenant = $1::uuid AND id = $2::uuid", .identifier(tenant.id),
            .identifier(original.id))
        #expect(refusal { try fork(original, at: 0) }?.knownCode == .replicaRevoked)
        #expect(try tenant.rows("tideline.replica") == 1)
    }
}
