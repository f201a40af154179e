// Everyday reading and writing: one cached statement a call.

extension SQLiteConnection {
    /// Runs one statement to its end; rows are ignored.
    func execute(_ sql: String, _ bindings: [SQLiteValue] = []) throws(SQLiteError) {
        let statement = try borrow(sql)
        defer { giveBack(statement) }
        try statement.bind(bindings)
        try statement.run()
    }

    /// Calls `body` for each row in turn, holding one row in memory at a time.
    func forEach(_ sql: String, _ bindings: [SQLiteValue] = [], _ body: (borrowing SQLiteRow) throws -> Void) throws {
        try withStatement(sql) { statement in
            try statement.bind(bindings)
            while try statement.step() {
                try body(statement.row)
            }
        }
    }

    /// All rows, each turned into a value.
    func query<R>(_ sql: String, _ bindings: [SQLiteValue] = [], _ row: (borrowing SQLiteRow) throws -> R) throws -> [R] {
        var results: [R] = []
        try forEach(sql, bindings) { results.append(try row($0)) }
        return results
    }

    /// The first row turned into a value, or nil when there is none.
    func first<R>(_ sql: String, _ bindings: [SQLiteValue] = [], _ row: (borrowing SQLiteRow) throws -> R) throws -> R? {
        try withStatement(sql) { statement in
            try statement.bind(bindings)
            guard try statement.step() else { return nil }
            let result = try row(statement.row)
            // A statement that writes and returns rows commits at its end, and only there can say that it failed.
            if !statement.isReadOnly { try statement.run() }
            return result
        }
    }

    /// The first column of the first row; nil when there is no row or it is NULL.
    func scalarInteger(_ sql: String, _ bindings: [SQLiteValue] = []) throws -> Int64? {
        try first(sql, bindings) { $0.optionalInteger(0) } ?? nil
    }

    /// The first column of the first row; nil when there is no row or it is NULL.
    func scalarText(_ sql: String, _ bindings: [SQLiteValue] = []) throws -> String? {
        try first(sql, bindings) { $0.optionalText(0) } ?? nil
    }

    /// The tables that a statement reads, those behind views included.
    func tablesRead(by sql: String) throws(SQLiteError) -> Set<String> {
        try tracker.tablesRead { () throws(SQLiteError) in _ = try compileOne(sql) }
    }

    /// A number that changes when another connection, of this or another process, has committed.
    func dataVersion() throws -> Int64 {
        try scalarInteger("PRAGMA data_version") ?? 0
    }

    /// What SQLite's full check of the file finds; empty when it is sound. Reads the whole file.
    func integrityCheck() throws -> [String] {
        do {
            let findings = try query("PRAGMA integrity_check") { $0.text(0) }
            return findings == ["ok"] ? [] : findings
        } catch let error as SQLiteError where error.isCorrupt {
            // Damage so bad that the check itself gives up is a finding as well.
            return ["the check gave up: \(error.message)"]
        }
    }
}
