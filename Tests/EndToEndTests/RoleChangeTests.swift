// A member whose role reads other fields than before, with the real replica against the real server: equal again after one sync.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct RoleChangeTests {
    private let server: RealServer
    private let folder: TestFolder
    private let client = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 7)

    init() throws {
        server = try RealServer()
        folder = try TestFolder()
        try server.write([Change("client", client, .create(fields: ["name": "Harbor", "tax_number": "DE1", "credit_limit": 500]))])
    }

    private func replica(_ name: String, role: Role) async throws -> (replica: Replica, member: Identifier) {
        let invitation = try server.invite(name, role: role)
        let clock = server.clock
        let replica = try await server.replica(name, member: invitation, in: folder.url) { clock.with { $0 } }
        return (replica, invitation.member)
    }

    private func setRole(_ role: Role, of member: Identifier) throws {
        try server.write([Change("member", member, .patch(fields: ["role": .string(role.rawValue)], was: [:]))])
    }

    private func isIdentical(_ replica: Replica) async throws -> Bool {
        try await replica.digest() == replica.serverDigest().entities
    }

    @Test func fieldMember_whoBecomesManager_getsTheFields_andOverwritesNothingUnseen() async throws {
        let (farah, member) = try await replica("farah", role: .field)
        #expect(try await farah.get("client", client)?["tax_number"] == .null)
        try await farah.write { try $0.set("client", client, ["phone": "+15550100"]) }
        try setRole(.manager, of: member)
        let report = try await farah.sync()
        #expect(report.accepted == 1 && report.rejected == 0)
        #expect(try await farah.get("client", client)?["tax_number"] == "DE1")
        #expect(try await farah.get("client", client)?["credit_limit"] == 500)
        #expect(try await farah.get("client", client)?["phone"] == "+15550100")
        #expect(try await isIdentical(farah))
        try await farah.write { try $0.set("client", client, ["tax_number": "DE2"]) }
        #expect(try await farah.sync().accepted == 1, "now it has seen it")
    }

    @Test func manager_whoBecomesFieldMember_keepsNothingOfOthers_norOfWhatTheyDid() async throws {
        let (marcus, member) = try await replica("marcus", role: .manager)
        let other = try server.invite("farah", role: .field).member
        let (theirs, own) = (
            Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 8), Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 9)
        )
        func deal(_ id: Identifier, _ owner: Identifier) -> Change {
            Change(
                "deal", id,
                .create(fields: ["title": "Roof", "client": .string(client.text), "currency": "USD", "owner": .string(owner.text)]))
        }
        try server.write([deal(theirs, other), deal(own, member)])
        try await marcus.sync()
        #expect(try await marcus.count("deal") == 2)
        #expect(try await marcus.activity(ActivityFilter(entity: "deal")).data.count == 2)
        try setRole(.field, of: member)
        #expect(try await marcus.sync().isResync)
        #expect(try await marcus.query("SELECT id FROM deal").map(\.values) == [[.text(own.text)]])
        #expect(try await marcus.activity(ActivityFilter(entity: "deal")).data.map(\.entry.key.id) == [own])
        #expect(try await marcus.query("SELECT id FROM client WHERE tax_number IS NOT NULL").isEmpty)
        #expect(try await isIdentical(marcus))
        // And what it may keep leaves it when it is handed over.
        try server.write([Change("deal", own, .patch(fields: ["owner": .string(other.text)], was: [:]))])
        #expect(try await marcus.sync().evicted == 1)
        #expect(try await marcus.count("deal") == 0)
        #expect(try await isIdentical(marcus))
        let diagnosis = try await marcus.diagnose()
        #expect(diagnosis.isCompared && diagnosis.differences.isEmpty, "\(diagnosis.findings)")
    }

    @Test func manager_whoBecomesFieldMember_keepsNoneOfTheFields_andLosesNoWork() async throws {
        let (marcus, member) = try await replica("marcus", role: .manager)
        #expect(try await marcus.get("client", client)?["tax_number"] == "DE1")
        try await marcus.write { try $0.set("client", client, ["phone": "+15550100"]) }
        try await marcus.write { try $0.set("client", client, ["tax_number": "DE2"]) }
        try setRole(.field, of: member)
        let report = try await marcus.sync()
        #expect(report.accepted == 1 && report.rejected == 1)
        #expect(try await marcus.problems().first?.violations.map(\.code) == ["forbidden"])
        #expect(try await marcus.get("client", client)?["tax_number"] == .null)
        #expect(try await marcus.query("SELECT credit_limit FROM client WHERE credit_limit IS NOT NULL").isEmpty)
        #expect(try await marcus.get("client", client)?["phone"] == "+15550100")
        #expect(try await isIdentical(marcus))
    }
}
