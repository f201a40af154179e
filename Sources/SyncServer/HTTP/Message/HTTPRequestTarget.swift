// Message layer: the request target (RFC 9112 §3.2) taken apart and decoded.

/// A request target in one of the three forms this server answers; authority-form belongs to CONNECT, which is refused.
struct HTTPRequestTarget {
    let raw: String
    let path: String
    let pathSegments: [String]
    let query: [(name: String, value: String)]
    /// Host and port of an absolute-form target, and the scheme's default port.
    let authority: (bytes: [UInt8], defaultPort: [UInt8])?

    /// - Parameter bytes: the middle part of the request line, without spaces.
    init(_ bytes: Slice<UnsafeBufferPointer<UInt8>>, method: String) throws(HTTPRefusal) {
        guard !bytes.isEmpty, bytes.allSatisfy(HTTPSyntax.isTarget) else {
            throw HTTPRefusal(400, "bad_target", "The request target is empty or holds a byte that is not allowed.")
        }
        raw = String(decoding: bytes, as: UTF8.self)

        if bytes.count == 1, bytes.first == UInt8(ascii: "*") {
            guard method == "OPTIONS" else {
                throw HTTPRefusal(400, "bad_target", "Only OPTIONS may ask about the whole server (\"*\").")
            }
            (path, pathSegments, query, authority) = ("*", [], [], nil)
            return
        }

        var local = bytes
        if bytes.first == UInt8(ascii: "/") {
            authority = nil
        } else {
            let absolute = try Self.splitAbsolute(bytes)
            authority = (Array(absolute.authority), Array(absolute.defaultPort.utf8))
            local = absolute.rest
        }
        let mark = local.firstIndex(of: UInt8(ascii: "?")) ?? local.endIndex
        let pathBytes = local[..<mark]
        guard pathBytes.contains(UInt8(ascii: "%")) else {
            path = pathBytes.isEmpty ? "/" : String(decoding: pathBytes, as: UTF8.self)
            pathSegments = Self.segments(pathBytes).map { String(decoding: $0, as: UTF8.self) }
            query = try Self.parseQuery(local[mark...])
            return
        }
        path = try Self.decode(pathBytes, plusIsSpace: false)
        var segments: [String] = []
        for segment in Self.segments(pathBytes) { segments.append(try Self.decode(segment, plusIsSpace: false)) }
        pathSegments = segments
        query = try Self.parseQuery(local[mark...])
    }

    /// True when a Host header names the authority of the target; an absent port is the scheme's default.
    func agrees(withHost host: some Collection<UInt8>) -> Bool {
        guard let authority else { return true }
        func canonical(_ bytes: [UInt8]) -> [UInt8] {
            let suffix = [UInt8(ascii: ":")] + authority.defaultPort
            var bytes = bytes
            if bytes.count > suffix.count, bytes.suffix(suffix.count).elementsEqual(suffix) {
                bytes.removeLast(suffix.count)
            } else if bytes.last == UInt8(ascii: ":") {
                bytes.removeLast()
            }
            return bytes
        }
        return HTTPSyntax.equalIgnoringCase(canonical(authority.bytes), canonical(Array(host)))
    }

    /// A Host value, RFC 9110 §7.2: a name, an IPv4 address or a bracketed IPv6 one, and perhaps a port.
    static func isHost(_ bytes: some Collection<UInt8>) -> Bool {
        var rest = Array(bytes)[...]
        if rest.first == UInt8(ascii: "[") {
            guard let end = rest.firstIndex(of: UInt8(ascii: "]")), end > rest.startIndex + 1,
                rest[(rest.startIndex + 1)..<end].allSatisfy({
                    HTTPSyntax.hexValue($0) != nil || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
                })
            else { return false }
            rest = rest[(end + 1)...]
        } else {
            let end = rest.firstIndex(of: UInt8(ascii: ":")) ?? rest.endIndex
            guard end > rest.startIndex, rest[..<end].allSatisfy(isRegisteredNameByte) else { return false }
            rest = rest[end...]
        }
        guard let colon = rest.popFirst() else { return true }
        return colon == UInt8(ascii: ":") && rest.count <= 5 && rest.allSatisfy(HTTPSyntax.isDigit)
    }

    private static func isRegisteredNameByte(_ byte: UInt8) -> Bool {
        if HTTPSyntax.isAlphanumeric(byte) { return true }
        switch byte {
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "%"),
            UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "("),
            UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ";"), UInt8(ascii: "="):
            return true
        default: return false
        }
    }

    private static func splitAbsolute(
        _ bytes: Slice<UnsafeBufferPointer<UInt8>>
    ) throws(HTTPRefusal) -> (
        authority: Slice<UnsafeBufferPointer<UInt8>>, defaultPort: String, rest: Slice<UnsafeBufferPointer<UInt8>>
    ) {
        let after: Int
        let defaultPort: String
        if HTTPSyntax.equalIgnoringCase(bytes.prefix(7), "http://") {
            (after, defaultPort) = (7, "80")
        } else if HTTPSyntax.equalIgnoringCase(bytes.prefix(8), "https://") {
            (after, defaultPort) = (8, "443")
        } else {
            throw HTTPRefusal(400, "bad_target", "The request target is neither a path nor an http or https URL.")
        }
        let rest = bytes.dropFirst(after)
        let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
        let authority = rest[..<end]
        // User information is refused with everything else that is no host: RFC 9110 §4.2.4.
        guard isHost(authority) else {
            throw HTTPRefusal(400, "bad_target", "The request target's host is not a valid one.")
        }
        return (authority, defaultPort, rest[end...])
    }

    private static func segments(
        _ path: Slice<UnsafeBufferPointer<UInt8>>
    ) -> [Slice<UnsafeBufferPointer<UInt8>>] {
        let relative = path.dropFirst()
        return relative.isEmpty ? [] : relative.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    }

    private static func parseQuery(
        _ bytes: Slice<UnsafeBufferPointer<UInt8>>
    ) throws(HTTPRefusal) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for pair in bytes.dropFirst().split(separator: UInt8(ascii: "&")) {
            let equals = pair.firstIndex(of: UInt8(ascii: "=")) ?? pair.endIndex
            let name = try decode(pair[..<equals], plusIsSpace: true)
            pairs.append((name, try decode(pair[equals...].dropFirst(), plusIsSpace: true)))
        }
        return pairs
    }

    /// Percent-decodes. Refused: a `%` without two hex digits, a NUL, and anything that is not UTF-8 once decoded.
    private static func decode(
        _ bytes: Slice<UnsafeBufferPointer<UInt8>>, plusIsSpace: Bool
    ) throws(HTTPRefusal) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            var byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "%") {
                guard index + 1 < bytes.endIndex, let high = HTTPSyntax.hexValue(bytes[index]),
                    let low = HTTPSyntax.hexValue(bytes[index + 1])
                else { throw HTTPRefusal(400, "bad_target", "The request target has a broken percent-encoding.") }
                byte = high << 4 | low
                index += 2
            } else if plusIsSpace, byte == UInt8(ascii: "+") {
                byte = HTTPSyntax.space
            }
            guard byte != 0 else { throw HTTPRefusal(400, "bad_target", "The request target encodes a NUL.") }
            decoded.append(byte)
        }
        guard let text = String(validating: decoded, as: UTF8.self) else {
            throw HTTPRefusal(400, "bad_target", "The request target is not UTF-8 once decoded.")
        }
        return text
    }
}
