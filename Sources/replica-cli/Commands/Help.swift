// What help says: one source for the overview, a command's page and the manual page.

import SyncProtocol

/// Something to know that belongs to no single command.
struct HelpTopic: Sendable {
    var name: String
    var summary: String
    var text: String

    static let all: [HelpTopic] = [.records, .values, .where, .conflicts, .exits]

    static let records = HelpTopic(
        name: "records", summary: "how records are named",
        text: """
            Wherever a record is named — in show, set, do, remove, restore, and as the value of a reference — write its id, the unique
            beginning or end of one, or the beginning of the end that lists show (four characters or more), its code, number, e-mail, SKU or key, its title or the
            unique beginning of one; for people also "first last". Capitals do not matter.

              replica show client "Pier 9"
              replica show deal 3f0a91c2
              replica set site "Old mill" contact="Nina Ortiz"

            A name that fits several records is refused with all of them listed: nothing is guessed.
            """)

    static let values = HelpTopic(
        name: "values", summary: "how values are written",
        text: """
            FIELD=VALUE, in quotes if it has spaces: name="Pier 9". FIELD= empties the field.

              text          name="Pier 9 Marina"
              money         amount=1250.50   amount=1,250.50   amount="1250.50 EUR"   amount=€1250
              quantity      quantity=2.5
              rate          rate=7.5   rate=7.5%
              date          due=2026-03-16   due="16 Mar 2026"   due=16.3.2026   due=today   due=friday   due=+7d   due=-2w   due=+1m
              time          at=2026-03-16T09:30:00Z   at="2026-03-16 09:30"   at="tomorrow 14:00"   at=now   at=+2h
              yes or no     active=yes   active=no
              reference     client="Pier 9"   subject=client:"Pier 9" where several kinds of record are possible
              set           tags=a,b sets it whole; tags+=a adds; tags-=b takes away
              part          billing_address.city=Oslo   billing_address.country=NO
              own field     custom.gate_code=7781, a field that your company defined

            Times without a zone are those of this machine. Amounts are in the record's currency.
            """)

    static let `where` = HelpTopic(
        name: "where", summary: "how records are filtered",
        text: """
            --where 'FIELD OP VALUE', as often as needed; all must hold. The quotes keep the shell from reading < and >.

              =  !=         equal, not equal; for a set: has, has not
              <  <=  >  >=  numbers, amounts, dates, times, texts
              ~             a text contains it, a set has it, a reference is to a record whose title contains it
              contains, is  other words for ~ and =

            FIELD is any field, custom.KEY, a part such as billing_address.city, or created_at, updated_at, created_by, deleted, pending.
            VALUE is written as for add and set; null asks for empty fields. A day compared with a time means the whole day, here.

              replica list deal --where 'client = Pier 9' --where 'stage != lost'
              replica list deal --where 'amount >= 10,000' --where 'expected_close < +30d'
              replica list client --where 'tags = vip' --where 'phone = null'
              replica list site --where 'address.city = Oslo' --where 'custom.gate_code != null'
              replica list client --where 'updated_at >= -7d' --where 'deleted = yes'
            """)

    static let conflicts = HelpTopic(
        name: "conflicts", summary: "when two people change the same thing",
        text: """
            Most edits meet without anybody noticing: different fields, tags, counters. Some fields are guarded; if somebody else changed one
            since you last synced, your change is not taken and waits as a problem with both values and the name of the other person.

              replica problems                        what was not taken, and why
              replica retry PROBLEM                   do it again on today's data
              replica edit PROBLEM FIELD=VALUE…       do it again with other values
              replica discard PROBLEM                 let the other value stand

            What you typed is kept until you decide. Nothing you do offline is ever thrown away by a sync.
            """)

    static let exits = HelpTopic(
        name: "exit-codes", summary: "what scripts can rely on",
        text: """
            0  done
            1  refused: by the schema, a rule or the server, no such record — or a sync or an import has something refused to show
            2  usage: an unknown command, option or field, a value or file that cannot be read
            3  the server cannot be reached; everything but enroll, sync and digest --server works without it
            4  not allowed: not enrolled, enrolled already, or access was withdrawn
            5  storage: the file, the disk or the output

            With --json errors are {"error":{"code","message","fields","hint"}} on standard output; the code of exit 2 is usage,
            invalid_query or invalid_csv.
            """)
}

enum Help {
    private static let intro = "replica — work on a local copy of your company's data, with or without a network."
    static let usage = "replica [--db FILE] [--json] [--no-pager] COMMAND …"

    static func showOverview(_ terminal: Terminal) {
        for line in DisplayWidth.wrapped("\(intro)\n\nusage: \(usage)", to: terminal.width ?? 100) { terminal.line(line) }
        let groups = Command.Group.allCases.map { group in (group, Commands.shown.filter { $0.group == group }) }
        for (group, commands) in groups where !commands.isEmpty {
            terminal.line("\n" + terminal.styled(group.rawValue, .bold))
            rows(commands.map { ("\($0.name) \($0.words)", $0.summary) }, terminal)
        }
        terminal.line("\n" + terminal.styled("To know", .bold))
        rows(HelpTopic.all.map { ("help \($0.name)", $0.summary) }, terminal)
        terminal.line(
            """

            New here? Ask an owner for a code, then:

              replica enroll https://sync.example.com CODE
              replica sync
              replica list client
            """)
    }

    /// The same for a program: what there is to ask for, and how.
    private static var overview: JSONValue {
        [
            "usage": .string(usage),
            "commands": .array(
                Commands.shown.map { ["command": .string($0.name), "words": .string($0.words), "summary": .string($0.summary)] }),
            "topics": .array(HelpTopic.all.map { ["topic": .string($0.name), "summary": .string($0.summary)] }),
        ]
    }

    private static func document(of command: Command) -> JSONValue {
        [
            "command": .string(command.name), "words": .string(command.words), "summary": .string(command.summary),
            "text": .string(command.help),
            "options": .array(
                command.options.map { option in
                    [
                        "option": .string("--\(option.name)"), "value": option.value.map { .string($0) } ?? .null,
                        "summary": .string(option.summary), "repeatable": .bool(option.isRepeatable),
                    ]
                }),
            "topics": .array(topics(of: command).map { .string($0) }),
        ]
    }

    /// Terms and what they mean; a term that is too long stands on a line of its own.
    private static func rows(_ rows: [(term: String, meaning: String)], _ terminal: Terminal) {
        let width = terminal.width ?? 100
        let column = min(30, max(12, (rows.map { DisplayWidth.of($0.term) }.filter { $0 <= 28 }.max() ?? 12)))
        for row in rows {
            let lines = DisplayWidth.wrapped(row.meaning, to: max(20, width - column - 4))
            let isLong = DisplayWidth.of(row.term) > column
            let term = isLong ? DisplayWidth.wrapped(row.term, to: max(18, width - 2)) : [row.term]
            for line in term.dropLast() { terminal.line("  \(line)") }
            let last = term.last ?? ""
            if isLong {
                terminal.line("  \(last)")
                for line in lines { terminal.line(String(repeating: " ", count: column + 4) + line) }
            } else {
                terminal.line("  \(DisplayWidth.padded(last, to: column))  \(lines[0])")
                for line in lines.dropFirst() { terminal.line(String(repeating: " ", count: column + 4) + line) }
            }
        }
    }

    static func show(_ name: String?, _ terminal: Terminal) throws -> ExitCode {
        guard let name else {
            if terminal.isJSON { terminal.json(overview) } else { showOverview(terminal) }
            return .done
        }
        if let topic = HelpTopic.all.first(where: { $0.name == name }) {
            guard !terminal.isJSON else {
                terminal.json(["topic": .string(topic.name), "summary": .string(topic.summary), "text": .string(topic.text)])
                return .done
            }
            terminal.line(terminal.styled(topic.summary, .bold) + "\n")
            text(topic.text, terminal)
            return .done
        }
        guard let command = Commands.named(name), !command.isHidden else {
            let near = Near.names(to: name, in: Commands.shown.map(\.name) + HelpTopic.all.map(\.name))
            throw UsageError(
                "there is no command \(name)",
                hint: near.isEmpty ? "replica help lists them" : "did you mean \(near.joined(separator: " or "))?")
        }
        guard !terminal.isJSON else {
            terminal.json(document(of: command))
            return .done
        }
        terminal.line(terminal.styled("replica \(command.name) \(command.words)".trimmingSpaces, .bold) + "\n\n\(command.summary)\n")
        text(command.help, terminal)
        if !command.options.isEmpty {
            terminal.line("\nOptions:")
            rows(command.options.map { ($0.usage, $0.summary) }, terminal)
        }
        let topics = topics(of: command)
        if !topics.isEmpty { terminal.line("\nSee also: \(topics.map { "replica help \($0)" }.joined(separator: ", "))") }
        return .done
    }

    static func topics(of command: Command) -> [String] {
        var topics: [String] = []
        if command.arguments.contains(.record) || command.arguments.contains(.deletedRecord) { topics.append("records") }
        if command.arguments.contains(.assignment) { topics.append("values") }
        if command.options.contains(where: { $0.completes == .condition }) { topics.append("where") }
        if command.arguments.contains(.problem) { topics.append("conflicts") }
        return topics
    }

    /// Paragraphs fit the window; indented lines are examples and stay as they are.
    private static func text(_ text: String, _ terminal: Terminal) {
        for block in blocks(text) {
            switch block {
            case .paragraph(let words):
                let lines = terminal.width.map { DisplayWidth.wrapped(words, to: min($0, 100)) } ?? DisplayWidth.wrapped(words, to: 100)
                for line in lines { terminal.line(line) }
            case .lines(let lines):
                for line in lines {
                    // An example is copied as it is; a numbered meaning wraps beside its number.
                    guard line.first?.isNumber == true, let width = terminal.width else {
                        terminal.line(line)
                        continue
                    }
                    for (index, part) in DisplayWidth.wrapped(String(line.dropFirst(3)), to: width - 3).enumerated() {
                        terminal.line((index == 0 ? String(line.prefix(3)) : "   ") + part)
                    }
                }
            case .gap: terminal.line()
            }
        }
    }

    enum Block: Equatable {
        case paragraph(String)
        case lines([String])
        case gap
    }

    /// Lines that belong together: running text, or lines whose layout matters.
    static func blocks(_ text: String) -> [Block] {
        var blocks: [Block] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            let isLaidOut = line.hasPrefix("  ") || line.first?.isNumber == true && line.dropFirst().hasPrefix("  ")
            switch (blocks.last, line.isEmpty, isLaidOut) {
            case (_, true, _): blocks.append(.gap)
            case (.lines(let lines)?, false, true): blocks[blocks.count - 1] = .lines(lines + [line])
            case (_, false, true): blocks.append(.lines([line]))
            case (.paragraph(let words)?, false, false): blocks[blocks.count - 1] = .paragraph(words + " " + line)
            default: blocks.append(.paragraph(line))
            }
        }
        return blocks
    }
}

extension Command {
    static let help = Command(
        name: "help", words: "[COMMAND|TOPIC]", summary: "explains, with examples",
        help:
            "Without a word: all commands. TOPIC is one of \(HelpTopic.all.map(\.name).joined(separator: ", ")).\n\n  replica help list\n  replica help where",
        options: [.flag("man", "the manual page, for man(1)")], opensReplica: false, arguments: [.command], isPaged: true
    ) { context, arguments in
        let words = try Context.words(arguments, 0...1, "help [COMMAND|TOPIC]")
        if arguments.has("man") {
            if context.terminal.isJSON {
                context.terminal.json(["manual": .string(ManualPage.text)])
            } else {
                context.terminal.line(ManualPage.text)
            }
            return .done
        }
        return try Help.show(words.first, context.terminal)
    }
}

extension String {
    var trimmingSpaces: String { String(reversed().drop { $0 == " " }.reversed()) }
}
