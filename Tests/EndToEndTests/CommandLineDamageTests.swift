// Files in trouble: damaged, cut off, empty, of something else, locked, shut out. Each is told in words, with what to do, and a check-up
// finds what can be found.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct CommandLineDamageTests {
    private static func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

    private func copy(_ worker: Worker, _ name: String, _ change: (inout [UInt8]) throws -> Void) throws -> Worker {
        let path = URL(fileURLWithPath: worker.file).deletingLastPathComponent().appendingPathComponent("\(name).db").path
        var bytes = try Self.bytes(worker.file)
        try change(&bytes)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return Worker(file: path)
    }

    private func bundle(_ path: String) throws -> JSONValue { try JSONValue(parsing: try Self.bytes(path)) }

    @Test func doctor_saysWhatIsLeftOfADamagedFile_andWritesItsBundle() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let csv = company.folder.appendingPathComponent("c.csv")
            try ("name,notes\n" + (0..<300).map { "Client \($0),\(String(repeating: "note ", count: 20))\n" }.joined())
                .write(to: csv, atomically: true, encoding: .utf8)
            try await olivia.json("import", "client", csv.path)
            try await olivia.json("sync")
            try await olivia.json("add", "site", "client=Client 7", "name=Waiting", "address.city=Oslo")
            let target = company.folder.appendingPathComponent("bundle.json").path

            // Beyond opening: its end is missing, or its beginning is not its own.
            for (name, words, change) in [
                ("cut", "its end is missing", { (bytes: inout [UInt8]) in bytes.removeLast(bytes.count / 2) }),
                (
                    "overwritten", "not those of a SQLite database",
                    { (bytes: inout [UInt8]) in bytes.replaceSubrange(0..<8, with: Array("garbage!".utf8)) }
                ),
            ] {
                let worker = try copy(olivia, name, change)
                let before = try Self.bytes(worker.file)
                let told = try await worker.run("doctor", "--bundle", target)
                #expect(told.code == 1 && told.errors.isEmpty, "\(name): \(told)")
                #expect(told.output.contains("PROBLEM file: ") && told.output.contains(words), "\(name): \(told)")
                #expect(told.output.contains("backup") && told.output.contains("enroll URL CODE") && !told.output.contains("SQLITE_"))
                let findings = try bundle(target)["findings"]?.arrayValue ?? []
                #expect(findings.contains { $0["text"]?.stringValue?.contains(words) == true }, "\(name): \(findings)")
                #expect(try !String(decoding: Self.bytes(target), as: UTF8.self).contains(company.folder.path), "a path may name a person")
                #expect(try await worker.json("doctor", codes: [1])["level"] == "problem")
                let other = try await worker.run("list", "client")
                #expect(
                    other.code == 5 && other.errors.contains("replica doctor") && !other.errors.contains("SQLITE_"), "\(name): \(other)")
                #expect(try Self.bytes(worker.file) == before, "a check-up changes nothing")
                try FileManager.default.removeItem(atPath: target)
            }

            // A page of one table: the rest can be read, the server be asked, and what waits still goes up.
            let root = Int(
                try await olivia.shell("SELECT rootpage FROM sqlite_schema WHERE name = 'client'").trimmingCharacters(in: .newlines))
            let page = try #require(root)
            let worker = try copy(olivia, "hole") { bytes in
                // The rightmost child of the root, as the file format has it.
                let child = bytes[((page - 1) * 4096 + 8)..<((page - 1) * 4096 + 12)].reduce(0) { $0 << 8 | Int($1) }
                #expect([2, 5].contains(bytes[(page - 1) * 4096]) && child > 1, "the table has more than one page")
                bytes.replaceSubrange(((child - 1) * 4096)..<(child * 4096), with: [UInt8](repeating: 0, count: 4096))
            }
            let told = try await worker.run("doctor", "--bundle", target)
            #expect(told.code == 1, "\(told)")
            #expect(told.output.contains("PROBLEM file: ") && !told.output.contains("PROBLEM server"), "\(told.output)")
            #expect(told.output.contains("not every client can be read"), "\(told.output)")
            #expect(
                told.output.contains("ok      pending: 1 change set waits") && told.output.contains("takes the token"), "\(told.output)")
            let advice = try #require(told.output.range(of: "first: replica sync"))
            #expect(told.output.range(of: "first: replica sync", range: advice.upperBound..<told.output.endIndex) == nil, "advice once")
            #expect(!told.output.contains("export"), "\(told.output)")
            let written = try bundle(target)
            #expect(written["file"]?["entities"]?["client"]?["live"]?["unreadable"] == "SQLITE_CORRUPT", "\(written)")
            #expect(written["file"]?["pending"]?.arrayValue?.count == 1 && written["replica"]?["role"] == "owner", "\(written)")
            #expect(try await worker.run("sync").output.contains("sent 1 change (1 accepted)"), "what waited is not lost")

            // No replica at all.
            let empty = try await (try copy(olivia, "empty") { $0 = [] }).run("list", "client")
            #expect(empty.code == 4 && empty.errors.contains("no replica: it is empty"), "\(empty)")
            let foreign = Worker(file: company.folder.appendingPathComponent("foreign.db").path)
            try await foreign.shell("CREATE TABLE music (title TEXT)")
            let others = try await foreign.run("list", "client")
            #expect(others.code == 4 && others.errors.contains("something else"), "\(others)")
            #expect(try await foreign.shell(".tables").split(separator: " ").count == 1, "nothing was put into it")
        }
    }

    @Test func replicaThatWasShutOut_isToldOneThing_andBundlesKeepWhatWasTyped() async throws {
        try await withCompany { company in
            // A code that is not good leaves nothing behind, journals included.
            let nothing = Worker(file: company.folder.appendingPathComponent("nothing.db").path)
            #expect(try await nothing.run("enroll", await company.address, "WRONG-CODE").code == 4)
            let left = try FileManager.default.contentsOfDirectory(atPath: company.folder.path).filter { $0.hasPrefix("nothing") }
            #expect(left.isEmpty, "\(left)")

            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let ben = try await company.enrolled("ben", code: try await company.code(for: "ben"))
            try await ben.json("add", "client", "name=Pier 9")
            try await ben.json("sync")
            // Keys that nobody defined and that somebody typed, refused and pending.
            try await ben.shell("UPDATE client SET custom = '{\"secretkey\":\"secretvalue\"}'")
            try await ben.json("status")
            let target = company.folder.appendingPathComponent("bundle.json").path
            _ = try await ben.run("doctor", "--bundle", target)
            let text = String(decoding: try Self.bytes(target), as: UTF8.self)
            #expect(text.contains("client.custom.*.unknown_custom_field"), "\(text)")
            for typed in ["secretkey", "secretvalue", "Pier"] { #expect(!text.contains(typed), "\(typed) in \(text)") }

            let replica = try #require(try await ben.json("status")["replica"]?.stringValue)
            _ = try await company.admin("replica", "revoke", "--tenant", await company.tenant, replica)
            for arguments in [["sync"], ["doctor"]] {
                let told = try await run("replica", ["--db", ben.file] + arguments)
                let words = told.output + told.errors
                #expect(told.code == (arguments == ["sync"] ? 4 : 1), "\(arguments): \(told)")
                #expect(words.contains("run on this same file: replica enroll URL CODE; everything in it stays"), "\(arguments): \(words)")
                #expect(!words.contains("export"), "\(arguments): \(words)")
            }
            try await olivia.json("sync")
        }
    }
}
