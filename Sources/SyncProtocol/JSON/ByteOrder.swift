// Comparing strings by their UTF-8 bytes. String's own operators treat canonically equivalent texts as equal and order
// by normalised scalars; hashes and signatures are over bytes, so equality must be too.

enum ByteOrder {
    /// Negative, zero or positive, as the bytes of `left` stand to those of `right`.
    static func compare(_ left: String, _ right: String) -> Int {
        let fast = left.utf8.withContiguousStorageIfAvailable { a in
            right.utf8.withContiguousStorageIfAvailable { b in compare(a, b) }
        }
        if let result = fast ?? nil { return result }
        // Strings bridged from Objective-C have no contiguous bytes.
        return Array(left.utf8).withUnsafeBufferPointer { a in
            Array(right.utf8).withUnsafeBufferPointer { b in compare(a, b) }
        }
    }

    static func areEqual(_ left: String, _ right: String) -> Bool {
        left.utf8.count == right.utf8.count && compare(left, right) == 0
    }

    static func hash(_ text: String, into hasher: inout Hasher) {
        hasher.combine(text.utf8.count)
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        if isDone == nil { Array(text.utf8).withUnsafeBytes { hasher.combine(bytes: $0) } }
    }

    private static func compare(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Int {
        let shared = min(a.count, b.count)
        let (left, right) = (UnsafeRawBufferPointer(a), UnsafeRawBufferPointer(b))
        var index = 0
        while index &+ 8 <= shared {
            let x = UInt64(bigEndian: left.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let y = UInt64(bigEndian: right.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            if x != y { return x < y ? -1 : 1 }
            index &+= 8
        }
        while index < shared {
            if a[index] != b[index] { return a[index] < b[index] ? -1 : 1 }
            index &+= 1
        }
        return a.count - b.count
    }
}
