// Completion for the shells: the lines they read, and the hidden command those lines ask.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let completions = Command(
        name: "completions", words: "bash|zsh|fish", summary: "lines for your shell, so that Tab completes",
        help: """
            Commands, options, entities, fields, values, transitions and the names of records in the file are completed, without a network.

              source <(replica completions bash)                                          in ~/.bashrc
              source <(replica completions zsh)                                           in ~/.zshrc, after compinit
              replica completions fish > ~/.config/fish/completions/replica.fish          once
            """,
        opensReplica: false, arguments: [.shell]
    ) { context, arguments in
        let word = try Context.words(arguments, 1...1, "completions bash|zsh|fish")[0]
        guard let shell = Shell(rawValue: word) else {
            throw UsageError(
                "there is no completion for \(word)", hint: "shells: \(Shell.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        if context.terminal.isJSON {
            context.terminal.json(["shell": .string(shell.rawValue), "script": .string(shell.script)])
        } else {
            context.terminal.line(shell.script)
        }
        return .done
    }

    static let complete = Command(
        name: "__complete", words: "SHELL -- WORD…", summary: "what may come next", help: "Asked by the lines of replica completions.",
        opensReplica: false, isHidden: true
    ) { context, arguments in
        guard let shell = arguments.words.first.flatMap(Shell.init(rawValue:)) else { return .usage }
        let (before, current) = ShellWords.split(Array(arguments.words.dropFirst()), for: shell)
        let named = Completion.database(in: before).map { $0.hasPrefix("~/") ? NSHomeDirectory() + $0.dropFirst(1) : $0 }
        let path = DatabaseFile.path(named ?? context.givenPath)
        // A replica that cannot be opened now has no names to offer; all else is.
        let replica = FileManager.default.fileExists(atPath: path) ? try? await Replica.open(path, seals: false) : nil
        let candidates = await Completion(context, replica, current: current.text).candidates(after: before)
        await replica?.close()
        for candidate in candidates {
            let text = candidate == Completion.files ? candidate.text : current.written(candidate.text, for: shell)
            guard !text.contains("\n") else { continue }
            context.terminal.line(shell == .bash || candidate.note.isEmpty ? text : "\(text)\t\(DisplayWidth.harmless(candidate.note))")
        }
        return .done
    }
}

extension Context {
    /// The file of this call.
    fileprivate var givenPath: String? { databasePath.isEmpty ? nil : databasePath }
}
