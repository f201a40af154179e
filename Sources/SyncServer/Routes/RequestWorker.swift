// One HTTP worker thread with its database session: routes a request, and turns whatever went wrong into an answer.

import Foundation
import SyncProtocol

final class RequestWorker: HTTPWorker {
    private let context: SyncContext
    private let database: Database
    private let enrollmentLimit: EnrollmentLimit
    private let documents: SchemaDocuments
    private let lanes: RequestLanes?
    private let crossOrigin: CrossOrigin?
    private let statistics: @Sendable () -> HTTPStatistics
    private var session: PostgresConnection?
    private var backoff = RetryBackoff()
    /// Until then the database is not tried again, so that a request never waits for it to come back.
    private var retryAt = DispatchTime.now()

    init(
        context: SyncContext, database: Database, enrollmentLimit: EnrollmentLimit, documents: SchemaDocuments,
        lanes: RequestLanes? = nil, crossOrigin: CrossOrigin? = nil,
        statistics: @escaping @Sendable () -> HTTPStatistics = { HTTPStatistics() }
    ) {
        self.lanes = lanes
        self.crossOrigin = crossOrigin
        self.statistics = statistics
        self.context = context
        self.database = database
        self.enrollmentLimit = enrollmentLimit
        self.documents = documents
    }

    func handle(_ request: HTTPRequest, attempt: HTTPAttempt) -> HTTPReply {
        context.metrics.workerBegan()
        defer { context.metrics.workerEnded() }
        if let preflight = crossOrigin?.preflight(request) { return .respond(preflight) }
        return answer(request, attempt, isSecondTry: false)
    }

    private func answer(_ request: HTTPRequest, _ attempt: HTTPAttempt, isSecondTry: Bool) -> HTTPReply {
        do {
            return try Route.find(request).answer(self, request, attempt)
        } catch let error as ErrorReply {
            if error.knownCode == .unauthorized || error.knownCode == .replicaRevoked, let text = request.headers["Authorization"] {
                lanes?.noteRefused(authorization: text)
            }
            return .respond(Problem.response(error, requestID: request.requestID))
        } catch let error as PostgresError {
            // A session that died while it was idle says nothing about the push, and a push can be done again on a new one.
            if error.isConnectionLost, Self.isPush(request), !isSecondTry {
                endSession()
                if (try? connection()) != nil { return answer(request, attempt, isSecondTry: true) }
            }
            return .respond(problem(error, request, isSecondTry: isSecondTry))
        } catch {
            context.log(.init(.error, "request_failed", requestID: request.requestID, ["error": .string("\(error)")]))
            return .respond(Problem.response(ErrorReply(.internal, "the request failed"), requestID: request.requestID))
        }
    }

    /// Work for a tenant is done in that tenant's lane only. In the lane of strangers nothing is done for anybody that could take long:
    /// a token that this process does not know is looked up, and if it is good its request goes and waits where it belongs.
    func belongsElsewhere(_ request: HTTPRequest, lane: HTTPLane) -> Bool {
        guard let lanes, !RequestLanes.isOperators(request), let authorization = request.headers["Authorization"] else { return false }
        if let tenant = lanes.tenant(of: authorization) { return tenant != lane.key }
        guard let token = AccessToken(authorization: authorization) else { return false }
        do {
            try connection().transaction(.readOnlySnapshot, tenant: token.tenant) { connection in
                _ = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            }
        } catch {
            // The route meets the same and says what it is, if it needs the token at all.
            if let error = error as? PostgresError, error.isConnectionLost { endSession() }
            return false
        }
        lanes.noteAccepted(token, authorization: authorization)
        return true
    }

    private func endSession() {
        session?.close()
        session = nil
    }

    private static func isPush(_ request: HTTPRequest) -> Bool { request.path == "/v1/sync/push" }

    private func problem(_ error: PostgresError, _ request: HTTPRequest, isSecondTry: Bool) -> HTTPResponse {
        if error.isConnectionLost { endSession() }
        context.metrics.countDatabaseError()
        context.log(
            .init(
                error.isRetryable ? .warning : .error, "database_error", requestID: request.requestID,
                ["state": .string(error.sqlState), "operation": .string(error.operation), "error": .string(error.message)]))
        // Twice on sessions that had just been opened: the push may be what breaks them. A replica that hears so again and again halves
        // its batch until it has found the one set that kills; for "unavailable" it would only wait.
        if error.isConnectionLost, isSecondTry {
            return Problem.response(ErrorReply(.internal, "the database broke off during the push"), requestID: request.requestID)
        }
        // A time-out, a missing table or right: nothing was stored, and the operator can mend it. `internal` would be held against
        // what was pushed: after a few of those a replica takes the set out.
        let isOperators = [.canceled, .undefinedObject, .permissionDenied].contains(error.kind)
        return Problem.response(
            ErrorReply(error.isRetryable || isOperators ? .unavailable : .internal, "the database did not take the request"),
            requestID: request.requestID)
    }

    // MARK: Database

    /// The session, opened again after a loss. Throws `unavailable` while the database is away.
    private func connection() throws -> PostgresConnection {
        if let session, session.isHealthy { return session }
        endSession()
        guard DispatchTime.now() >= retryAt else { throw ErrorReply(.unavailable, "the database is not reachable") }
        do {
            let opened = try database.connect()
            backoff.reset()
            session = opened
            return opened
        } catch {
            retryAt = .now() + backoff.nextSeconds()
            context.log(.init(.warning, "database_unreachable", ["error": .string(error.message)]))
            throw ErrorReply(.unavailable, "the database is not reachable")
        }
    }

    // MARK: Answers

    func enroll(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let now = context.now()
        try enrollmentLimit.check(request.peerAddress, nowMilliseconds: now)
        let message = try message(EnrollmentRequest.init(json:), request)
        do {
            let reply = try Enroll(context: context, connection: try connection(), requestID: request.requestID).run(message)
            return .respond(.json(200, reply.json.canonicalBytes()))
        } catch let error as ErrorReply {
            if [.codeInvalid, .codeExpired, .codeUsed].contains(error.knownCode) {
                enrollmentLimit.noteFailure(request.peerAddress, nowMilliseconds: now)
            }
            throw error
        }
    }

    func push(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let push = Push(context: context, connection: try connection(), requestID: request.requestID)
        let received = try reading(token) { try push.decode(request.body) }
        return .respond(.json(200, try push.run(received, token: token).bytes()))
    }

    func pull(_ request: HTTPRequest, _ attempt: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let wanted = try reading(token) { () throws -> PullRequest in
            do { return try PullRequest(query: request.query) } catch let error as WireError {
                let version = request.queryValue("protocol").flatMap { Decimals.parse($0, scale: 0) }
                if error.field == "protocol", let version { try checkProtocol(version) }
                throw ErrorReply(.badRequest, error.description)
            }
        }
        let page = try Pull(context: context, connection: try connection()).run(wanted, token: token)
        if page.isEmpty, attempt != .deadline, let wait = wanted.waitMilliseconds, wait > 0 {
            return .park(topic: WakeUps.topic(page.tenant), deadlineMilliseconds: wait)
        }
        return .respond(.json(200, page.bytes))
    }

    func fork(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let wanted = try reading(token) { try message(ForkRequest.init(json:), request) }
        let reply = try Fork(context: context, connection: try connection(), requestID: request.requestID).run(wanted, token: token)
        return .respond(.json(200, reply.json.canonicalBytes()))
    }

    func digest(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let wanted = try reading(token) { try query(DigestRequest.init(query:), request) }
        return .respond(.json(200, try Digest(context: context, connection: try connection()).run(wanted, token: token)))
    }

    func records(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let wanted = try reading(token) { try query(RecordsRequest.init(query:), request) }
        return .respond(.json(200, try Records(context: context, connection: try connection()).run(wanted, token: token)))
    }

    func replicaActivity(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        let wanted = try reading(token) { try query(ActivityRequest.init(query:), request) }
        return .respond(.json(200, try Activity(context: context, connection: try connection()).run(wanted, token: token)))
    }

    /// Bytes of a message that is neither a push nor a record: an enrolment, a fork, a consumer. Read, JSON of many small parts takes
    /// many times its bytes, and who enrols is a stranger.
    static let messageBytesMax = 64 << 10

    static func requireMessage(_ request: HTTPRequest) throws(ErrorReply) {
        guard request.body.count > messageBytesMax else { return }
        throw ErrorReply(
            .payloadTooLarge, "the body has at most \(messageBytesMax) bytes", details: ["max": .integer(Int64(messageBytesMax))])
    }

    /// A message in a body, of the protocol that this server speaks.
    private func message<Message>(_ read: (JSONValue) throws(WireError) -> Message, _ request: HTTPRequest) throws -> Message {
        try RequestWorker.requireMessage(request)
        do {
            let json = WriteBody.withWholeNumbers(try JSONValue(parsing: request.body))
            guard json.objectValue != nil else { throw ErrorReply(.badRequest, "the body is a JSON object") }
            try checkProtocol(json["protocol"]?.integerValue)
            return try read(json)
        } catch let error as JSONError {
            throw ErrorReply(.badRequest, "not valid JSON: \(error.message) at byte \(error.offset)")
        } catch let error as WireError {
            throw ErrorReply(.badRequest, error.description)
        }
    }

    /// What a replica asks.
    private func reading<Message>(_ token: AccessToken, _ body: () throws -> Message) throws -> Message {
        try Authentication.first(token, isReplica: true, context: context, connection: try connection(), body)
    }

    private func checkProtocol(_ version: Int64?) throws(ErrorReply) {
        guard let version else { throw ErrorReply(.badRequest, "protocol is the number of the protocol that the replica speaks") }
        guard version == ProtocolVersion.current else {
            throw ErrorReply(
                .protocolUnsupported, "this server speaks protocol \(ProtocolVersion.current)",
                details: ["protocol": .integer(ProtocolVersion.current)])
        }
    }

    private func query<Message>(
        _ read: ([(name: String, value: String)]) throws(WireError) -> Message, _ request: HTTPRequest
    ) throws -> Message {
        do { return try read(request.query) } catch { throw ErrorReply(.badRequest, error.description) }
    }

    func activity(_ request: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        return .respond(try Timeline(context: context, connection: try connection()).run(request, token: token))
    }

    /// Everything about records: what the target is, and whether the method goes with it, follows from the schema.
    func rest(_ request: HTTPRequest, _ target: RestTarget) throws -> HTTPReply {
        guard let entity = context.schema.entity(target.entity), entity.isServed else { throw Route.nothingHere }
        let operations = entity.restOperations(on: target)
        guard !operations.isEmpty else { throw Route.nothingHere }
        let method = request.method == "HEAD" ? "GET" : request.method
        guard let operation = operations.first(where: { $0.method == method }) else {
            throw Route.methodNotAllowed(operations.map(\.method))
        }
        let token = try bearer(request)
        switch (operation, target) {
        case (.list, _):
            return .respond(try RecordList(context: context, connection: try connection(), entity: entity).run(request, token: token))
        case (.get, .record(_, let id)):
            return .respond(
                try RecordRead(context: context, connection: try connection(), entity: entity, id: id).run(request, token: token))
        default:
            return .respond(
                try RecordWrite(context: context, connection: try connection(), entity: entity, operation: operation, target: target)
                    .run(request, token: token))
        }
    }

    /// - Parameter name: nil: which there are.
    func report(_ name: String?, _ request: HTTPRequest) throws -> HTTPReply {
        let token = try bearer(request)
        let reports = ReportRequests(context: context, connection: try connection())
        if let name { return .respond(try reports.run(name, request, token: token)) }
        return .respond(try reports.list(request, token: token))
    }

    func openAPI(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply { .respond(.json(200, documents.openAPI)) }

    func documentation(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        .respond(
            .typed(
                200, "text/html; charset=utf-8", documents.page,
                headers: HTTPHeaders([
                    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"), ("X-Content-Type-Options", "nosniff"),
                ])))
    }

    func schema(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply { .respond(.json(200, documents.schema)) }

    func health(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply { .respond(.json(200, Array(#"{"status":"ok"}"#.utf8))) }

    func readiness(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        guard try Migration(tables: context.tables).isCurrent(try connection()) else {
            throw ErrorReply(.unavailable, "the database is not migrated to this build; run sync-server migrate")
        }
        return .respond(.json(200, Array(#"{"status":"ready"}"#.utf8)))
    }

    /// Answers without the database too: that it is away is what somebody wants to know then.
    func metrics(_: HTTPRequest, _: HTTPAttempt) throws -> HTTPReply {
        let outbox: MetricsPage.Outbox?
        do {
            outbox = try MetricsPage.read(try connection())
        } catch {
            outbox = nil
        }
        let page = MetricsPage(
            metrics: context.metrics, statistics: statistics(), workers: database.configuration.workers,
            outbox: database.configuration.outbox)
        return .respond(
            .typed(200, "text/plain; version=0.0.4; charset=utf-8", Array(page.text(outbox, nowMilliseconds: context.now()).utf8)))
    }

    func consumers(_ target: ConsumerRequests.Target, _ request: HTTPRequest, _ attempt: HTTPAttempt) throws -> HTTPReply {
        let token = try bearer(request)
        return try ConsumerRequests(context: context, connection: try connection(), token: token).run(target, request, attempt)
    }

    private func bearer(_ request: HTTPRequest) throws -> AccessToken {
        // Two of them: a proxy in front may have judged the other one.
        guard request.headers.values("Authorization").count == 1,
            let token = AccessToken(authorization: request.headers["Authorization"])
        else { throw Authentication.unauthorized }
        return token
    }
}
