// Web addresses that people store on records and that pages turn into links: only what is safe to link to.

extension Formats {
    /// An absolute `http` or `https` URL of at most 2048 bytes with a host. No user name or password in it, no white space,
    /// and percent signs only before two hexadecimal digits; characters beyond ASCII are taken as they are.
    public static func isURL(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count <= 2048, let start = hostStart(bytes), hasOnlyAddressCharacters(text, bytes) else { return false }
        let end = bytes[start...].firstIndex { $0 == 0x2F || $0 == 0x3F || $0 == 0x23 } ?? bytes.endIndex
        let rest = bytes[end...]
        guard let fragment = rest.firstIndex(of: 0x23) else { return isAuthority(bytes[start..<end]) }
        return isAuthority(bytes[start..<end]) && !rest[(fragment + 1)...].contains(0x23)
    }

    private static func hostStart(_ bytes: [UInt8]) -> Int? {
        for scheme in ["http://", "https://"] where bytes.count > scheme.utf8.count {
            let isSame = zip(bytes, scheme.utf8).allSatisfy { byte, expected in
                byte == expected || (isLetter(byte) && byte | 0x20 == expected)
            }
            if isSame { return scheme.utf8.count }
        }
        return nil
    }

    private static func isAuthority(_ bytes: ArraySlice<UInt8>) -> Bool {
        var host = bytes
        let bracket = bytes.firstIndex(of: 0x5D)
        if let colon = bytes.lastIndex(of: 0x3A), colon > bracket ?? -1 {
            let port = bytes[(colon + 1)...]
            guard port.count <= 5, let number = DigitText.number(port), (1...65_535).contains(number) else { return false }
            host = bytes[..<colon]
        }
        if host.first == 0x5B {
            let address = host.dropFirst().dropLast()
            return host.last == 0x5D && address.count { $0 == 0x3A } >= 2
                && address.allSatisfy { Hex.value(of: $0) != nil || $0 == 0x3A || $0 == 0x2E }
        }
        return isDomain(host, allowsNonASCII: true)
    }

    private static func hasOnlyAddressCharacters(_ text: String, _ bytes: [UInt8]) -> Bool {
        for (index, byte) in bytes.enumerated() where byte < 0x80 {
            if byte <= 0x20 || byte == 0x7F || "<>\"{}|\\^`".utf8.contains(byte) { return false }
            if byte == 0x25 {
                guard index + 2 < bytes.count, Hex.value(of: bytes[index + 1]) != nil, Hex.value(of: bytes[index + 2]) != nil
                else { return false }
            }
        }
        return bytes.allSatisfy { $0 < 0x80 }
            || text.unicodeScalars.allSatisfy { !$0.properties.isWhitespace && $0.properties.generalCategory != .control }
    }
}
