// The check-up: what differs from the server is found by name and mended, pending work stays.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct DoctorTests {
    @Test func soundFile_hasNothingToSay() async throws {
        let world = try World()
        let a = try await world.replica("a")
        try await a.client("Acme")
        try await a.sync()
        let diagnosis = try await a.replica.diagnose()
        #expect(diagnosis.level == .ok, "\(diagnosis.findings)")
        #expect(diagnosis.isCompared)
    }

    /// It stays in view until the last own edit of it is answered, but it is no difference.
    @Test func recordThatLeftTheScope_isNotCounted_whileAnOwnEditIsPending() async throws {
        let world = try World()
        let a = try await world.replica("a", role: .field)
        let id = try await a.ownDeal("Winter refit", ["notes": "base"], on: world)
        try await a.sync()
        try await a.set("deal", id, ["notes": "pending"])
        a.transport.breaking { call, _ in call == .push ? .fail(.unreachable("no network")) : nil }
        world.handOver(id, to: world.server.invite("b", role: .field).member)
        try await a.sync()
        #expect(try await a.value("deal", id, "notes") == "pending")
        #expect(try await a.replica.digest()["deal"] == world.server.digest(for: a.id)["deal"])
        let diagnosis = try await a.replica.diagnose()
        #expect(diagnosis.isCompared && diagnosis.differences.isEmpty, "\(diagnosis.findings)")
        a.transport.breaking(nil)
        try await a.sync()
        #expect(try await a.replica.get("deal", id) == nil)
    }

    /// What a tool has inserted, changed and deleted is confirmed by nobody, and looking seals nothing.
    @Test func toolsEdits_thatNothingHasSealed_areNoDifference() async throws {
        let world = try World()
        let a = try await world.replica("a")
        var ids: [Identifier] = []
        for number in 1...4 { ids.append(try await a.client("Client \(number)", ["notes": "base"])) }
        try await a.sync()
        try await a.set("client", ids[3], ["notes": "pending"])
        try await a.shell.execute(
            """
            UPDATE client SET notes = 'by a tool' WHERE id = '\(ids[0].text)'; DELETE FROM client WHERE id = '\(ids[1].text)';
            INSERT INTO client (name) VALUES ('Made by a tool'); UPDATE client SET notes = 'again' WHERE id = '\(ids[3].text)';
            DELETE FROM client WHERE id = '\(ids[2].text)'; INSERT INTO client (id, name) VALUES ('\(ids[2].text)', 'Replaced');
            """)
        #expect(try await a.replica.digest()["client"] == world.server.digest()["client"])
        let diagnosis = try await a.replica.diagnose()
        #expect(diagnosis.isCompared && diagnosis.differences.isEmpty, "\(diagnosis.findings)")
        #expect(try await a.replica.query("SELECT count(*) AS n FROM _tideline_edit").first?["n"] != .integer(0))
        try await a.sync()
        #expect(try await a.replica.digest()["client"] == world.server.digest()["client"])
    }

    @Test func fieldReplica_isTheSameAsTheServer_thoughItHoldsLess() async throws {
        let world = try World(schema: .testing)
        let (olga, farah) = (try await world.replica("olga"), try await world.replica("farah", role: .field))
        let client = try await olga.client("Acme", ["tax_number": "DE1"])
        try await olga.create(
            "deal", ["title": "Theirs", "client": .string(client.text), "currency": "USD", "owner": .string(olga.member.text)])
        try await olga.create("document", ["title": "Quote"])
        try await olga.create("contact", ["last_name": "Nobody's"])
        try await olga.sync()
        try await farah.ownDeal("Mine", on: world)
        try await farah.sync()
        #expect(try await farah.replica.count("deal") == 1)
        #expect(try await farah.replica.count("document") == 0)
        #expect(try await farah.replica.count("contact") == 0)
        let diagnosis = try await farah.replica.diagnose()
        #expect(diagnosis.isCompared && diagnosis.differences.isEmpty, "\(diagnosis.findings)")
        try await olga.sync()
        #expect(try await olga.replica.count("deal") == 2)
    }

    /// No pull tells of a role that came and went, so what only that one may read must not come into the file.
    @Test func repair_inARoleThatIsAnotherOneForAMoment_takesNothing() async throws {
        let world = try World(schema: .testing)
        let (olga, farah) = (try await world.replica("olga"), try await world.replica("farah", role: .field))
        let client = try await olga.client("Acme", ["tax_number": "DE1"])
        try await olga.sync()
        try await farah.sync()
        try await farah.replica.writing("damage") { try $0.connection.execute("DELETE FROM client WHERE id = ?1", [.text(client.text)]) }
        let diagnosis = try await farah.replica.diagnose()
        #expect(diagnosis.differences.map(\.key.id) == [client])
        func become(_ role: Role) {
            world.server.write([Change("member", farah.member, .patch(fields: ["role": .string(role.rawValue)], was: [:]))])
        }
        become(.manager)
        let error = try await replicaError { try await farah.replica.repair(diagnosis) }
        #expect(error?.code == .notAllowed && error?.message.contains("sync, then check again") == true, "\(String(describing: error))")
        become(.field)
        #expect(try await farah.replica.repair(diagnosis) == 1)
        #expect(try await farah.value("client", client, "tax_number") == .null)
        try await expectConverged(world, farah)
    }

    @Test func differences_areNamedAndMended_pendingWorkStays() async throws {
        let world = try World()
        let a = try await world.replica("a")
        var ids: [Identifier] = []
        for number in 0..<2_300 { ids.append(Identifier(high: 0x018F_0000_0000_7000, low: 0x8000_0000_0000_0000 | UInt64(number))) }
        let all = ids
        _ = try await a.replica.writeEach(
            all.enumerated().map { index, id in
                { @Sendable edit in try edit.create("client", ["name": .string("Client \(index)"), "phone": "+15550100"], id: id) }
            })
        for _ in 0..<2 { try await a.sync() }
        try await a.set("client", ids[700], ["notes": "pending"])
        try await a.client("Pending creation")
        // The file loses its way behind the library's back: no trigger runs, as with a damaged or tampered file.
        try await a.replica.writing("damage") { store in
            try store.connection.execute("DELETE FROM client WHERE id = ?1", [.text(all[3].text)])
            try store.connection.execute(
                "UPDATE client SET phone = '+15550999' WHERE id IN (?1, ?2)", [.text(all[1500].text), .text(all[2299].text)])
            try store.connection.execute(
                "INSERT INTO client (id, name, created_at, updated_at) VALUES ('018f0000-0000-7000-9000-000000000001', 'Ghost', 1, 1)")
            try store.connection.execute(
                "UPDATE _tideline_base SET image = replace(image, '+15550100', '+15550888') WHERE id = ?1", [.text(all[700].text)])
        }
        let diagnosis = try await a.replica.diagnose()
        #expect(diagnosis.level == .problem)
        let found = Dictionary(uniqueKeysWithValues: diagnosis.differences.map { ($0.key.id, $0.kind) })
        #expect(found[ids[3]] == .missing)
        #expect(found[ids[1500]] == .different)
        #expect(found[ids[2299]] == .different)
        #expect(found[ids[700]] == .different)
        #expect(found[try #require(Identifier("018f0000-0000-7000-9000-000000000001"))] == .extra)
        #expect(found.count == 5)

        // Four records are too many bytes: it asks for fewer at a time.
        world.server.recordsBytesMax = 1_000
        #expect(try await a.replica.repair(diagnosis) == 5)
        world.server.recordsBytesMax = RecordsRequest.bytesMax
        #expect(try await a.replica.diagnose().differences.isEmpty)
        #expect(try await a.value("client", ids[700], "notes") == "pending")
        #expect(try await a.value("client", ids[700], "phone") == "+15550100")
        #expect(try await a.replica.pending().count == 2)
        try await a.sync()
        try await expectConverged(world, a)
        #expect(try await a.replica.count("client") == 2_301)
    }

    @Test func serverThatWasRestored_isTold_beforeAnythingIsCompared() async throws {
        let world = try World()
        let a = try await world.replica("a")
        let b = try await world.replica("b")
        for site in [a, b] { try await site.sync() }
        let backup = world.server.snapshot()
        try await a.client("Lost with the disk")
        try await a.sync()
        world.server.restore(backup)
        // The other replica's cursor proves the restore; this one has not been told yet.
        try await a.sync()
        #expect(world.server.epoch == 1)
        let diagnosis = try await b.replica.diagnose()
        let finding = diagnosis.findings.first { $0.check == "epoch" }
        #expect(finding?.level == .warning && finding?.advice?.contains("replica sync") == true, "\(diagnosis.findings)")
        #expect(!diagnosis.isCompared && diagnosis.differences.isEmpty)
        try await b.sync()
        #expect(try await b.replica.diagnose().isCompared)
    }

    /// Differences at both ends and on the seams of ranges, and records before the first and behind the last of them.
    @Test func differences_areFound_onTheSeamsOfRanges() async throws {
        let world = try World()
        let a = try await world.replica("a")
        func id(_ number: Int) -> Identifier { Identifier(high: 0x018F_0000_0000_7000, low: 0x8000_0000_0000_0000 | UInt64(number)) }
        _ = try await a.replica.writeEach(
            (1...2_500).map { number in
                { @Sendable edit in
                    _ = try edit.create(
                        "client", ["name": .string("Client \(number)")],
                        id: Identifier(high: 0x018F_0000_0000_7000, low: 0x8000_0000_0000_0000 | UInt64(number)))
                }
            })
        for _ in 0..<2 { try await a.sync() }
        let token = try await a.replica.reading("test") { try Metadata(connection: $0.connection).identity()?.token ?? "" }
        let reply = try JSONValue(parsing: try world.server.get("digest", DigestRequest(entity: "client").query, token: token))
        let ends = (reply["ranges"]?.arrayValue ?? []).compactMap(DigestRange.init(json:)).compactMap(\.through)
        #expect(ends.count >= 2, "\(ends.count) ranges end before the last")
        let seam = try #require(ends.first)
        let behind = Identifier(high: seam.high, low: seam.low + 1)
        let changed = [id(1), seam, behind, id(2_500)]
        try await a.replica.writing("damage") { store in
            for one in changed { try store.connection.execute("UPDATE client SET phone = '+15550999' WHERE id = ?1", [.text(one.text)]) }
            for ghost in [Identifier(high: 1, low: 1 << 63 | 1), Identifier(high: 0x7FFF_0000_0000_7000, low: 1 << 63 | 1)] {
                try store.connection.execute(
                    "INSERT INTO client (id, name, created_at, updated_at) VALUES (?1, 'Ghost', 1, 1)", [.text(ghost.text)])
            }
        }
        let diagnosis = try await a.replica.diagnose()
        #expect(Set(diagnosis.differences.filter { $0.kind == .different }.map(\.key.id)) == Set(changed))
        #expect(diagnosis.differences.count { $0.kind == .extra } == 2)
        #expect(diagnosis.differences.count == 6)
        #expect(try await a.replica.repair(diagnosis) == 6)
        #expect(try await a.replica.diagnose().level == .ok)
    }

    @Test func unreachableServer_revokedToken_andClock_areTold() async throws {
        let world = try World()
        let a = try await world.replica("a")
        a.transport.breaking { _, _ in .fail(.unreachable("no route")) }
        let offline = try await a.replica.diagnose()
        #expect(offline.findings.contains { $0.check == "server" && $0.level == .warning && $0.advice != nil })
        a.transport.breaking(nil)
        world.server.isRevoked = true
        #expect(try await a.replica.diagnose().findings.contains { $0.check == "server" && $0.level == .problem })
        world.server.isRevoked = false
        let late = try await world.replica("late", offset: -3_600_000)
        #expect(try await late.replica.diagnose().findings.contains { $0.check == "clock" && $0.text.contains("3600 s behind") })
    }

    @Test func supportBundle_holdsNoValuesAndNoToken() async throws {
        let world = try World()
        let a = try await world.replica("Confidential Person")
        let id = try await a.client("Secret Client", ["notes": "private words"])
        try await a.sync()
        try await a.set("client", id, ["notes": "more private words"])
        let token = try await a.replica.reading("test") { try Metadata(connection: $0.connection).identity()?.token }
        let bundle = try await a.replica.supportBundle(try await a.replica.diagnose()).canonicalText
        for secret in ["Secret", "private", "Confidential", try #require(token)] { #expect(!bundle.contains(secret), "\(secret)") }
        #expect(bundle.contains("\"fields\":[\"notes\"]"))
    }
}
