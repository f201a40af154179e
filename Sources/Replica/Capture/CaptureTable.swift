// Plain SQL as a way in: what any SQLite client does to a typed table is caught by triggers and becomes change sets.
// The library's own connection has triggers switched off, so neither its edits nor what a sync applies comes by here.
//
//   INSERT · UPDATE · DELETE ─► gate (what the schema can judge alone) ─► _tideline_edit ─► Seal ─► pending

import SyncProtocol

enum CaptureTable {
    static let engineTables = [
        // One row for every row that a tool inserted, changed or deleted, in order, until it is sealed.
        """
        CREATE TABLE IF NOT EXISTS _tideline_edit (seq INTEGER PRIMARY KEY AUTOINCREMENT, grp INTEGER, summary TEXT, entity TEXT NOT NULL, \
        id TEXT NOT NULL, kind TEXT NOT NULL, old TEXT, new TEXT, checkpoint TEXT, at INTEGER NOT NULL)
        """,
        // What a row was before an INSERT OR REPLACE took its place: SQLite runs no delete triggers for it.
        """
        CREATE TABLE IF NOT EXISTS _tideline_before (entity TEXT NOT NULL, id TEXT NOT NULL, image TEXT NOT NULL, \
        PRIMARY KEY (entity, id)) WITHOUT ROWID
        """,
        // Which tombstones an INSERT has just named, and when: an upsert on one is told apart from an UPDATE that passes over it.
        """
        CREATE TABLE IF NOT EXISTS _tideline_named (entity TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, \
        PRIMARY KEY (entity, id)) WITHOUT ROWID
        """,
        // The one engine table that tools write to: while it has a row, all they edit belongs to one change set.
        "CREATE TABLE IF NOT EXISTS tideline_group (id INTEGER PRIMARY KEY AUTOINCREMENT, summary TEXT)",
    ]

    /// Milliseconds since 1970 UTC by the wall clock of whoever runs the statement.
    static let now = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"

    /// A version-7 UUID made by SQLite, so that tools need not bring one.
    static let newIdentifier = """
        (lower(printf('%s-%s-7%s-%s%s-%s', substr(printf('%012x', \(now)), 1, 8), substr(printf('%012x', \(now)), 9), \
        substr(hex(randomblob(2)), 2), substr('89ab', 1 + (random() & 3), 1), substr(hex(randomblob(2)), 2), hex(randomblob(6)))))
        """

    /// The triggers of one table, each as one statement.
    static func triggers(_ table: RecordTable) -> [String] {
        let entity = table.schema.name
        let gates = CaptureGates(table)
        let isChanged = table.columns.map { "NEW.\"\($0.name)\" IS NOT OLD.\"\($0.name)\"" }.joined(separator: " OR ")
        func trigger(_ name: String, _ event: String, _ body: [String]) -> String {
            "CREATE TRIGGER \"\(prefix)\(entity)_\(name)\" \(event) BEGIN\n\(body.map { $0 + ";\n" }.joined())END"
        }
        func capture(_ kind: String, id: String, old: String, new: String) -> String {
            """
            INSERT INTO _tideline_edit (grp, summary, entity, id, kind, old, new, checkpoint, at) VALUES \
            ((SELECT max(id) FROM tideline_group), (SELECT summary FROM tideline_group ORDER BY id DESC LIMIT 1), \
            '\(entity)', \(id), '\(kind)', \(old), \(new), (SELECT value FROM _tideline_meta WHERE key = 'checkpoint'), \(now))
            """
        }
        // What is gone stays as it is: an UPDATE or DELETE without WHERE passes over tombstones. Not so a statement that names one by
        // inserting its id, an upsert or a REPLACE: ignoring it would lose what it says, so that it goes on to the gates, which refuse
        // what does not restore. SQLite's "now" is the same all through a statement, which is how the two are told apart.
        let isNamed = "EXISTS (SELECT 1 FROM _tideline_named WHERE entity = '\(entity)' AND id = OLD.id AND at = \(now))"
        let isGone = "FROM \"\(entity)\" WHERE id = NEW.id AND deleted_at IS NOT NULL"
        let before = "(SELECT image FROM _tideline_before WHERE entity = '\(entity)' AND id = NEW.id)"
        return [
            trigger(
                "insert_before", "BEFORE INSERT ON \"\(entity)\"",
                [
                    gates.identifier,
                    "DELETE FROM _tideline_before WHERE entity = '\(entity)' AND id = NEW.id",
                    "INSERT INTO _tideline_before SELECT '\(entity)', id, \(image("", table)) FROM \"\(entity)\" WHERE id = NEW.id",
                    // In an INSERT OR IGNORE its own conflict clause rules here, too: the last of these is ignored, and nothing is named.
                    "DELETE FROM _tideline_named WHERE entity = '\(entity)' AND id = NEW.id",
                    "INSERT INTO _tideline_named SELECT '\(entity)', id, 0 \(isGone)",
                    "INSERT OR REPLACE INTO _tideline_named SELECT '\(entity)', id, \(now) \(isGone)",
                ]),
            trigger(
                "insert", "AFTER INSERT ON \"\(entity)\"",
                [
                    gates.insertion, gates.replacement, capture("insert", id: "NEW.id", old: before, new: image("NEW.", table)),
                    "DELETE FROM _tideline_before WHERE entity = '\(entity)' AND id = NEW.id", gates.group,
                ]),
            trigger(
                "update", "AFTER UPDATE ON \"\(entity)\" WHEN \(isChanged)",
                [gates.update, capture("update", id: "OLD.id", old: image("OLD.", table), new: image("NEW.", table)), gates.group]),
            trigger(
                "update_before",
                "BEFORE UPDATE ON \"\(entity)\" WHEN OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NOT NULL AND NOT \(isNamed)",
                ["SELECT RAISE(IGNORE)"]),
            trigger(
                "delete_before", "BEFORE DELETE ON \"\(entity)\" WHEN OLD.deleted_at IS NOT NULL AND NOT \(isNamed)",
                ["SELECT RAISE(IGNORE)"]),
            trigger(
                "delete", "AFTER DELETE ON \"\(entity)\"",
                [gates.deletion, capture("delete", id: "OLD.id", old: image("OLD.", table), new: "NULL"), gates.group]),
        ]
    }

    static let prefix = "_tideline_capture_"

    /// A row as JSON: what `RecordImage` reads. NULLs may be left out.
    private static func image(_ row: String, _ table: RecordTable) -> String {
        let members = table.columns.map { column -> String in
            let name = column.name == RecordTable.extraColumn ? "extra" : column.name
            let value = "\(row)\"\(column.name)\""
            return "'\(name)', \(column.storage == .json ? "json(\(value))" : value)"
        }
        // A function takes 127 arguments. Where a row needs more, merging drops the NULLs, which say the same as no member.
        let parts = stride(from: 0, to: members.count, by: 60).map {
            "json_object(\(members[$0..<min($0 + 60, members.count)].joined(separator: ", ")))"
        }
        return parts.dropFirst().reduce(parts[0]) { "json_patch(\($0), \($1))" }
    }
}
