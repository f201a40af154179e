// The command killed at every step of an enrolment and of the opening of an older file: the file is sound, holds what it held, and the
// same command again does what the first one was to do.

import Foundation
import Replica
import SyncProtocol
import TestSupport
import Testing

extension FaultTests {
    @Suite struct FileKillTests {
        private static let enrolment: [StorageStep] = [.enrolAsk, .enrolAnswer, .enrolStored]

        private func killed(_ person: Person, _ arguments: [String], at step: StorageStep) async throws {
            let finished = try await person.run(arguments, environment: ["TIDELINE_TEST_STORAGE_KILL": "\(step.rawValue):1"])
            #expect(finished.code == -SIGKILL, "\(step): \(arguments) did not come there: \(finished)")
            #expect(try await person.isSound(), "\(step)")
        }

        @Test func death_atEveryStepOfAnEnrolment_isMendedByTheSameCode() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            for step in Self.enrolment {
                let code = try await place.tenant.code(for: step.rawValue)
                let person = Person(step.rawValue, file: place.folder.appendingPathComponent("\(step.rawValue).db").path)
                try await killed(person, ["enroll", server.address, code], at: step)
                try await person.json("enroll", server.address, code)
                let needless = try await person.run(["enroll", server.address, code])
                #expect(needless.code == 4, "\(step): \(needless)")
                _ = try await person.add("client", "name=By \(step.rawValue)")
                try await person.syncUntilQuiet()
                #expect(try await person.isIdentical(), "\(step)")
                try await person.json("doctor")
                let member = "member = (SELECT id FROM member WHERE email = lower('\(step.rawValue)@example.com'))"
                #expect(try await place.number("SELECT count(*) FROM tideline.replica WHERE \(member)") == 1, "\(step)")
            }
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'By %'") == Self.enrolment.count)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// A file that was shut out, with work in it: confirmed, pending, and by another tool. More is done before the code is tried again.
        @Test func death_atEveryStepOfEnrollingAgain_keepsTheWork_andIsMendedByTheSameCode() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            let member = try await olivia.json("status")["member"]?.stringValue ?? ""
            var names: [String] = []
            for step in Self.enrolment + [.fork] {
                names += ["confirmed", "pending", "by sqlite3", "meanwhile"].map { "\(step.rawValue) \($0)" }
                let own = names.suffix(4)
                _ = try await olivia.add("client", "name=\(own[own.startIndex])")
                try await olivia.syncUntilQuiet()
                let replica = try await olivia.json("status")["replica"]?.stringValue ?? ""
                _ = try await olivia.add("client", "name=\(own[own.startIndex + 1])")
                try await place.tenant.admin("replica", "revoke", "--replica", replica)
                #expect(try await olivia.run(["sync"]).code == 4, "\(step)")
                let code = try await place.tenant.admin("code", "create", "--member", member)["code"]?.stringValue ?? ""
                #expect(try await olivia.shell("INSERT INTO client (name) VALUES ('\(own[own.startIndex + 2])');").code == 0)
                try await killed(olivia, ["enroll", server.address, code], at: step)
                _ = try await olivia.add("client", "name=\(own[own.startIndex + 3])")
                try await olivia.json("enroll", server.address, code)
                try await olivia.syncUntilQuiet()
                let found = try await olivia.clientNames()
                for name in names { #expect(found[name] == 1, "\(step): \(name)") }
                #expect(try await olivia.isIdentical(), "\(step)")
                #expect(try await olivia.problems() == 0, "\(step)")
                try await olivia.json("doctor")
            }
            #expect(try await place.number("SELECT count(*) FROM client") == names.count)
            #expect(
                try await place.number(
                    "SELECT count(*) FROM (SELECT record FROM tideline.feed WHERE kind = 'client.created' GROUP BY 1 HAVING count(*) > 1) d"
                )
                    == 0)
            #expect(await server.end(SIGTERM) == 0)
        }

        /// A file as an earlier build left it: without a table, columns and triggers of this one, with values of a field it did not know
        /// kept aside, and with edits in it that are not sent and not sealed.
        @Test func death_atEveryStepOfAnUpgrade_leavesTheOlderFile_whichTheNextCommandUpgrades() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            let id = try await olivia.add("client", "name=Kept", "website=https://kept.example")
            try await olivia.syncUntilQuiet()
            var names = ["Kept"]
            for step in StorageStep.ofUpgrades {
                names += ["\(step.rawValue) pending", "\(step.rawValue) captured"]
                _ = try await olivia.add("client", "name=\(names[names.count - 2])")
                #expect(try await olivia.shell("INSERT INTO client (name) VALUES ('\(names[names.count - 1])');").code == 0)
                let older = try await olivia.shell(
                    """
                    BEGIN; \(try await dropTriggers(olivia)) \
                    UPDATE client SET _extra = json_object('website', website) WHERE website IS NOT NULL; \
                    ALTER TABLE client DROP COLUMN website; ALTER TABLE _tideline_problem DROP COLUMN told; DROP TABLE _tideline_touched; \
                    UPDATE _tideline_meta SET value = 'older' WHERE key = 'layout'; COMMIT;
                    """)
                #expect(older.code == 0, "\(step): \(older)")
                try await killed(olivia, ["pending"], at: step)
                let columns = try await olivia.shell("SELECT count(*) FROM pragma_table_info('client') WHERE name = 'website'")
                #expect(columns.output == "0\n", "\(step): half an upgrade")
                let kept = try await olivia.json("show", "client", id)
                #expect(
                    kept["data"]?["website"] == "https://kept.example" || kept["website"] == "https://kept.example",
                    "\(step): \(kept.canonicalText)")
                try await olivia.syncUntilQuiet()
                let found = try await olivia.clientNames()
                for name in names { #expect(found[name] == 1, "\(step): \(name)") }
                #expect(try await olivia.isIdentical(), "\(step)")
                try await olivia.json("doctor")
            }
            #expect(await server.end(SIGTERM) == 0)
        }

        private func dropTriggers(_ person: Person) async throws -> String {
            let found = try await person.shell("SELECT 'DROP TRIGGER \"' || name || '\";' FROM sqlite_schema WHERE type = 'trigger'")
            return found.output.split(separator: "\n").joined(separator: " ")
        }
    }
}
