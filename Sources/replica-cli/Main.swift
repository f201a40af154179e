// The `replica` command: the library for people in a terminal, and for scripts.

import Foundation
import Replica
import SyncProtocol

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

@main
struct ReplicaCommand {
    static func main() async {
        // A closed pipe is not an error of ours: writes report it.
        signal(SIGPIPE, SIG_IGN)
        let code: ExitCode
        do { code = await run(try arguments()) } catch {
            // Whatever the bytes are: who asks for JSON gets it.
            let terminal = Terminal(json: CommandLine.arguments.contains("--json"))
            code = ErrorReport.show(error, terminal)
            _ = terminal.finish()
        }
        exit(code.rawValue)
    }

    /// What was typed, byte for byte. `CommandLine.arguments` puts U+FFFD in place of bytes that are no text, and nobody typed that.
    private static func arguments() throws -> [String] {
        try (1..<max(1, Int(CommandLine.argc))).compactMap { index in
            guard let bytes = CommandLine.unsafeArgv[index] else { return nil }
            guard let text = String(validatingCString: bytes) else {
                throw UsageError(
                    "argument \(index) is not valid UTF-8: \(String(cString: bytes))",
                    hint: "nothing was done; is the terminal set to another encoding? see: locale charmap")
            }
            return text
        }
    }

    static func run(_ arguments: [String]) async -> ExitCode {
        var terminal = Terminal(json: arguments.contains("--json"))
        var code: ExitCode
        do {
            let (options, name, rest) = try GlobalOptions.split(arguments)
            terminal = Terminal(json: options.json, pages: options.pages && Commands.isPaged(name, options))
            code = try await run(options, name, rest, terminal)
        } catch {
            code = ErrorReport.show(error, terminal)
        }
        if let reason = terminal.finish() {
            terminal.note("replica: not everything could be printed: \(reason)")
            if code == .done { code = .storage }
        }
        return code
    }

    private static func run(_ options: GlobalOptions, _ name: String?, _ rest: [String], _ terminal: Terminal) async throws -> ExitCode {
        if options.version, options.json {
            terminal.json([
                "program": .string(Version.current), "schema": .integer(Schema.tideline.version),
                "protocol": .integer(ProtocolVersion.current),
            ])
            return .done
        }
        if options.version {
            terminal.line("replica \(Version.current), schema \(Schema.tideline.version), protocol \(ProtocolVersion.current)")
            return .done
        }
        guard let name else {
            if options.json, !options.help { throw UsageError("there is no command to run", hint: "replica help lists them") }
            _ = try Help.show(nil, terminal)
            return options.help ? .done : .usage
        }
        if options.help { return try Help.show(name == "help" ? rest.first : name, terminal) }
        guard let command = Commands.named(name) else {
            let near = Near.names(to: name, in: Commands.shown.map(\.name))
            throw UsageError(
                "there is no command \(name)",
                hint: near.isEmpty ? "replica help lists them" : "did you mean \(near.joined(separator: " or "))?")
        }
        let parsed = try ParsedArguments.parse(rest, options: command.options, command: command.name)
        guard command.opensReplica else {
            let path = DatabaseFile.path(options.database)
            return try await command.run(Context(terminal: terminal, databasePath: path, replica: nil), parsed)
        }
        let path = DatabaseFile.path(options.database)
        guard FileManager.default.fileExists(atPath: path) else {
            throw HintedError(
                error: ReplicaError(
                    .notEnrolled, "there is no replica at \(path); enrol one first: replica enroll URL CODE", operation: name),
                hint: options.database == nil ? "another file is named with --db FILE or $TIDELINE_DB" : "an owner makes the code")
        }
        guard await Replica.isReplica(path) else {
            let isEmpty = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) == 0
            throw HintedError(
                error: ReplicaError(
                    .notEnrolled, "\(path) is no replica: \(isEmpty ? "it is empty" : "it is a database of something else")",
                    operation: name),
                hint: isEmpty
                    ? "was it cut off by a copy or a full disk? put a backup in its place, or enrol: replica enroll URL CODE"
                    : "another file is named with --db FILE or $TIDELINE_DB")
        }
        var environment = TestSeams.environment
        let work = WorkProgress(terminal)
        environment.progress = { work.update($0) }
        defer { work.clear() }
        let replica: Replica
        do { replica = try await Replica.open(path, environment: environment) } catch let error as ReplicaError {
            guard let examine = command.examine, [.damaged, .foreign, .disk, .other].contains(error.trouble) else { throw error }
            return try examine(Context(terminal: terminal, databasePath: path, replica: nil), parsed, error)
        }
        let result: Result<ExitCode, any Error>
        do {
            result = .success(try await command.run(Context(terminal: terminal, databasePath: path, replica: replica), parsed))
        } catch {
            result = .failure(error)
        }
        await tellRefusals(replica, command, terminal)
        await replica.close()
        return try result.get()
    }

    /// Edits by plain SQL that this call, or one before it that had no voice, has sealed and that were refused: whoever typed them
    /// hears of it from whatever command comes next. A sync tells them in its report.
    private static func tellRefusals(_ replica: Replica, _ command: Command, _ terminal: Terminal) async {
        if let unsealed = replica.unsealed {
            terminal.note("replica: edits by plain SQL could not be taken up: \(DisplayWidth.harmless(unsealed.message))")
        }
        // Where they cannot be marked as told, in a file that is read-only or locked, they are told again another time.
        guard let refused = try? await replica.untoldRefusals(), !refused.isEmpty, command.name != Command.problems.name else { return }
        terminal.note(Context.words(ofRefused: refused.count))
    }
}

enum Version {
    static let current = "0.1.0"
    /// Of the manual page.
    static let date = "2026-11-23"
}

/// Where the replica's file is: `--db`, else `TIDELINE_DB`, else the XDG data directory.
enum DatabaseFile {
    static func path(_ given: String?) -> String {
        let environment = ProcessInfo.processInfo.environment
        if let path = given ?? environment["TIDELINE_DB"], !path.isEmpty { return path }
        let home = environment["HOME"] ?? NSHomeDirectory()
        let data = environment["XDG_DATA_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? home + "/.local/share"
        return data + "/tideline/replica.db"
    }

    /// The folder of the default file, which nobody has made yet. Folders that somebody names are theirs to make.
    static func makeFolder(for path: String) throws {
        guard path == Self.path(nil), !FileManager.default.fileExists(atPath: path) else { return }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
            throw ReplicaError(.storage, "cannot create \(folder): \(error.localizedDescription)", operation: "open")
        }
    }
}
