// The table of routes: path and method → answer.

import SyncProtocol

struct Route: Sendable {
    let method: String
    let path: [String]
    let answer: @Sendable (RequestWorker, HTTPRequest, HTTPAttempt) throws -> HTTPReply

    private init(
        _ method: String, _ path: String, _ answer: @escaping @Sendable (RequestWorker, HTTPRequest, HTTPAttempt) throws -> HTTPReply
    ) {
        self.method = method
        self.path = path.split(separator: "/").map(String.init)
        self.answer = answer
    }

    /// The paths that no entity can have.
    static let all: [Route] = [
        Route("POST", "/v1/enroll") { try $0.enroll($1, $2) },
        Route("POST", "/v1/sync/push") { try $0.push($1, $2) },
        Route("GET", "/v1/sync/pull") { try $0.pull($1, $2) },
        Route("POST", "/v1/sync/fork") { try $0.fork($1, $2) },
        Route("GET", "/v1/sync/digest") { try $0.digest($1, $2) },
        Route("GET", "/v1/sync/records") { try $0.records($1, $2) },
        Route("GET", "/v1/sync/activity") { try $0.replicaActivity($1, $2) },
        Route("GET", "/v1/activity") { try $0.activity($1, $2) },
        Route("GET", "/v1/openapi.json") { try $0.openAPI($1, $2) },
        Route("GET", "/v1/docs") { try $0.documentation($1, $2) },
        Route("GET", "/v1/schema") { try $0.schema($1, $2) },
        Route("GET", "/healthz") { try $0.health($1, $2) },
        Route("GET", "/readyz") { try $0.readiness($1, $2) },
        Route("GET", "/metrics") { try $0.metrics($1, $2) },
    ]

    /// Throws `not_found` or `method_not_allowed` (with the methods that are, in `allow`). HEAD asks what GET would answer.
    static func find(_ request: HTTPRequest) throws -> Route {
        if let target = ConsumerRequests.Target(request.pathSegments) { return try consumers(target, request) }
        if let name = ReportRequests.name(request.pathSegments) {
            guard request.method == "GET" || request.method == "HEAD" else { throw methodNotAllowed(["GET"]) }
            return Route(request.method, request.path) { worker, request, _ in try worker.report(name, request) }
        }
        let candidates = all.filter { $0.path == request.pathSegments }
        guard !candidates.isEmpty else {
            // Everything else below /v1 is an entity's, or nothing.
            guard let target = RestTarget(request.pathSegments) else { throw nothingHere }
            return Route(request.method, request.path) { worker, request, _ in try worker.rest(request, target) }
        }
        let method = request.method == "HEAD" ? "GET" : request.method
        if let route = candidates.first(where: { $0.method == method }) { return route }
        throw methodNotAllowed(candidates.map(\.method))
    }

    static func methodNotAllowed(_ methods: [String]) -> ErrorReply {
        let allowed = methods.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] }.joined(separator: ", ")
        return ErrorReply(.methodNotAllowed, "use \(allowed)", details: ["allow": .string(allowed)])
    }

    static let nothingHere = ErrorReply(.notFound, "there is nothing at this path")

    /// Everything under `/v1/consumers`.
    private static func consumers(_ target: ConsumerRequests.Target, _ request: HTTPRequest) throws -> Route {
        guard target.methods.contains(request.method == "HEAD" ? "GET" : request.method) else {
            throw methodNotAllowed(target.methods)
        }
        return Route(request.method, request.path) { try $0.consumers(target, $1, $2) }
    }
}
