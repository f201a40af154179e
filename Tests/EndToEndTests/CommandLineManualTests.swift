// The manual page is made from the command table; the committed one must be that page.

import Foundation
import TestSupport
import Testing

@testable import replica_cli

@Suite struct CommandLineManualTests {
    private static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("docs/replica.1")

    @Test func manualPage_isTheOneInDocs() async throws {
        let printed = try await run("replica", ["help", "--man"])
        #expect(printed.code == 0)
        let committed = try String(contentsOf: Self.page, encoding: .utf8)
        #expect(printed.output == committed, "make it anew: replica help --man > docs/replica.1")
    }

    @Test func manualPage_namesEveryCommandOptionAndTopic() throws {
        let page = ManualPage.text.replacing("\\-", with: "-")
        for command in Commands.shown {
            #expect(page.contains("\n.B \(command.name)"), "\(command.name)")
            for option in command.options { #expect(page.contains("\\fB--\(option.name)\\fR"), "\(command.name) --\(option.name)") }
        }
        for topic in HelpTopic.all where topic.name != "exit-codes" { #expect(page.contains("\n.SH \(topic.name.uppercased())\n")) }
        #expect(!page.contains("__complete"))
        for line in page.split(separator: "\n") { #expect(!line.hasPrefix("'"), "a request by accident: \(line)") }
    }

    @Test(.enabled(if: Programs.path(of: "man") != nil || Programs.path(of: "mandoc") != nil, "neither man nor mandoc is installed"))
    func manualPage_isGoodRoff() async throws {
        if let man = Programs.path(of: "man") {
            let checked = try await RunningProgram(
                path: man, ["--warnings", "-l", Self.page.path], environment: ["MANPAGER": "cat", "LC_ALL": "C.UTF-8"]
            )
            .finish()
            #expect(checked.code == 0 && checked.errors.isEmpty, "\(checked.errors)")
            #expect(checked.output.contains("EXIT STATUS"))
        }
        if let mandoc = Programs.path(of: "mandoc") {
            let checked = try await RunningProgram(path: mandoc, ["-Tlint", "-Wwarning", Self.page.path]).finish()
            #expect(checked.code == 0 && checked.output.isEmpty, "\(checked.output)")
        }
    }

    @Test func everyCommand_saysWhatItsWordsAre_andHasExamplesThatParse() throws {
        for command in Commands.shown {
            #expect(!command.summary.isEmpty && !command.help.isEmpty)
            for case .lines(let lines) in Help.blocks(command.help) {
                for line in lines where line.trimmingPrefix("  ").hasPrefix("replica \(command.name)") {
                    let words = line.split(separator: " ").map(String.init)
                    for word in words where word.hasPrefix("--") {
                        let name = word.dropFirst(2).prefix { $0 != "=" }
                        #expect(command.options.contains { $0.name == name }, "\(command.name): \(word)")
                    }
                }
            }
        }
    }
}
