// Server layer: the event loop's dealings with requests — to the workers, to the parking table, and back to the wire.
import Foundation

extension HTTPEventLoop {
    /// A deadline further away than this is this far away; it also keeps the arithmetic within range.
    private static let parkMillisecondsMax = 24 * 60 * 60 * 1000

    /// A worker that knows whom a request is for says so once; more is only seen when it is forgotten at once.
    private static let laneChangesMax = 4

    private func lane(of request: HTTPRequest) -> HTTPLane { configuration.lane?(request) ?? HTTPLane(key: "", isWrite: false) }

    /// A request is complete.
    func begin(_ request: HTTPRequest, _ connection: HTTPConnection) {
        var request = request
        if request.requestID.isEmpty { request.requestID = nextRequestID() }
        request.peerAddress = connection.peerAddress
        connection.exchange = HTTPExchange(request: request, memory: bodies)
        connection.lane = lane(of: request)
        connection.laneChanges = 0
        connection.timer = nil
        deadlines.cancel(connection.slot)
        // One request of a lane is always taken, or a crowd of others would keep it out.
        let ofLane = firstAttemptsOfLane[connection.lane.key] ?? 0
        let isCrowded = firstAttempts >= configuration.queuedRequests + configuration.workers
        guard ofLane == 0 || (!isCrowded && ofLane < configuration.queuedRequestsPerLane + configuration.workers) else {
            // Closed as well: the requests pipelined behind this one would only meet the same answer.
            return refuse(
                HTTPRefusal(503, "overloaded", "More requests are waiting than the server may keep."), connection,
                mayKeepConnection: false)
        }
        dispatch(connection, .first)
    }

    private func dispatch(_ connection: HTTPConnection, _ attempt: HTTPAttempt) {
        guard let exchange = connection.exchange else { preconditionFailure("there is no request to dispatch") }
        statistics.requestsInFlight += 1
        if attempt == .first {
            firstAttempts += 1
            firstAttemptsOfLane[connection.lane.key, default: 0] += 1
        }
        jobs.append(
            HTTPJob(
                slot: connection.slot, generation: connection.generation, exchange: exchange, attempt: attempt,
                snapshot: pokes.beginDispatch(), lane: connection.lane))
    }

    /// A worker has replied.
    func finish(_ result: HTTPJobResult) {
        let job = result.job
        statistics.requestsInFlight -= 1
        if job.attempt == .first {
            firstAttempts -= 1
            Self.decrement(&firstAttemptsOfLane, job.lane.key)
        }
        defer { pokes.endDispatch(job.snapshot) }
        // The client may have gone meanwhile, and its number may be another's.
        guard let connection = connections[job.slot], connection.generation == job.generation else { return }
        switch result.reply {
        case .respond(let response):
            respond(response, connection)
        case .changeLane:
            connection.laneChanges += 1
            guard connection.laneChanges <= Self.laneChangesMax else {
                return refuse(
                    HTTPRefusal(503, "overloaded", "The server cannot tell whom the request is for."), connection, mayKeepConnection: true)
            }
            connection.lane = lane(of: job.exchange.request)
            dispatch(connection, job.attempt)
        case .park(let topic, let milliseconds):
            guard job.attempt != .deadline else {
                fault(
                    "parked_after_deadline", "A worker parked a request that it had to answer.",
                    requestID: job.exchange.request.requestID)
                return refuse(Self.internalError, connection, mayKeepConnection: true)
            }
            park(connection, on: topic, milliseconds: milliseconds, dispatchedAt: job.snapshot)
        }
    }

    private func park(_ connection: HTTPConnection, on topic: String, milliseconds: Int, dispatchedAt snapshot: UInt64) {
        if connection.peerHasFinished { return close(connection) }
        let asked = now + Int64(min(max(0, milliseconds), Self.parkMillisecondsMax)) * 1_000_000
        let deadline = min(connection.parkDeadline ?? .max, asked)
        connection.parkDeadline = deadline
        if isDraining || deadline <= now { return dispatch(connection, .deadline) }
        if pokes.wasPoked(topic, since: snapshot) { return dispatch(connection, .woken) }
        let ofLane = parkedOfLane[connection.lane.key] ?? 0
        let limit = ofLane < configuration.parkedRequestsReserve ? 0 : configuration.parkedRequestsReserve
        guard parking.count < configuration.parkedRequests - limit else {
            return refuse(
                HTTPRefusal(503, "too_many_waiters", "As many requests are waiting for changes as may."), connection,
                mayKeepConnection: true)
        }
        connection.parkedTopic = topic
        parking.park(connection.slot, on: topic)
        parkedOfLane[connection.lane.key, default: 0] += 1
        statistics.parkedRequests = parking.count
        deadlines.schedule(connection.slot, at: deadline)
    }

    /// The slot was taken out of the parking table by a poke.
    func wake(_ slot: Int) {
        statistics.parkedRequests = parking.count
        if let connection = connections[slot] { resume(connection, as: .woken) }
    }

    /// Ends the parking of a request, whether the table still has it or not, and dispatches it again.
    func resume(_ connection: HTTPConnection, as attempt: HTTPAttempt) {
        unpark(connection)
        deadlines.cancel(connection.slot)
        dispatch(connection, attempt)
    }

    private func unpark(_ connection: HTTPConnection) {
        guard let topic = connection.parkedTopic else { return }
        connection.parkedTopic = nil
        Self.decrement(&parkedOfLane, connection.lane.key)
        parking.remove(connection.slot, from: topic)
        statistics.parkedRequests = parking.count
    }

    private static func decrement(_ counts: inout [String: Int], _ key: String) {
        guard let count = counts[key] else { return }
        counts[key] = count > 1 ? count - 1 : nil
    }

    private func respond(_ response: HTTPResponse, _ connection: HTTPConnection) {
        guard response.isWellFormed else {
            fault(
                "malformed_response", "A worker's response has a status or header that cannot be sent.",
                requestID: connection.exchange?.request.requestID)
            return refuse(Self.internalError, connection, mayKeepConnection: true)
        }
        send(response, connection, mayKeepConnection: true)
    }

    private static let internalError = HTTPRefusal(500, "internal_error", "The server failed to answer this request.")

    func refuse(_ refusal: HTTPRefusal, _ connection: HTTPConnection, mayKeepConnection: Bool) {
        refused(refusal.code)
        let known = connection.exchange?.request.requestID ?? connection.state.partial.requestID
        let requestID = known.isEmpty ? nextRequestID() : known
        let problem = HTTPProblem(refusal: refusal, requestID: requestID)
        var response = configuration.renderProblem(problem)
        if !response.isWellFormed { response = problem.standardResponse() }
        response.status = refusal.status
        if refusal.status == 503, !response.headers.contains("Retry-After") {
            response.headers.append("Retry-After", String(configuration.retryAfterSeconds))
        }
        send(response, connection, mayKeepConnection: mayKeepConnection, requestID: requestID)
    }

    private func send(
        _ response: HTTPResponse, _ connection: HTTPConnection, mayKeepConnection: Bool, requestID: String? = nil
    ) {
        let answer: (requestID: String, method: String, path: String, status: Int, bytesIn: Int)
        var response = response
        if let request = connection.exchange?.request {
            configuration.amend?(request, &response)
            answer = (request.requestID, request.method, request.path, response.status, request.byteCount)
        } else {
            if let unfinished = connection.state.unfinished { configuration.amend?(unfinished, &response) }
            let partial = connection.state.partial
            answer = (requestID ?? "", partial.method, partial.path, response.status, partial.byteCount)
        }
        connection.answer = answer
        let instruction = connection.state.respond(
            response, requestID: answer.requestID, mayKeepConnection: mayKeepConnection && !isDraining,
            secondsSince1970: time(nil), writer: &writer)
        perform(instruction, connection)
    }

    /// The response has been sent.
    func finishAnswer(_ connection: HTTPConnection) {
        statistics.requestsServed += 1
        report(connection)
        forgetRequest(connection)
    }

    /// The connection is about to be closed, perhaps in the middle of a request.
    func abandonAnswer(_ connection: HTTPConnection) {
        unpark(connection)
        guard let request = connection.exchange?.request else { return }
        statistics.requestsAbandoned += 1
        connection.answer = (
            request.requestID, request.method, request.path, HTTPExchangeRecord.clientGone, request.byteCount
        )
        report(connection)
        forgetRequest(connection)
    }

    private func forgetRequest(_ connection: HTTPConnection) {
        connection.exchange = nil
        connection.answer = nil
        connection.answerBytesSent = 0
        connection.parkDeadline = nil
        // With pipelining the next request has begun already.
        connection.requestStartedAt = connection.state.hasUnparsedBytes ? now : nil
    }

    private func report(_ connection: HTTPConnection) {
        guard let answer = connection.answer else { return }
        // The turn's time is older than the bytes just sent; the difference is what the log is for.
        let elapsed = HTTPClock.nanoseconds() - (connection.requestStartedAt ?? now)
        parts.log(
            .exchange(
                HTTPExchangeRecord(
                    requestID: answer.requestID, method: answer.method, path: answer.path, status: answer.status,
                    durationMicroseconds: Int(elapsed / 1000), bytesIn: answer.bytesIn,
                    bytesOut: connection.answerBytesSent, peerAddress: connection.peerAddress)))
    }
}
