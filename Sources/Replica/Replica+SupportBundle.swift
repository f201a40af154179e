// The support bundle: what a developer needs to understand a file, without anything that people typed into it.

import SyncProtocol

extension Replica {
    /// What a developer needs to understand a problem: no field values, no names, no token. Of a damaged file, what can be read.
    public func supportBundle(_ diagnosis: Diagnosis) async throws -> JSONValue {
        let status: ReplicaStatus?
        do { status = try await self.status() } catch let error as ReplicaError where error.code == .storage { status = nil }
        let facts: JSONValue
        do { facts = try await writing("bundle") { try $0.supportFacts() } } catch let error as ReplicaError where error.code == .storage {
            facts = ["unreadable": .string(error.detail ?? error.message)]
        }
        return Self.bundle(diagnosis, schema, status, facts)
    }

    static func bundle(_ diagnosis: Diagnosis, _ schema: Schema, _ status: ReplicaStatus?, _ facts: JSONValue) -> JSONValue {
        [
            "program": [
                "protocol": .integer(ProtocolVersion.current), "schema": .integer(schema.version), "platform": .string(Self.platform),
            ],
            "replica": [
                "tenant": status?.tenant.map { .string($0.text) } ?? .null, "member": status?.member.map { .string($0.text) } ?? .null,
                "replica": status?.replica.map { .string($0.text) } ?? .null,
                "role": status?.role.map { .string($0.rawValue) } ?? .null,
                "checkpoint": status?.checkpoint.map { [.integer($0.epoch), .integer($0.position)] } ?? .null,
                "synced_at": status?.syncedAt.map { .integer($0) } ?? .null,
                "clock_offset_ms": (status?.clockOffsetMilliseconds).map { .integer($0) } ?? .null,
            ],
            "findings": .array(
                diagnosis.findings.map { ["check": .string($0.check), "level": .string($0.level.rawValue), "text": .string($0.text)] }),
            "differences": .array(
                diagnosis.differences.prefix(1_000).map {
                    ["entity": .string($0.key.entity), "id": .string($0.key.id.text), "kind": .string($0.kind.rawValue)]
                }),
            "file": facts,
        ]
    }
}

extension Store {
    fileprivate func supportFacts() throws -> JSONValue {
        var counts = JSONObject()
        for table in tables.all {
            counts[table.schema.name] = try [
                "live": number("SELECT count(*) FROM \"\(table.schema.name)\" WHERE deleted_at IS NULL"),
                "deleted": number("SELECT count(*) FROM \"\(table.schema.name)\" WHERE deleted_at IS NOT NULL"),
            ]
        }
        let pending = try readable {
            .array(
                try pendingRows().prefix(500).map { row in
                    let changes = row.sealed.flatMap { try? ChangeSet(sealed: $0) }?.changes ?? []
                    return [
                        "counter": .integer(row.counter), "hash": .string(row.hash), "bytes": .integer(Int64(row.sealed?.count ?? 0)),
                        "answered": .bool(row.isAnswered), "withdrawn": .bool(row.sealed == nil),
                        "predicted": .array(codes(row.predicted)), "knew": [.integer(row.feed.epoch), .integer(row.feed.position)],
                        "changes": .array(changes.prefix(50).map(shape)),
                    ]
                })
        }
        let problems = try readable {
            .array(
                try connection.query(
                    """
                    SELECT counter, status, violations, created_at FROM _tideline_problem WHERE resolved_at IS NULL ORDER BY id LIMIT 500
                    """
                ) { row in
                    [
                        "counter": .integer(row.integer(0)), "status": .string(row.text(1)), "codes": .array(codes(row.text(2))),
                        "at": .integer(row.integer(3)),
                    ]
                })
        }
        return try [
            "sqlite": readable { .string(try connection.scalarText("SELECT sqlite_version()") ?? "") },
            "journal": readable { .string(try connection.scalarText("PRAGMA journal_mode") ?? "") }, "pages": number("PRAGMA page_count"),
            "page_size": number("PRAGMA page_size"), "free_pages": number("PRAGMA freelist_count"),
            "unsealed": number("SELECT count(*) FROM _tideline_edit"),
            "journal_sets": number("SELECT count(*) FROM _tideline_journal"),
            "timeline": number("SELECT count(*) FROM _tideline_activity"),
            "staged_pages": number("SELECT count(*) FROM _tideline_stage"),
            "entities": .object(counts), "pending": pending, "problems": problems,
        ]
    }

    private func number(_ sql: String) throws -> JSONValue { try readable { .integer(try connection.scalarInteger(sql) ?? 0) } }

    /// One fact; of a damaged file, why it cannot be told.
    private func readable(_ fact: () throws -> JSONValue) throws -> JSONValue {
        do { return try fact() } catch let error as SQLiteError where error.isCorrupt { return ["unreadable": .string(error.name)] }
    }

    private func codes(_ violations: String?) -> [JSONValue] {
        guard let violations, let list = try? JSONValue(parsing: violations).arrayValue else { return [] }
        return list.compactMap { one in
            guard let code = one["code"]?.stringValue else { return nil }
            let entity = one["entity"]?.stringValue.map { schema.entity($0) == nil ? Self.typed : $0 }
            let field = one["field"]?.stringValue.map { shown($0, of: one["entity"]?.stringValue ?? "") }
            return .string([entity, field, code].compactMap { $0 }.joined(separator: "."))
        }
    }

    /// In place of names that somebody typed: keys of maps, and fields that there are not.
    private static let typed = "*"

    /// A field as the schema names it; `set` and `id` are what a whole set and a whole record are called.
    private func shown(_ field: String, of entity: String) -> String {
        let parts = field.split(separator: ".", maxSplits: 1)
        let known = schema.entity(entity)
        guard let root = parts.first.map(String.init), known?.field(root) != nil || ["set", "id"].contains(root) else { return Self.typed }
        guard parts.count == 2 else { return root }
        // Keys that the schema lists are its own words.
        if case .map(let keys) = known?.field(root)?.type, keys.contains(String(parts[1])) { return field }
        return "\(root).\(Self.typed)"
    }

    /// What a change does, without what it says.
    private func shape(_ change: Change) -> JSONValue {
        var object: JSONObject = [
            "op": .string(change.operation.name), "id": .string(change.key.id.text),
            "entity": .string(schema.entity(change.key.entity) == nil ? Self.typed : change.key.entity),
        ]
        switch change.operation {
        case .create(let fields), .patch(let fields, _):
            object["fields"] = .array(fields.keys.map { .string(shown($0, of: change.key.entity)) })
        case .transition(let name, _, _):
            let isKnown = schema.entity(change.key.entity)?.machine?.transition(name) != nil
            object["name"] = .string(isKnown ? name : Self.typed)
        default: break
        }
        return .object(object)
    }
}
