// A real server whose data directory is put back from a real copy, taken before the second device was enrolled: the device enrols its
// file again, and all that it had is at the server, once.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct ReenrolmentProcessTests {
    /// The whole directory, Postgres' files and keys included, while nothing runs on it.
    private func copyData(_ from: String, to: String) async throws {
        let finished = try await RunningProgram(path: "/usr/bin/env", ["sh", "-c", "rm -rf \"$2\" && cp -a \"$1\" \"$2\"", "sh", from, to])
            .finish()
        guard finished.code == 0 else { throw UnexpectedResult(description: finished.errors) }
    }

    @Test func deviceEnrolledAfterTheBackup_enrolsItsFileAgain_andAllThatItHadIsBack_once() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let added = try await company.admin(
                "member", "add", "--tenant", await company.tenant, "--name", "Ben", "--email", "ben@example.com", "--role", "manager")
            let (member, first) = (added["member"]?.stringValue ?? "", added["code"]?.stringValue ?? "")
            try await olivia.json("add", "client", "name=Before the backup")
            try await olivia.json("sync")
            await company.stop()
            let backup = company.folder.appendingPathComponent("backup").path
            try await copyData(company.dataFolder, to: backup)
            try await company.start()

            let ben = try await company.enrolled("ben", code: first)
            try await ben.json("sync")
            for number in 1...3 { try await ben.json("add", "client", "name=Confirmed \(number)") }
            try await ben.json("sync")
            try await olivia.json("sync")
            try await ben.json("add", "client", "name=Pending")
            await company.stop()
            try await copyData(backup, to: company.dataFolder)
            try await company.start()

            // The person is told what to do.
            let refused = try await ben.run("sync")
            #expect(refused.code == 4)
            #expect(refused.errors.contains("replica enroll URL CODE") && refused.errors.contains("everything in it stays"), "\(refused)")
            // Somebody else's code is not for this file.
            let others = try await company.code(for: "cleo")
            let mistaken = try await ben.run("enroll", await company.address, others)
            #expect(mistaken.code == 4 && mistaken.errors.contains("member: this file belongs to the member \(member)"), "\(mistaken)")

            let code = try await company.admin("code", "create", "--tenant", await company.tenant, "--member", member)
            let again = try await ben.run("enroll", await company.address, code["code"]?.stringValue ?? "")
            #expect(again.code == 0)
            #expect(again.output.contains("the server had lost this replica"), "\(again)")
            #expect(again.output.contains("kept: 1 change not sent yet"), "\(again)")
            let synced = try await ben.run("sync")
            #expect(synced.code == 0, "\(synced)")
            try await olivia.json("sync")
            for worker in [olivia, ben] {
                try await worker.json("sync")
                let names = try await worker.json("list", "client", "--sort", "name")["data"]?.arrayValue?.map { $0["name"] ?? .null }
                #expect(names == ["Before the backup", "Confirmed 1", "Confirmed 2", "Confirmed 3", "Pending"])
                #expect(try await worker.isIdentical())
                #expect(try await worker.json("pending")["total"] == 0)
                #expect(try await worker.json("problems")["total"] == 0)
            }
            // Enrolled as it is, it needs no further code.
            let needless = try await ben.run("enroll", await company.address, others)
            #expect(needless.code == 4 && needless.errors.contains("nothing to enrol again"), "\(needless)")
        }
    }
}
