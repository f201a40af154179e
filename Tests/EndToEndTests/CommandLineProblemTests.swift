// Problems as a person reads them: which record, what was typed, who and when; and what lists and filters show of ids.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct CommandLineProblemTests {
    @Test func problems_showRecordValuePersonAndWholeId() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let ben = try await company.enrolled("ben", code: try await company.code(for: "ben"))
            try await olivia.json("add", "client", "name=Pier 9")
            let gone = try #require(try await olivia.json("add", "client", "name=Old mill")["id"]?.stringValue)
            try await olivia.json("sync")
            try await ben.json("sync")

            // Refused creations are told apart, though the records are nowhere.
            let ids = ["01a21834-0000-7000-8000-00000000000a", "01a21834-0000-7000-8000-00000000000b"]
            for (id, name) in zip(ids, ["North", "South"]) {
                try await olivia.shell("INSERT INTO client (id, name, email) VALUES ('\(id)', '\(name)', '\(name) is no mail')")
            }
            let problems = try await olivia.run("problems").output
            for (id, name) in zip(ids, ["North", "South"]) {
                #expect(problems.contains("  create client \(name)  "), "\(problems)")
                #expect(problems.contains("   client \(id)\n"), "\(problems)")
                #expect(
                    problems.contains("email: must be an e-mail address (invalid_format)\n     yours   \(name) is no mail\n"), "\(problems)"
                )
                #expect(try await olivia.run("history", "client", id).code == 0, "the id that is shown is the id that is taken")
            }
            let discarded = try await olivia.run("discard", "3")
            #expect(discarded.code == 0 && discarded.output.contains("create client North"), "\(discarded)")
            try await olivia.json("discard", "4")
            let tags = try await olivia.run("sql", "--write", "UPDATE client SET tags = '[1]', kinds = '[2]' WHERE name = 'Pier 9'")
            let shown = tags.output + (try await olivia.run("problems").output)
            #expect(!shown.contains(": is a text") && !shown.contains(": is a list"), "\(shown)")

            // Who deleted it, and when, also where only the file's own rules have said no.
            try await ben.json("remove", "client", "Old mill")
            try await ben.json("sync")
            try await olivia.json("set", "client", "Old mill", "phone=+15550100")
            let synced = try await olivia.run("sync")
            #expect(synced.code == 1, "\(synced)")
            let deleted = try await olivia.run("problems").output
            #expect(deleted.contains("change client Old mill: phone") && deleted.contains("   client \(gone)\n"), "\(deleted)")
            #expect(deleted.contains("record_deleted") && deleted.contains("     by      ben at 2"), "\(deleted)")

            // One of anything is one.
            let one = try await olivia.run("sql", "--write", "UPDATE client SET phone = '+15550142' WHERE name = 'Pier 9'")
            #expect(one.output == "1 change is pending; replica sync sends it\n", "\(one)")
            #expect(try await olivia.run("doctor", "--offline").output.contains("pending: 1 change set waits to be confirmed"))
            try await olivia.json("remove", "client", "Pier 9")
            let marked = try await olivia.run("list", "client", "--deleted").output.split(separator: "\n")
            #expect(marked.contains { $0.contains("Pier 9") && $0.hasSuffix("deleted, pending") }, "\(marked)")
            #expect(marked.contains { $0.contains("Old mill") && $0.hasSuffix("deleted") }, "\(marked)")
            // An id is asked for as it is shown.
            for (part, count) in [(gone, 1), (String(gone.suffix(12)), 1), (String(gone.suffix(12).prefix(6)), 1)] {
                let found = try await olivia.json("list", "client", "--deleted", "--where", "id = \(part)")
                #expect(found["total"] == .integer(Int64(count)) && found["data"]?[0]?["name"] == "Old mill", "\(part): \(found)")
            }
            #expect(try await olivia.json("list", "client", "--deleted", "--where", "id != \(gone.suffix(12))")["total"] == 1)
            for (text, code) in [("Pier 9", 2), ("abc", 2), ("ffffffffffff", 1)] {
                let refused = try await olivia.run("list", "client", "--where", "id = \(text)")
                #expect(refused.code == Int32(code) && !refused.errors.isEmpty, "\(text): \(refused)")
            }
        }
    }
}
