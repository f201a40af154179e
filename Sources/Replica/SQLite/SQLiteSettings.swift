// How a database file is opened: the choices that the caller makes, everything else is fixed by SQLiteConnection.

import CSQLite

/// What the connection may do with the file.
enum SQLiteOpenMode: Sendable {
    /// Read and write; the file is created when it is absent.
    case readWriteCreate
    /// Read and write a file that exists.
    case readWrite
    /// Read a file that exists.
    case readOnly
    /// A private database without a file; the path is ignored.
    case memory

    var flags: Int32 {
        switch self {
        case .readWriteCreate: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        case .readWrite: SQLITE_OPEN_READWRITE
        case .readOnly: SQLITE_OPEN_READONLY
        case .memory: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY
        }
    }
}

/// How SQLite makes commits atomic. The mode `wal` is remembered in the file, the others belong to the connection.
enum SQLiteJournalMode: String, Sendable, CaseIterable {
    case wal, delete, truncate, persist
}

/// How often SQLite waits for the disk. With `full` a commit survives a power loss in every journal mode.
enum SQLiteSynchronous: String, Sendable, CaseIterable {
    case off, normal, full, extra
}
