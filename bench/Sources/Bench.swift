// Measures the whole path — a real server, real files — beside the raw limit of the same databases in the same run.
// Prints one JSON line a figure. Machines differ and are noisy: read the ratios.

import CSQLite
import Foundation
import Replica
import SyncProtocol

@main
struct Bench {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 8, let url = URL(string: arguments[1]) else {
            FileHandle.standardError.write(Data("usage: tideline-bench URL CODE CODE CODE DATA-FOLDER WORK-FOLDER TOKEN\n".utf8))
            exit(2)
        }
        let bench = Bench(url: url, codes: Array(arguments[2...4]), data: arguments[5], work: arguments[6])
        if ProcessInfo.processInfo.environment["BENCH_ONLY"] == "deliveries" { try await bench.fill() } else { try await bench.run() }
        for figures in try await Deliveries(url: url, token: arguments[7]).run(events: 10_000) { bench.line(figures) }
    }

    let url: URL
    let codes: [String]
    let data: String
    let work: String

    func run() async throws {
        let writer = try await enrolled("writer", codes[0])
        try await writer.sync()
        try await push(writer, "real clients and sites", entity: "site", try realRecords())
        let early = try await enrolled("early", codes[2])
        try await firstSync(early, "real clients and sites")
        await early.close()
        try await push(writer, "100,000 generated contacts", entity: "contact", generatedRecords(100_000))
        let reader = try await enrolled("reader", codes[1])
        try await firstSync(reader, "100,000 generated contacts, and the real clients and sites")
        try await visible(from: writer, on: reader)
        await writer.close()
        await reader.close()
    }

    /// A feed for deliveries alone.
    func fill() async throws {
        let writer = try await enrolled("writer", codes[0])
        try await writer.sync()
        try await push(writer, "5,000 generated contacts", entity: "contact", generatedRecords(5_000))
        try await push(writer, "real clients and sites", entity: "site", try realRecords())
        await writer.close()
    }

    private func enrolled(_ name: String, _ code: String) async throws -> Replica {
        let replica = try await Replica.open("\(work)/\(name).db")
        try await replica.enroll(server: url, code: code, label: name)
        return replica
    }

    // MARK: Data

    struct Generated: Sendable {
        var entity: String
        var id: Identifier
        var values: [String: JSONValue]
    }

    private func realRecords() throws -> [Generated] {
        func lines(_ name: String) throws -> [[String]] {
            var rows: [[String]] = []
            for line in try String(contentsOfFile: "\(data)/\(name)", encoding: .utf8).split(whereSeparator: \.isNewline).dropFirst() {
                var fields: [String] = [""]
                var quoted = false
                for character in line {
                    if character == "\"" {
                        quoted.toggle()
                    } else if character == ",", !quoted {
                        fields.append("")
                    } else {
                        fields[fields.count - 1].append(character)
                    }
                }
                rows.append(fields)
            }
            return rows
        }
        let clients = try lines("clients.csv").compactMap { row in
            Identifier(row[0]).map {
                Generated(
                    entity: "client", id: $0,
                    values: ["name": .string(row[1]), "tags": .array(row[3].split(separator: ";").map { .string(String($0)) })])
            }
        }
        let sites = try lines("sites.csv").compactMap { row in
            Identifier(row[0]).map { id in
                let parts = [("city", row[3]), ("region", row[4]), ("country", row[5])].filter { !$0.1.isEmpty }
                return Generated(
                    entity: "site", id: id,
                    values: [
                        "client": .string(row[1]), "name": .string(row[2]),
                        "address": .object(JSONObject(parts.map { ($0.0, .string($0.1)) })),
                        "latitude_e6": Int64(row[6]).map { .integer($0) } ?? .null,
                        "longitude_e6": Int64(row[7]).map { .integer($0) } ?? .null,
                        "access_notes": .string(row[8]),
                    ])
            }
        }
        return clients + sites
    }

    private func generatedRecords(_ count: Int) -> [Generated] {
        let generator = Random(seed: 7)
        return (0..<count).map { index in
            Generated(
                entity: "contact",
                id: Identifier.version7(milliseconds: 1_700_000_000_000 + Int64(index), random: (generator.next(), generator.next())),
                values: [
                    "first_name": .string("First \(index % 997)"), "last_name": .string("Last \(index)"),
                    "email": .string("person\(index)@example.com"),
                    "phone": .string("+1555\(1_000_000 + index)"), "job_title": "Inspector",
                    "tags": ["field", .string("group\(index % 50)")],
                ])
        }
    }

    // MARK: Measures

    /// Rows accepted by the server per second, one change set a record; local writing is not counted but told.
    private func push(_ replica: Replica, _ what: String, entity: String, _ records: [Generated]) async throws {
        let writing = Date()
        for start in stride(from: 0, to: records.count, by: 500) {
            let results = try await replica.writeEach(
                records[start..<min(start + 500, records.count)].map { record in
                    { _ = try $0.create(record.entity, record.values, id: record.id) }
                })
            for case .failure(let error) in results { throw error }
        }
        let written = Date().timeIntervalSince(writing)
        let started = Date()
        let report = try await replica.sync(SyncOptions(pageLimit: 5000))
        let seconds = Date().timeIntervalSince(started)
        guard report.accepted == records.count else { throw ReplicaError(.refused, "\(report.rejected) rejected", operation: "bench") }
        line([
            "measure": "push", "data": .string(what), "rows": .integer(Int64(records.count)),
            "rows_per_second": rate(records.count, seconds),
            "local_write_rows_per_second": rate(records.count, written), "entity": .string(entity),
            "note": "push, outcomes and the pull that confirms them",
        ])
    }

    /// Rows a fresh replica applies per second, and the same rows written by SQLite alone.
    private func firstSync(_ replica: Replica, _ what: String) async throws {
        let started = Date()
        let report = try await replica.sync(SyncOptions(pageLimit: 5000))
        let seconds = Date().timeIntervalSince(started)
        let raw = try RawSQLite.copy(from: replica.path, to: "\(work)/raw-\(UUID().uuidString).db")
        let synced = Double(report.pulledRecords) / seconds
        line([
            "measure": "first_sync", "data": .string(what), "rows": .integer(Int64(report.pulledRecords)),
            "rows_per_second": rate(report.pulledRecords, seconds),
            "bytes": .integer(Int64(report.bytesReceived)), "raw_sqlite_rows_per_second": rate(raw.rows, raw.seconds),
            "ratio_to_raw": .string(String(format: "%.2f", synced / (Double(raw.rows) / raw.seconds))),
        ])
    }

    /// From the first of 100 edits on one replica until all show on the other, which waits for news.
    private func visible(from writer: Replica, on reader: Replica) async throws {
        let contacts = try await writer.list("contact", limit: 100).data
        var milliseconds: [Double] = []
        for round in 0..<5 {
            let value = "Round \(round)"
            let notices = reader.changes()
            let listening = Task { try await reader.syncContinuously() }
            try await Task.sleep(nanoseconds: 300_000_000)
            let started = Date()
            for contact in contacts { try await writer.write { try $0.set("contact", contact.id, ["job_title": .string(value)]) } }
            try await writer.sync()
            for await notice in notices where notice.entities.contains("contact") {
                if try await reader.count("contact", where: [Filter("job_title", .equal, .string(value))]) == contacts.count { break }
            }
            milliseconds.append(Date().timeIntervalSince(started) * 1000)
            listening.cancel()
            _ = await listening.result
        }
        milliseconds.sort()
        line([
            "measure": "visible", "data": "100 edits, each durable and a set of its own, on another replica",
            "rounds": .integer(Int64(milliseconds.count)),
            "median_ms": .string(String(format: "%.1f", milliseconds[milliseconds.count / 2])),
            "worst_ms": .string(String(format: "%.1f", milliseconds.last ?? 0)),
            "raw_sqlite_100_commits_ms": .string(String(format: "%.1f", try RawSQLite.commits(100, at: "\(work)/commits.db"))),
        ])
    }

    private func rate(_ rows: Int, _ seconds: Double) -> JSONValue { .integer(Int64(Double(rows) / max(seconds, 0.000_001))) }
    func line(_ object: JSONObject) {
        FileHandle.standardOutput.write(Data((JSONValue.object(object).canonicalText + "\n").utf8))
    }
}

/// Seeded, so that every run has the same rows.
final class Random {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}

/// The same rows and tables, written by SQLite with nothing around it: the limit.
enum RawSQLite {
    struct Failure: Error { var message: String }

    private static func check(_ code: Int32, _ database: OpaquePointer?) throws {
        guard code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW else {
            throw Failure(message: String(cString: sqlite3_errmsg(database)))
        }
    }

    /// Reads all entity rows into memory, then upserts them into equal tables in one durable transaction a 5,000 rows.
    static func copy(from source: String, to target: String) throws -> (rows: Int, seconds: Double) {
        var database: OpaquePointer?
        try check(sqlite3_open(source, &database), database)
        defer { sqlite3_close(database) }
        var definitions: [String] = []
        var tables: [String] = []
        try each(
            database,
            "SELECT name, sql FROM sqlite_master WHERE tbl_name IN ('client','site','contact') AND type IN ('table','index') AND sql IS NOT NULL ORDER BY type DESC"
        ) { statement in
            let sql = String(cString: sqlite3_column_text(statement, 1))
            definitions.append(sql)
            if sql.hasPrefix("CREATE TABLE") { tables.append(String(cString: sqlite3_column_text(statement, 0))) }
        }
        var rows: [(table: String, values: [OpaquePointer])] = []
        for table in tables {
            try each(database, "SELECT * FROM \"\(table)\"") { statement in
                rows.append((table, (0..<sqlite3_column_count(statement)).map { sqlite3_value_dup(sqlite3_column_value(statement, $0)) }))
            }
        }
        defer { for row in rows { for value in row.values { sqlite3_value_free(value) } } }
        var copy: OpaquePointer?
        try check(sqlite3_open(target, &copy), copy)
        defer { sqlite3_close(copy) }
        try run(copy, "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL")
        for definition in definitions { try run(copy, definition) }
        var statements: [String: OpaquePointer] = [:]
        for table in tables {
            guard let count = rows.first(where: { $0.table == table })?.values.count else { continue }
            let marks = Array(repeating: "?", count: count).joined(separator: ",")
            var statement: OpaquePointer?
            try check(sqlite3_prepare_v2(copy, "INSERT OR REPLACE INTO \"\(table)\" VALUES (\(marks))", -1, &statement, nil), copy)
            statements[table] = statement
        }
        defer { for statement in statements.values { sqlite3_finalize(statement) } }
        let started = Date()
        try run(copy, "BEGIN IMMEDIATE")
        for (index, row) in rows.enumerated() {
            if index > 0, index % 5000 == 0 { try run(copy, "COMMIT; BEGIN IMMEDIATE") }
            let statement = statements[row.table]
            for (column, value) in row.values.enumerated() { sqlite3_bind_value(statement, Int32(column + 1), value) }
            try check(sqlite3_step(statement), copy)
            sqlite3_reset(statement)
        }
        try run(copy, "COMMIT")
        return (rows.count, Date().timeIntervalSince(started))
    }

    /// Milliseconds for so many durable single-row commits.
    static func commits(_ count: Int, at path: String) throws -> Double {
        var database: OpaquePointer?
        try check(sqlite3_open(path, &database), database)
        defer { sqlite3_close(database) }
        try run(database, "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        let started = Date()
        for index in 0..<count { try run(database, "INSERT INTO t (v) VALUES ('\(index)')") }
        return Date().timeIntervalSince(started) * 1000
    }

    private static func run(_ database: OpaquePointer?, _ sql: String) throws {
        try check(sqlite3_exec(database, sql, nil, nil, nil), database)
    }

    private static func each(_ database: OpaquePointer?, _ sql: String, _ body: (OpaquePointer?) -> Void) throws {
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v2(database, sql, -1, &statement, nil), database)
        defer { sqlite3_finalize(statement) }
        while sqlite3_step(statement) == SQLITE_ROW { body(statement) }
    }
}
