// An open replica file: one gate that writes, one that only reads, and what both need.

import SyncProtocol

final class OpenFile: Sendable {
    let path: String
    let tables: ReplicaTables
    let environment: ReplicaEnvironment
    let changes: Broadcast<ChangeNotice>
    /// Of the file that was opened; nil for none (a database in memory).
    let identity: FileIdentity?
    private let writer: SQLiteGate
    private let reader: SQLiteGate
    /// Why edits by plain SQL could not be sealed when the file was opened.
    let unsealed: ReplicaError?

    /// Extended result code: a reader found a transaction that a dead process left behind, and may not roll it back.
    private static let needsRollback: Int32 = 776

    /// What somebody else is writing may take long; a command that only reads must not wait for it.
    private static let sealingPatienceMilliseconds = 250

    init(
        path: String, schema: Schema, environment: ReplicaEnvironment, journal: ReplicaJournal, seals: Bool = true
    ) async throws {
        let layout = FileLayout.of(schema)
        let tables = layout.tables
        let changes = Broadcast<ChangeNotice>()
        self.path = path
        self.tables = tables
        self.environment = environment
        self.changes = changes
        let writer = try await SQLiteGate.open {
            let connection = try SQLiteConnection(
                path: path, mode: .readWriteCreate, journalMode: journal.mode, synchronous: .full,
                busyTimeoutMilliseconds: environment.lockPatienceMilliseconds)
            ReplicaFile.protect(path)
            try connection.disableTriggers()
            // A large apply stays in memory as far as possible: spilling locks readers out before the commit.
            try connection.script("PRAGMA cache_size = -65536")
            let store = Store(connection: connection, tables: tables, environment: environment)
            try ReplicaFile.prepare(store, layout)
            connection.beforeCommit = { [unowned connection] changed in
                for table in changed where tables[table] != nil {
                    try connection.execute(
                        """
                        INSERT INTO _tideline_touched (entity, times) VALUES (?1, 1) \
                        ON CONFLICT (entity) DO UPDATE SET times = times + 1
                        """, [.text(table)])
                }
            }
            connection.onCommit { changed in
                let entities = changed.filter { tables[$0] != nil }
                if !entities.isEmpty { changes.send(ChangeNotice(entities: entities)) }
            }
            return connection
        }
        self.writer = writer
        reader = try await SQLiteGate.open {
            try SQLiteConnection(path: path, mode: .readOnly, busyTimeoutMilliseconds: environment.lockPatienceMilliseconds)
        }
        identity = FileIdentity(of: path)
        unsealed = seals ? await Self.seal(with: writer, tables, environment) : nil
    }

    /// What tools wrote meanwhile becomes pending. Returns why it could not.
    ///
    /// A file must open whatever happens here: it can still be read, checked and exported, be it read-only, damaged or on a full
    /// disk. So a failure is kept and told (by `doctor`, and by whoever asks) instead of thrown. Only a lock is no news at all:
    /// somebody else is writing, and the next edit or sync seals.
    private static func seal(
        with writer: SQLiteGate, _ tables: ReplicaTables, _ environment: ReplicaEnvironment
    ) async -> ReplicaError? {
        do {
            try await writer.run { connection in
                try connection.script("PRAGMA busy_timeout = \(sealingPatienceMilliseconds)")
                defer { try? connection.script("PRAGMA busy_timeout = \(environment.lockPatienceMilliseconds)") }
                try Store(connection: connection, tables: tables, environment: environment).sealIfCaptured()
            }
            return nil
        } catch let error as SQLiteError where error.isRetryable {
            return nil
        } catch {
            return ReplicaError.translated(error, operation: "open")
        }
    }

    /// Runs with the writing connection. Transactions are the body's own.
    func write<R: Sendable>(_ body: @escaping @Sendable (Store) throws -> R) async throws -> R {
        try await writer.run { [tables, environment] connection in
            try body(Store(connection: connection, tables: tables, environment: environment))
        }
    }

    /// Runs on one snapshot, with a connection that cannot write.
    func read<R: Sendable>(_ body: @escaping @Sendable (Store) throws -> R) async throws -> R {
        let whole: @Sendable (SQLiteConnection) throws -> R = { [tables, environment] connection in
            try connection.readTransaction { try body(Store(connection: connection, tables: tables, environment: environment)) }
        }
        do {
            return try await reader.run(whole)
        } catch let error as SQLiteError where error.code == Self.needsRollback {
            _ = try await writer.run { try $0.scalarInteger("SELECT count(*) FROM sqlite_schema") }
            return try await reader.run(whole)
        }
    }

    func close() async {
        _ = await reader.close()
        _ = await writer.close()
        changes.finish()
    }
}

extension Store {
    func learn(serverMilliseconds: Int64) throws {
        let meta = Metadata(connection: connection)
        var clock = try meta.clock()
        clock.learn(serverMilliseconds: serverMilliseconds, wallMilliseconds: environment.wallMilliseconds())
        try meta.set(clock)
    }
}
