// The commands in the documents are run as they stand there, so that people who copy them get what they were promised. A block of
// shell that cannot be run here says so in its first line: ```sh not-run.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import replica_cli

/// A block of a document between its fences.
private struct DocumentBlock: CustomStringConvertible {
    var file: String
    var line: Int
    var language: String
    var isRun: Bool
    var text: String

    var description: String { "\(file):\(line)" }

    static func all(of file: String) throws -> [DocumentBlock] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let lines = try String(contentsOf: root.appendingPathComponent(file), encoding: .utf8).components(separatedBy: "\n")
        var blocks: [DocumentBlock] = []
        var open: DocumentBlock?
        for (index, line) in lines.enumerated() {
            guard line.hasPrefix("```") else {
                open?.text += line + "\n"
                continue
            }
            if let block = open {
                blocks.append(block)
                open = nil
            } else {
                let words = line.dropFirst(3).split(separator: " ").map(String.init)
                open = DocumentBlock(
                    file: file, line: index + 1, language: words.first ?? "", isRun: !words.contains("not-run"), text: "")
            }
        }
        return blocks
    }
}

@Suite struct DocumentedCommandsTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Runs a block in a shell that stops at the first command that fails.
    private func run(_ block: DocumentBlock, home: String, replacing words: [(String, String)] = []) async throws -> Finished {
        var script = "set -euo pipefail\nunset TIDELINE_DB XDG_DATA_HOME\ncd '\(Self.root.path)'\n" + block.text
        for (old, new) in words { script = script.replacing(old, with: new) }
        let path = "\(Programs.folder.path):\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")"
        let finished = try await RunningProgram(
            path: "/bin/bash", ["--norc", "-c", script], environment: ["HOME": home, "PATH": path]
        ).finish()
        #expect(finished.code == 0, "\(block): \(finished.errors) \(finished.output)")
        return finished
    }

    @Test func readme_fiveMinutesByHand_workAsWritten() async throws {
        let blocks = try DocumentBlock.all(of: "README.md").filter { $0.language == "sh" && $0.isRun }
        #expect(blocks.count == 2)
        try await withCompany { company in
            let words = [
                ("/tmp/harbor", await company.dataFolder), ("/tmp/olivia.db", company.folder.appendingPathComponent("o.db").path),
                ("http://127.0.0.1:8080", await company.address),
            ]
            let founded = try await run(blocks[0], home: company.folder.path, replacing: words)
            let code = try #require(founded.output.firstMatch(of: /[0-9A-Z]{4}(-[0-9A-Z]{4}){3}/)).output.0
            let worked = try await run(blocks[1], home: company.folder.path, replacing: words + [(" CODE", " \(code)")])
            #expect(worked.output.contains("Winter refit is qualified now"), "\(worked.output)")
            #expect(worked.output.contains("accepted"))
        }
    }

    @Test func commandLineAndSQL_documents_workAsWritten() async throws {
        let blocks = try ["docs/cli.md", "docs/sql.md"].flatMap(DocumentBlock.all)
        for block in blocks { #expect(["sh", "sql", "console", ""].contains(block.language), "\(block): \(block.language)") }
        try await withCompany { company in
            let home = company.folder.path
            let setUp = DocumentBlock(
                file: "set-up", line: 0, language: "sh", isRun: true,
                text: """
                    replica enroll \(await company.address) \(await company.ownerCode)
                    replica sync
                    replica add custom_field entity=site key=gate_code label="Gate code" kind=text
                    replica add client name="Pier 9 Marina" tags=vip
                    replica add client name="Harbor Bikes"
                    replica add site client="Pier 9" name="Pier 9" address.city=Oslo custom.gate_code=7781
                    replica add contact first_name=Nina last_name=Ortiz
                    replica add deal title="Winter refit" client="Pier 9" amount=12,250.50 expected_close=+7d owner=olivia@example.com
                    replica sync
                    """)
            _ = try await run(setUp, home: home)
            let file = home + "/.local/share/tideline/replica.db"
            for block in blocks where block.isRun {
                switch block.language {
                case "sh":
                    let finished = try await run(block, home: home)
                    #expect(!finished.errors.contains("refused"), "\(block): \(finished.errors)")
                case "sql": try await Worker(file: file).shell(block.text)
                default: break
                }
            }
            let pending = try await run(
                DocumentBlock(file: "check", line: 0, language: "sh", isRun: true, text: "replica pending"), home: home)
            #expect(pending.output.contains("move to the new office") && pending.output.contains("Ortiz"), "\(pending.output)")
            let synced = try await run(DocumentBlock(file: "check", line: 0, language: "sh", isRun: true, text: "replica sync"), home: home)
            #expect(!synced.output.contains("problem"), "\(synced.output)")
            #expect(FileManager.default.fileExists(atPath: home + "/.local/share/man/man1/replica.1"))
            // A refusal reads as the document says.
            let refusal = try #require(
                blocks.first { $0.text.hasPrefix("$ sqlite3 replica.db ") && $0.text.contains("out_of_range") }?.text.components(
                    separatedBy: "\n"))
            let told = try await RunningProgram(
                path: "/bin/bash", ["-c", String(refusal[0].dropFirst(2)).replacing("replica.db", with: "'\(file)'")]
            ).finish()
            #expect(told.errors.contains("out_of_range: client.payment_terms_days: payment_terms_days is between 0 and 365"))
            #expect(refusal[1].contains("out_of_range: client.payment_terms_days: payment_terms_days is between 0 and 365"))
        }
    }

    /// Captured sessions are not run again: what they show depends on the day. Their commands must be ones that there are.
    @Test func capturedSessions_useCommandsAndOptionsThatThereAre() throws {
        var count = 0
        for block in try ["README.md", "docs/cli.md", "docs/sql.md"].flatMap(DocumentBlock.all) where block.language == "console" {
            for line in block.text.split(separator: "\n") where line.hasPrefix("$ replica ") {
                let words = line.dropFirst(2).split(separator: " ").map(String.init)
                let (_, name, rest) = try GlobalOptions.split(Array(words.dropFirst()))
                let command = try #require(name.flatMap(Commands.named), "\(block): \(line)")
                _ = try ParsedArguments.parse(rest, options: command.options, command: command.name)
                count += 1
            }
        }
        #expect(count > 10)
    }
}
