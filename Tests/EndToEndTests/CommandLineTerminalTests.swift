// The command on a terminal: what fits, what is coloured, what is paged, and what a closed pipe means.

#if canImport(Glibc)
    import Foundation
    import SyncProtocol
    import TestSupport
    import Testing

    @testable import replica_cli

    @Suite struct CommandLineTerminalTests {
        private func prepared(_ company: Company, clients: Int = 40) async throws -> Worker {
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            let lines = (0..<clients).map { "Client number \($0) with a rather long name 東京ホテル,tag\($0 % 5);all,client\($0)@example.com" }
            let file = company.folder.appendingPathComponent("c.csv")
            try ("name,tags,email\n" + lines.joined(separator: "\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
            try await worker.json("import", "client", file.path)
            return worker
        }

        private static func plain(_ text: String) -> String { text.replacing(/\u{1B}\[[0-9;]*[mK]/, with: "") }

        @Test func tables_fitTheWindow_andAreWholeInAPipe() async throws {
            try await withCompany { company in
                let worker = try await prepared(company)
                for (columns, rows) in [(80, 24), (40, 20), (132, 50)] {
                    let shown = try await PseudoTerminal(columns: columns, rows: rows)
                        .run("replica", ["--db", worker.file, "--no-pager", "list", "client"])
                    #expect(shown.code == 0)
                    let lines = Self.plain(shown.output).split(separator: "\n").map(String.init)
                    let footer = try #require(lines.lastIndex { $0.hasPrefix("40 of 40") })
                    #expect(footer == 41)
                    for line in lines { #expect(DisplayWidth.of(line) <= columns, "\(columns): \(line)") }
                    if columns == 40 { #expect(lines[footer].contains("no room for") && lines[1].contains("…")) }
                }
                let piped = try await worker.run("list", "client")
                #expect(piped.output.contains("with a rather long name 東京ホテル") && !piped.output.contains("\u{1B}"))
                let narrow = try await run("replica", ["--db", worker.file, "list", "client"], environment: ["COLUMNS": "40"])
                #expect(narrow.output.split(separator: "\n").dropLast().allSatisfy { DisplayWidth.of(String($0)) <= 40 })
            }
        }

        @Test func colour_isOnlyForTerminals_thatWantIt() async throws {
            let terminal = PseudoTerminal(columns: 80, rows: 24)
            let arguments = ["--no-pager", "schema", "deal"]
            #expect(try await terminal.run("replica", arguments).output.contains("\u{1B}[1m"))
            for environment in [["NO_COLOR": "1"], ["TERM": "dumb"]] {
                #expect(try await !terminal.run("replica", arguments, environment: environment).output.contains("\u{1B}"))
            }
            #expect(try await terminal.run("replica", arguments, environment: ["NO_COLOR": ""]).output.contains("\u{1B}[1m"))
            #expect(try await !terminal.run("replica", arguments + ["--json"]).output.contains("\u{1B}"))
            #expect(try await !run("replica", ["schema", "deal"]).output.contains("\u{1B}"))
        }

        @Test func longOutput_goesThroughThePager_shortDoesNot() async throws {
            let folder = try Programs.temporaryFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let seen = folder.appendingPathComponent("seen").path
            func shown(_ arguments: String..., pager: String, rows: Int = 24) async throws -> (output: String, paged: String?) {
                try? FileManager.default.removeItem(atPath: seen)
                let result = try await PseudoTerminal(columns: 80, rows: rows).run("replica", arguments, environment: ["PAGER": pager])
                #expect(result.code == 0)
                return (result.output, try? String(contentsOfFile: seen, encoding: .utf8))
            }
            let catching = "sh -c 'cat > \(seen)'"
            let long = try await shown("schema", "client", pager: catching, rows: 10)
            #expect(long.paged?.contains("billing_address") == true && !long.output.contains("billing_address"))
            #expect(try await shown("schema", pager: catching, rows: 60).paged == nil, "it fits")
            let unpaged = try await shown("--no-pager", "schema", "client", pager: catching, rows: 10)
            #expect(unpaged.paged == nil && unpaged.output.contains("billing_address"))
            for pager in ["", "cat", "/nonexistent/pager --fast", "false"] {
                let plain = try await shown("schema", "client", pager: pager, rows: 10)
                #expect(plain.output.contains("billing_address") == (pager != "false"), "\(pager)")
            }
            // A reader who has seen enough after a line is no error.
            #expect(try await shown("schema", "client", pager: "head -n 1", rows: 10).output.contains("field"))
        }

        @Test func less_endsByItself_whenItIsThere() async throws {
            guard Programs.path(of: "less") != nil else { return }
            let result = try await PseudoTerminal(columns: 80, rows: 60).run("replica", ["schema", "client"])
            #expect(result.code == 0 && result.output.contains("billing_address"))
        }

        @Test func progress_isShownOnATerminalOnly_andLeavesNothingBehind() async throws {
            try await withCompany { company in
                let worker = try await company.enrolled("olivia", code: await company.ownerCode)
                let file = company.folder.appendingPathComponent("c.jsonl")
                let lines = (0..<1200).map { "{\"name\":\"Client \($0)\"}" }.joined(separator: "\n")
                try lines.write(to: file, atomically: true, encoding: .utf8)
                let terminal = PseudoTerminal(columns: 80, rows: 24)
                let imported = try await terminal.run("replica", ["--db", worker.file, "import", "client", file.path], errorsToo: true)
                #expect(imported.code == 0 && imported.output.contains("importing client [") && imported.output.contains("100%"))
                #expect(
                    imported.output.contains("\r\u{1B}[Kimported client: 1200 created"), "the bar is wiped: \(imported.output.suffix(200))")
                let synced = try await terminal.run("replica", ["--db", worker.file, "sync"], errorsToo: true)
                #expect(synced.code == 0 && synced.output.contains("syncing: "))
                // What nobody asked for by name and takes its time, too: a check-up and digests read every record.
                for arguments in [["digest"], ["doctor"]] {
                    let compared = try await terminal.run("replica", ["--db", worker.file] + arguments, errorsToo: true)
                    #expect(compared.code == 0 && compared.output.contains("reading every record ["), "\(arguments): \(compared.output)")
                    let last = try #require(compared.output.range(of: "reading every record [", options: .backwards))
                    #expect(compared.output[last.lowerBound...].contains("\r\u{1B}[K"), "the bar is wiped: \(compared.output)")
                    #expect(try await !worker.run(arguments[0]).errors.contains("reading"), "only where somebody watches")
                }
                let dumb = try await terminal.run("replica", ["--db", worker.file, "sync"], environment: ["TERM": "dumb"], errorsToo: true)
                #expect(dumb.code == 0 && !dumb.output.contains("syncing") && !dumb.output.contains("\u{1B}"))
                let quiet = try await worker.run("sync")
                #expect(!quiet.errors.contains("syncing") && quiet.errors.isEmpty)
            }
        }

        @Test func closedPipe_isNoError_butAFullDiskIs() async throws {
            try await withCompany { company in
                let worker = try await prepared(company, clients: 600)
                let replica = Programs.folder.appendingPathComponent("replica").path
                let script = "\"$1\" --db \"$2\" export client | head -n 1; exit ${PIPESTATUS[0]}"
                let head = try await RunningProgram(path: "/bin/bash", ["-c", script, "sh", replica, worker.file]).finish()
                #expect(head.code == 0 && head.errors.isEmpty && head.output.hasPrefix("id,name"), "\(head.code) \(head.errors)")
                let full = try await RunningProgram(
                    path: "/bin/bash", ["-c", "\"$1\" --db \"$2\" export client > /dev/full", "sh", replica, worker.file]
                ).finish()
                #expect(full.code == 5 && full.errors.contains("No space left"), "\(full.code) \(full.errors)")
            }
        }

        @Test func textOfOthers_cannotSteerTheTerminal() async throws {
            try await withCompany { company in
                let worker = try await company.enrolled("olivia", code: await company.ownerCode)
                try await worker.json("add", "client", "name=Evil\u{1B}]0;owned\u{7}\u{202E}cod", "notes=one\ntwo\u{1B}[2J")
                for arguments in [["list", "client"], ["show", "client", "Evil"], ["pending"]] {
                    let shown = try await run("replica", ["--db", worker.file] + arguments)
                    #expect(shown.code == 0)
                    for character in ["\u{1B}", "\u{7}", "\u{202E}"] { #expect(!shown.output.contains(character), "\(arguments)") }
                }
                let note = try await worker.run("show", "client", "Evil")
                #expect(note.output.contains("one\n") && note.output.contains("two"))
            }
        }

        @Test func help_fitsNarrowWindows() async throws {
            for name in Commands.shown.map(\.name) + HelpTopic.all.map(\.name) + [""] {
                let shown = try await run("replica", ["help"] + (name.isEmpty ? [] : [name]), environment: ["COLUMNS": "60"])
                #expect(shown.code == 0)
                for line in shown.output.split(separator: "\n") where !line.hasPrefix("  ") {
                    #expect(DisplayWidth.of(String(line)) <= 60 || line.contains("|"), "\(name): \(line)")
                }
            }
        }
    }
#endif
