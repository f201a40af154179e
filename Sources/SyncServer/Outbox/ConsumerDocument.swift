// Consumers as JSON and as words: the same for the command line and for HTTP.

import SyncProtocol

extension RegisteredConsumer {
    func json(nowMilliseconds now: Int64) -> JSONValue {
        func time(_ milliseconds: Int64?) -> JSONValue { milliseconds.map { .string(Instant.iso(fromMilliseconds: $0)) } ?? .null }
        var object: JSONObject = [
            "name": .string(consumer.name), "kind": .string(consumer.kind.rawValue), "status": .string(status.rawValue),
            "kinds": .array(consumer.filter.patterns.map { .string($0) }), "ordered_by": .string(consumer.orderedBy.rawValue),
            "max_attempts": .integer(consumer.attemptsMax), "concurrency": .integer(consumer.concurrency),
            "includes_restricted": .bool(consumer.includesRestricted), "epoch": .integer(cursor.epoch), "position": .integer(done),
            "head": .integer(head.position), "lag": .integer(lag), "lag_seconds": .integer(lagSeconds(now)), "open": .integer(openCount),
            "dead": .integer(deadCount), "failures": .integer(failures), "created_at": time(createdAt),
            "last_attempt_at": time(lastAttemptAt), "last_success_at": time(lastSuccessAt),
        ]
        if let url = consumer.url { object["url"] = .string(url.text) }
        if let handler = consumer.handler { object["handler"] = .string(handler) }
        if let rate = consumer.ratePerMinute { object["rate_per_minute"] = .integer(rate) }
        if let reason { object["reason"] = .string(reason) }
        if let until = previousSecretUntil, until > now { object["previous_secret_until"] = time(until) }
        if blockedUntil > now { object["blocked_until"] = time(blockedUntil) }
        return .object(object)
    }

    func lagSeconds(_ now: Int64) -> Int64 { oldestAt.map { max(0, now - $0) / 1000 } ?? 0 }

    func words(nowMilliseconds now: Int64) -> String {
        var lines = [
            "\(consumer.name)  \(consumer.kind.rawValue)  \(status.rawValue)\(reason.map { ": \($0)" } ?? "")",
            "  at position \(done) of \(head.position), \(lag) behind\(lag > 0 ? ", oldest \(lagSeconds(now)) s" : "")",
            "  kinds \(consumer.filter.isEverything ? "all" : consumer.filter.patterns.joined(separator: ", "))",
            "  ordered by \(consumer.orderedBy.rawValue), at most \(consumer.attemptsMax) attempts, \(consumer.concurrency) at a time"
                + (consumer.ratePerMinute.map { ", \($0) a minute" } ?? ""),
            "  open \(openCount), dead \(deadCount), failed batches in a row \(failures)",
        ]
        if let url = consumer.url { lines.insert("  to \(url.text)", at: 1) }
        if let handler = consumer.handler { lines.insert("  does \(handler)", at: 1) }
        if let last = lastSuccessAt { lines.append("  last delivered \(Instant.iso(fromMilliseconds: last))") }
        return lines.joined(separator: "\n")
    }

    func line(nowMilliseconds now: Int64) -> String {
        [
            consumer.name, consumer.kind.rawValue, status.rawValue, "\(lag) behind", "\(deadCount) dead",
            consumer.url?.redacted ?? consumer.handler ?? "",
        ].filter { !$0.isEmpty }.joined(separator: "  ")
    }
}

extension Consumer {
    /// From the body of `POST /v1/consumers`. Throws `validation_failed` or `bad_request` naming the field.
    static func received(_ json: JSONValue, schema: Schema, builtins: [BuiltinConsumer]) throws -> (
        consumer: Consumer, start: StartPosition
    ) {
        guard let object = json.objectValue else { throw ErrorReply(.badRequest, "the body is a JSON object") }
        let known: Set<String> = [
            "name", "kind", "kinds", "url", "ordered_by", "max_attempts", "concurrency", "rate_per_minute", "includes_restricted", "from",
            "handler",
        ]
        if let unknown = object.keys.first(where: { !known.contains($0) }) { throw invalid(unknown, "there is no field \(unknown)") }
        func text(_ name: String) throws -> String? {
            guard let value = object[name], !value.isNull else { return nil }
            guard let text = value.stringValue else { throw invalid(name, "\(name) is a string") }
            return text
        }
        func integer(_ name: String) throws -> Int64? {
            guard let value = object[name], !value.isNull else { return nil }
            guard let number = value.integerValue else { throw invalid(name, "\(name) is an integer") }
            return number
        }
        var kinds: [String] = []
        if let value = object["kinds"], !value.isNull {
            guard let elements = value.arrayValue, elements.allSatisfy({ $0.stringValue != nil }) else {
                throw invalid("kinds", "kinds is an array of strings")
            }
            kinds = elements.compactMap(\.stringValue)
        }
        var includesRestricted = false
        if let value = object["includes_restricted"], !value.isNull {
            guard let flag = value.boolValue else { throw invalid("includes_restricted", "includes_restricted is true or false") }
            includesRestricted = flag
        }
        let from: StartPosition
        if let position = object["from"]?.integerValue {
            guard position >= 0 else { throw invalid("from", "a position is not negative") }
            from = .after(position)
        } else {
            from = try StartPosition(checking: try text("from") ?? "now")
        }
        guard let name = try text("name") else { throw invalid("name", "a consumer needs a name") }
        let handler = try text("handler")
        let consumer = try Consumer(
            name: name, kind: try kind(try text("kind") ?? (handler == nil ? "webhook" : "builtin")), kinds: kinds, url: try text("url"),
            handler: handler, orderedBy: try ordering(try text("ordered_by") ?? "tenant"), attemptsMax: try integer("max_attempts") ?? 12,
            concurrency: try integer("concurrency") ?? 1, ratePerMinute: try integer("rate_per_minute"),
            includesRestricted: includesRestricted, schema: schema, builtins: builtins)
        return (consumer, from)
    }

    static func kind(_ text: String) throws(ErrorReply) -> Kind {
        guard let kind = Kind(rawValue: text) else { throw invalid("kind", "kind is webhook, pull or builtin") }
        return kind
    }

    static func ordering(_ text: String) throws(ErrorReply) -> Ordering {
        guard let ordering = Ordering(rawValue: text) else { throw invalid("ordered_by", "ordered_by is tenant or record") }
        return ordering
    }
}
