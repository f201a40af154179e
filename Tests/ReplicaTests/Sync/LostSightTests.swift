// What somebody edited offline is not theirs to see any more when they sync: the record goes, the edit stays and says why.

import Foundation
import SyncProtocol
import Testing

@testable import Replica

@Suite struct LostSightTests {
    @Test func editOfARecordThatHasLeft_isAProblem_andCanBeDoneAgainWhenItIsBack() async throws {
        let world = try World()
        let finn = try await world.replica("finn", role: .field)
        func newID() -> Identifier {
            Identifier.version7(milliseconds: world.clock.now, random: (.random(in: 0...(.max)), .random(in: 0...(.max))))
        }
        let (client, contact) = (newID(), newID())
        let keys: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
        let link = try #require(world.schema.entity("client_contact")?.deterministicID { keys[$0] })
        let connect = Change("client_contact", link, .create(fields: keys))
        let outcome = world.server.write([
            Change("client", client, .create(fields: ["name": "Acme"])), Change("contact", contact, .create(fields: ["last_name": "Ng"])),
            connect,
        ])
        #expect(outcome.status == .accepted)
        try await finn.sync()
        try await finn.set("contact", contact, ["job_title": "Typed on the train"])
        try await finn.set("client", client, ["phone": "+15550100"])
        world.server.write([Change("client_contact", link, .delete)])

        let report = try await finn.sync()
        #expect(report.accepted == 1 && report.rejected == 1, "what comes behind it flows")
        #expect(try await finn.replica.get("contact", contact) == nil, "the record is gone from the file")
        let problem = try #require(try await finn.replica.problems().first)
        #expect(problem.violations.map(\.code) == ["not_found"])
        #expect(problem.violations.first?.message == "there is no such contact, or it is no longer yours to see")
        #expect(problem.changes.first?.key.id == contact)
        guard case .patch(let fields, _)? = problem.changes.first?.operation else { throw CancellationError() }
        #expect(fields["job_title"] == "Typed on the train", "with every word")
        #expect(world.server.record("contact", contact)?.text("job_title") == nil)
        #expect(try await finn.replica.integrityCheck().isEmpty)

        world.server.write([connect])
        try await finn.sync()
        #expect(try await finn.replica.problems().map(\.id) == [problem.id], "it stays until a person decides")
        try await finn.replica.retry(problem)
        #expect(try await finn.sync().accepted == 1)
        #expect(world.server.record("contact", contact)?.text("job_title") == "Typed on the train")
        try await expectConverged(world, finn)
    }

    /// A pull tells of a new role by the cursor of the last one. Of one that came and went in between it cannot tell, so nothing is read
    /// with it that would stay.
    @Test func timelineReadInARoleThatCameAndWent_isNotKept() async throws {
        let world = try World()
        let olga = try await world.replica("olga")
        let finn = try await world.replica("finn", role: .field)
        let client = try await olga.client("Acme")
        try await olga.create(
            "deal", ["client": .string(client.text), "title": "Pier", "currency": "USD", "owner": .string(olga.member.text)])
        try await olga.sync()
        let (server, member) = (world.server, finn.member)
        @Sendable func become(_ role: String) {
            server.write([Change("member", member, .patch(fields: ["role": .string(role)], was: [:]))])
        }
        finn.transport.during { call, moment in if call == .get, moment == .before { become("manager") } }
        #expect(try await finn.sync().activityFailure?.message.contains("[resync_required]") == true)
        finn.transport.during(nil)
        become("field")

        #expect(try await finn.sync().activityFailure == nil)
        let entries = try await finn.replica.query("SELECT entry FROM _tideline_activity").compactMap { row in
            if case .text(let text)? = row["entry"] { try ActivityEntry(json: try JSONValue(parsing: text)) } else { nil }
        }
        #expect(entries.contains { $0.key == RecordKey("client", client) })
        #expect(!entries.contains { $0.key.entity == "deal" }, "deals of others are not for the field role")
    }
}
