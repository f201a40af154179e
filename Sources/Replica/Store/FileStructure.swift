// The parts that the file must have: tools can drop a trigger, a table or a column, or put an index in the way. SQLite counts the
// changes of a schema, so that looking costs one read unless somebody has changed something.

import SyncProtocol

extension Store {
    /// Grows with every change of the schema, whoever makes it.
    var schemaCookie: Int64 { get throws { try connection.scalarInteger("PRAGMA schema_version") ?? 0 } }

    /// What is not there or not as it was made, in words.
    /// - Parameter triggers: nil: those of a newer build, which this one cannot judge.
    func missingParts(engineTables: [String], triggers: [String]?) throws -> [String] {
        var present: [String: String] = [:]
        try connection.forEach("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL") { present[$0.text(0)] = $0.text(1) }
        var missing: [String] = []
        for name in engineTables.compactMap(Self.madeName) where present[name] == nil { missing.append("the table \(name)") }
        for table in tables.all {
            let name = table.schema.name
            guard present[name] != nil else {
                missing.append("the table \(name)")
                continue
            }
            let columns = Set(try connection.query("SELECT name FROM pragma_table_info(?1)", [.text(name)]) { $0.text(0) })
            for column in table.columns where !columns.contains(column.name) { missing.append("the column \(column.name) of \(name)") }
            for index in table.indexes.compactMap(Self.madeName) where present[index] == nil { missing.append("the index \(index)") }
        }
        for trigger in triggers ?? [] {
            guard let name = Self.madeName(trigger), present[name] != trigger else { continue }
            missing.append("the trigger \(name), without which edits by SQL are not noticed")
        }
        return missing
    }

    /// Between the first pair of double quotes, or behind EXISTS.
    private static func madeName(_ statement: String) -> String? {
        let words = statement.prefix(200).split(whereSeparator: { $0 == " " || $0 == "(" })
        guard let place = words.firstIndex(of: "EXISTS") ?? words.firstIndex(of: "TRIGGER"), place + 1 < words.count else { return nil }
        return words[place + 1].trimming { $0 == "\"" }
    }

    /// Unique indexes that tools have made: the server knows nothing of them.
    func foreignUniqueIndexes() throws -> [(name: String, table: String)] {
        try connection.query(
            """
            SELECT m.name, m.tbl_name FROM sqlite_schema m JOIN pragma_index_list(m.tbl_name) l ON l.name = m.name \
            WHERE m.type = 'index' AND l."unique" = 1 AND l.origin = 'c' ORDER BY m.name
            """
        ) { (name: $0.text(0), table: $0.text(1)) }.filter { tables[$0.table] != nil && !$0.name.hasPrefix("_tideline") }
    }
}

extension Substring {
    fileprivate func trimming(_ isTrimmed: (Character) -> Bool) -> String {
        String(drop(while: isTrimmed).reversed().drop(while: isTrimmed).reversed())
    }
}

extension Replica {
    private static let mendedDays: Int64 = 7

    /// What tools have done to the structure of the file.
    func structureFindings() async throws -> [Diagnosis.Finding] {
        let now = environment.wallMilliseconds()
        let (mended, indexes) = try await reading("doctor") { store in
            (try Metadata(connection: store.connection).text(.mended), try store.foreignUniqueIndexes())
        }
        var findings: [Diagnosis.Finding] = []
        if let mended = try mended.map({ try JSONValue(parsing: $0) }), let at = mended["at"]?.integerValue,
            now - at < Self.mendedDays * 86_400_000
        {
            let parts = (mended["parts"]?.arrayValue ?? []).compactMap(\.stringValue)
            let shown = parts.prefix(4).joined(separator: ", ") + (parts.count > 4 ? " and \(parts.count - 4) more" : "")
            findings.append(
                Diagnosis.Finding(
                    check: "file", level: .warning,
                    text: "something had taken away \(shown); made anew, and what tools wrote meanwhile was not recorded",
                    advice: "replica sync, then replica doctor: it names the records that differ"))
        }
        for index in indexes {
            findings.append(
                Diagnosis.Finding(
                    check: "file", level: .problem,
                    text: "the unique index \(index.name) on \(index.table) is not ours and forbids what others may write",
                    advice: "sqlite3 FILE 'DROP INDEX \"\(index.name)\"'"))
        }
        return findings
    }
}
