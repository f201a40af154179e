// Which request an answer is to. On the way between a replica and its server answers can be mixed up: a proxy that loses count of
// requests and answers, as after request smuggling, hands one client another's.

/// The header by which an answer names its request (protocol §7). It is not `X-Request-Id`: that one proxies set themselves.
public enum Correlation {
    /// A client chooses the value, the server says it again.
    public static let header = "Tideline-Correlation-Id"

    /// 1–128 letters, digits, `.`, `_` or `-`. Anything else is not said again.
    public static func isWellFormed(_ id: String) -> Bool {
        (1...128).contains(id.utf8.count)
            && id.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || byte == 0x2D || byte == 0x2E || byte == 0x5F
            }
    }
}
