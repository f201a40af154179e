// Copied and restored files with the real programs: what is on the disk afterwards, and what the person reads.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct ForkCommandTests {
    private func copied(_ worker: Worker, _ name: String, in company: Company) async throws -> Worker {
        let path = company.folder.appendingPathComponent("\(name).db").path
        try? FileManager.default.removeItem(atPath: path)
        // Nobody has the file open: now a plain copy is a good one.
        try FileManager.default.copyItem(atPath: worker.file, toPath: path)
        return Worker(file: path)
    }

    private func names(_ worker: Worker) async throws -> [String] {
        let list = try await worker.json("list", "client", "--sort", "name", "--limit", "200")
        return list["data"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
    }

    @Test func fileCopiedToASecondLaptop_bothWork_andThePersonIsTold() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=Shared")
            try await olivia.json("sync")
            // Copied while one set is pending: both files hold it, and it takes effect once.
            try await olivia.json("add", "client", "name=Shared and pending")
            let laptop = try await copied(olivia, "laptop", in: company)
            let original = try await olivia.json("status")["replica"]
            try await olivia.json("add", "client", "name=Only here")
            try await laptop.json("add", "client", "name=Only on the laptop")
            try await laptop.json("set", "client", "Shared and", "phone=+15550100")
            #expect(try await olivia.run("sync").code == 0)

            let told = try await laptop.run("sync")
            #expect(told.code == 0, "\(told)")
            #expect(told.output.contains("this file was a copy, or an old state, of another one that has synced since; both go on"))
            #expect(told.output.contains("it is a replica of its own now") && told.output.contains("nothing was applied twice"))
            #expect(told.output.contains("2 unsent changes came along"), "\(told.output)")
            #expect(told.output.contains("sent 2 changes (3 accepted; 1 of these had been sent before)"), "\(told.output)")
            let own = try await laptop.json("status")["replica"]
            #expect(own != original && told.output.contains(own?.stringValue ?? "-"))
            // From here on they are two like any other two.
            for worker in [olivia, laptop, olivia] { #expect(try await worker.json("sync")["fork"]?.isNull == true) }
            let expected = ["Only here", "Only on the laptop", "Shared", "Shared and pending"]
            for worker in [olivia, laptop] {
                #expect(try await names(worker) == expected)
                #expect(try await worker.json("pending")["total"] == 0)
                #expect(try await worker.json("problems")["total"] == 0)
                #expect(try await worker.isIdentical())
            }
        }
    }

    @Test func fileRestoredFromLastWeeksBackup_keepsItsWork_andThePersonIsTold() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=Before")
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=In the backup, never sent from it")
            let backup = try await copied(olivia, "backup", in: company)
            for number in 1...3 { try await olivia.json("add", "client", "name=Week \(number)") }
            try await olivia.json("sync")
            // The disk dies, the backup comes back in its place, and work goes on before the next sync.
            try FileManager.default.removeItem(atPath: olivia.file)
            try FileManager.default.copyItem(atPath: backup.file, toPath: olivia.file)
            try await olivia.json("add", "client", "name=After the restore")

            let document = try await olivia.json("sync")
            #expect(document["fork"]?["moved"] == 1 && document["fork"]?["replica"]?.stringValue != nil, "\(document)")
            #expect(document["problems"]?.arrayValue?.isEmpty == true)
            let expected = ["After the restore", "Before", "In the backup, never sent from it", "Week 1", "Week 2", "Week 3"]
            #expect(try await names(olivia) == expected)
            #expect(try await olivia.isIdentical())
            // A second copy of the same backup that nobody has worked on hears what it missed.
            let told = try await backup.run("sync")
            #expect(told.code == 0 && told.output.contains("this file was a copy"), "\(told)")
            #expect(told.output.contains("3 later changes of the other file are here"), "\(told.output)")
            #expect(try await names(backup) == expected)
            #expect(try await backup.isIdentical())
        }
    }
}
