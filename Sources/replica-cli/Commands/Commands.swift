// Every command, in the order help lists them.

enum Commands {
    static let all: [Command] = [
        .enroll, .sync, .status, .doctor, .digest,
        .list, .show, .history, .log, .add, .set, .transition, .remove, .restore,
        .pending, .problems, .retry, .edit, .discard, .undo,
        .report, .importRecords, .exportRecords, .sql, .schema,
        .completions, .help, .complete,
    ]

    static var shown: [Command] { all.filter { !$0.isHidden } }

    static func named(_ name: String) -> Command? { all.first { $0.name == name } }

    static func isPaged(_ name: String?, _ options: GlobalOptions) -> Bool {
        guard let name, !options.help else { return true }
        return named(name)?.isPaged ?? false
    }
}
