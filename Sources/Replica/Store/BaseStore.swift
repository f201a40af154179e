// Base images: the confirmed state under the records that pending sets changed, and what is known of versions.

import SyncProtocol

struct BaseRow: Sendable {
    var key: RecordKey
    /// nil: the server has no such record.
    var image: String?
    var isEvicted: Bool
}

extension Store {
    func bases() throws -> [BaseRow] {
        try connection.query("SELECT entity, id, image, evicted FROM _tideline_base ORDER BY entity, id") { row -> BaseRow? in
            guard let id = Identifier(row.text(1)) else { return nil }
            return BaseRow(key: RecordKey(row.text(0), id), image: row.optionalText(2), isEvicted: row.boolean(3))
        }.compactMap { $0 }
    }

    func hasBase(_ key: RecordKey) throws -> Bool {
        try connection.scalarInteger(
            "SELECT EXISTS (SELECT 1 FROM _tideline_base WHERE entity = ?1 AND id = ?2)", key.bindings) == 1
    }

    /// Whether the record exists only here so far.
    func isLocalCreation(_ key: RecordKey) throws -> Bool {
        try connection.scalarInteger(
            "SELECT EXISTS (SELECT 1 FROM _tideline_base WHERE entity = ?1 AND id = ?2 AND image IS NULL)", key.bindings) == 1
    }

    /// The confirmed state under pending changes; nil when there is none, or none that this build can read.
    func baseRecord(_ key: RecordKey) throws -> RecordState? {
        guard let schema = schema.entity(key.entity) else { return nil }
        let image = try connection.scalarText("SELECT image FROM _tideline_base WHERE entity = ?1 AND id = ?2", key.bindings)
        return try image.map { try RecordImage.decode($0, schema: schema, id: key.id) }
    }

    func queuedState(_ key: RecordKey) throws -> String? {
        try connection.scalarText("SELECT queued_state FROM _tideline_base WHERE entity = ?1 AND id = ?2", key.bindings)
    }

    /// Saves the confirmed image before the first local change; keeps the one that is there.
    func saveBase(_ key: RecordKey, confirmed: RecordState?, queuedState: String?) throws {
        try connection.execute(
            """
            INSERT INTO _tideline_base (entity, id, image, queued_state) VALUES (?1, ?2, ?3, ?4) \
            ON CONFLICT (entity, id) DO UPDATE SET queued_state = excluded.queued_state
            """,
            key.bindings + [SQLiteValue(confirmed.map { RecordImage.encode($0) }), SQLiteValue(queuedState)])
    }

    func updateBase(_ key: RecordKey, image: String?) throws {
        try connection.execute(
            "UPDATE _tideline_base SET image = ?3, evicted = 0 WHERE entity = ?1 AND id = ?2", key.bindings + [SQLiteValue(image)])
    }

    func removeBase(_ key: RecordKey) throws {
        try connection.execute("DELETE FROM _tideline_base WHERE entity = ?1 AND id = ?2", key.bindings)
    }

    // MARK: Versions

    func versions(_ key: RecordKey, _ schema: EntitySchema) throws -> RecordVersions? {
        guard let text = try connection.scalarText("SELECT versions FROM _tideline_version WHERE entity = ?1 AND id = ?2", key.bindings)
        else { return nil }
        return RecordVersions(json: try JSONValue(parsing: text), schema: schema)
    }

    /// Folds news about versions into what is known.
    func overlayVersions(_ key: RecordKey, _ schema: EntitySchema, _ news: RecordVersions) throws {
        var versions = try versions(key, schema) ?? RecordVersions()
        versions.overlay(news)
        try connection.execute(
            """
            INSERT INTO _tideline_version (entity, id, versions) VALUES (?1, ?2, ?3) \
            ON CONFLICT (entity, id) DO UPDATE SET versions = excluded.versions
            """,
            key.bindings + [.text(versions.json(of: schema).canonicalText)])
    }
}

extension RecordKey {
    var bindings: [SQLiteValue] { [.text(entity), .text(id.text)] }
}
