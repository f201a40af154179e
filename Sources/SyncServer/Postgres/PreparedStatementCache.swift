// Which SQL texts this session has prepared, under which names. Least recently used goes first, so a session's memory on the server is bounded.

struct PreparedStatementCache {
    private struct Entry {
        let name: String
        var lastUse: UInt64
    }

    let capacity: Int
    private var entries: [String: Entry] = [:]
    private var clock: UInt64 = 0
    private var namesGiven: UInt64 = 0

    init(capacity: Int) {
        precondition(capacity > 0, "a cache holds at least one statement")
        self.capacity = capacity
    }

    var count: Int { entries.count }

    mutating func name(for sql: String) -> String? {
        guard let index = entries.index(forKey: sql) else { return nil }
        clock += 1
        entries.values[index].lastUse = clock
        return entries.values[index].name
    }

    /// A new name for `sql`, and the name that had to give way. Names are never used twice in a session.
    mutating func insert(_ sql: String) -> (name: String, evicted: String?) {
        var evicted: String?
        if entries.count >= capacity, let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse }) {
            entries[oldest.key] = nil
            evicted = oldest.value.name
        }
        clock += 1
        namesGiven += 1
        let name = "tideline_\(namesGiven)"
        entries[sql] = Entry(name: name, lastUse: clock)
        return (name, evicted)
    }

    /// Forgets a statement whose preparation did not happen, unless the text has been given another name since.
    mutating func remove(_ sql: String, name: String) {
        if entries[sql]?.name == name { entries[sql] = nil }
    }

    /// Forgets everything; the names are returned so that they can be deallocated.
    mutating func removeAll() -> [String] {
        let names = entries.values.map(\.name)
        entries.removeAll()
        return names
    }
}
