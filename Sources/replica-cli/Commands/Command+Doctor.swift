// The check-up: file, queue, clock, token, server, and whether both sides hold the same.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let doctor = Command(
        name: "doctor", words: "[--repair]", summary: "is this file sound, and does it hold what the server holds",
        help: """
            Checks the file, what is pending, the clock, the token and the server, and compares every entity with it: counts and content
            hashes first, then ranges, then the records that differ by name. --repair takes the server's state of those and leaves what is
            pending alone. Exit code 1 when something is wrong.

              replica sync; replica doctor
              replica doctor --repair
              replica doctor --bundle support.json     for the people who help you: no field values, no names, no token
            """,
        options: [
            .flag("repair", "fetch records that differ anew"), .flag("offline", "check the file only"),
            .value("bundle", "FILE", "write a support file without contents"),
        ],
        group: .exchange, examine: examineUnopened
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "doctor")
        let replica = try context.requireReplica()
        let terminal = context.terminal
        var diagnosis = try await replica.diagnose(online: !arguments.has("offline"))
        var mended: Int?
        if arguments.has("repair"), !diagnosis.differences.isEmpty {
            mended = try await replica.repair(diagnosis)
            let found = diagnosis.differences
            if !terminal.isJSON { show(found, terminal) }
            diagnosis = try await replica.diagnose()
        }
        if let path = arguments.value("bundle") { try write(try await replica.supportBundle(diagnosis), to: path) }
        return show(diagnosis, mended: mended, arguments, terminal)
    }

    /// A file that is damaged beyond opening is what a check-up is for.
    private static func examineUnopened(_ context: Context, _ arguments: ParsedArguments, _ error: ReplicaError) throws -> ExitCode {
        _ = try Context.words(arguments, 0...0, "doctor")
        let diagnosis = Replica.diagnose(unopened: context.databasePath, error)
        if let path = arguments.value("bundle") {
            try write(Replica.supportBundle(unopened: context.databasePath, error, diagnosis), to: path)
        }
        return show(diagnosis, mended: nil, arguments, context.terminal)
    }

    private static func write(_ bundle: JSONValue, to path: String) throws {
        do { try Data((bundle.canonicalText + "\n").utf8).write(to: URL(fileURLWithPath: path)) } catch {
            throw ReplicaError(.storage, "cannot write \(path): \(error.localizedDescription)", operation: "doctor")
        }
    }

    private static func show(
        _ diagnosis: Diagnosis, mended: Int?, _ arguments: ParsedArguments, _ terminal: Terminal
    ) -> ExitCode {
        let isWell = diagnosis.level != .problem
        if terminal.isJSON {
            terminal.json([
                "level": .string(diagnosis.level.rawValue), "compared": .bool(diagnosis.isCompared),
                "findings": .array(
                    diagnosis.findings.map { finding in
                        var object: JSONObject = [
                            "check": .string(finding.check), "level": .string(finding.level.rawValue), "text": .string(finding.text),
                        ]
                        if let advice = finding.advice { object["advice"] = .string(advice) }
                        return .object(object)
                    }),
                "differences": .array(
                    diagnosis.differences.map {
                        ["entity": .string($0.key.entity), "id": .string($0.key.id.text), "kind": .string($0.kind.rawValue)]
                    }),
                "repaired": mended.map { .integer(Int64($0)) } ?? .null,
            ])
            return isWell ? .done : .refused
        }
        for finding in diagnosis.findings {
            let (mark, style): (String, Terminal.Style) =
                switch finding.level {
                case .ok: ("ok      ", .green)
                case .warning: ("look    ", .yellow)
                case .problem: ("PROBLEM ", .red)
                }
            terminal.line(terminal.styled(mark, style) + DisplayWidth.harmless("\(finding.check): \(finding.text)"))
            if let advice = finding.advice { show(advice: advice, terminal) }
        }
        show(diagnosis.differences, terminal)
        if let mended { terminal.line("\(mended) \(mended == 1 ? "record was" : "records were") fetched anew") }
        if let path = arguments.value("bundle") { terminal.line("wrote \(path)") }
        return isWell ? .done : .refused
    }

    /// In the window's width, words whole.
    private static func show(advice: String, _ terminal: Terminal) {
        let indent = "          "
        let room = terminal.width.map { max(20, $0 - indent.count) } ?? .max
        var line = ""
        for word in advice.split(separator: " ") {
            if !line.isEmpty, DisplayWidth.of(line) + 1 + DisplayWidth.of(String(word)) > room {
                terminal.line(indent + line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        terminal.line(indent + line)
    }

    private static func show(_ differences: [Diagnosis.Difference], _ terminal: Terminal) {
        let shown = 50
        for difference in differences.prefix(shown) {
            let words =
                switch difference.kind {
                case .missing: "is missing here"
                case .extra: "is not at the server"
                case .different: "differs"
                }
            terminal.line("  \(difference.key.entity) \(difference.title ?? "") \(difference.key.id.text) \(words)")
        }
        if differences.count > shown { terminal.line("  … and \(differences.count - shown) more") }
    }
}
