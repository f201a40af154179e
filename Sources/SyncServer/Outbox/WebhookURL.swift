// Where a webhook goes, read strictly: what a later parser could understand differently is refused here.

import SyncProtocol

struct WebhookURL: Sendable, Equatable {
    let text: String
    let isSecure: Bool
    /// Without brackets.
    let host: String
    let port: Int
    /// Path and query.
    let target: String

    static let bytesMax = 2_048

    /// Throws `validation_failed` on the field `url`.
    init(checking text: String) throws(ErrorReply) {
        func refuse(_ message: String) -> ErrorReply { Consumer.invalid("url", message) }
        let bytes = Array(text.utf8)
        guard bytes.count <= WebhookURL.bytesMax else { throw refuse("a URL has at most \(WebhookURL.bytesMax) bytes") }
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C && $0 != 0x22 && $0 != 0x3C && $0 != 0x3E }) else {
            throw refuse("a URL has only visible ASCII characters; write others percent-encoded")
        }
        let lower = text.prefix(8).lowercased()
        let rest: Substring
        if lower.hasPrefix("https://") {
            (isSecure, rest) = (true, text.dropFirst(8))
        } else if lower.hasPrefix("http://") {
            (isSecure, rest) = (false, text.dropFirst(7))
        } else {
            throw refuse("a URL begins with https:// or http://")
        }
        guard !rest.contains("#") else { throw refuse("a webhook's URL has no fragment") }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        guard !authority.contains("@") else { throw refuse("a webhook's URL has no user name or password") }
        guard HTTPRequestTarget.isHost(Array(authority.utf8)), !authority.contains("%") else { throw refuse("the host is not a valid one") }
        var (host, portText) = (String(authority), "")
        if let close = authority.lastIndex(of: "]") {
            host = String(authority[authority.index(after: authority.startIndex)..<close])
            portText = String(authority[authority.index(after: close)...].drop { $0 == ":" })
        } else if let colon = authority.lastIndex(of: ":") {
            (host, portText) = (String(authority[..<colon]), String(authority[authority.index(after: colon)...]))
        }
        if portText.isEmpty {
            port = isSecure ? 443 : 80
        } else {
            guard let number = Int(portText), (1...65_535).contains(number) else { throw refuse("the port is not a valid one") }
            port = number
        }
        let path = rest[end...]
        target = path.first == "?" ? "/" + path : path.isEmpty ? "/" : String(path)
        self.host = host
        self.text = text
    }

    /// As in a Host field.
    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// For logs and lists: a path or query may hold a secret of the receiver.
    var redacted: String { "\(isSecure ? "https" : "http")://\(authority)/…" }
}
