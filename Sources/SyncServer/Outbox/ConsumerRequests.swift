// `/v1/consumers…`: the registry, dead letters and pulled events over HTTP, for owners.

import SyncProtocol

struct ConsumerRequests {
    let context: SyncContext
    let connection: PostgresConnection
    let token: AccessToken

    /// What a path under `/v1/consumers` asks for; nil when there is nothing at the path.
    struct Target: Sendable {
        var name: String?
        var action: String?
        var position: Int64?
        var positionAction: String?

        /// Methods that the path takes, by its shape.
        let methods: [String]

        init?(_ segments: [String]) {
            guard segments.count >= 2, segments[0] == "v1", segments[1] == "consumers" else { return nil }
            let rest = Array(segments.dropFirst(2))
            switch rest.count {
            case 0: methods = ["GET", "POST"]
            case 1:
                name = rest[0]
                methods = ["GET", "DELETE"]
            case 2:
                (name, action) = (rest[0], rest[1])
                switch rest[1] {
                case "pause", "resume", "replay", "rotate-secret", "ack": methods = ["POST"]
                case "dead", "attempts", "events": methods = ["GET"]
                default: return nil
                }
            case 3 where rest[1] == "dead":
                (name, action) = (rest[0], "dead")
                if ["replay", "discard"].contains(rest[2]) {
                    positionAction = rest[2]
                    methods = ["POST"]
                } else {
                    guard let number = Int64(rest[2]), number >= 0 else { return nil }
                    position = number
                    methods = ["GET"]
                }
            case 4 where rest[1] == "dead" && ["replay", "discard"].contains(rest[3]):
                guard let number = Int64(rest[2]), number >= 0 else { return nil }
                (name, action, position, positionAction) = (rest[0], "dead", number, rest[3])
                methods = ["POST"]
            default: return nil
            }
        }
    }

    private enum Answer {
        case json(Int, JSONValue)
        case waiting(milliseconds: Int)
    }

    func run(_ target: Target, _ request: HTTPRequest, _ attempt: HTTPAttempt) throws -> HTTPReply {
        let method = request.method == "HEAD" ? "GET" : request.method
        let answer = try connection.transaction(.readWrite, tenant: token.tenant, requestID: request.requestID) { connection in
            let principal = try Authentication.principal(of: token, nowMilliseconds: context.now(), on: connection)
            guard principal.role == .owner else { throw ErrorReply(.forbidden, "consumers are for owners only") }
            return try self.answer(target, method, request, attempt, ConsumerStore(tenant: token.tenant, connection: connection))
        }
        if method != "GET" { context.announce(token.tenant) }
        switch answer {
        case .json(let status, let json): return .respond(.json(status, json.canonicalBytes()))
        case .waiting(let milliseconds): return .park(topic: WakeUps.topic(token.tenant), deadlineMilliseconds: milliseconds)
        }
    }

    private func answer(
        _ target: Target, _ method: String, _ request: HTTPRequest, _ attempt: HTTPAttempt, _ store: ConsumerStore
    ) throws -> Answer {
        let now = context.now()
        let parameters =
            target.name == nil || target.position != nil || method != "GET"
            ? [] : ConsumerRequests.parameters[target.action ?? "", default: []]
        if let (unknown, _) = request.query.first(where: { !parameters.contains($0.name) }) {
            throw Consumer.invalid(unknown, "there is no parameter \(unknown)")
        }
        guard let name = target.name else {
            if method == "GET" {
                let all = try store.read()
                return .json(200, ["data": .array(all.map { $0.json(nowMilliseconds: now) }), "total": .integer(Int64(all.count))])
            }
            let (consumer, start) = try Consumer.received(.object(try body(request)), schema: context.schema, builtins: context.builtins)
            let secret = try store.add(consumer, from: start, nowMilliseconds: now)
            var json = try store.require(consumer.name).json(nowMilliseconds: now).objectValue ?? JSONObject()
            if let secret { json["secret"] = .string(secret.text) }
            return .json(201, .object(json))
        }
        let registered = try store.require(name)
        func current() throws -> Answer { .json(200, try store.require(name).json(nowMilliseconds: now)) }
        switch (target.action, method) {
        case (nil, "DELETE"):
            try store.remove(name)
            return .json(200, ["removed": .string(name)])
        case (nil, _): return .json(200, registered.json(nowMilliseconds: now))
        case ("pause", _):
            let reason = request.body.isEmpty ? .null : try body(request, only: ["reason"])["reason"] ?? .null
            guard reason.isNull || (reason.stringValue?.unicodeScalars.count).map({ $0 <= ConsumerRequests.reasonMax }) == true else {
                throw Consumer.invalid("reason", "reason is a text of at most \(ConsumerRequests.reasonMax) characters")
            }
            try store.pause(name, reason: reason.stringValue)
            return try current()
        case ("resume", _):
            try store.resume(name)
            return try current()
        case ("replay", _):
            let from = try body(request, only: ["from"])["from"]
            guard let from, let text = from.stringValue ?? from.integerValue.map(String.init) else {
                throw Consumer.invalid("from", "from is beginning, a position, or a time such as 2026-03-16T09:30:00Z")
            }
            _ = try store.replay(name, from: try StartPosition(checking: text))
            return try current()
        case ("rotate-secret", _):
            let secret = try store.rotateSecret(name, nowMilliseconds: now)
            var json = try store.require(name).json(nowMilliseconds: now).objectValue ?? JSONObject()
            json["secret"] = .string(secret.text)
            return .json(200, .object(json))
        case ("dead", _): return try dead(target, method, request, registered)
        case ("attempts", _):
            let limit = try number(request, "limit", 1...1_000) ?? 100
            let log = try AttemptLog.read(tenant: token.tenant, consumer: name, limit: limit, on: connection)
            return .json(200, ["data": .array(log)])
        case ("events", _):
            let limit = try number(request, "limit", 1...PulledEvents.limitMax) ?? PulledEvents.limitDefault
            let wait = try number(request, "wait", 0...Int64(PulledEvents.waitMax)) ?? 0
            let page = try pulled.page(registered, limit: limit)
            if page.events.isEmpty, !page.hasMore, wait > 0, attempt != .deadline { return .waiting(milliseconds: Int(wait)) }
            return .json(200, page.json)
        default:
            let json = try body(request, only: ["position", "epoch", "fingerprint"])
            guard let position = json["position"]?.integerValue, position >= 0 else {
                throw Consumer.invalid("position", "position is the number that events gave")
            }
            let epoch = json["epoch"] ?? .null
            guard epoch.isNull || epoch.integerValue.map({ $0 >= 0 }) == true else {
                throw Consumer.invalid("epoch", "epoch is the number that events gave")
            }
            let fingerprint = json["fingerprint"] ?? .null
            guard fingerprint.isNull || fingerprint.stringValue != nil else {
                throw Consumer.invalid("fingerprint", "fingerprint is the text that events gave")
            }
            let cursor = try pulled.acknowledge(
                registered, position: position, epoch: epoch.integerValue, fingerprint: fingerprint.stringValue)
            return .json(200, ["position": .integer(cursor.position), "epoch": .integer(cursor.epoch)])
        }
    }

    private var pulled: PulledEvents {
        PulledEvents(
            tenant: token.tenant, connection: connection, withheld: context.schema.entities.filter { $0.access == .secret }.map(\.name))
    }

    private func dead(_ target: Target, _ method: String, _ request: HTTPRequest, _ registered: RegisteredConsumer) throws -> Answer {
        let letters = DeadLetters(tenant: token.tenant, connection: connection, consumer: registered.consumer)
        switch target.positionAction {
        case "replay": return .json(200, ["replayed": .integer(try letters.replay(target.position))])
        case "discard": return .json(200, ["discarded": .integer(try letters.discard(target.position))])
        default:
            if let position = target.position { return .json(200, try letters.require(position).json(isWhole: true)) }
            let limit = try number(request, "limit", 1...DeadLetters.pageMax) ?? 100
            let after = try number(request, "after", 0...Int64.max) ?? -1
            let found = try letters.read(after: after, limit: limit)
            return .json(
                200, ["data": .array(found.map { $0.json(isWhole: false) }), "total": .integer(registered.deadCount)])
        }
    }

    static let reasonMax = 200
    /// Of GET, by the last part of the path.
    private static let parameters = ["attempts": ["limit"], "events": ["limit", "wait"], "dead": ["limit", "after"]]

    /// - Parameter known: The members there can be; nil: that is judged elsewhere.
    private func body(_ request: HTTPRequest, only known: [String]? = nil) throws -> JSONObject {
        try RequestWorker.requireMessage(request)
        let json: JSONValue
        do {
            json = WriteBody.withWholeNumbers(try JSONValue(parsing: request.body))
        } catch {
            throw ErrorReply(.badRequest, "not valid JSON: \(error.message) at byte \(error.offset)")
        }
        guard let object = json.objectValue else { throw ErrorReply(.badRequest, "the body is a JSON object") }
        if let known, let unknown = object.keys.first(where: { !known.contains($0) }) {
            throw Consumer.invalid(unknown, "there is no field \(unknown)")
        }
        return object
    }

    private func number(_ request: HTTPRequest, _ name: String, _ range: ClosedRange<Int64>) throws -> Int64? {
        guard let text = request.queryValue(name) else { return nil }
        guard let number = Int64(text), text.utf8.allSatisfy({ $0 &- 0x30 < 10 }), range.contains(number) else {
            throw Consumer.invalid(name, "\(name) is a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
