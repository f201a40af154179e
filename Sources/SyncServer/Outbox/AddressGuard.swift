// Which addresses webhooks may reach. Whoever registers a URL chooses where this server connects to, so everything that is
// not the public internet is refused unless the operator allows it. Pure; resolving is HostResolver's.

/// An IPv4 or IPv6 address. IPv4 inside IPv6 (mapped) becomes IPv4, so that no spelling goes round a rule.
struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
    /// 4 or 16.
    let bytes: [UInt8]

    /// nil for any other count of bytes.
    init?(bytes: [UInt8]) {
        switch bytes.count {
        case 4: self.bytes = bytes
        case 16:
            let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            self.bytes = isMapped ? Array(bytes[12...]) : bytes
        default: return nil
        }
    }

    var isV4: Bool { bytes.count == 4 }

    var description: String {
        if isV4 { return bytes.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2).map { String(Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]), radix: 16) }.joined(separator: ":")
    }
}

/// Addresses that share their first bits.
struct NetworkRange: Sendable, Hashable, CustomStringConvertible {
    let base: [UInt8]
    let prefixBits: Int

    /// `ADDRESS/BITS` or one address, as an operator writes it; nil for anything else.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = HostResolver.literal(String(parts[0])) else { return nil }
        let bitsMax = address.bytes.count * 8
        if parts.count == 2 {
            guard let bits = Int(parts[1]), (0...bitsMax).contains(bits), parts[1].utf8.allSatisfy({ $0 &- 0x30 < 10 }) else { return nil }
            prefixBits = bits
        } else {
            prefixBits = bitsMax
        }
        base = address.bytes
    }

    fileprivate init(v4 base: [UInt8], _ bits: Int) {
        self.base = base
        prefixBits = bits
    }

    fileprivate init(v6 groups: [Int], _ bits: Int) {
        let bytes = groups.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        base = bytes + [UInt8](repeating: 0, count: 16 - bytes.count)
        prefixBits = bits
    }

    func contains(_ address: NetworkAddress) -> Bool {
        guard address.bytes.count == base.count else { return false }
        let whole = prefixBits / 8
        guard address.bytes[..<whole].elementsEqual(base[..<whole]) else { return false }
        let rest = prefixBits % 8
        if rest == 0 { return true }
        let mask = UInt8(truncatingIfNeeded: 0xFF00 >> rest)
        return address.bytes[whole] & mask == base[whole] & mask
    }

    var description: String { "\(NetworkAddress(bytes: base)?.description ?? "")/\(prefixBits)" }
}

struct AddressGuard: Sendable {
    /// What the operator allows besides the public internet.
    var allowed: [NetworkRange] = []

    func allows(_ address: NetworkAddress) -> Bool { AddressGuard.isPublic(address) || allowed.contains { $0.contains(address) } }

    /// By the registries of special-purpose addresses (RFC 6890 and its successors): whatever is not certainly global is not.
    static func isPublic(_ address: NetworkAddress) -> Bool {
        if address.isV4 { return !reservedV4.contains { $0.contains(address) } }
        // An address that carries an IPv4 one leads to that one: the well-known prefix of NAT64, and 6to4.
        if nat64.contains(address) { return isPublic(NetworkAddress(bytes: Array(address.bytes[12...])) ?? address) }
        guard globalUnicast.contains(address), !reservedV6.contains(where: { $0.contains(address) }) else { return false }
        return true
    }

    private static let reservedV4: [NetworkRange] = [
        NetworkRange(v4: [0, 0, 0, 0], 8), NetworkRange(v4: [10, 0, 0, 0], 8), NetworkRange(v4: [100, 64, 0, 0], 10),
        NetworkRange(v4: [127, 0, 0, 0], 8), NetworkRange(v4: [169, 254, 0, 0], 16), NetworkRange(v4: [172, 16, 0, 0], 12),
        NetworkRange(v4: [192, 0, 0, 0], 24), NetworkRange(v4: [192, 0, 2, 0], 24), NetworkRange(v4: [192, 88, 99, 0], 24),
        NetworkRange(v4: [192, 168, 0, 0], 16), NetworkRange(v4: [198, 18, 0, 0], 15), NetworkRange(v4: [198, 51, 100, 0], 24),
        NetworkRange(v4: [203, 0, 113, 0], 24), NetworkRange(v4: [224, 0, 0, 0], 4), NetworkRange(v4: [240, 0, 0, 0], 4),
    ]
    private static let nat64 = NetworkRange(v6: [0x64, 0xFF9B, 0, 0, 0, 0], 96)
    private static let globalUnicast = NetworkRange(v6: [0x2000], 3)
    private static let reservedV6: [NetworkRange] = [
        // Protocol assignments (Teredo, benchmarking, ORCHID), documentation, 6to4.
        NetworkRange(v6: [0x2001, 0], 23), NetworkRange(v6: [0x2001, 0xDB8], 32), NetworkRange(v6: [0x3FFF], 20),
        NetworkRange(v6: [0x2002], 16),
    ]
}
