// Opening a file: engine tables, typed tables, and what the schema gained since the file was last opened.
// Tables and columns are added, never dropped, so that an older build can open the file again.

import Foundation
import SyncProtocol

enum ReplicaFile {
    /// Grows when engine tables change in a way that older builds cannot read.
    static let formatVersion: Int64 = 1

    static let engineTables = [
        "CREATE TABLE IF NOT EXISTS _tideline_meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        // Sealed sets that no checkpoint covers yet. `sealed` is NULL for a withdrawn set, whose marker is still to be offered.
        // `seen` is set on those from before a restore of the server; `deferred` on those that it has told to wait; `author` on those
        // that another replica has sealed, whose courier this file is; `stamp` on those that the server counts with another one than theirs,
        // `numbers` on those that had given records their numbers before a restore.
        """
        CREATE TABLE IF NOT EXISTS _tideline_pending (counter INTEGER PRIMARY KEY, hash TEXT NOT NULL, sealed BLOB, \
        sealed_at INTEGER NOT NULL, summary TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT, predicted TEXT, \
        feed_epoch INTEGER NOT NULL, feed_position INTEGER NOT NULL, undo TEXT, undoes INTEGER, seen TEXT, \
        deferred INTEGER NOT NULL DEFAULT 0, author TEXT, stamp TEXT, \
        numbers TEXT)
        """,
        // The confirmed image of every record that pending sets changed; NULL: there is none at the server.
        """
        CREATE TABLE IF NOT EXISTS _tideline_base (entity TEXT NOT NULL, id TEXT NOT NULL, image TEXT, queued_state TEXT, \
        evicted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (entity, id)) WITHOUT ROWID
        """,
        // What the server said about versions since the oldest pending set: replay tells known from concurrent by it.
        """
        CREATE TABLE IF NOT EXISTS _tideline_version (entity TEXT NOT NULL, id TEXT NOT NULL, versions TEXT NOT NULL, \
        PRIMARY KEY (entity, id)) WITHOUT ROWID
        """,
        // How often commits of this library have changed an entity: by it other processes learn what to read again.
        "CREATE TABLE IF NOT EXISTS _tideline_touched (entity TEXT NOT NULL PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS _tideline_stage (page INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
        """
        CREATE TABLE IF NOT EXISTS _tideline_journal (counter INTEGER PRIMARY KEY, hash TEXT NOT NULL, sealed BLOB, \
        sealed_at INTEGER NOT NULL, summary TEXT NOT NULL, outcome TEXT NOT NULL, confirmed_at INTEGER NOT NULL, undo TEXT, undoes INTEGER)
        """,
        """
        CREATE TABLE IF NOT EXISTS _tideline_problem (id INTEGER PRIMARY KEY, counter INTEGER NOT NULL, hash TEXT NOT NULL, \
        sealed BLOB NOT NULL, summary TEXT NOT NULL, violations TEXT NOT NULL, created TEXT NOT NULL, status TEXT NOT NULL, \
        created_at INTEGER NOT NULL, resolved_at INTEGER, resolution TEXT, undo TEXT)
        """,
        """
        CREATE TABLE IF NOT EXISTS _tideline_checkpoint_mark (position INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, \
        fingerprint TEXT NOT NULL)
        """,
        """
        CREATE TABLE IF NOT EXISTS _tideline_unknown (entity TEXT NOT NULL, id TEXT NOT NULL, image TEXT NOT NULL, \
        PRIMARY KEY (entity, id)) WITHOUT ROWID
        """,
    ]

    /// Columns that engine tables have gained since the first format.
    static let addedColumns = [
        (table: "_tideline_pending", column: "undo", type: "TEXT"), (table: "_tideline_pending", column: "undoes", type: "INTEGER"),
        (table: "_tideline_journal", column: "undo", type: "TEXT"), (table: "_tideline_journal", column: "undoes", type: "INTEGER"),
        (table: "_tideline_problem", column: "undo", type: "TEXT"), (table: "_tideline_pending", column: "seen", type: "TEXT"),
        (table: "_tideline_pending", column: "deferred", type: "INTEGER NOT NULL DEFAULT 0"),
        (table: "_tideline_pending", column: "author", type: "TEXT"),
        (table: "_tideline_pending", column: "stamp", type: "TEXT"),
        (table: "_tideline_pending", column: "numbers", type: "TEXT"),
        // Whether somebody was told of a refusal that happened while nobody was looking; NULL: not yet.
        (table: "_tideline_problem", column: "told", type: "INTEGER"),
        // When a checkpoint first met it settled, by the server's time; NULL: none has, or it is open.
        (table: "_tideline_problem", column: "settled_at", type: "INTEGER"),
    ]

    /// Creates or extends the tables; does nothing but one read when the file already has this build's layout.
    static func prepare(_ store: Store, _ layout: FileLayout) throws {
        let connection = store.connection
        let (engineTables, triggers) = (layout.engineTables, layout.triggers)
        let isReplica = try connection.scalarInteger("SELECT count(*) FROM sqlite_schema WHERE name = '_tideline_meta'") == 1
        if isReplica {
            let meta = Metadata(connection: connection)
            let format = try meta.integer(.format) ?? formatVersion
            guard format <= formatVersion else {
                throw ReplicaError(
                    .newerFile, "the file has format \(format), this build reads up to \(formatVersion): use a newer one", operation: "open"
                )
            }
            if try meta.text(.layout) == layout.hash { return try mend(store, engineTables, triggers) }
        }
        try connection.immediateTransaction {
            try store.step(.upgradeBegin)
            for statement in engineTables { try connection.execute(statement) }
            for added in addedColumns where try !columns(of: added.table, connection).contains(added.column) {
                try connection.execute("ALTER TABLE \(added.table) ADD COLUMN \(added.column) \(added.type)")
            }
            try store.step(.upgradeRecords)
            for table in store.tables.all { try extend(table, store) }
            let meta = Metadata(connection: connection)
            try store.step(.upgradeTriggers)
            // An older build leaves the triggers of a newer one alone: they know columns that it does not.
            if try meta.integer(.schema) ?? 0 <= store.schema.version { try renew(triggers, connection) }
            // What it fetched for fields that it does not know went beside them, and the fields themselves are old by now: a build
            // that knows them fetches everything anew.
            if try meta.integer(.schema) ?? 0 > store.schema.version {
                try meta.set(.olderWriter, store.schema.version)
            } else if try meta.text(.olderWriter) != nil {
                try meta.set(.olderWriter, nil as String?)
                if try meta.checkpoint() != nil { try store.noteRebuild(.requested) }
            }
            // What tools wrote until now they wrote for the build before.
            if let before = try meta.integer(.schema), before < store.schema.version, try store.hasCaptured(),
                try meta.integer(.capturedSchema) == nil
            {
                try meta.set(.capturedSchema, before)
            }
            try meta.set(.format, formatVersion)
            try meta.set(.schema, max(store.schema.version, try meta.integer(.schema) ?? 0))
            try meta.set(.layout, layout.hash)
            try meta.set(.cookie, try store.schemaCookie)
            try store.step(.upgradeStored)
        }
    }

    /// Makes anew what tools have taken away since this build last looked. A file that cannot be written now is mended another time.
    private static func mend(_ store: Store, _ engineTables: [String], _ triggers: [String]) throws {
        let connection = store.connection
        let meta = Metadata(connection: connection)
        guard try meta.integer(.cookie) != store.schemaCookie else { return }
        // Opening waits for nobody who writes.
        try connection.script("PRAGMA busy_timeout = 250")
        defer { try? connection.script("PRAGMA busy_timeout = \(store.environment.lockPatienceMilliseconds)") }
        do {
            try connection.immediateTransaction {
                let isNewer = try meta.integer(.schema) ?? 0 > store.schema.version
                let missing = try store.missingParts(engineTables: engineTables, triggers: isNewer ? nil : triggers)
                if !missing.isEmpty {
                    for statement in engineTables { try connection.execute(statement) }
                    for table in store.tables.all { try extend(table, store) }
                    if !isNewer { try renew(triggers, connection) }
                    // Values went with them.
                    let isData = missing.contains { $0.hasPrefix("the table") || $0.hasPrefix("the column") }
                    if try isData && meta.checkpoint() != nil { try store.noteRebuild(.requested) }
                    let note: JSONObject = [
                        "at": .integer(store.environment.wallMilliseconds()), "parts": .array(missing.map { .string($0) }),
                    ]
                    try meta.set(.mended, JSONValue.object(note).canonicalText)
                }
                try meta.set(.cookie, try store.schemaCookie)
            }
        } catch let error as SQLiteError where !error.isCorrupt {}
    }

    private static func columns(of table: String, _ connection: SQLiteConnection) throws -> Set<String> {
        Set(try connection.query("SELECT name FROM pragma_table_info(?1)", [.text(table)]) { $0.text(0) })
    }

    private static func renew(_ triggers: [String], _ connection: SQLiteConnection) throws {
        let present = try connection.query(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1", [.text(CaptureTable.prefix)]
        ) { $0.text(0) }
        for name in present { try connection.execute("DROP TRIGGER \"\(name)\"") }
        for trigger in triggers { try connection.execute(trigger) }
    }

    private static func extend(_ table: RecordTable, _ store: Store) throws {
        let connection = store.connection
        let name = table.schema.name
        let present = try columns(of: name, connection)
        if present.isEmpty {
            try connection.execute(table.create)
            try adoptUnknownRows(table, store)
        } else {
            for column in table.columns where !present.contains(column.name) {
                let type = column.storage == .integer ? "INTEGER" : "TEXT"
                try connection.execute("ALTER TABLE \"\(name)\" ADD COLUMN \"\(column.name)\" \(type)")
                // Values that came while this build's predecessor did not know the field.
                try connection.execute(
                    """
                    UPDATE "\(name)" SET "\(column.name)" = json_extract(_extra, '$."\(column.name)"'), \
                    _extra = nullif(json_remove(_extra, '$."\(column.name)"'), '{}') \
                    WHERE json_type(_extra, '$."\(column.name)"') IS NOT NULL
                    """)
            }
        }
        for index in table.indexes { try connection.execute(index) }
    }

    /// Rows of an entity that was unknown until now become rows of its table.
    private static func adoptUnknownRows(_ table: RecordTable, _ store: Store) throws {
        let images = try store.connection.query(
            "SELECT id, image FROM _tideline_unknown WHERE entity = ?1", [.text(table.schema.name)]
        ) { ($0.text(0), $0.text(1)) }
        for (id, image) in images {
            guard let id = Identifier(id) else { continue }
            try store.put(try RecordImage.decode(image, schema: table.schema, id: id))
        }
        try store.connection.execute("DELETE FROM _tideline_unknown WHERE entity = ?1", [.text(table.schema.name)])
    }

    /// The file holds a token: nobody else on the machine may read it.
    static func protect(_ path: String) {
        try? FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    }
}
