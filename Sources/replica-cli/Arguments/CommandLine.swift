// The command line as data: global options, then a command with its words and options.

/// A mistake in how the program was called. Exit code 2.
struct UsageError: Error {
    var message: String
    var hint: String?

    init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

/// An option a command takes: `--name value`, or `--name` alone.
struct OptionSpecification: Sendable {
    var name: String
    /// What the value is, in capitals; nil for a flag.
    var value: String?
    var summary: String
    var isRepeatable: Bool
    /// What the shell offers for the value.
    var completes: ArgumentKind = .text

    static func flag(_ name: String, _ summary: String) -> Self { Self(name: name, value: nil, summary: summary, isRepeatable: false) }
    static func value(
        _ name: String, _ value: String, _ summary: String, repeatable: Bool = false, completes: ArgumentKind = .text
    ) -> Self { Self(name: name, value: value, summary: summary, isRepeatable: repeatable, completes: completes) }

    /// `--name VALUE`
    var usage: String { "--\(name)\(value.map { " \($0)" } ?? "")" }
}

/// What was written after the command's name.
struct ParsedArguments: Sendable {
    var words: [String] = []
    private var values: [String: [String]] = [:]

    func has(_ option: String) -> Bool { values[option] != nil }
    func value(_ option: String) -> String? { values[option]?.last }
    func all(_ option: String) -> [String] { values[option] ?? [] }

    /// A whole number, or a usage error that names the option.
    func number(_ option: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let text = value(option) else { return nil }
        guard let number = Int(text), range.contains(number), text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
            throw UsageError("--\(option) takes a whole number from \(range.lowerBound) to \(range.upperBound), not \"\(text)\"")
        }
        return number
    }

    /// Words that begin with `-` are options up to `--`; a lone `-` and negative numbers are words.
    static func parse(_ arguments: [String], options: [OptionSpecification], command: String) throws -> ParsedArguments {
        var parsed = ParsedArguments()
        var index = 0
        var onlyWords = false
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if onlyWords || !argument.hasPrefix("--") {
                if !onlyWords, argument.hasPrefix("-"), argument.count > 1, Int64(argument) == nil,
                    argument.first(where: \.isLetter) != nil,
                    !argument.contains("=")
                {
                    throw UsageError("\(argument): options begin with two dashes", hint: "replica help \(command)")
                }
                parsed.words.append(argument)
                continue
            }
            if argument == "--" {
                onlyWords = true
                continue
            }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let option = options.first(where: { $0.name == parts[0] }) else {
                let near = Near.names(to: parts[0], in: options.map(\.name) + GlobalOptions.specifications.map(\.name)).map { "--\($0)" }
                throw UsageError(
                    "\(command) has no option --\(parts[0])",
                    hint: near.isEmpty ? "replica help \(command)" : "did you mean \(near.joined(separator: " or "))?")
            }
            let value: String
            if option.value == nil {
                guard parts.count == 1 else { throw UsageError("--\(option.name) takes no value") }
                value = ""
            } else if parts.count == 2 {
                value = parts[1]
            } else {
                guard index < arguments.count else {
                    throw UsageError("--\(option.name) needs a value: --\(option.name) \(option.value ?? "")")
                }
                value = arguments[index]
                index += 1
            }
            guard option.isRepeatable || parsed.values[option.name] == nil else { throw UsageError("--\(option.name) is given twice") }
            parsed.values[option.name, default: []].append(value)
        }
        return parsed
    }
}

/// Options before the command.
struct GlobalOptions: Sendable {
    static let specifications: [OptionSpecification] = [
        .value(
            "db", "FILE", "the replica's file; default $TIDELINE_DB, else tideline/replica.db in the XDG data directory", completes: .file),
        .flag("json", "one JSON document on standard output, values in stored form"),
        .flag("no-pager", "never show long output through $PAGER"),
        .flag("help", "explain the command"),
        .flag("version", "the versions of program, schema and protocol"),
    ]

    var database: String?
    var json = false
    var pages = true
    var help = false
    var version = false

    /// Splits the arguments into global options, the command's name and what follows it. Global options may also follow.
    static func split(_ arguments: [String]) throws -> (options: GlobalOptions, command: String?, rest: [String]) {
        var options = GlobalOptions()
        var rest: [String] = []
        var index = 0
        var onlyWords = false
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if onlyWords {
                rest.append(argument)
                continue
            }
            switch argument {
            case "--":
                onlyWords = true
                rest.append(argument)
            case "--json": options.json = true
            case "--no-pager": options.pages = false
            case "--help", "-h": options.help = true
            case "--version": options.version = true
            case "--db":
                guard index < arguments.count else { throw UsageError("--db needs a file") }
                options.database = arguments[index]
                index += 1
            default:
                if argument.hasPrefix("--db=") {
                    options.database = String(argument.dropFirst(5))
                } else {
                    rest.append(argument)
                }
            }
        }
        if let database = options.database, database.isEmpty { throw UsageError("--db needs a file") }
        let command = rest.isEmpty ? nil : rest.removeFirst()
        return (options, command, rest)
    }
}
