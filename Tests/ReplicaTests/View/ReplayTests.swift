// Pending sets on new confirmed state: each is judged by what its author knew when it was sealed.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct ReplayTests {
    /// `site` pulls, and its push never arrives.
    private func pullOnly(_ site: Site) async throws -> SyncReport {
        site.transport.breaking { call, _ in call == .push ? .fail(.reply(ErrorReply(.unavailable, "later"), status: 503)) : nil }
        defer { site.transport.breaking(nil) }
        return try await site.sync()
    }

    @Test func eachSet_isJudgedByItsOwnClock() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["notes": "base"])
        try await expectConverged(world, a, b)

        try await a.set("client", id, ["notes": "first, blind"])
        try await b.set("client", id, ["notes": "from b"])
        try await b.sync()
        let report = try await pullOnly(a)
        #expect(report.pushFailure != nil)
        #expect(report.predictedRejections == 1)
        // The first leaves the view at once and says why.
        #expect(try await a.value("client", id, "notes") == "from b")
        #expect(try await a.replica.pending().map { $0.predicted.map(\.code) } == [["conflict"]])
        try await a.set("client", id, ["notes": "second, seeing"])
        #expect(try await a.value("client", id, "notes") == "second, seeing")

        let final = try await a.sync()
        #expect(final.rejected == 1)
        #expect(final.accepted == 1)
        let problem = try #require(final.newProblems.first)
        #expect(problem.violations.first?.parameters["server"] == "from b")
        #expect(problem.violations.first?.parameters["yours"] == "first, blind")
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", id, "notes") == "second, seeing")
    }

    @Test func predictedRejection_canBeSettledBeforeTheServerSaysSo() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        var ids: [Identifier] = []
        for name in ["One", "Two", "Three"] { ids.append(try await a.client(name, ["notes": "base"])) }
        try await expectConverged(world, a, b)
        for id in ids {
            try await a.set("client", id, ["notes": "mine", "phone": "+15550100"])
            try await b.set("client", id, ["notes": "theirs"])
        }
        try await b.sync()
        #expect(try await pullOnly(a).predictedRejections == 3)
        #expect(try await a.replica.problems().isEmpty, "nothing was refused yet")
        let predicted = try await a.replica.predictedProblems()
        #expect(predicted.map(\.counter) == (try await a.replica.pending().map(\.counter)) && predicted.allSatisfy(\.isPredicted))
        let first = try #require(predicted.first?.violations.first)
        #expect(first.parameters["server"] == "theirs" && first.parameters["yours"] == "mine" && first.parameters["by"] != nil)
        // What would not make a set any more is no longer undone, but discarded.
        #expect(try await a.replica.undoableSets(limit: 9).allSatisfy { set in !predicted.contains { $0.counter == set.counter } })

        try await a.replica.retry(predicted[0])
        try await a.replica.edit(predicted[1], ["notes": "both"])
        try await a.replica.discard(predicted[2])
        #expect(try await a.replica.predictedProblems().isEmpty)
        #expect(try await a.value("client", ids[0], "notes") == "mine")
        #expect(try await a.value("client", ids[1], "notes") == "both")
        #expect(try await a.value("client", ids[2], "notes") == "theirs")
        let late = try await replicaError { try await a.replica.discard(predicted[0]) }
        #expect(late?.code == .notFound)
        let report = try await a.sync()
        #expect(report.rejected == 0 && report.newProblems.isEmpty)
        try await expectConverged(world, a, b)
        #expect(try await b.value("client", ids[0], "notes") == "mine")
        #expect(try await b.value("client", ids[0], "phone") == "+15550100")
        #expect(try await b.value("client", ids[1], "notes") == "both")
        #expect(try await b.value("client", ids[2], "phone") == .null)
        #expect(try await a.replica.problems().isEmpty)
    }

    @Test func editOfAProblem_goesIntoWhatItIsAbout() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let deal = try await a.ownDeal("Refit", ["amount": 100], on: world)
        try await expectConverged(world, a, b)
        // A transition that was overtaken: the values are its arguments.
        try await a.replica.write { try $0.transition("lose", "deal", deal, ["reason": "price"]) }
        try await b.replica.write { try $0.transition("qualify", "deal", deal) }
        try await b.replica.write { try $0.transition("win", "deal", deal) }
        try await b.sync()
        try await a.sync()
        var problem = try #require(try await a.replica.problems().first)
        let refused = try await replicaError { try await a.replica.edit(problem, ["title": "Changed"]) }
        #expect(refused?.code == .refused, "the transition takes no title, and nothing is passed over in silence")
        try await b.replica.write { try $0.transition("reopen", "deal", deal) }
        try await expectConverged(world, b)
        try await a.sync()
        problem = try #require(try await a.replica.problems().first)
        try await a.replica.edit(problem, ["reason": "too late"])
        try await expectConverged(world, a, b)
        #expect(try await b.value("deal", deal, "lost_reason") == "too late")
    }

    @Test func pendingEdits_stayVisible_whileOthersArrive() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let id = try await a.client("Acme", ["tags": ["x"]])
        try await expectConverged(world, a, b)
        try await a.set("client", id, ["name": "Mine", "tags": ["x", "mine"]])
        try await b.set("client", id, ["phone": "+15550100", "tags": ["x", "theirs"]])
        try await b.sync()
        _ = try await pullOnly(a)
        #expect(try await a.value("client", id, "name") == "Mine")
        #expect(try await a.value("client", id, "phone") == "+15550100")
        #expect(try await a.value("client", id, "tags") == ["mine", "theirs", "x"])
        // Digests speak of confirmed state: they agree with the server although something is pending.
        #expect(try await a.replica.digest()["client"] == world.server.digest()["client"])
        try await expectConverged(world, a, b)
    }

    @Test func ownConfirmedWrites_areKnownToLaterPendingOnes() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let id = try await a.client("Acme", ["notes": "one"])
        // Pushed and confirmed while the next edit is made between push and pull: it knows its own lane, not the feed.
        a.transport.breaking { call, number in call == .pull && number == 1 ? .fail(.unreachable("gone")) : nil }
        _ = try await replicaError { try await a.sync() }
        try await a.set("client", id, ["notes": "two"])
        _ = try await pullOnly(a)
        #expect(try await a.replica.pending().map(\.predicted) == [[]])
        #expect(try await a.value("client", id, "notes") == "two")
        let report = try await a.sync()
        #expect(report.rejected == 0)
        try await expectConverged(world, a)
    }

    @Test func whatDependsOnARejectedCreation_isRejectedToo_andLeavesTheView() async throws {
        let world = try World(schema: .testing)
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let first = try await b.create("part", ["sku": "bolt", "name": "Bolt of b"])
        let rival = try await a.create("part", ["sku": "bolt", "name": "Bolt of a"])
        let movement = try await a.create("movement", ["part": .string(rival.text), "kind": "receive", "quantity_milli": 1000])
        try await a.set("part", rival, ["name": "Renamed"])
        try await b.sync()
        let predicted = try await pullOnly(a)
        #expect(predicted.predictedRejections == 3)
        #expect(try await a.replica.get("part", rival) == nil)
        #expect(try await a.replica.get("movement", movement) == nil)
        #expect(
            try await a.replica.pending().map { $0.predicted.map(\.code) } == [
                ["duplicate"], ["depends_on_rejected"], ["depends_on_rejected"],
            ])

        let report = try await a.sync()
        #expect(report.newProblems.map { $0.violations.map(\.code) } == [["duplicate"], ["depends_on_rejected"], ["depends_on_rejected"]])
        let problems = try await a.replica.problems()
        #expect(problems.map(\.dependsOn) == [[], [problems[0].id], [problems[0].id]])
        // Later edits of what was never created are told the same.
        let later = try await replicaError {
            try await a.create("movement", ["part": .string(rival.text), "kind": "receive", "quantity_milli": 1])
        }
        #expect(later?.violations.map(\.code) == ["depends_on_rejected"])
        try await expectConverged(world, a, b)
        #expect(try await a.replica.get("part", first)?["name"] == "Bolt of b")
    }

    @Test func effects_goWithTheSetThatCausedThem() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let client = try await a.client()
        let contacts = [try await a.create("contact", ["last_name": "One"]), try await a.create("contact", ["last_name": "Two"])]
        let base: [String: JSONValue] = ["client": .string(client.text)]
        let one = try await a.create(
            "client_contact", base.merging(["contact": .string(contacts[0].text), "is_primary": 1, "role": "first"]) { $1 })
        try await expectConverged(world, a, b)
        // Making the second primary clears the first, provisionally.
        let two = try await a.create("client_contact", base.merging(["contact": .string(contacts[1].text), "is_primary": 1]) { $1 })
        #expect(try await a.value("client_contact", one, "is_primary") == 0)
        // The client goes at the server: the set cannot stand, and its effect is undone with it.
        try await b.replica.write { try $0.delete("contact", contacts[1]) }
        try await b.sync()
        _ = try await pullOnly(a)
        #expect(try await a.replica.pending().map { $0.predicted.map(\.code) } == [["reference_deleted"]])
        #expect(try await a.replica.get("client_contact", two) == nil)
        #expect(try await a.value("client_contact", one, "is_primary") == 1)
        try await expectConverged(world, a, b)
    }

    @Test func delete_takingWhatItsAuthorNeverSaw_isPredictedToFail() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        let client = try await a.client()
        try await expectConverged(world, a, b)
        try await a.replica.write { try $0.delete("client", client) }
        try await b.create("site", ["client": .string(client.text), "name": "Yard", "address": ["city": "Oslo", "country": "NO"]])
        try await b.sync()
        _ = try await pullOnly(a)
        // The site arrived clean, yet the delete's author had not seen it.
        #expect(try await a.replica.pending().map { $0.predicted.map(\.code) } == [["delete_conflict"]])
        #expect(try await a.replica.get("client", client)?.isDeleted == false)
        #expect(try await a.replica.count("site") == 1)
        try await expectConverged(world, a, b)
    }

    @Test func eviction_waitsForOwnPendingEdits() async throws {
        let world = try World()
        let a = try await world.replica("a", role: .field)
        let kept = try await a.ownDeal("Kept", on: world)
        let gone = try await a.ownDeal("Gone", on: world)
        let edited = try await a.ownDeal("Edited", on: world)
        try await a.sync()
        try await a.set("deal", edited, ["source": "web"])
        let other = world.server.invite("b", role: .field).member
        for id in [gone, edited] { world.handOver(id, to: other) }
        let report = try await pullOnly(a)
        #expect(report.evicted == 2)
        #expect(try await a.replica.get("deal", gone) == nil)
        #expect(try await a.value("deal", edited, "source") == "web")
        // It is another's by now: the edit is refused, and its author is told.
        #expect(try await a.sync().newProblems.map { $0.violations.map(\.code) } == [["not_found"]])
        #expect(try await a.replica.get("deal", edited) == nil)
        #expect(try await a.replica.get("deal", kept) != nil)
        #expect(try await a.replica.integrityCheck() == [])
    }

    /// Its author sees the edit until it is answered, whatever was pulled before; then the record goes and the edit stays as a problem.
    @Test func editOfARecordThatLeft_isRefused_thoughItsAuthorsRoleMayWrite() async throws {
        let world = try World()
        let a = try await world.replica("a", role: .field)
        let (client, contact) = (
            Identifier(high: 0x018F_0000_0000_7000, low: 1 << 63), Identifier(high: 0x018F_0000_0000_7000, low: 3 << 62)
        )
        let fields: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
        let link = try #require(world.schema.entity("client_contact")?.deterministicID { fields[$0] })
        world.server.write([
            Change("client", client, .create(fields: ["name": "Acme"])),
            Change("contact", contact, .create(fields: ["last_name": "Ortiz", "notes": "base"])),
            Change("client_contact", link, .create(fields: fields)),
        ])
        try await a.sync()
        try await a.set("contact", contact, ["notes": "from the road"])
        world.server.write([Change("client_contact", link, .delete)])
        #expect(try await pullOnly(a).evicted == 1)
        #expect(try await a.value("contact", contact, "notes") == "from the road")
        #expect(try await a.sync().newProblems.map { $0.violations.map(\.code) } == [["not_found"]])
        #expect(try await a.replica.get("contact", contact) == nil)
        #expect(world.server.record("contact", contact)?["notes"] == "base")
        // It comes back with its link, as it is now, and the edit may be made again.
        world.server.write([Change("client_contact", link, .restore)])
        try await a.sync()
        #expect(try await a.value("contact", contact, "notes") == "base")
        try await a.replica.retry(try #require(try await a.replica.problems().first))
        #expect(try await a.sync().accepted == 1)
        #expect(world.server.record("contact", contact)?["notes"] == "from the road")
        #expect(try await a.replica.diagnose().differences.isEmpty)
    }

    /// A record that comes into view has no version that its reader could have missed: an edit that waited meanwhile stands.
    @Test func recordThatOnlyMoved_isNoNewsToAnEditThatWaits() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let contact = try await a.create("contact", ["last_name": "Ortiz", "notes": "base"])
        let client = try await a.client("Acme")
        try await a.sync()
        try await a.replica.write { try $0.delete("contact", contact) }
        let fields: JSONObject = ["client": .string(client.text), "contact": .string(contact.text)]
        let link = try #require(world.schema.entity("client_contact")?.deterministicID { fields[$0] })
        world.server.write([Change("client_contact", link, .create(fields: fields))])
        let position = try #require(world.server.record("contact", contact)?.position)
        #expect(position.position == world.server.position, "it has moved with its link")
        _ = try await pullOnly(a)
        #expect(try await a.replica.pending().flatMap { $0.predicted.map(\.code) } == [])
        #expect(try await a.sync().accepted == 1)
    }
}
