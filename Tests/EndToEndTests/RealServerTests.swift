// The real replica against the real server and its Postgres, without sockets: what goes wrong between two pages, with clocks, with
// builds of different age, and with a set that kills.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct RealServerTests {
    private let folder: TestFolder
    private let wall = WallUnderTest()

    init() throws { folder = try TestFolder() }

    private func replica(
        _ name: String, on server: RealServer, role: Role = .manager, schema: Schema = .testing
    ) async throws -> (replica: Replica, transport: DirectTransport) {
        let invitation = try server.invite(name, role: role)
        let transport = DirectTransport(server)
        let replica = try await server.open(name, schema: schema, in: folder.url, transport: transport, wallClock: wall.next)
        try await replica.enroll(server: RealServer.address, code: invitation.code, label: name)
        try await replica.sync()
        return (replica, transport)
    }

    private func expectIdentical(_ replicas: Replica...) async throws {
        for replica in replicas { #expect(try await replica.digest() == replica.serverDigest().entities) }
    }

    // MARK: Pages

    @Test func recordChangedBetweenTwoPages_isNeverHalfSeen_andAnEditMeanwhileIsConcurrent() async throws {
        let server = try RealServer()
        let ids = (0..<30).map { Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | UInt64($0 + 1)) }
        try server.write(ids.map { Change("client", $0, .create(fields: ["name": "C", "notes": "base", "phone": "+15550000"])) })
        let (marcus, transport) = try await replica("marcus", on: server)
        for id in ids { try server.write([Change("client", id, .patch(fields: ["notes": "first", "phone": "+15550001"], was: [:]))]) }
        let pulls = Locked(0)
        transport.beforePull { _ in
            guard
                pulls.with({
                    $0 += 1
                    return $0
                }) == 3
            else { return }
            // Two pages are staged: the first records are on them. They change again, and marcus edits what he still sees.
            try server.write([Change("client", ids[0], .patch(fields: ["notes": "second", "phone": "+15550002"], was: [:]))])
            for id in ids.prefix(2) { #expect(try await marcus.get("client", id)?["notes"] == "base") }
            try await marcus.write { try $0.set("client", ids[0], ["notes": "mine"]) }
            try await marcus.write { try $0.set("client", ids[1], ["notes": "mine too"]) }
        }
        try await marcus.sync(SyncOptions(pageLimit: 5))
        transport.beforePull(nil)
        #expect(pulls.with { $0 } > 6)
        try await marcus.sync()
        let problems = try await marcus.problems()
        #expect(problems.count == 2 && problems.allSatisfy { $0.violations.map(\.code) == ["conflict"] })
        #expect(try await marcus.get("client", ids[0])?["notes"] == "second")
        #expect(try await marcus.get("client", ids[0])?["phone"] == "+15550002")
        #expect(try await marcus.get("client", ids[1])?["notes"] == "first")
        try await expectIdentical(marcus)
    }

    // MARK: Clocks

    @Test func serverClock_thatJumpsADayForthAndBack_losesNoOrder_andNoToken() async throws {
        let day: Int64 = 86_400_000
        let server = try RealServer()
        let id = Identifier(high: 0x0190_0000_0000_7000, low: 1 << 63 | 1)
        try server.write([Change("client", id, .create(fields: ["name": "base"]))])
        let (marcus, _) = try await replica("marcus", on: server)
        let (olivia, _) = try await replica("olivia", on: server)
        func stamp() throws -> Int64 { Int64(try server.text("SELECT max_stamp_ms::text FROM tideline.tenant_head") ?? "") ?? 0 }
        var last = try stamp()
        for (round, jump) in [0, day, 0, -day, 0, -day, day].enumerated() {
            server.clock.with { $0 += jump }
            // Sequential edits by one and the other: each stands, whatever the clocks say.
            for (name, digit, who) in [("m", 1, marcus), ("o", 2, olivia)] {
                try await who.sync()
                try await who.write { try $0.set("client", id, ["name": .string("\(name)\(round)")]) }
                try await who.write { try $0.set("client", id, ["phone": .string("+1555\(digit)\(100 + round)")]) }
                let report = try await who.sync()
                #expect(report.accepted == 2 && report.superseded == 0 && report.rejected == 0, "round \(round), \(name)")
                let now = try stamp()
                #expect(now >= last, "stamps of the tenant never fall")
                last = now
            }
            try await marcus.sync()
            #expect(try await marcus.get("client", id)?["name"] == .string("o\(round)"))
        }
        try await expectIdentical(marcus, olivia)
        // Who was made in one time enrols and works in the other.
        let late = try server.invite("late", role: .manager)
        server.clock.with { $0 -= day }
        let theo = try await server.replica("late", member: late, in: folder.url, wallClock: wall.next)
        try await theo.write { try $0.set("client", id, ["name": "late"]) }
        #expect(try await theo.sync().accepted == 1)
        try await olivia.sync()
        #expect(try await olivia.get("client", id)?["name"] == "late")
    }

    // MARK: Builds of different age

    private static func schema(_ version: Int64) -> Schema {
        let isNew = version > 1
        let item = EntitySchema(
            "item", category: "admin", access: .manage, scopes: [.tenant], titleField: "name",
            fields: [
                .text("name", 40).required, .choice("size", isNew ? ["small", "large", "huge"] : ["small", "large"]),
                .text("notes", 100).guarded,
            ] + (isNew ? [.text("material", 20).required(since: 2)] : []))
        let gadget = EntitySchema(
            "gadget", category: "admin", access: .manage, scopes: [.tenant], titleField: "label",
            fields: [.text("label", 20).required, .reference("item", "item")])
        return Schema(version: version, domains: [.tenancy, Domain("things", entities: isNew ? [item, gadget] : [item])])
    }

    @Test func newerServer_andOlderReplica_workOn_andTheOtherWayRound() async throws {
        let first = try RealServer(schema: Self.schema(1))
        let (old, _) = try await replica("old", on: first, schema: Self.schema(1))
        let beam = try await old.write { try $0.create("item", ["name": "Beam", "size": "small"]) }.value
        try await old.sync()

        // The server is updated in place, on the same database; the replica is not.
        let second = try RealServer(schema: Self.schema(2), after: first)
        await old.close()
        let older = try await second.open("old", schema: Self.schema(1), in: folder.url, wallClock: wall.next)
        let (new, _) = try await replica("new", on: second, schema: Self.schema(2))
        try await new.write { try $0.set("item", beam, ["size": "huge", "material": "oak"]) }
        let clamp = try await new.write { try $0.create("gadget", ["label": "Clamp", "item": .string(beam.text)]) }.value
        #expect(try await new.sync().accepted == 2)
        try await older.sync()
        #expect(try await older.get("item", beam)?["size"] == "huge", "a choice it has never heard of")
        #expect(try await older.get("item", beam)?.state.extra["material"] == "oak", "a field it keeps")
        // It edits the record, and makes one without the field that became required.
        try await older.write { try $0.set("item", beam, ["notes": "from the old one"]) }
        let plate = try await older.write { try $0.create("item", ["name": "Plate"]) }.value
        #expect(try await older.sync().accepted == 2)
        try await new.sync()
        #expect(try await new.get("item", beam)?["material"] == "oak")
        #expect(try await new.get("item", beam)?["notes"] == "from the old one")
        #expect(try await new.get("item", plate)?["material"] == .null)
        #expect(try await new.get("gadget", clamp)?["label"] == "Clamp")
        try await expectIdentical(new)

        // The update is taken back: the database keeps its columns, the newer replica waits with what it has to say.
        let third = try RealServer(schema: Self.schema(1), after: second)
        await new.close()
        let newer = try await third.open("new", schema: Self.schema(2), in: folder.url, wallClock: wall.next)
        try await newer.write { try $0.set("item", plate, ["material": "steel"]) }
        let waiting = try await newer.sync()
        #expect(waiting.pushFailure != nil && waiting.rejected == 0)
        #expect(try await newer.pending().count == 1)
        await older.close()
        let again = try await third.open("old", schema: Self.schema(1), in: folder.url, wallClock: wall.next)
        try await again.write { try $0.set("item", plate, ["notes": "still flowing"]) }
        try await again.write { try $0.set("item", beam, ["notes": "touched by the older one"]) }
        #expect(try await again.sync().accepted == 2)
        try await newer.sync()
        #expect(try await newer.get("item", plate)?["notes"] == "still flowing")
        // Rows of the older server say nothing of newer fields: those stay as they were, under pending edits and without.
        #expect(try await newer.get("item", beam)?["notes"] == "touched by the older one")
        #expect(try await newer.get("item", beam)?["material"] == "oak")
        // Hashes of different schemas are no reason to mend anything.
        let diagnosis = try await newer.diagnose()
        #expect(!diagnosis.isCompared && diagnosis.differences.isEmpty && diagnosis.level == .warning, "\(diagnosis.findings)")

        // And forward again: what waited arrives, nothing was lost meanwhile.
        let fourth = try RealServer(schema: Self.schema(2), after: third)
        await newer.close()
        let last = try await fourth.open("new", schema: Self.schema(2), in: folder.url, wallClock: wall.next)
        #expect(try await last.sync().accepted == 1)
        #expect(try await last.get("item", plate)?["material"] == "steel")
        #expect(try await last.get("item", beam)?["material"] == "oak")
        #expect(try await last.get("gadget", clamp)?["label"] == "Clamp")
        try await expectIdentical(last)
    }

    @Test func fileThatAnOlderBuildUsedMeanwhile_isRightAgainWithTheNewerOne() async throws {
        let server = try RealServer(schema: Self.schema(2))
        let (first, _) = try await replica("shared", on: server, schema: Self.schema(2))
        let (other, _) = try await replica("other", on: server, schema: Self.schema(2))
        let beam = try await first.write { try $0.create("item", ["name": "Beam", "material": "oak"]) }.value
        let clamp = try await first.write { try $0.create("gadget", ["label": "Clamp", "item": .string(beam.text)]) }.value
        try await first.sync()
        await first.close()

        // The program is taken back; meanwhile others go on with the fields and entities that it does not know.
        let older = try await server.open("shared", schema: Self.schema(1), in: folder.url, wallClock: wall.next)
        try await other.sync()
        try await other.write { try $0.set("item", beam, ["material": "pine", "name": "Beam 2"]) }
        try await other.write { try $0.set("gadget", clamp, ["label": "Vice"]) }
        try await other.sync()
        try await older.sync()
        try await older.write { try $0.set("item", beam, ["notes": "by the older build"]) }
        #expect(try await older.sync().accepted == 1)
        try await older.write { try $0.set("item", beam, ["size": "large"]) }
        await older.close()

        let newer = try await server.open("shared", schema: Self.schema(2), in: folder.url, wallClock: wall.next)
        #expect(try await newer.pending().count == 1)
        let report = try await newer.sync()
        #expect(report.isResync && report.accepted == 1)
        #expect(try await newer.get("item", beam)?["material"] == "pine")
        #expect(try await newer.get("item", beam)?["size"] == "large")
        #expect(try await newer.get("gadget", clamp)?["label"] == "Vice")
        try await expectIdentical(newer)
        #expect(try await newer.sync().isResync == false, "once is enough")
    }

    // MARK: A set that kills

    @Test func setThatKillsTheDatabaseSession_isFoundByHalving_andWithdrawn_whileTheRestFlows() async throws {
        let server = try RealServer()
        let (marcus, _) = try await replica("marcus", on: server)
        let (olivia, _) = try await replica("olivia", on: server)
        // Its backend ends in the middle of the statement, as if the set had crashed it.
        try server.script(
            """
            CREATE FUNCTION public.deadly() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN NEW; END';
            CREATE TRIGGER deadly BEFORE INSERT ON public.client FOR EACH ROW WHEN (NEW.name = 'Deadly') EXECUTE FUNCTION public.deadly()
            """)
        for index in 0..<20 {
            let name = index == 7 ? "Deadly" : "Client \(index)"
            try await marcus.write { try $0.create("client", ["name": .string(name)]) }
        }
        let report = try await marcus.sync()
        #expect(report.accepted == 19 && report.withdrawn == 1)
        let problem = try #require(try await marcus.problems().first)
        #expect(problem.isWithdrawn && problem.summary == "create client Deadly")
        #expect(try await marcus.pending().isEmpty)
        try await olivia.sync()
        #expect(try await olivia.count("client") == 19)
        try await expectIdentical(marcus, olivia)
        // Once the server is mended, the person says it again.
        try server.script("DROP TRIGGER deadly ON public.client")
        try await marcus.retry(problem)
        #expect(try await marcus.sync().accepted == 1)
        try await olivia.sync()
        #expect(try await olivia.count("client") == 20)
    }
}

/// The clock of the replicas' machines: it goes on, whatever the server's does.
private final class WallUnderTest: Sendable {
    private let milliseconds = Locked(RealServer.start)

    var next: @Sendable () -> Int64 {
        { [milliseconds] in
            milliseconds.with {
                $0 += 10
                return $0
            }
        }
    }
}
