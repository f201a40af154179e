// The command as a person and a script meet it: bad input gets a clear error and exit code, and loses nothing.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct CommandLineTests {
    @Test(arguments: [
        (["lst"], 2, "there is no command"), (["list"], 2, "ENTITY is missing"), (["list", "clients"], 2, "there is no entity"),
        (["list", "client", "--limit", "0"], 2, "--limit"), (["list", "client", "--limt", "3"], 2, "no option --limt"),
        (["add", "client", "name"], 2, "field=value"), (["enroll", "ftp://x", "CODE"], 2, "http"), (["help", "nothing"], 2, "no command"),
        (["schema", "nothing"], 2, "no entity"), (["--db"], 2, "--db needs a file"), (["status"], 4, "enrol one first"),
        (["sync"], 4, "enrol one first"), (["enroll", "http://127.0.0.1:1", "CODE"], 3, "127.0.0.1"),
        (["show", "client"], 2, "RECORD is missing"), (["show", "client", "a", "b"], 2, "too many words"),
        (["lsit"], 2, "did you mean list"),
        (["help", "wher"], 2, "did you mean where"), (["completions", "csh"], 2, "bash"),
        (["enroll", "http://127.0.0.1:1"], 2, "CODE is missing"),
        (["enroll", "127.0.0.1:1", "CODE"], 2, "http"), (["list", "client", "--sort"], 2, "--sort needs a value"),
        (["list", "client", "--deleted=1"], 2, "takes no value"), (["list", "client", "--sort", "a", "--sort", "b"], 2, "twice"),
        (["-x"], 2, "no command"),
        (["list", "-x", "client"], 2, "two dashes"),
    ])
    func badCall_saysWhatIsWrong_withItsExitCode(arguments: [String], code: Int, words: String) async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        // "There is no replica" is told only for calls that make sense otherwise, so entity and option errors need none.
        let file = folder.appendingPathComponent("r.db").path
        let finished = try await run("replica", (arguments.first == "--db" ? [] : ["--db", file]) + arguments)
        if code == 2, finished.code == 4 {
            #expect(finished.errors.contains("enrol one first"))
        } else {
            #expect(finished.code == Int32(code), "\(finished.errors)")
            #expect(finished.errors.contains(words), "\(finished.errors)")
        }
        // An enrolment that got no answer may have spent its code: the file can ask for the answer.
        let mayStay = arguments.first == "enroll" && code == 3
        #expect(mayStay || !FileManager.default.fileExists(atPath: file), "a failed call leaves no file behind")
    }

    @Test func filesThatAreNoReplica_areStorageErrors_andStayAsTheyAre() async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let text = folder.appendingPathComponent("notes.txt").path
        try String(repeating: "these are notes\n", count: 200).write(toFile: text, atomically: true, encoding: .utf8)
        let before = try Data(contentsOf: URL(fileURLWithPath: text))
        for arguments in [
            ["status"], ["list", "client"], ["add", "client", "name=x"], ["sync"], ["sql", "SELECT 1"], ["export", "client"],
        ] {
            for file in [text, folder.path] {
                let finished = try await run("replica", ["--db", file] + arguments)
                #expect(finished.code == 5 && !finished.errors.isEmpty, "\(file) \(arguments): \(finished.code) \(finished.errors)")
                let json = try await run("replica", ["--json", "--db", file] + arguments)
                #expect(try JSONValue(parsing: json.output)["error"]?["code"] == "storage", "\(json.output)")
            }
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: text)) == before)
    }

    @Test func everyCommand_answersItsErrorsInWords_andInJSON() async throws {
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            try await worker.json("add", "client", "name=Pier 9")
            try await worker.json("add", "deal", "title=Refit", "client=Pier 9", "amount=1", "owner=olivia@example.com")
            let csv = company.folder.appendingPathComponent("x.csv").path
            try "name,name\na,b\n".write(toFile: csv, atomically: true, encoding: .utf8)
            let cases: [(arguments: [String], code: Int32, word: String)] = [
                (["enroll", await company.address, "X"], 4, "another file"), (["show", "client", "nobody"], 1, "replica list client"),
                (["set", "client", "nobody", "name=x"], 1, "nobody"),
                (["set", "client", "Pier", "nonsense=x"], 2, "replica schema client"),
                (["add", "client", "foo=bar"], 2, "client has no field foo"), (["set", "client", "Pier", "nme=x"], 2, "did you mean name"),
                (["set", "deal", "Refit", "probability=likely"], 2, "whole number"),
                (["set", "deal", "Refit", "probability=400"], 1, "100"),
                (["set", "client", "Pier", "default_tax_rate=x"], 2, "this version does not have"),
                (["set", "client", "Pier", "billing_address.town=x"], 2, "city"), (["do", "lose", "deal", "Refit", "why=x"], 2, "reason"),
                (["list", "client", "--sort", "nme"], 2, "did you mean name"),
                (["list", "client", "--sort", "-nme"], 2, "did you mean name"),
                (["set", "client", "Pier", "status=archived"], 1, "status"), (["set", "client", "Pier", "phone=12"], 1, "phone"),
                (["set", "client", "Pier", "owner=nobody"], 1, "replica list member"),
                (["set", "client", "Pier", "custom.x=1"], 2, "custom.x"),
                (["set", "client", "Pier", "name"], 2, "field=value"), (["set", "client", "Pier", "=x"], 2, "field name"),
                (["set", "client", "Pier", "name+=x"], 2, "not a set"), (["set", "client", "Pier", "name.x=1"], 2, "no parts"),
                (["add", "client"], 1, "name"), (["add", "deal", "title=x"], 1, "client"),
                (["add", "deal", "title=x", "client=Pier", "amount=€5"], 2, "USD"),
                (["do", "hld", "client", "Pier"], 2, "did you mean hold"), (["do", "qualify", "site", "x"], 1, "no site x"),
                (["do", "hold", "client", "nobody"], 1, "nobody"), (["remove", "client", "nobody"], 1, "nobody"),
                (["restore", "client", "nobody"], 1, "nobody"),
                (["retry", "1"], 1, "replica problems"), (["edit", "1", "name=x"], 1, "no open problem"),
                (["discard", "x"], 2, "number of a problem"),
                (["problems", "7"], 1, "no open problem"), (["pending", "x"], 2, "too many words"),
                (["import", "client", "/nonexistent.csv"], 2, "/nonexistent.csv"),
                (["import", "client", csv], 2, "twice"), (["export", "client", "--format", "xml"], 2, "csv or jsonl"),
                (["export", "nothing"], 2, "no entity"),
                (["sql", "SELEC 1"], 2, "syntax"), (["sql", "DELETE FROM client"], 2, "write"), (["sql", "SELECT 1; SELECT 2"], 2, ""),
                (["list", "client", "--limit", "201"], 2, "1 to 200"), (["list", "client", "--cursor", "e30"], 2, "cursor"),
            ]
            for one in cases {
                let finished = try await run("replica", ["--db", worker.file] + one.arguments)
                #expect(finished.code == one.code, "\(one.arguments): \(finished.code) \(finished.errors)")
                #expect(finished.errors.contains(one.word) || one.word.isEmpty, "\(one.arguments): \(one.word) in \(finished.errors)")
            }
            await company.killServer()
            for arguments in [["sync"], ["digest", "--server"]] {
                let finished = try await run("replica", ["--db", worker.file, "--json"] + arguments)
                #expect(finished.code == 3)
                #expect(try JSONValue(parsing: finished.output)["error"]?["hint"]?.stringValue?.contains("safe") == true)
            }
            // For scripts, a mistake in the call is one, whichever option or word it is in.
            for arguments in [
                ["set", "client", "Pier", "foo=1"], ["list", "client", "--columns", "foo"], ["add", "deal", "probability=x"],
            ] {
                let finished = try await run("replica", ["--db", worker.file, "--json"] + arguments)
                #expect(finished.code == 2)
                #expect(try JSONValue(parsing: finished.output)["error"]?["code"] == "usage", "\(finished.output)")
            }
            #expect(try await worker.json("pending")["total"] == 2, "none of this changed anything")
        }
    }

    @Test func help_explainsEveryCommand() async throws {
        let overview = try await run("replica", ["help"])
        #expect(overview.code == 0)
        for command in ["enroll", "sync", "list", "add", "set", "do", "problems", "import"] {
            #expect(overview.output.contains("  \(command) "))
            let help = try await run("replica", ["help", command])
            #expect(help.code == 0 && help.output.count > 80)
        }
    }

    @Test func help_isOneDocument_withJSON() async throws {
        let overview = try JSONValue(parsing: try await run("replica", ["--json", "help"]).output)
        let names = (overview["commands"]?.arrayValue ?? []).compactMap { $0["command"]?.stringValue }
        #expect(names.contains("sync") && names.count > 25)
        for name in names {
            let page = try JSONValue(parsing: try await run("replica", ["help", name, "--json"]).output)
            #expect(page["command"]?.stringValue == name && page["text"]?.stringValue?.isEmpty == false, "\(name): \(page)")
        }
        for topic in overview["topics"]?.arrayValue ?? [] {
            let name = topic["topic"]?.stringValue ?? ""
            let page = try JSONValue(parsing: try await run("replica", ["--json", "help", name]).output)
            #expect(page["text"]?.stringValue?.isEmpty == false, "\(name)")
        }
        let lines = try JSONValue(parsing: try await run("replica", ["completions", "bash", "--json"]).output)
        #expect(lines["script"]?.stringValue?.contains("complete") == true)
        let nothing = try await run("replica", ["--json"])
        #expect(nothing.code == 2)
        #expect(try JSONValue(parsing: nothing.output)["error"]?["code"] == "usage", "\(nothing.output)")
    }

    @Test func refusals_nameFieldAndCode_andChangeNothing() async throws {
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            let other = company.folder.appendingPathComponent("x.db").path
            let reused = try await run("replica", ["--db", other, "enroll", await company.address, await company.ownerCode])
            #expect(reused.code != 0 && reused.errors.contains("code"), "a code works once: \(reused.errors)")
            try await worker.json("sync")
            let bad = try await worker.run("add", "client", "name=A", "phone=12", "payment_terms_days=400")
            #expect(bad.code == 1)
            for words in ["phone", "invalid_format", "payment_terms_days", "out_of_range"] {
                #expect(bad.errors.contains(words), "\(words) in \(bad.errors)")
            }
            // What cannot be read at all is told first, all of it at once.
            let unread = try await worker.run("add", "client", "name=A", "phone=12", "nonsense=1", "payment_terms_days=soon")
            #expect(unread.code == 2)
            for words in ["nonsense", "unknown_field", "payment_terms_days", "invalid_format"] {
                #expect(unread.errors.contains(words), "\(words) in \(unread.errors)")
            }
            #expect(try await worker.run("add", "deal", "title=T", "client=nobody", "amount=12.345").code == 1)
            #expect(try await worker.json("pending")["total"] == 0)
            #expect(try await worker.json("list", "client")["total"] == 0)
            let id =
                try await worker.json(
                    "add", "client", "name=Ünïcode \"quoted\", and 'more'", "billing_address.city=Oslo", "billing_address.country=NO")[
                    "id"]?.stringValue ?? ""
            #expect(try await worker.field("client", String(id.prefix(8)), "name") == "Ünïcode \"quoted\", and 'more'")
            #expect(try await worker.field("client", id, "billing_address") == ["city": "Oslo", "country": "NO"])
            #expect(try await worker.field("client", String(id.suffix(12)), "id") == .string(id))
            #expect(try await worker.field("client", "Ünïcode \"q", "id") == .string(id))
            let deal =
                try await worker.json(
                    "add", "deal", "title=Refit", "client=\(id)", "amount=1250.50", "currency=USD", "owner=olivia@example.com")["id"]?
                .stringValue ?? ""
            #expect(try await worker.field("deal", deal, "amount") == 125_050)
            #expect(try await worker.run("do", "lose", "deal", "Refit").code == 1)
            try await worker.json("do", "lose", "deal", "Refit", "reason=too expensive")
            #expect(try await worker.field("deal", deal, "stage") == "lost")
            #expect(try await worker.json("list", "deal", "--where", "amount >= 1250.50", "--where", "stage = lost")["total"] == 1)
            #expect(try await worker.json("list", "deal", "--where", "amount > 1250.50")["total"] == 0)
            #expect(try await worker.run("list", "deal", "--where", "amount").code == 2)
            try await worker.json("sync")
            #expect(try await worker.isIdentical())
            let csv = try await worker.run("export", "client")
            #expect(csv.output.contains("\"Ünïcode \"\"quoted\"\", and 'more'\""))
        }
    }

    @Test func import_isRepeatable_andTellsTheLineOfWhatItRefuses() async throws {
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            let file = company.folder.appendingPathComponent("c.csv")
            let text = #"""
                id,name,tags
                6d27a674-97ba-54c9-aab0-0ed667640eaa,First,a;b
                not-an-id,Second,
                abdbea55-e5a1-53e5-a139-b0d349899c9c,,c
                65fa9511-f05a-5d26-be71-44ea539119be,"Quoted, ""name""",c

                """#
            try text.write(to: file, atomically: true, encoding: .utf8)
            let first = try await worker.json("import", "client", file.path, codes: [1])
            #expect(first["created"] == 2)
            #expect(first["refused"]?.arrayValue?.compactMap { $0["line"]?.integerValue } == [3, 4])
            let second = try await worker.json("import", "client", file.path, codes: [1])
            #expect(second["created"] == 0 && second["unchanged"] == 2)
            #expect(try await worker.json("pending")["total"] == 2, "one change set a record")
            try "name, tgas\nA,b\n".write(to: file, atomically: true, encoding: .utf8)
            let mistyped = try await worker.run("import", "client", file.path)
            #expect(mistyped.code == 2 && mistyped.errors.contains("tgas") && mistyped.errors.contains("did you mean tags"))
            try "name\nA\u{0}\n".write(to: file, atomically: true, encoding: .utf8)
            let binary = try await worker.run("import", "client", file.path)
            #expect(binary.code == 2 && binary.errors.contains("line 2: NUL"))
            try "name\n\"unclosed".write(to: file, atomically: true, encoding: .utf8)
            let broken = try await worker.run("import", "client", file.path)
            #expect(broken.code == 2 && broken.errors.contains("line 2"))
        }
    }
}
