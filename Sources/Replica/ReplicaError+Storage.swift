// What failed calls into SQLite mean to a person: which kind of trouble the file is in. SQLite's own words, with the statement but
// never with the values bound to it, are kept beside it for whoever mends the program.

extension ReplicaError {
    /// What `storage` is about, as far as somebody can do something about it.
    public enum Trouble: String, Sendable, CaseIterable {
        /// Another program holds unsaved changes, or writes just now; `isRetryable`.
        case busy
        case full
        case readOnly = "read_only"
        case damaged
        /// No SQLite database: a file of another kind, or one whose beginning is gone.
        case foreign
        case cannotOpen = "cannot_open"
        /// The disk, or what it is connected by, fails.
        case disk
        /// What was to be stored contradicts what the file holds, which is an error of the program.
        case contradiction
        case other
    }

    static func storage(_ error: SQLiteError, operation: String) -> ReplicaError {
        var translated = ReplicaError(
            .storage, words(error), operation: operation, isRetryable: error.isRetryable)
        translated.trouble = trouble(error)
        translated.detail = error.description
        return translated
    }

    private static func trouble(_ error: SQLiteError) -> Trouble {
        switch error.primaryName {
        case "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL": .busy
        case "SQLITE_FULL": .full
        case "SQLITE_READONLY", "SQLITE_PERM": .readOnly
        case "SQLITE_CORRUPT": .damaged
        case "SQLITE_NOTADB": .foreign
        case "SQLITE_CANTOPEN": .cannotOpen
        case "SQLITE_IOERR": .disk
        case "SQLITE_CONSTRAINT", "SQLITE_MISMATCH": .contradiction
        default: .other
        }
    }

    private static func words(_ error: SQLiteError) -> String {
        // Where a file is opened, SQLite's words are preceded by its path.
        let isOpening = error.operation == "open"
        return switch trouble(error) {
        case .busy: "another program has unsaved changes in this file or is writing to it; nothing was written"
        case .full: "the disk is full; nothing was written"
        case .readOnly: "the file cannot be written: it or its folder is read-only"
        case .damaged: "the file is damaged"
        case .foreign, .cannotOpen: isOpening ? error.message : "the file cannot be read as a database: \(error.message)"
        case .disk: "the disk could not be read or written: \(error.message)"
        case .contradiction: "what was to be stored does not fit what the file holds: \(error.message)"
        case .other: error.message
        }
    }
}
