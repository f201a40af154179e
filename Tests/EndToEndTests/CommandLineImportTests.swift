// Imports of a day's work: rows that cannot be taken stop nothing, and a file that was taken by half doubles nothing.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

@Suite struct CommandLineImportTests {
    private func piped(_ script: String, _ worker: Worker, _ file: URL) async throws -> Finished {
        let replica = Programs.folder.appendingPathComponent("replica").path
        let words = script.replacing("IMPORT", with: "\"$1\" --db \"$2\" --json import client")
        return try await RunningProgram(path: "/bin/bash", ["-c", words, "sh", replica, worker.file, file.path]).finish()
    }

    @Test func import_takesEveryGoodRow_andDoublesNoneWhenItIsRepeated() async throws {
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            try await worker.json("add", "client", "name=Pier 9")
            let file = company.folder.appendingPathComponent("deals.csv")
            func write(_ owner: String, titles: Range<Int> = 0..<600) throws {
                let rows = titles.map { "Deal \($0),Pier 9,12.50,\($0 == 550 ? owner : "olivia@example.com")" }
                try ("title,client,amount,owner\n" + rows.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
            }
            // A name that fits nothing is told with its line, behind rows that fill more than one transaction.
            try write("Nobody")
            let first = try await worker.json("import", "deal", file.path, codes: [1])
            #expect(first["created"] == 599 && first["not_reached"] == 0, "\(first)")
            #expect(first["refused"]?.arrayValue?.count == 1 && first["refused"]?[0]?["line"] == 552, "\(first)")
            #expect(first["refused"]?[0]?["violations"]?[0]?["message"]?.stringValue?.contains("no member Nobody") == true)
            // Corrected, and with a line taken away at its beginning: what was taken is known again wherever it stands.
            try write("olivia@example.com", titles: 1..<600)
            let second = try await worker.json("import", "deal", file.path)
            #expect(second["created"] == 1 && second["unchanged"] == 598 && second["changed"] == 0, "\(second)")
            #expect(try await worker.json("list", "deal")["total"] == 600)
            // What was changed since stays as it is, what was deleted since is made anew, and rows that say the same are two records.
            try "name,phone\nTwin,\nTwin,\nNorth,+15550100\nSouth,\n".write(to: file, atomically: true, encoding: .utf8)
            #expect(try await worker.json("import", "client", file.path)["created"] == 4)
            try await worker.json("set", "client", "North", "phone=+15550199")
            try await worker.json("remove", "client", "South")
            let third = try await worker.json("import", "client", file.path)
            #expect(third["created"] == 1 && third["unchanged"] == 3, "\(third)")
            #expect(try await worker.field("client", "North", "phone") == "+15550199")
            let again = try await worker.json("import", "client", file.path)
            #expect(again["created"] == 0 && again["unchanged"] == 4, "\(again)")
            // A pipe, whatever it is called; and another order of columns is the same row.
            try "phone,name\n,Piped\n".write(to: file, atomically: true, encoding: .utf8)
            for (script, created) in [
                ("cat \"$3\" | IMPORT -", 1), ("cat \"$3\" | IMPORT /dev/stdin", 0), ("IMPORT <(cat \"$3\")", 0),
                ("echo '{\"name\":\"Lines\"}' | IMPORT -", 1),
            ] {
                let finished = try await piped(script, worker, file)
                #expect(finished.code == 0, "\(script): \(finished.errors)")
                #expect(try JSONValue(parsing: finished.output)["created"] == .integer(Int64(created)), "\(script): \(finished.output)")
            }
            try await worker.json("sync")
            #expect(try await worker.json("problems")["total"] == 0)
            #expect(try await worker.isIdentical())
        }
    }

    @Test func interruptedImport_saysHowFarItGot_andIsDoneByTheSameFileAgain() async throws {
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            let file = company.folder.appendingPathComponent("c.csv")
            let count = 4_000
            try ("name\n" + (0..<count).map { "Client \($0)\n" }.joined()).write(to: file, atomically: true, encoding: .utf8)
            let program = try RunningProgram("replica", ["--db", worker.file, "import", "client", file.path])
            while program.isRunning, try await worker.json("pending", codes: [0, 5])["total"]?.integerValue ?? 0 == 0 {}
            program.signal(SIGINT)
            let finished = await program.finish()
            #expect(finished.code == -SIGINT, "\(finished)")
            #expect(finished.output.contains(" created, 0 changed, 0 unchanged, 0 refused"), "\(finished)")
            #expect(finished.errors.contains("of \(count) rows were not reached") && finished.errors.contains("import the same file again"))
            let taken = try #require(finished.output.split(separator: " ").compactMap { Int64($0) }.first)
            #expect(taken > 0 && taken < count)
            let rest = try await worker.json("import", "client", file.path)
            #expect(rest["created"] == .integer(Int64(count) - taken) && rest["unchanged"] == .integer(taken), "\(rest)")
            #expect(try await worker.json("list", "client")["total"] == .integer(Int64(count)))
        }
    }
}
