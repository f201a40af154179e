// A consumer: a named reader of the feed with a durable cursor, as an operator registers it.

import SyncProtocol

struct Consumer: Sendable, Equatable {
    enum Kind: String, Sendable, CaseIterable {
        /// Events are sent to a URL.
        case webhook
        /// The consumer asks for events and acknowledges them.
        case pull
        /// Part of the server (``BuiltinConsumer``).
        case builtin
    }

    enum Ordering: String, Sendable, CaseIterable {
        /// One event after another; a stuck one holds up the rest until it is delivered or dead.
        case tenant
        /// Events of one record after another; other records pass a stuck one.
        case record
    }

    enum Status: String, Sendable, CaseIterable {
        case active
        /// By a person, until resumed.
        case paused
        /// By the server, because the endpoint said that it is gone; until resumed.
        case disabled
    }

    var name: String
    var kind: Kind
    var filter: EventFilter
    /// Webhooks only.
    var url: WebhookURL?
    /// Built-in ones only: which.
    var handler: String?
    var orderedBy: Ordering = .tenant
    /// Attempts at one event before it is a dead letter.
    var attemptsMax: Int64 = 12
    /// Requests under way at a time; more than one needs `orderedBy: .record`.
    var concurrency: Int64 = 1
    /// Attempts a minute; nil: no limit.
    var ratePerMinute: Int64?
    /// Whether events carry the values of restricted fields.
    var includesRestricted = false

    static let attemptsRange: ClosedRange<Int64> = 1...100
    static let concurrencyRange: ClosedRange<Int64> = 1...16
    static let rateRange: ClosedRange<Int64> = 1...60_000

    /// Checks what an operator or owner asked for. Throws `validation_failed` naming the field.
    init(
        name: String, kind: Kind, kinds: [String], url: String?, handler: String? = nil, orderedBy: Ordering = .tenant,
        attemptsMax: Int64 = 12, concurrency: Int64 = 1, ratePerMinute: Int64? = nil, includesRestricted: Bool = false, schema: Schema,
        builtins: [BuiltinConsumer] = BuiltinConsumer.all
    ) throws(ErrorReply) {
        guard Consumer.isName(name) else {
            throw Consumer.invalid("name", "a name is 1 to 60 lower-case letters, digits, - or _, beginning with a letter")
        }
        switch (kind, url) {
        case (.webhook, let url?): self.url = try WebhookURL(checking: url)
        case (.webhook, nil): throw Consumer.invalid("url", "a webhook needs a URL")
        case (.pull, _?): throw Consumer.invalid("url", "a pull consumer has no URL")
        case (.builtin, _?): throw Consumer.invalid("url", "a built-in consumer has no URL")
        case (.pull, nil), (.builtin, nil): self.url = nil
        }
        let builtin = try Consumer.builtin(kind, handler, kinds, among: builtins)
        guard Consumer.attemptsRange.contains(attemptsMax) else {
            throw Consumer.invalid("max_attempts", "max_attempts is a number from 1 to \(Consumer.attemptsRange.upperBound)")
        }
        guard Consumer.concurrencyRange.contains(concurrency) else {
            throw Consumer.invalid("concurrency", "concurrency is a number from 1 to \(Consumer.concurrencyRange.upperBound)")
        }
        guard concurrency == 1 || orderedBy == .record else {
            throw Consumer.invalid("concurrency", "more than one request at a time needs ordered_by record")
        }
        if let ratePerMinute, !Consumer.rateRange.contains(ratePerMinute) {
            throw Consumer.invalid("rate_per_minute", "rate_per_minute is a number from 1 to \(Consumer.rateRange.upperBound)")
        }
        filter = try EventFilter(checking: builtin?.kinds ?? kinds, schema: schema)
        self.handler = builtin?.name
        self.name = name
        self.kind = kind
        self.orderedBy = orderedBy
        self.attemptsMax = attemptsMax
        self.concurrency = concurrency
        self.ratePerMinute = ratePerMinute
        self.includesRestricted = includesRestricted
    }

    private static func builtin(
        _ kind: Kind, _ handler: String?, _ kinds: [String], among builtins: [BuiltinConsumer]
    ) throws(ErrorReply) -> BuiltinConsumer? {
        guard kind == .builtin else {
            if handler != nil { throw invalid("handler", "only a built-in consumer has a handler") }
            return nil
        }
        guard let found = builtins.first(where: { $0.name == handler }) else {
            throw invalid("handler", "a built-in consumer has a handler: \(builtins.map(\.name).joined(separator: ", "))")
        }
        guard kinds.isEmpty else { throw invalid("kinds", "a built-in consumer is told what its handler is for") }
        return found
    }

    /// As stored; checked when it was.
    init(
        stored name: String, kind: Kind, filter: EventFilter, url: WebhookURL?, handler: String?, orderedBy: Ordering, attemptsMax: Int64,
        concurrency: Int64, ratePerMinute: Int64?, includesRestricted: Bool
    ) {
        self.name = name
        self.kind = kind
        self.filter = filter
        self.url = url
        self.handler = handler
        self.orderedBy = orderedBy
        self.attemptsMax = attemptsMax
        self.concurrency = concurrency
        self.ratePerMinute = ratePerMinute
        self.includesRestricted = includesRestricted
    }

    static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...60).contains(bytes.count), let first = bytes.first, first &- 0x61 < 26 else { return false }
        return bytes.allSatisfy { $0 &- 0x61 < 26 || $0 &- 0x30 < 10 || $0 == 0x2D || $0 == 0x5F }
    }

    static func invalid(_ field: String, _ message: String) -> ErrorReply {
        ErrorReply(.validationFailed, "\(field): \(message)", details: ["field": .string(field)])
    }

    /// What was asked for is right in itself, and cannot be done as things stand.
    static func conflict(_ field: String, _ message: String) -> ErrorReply {
        ErrorReply(.conflict, "\(field): \(message)", details: ["field": .string(field)])
    }
}

/// Where a new or replayed consumer begins.
enum StartPosition: Sendable, Equatable {
    /// After everything that is there.
    case now
    case beginning
    /// With the first entry after this position.
    case after(Int64)
    /// With the first entry at or after this time, Unix milliseconds.
    case since(Int64)

    /// `now`, `beginning`, a position, or a time such as `2026-03-16T09:30:00Z`.
    init(checking text: String) throws(ErrorReply) {
        switch text {
        case "now": self = .now
        case "beginning": self = .beginning
        default:
            if let position = Int64(text), position >= 0, text.utf8.allSatisfy({ $0 &- 0x30 < 10 }) {
                self = .after(position)
            } else if let time = Instant.milliseconds(fromISO8601: text) {
                self = .since(time)
            } else {
                throw Consumer.invalid("from", "from is now, beginning, a position, or a time such as 2026-03-16T09:30:00Z")
            }
        }
    }
}
