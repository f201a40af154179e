// Paths to labels: few, whatever clients ask for.

enum MetricRoute {
    private static let exact = Set(
        Route.all.map { "/" + $0.path.joined(separator: "/") }.filter { !$0.contains("{") && !$0.contains(":") } + [
            "/v1/consumers", "/v1/reports",
        ])
    private static let consumerActions: Set<String> = [
        "pause", "resume", "replay", "rotate-secret", "dead", "events", "ack", "attempts",
    ]
    private static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    static func label(path: String, entities: Set<String>) -> String {
        if exact.contains(path) { return path }
        let parts = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
        guard parts.count >= 2, parts[0] == "v1" else { return "other" }
        if parts[1] == "consumers" {
            guard parts.count > 3 else { return "/v1/consumers/{name}" }
            guard consumerActions.contains(parts[3]) else { return "other" }
            return "/v1/consumers/{name}/\(parts[3])"
        }
        if parts[1] == "reports", parts.count == 3 { return "/v1/reports/{name}" }
        if entities.contains(parts[1]) {
            switch parts.count {
            case 2: return "/v1/{entity}"
            case 3: return "/v1/{entity}/{id}"
            default: return "/v1/{entity}/{id}/…"
            }
        }
        return "other"
    }

    static func method(_ method: String) -> String { methods.contains(method) ? method : "other" }
}
