// What the words of the command line mean, and how a command speaks: results to standard output, words to standard error.

import Foundation
import SyncProtocol

/// How a process ends. Scripts rely on the numbers.
enum ExitCode: Int32 {
    case done = 0
    case refused = 1
    case usage = 2
    case unreachable = 3
    /// The role of the database URL may not do this.
    case notAllowed = 4
    case storage = 5
}

/// A command that was understood and cannot be done.
struct CommandFailure: Error {
    let exit: ExitCode
    let message: String
}

struct Console: Sendable {
    let isJSON: Bool

    /// The result: JSON with `--json`, else words.
    func show(_ json: JSONValue, _ words: @autoclosure () -> String) {
        Console.write(isJSON ? json.canonicalText : words(), to: 1)
    }

    func say(_ words: String) { Console.write(words, to: 2) }

    private static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array((text + "\n").utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}

enum Command {
    /// Runs one command line, without the program's name.
    static func run(_ words: [String], environment: [String: String]) -> ExitCode {
        var arguments = Arguments(words)
        let console = Console(isJSON: arguments.flag("--json"))
        do {
            if arguments.flag("--version") {
                console.show(
                    ["version": .string(Configuration.version), "schema": .integer(Schema.currentVersion)],
                    "sync-server \(Configuration.version)")
                return .done
            }
            let wantsHelp = arguments.flag("--help") || arguments.flag("-h")
            let name = arguments.word() ?? "help"
            if wantsHelp || name == "help" {
                let topic = [name == "help" ? arguments.word() : name, arguments.word()].compactMap { $0 }.joined(separator: " ")
                console.show(["help": .string(Help.text(topic))], Help.text(topic))
                return .done
            }
            return try dispatch(name, &arguments, environment, console)
        } catch {
            return report(error, console)
        }
    }

    private static func dispatch(
        _ name: String, _ arguments: inout Arguments, _ environment: [String: String], _ console: Console
    ) throws -> ExitCode {
        let configuration = try Configuration(&arguments, environment: environment)
        switch name {
        case "serve": return try ServeCommand.run(configuration, &arguments, console)
        case "migrate": return try AdministrationCommand.migrate(configuration, &arguments, console)
        case "check": return try CheckCommand.run(configuration, &arguments, console)
        case "restored": return try AdministrationCommand.restored(configuration, &arguments, console)
        case "consumer": return try ConsumerCommand.run(arguments.word() ?? "", configuration, &arguments, console)
        case "tenant", "member", "code", "replica", "token":
            let action = arguments.word() ?? ""
            switch (name, action) {
            case ("tenant", "create"): return try TenantCommand.create(configuration, &arguments, console)
            case ("member", "add"): return try TenantCommand.addMember(configuration, &arguments, console)
            case ("code", "create"): return try TenantCommand.createCode(configuration, &arguments, console)
            case ("replica", "list"): return try ReplicaCommand.list(configuration, &arguments, console)
            case ("replica", "revoke"): return try ReplicaCommand.revoke(configuration, &arguments, console)
            case ("token", "create"): return try TokenCommand.create(configuration, &arguments, console)
            case ("token", "revoke"): return try TokenCommand.revoke(configuration, &arguments, console)
            default: throw UsageError("\(name) does not know \(action.isEmpty ? "what to do" : action)")
            }
        default: throw UsageError("there is no command \(name)")
        }
    }

    static func report(_ error: any Error, _ console: Console) -> ExitCode {
        func fail(_ exit: ExitCode, _ code: String, _ message: String, _ violations: [Violation] = []) -> ExitCode {
            if console.isJSON {
                console.show(ErrorReply.named(code, message, violations).json, "")
            } else {
                console.say("sync-server: \(message)")
                for violation in violations {
                    console.say("  \(violation.entity).\(violation.field ?? "") \(violation.code): \(violation.message)")
                }
            }
            return exit
        }
        switch error {
        case let error as UsageError: return fail(.usage, "usage", "\(error.message); see sync-server help")
        case let error as CommandFailure: return fail(error.exit, "refused", error.message)
        case let error as ErrorReply: return fail(.refused, error.code, error.message, error.violations)
        case let error as MigrationError: return fail(error.isPermission ? .notAllowed : .storage, error.code, error.message)
        case let error as PostgresError where error.kind == .permissionDenied:
            return fail(.notAllowed, "not_allowed", "the database says: \(error.message)")
        case let error as PostgresError:
            return fail(
                error.isConnectionLost ? .unreachable : .storage, error.isConnectionLost ? "unreachable" : "storage",
                "the database says: \(error.message)")
        case let error as EmbeddedPostgresError: return fail(.storage, error.code.rawValue, error.message)
        case let error as HTTPServerError: return fail(.refused, error.code.rawValue, error.message)
        default: return fail(.storage, "failed", "\(error)")
        }
    }
}

extension ErrorReply {
    fileprivate static func named(_ code: String, _ message: String, _ violations: [Violation]) -> ErrorReply {
        var reply = ErrorReply(.internal, message, violations: violations)
        reply.code = code
        return reply
    }
}
