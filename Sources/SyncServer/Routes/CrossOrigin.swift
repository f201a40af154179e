// Pages of other origins in a browser: which may read answers, and what they may send (the Fetch standard, "CORS protocol").
// Without origins in the configuration the server says nothing, and browsers keep such pages away from it.

import SyncProtocol

struct CrossOrigin: Sendable {
    /// In the form browsers send: scheme, host in lower case, port unless it is the scheme's own.
    let origins: Set<String>
    /// `*`. Nothing here rests on cookies, so no page gains what its visitor has: it must know a token.
    let isOpen: Bool

    static let methods = "GET, HEAD, POST, PATCH, DELETE"
    static let requestHeaders =
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, \(Correlation.header)"
    static let answerHeaders = "ETag, Location, Retry-After, Allow, Idempotency-Replayed, X-Request-Id, \(Correlation.header)"
    /// Seconds a browser may remember what it was told before a request. Chromium keeps it for two hours at most.
    static let rememberedSeconds = 7_200

    /// - Parameter texts: Origins such as `https://app.example:8443`, or `*`. nil if one is neither.
    init?(_ texts: [String]) {
        var origins: Set<String> = []
        for text in texts where text != "*" {
            guard let origin = CrossOrigin.origin(text) else { return nil }
            origins.insert(origin)
        }
        self.origins = origins
        isOpen = texts.contains("*")
    }

    /// nil for what no browser would send: another scheme, a path, a user, spaces.
    private static func origin(_ text: String) -> String? {
        let text = text.lowercased()
        guard let scheme = ["https://", "http://"].first(where: { text.hasPrefix($0) }) else { return nil }
        var rest = String(text.dropFirst(scheme.count))
        let usual = scheme == "https://" ? ":443" : ":80"
        if rest.hasSuffix(usual) { rest.removeLast(usual.count) }
        guard !rest.isEmpty, rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), !rest.contains(where: { "/?#@\\\"<>".contains($0) }) else {
            return nil
        }
        return scheme + rest
    }

    private func allows(_ origin: String) -> Bool { isOpen || origins.contains(origin) }

    /// The answer to a browser that asks before it sends; nil if this is no such question, or the page may not.
    func preflight(_ request: HTTPRequest) -> HTTPResponse? {
        guard request.method == "OPTIONS", request.headers.contains("Access-Control-Request-Method"),
            let origin = request.headers["Origin"], allows(origin), CrossOrigin.isForPages(request)
        else { return nil }
        // Allow-Origin and Vary come with every answer.
        return .empty(
            204,
            headers: HTTPHeaders([
                ("Access-Control-Allow-Methods", CrossOrigin.methods), ("Access-Control-Allow-Headers", CrossOrigin.requestHeaders),
                ("Access-Control-Max-Age", String(CrossOrigin.rememberedSeconds)),
            ]))
    }

    /// Lets the page read the answer, refusals included: a program that cannot read why it failed cannot do better.
    func open(_ response: inout HTTPResponse, to request: HTTPRequest) {
        guard CrossOrigin.isForPages(request) else { return }
        // What stands between must not give one origin's answer to another.
        response.headers.set("Vary", response.headers["Vary"].map { $0 + ", Origin" } ?? "Origin")
        guard let origin = request.headers["Origin"], allows(origin) else { return }
        response.headers.append("Access-Control-Allow-Origin", origin)
        response.headers.append("Access-Control-Expose-Headers", CrossOrigin.answerHeaders)
    }

    /// Pages have no business with what the operator's tools ask for.
    private static func isForPages(_ request: HTTPRequest) -> Bool { request.pathSegments.first == "v1" }
}
