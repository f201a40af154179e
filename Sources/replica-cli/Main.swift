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
        let code = await run(Array(CommandLine.arguments.dropFirst()))
        exit(code.rawValue)
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
        if options.version {
            terminal.line("replica \(Version.current), schema \(Schema.tideline.version), protocol \(ProtocolVersion.current)")
            return .done
        }
        guard let name else {
            Help.showOverview(terminal)
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
            let path = try DatabaseFile.path(options.database)
            return try await command.run(Context(terminal: terminal, databasePath: path, replica: nil), parsed)
        }
        let path = try DatabaseFile.path(options.database)
        guard FileManager.default.fileExists(atPath: path) else {
            throw HintedError(
                error: ReplicaError(
                    .notEnrolled, "there is no replica at \(path); enrol one first: replica enroll URL CODE", operation: name),
                hint: options.database == nil ? "another file is named with --db FILE or $TIDELINE_DB" : "an owner makes the code")
        }
        let replica = try await Replica.open(path, environment: TestSeams.environment)
        do {
            let code = try await command.run(Context(terminal: terminal, databasePath: path, replica: replica), parsed)
            await replica.close()
            return code
        } catch {
            await replica.close()
            throw error
        }
    }
}

enum Version {
    static let current = "0.1.0"
    /// Of the manual page.
    static let date = "2026-11-23"
}

/// Where the replica's file is: `--db`, else `TIDELINE_DB`, else the XDG data directory.
enum DatabaseFile {
    static func path(_ given: String?) throws -> String {
        let environment = ProcessInfo.processInfo.environment
        if let path = given ?? environment["TIDELINE_DB"], !path.isEmpty { return path }
        let home = environment["HOME"] ?? NSHomeDirectory()
        let data = environment["XDG_DATA_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? home + "/.local/share"
        let folder = data + "/tideline"
        do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
            throw ReplicaError(.storage, "cannot create \(folder): \(error.localizedDescription)", operation: "open")
        }
        return folder + "/replica.db"
    }
}
