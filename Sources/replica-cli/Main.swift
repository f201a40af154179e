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
        do {
            let (options, name, rest) = try GlobalOptions.split(arguments)
            terminal = Terminal(json: options.json)
            if options.version {
                terminal.line("replica \(Version.current), schema \(Schema.tideline.version), protocol \(ProtocolVersion.current)")
                return .done
            }
            guard let name else {
                terminal.line(Help.overview)
                return options.help ? .done : .usage
            }
            if name == "help" || options.help {
                return try Help.show(name == "help" ? rest.first : name, terminal)
            }
            guard let command = Commands.all.first(where: { $0.name == name }) else {
                let near = Commands.all.map(\.name).filter { $0.hasPrefix(name.prefix(2)) }
                throw UsageError(
                    "there is no command \(name)", hint: near.isEmpty ? "replica help" : "did you mean \(near.joined(separator: " or "))?")
            }
            let parsed = try ParsedArguments.parse(rest, options: command.options, command: command.name)
            let path = try DatabaseFile.path(options.database)
            guard command.opensReplica else {
                return try await command.run(Context(terminal: terminal, databasePath: path, replica: nil), parsed)
            }
            guard FileManager.default.fileExists(atPath: path) else {
                throw ReplicaError(
                    .notEnrolled, "there is no replica at \(path); enrol one first: replica enroll URL CODE", operation: name)
            }
            let replica = try await Replica.open(path)
            do {
                let code = try await command.run(Context(terminal: terminal, databasePath: path, replica: replica), parsed)
                await replica.close()
                return code
            } catch {
                await replica.close()
                throw error
            }
        } catch {
            return ErrorReport.show(error, terminal)
        }
    }
}

enum Version { static let current = "0.1.0" }

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

/// Errors as words (or one JSON document) and as exit codes.
enum ErrorReport {
    static func show(_ error: any Error, _ terminal: Terminal) -> ExitCode {
        switch error {
        case let usage as UsageError:
            report("usage", usage.message, violations: [], hint: usage.hint, terminal)
            return .usage
        case let refusal as Refusal:
            report("refused", "not done", violations: refusal.violations, hint: nil, terminal)
            return .refused
        case let error as ReplicaError:
            report(error.code.rawValue, error.message, violations: error.violations, hint: hint(error.code), terminal)
            return exitCode(error.code)
        case let error as CSVError:
            report("invalid_csv", "line \(error.line): \(error.message)", violations: [], hint: nil, terminal)
            return .usage
        case let error as ExitCode: return error
        default:
            report("storage", String(describing: error), violations: [], hint: nil, terminal)
            return .storage
        }
    }

    private static func exitCode(_ code: ReplicaError.Code) -> ExitCode {
        switch code {
        case .refused, .notFound, .ambiguous, .firstSyncIncomplete, .syncInProgress, .forked, .serverRefused, .outdated, .cancelled:
            .refused
        case .invalidQuery: .usage
        case .unreachable: .unreachable
        case .notAllowed, .notEnrolled, .alreadyEnrolled: .notAllowed
        case .storage, .newerFile: .storage
        }
    }

    private static func hint(_ code: ReplicaError.Code) -> String? {
        switch code {
        case .unreachable: "your work is safe on this machine; sync again when there is a connection"
        case .firstSyncIncomplete: "run: replica sync"
        case .notAllowed: "ask an owner for a new enrolment code; your work stays on this machine"
        case .ambiguous: "give more characters of the id, or the whole id"
        default: nil
        }
    }

    private static func report(_ code: String, _ message: String, violations: [Violation], hint: String?, _ terminal: Terminal) {
        if terminal.isJSON {
            var object: JSONObject = ["code": .string(code), "message": .string(message)]
            if !violations.isEmpty { object["fields"] = .array(violations.map(\.json)) }
            if let hint { object["hint"] = .string(hint) }
            terminal.json(["error": .object(object)])
            return
        }
        if violations.isEmpty {
            terminal.note("replica: \(message)")
        } else {
            for violation in violations { terminal.note("replica: \(Self.words(violation))") }
        }
        if let hint { terminal.note("  \(hint)") }
    }

    /// `phone: is a phone number (invalid_format)`
    static func words(_ violation: Violation) -> String {
        let field = violation.field.map { "\($0): " } ?? ""
        let message = violation.field.map {
            violation.message.hasPrefix("\($0) ") ? String(violation.message.dropFirst($0.count + 1)) : violation.message
        }
        return "\(field)\(message ?? violation.message) (\(violation.code))"
    }
}
