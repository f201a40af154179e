// Every command, in the order help lists them.

enum Commands {
    static let all: [Command] = [
        .enroll, .sync, .status, .digest, .list, .show, .add, .set, .transition, .remove, .restore, .pending, .problems, .retry, .edit,
        .discard,
        .importRecords, .exportRecords, .sql, .schema,
    ]
}

enum Help {
    static let overview: String = {
        let width = Commands.all.map { $0.name.count + $0.words.count + 1 }.max() ?? 0
        let lines = Commands.all.map { command in
            let usage = "\(command.name) \(command.words)"
            return "  \(usage.padding(toLength: width + 2, withPad: " ", startingAt: 0))\(command.summary)"
        }
        return """
            replica — work on a local copy of your company's data, with or without a network.

            usage: replica [--db FILE] [--json] COMMAND …

            \(lines.joined(separator: "\n"))

            The file is --db, else $TIDELINE_DB, else the XDG data directory. --json prints one JSON document.
            Records are named by id, by the unique beginning or end of one, or by what they are called or begin with.
            replica help COMMAND explains one. Exit codes: 0 done, 1 refused, 2 usage, 3 no connection, 4 not allowed, 5 storage.
            """
    }()

    static func show(_ name: String?, _ terminal: Terminal) throws -> ExitCode {
        guard let name else {
            terminal.line(overview)
            return .done
        }
        guard let command = Commands.all.first(where: { $0.name == name }) else {
            throw UsageError("there is no command \(name)", hint: "replica help")
        }
        terminal.line("replica \(command.name) \(command.words)\n\n\(command.summary)\n\n\(command.help)")
        if !command.options.isEmpty {
            terminal.line("\nOptions:")
            for option in command.options {
                let usage = "--\(option.name)\(option.value.map { " \($0)" } ?? "")"
                terminal.line("  \(usage.padding(toLength: max(usage.count + 2, 24), withPad: " ", startingAt: 0))\(option.summary)")
            }
        }
        return .done
    }
}
