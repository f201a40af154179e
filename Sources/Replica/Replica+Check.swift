// Checks: is the file sound, and does it hold what the server holds.

import SyncProtocol

/// Live records of one entity: how many, and the hash over their content.
public struct EntityDigest: Sendable, Hashable {
    public let count: Int64
    /// SHA-256, lower-case hex; equal to the server's when nothing is pending and the replica is at its position.
    public let hash: String
}

/// The server's digests, and when they were true.
public struct ServerDigest: Sendable, Hashable {
    public let position: FeedPosition
    public let schemaVersion: Int64?
    public let entities: [String: EntityDigest]
}

extension Replica {
    /// Digests of confirmed state by entity, entities without records included.
    public func digest() async throws -> [String: EntityDigest] {
        try await reading("digest") { store in
            let confirmed = try ConfirmedRecords(store)
            var digests: [String: EntityDigest] = [:]
            defer { store.environment.progress(ReplicaProgress(work: .comparing, done: 1, total: 1)) }
            for (done, table) in store.tables.all.enumerated() {
                store.environment.progress(ReplicaProgress(work: .comparing, done: done, total: store.tables.all.count))
                var digest = ContentDigest(of: table.schema)
                try confirmed.forEach(table) { digest.add($0) }
                digests[table.schema.name] = EntityDigest(count: digest.count, hash: digest.finish())
            }
            return digests
        }
    }

    /// The server's digests as of now, with the position they hold at.
    public func serverDigest() async throws -> ServerDigest {
        do {
            let json = try await ask("digest", DigestRequest().query, "digest")
            var entities: [String: EntityDigest] = [:]
            for (name, value) in json["entities"]?.objectValue ?? JSONObject() {
                guard let count = value["count"]?.integerValue, let hash = value["hash"]?.stringValue else { continue }
                entities[name] = EntityDigest(count: count, hash: hash)
            }
            guard let position = json["position"]?.integerValue else { throw TransportFailure.malformed("a digest has a position") }
            return ServerDigest(
                position: FeedPosition(epoch: json["epoch"]?.integerValue ?? 0, position: position),
                schemaVersion: json["schema"]?.integerValue, entities: entities)
        } catch {
            throw ReplicaError.translated(error, operation: "digest")
        }
    }

    /// Asks the server beside a sync.
    func ask(_ path: String, _ query: [(name: String, value: String)], _ operation: String) async throws -> JSONValue {
        let identity = try await file.read { try Metadata(connection: $0.connection).requireIdentity(operation) }
        let bytes = try await transport(to: identity.server, operation).get(path, query, token: identity.token)
        do { return try JSONValue(parsing: bytes) } catch { throw TransportFailure.malformed(String(describing: error)) }
    }

    /// What SQLite's full check finds, and what this library expects of its own tables; empty when all is well.
    public func integrityCheck() async throws -> [String] {
        try await writing("integrity") { store in
            var findings = try store.connection.integrityCheck()
            // Of a damaged file, what can still be read is checked all the same.
            for check in [Self.checkCounters, Self.checkHashes, Self.checkBases] {
                do { findings += try check(store) } catch let error as SQLiteError where error.isCorrupt && !findings.isEmpty { continue }
            }
            return findings
        }
    }

    private static func checkCounters(_ store: Store) throws -> [String] {
        var findings: [String] = []
        let counter = try Metadata(connection: store.connection).integer(.counter) ?? 0
        if let last = try store.connection.scalarInteger("SELECT max(counter) FROM _tideline_pending"), last > counter {
            findings.append("pending set \(last) is beyond the last counter spent, \(counter)")
        }
        // Sets that wait after a restore of the server stay behind while later ones are settled; until those are, they stand
        // between the others.
        let (first, last, count) =
            try store.connection.first(
                """
                SELECT low, high, (SELECT count(*) FROM _tideline_pending WHERE counter BETWEEN low AND high AND author IS NULL) \
                FROM (SELECT min(counter) AS low, max(counter) AS high FROM _tideline_pending WHERE deferred = 0 AND author IS NULL)
                """
            ) { ($0.integer(0), $0.integer(1), $0.integer(2)) } ?? (0, 0, 0)
        if count > 0, last - first + 1 != count { findings.append("pending sets \(first) to \(last) have gaps") }
        return findings
    }

    private static func checkHashes(_ store: Store) throws -> [String] {
        try store.pendingRows().compactMap { row in
            guard let sealed = row.sealed, ChangeSet.hash(ofSealed: sealed) != row.hash else { return nil }
            return "the bytes of pending set \(row.counter) do not match their hash"
        }
    }

    private static func checkBases(_ store: Store) throws -> [String] {
        if try store.hasPending() { return [] }
        let left = try store.connection.scalarInteger("SELECT count(*) FROM _tideline_base") ?? 0
        return left > 0 ? ["base images are left though nothing is pending"] : []
    }

    /// Whether the file has a replica's tables; nothing is changed. Of a file that cannot be looked into (damaged, locked, left behind
    /// by a program that died in it) this is believed: opening it tells more.
    public static func isReplica(_ path: String) async -> Bool {
        do {
            let gate = try await SQLiteGate.open { try SQLiteConnection(path: path, mode: .readOnly, busyTimeoutMilliseconds: 0) }
            let count: Result<Int64?, any Error>
            do {
                count = .success(
                    try await gate.run { try $0.scalarInteger("SELECT count(*) FROM sqlite_schema WHERE name = '_tideline_meta'") })
            } catch { count = .failure(error) }
            await gate.close()
            return try count.get() == 1
        } catch { return true }
    }
}

/// What the server has confirmed, whatever pending edits make of it in the view.
struct ConfirmedRecords {
    private let store: Store
    private let bases: [RecordKey: BaseRow]
    /// What rows were that a tool has edited and nothing has sealed yet, by entity, in order of id; nil: not there.
    private let captured: [String: [(id: Identifier, image: String?)]]

    init(_ store: Store) throws {
        self.store = store
        bases = Dictionary(uniqueKeysWithValues: try store.bases().map { ($0.key, $0) })
        // SQLite takes the other columns from the row that has the minimum.
        let rows = try store.connection.query("SELECT entity, id, old, min(seq) FROM _tideline_edit GROUP BY entity, id ORDER BY id") {
            (entity: $0.text(0), id: Identifier($0.text(1)), image: $0.optionalText(2))
        }
        captured = Dictionary(grouping: rows, by: \.entity).mapValues { rows in
            rows.compactMap { row in row.id.map { (id: $0, image: row.image) } }
        }
    }

    /// In ascending order of id, behind `after` and up to `through`; tombstones included.
    func forEach(
        _ table: RecordTable, after: Identifier? = nil, through: Identifier? = nil, _ body: (RecordState) throws -> Void
    ) throws {
        func tell(_ base: BaseRow) throws {
            // What has left the scope stays in view only until the last own edit of it is answered.
            if !base.isEvicted, let image = base.image { try body(try RecordImage.decode(image, schema: table.schema, id: base.key.id)) }
        }
        var waiting = (captured[table.schema.name] ?? []).filter { row in
            after.map { row.id > $0 } ?? true && through.map { row.id <= $0 } ?? true
        }[...]
        /// What a tool has touched, up to a row of the table, which may be one of them.
        func tellCaptured(through id: Identifier?) throws -> Bool {
            var isAmongThem = false
            while let row = waiting.first, id.map({ row.id <= $0 }) ?? true {
                waiting.removeFirst()
                isAmongThem = row.id == id
                let key = RecordKey(table.schema.name, row.id)
                if let base = bases[key] {
                    try tell(base)
                } else if let image = row.image {
                    try body(try RecordImage.decode(image, schema: table.schema, id: row.id))
                }
            }
            return isAmongThem
        }
        try store.connection.forEach(
            table.select + " WHERE id > ?1 AND id <= ?2 ORDER BY id", [.text(after?.text ?? ""), .text(through?.text ?? "g")]
        ) { row in
            let record = try table.record(row)
            if try tellCaptured(through: record.id) { return }
            guard let base = bases[record.key] else { return try body(record) }
            try tell(base)
        }
        _ = try tellCaptured(through: nil)
    }
}
