// Enrolment: a code works once, in time, for a member who may.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct EnrollTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    private func enroll(_ code: String, label: String = "laptop", platform: String = "linux") throws -> EnrollmentReply {
        try Enroll(context: server.context, connection: server.connection).run(
            EnrollmentRequest(code: code, label: label, platform: platform, schemaVersion: 1))
    }

    @Test func code_makesOneReplica_andNoMore() throws {
        let code = try tenant.code()
        let reply = try enroll(code.text.lowercased().replacing("-", with: " "))
        #expect(reply.tenant == tenant.id && reply.member == tenant.owner && reply.role == .owner && reply.replication == "full")
        let record = try required(try tenant.record("replica", reply.replica))
        #expect(record.text("label") == "laptop" && record.text("status") == "active" && record.identifier("member") == tenant.owner)
        #expect(refusal { try enroll(code.text) }?.knownCode == .codeUsed)
        #expect(try tenant.rows("tideline.replica") == 1)
        let replica = try ReplicaUnderTest(server: server, reply: reply)
        #expect(try replica.page().row("replica", reply.replica)?["platform"] == "linux")
    }

    @Test func code_isRefused_whenExpiredOrUnknown() throws {
        let code = try tenant.code()
        server.clock.with { $0 += EnrollmentCode.lifetimeMilliseconds }
        #expect(refusal { try enroll(code.text) }?.knownCode == .codeExpired)
        for text in ["", "0000-0000-0000-0000", "nonsense", String(repeating: "A", count: 17), "UUUU-UUUU-UUUU-UUUU"] {
            #expect(refusal { try enroll(text) }?.knownCode == .codeInvalid, "\(text)")
        }
        #expect(try tenant.rows("tideline.token") == 0)
    }

    @Test func enrolment_acceptsTheInvitation() throws {
        let member = server.newIdentifier()
        try tenant.write([Change("member", member, .create(fields: ["name": "Nia", "email": "nia@example.com", "role": "field"]))])
            .requireAccepted()
        #expect(try tenant.record("member", member)?.text("status") == "invited")
        let reply = try enroll(try tenant.code(for: member, replication: "field").text)
        #expect(reply.role == .field && reply.replication == "field")
        #expect(try tenant.record("member", member)?.text("status") == "active")
        let kinds = try server.connection.run(
            "SELECT kind FROM tideline.feed WHERE record = $1::uuid ORDER BY position", .identifier(member))
        #expect(kinds.rows.compactMap { kinds.text($0, 0) } == ["member.created", "member.joined"])
    }

    @Test func enrolment_changesNothing_whenItIsRefused() throws {
        let member = try tenant.addMember(role: .manager)
        let code = try tenant.code(for: member)
        try tenant.write([Change("member", member, .transition(name: "disable", observed: "active", arguments: JSONObject()))])
            .requireAccepted()
        #expect(refusal { try enroll(code.text) }?.knownCode == .forbidden)
        let other = try tenant.code()
        let error = refusal { try enroll(other.text, platform: String(repeating: "p", count: 41)) }
        #expect(error?.knownCode == .validationFailed)
        #expect(error?.violations.map(\.field) == ["platform"])
        // The code was not spent by the attempt.
        _ = try enroll(other.text)
    }

    @Test func limit_blocksAPeer_untilTheNextMinute() throws {
        let limit = EnrollmentLimit()
        for _ in 0..<EnrollmentLimit.failuresPerMinute {
            try limit.check("10.0.0.1", nowMilliseconds: 59_000)
            limit.noteFailure("10.0.0.1", nowMilliseconds: 59_000)
        }
        #expect(throws: ErrorReply.self) { try limit.check("10.0.0.1", nowMilliseconds: 59_500) }
        try limit.check("10.0.0.2", nowMilliseconds: 59_500)
        try limit.check("10.0.0.1", nowMilliseconds: 60_000)
    }

    @Test func secrets_areStoredAsHashesOnly() throws {
        let code = try tenant.code()
        let reply = try enroll(code.text)
        let token = try required(AccessToken(reply.token))
        #expect(token.tenant == tenant.id)
        let stored = try server.connection.run("SELECT hash FROM tideline.token WHERE tenant = $1::uuid", .identifier(tenant.id)).bytes(
            0, 0)
        #expect(stored == token.hash)
        for table in ["tideline.token", "tideline.enrollment_code", "tideline.feed", "tideline.change_set"] {
            let dump = try server.connection.run("SELECT coalesce(string_agg(t::text, ' '), '') FROM \(table) t").text(0, 0) ?? ""
            #expect(
                !dump.contains(reply.token.suffix(43)) && !dump.contains(code.text) && !dump.contains(code.text.replacing("-", with: "")))
        }
    }
}
