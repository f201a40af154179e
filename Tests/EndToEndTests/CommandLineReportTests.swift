// What a person and a script are told: of edits by plain SQL that were refused, of syncs that worked by half, of values that cannot
// be read, of long texts in a history.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica
@testable import replica_cli

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

extension Worker {
    /// Runs a script in the real shell on the file.
    @discardableResult
    func shell(_ script: String) async throws -> String {
        let finished = try await RunningProgram(path: "/usr/bin/env", ["sqlite3", "-bail", "-cmd", ".timeout 20000", file, script]).finish()
        guard finished.code == 0 else { throw UnexpectedResult(description: finished.errors) }
        return finished.output
    }
}

@Suite struct CommandLineReportTests {
    private static let nonsense = "UPDATE client SET email = 'nonsense'"

    /// Values go to the record that was complained about, and to any other of the same change by name.
    @Test func problemOfSeveralRecords_isEditedRecordByRecord() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            var ids: [String] = []
            for name in ["Pier 8", "Pier 9"] {
                ids.append(try #require(try await olivia.json("add", "client", "name=\(name)")["id"]?.stringValue))
            }
            try await olivia.json("sync")
            func refuse(_ phone: String) async throws {
                try await olivia.shell(
                    """
                    BEGIN; INSERT INTO tideline_group (summary) VALUES ('both piers');
                    UPDATE client SET phone = '\(phone)' WHERE id = '\(ids[0])';
                    UPDATE client SET email = 'nonsense' WHERE id = '\(ids[1])'; DELETE FROM tideline_group; COMMIT;
                    """)
                try await olivia.json("status")
            }
            try await refuse("+15550100")
            try await olivia.json("edit", "3", "email=pier9@example.com")
            #expect(try await olivia.field("client", ids[0], "phone") == "+15550100")
            #expect(try await olivia.field("client", ids[1], "email") == "pier9@example.com")
            try await refuse("+15550101")
            // The other record alone does not mend it, and the problem stays.
            let number = try #require(try await olivia.json("problems")["data"]?[0]?["id"]?.integerValue)
            #expect(try await olivia.run("edit", "\(number)", "--record", ids[0], "phone=+15550142").code == 1)
            let unknown = try await olivia.run("edit", "\(number)", "--record", "ffff", "phone=+15550142")
            #expect(unknown.code == 2 && unknown.errors.contains("no record") && unknown.errors.contains(ids[1]), "\(unknown.errors)")
            let both = try await olivia.run("edit", "\(number)", "--record", "01", "phone=+15550142")
            #expect(both.code == 2 && both.errors.contains("2 records"), "\(both.errors)")
            #expect(try await olivia.run("edit", "\(number)", "--record", ids[1], "email=").code == 0)
            #expect(try await olivia.json("problems")["total"] == 0)
            try await olivia.json("sync")
            #expect(try await olivia.isIdentical())
        }
    }

    @Test func refusedEditsByPlainSQL_areToldByWhateverCommandComesNext() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("add", "client", "name=Pier 9")
            try await olivia.json("sync")
            // Any command tells, once; a shell that completes a word does not use it up.
            try await olivia.shell(Self.nonsense)
            _ = try await run("replica", ["__complete", "bash", "--", "show", "client", ""], environment: ["TIDELINE_DB": olivia.file])
            let listed = try await olivia.run("list", "client")
            #expect(listed.code == 0)
            #expect(listed.errors == "1 edit by plain SQL was refused; see replica problems\n")
            #expect(try await olivia.run("list", "client").errors.isEmpty)
            // A sync counts it, prints it and exits with 1.
            try await olivia.shell(Self.nonsense)
            let synced = try await olivia.run("sync")
            #expect(synced.code == 1)
            #expect(synced.output.contains("sent 2 changes (2 taken out)"), "\(synced.output)")
            #expect(synced.output.contains("problem 3: ") && synced.output.contains("email: ") && synced.output.contains("invalid_format"))
            #expect(!synced.output.contains("problem 2: ") && synced.errors.isEmpty, "\(synced.output) \(synced.errors)")
            #expect(try await olivia.run("sync").code == 0)
            try await olivia.shell(Self.nonsense)
            let document = try await olivia.json("sync", codes: [1])
            #expect(document["problems"]?.arrayValue?.map { $0["status"] } == ["refused"])
            #expect(document["withdrawn"] == 1)
            // What is pending is a marker, and is shown as one.
            try await olivia.shell(Self.nonsense)
            let problems = try await olivia.run("problems")
            #expect(problems.errors.isEmpty && problems.output.contains("\n5  "))
            #expect(try await olivia.run("pending").output.contains("taken out, see problem 5"))
            let pending = try await olivia.json("pending")["data"]?[0]
            #expect(pending?["withdrawn"] == true && pending?["problem"] == 5 && pending?["set"] == 5)
            try await olivia.json("sync")
            // A watch tells at once, with a connection and without.
            for isOnline in [true, false] {
                if !isOnline { await company.killServer() }
                let number = isOnline ? 6 : 7
                let watch = try RunningProgram("replica", ["--db", olivia.file, "sync", "--watch"])
                if !isOnline { #expect(try await watch.wait { $0.errors.contains("trying again") }) }
                try await olivia.shell(Self.nonsense)
                let isTold = try await watch.wait { $0.output.contains("problem \(number): ") && $0.output.contains("invalid_format") }
                #expect(isTold, "\(watch.output) \(watch.errors)")
                watch.signal(SIGTERM)
                _ = await watch.finish()
            }
        }
    }

    @Test func syncThatCannotSend_isOneDocument_withItsExitCode() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=Pier 9")
            // What the server cannot read it refuses as a whole; fetching works all the same.
            try await olivia.shell("UPDATE _tideline_pending SET hash = 'x'")
            let finished = try await olivia.run("--json", "sync")
            #expect(finished.code == 1, "\(finished)")
            let document = try JSONValue(parsing: finished.output)
            #expect(document["push_failure"]?["code"] == "server_refused" && document["pulled"] != nil, "\(finished.output)")
            #expect(document["fork"]?.isNull == true && document["activity_failure"]?.isNull == true)
            let words = try await olivia.run("sync")
            #expect(words.code == 1 && words.output.contains("fetched") && !words.errors.isEmpty, "\(words)")
        }
    }

    @Test func undo_ofASetThatCannotBeTakenBack_namesTheOneBefore() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let ben = try await company.enrolled("ben", code: try await company.code(for: "ben"))
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=Pier 9")
            let renamed = try await olivia.json("set", "client", "Pier", "name=Pier 9 Marina")["set"]?.integerValue ?? 0
            let phoned = try await olivia.json("set", "client", "Pier", "phone=+15550100")["set"]?.integerValue ?? 0
            try await olivia.json("sync")
            try await ben.json("sync")
            try await ben.json("set", "client", "Pier", "phone=+15550199")
            try await ben.json("sync")
            try await olivia.json("sync")
            let offered = try await run("replica", ["__complete", "fish", "--", "undo", ""], environment: ["TIDELINE_DB": olivia.file])
            #expect(offered.output.split(separator: "\n").prefix(2).map { $0.prefix { $0 != "\t" } } == ["\(phoned)", "\(renamed)"])
            let stuck = try await olivia.run("undo")
            #expect(stuck.code == 1 && stuck.output.contains("nothing of set \(phoned)"), "\(stuck)")
            #expect(stuck.output.contains("replica undo \(renamed)\n"), "\(stuck.output)")
            #expect(try await olivia.json("undo", codes: [1])["earlier"] == .integer(renamed))
            try await olivia.json("undo", "\(renamed)")
            #expect(try await olivia.field("client", "Pier", "name") == "Pier 9")
            // Named by itself it says what is so, and nothing else.
            let named = try await olivia.run("undo", "\(phoned)")
            #expect(named.code == 1 && named.output.contains("changed since") && !named.output.contains("the one before"))
        }
    }

    @Test func history_showsLongTexts_asTheyWereAndAre() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.json("add", "client", "name=Pier 9")
            try await olivia.json("add", "site", "client=Pier", "name=Quay", "address.city=Oslo", "access_notes=Key at desk\nsecond floor")
            try await olivia.json("set", "site", "Quay", "access_notes=Ask for Sam, \(String(repeating: "and wait, ", count: 60))")
            let history = try await olivia.run("history", "site", "Quay")
            #expect(history.output.contains("access_notes was: Key at desk ⏎ second floor\n"), "\(history.output)")
            #expect(history.output.contains("access_notes now: Ask for Sam, and wait"))
            #expect(history.output.split(separator: "\n").allSatisfy { $0.count < 260 })
            let narrow = try await run("replica", ["--db", olivia.file, "history", "site", "Quay"], environment: ["COLUMNS": "60"])
            #expect(narrow.output.split(separator: "\n").contains { $0.contains("now: ") && DisplayWidth.of(String($0)) == 60 })
            #expect(
                try await olivia.json("history", "site", "Quay")["data"]?[1]?["changes"]?["access_notes"]?["old"]
                    == "Key at desk\nsecond floor")
        }
    }

    @Test func emptyCells_emptyFieldsOfExistingRecords_andExportImportChangesNothing() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.json("add", "custom_field", "entity=client", "key=gate_code", "label=Gate code", "kind=text")
            let id =
                try await olivia.json(
                    "add", "client", "name=Pier 9", "phone=+15550100", "tags=a,b", "custom.gate_code=77", "billing_address.city=Oslo",
                    "billing_address.line1=Quay 1", "notes=long")["id"]?.stringValue ?? ""
            let file = company.folder.appendingPathComponent("c.csv")
            for entity in ["client", "member", "custom_field"] {
                let exported = try await olivia.run("export", entity)
                try exported.output.write(to: file, atomically: true, encoding: .utf8)
                let again = try await olivia.json("import", entity, file.path)
                #expect(again["changed"] == 0 && again["created"] == 0 && again["unchanged"] != 0, "\(entity): \(again)")
            }
            try "id,phone,tags,custom,billing_address.line1,website\n\(id),,,,,\n".write(to: file, atomically: true, encoding: .utf8)
            #expect(try await olivia.json("import", "client", file.path)["changed"] == 1)
            let record = try await olivia.json("show", "client", id)
            for field in ["phone", "website"] { #expect(record[field]?.isNull ?? true, "\(field)") }
            #expect(record["tags"]?.arrayValue?.isEmpty ?? true)
            #expect(record["custom"]?.objectValue?.isEmpty ?? true)
            #expect(record["billing_address"] == ["city": "Oslo"] && record["notes"] == "long" && record["name"] == "Pier 9")
            // What must not be empty is refused with its line; a new record has nothing to empty.
            try "id,name\n\(id),\n,Harbor\n".write(to: file, atomically: true, encoding: .utf8)
            let refused = try await olivia.json("import", "client", file.path, codes: [1])
            #expect(refused["created"] == 1 && refused["refused"]?[0]?["line"] == 2)
            // The currency most companies have need not be written.
            try "title,client,amount,owner\nRefit,Pier 9,12.50,olivia@example.com\n".write(to: file, atomically: true, encoding: .utf8)
            #expect(try await olivia.json("import", "deal", file.path)["created"] == 1)
            #expect(try await olivia.field("deal", "Refit", "currency") == "USD")
            #expect(try await olivia.field("deal", "Refit", "amount") == 1250)
            // One document for scripts.
            let document = try await olivia.json("export", "client")
            #expect(document["data"]?.arrayValue?.count == 2 && document["total"] == 2 && document["has_more"] == false)
            #expect(document["next_cursor"]?.isNull == true)
            let both = try await olivia.run("--json", "export", "client", "--format", "csv")
            #expect(both.code == 2)
        }
    }

    @Test func whatTheTerminalShows_canBeTypedBack() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            let id = try await olivia.json("add", "client", "name=Pier 9")["id"]?.stringValue ?? ""
            let shown = try await olivia.run("list", "client").output.split(separator: "\n")[1].prefix(12)
            for typed in [String(shown), String(shown.prefix(6)), String(shown.suffix(6)), String(id.prefix(10))] {
                #expect(try await olivia.field("client", typed, "id") == .string(id), "\(typed)")
            }
            let empty = try await olivia.run("log", "--since", "tomorrow")
            #expect(empty.code == 0 && empty.output.contains("nothing to show"))
            try await olivia.json("sync")
            for options in [["--since", "yesterday"], ["--since", "today", "--until", "today"], ["--until", "yesterday"]] {
                let finished = try await run("replica", ["--db", olivia.file, "log"] + options)
                #expect(finished.output.contains("Pier 9") == (options.first == "--since"), "\(options): \(finished.output)")
            }
            let wrong = try await olivia.run("log", "--since", "whenever")
            #expect(wrong.code == 2 && wrong.errors.contains("yesterday"))
            // Words that no entry carries are refused with those that there are, instead of finding nothing.
            for (option, value, choice) in [
                ("--kind", "client.winked", "client.on_hold"), ("--kind", "spaceship.*", "client.*"),
                ("--kind", "client", "client.created"),
                ("--category", "friendship", "relationship"), ("--level", "high", "major, minor"),
            ] {
                let refused = try await olivia.run("log", option, value)
                #expect(refused.code == 2 && refused.errors.contains(choice), "\(option) \(value): \(refused.code) \(refused.errors)")
                #expect(refused.errors.contains("\(option) is one of") && refused.errors.contains(value), "\(refused.errors)")
            }
            let found = try await olivia.json("log", "--kind", "client.*", "--category", "relationship", "--level", "major")
            #expect(found["data"]?.arrayValue?.count == 1 && found["data"]?[0]?["kind"] == "client.created")
            let member = try await olivia.run("do", "disable", "member", "olivia@example.com")
            let address = await company.address
            #expect(member.code == 1 && member.errors.contains("\(address)/v1/member/"), "\(member.errors)")
            #expect(member.errors.contains("/transitions/disable"))
            let revoke = try await olivia.run("do", "revoke", "replica", "olivia")
            #expect(revoke.errors.contains("sync-server replica revoke --tenant"), "\(revoke.errors)")
            // A code that was used, and one that never was.
            for code in [await company.ownerCode, "AAAA-BBBB-CCCC-DDDD"] {
                let other = company.folder.appendingPathComponent("other.db").path
                let refused = try await run("replica", ["--db", other, "enroll", address, code])
                #expect(refused.code == 4 && refused.errors.contains("ask an owner for a new enrolment code"), "\(refused)")
            }
            let far = try await olivia.run("set", "client", "Pier", "credit_limit=99999999999999")
            #expect(far.code == 1 && far.errors.contains("between 0.00 and 10,000,000,000.00"), "\(far.errors)")
        }
    }

    @Test func predictedRejection_isShown_andSettled_beforeTheServerSaysSo() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("add", "client", "name=Pier 9", "notes=base")
            try await olivia.json("sync")
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            try await marcus.json("sync")
            // His edit is made before he hears of hers; he hears of it before his own goes up.
            try await marcus.json("set", "client", "Pier 9", "notes=his")
            try await olivia.json("set", "client", "Pier 9", "notes=hers")
            try await olivia.json("sync")
            var fetching = SyncOptions()
            fetching.pushes = false
            let file = try await Replica.open(marcus.file)
            #expect(try await file.sync(fetching).predictedRejections == 1)
            await file.close()
            let shown = try await marcus.run("problems")
            for words in ["would be rejected", "base", "hers", "his", "Olivia Reyes"] {
                #expect(shown.output.contains(words), "\(shown.output)")
            }
            let document = try await marcus.json("problems")["data"]?[0]
            #expect(document?["status"] == "predicted")
            let number = document?["set"]?.integerValue ?? 0
            #expect(document?["id"] == document?["set"])
            let edited = try await marcus.run("edit", "\(number)", "notes=both")
            #expect(edited.code == 0, "\(edited.errors)")
            try await marcus.json("sync")
            #expect(try await marcus.json("problems")["total"] == 0)
            try await olivia.json("sync")
            #expect(try await olivia.json("show", "client", "Pier 9")["notes"] == "both")
        }
    }

    @Test func watch_staysLive_andSaysOnce_thatNothingIsTaken() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            let added = try await company.admin(
                "member", "add", "--tenant", await company.tenant, "--name", "Rita", "--email", "rita@example.com", "--role", "manager",
                "--replication", "readonly")
            let rita = try await company.enrolled("rita", code: added["code"]?.stringValue ?? "")
            try await rita.json("sync")
            try await rita.json("add", "client", "name=Never taken")
            let watch = try RunningProgram("replica", ["--db", rita.file, "sync", "--watch"])
            #expect(try await watch.wait { $0.errors.contains("news keeps coming") }, "\(watch.errors)")
            for name in ["North", "South"] {
                try await olivia.json("add", "client", "name=\(name)")
                try await olivia.json("sync")
                var isThere = false
                while !isThere { isThere = try await rita.json("list", "client", "--where", "name = \(name)")["total"] == 1 }
            }
            watch.signal(SIGTERM)
            let finished = await watch.finish()
            let told = finished.errors.split(separator: "\n").filter { $0.contains("news keeps coming") }
            #expect(told.count == 1 && told.first?.contains("read-only") == true && told.first?.contains("request") == false, "\(told)")
            #expect(try await rita.json("pending")["total"] == 1)
        }
    }

    @Test func programThatOnlyExplains_needsNoHome() async throws {
        let environment = ["HOME": "/proc/nowhere", "XDG_DATA_HOME": "", "TIDELINE_DB": ""]
        for arguments in [["help"], ["schema"], ["schema", "client"], ["completions", "bash"], ["--version"], ["help", "--man"]] {
            let finished = try await run("replica", arguments, environment: environment)
            #expect(finished.code == 0 && finished.errors.isEmpty, "\(arguments): \(finished.errors)")
        }
        let status = try await run("replica", ["status"], environment: environment)
        #expect(status.code == 4 && status.errors.contains("enrol"), "\(status.errors)")
        let enroll = try await run("replica", ["enroll", "http://127.0.0.1:1", "CODE"], environment: environment)
        #expect(enroll.code == 5 && enroll.errors.contains("/proc/nowhere"), "\(enroll.errors)")
        let version = try await run("replica", ["--json", "--version"])
        #expect(try JSONValue(parsing: version.output)["schema"] != nil)
        let client = try await run("replica", ["schema", "client"]).output
        #expect(client.split(separator: "\n").contains { $0.contains("default_tax_rate") && $0.contains("not in this version") })
        #expect(client.contains("max 10,000,000,000.00"))
        let offered = try await run("replica", ["__complete", "bash", "--", "add", "client", "def"], environment: environment)
        #expect(offered.output.isEmpty && offered.code == 0, "\(offered.output)")
    }

    @Test func log_keepsAsMuchAsTheEnvironmentSays() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            for number in 1...5 { try await olivia.json("add", "client", "name=Client \(number)") }
            func sync(_ environment: [String: String]) async throws -> Finished {
                try await run("replica", ["--db", olivia.file, "sync"], environment: environment)
            }
            #expect(try await sync(["TIDELINE_LOG_ENTRIES": "3", "TIDELINE_LOG_DAYS": "30"]).code == 0)
            #expect(try await olivia.json("log")["data"]?.arrayValue?.count == 3)
            for (name, value) in [("TIDELINE_LOG_ENTRIES", "many"), ("TIDELINE_LOG_DAYS", "0"), ("TIDELINE_LOG_DAYS", "-1")] {
                let refused = try await sync([name: value])
                #expect(refused.code == 2 && refused.errors.contains(name), "\(refused)")
            }
        }
    }
}
