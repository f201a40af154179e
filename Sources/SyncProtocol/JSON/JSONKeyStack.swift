// The keys of all objects that are open while a text is read: finds duplicates as they appear, and gives the tree
// its byte order. One stack for the whole text, so that reading an ordinary object allocates nothing.

/// A key seen in an open object.
struct JSONKeyRecord {
    /// The first eight bytes, big-endian, zero-filled. Keys hold no NUL, so comparing these is comparing the bytes.
    var prefix: UInt64
    var offset: Int
    var length: Int
    /// The key had escapes: `offset` points into the decoded bytes of the stack, not into the input.
    var isDecoded: Bool
}

/// Open-addressing table over the keys of one big object. Hashed with the per-process seed of `Hasher`, so that a sender
/// cannot prepare keys that collide.
struct JSONKeyTable {
    /// Index of the key relative to its object, plus one; 0 is free. A power of two long, at most half full.
    var slots: [Int32]
    var count = 0

    init(capacity: Int) { slots = [Int32](repeating: 0, count: capacity) }
}

struct JSONKeyStack {
    private(set) var records = ContiguousArray<JSONKeyRecord>()
    private var decoded: [UInt8] = []

    @inline(__always)
    var count: Int { records.count }

    /// Up to here comparing with every key is faster than hashing. Beyond, a table keeps big objects linear.
    private static let linearLimit = 16

    @inline(__always)
    mutating func removeKeys(since first: Int) {
        records.removeLast(records.count &- first)
        if first == 0, !decoded.isEmpty { decoded.removeAll(keepingCapacity: true) }
    }

    /// Adds a key to the object whose keys start at `first`. Returns false if the object has it already.
    mutating func insert(
        _ token: JSONStringToken, of input: UnsafeRawBufferPointer, since first: Int, table: inout JSONKeyTable?
    ) -> Bool {
        let record: JSONKeyRecord
        if token.hasEscape {
            let start = decoded.count
            JSONScanner.unescape(token, of: input, into: &decoded)
            let length = decoded.count - start
            let prefix = decoded.withUnsafeBytes { Self.prefix(of: $0, at: start, length: length) }
            record = JSONKeyRecord(prefix: prefix, offset: start, length: length, isDecoded: true)
        } else {
            let length = token.end &- token.start
            let prefix = Self.prefix(of: input, at: token.start, length: length)
            record = JSONKeyRecord(prefix: prefix, offset: token.start, length: length, isDecoded: false)
        }
        let last = records.count
        records.append(record)
        guard last &- first < Self.linearLimit else { return insertIntoTable(&table, since: first, of: input) }
        var index = first
        while index < last {
            if records[index].prefix == record.prefix, isEqual(records[index], record, input) { return false }
            index &+= 1
        }
        return true
    }

    /// Byte order of two keys on the stack.
    func isOrdered(_ left: Int, before right: Int, in input: UnsafeRawBufferPointer) -> Bool {
        let (a, b) = (records[left], records[right])
        if a.prefix != b.prefix { return a.prefix < b.prefix }
        let shared = min(a.length, b.length)
        var index = 8
        while index < shared {
            let (x, y) = (byte(a, index, input), byte(b, index, input))
            if x != y { return x < y }
            index += 1
        }
        return a.length < b.length
    }

    // MARK: Private

    @inline(__always)
    private static func prefix(of bytes: UnsafeRawBufferPointer, at offset: Int, length: Int) -> UInt64 {
        if offset &+ 8 <= bytes.count {
            let word = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            if length >= 8 { return word }
            return length == 0 ? 0 : word & (~0 << UInt64(64 &- 8 &* length))
        }
        var word: UInt64 = 0
        for index in 0..<8 { word = word << 8 | (index < length ? UInt64(bytes[offset + index]) : 0) }
        return word
    }

    @inline(__always)
    private func byte(_ record: JSONKeyRecord, _ index: Int, _ input: UnsafeRawBufferPointer) -> UInt8 {
        record.isDecoded ? decoded[record.offset &+ index] : input[record.offset &+ index]
    }

    /// For keys whose prefixes are equal.
    private func isEqual(_ a: JSONKeyRecord, _ b: JSONKeyRecord, _ input: UnsafeRawBufferPointer) -> Bool {
        guard a.length == b.length else { return false }
        var index = 8
        while index < a.length {
            if byte(a, index, input) != byte(b, index, input) { return false }
            index &+= 1
        }
        return true
    }

    /// Enters the newest key.
    private mutating func insertIntoTable(
        _ table: inout JSONKeyTable?, since first: Int, of input: UnsafeRawBufferPointer
    ) -> Bool {
        let newest = records.count - first - 1
        guard var current = table, current.count * 2 < current.slots.count else {
            // First use, or half full: build it anew, twice as large. The earlier keys are known to differ.
            var larger = JSONKeyTable(capacity: max(64, (table?.slots.count ?? 0) * 2))
            table = nil
            for index in 0..<newest { _ = enter(index, since: first, into: &larger, of: input) }
            let isNew = enter(newest, since: first, into: &larger, of: input)
            table = larger
            return isNew
        }
        table = nil  // sole owner: the slots must not be copied for every key
        let isNew = enter(newest, since: first, into: &current, of: input)
        table = current
        return isNew
    }

    private func enter(
        _ relative: Int, since first: Int, into table: inout JSONKeyTable, of input: UnsafeRawBufferPointer
    ) -> Bool {
        let record = records[first + relative]
        let mask = table.slots.count - 1
        var slot = hash(record, input) & mask
        while table.slots[slot] != 0 {
            let other = records[first + Int(table.slots[slot]) - 1]
            if other.prefix == record.prefix, isEqual(other, record, input) { return false }
            slot = (slot + 1) & mask
        }
        table.slots[slot] = Int32(truncatingIfNeeded: relative + 1)
        table.count += 1
        return true
    }

    private func hash(_ record: JSONKeyRecord, _ input: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        let range = record.offset..<(record.offset + record.length)
        if record.isDecoded {
            decoded.withUnsafeBytes { hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: $0[range])) }
        } else {
            hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: input[range]))
        }
        return hasher.finalize()
    }
}
