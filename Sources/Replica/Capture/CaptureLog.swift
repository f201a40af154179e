// The capture log by number: which record each row is about, without its contents. What makes a part of it whole is read off here.

import SyncProtocol

/// Follows `_tideline_edit` while it is sealed part by part. Rows leave it from the front only, and come at its end.
final class CaptureLog {
    private struct Row {
        var number: Int64
        var key: RecordKey
    }

    private var rows: ArraySlice<Row> = []
    private var readThrough: Int64 = 0
    /// The last row about each record; those that are sealed keep theirs, which is in front of all others.
    private var last: [RecordKey: Int64] = [:]
    private var first: [RecordKey: Int64] = [:]
    private var moved: [FieldName: MovedRecords] = [:]

    var count: Int { rows.count }

    /// What happened to the table since.
    func refresh(_ connection: SQLiteConnection) throws {
        let begins = try connection.scalarInteger("SELECT min(seq) FROM _tideline_edit") ?? .max
        while let row = rows.first, row.number < begins {
            if first[row.key] == row.number { first[row.key] = nil }
            rows.removeFirst()
        }
        try connection.forEach("SELECT seq, entity, id FROM _tideline_edit WHERE seq > ?1 ORDER BY seq", [.integer(readThrough)]) { row in
            let number = row.integer(0)
            let key = RecordKey(row.text(1), Identifier(row.text(2)) ?? .zero)
            rows.append(Row(number: number, key: key))
            if first[key] == nil { first[key] = number }
            last[key] = number
            readThrough = number
        }
    }

    /// The number of the row that ends the first part of about `size` rows: no record is on both sides of it, and no set. nil: there is no
    /// such place before the end.
    /// - Parameter joins: Whether the rows of two numbers, neighbours, belong to one set.
    func end(ofFirst size: Int, joins: (_ one: Int64, _ next: Int64) throws -> Bool) rethrows -> Int64? {
        var reach: Int64 = 0
        var passed = 0
        for (row, next) in zip(rows, rows.dropFirst()) {
            reach = max(reach, last[row.key] ?? row.number)
            passed += 1
            if passed >= size, reach <= row.number, try !joins(row.number, next.number) { return row.number }
        }
        return nil
    }

    /// The first row about a record behind `end`. A record is not on both sides of an end.
    func firstRow(_ key: RecordKey, behind end: Int64) -> Int64? {
        guard let number = last[key], number > end else { return nil }
        return first[key]
    }

    /// Records that some row behind `end` moved away from a value of the field, made or deleted.
    /// - Parameter value: As SQLite extracts it from an image; nil: any, for fields that are found by their elements.
    func moved(
        _ entity: String, _ field: String, from value: SQLiteValue?, behind end: Int64, _ connection: SQLiteConnection
    ) throws -> Set<RecordKey> {
        let name = FieldName(entity: entity, field: field)
        var known = moved[name] ?? MovedRecords()
        if known.readThrough < readThrough {
            try connection.forEach(
                """
                SELECT seq, id, json_extract(old, ?3) FROM _tideline_edit WHERE seq > ?1 AND entity = ?2 AND old IS NOT NULL AND (new IS NULL \
                OR json_extract(old, ?3) IS NOT json_extract(new, ?3) \
                OR json_extract(old, '$.deleted_at') IS NOT json_extract(new, '$.deleted_at')) ORDER BY seq
                """, [.integer(known.readThrough), .text(entity), .text("$.\"\(field)\"")]
            ) { row in
                guard let id = Identifier(row.text(1)) else { return }
                known.rows[row.value(2), default: []].append(Row(number: row.integer(0), key: RecordKey(entity, id)))
            }
            known.readThrough = readThrough
            moved[name] = known
        }
        var keys: Set<RecordKey> = []
        func add(_ rows: [Row]) { for row in rows where row.number > end { keys.insert(row.key) } }
        if let value { add(known.rows[value] ?? []) } else { known.rows.values.forEach(add) }
        return keys
    }

    private struct FieldName: Hashable {
        var entity: String
        var field: String
    }

    private struct MovedRecords {
        var readThrough: Int64 = 0
        /// By the value before.
        var rows: [SQLiteValue: [Row]] = [:]
    }
}

/// While a part is sealed, the rows behind it have not happened yet: what they did to the tables does not show.
struct UnsealedRows {
    let log: CaptureLog
    /// The number of the last row of the part.
    let end: Int64

    func cover(_ key: RecordKey) -> Bool { log.firstRow(key, behind: end) != nil }
}

/// An effect of the part would change a record that rows behind it are about: sealed apart, they would not come to the same.
struct PartNotApart: Error {}

extension Store {
    /// A covered record as it was before the rows behind the part.
    func recordBefore(_ unsealed: UnsealedRows, _ key: RecordKey) throws -> RecordState? {
        guard let number = unsealed.log.firstRow(key, behind: unsealed.end), let table = tables[key.entity] else { return nil }
        return try connection.first("SELECT old FROM _tideline_edit WHERE seq = ?1 AND old IS NOT NULL", [.integer(number)]) {
            try $0.withUTF8(0) { try RecordImage.decode(utf8: $0, schema: table.schema, id: key.id) }
        }
    }

    /// What a lookup in the tables found, put right for covered records.
    func before(
        _ unsealed: UnsealedRows, _ found: [RecordState], _ table: RecordTable, _ field: String, _ value: JSONValue, includingDeleted: Bool
    ) throws -> [RecordState] {
        var records = found.filter { !unsealed.cover($0.key) }
        let inTables = found.map(\.key).filter(unsealed.cover)
        let isSet = table.schema.field(field)?.type.isSet ?? false
        let moved = try unsealed.log.moved(
            table.schema.name, field, from: isSet ? nil : SQLiteValue(json: value), behind: unsealed.end, connection)
        for key in Set(inTables).union(moved) {
            guard let record = try recordBefore(unsealed, key), includingDeleted || record.isLive else { continue }
            let own = record[field]
            if isSet ? own.arrayValue?.contains(value) == true : own == value { records.append(record) }
        }
        return records.sorted { $0.id < $1.id }
    }
}
