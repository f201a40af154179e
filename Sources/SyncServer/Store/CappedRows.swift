// How much one statement answers: libpq holds an answer in memory as a whole, and few rows may be many bytes.

enum CappedRows {
    /// The rows of a query, in its order, up to and with the one that passes `cap` bytes: whoever gets less knows that these are all.
    /// They are followed by one more column. The database still reads what it leaves out, so the query needs a limit of its own where
    /// nothing else bounds its rows.
    /// - Parameters:
    ///   - texts: The columns that count.
    ///   - cap: A number or a parameter.
    static func sql(_ query: String, counting texts: [String] = ["row"], upTo cap: String) -> String {
        let size = texts.map { "coalesce(octet_length(\($0)), 0)" }.joined(separator: " + ")
        // OFFSET 0: so that each text is made once, and not again for its length.
        return """
            SELECT * FROM (SELECT *, sum(\(size)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before \
            FROM (\(query) OFFSET 0) read) capped WHERE coalesce(bytes_before, 0) < \(cap)
            """
    }
}

extension PostgresResult {
    func byteCount(of columns: Int...) -> Int {
        rows.reduce(0) { sum, row in columns.reduce(sum) { $0 + (withUTF8(row, $1) { $0.count } ?? 0) } }
    }
}
