// What SHA-256 and SHA-1 share: cutting a stream into 64-byte blocks, and the padding that ends it (FIPS 180-4 §5.1.1).

struct BlockBuffer: Sendable {
    /// The beginning of a block that is not full; always shorter than 64 bytes between calls.
    private var pending: [UInt8] = []
    private var length: UInt64 = 0

    /// Calls `compress` with one or more whole blocks at a time.
    mutating func append(_ bytes: UnsafeRawBufferPointer, _ compress: (UnsafeRawBufferPointer) -> Void) {
        length &+= UInt64(bytes.count)
        var start = 0
        if !pending.isEmpty {
            start = min(64 - pending.count, bytes.count)
            pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[..<start]))
            guard pending.count == 64 else { return }
            pending.withUnsafeBytes(compress)
            pending.removeAll(keepingCapacity: true)
        }
        let whole = (bytes.count - start) / 64 * 64
        if whole > 0 { compress(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + whole)])) }
        pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[(start + whole)...]))
    }

    mutating func finish(_ compress: (UnsafeRawBufferPointer) -> Void) {
        let bits = length &* 8
        pending.append(0x80)
        let fill = (pending.count <= 56 ? 56 : 120) - pending.count
        pending.append(contentsOf: [UInt8](repeating: 0, count: fill))
        for shift in stride(from: 56, through: 0, by: -8) { pending.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift))) }
        pending.withUnsafeBytes(compress)
        self = BlockBuffer()
    }
}
