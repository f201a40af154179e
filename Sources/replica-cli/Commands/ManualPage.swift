// The manual page, from the same table as help: `replica help --man` prints what docs/replica.1 holds.

enum ManualPage {
    static var text: String {
        var page: [String] = [
            ".TH REPLICA 1 \(Version.date) \"Tideline \(Version.current)\" \"User Commands\"", ".SH NAME",
            "replica \\- work on a local copy of your company's data, with or without a network", ".SH SYNOPSIS", ".B replica",
            "[\\fB\\-\\-db\\fR \\fIFILE\\fR] [\\fB\\-\\-json\\fR] [\\fB\\-\\-no\\-pager\\fR] \\fICOMMAND\\fR ...", ".SH DESCRIPTION",
        ]
        page += paragraphs(
            """
            A replica is one file with the part of the company's data that its member may see. Everything except enroll, sync and
            digest --server works without a network: edits are kept in the file and reach everyone else with the next sync. Nothing is lost,
            and a conflict is shown instead of being decided silently.
            """)
        page.append(".SH OPTIONS")
        page += options(GlobalOptions.specifications)
        page.append(".SH COMMANDS")
        for group in Command.Group.allCases {
            let commands = Commands.shown.filter { $0.group == group }
            guard !commands.isEmpty else { continue }
            page.append(".SS \(escaped(group.rawValue))")
            for command in commands {
                page += [".TP", ".B \(escaped("\(command.name) \(command.words)".trimmingSpaces))"]
                page.append(sentence(command.summary))
                page.append(".RS")
                page += paragraphs(command.help)
                page += options(command.options)
                page.append(".RE")
            }
        }
        for topic in HelpTopic.all where topic.name != HelpTopic.exits.name {
            page.append(".SH \(escaped(topic.name.uppercased()))")
            page += paragraphs(topic.text)
        }
        page.append(".SH EXIT STATUS")
        page += paragraphs(HelpTopic.exits.text)
        page.append(".SH ENVIRONMENT")
        for (name, meaning) in environment { page += [".TP", ".B \(escaped(name))", escaped(meaning)] }
        page.append(".SH FILES")
        page += [
            ".TP", ".I ~/.local/share/tideline/replica.db", "the replica's file, unless another is named; any SQLite tool can read it",
        ]
        page += [".SH SEE ALSO", ".BR sqlite3 (1),", ".BR less (1)"]
        // The first paragraph of a section needs no request of its own.
        let lines = page.enumerated().filter { index, line in line != ".PP" || index == 0 || !page[index - 1].hasPrefix(".S") }
        return lines.map(\.element).joined(separator: "\n")
    }

    private static let environment = [
        ("TIDELINE_DB", "the replica's file"), ("XDG_DATA_HOME", "where the default file is"),
        ("TIDELINE_LOG_DAYS", "how far back sync keeps the timeline for log and history, in days; default 90"),
        ("TIDELINE_LOG_ENTRIES", "how many entries of it at most; default 10000, 0 fetches no more of it"),
        ("PAGER", "shows long output; default less"),
        ("COLUMNS", "the width that tables fit"), ("NO_COLOR", "if set and not empty, no colours"),
        ("TERM", "if dumb: no colours, no pager, no progress"), ("TZ", "the time zone of times without one"),
    ]

    private static func sentence(_ text: String) -> String { escaped(text.prefix(1).uppercased() + text.dropFirst() + ".") }

    private static func options(_ options: [OptionSpecification]) -> [String] {
        options.flatMap { option in
            [
                ".TP", "\\fB\(escaped("--" + option.name))\\fR" + (option.value.map { " \\fI\(escaped($0))\\fR" } ?? ""),
                escaped(option.summary),
            ]
        }
    }

    private static func paragraphs(_ text: String) -> [String] {
        Help.blocks(text).flatMap { block -> [String] in
            switch block {
            case .gap: []
            case .paragraph(let words): [".PP", escaped(words)]
            case .lines(let lines): [".PP", ".nf", ".RS 2"] + lines.map { escaped($0.trimmingPrefix("  ")) } + [".RE", ".fi"]
            }
        }
    }

    /// Characters that mean something to roff, and a line that would begin with a request.
    private static func escaped(_ text: some StringProtocol) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\": result += "\\e"
            case "-": result += "\\-"
            case "'": result += "\\(aq"
            case "\"": result += "\\(dq"
            case "~": result += "\\(ti"
            case "^": result += "\\(ha"
            case "`": result += "\\(ga"
            case "…": result += "..."
            case "—": result += "\\(em"
            case "€": result += "\\(Eu"
            default: result.append(character)
            }
        }
        return result.hasPrefix(".") ? "\\&" + result : result
    }
}
