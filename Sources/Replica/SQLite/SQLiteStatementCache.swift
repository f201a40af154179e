// Keeps compiled statements between uses, because compiling costs more than running most of them.

import Foundation

/// The least recently used statement leaves when there are more than `capacity`. Statements on loan always stay.
struct SQLiteStatementCache {
    let capacity: Int
    private var statements: [Key: SQLiteStatement] = [:]
    private var clock: UInt64 = 0

    init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    var count: Int { statements.count }

    /// A statement that nobody is using. Nil when it has to be compiled: it is new, or a caller further up is in the midst of it.
    mutating func borrow(_ sql: String) -> SQLiteStatement? {
        guard let statement = statements[Key(sql: sql)], !statement.isLent else { return nil }
        clock += 1
        statement.isLent = true
        statement.lastUse = clock
        return statement
    }

    /// Takes back a clean statement. One that was compiled for a nested use of the same text is simply dropped.
    mutating func giveBack(_ statement: SQLiteStatement) {
        statement.isLent = false
        let key = Key(sql: statement.sql)
        if let kept = statements[key], kept !== statement { return }
        clock += 1
        statement.lastUse = clock
        statements[key] = statement
        if statements.count > capacity { evictOne() }
    }

    mutating func removeAll() {
        statements.removeAll()
    }

    // A scan of all entries, but only when a statement had to be compiled, which costs far more.
    private mutating func evictOne() {
        let idle = statements.lazy.filter { !$0.value.isLent }
        if let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse }) {
            statements[oldest.key] = nil
        }
    }

    // Statements are told apart by their bytes. With `String` equality, texts that differ only in the Unicode composition of
    // a literal would share one statement and so one of the two literals.
    private struct Key: Hashable {
        let sql: String

        static func == (left: Key, right: Key) -> Bool {
            // Byte by byte through iterators this comparison alone was a tenth of a bulk write.
            var (left, right) = (left.sql, right.sql)
            return left.withUTF8 { left in
                right.withUTF8 { right in
                    guard left.count == right.count else { return false }
                    guard let first = left.baseAddress, let second = right.baseAddress else { return true }
                    return first == second || memcmp(first, second, left.count) == 0
                }
            }
        }

        func hash(into hasher: inout Hasher) {
            hasher.combine(exactly: sql)
        }
    }
}
