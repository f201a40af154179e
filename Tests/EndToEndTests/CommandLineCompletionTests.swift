// Completion as the shells ask for it: real shells, the lines that `completions` prints, names from a real file.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import replica_cli

@Suite struct CommandLineCompletionTests {
    /// A file with names to complete.
    private func prepared(_ company: Company) async throws -> Worker {
        let worker = try await company.enrolled("olivia", code: await company.ownerCode)
        try await worker.json("sync")
        try await worker.json("add", "custom_field", "entity=site", "key=gate_code", "label=Gate code", "kind=text")
        for name in ["Pier 9 Marina", "Twin", "Twin", "Mill & \"Sons\" $5"] {
            try await worker.json("add", "client", "name=\(name)", "tags=vip,marina")
        }
        try await worker.json("add", "site", "client=Pier 9", "name=North quay", "address.city=Oslo")
        try await worker.json("add", "deal", "title=Refit", "client=Pier 9", "amount=1", "owner=olivia@example.com")
        try await worker.json("remove", "client", "Mill")
        return worker
    }

    /// What bash offers after these words, which it has cut as it does.
    private func bash(_ cases: [[String]], _ worker: Worker) async throws -> [[String]] {
        var script = "source <(\"$replica\" completions bash)\n"
        script += "ask() { COMP_WORDS=(\"$replica\" \"$@\"); COMP_CWORD=$#; _replica; printf '%s\\t' \"${COMPREPLY[@]}\"; echo; }\n"
        for words in cases {
            script += "ask " + words.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ") + "\n"
        }
        let environment = ["replica": Programs.folder.appendingPathComponent("replica").path, "TIDELINE_DB": worker.file]
        let finished = try await RunningProgram(path: "/bin/bash", ["--norc", "-c", script], environment: environment).finish()
        #expect(finished.code == 0 && finished.errors.isEmpty, "\(finished.errors)")
        return finished.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map { line in
            line.split(separator: "\t").map(String.init)
        }
    }

    @Test func bash_completesCommandsFieldsValuesAndNames() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let cases: [(words: [String], offered: [String])] = [
                (["sy"], ["sync"]), (["__comp"], []), (["list", "cli"], ["client", "client_contact"]),
                (["--json", "show", "client", "p"], ["Pier\\ 9\\ Marina"]),
                (["show", "client", "\"pie"], ["Pier 9 Marina"]), (["restore", "client", "m"], ["Mill\\ \\&\\ \\\"Sons\\\"\\ \\$5"]),
                (["show", "client", "Mill"], []),
                (["set", "site", "North", "custom.g"], ["custom.gate_code="]), (["add", "site", "address.po"], ["address.postal_code="]),
                (["add", "deal", "client", "=", "Pi"], ["Pier\\ 9\\ Marina"]), (["add", "deal", "\"client=Pi"], ["client=Pier 9 Marina"]),
                (["add", "deal", "source", "=", "ref"], ["referral"]),
                (["add", "site", "active", "="], ["yes", "no"]),
                (["set", "client", "Pier", "tags+", "=", "v"], ["vip"]),
                (["set", "client", "Pier", "tags+", "=", "vip,m"], ["vip,marina"]),
                (["do", "qual"], ["qualify"]), (["do", "qualify", ""], ["deal"]), (["do", "qualify", "deal", ""], ["Refit"]),
                (["do", "reopen", "deal", ""], []),
                (["do", "lose", "deal", "Refit", ""], ["reason="]), (["list", "deal", "--where", "'sta"], ["stage="]),
                (["list", "deal", "--where", "'stage = wo"], ["stage = won"]),
                (["list", "deal", "--where", "'client ~ Pi"], ["client ~ Pier 9 Marina"]),
                (["list", "site", "--where", "'custom."], ["custom.gate_code="]), (["list", "deal", "--sort", "-am"], ["-amount"]),
                (["list", "deal", "--sort", "=", "-am"], ["-amount"]), (["list", "deal", "--columns", "title,sta"], ["title,stage"]),
                (["list", "deal", "--lim"], ["--limit"]), (["export", "client", "--format", ""], ["csv", "jsonl"]),
                (["help", "wh"], ["where"]),
                (["completions", ""], ["bash", "zsh", "fish"]), (["sql", ""], []), (["nonsense", ""], []), (["show", "nonsense", ""], []),
                (["enroll", ""], []), (["retry", ""], []),
            ]
            let answers = try await bash(cases.map(\.words), worker)
            #expect(answers.count == cases.count)
            for (one, answer) in zip(cases, answers) { #expect(answer == one.offered, "\(one.words)") }
            // A name that two records share is offered once; by the end of an id each is found.
            let end = String(
                (try await worker.json("list", "client", "--where", "name = Twin")["data"]?[0]?["id"]?.stringValue ?? "").suffix(12))
            #expect(try await bash([["show", "client", "Tw"], ["show", "client", String(end.prefix(6))]], worker) == [["Twin"], [end]])
            let commands = try await bash([[""]], worker)[0]
            #expect(commands == Commands.shown.map(\.name))
            // Files are the shell's own matter.
            let folder = company.folder.path
            let files = try await bash([["import", "client", folder + "/oliv"], ["--db", folder + "/oliv"]], worker)
            for answer in files { #expect(answer.contains(worker.file), "\(answer)") }
        }
    }

    @Test func completion_neverFails_whateverTheFileIs() async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let broken = folder.appendingPathComponent("broken.db").path
        try "this is not a database, however long it may be".write(toFile: broken, atomically: true, encoding: .utf8)
        for file in [broken, folder.path, folder.appendingPathComponent("missing.db").path] {
            let offered = try await run("replica", ["__complete", "bash", "--", "show", "client", ""], environment: ["TIDELINE_DB": file])
            #expect(offered.code == 0 && offered.output.isEmpty && offered.errors.isEmpty, "\(file): \(offered)")
            let fields = try await run("replica", ["__complete", "bash", "--", "add", "client", "na"], environment: ["TIDELINE_DB": file])
            #expect(fields.output == "name=\n")
        }
        #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("missing.db").path))
    }

    @Test(.enabled(if: Programs.path(of: "zsh") != nil, "zsh is not installed")) func zsh_asksTheProgram() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let script = #"""
                compdef() { :; }
                source <("$replica" completions zsh)
                compadd() { local last; while [[ $1 != -- ]]; do last+="$1 "; shift; done; shift; print -r -- "$last|${(j:|:)@}"; }
                ask() { words=("$replica" "$@"); CURRENT=$#words; _replica; print -r -- .; }
                ask show client pi
                ask add deal client=Pi
                ask set site "North\ quay" custom.
                """#
            let environment = ["replica": Programs.folder.appendingPathComponent("replica").path, "TIDELINE_DB": worker.file]
            let finished = try await RunningProgram(
                path: Programs.path(of: "zsh") ?? "zsh", ["-f", "-c", script], environment: environment
            ).finish()
            #expect(finished.code == 0 && finished.errors.isEmpty, "\(finished.errors)")
            let answers = finished.output.split(separator: "\n").map(String.init)
            #expect(answers.count == 6)
            #expect(answers[0].hasSuffix("|Pier 9 Marina") && answers[2].hasSuffix("|client=Pier 9 Marina"))
            #expect(answers[4].hasSuffix("|custom.gate_code=") && answers[4].contains("-S  "), "no space after what goes on")
        }
    }

    @Test(.enabled(if: Programs.path(of: "fish") != nil, "fish is not installed")) func fish_asksTheProgram() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let folder = Programs.folder.path
            let script = """
                replica completions fish | source
                for line in "replica show client pi" "replica add deal client=Pi" "replica do qualify deal " "replica sy"
                    complete -C $line
                    echo .
                end
                """
            let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
            let environment = ["PATH": "\(folder):\(path)", "TIDELINE_DB": worker.file, "HOME": company.folder.path]
            let finished = try await RunningProgram(
                path: Programs.path(of: "fish") ?? "fish", ["--no-config", "-c", script], environment: environment
            )
            .finish()
            #expect(finished.code == 0 && finished.errors.isEmpty, "\(finished.errors)")
            let answers = finished.output.components(separatedBy: ".\n")
            #expect(answers.count == 5)
            for (answer, start) in zip(answers, ["Pier 9 Marina\t", "client=Pier 9 Marina\t", "Refit\t", "sync\t"]) {
                #expect(answer.hasPrefix(start) && answer.split(separator: "\n").count == 1, "\(answer)")
            }
        }
    }

    @Test(arguments: Shell.allCases) func script_isGoodSyntax(shell: Shell) async throws {
        guard let program = Programs.path(of: shell.rawValue) else { return }
        let file = try Programs.temporaryFolder().appendingPathComponent("completion")
        defer { try? FileManager.default.removeItem(at: file.deletingLastPathComponent()) }
        let printed = try await run("replica", ["completions", shell.rawValue])
        try printed.output.write(to: file, atomically: true, encoding: .utf8)
        let checked = try await RunningProgram(path: program, ["-n", file.path]).finish()
        #expect(checked.code == 0 && checked.errors.isEmpty, "\(checked.errors)")
    }
}
