// Builds of different age against the product's own server and database, in both directions.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct BuildsOnPostgresTests {
    @Test(arguments: [true, false]) func builds_ofDifferentAge_workOnOneServer(isServerNewer: Bool) async throws {
        let world = try World(schema: .testing)
        let clock = world.clock
        let server = try PostgresServer(
            schema: isServerNewer ? .testingLater : .testing, tenant: Identifier(high: 0x7F, low: isServerNewer ? 1 : 2), now: { clock.now }
        )
        func replica(_ name: String, _ schema: Schema) async throws -> Replica {
            let replica = try await Replica.open(
                world.path(name), schema: schema, transport: ModelTransport(server), environment: world.environment())
            let invitation = server.invite(name, role: .owner)
            try await replica.enroll(server: try #require(URL(string: "http://model")), code: invitation.code, label: name)
            try await replica.sync()
            return replica
        }
        let (old, new) = (try await replica("old", .testing), try await replica("new", .testingLater))
        let part = try await new.write { try $0.create("part", ["sku": "valve", "name": "Valve", "bin": "A 7"]) }.value
        let pushed = try await new.sync()
        #expect((pushed.pushFailure == nil) == isServerNewer, "an older server takes nothing that it does not know")
        let made = try await old.write { try $0.create("part", ["sku": "bolt", "name": "Bolt"]) }.value
        try await old.sync()
        guard isServerNewer else {
            // It waits, nothing is rejected, and what others do comes down.
            #expect(try await new.pending().count == 1)
            #expect(try await new.problems().isEmpty)
            try await new.sync()
            #expect(try await new.get("part", made)?["name"] == "Bolt")
            #expect(server.record("part", part) == nil)
            return
        }
        // A field that it does not know survives its edits, by the library and by SQL.
        try await old.sync()
        try await old.write { try $0.set("part", part, ["name": "Ball valve"]) }
        try await SQLiteShell(path: old.path).execute("UPDATE part SET reorder_milli = 500 WHERE id = '\(part.text)';")
        try await new.write { try $0.set("part", part, ["remark": "sealed"]) }
        let gadget = try await new.write { try $0.create("gadget", ["label": "Clamp", "part": .string(part.text)]) }.value
        for replica in [old, new, old, new] { try await replica.sync() }
        let merged = try #require(server.record("part", part))
        #expect(merged["bin"] == "A 7" && merged["name"] == "Ball valve" && merged["remark"] == "sealed" && merged["reorder_milli"] == 500)
        #expect(try await new.digest() == server.digest(for: nil))
        // Updated in place, the old one has all of it.
        await old.close()
        let updated = try await Replica.open(
            world.path("old"), schema: .testingLater, transport: ModelTransport(server), environment: world.environment())
        try await updated.sync()
        #expect(try await updated.get("gadget", gadget)?["label"] == "Clamp")
        #expect(try await updated.digest() == server.digest(for: nil))
        for replica in [updated, new] { #expect(try await replica.problems().isEmpty) }
    }
}
