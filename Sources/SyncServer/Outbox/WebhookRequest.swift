// One attempt as an HTTP request, and the seam behind which it is sent: plain HTTP on a socket, HTTPS through URLSession.

import SyncProtocol

struct WebhookRequest: Sendable, Equatable {
    let url: WebhookURL
    /// Names in lower case; without Host and Content-Length.
    let headers: [Header]
    let body: [UInt8]

    struct Header: Sendable, Equatable {
        let name: String
        let value: String
    }

    /// - Parameter requestID: Of this attempt, for the logs of both sides.
    init(_ event: OutboxEvent, to url: WebhookURL, secrets: [WebhookSecret], atMilliseconds now: Int64, requestID: String) {
        let body = event.body()
        let id = event.id
        self.url = url
        self.body = body
        headers = [
            Header(name: "content-type", value: "application/cloudevents+json; charset=utf-8"),
            Header(name: "user-agent", value: "Tideline/\(Configuration.version)"),
            Header(name: "webhook-id", value: id),
            Header(name: "webhook-timestamp", value: String(now / 1000)),
            Header(
                name: "webhook-signature",
                value: WebhookSignature.header(id: id, timestampSeconds: now / 1000, body: body, secrets: secrets)),
            Header(name: "x-request-id", value: requestID),
        ]
    }
}

/// Blocks until there is an answer or the time is over. May be called from several threads.
protocol WebhookSender: Sendable {
    func send(_ request: WebhookRequest) -> AttemptResult
}

struct WebhookLimits: Sendable {
    /// Of one attempt, from the name look-up to the head of the answer.
    var attemptSeconds = 15.0
    /// Of that, to have a connection.
    var connectSeconds = 5.0
    /// Of an answer; the rest is not read.
    static let answerBytesMax = 64 << 10
}

/// What an answer's head says to a dispatcher.
enum WebhookAnswer {
    /// - Parameter retryAfter: The field's value, as it came.
    static func result(status: Int, retryAfter: String?) -> AttemptResult {
        if (200...299).contains(status) { return .delivered(status: status) }
        let mayAsk = status == 429 || status == 503
        return .refused(status: status, retryAfter: mayAsk ? retryAfter.flatMap(RetryAfter.init) : nil)
    }
}

/// For how long an endpoint asks to be left alone (RFC 9110 §10.2.3).
enum RetryAfter: Sendable, Equatable {
    case seconds(Int64)
    case date(HTTPDate)

    /// nil for what is neither: then nothing was asked.
    init?(_ text: String) {
        if !text.isEmpty, text.utf8.allSatisfy({ $0 &- 0x30 < 10 }) {
            // More than fits is more than is granted.
            self = .seconds(Int64(text) ?? .max)
        } else if let date = HTTPDate(text) {
            self = .date(date)
        } else {
            return nil
        }
    }

    /// From now, never more than ``RetrySchedule/retryAfterMaxMilliseconds``. A date is held against this server's clock alone: what
    /// the endpoint takes for the present (`Date`) may be anything, and is under its control. One that is over asks for nothing.
    func wait(nowMilliseconds now: Int64) -> Int64 {
        let asked: Int64
        switch self {
        case .seconds(let seconds): asked = min(seconds, RetrySchedule.retryAfterMaxMilliseconds / 1000) * 1000
        case .date(let date): asked = date.milliseconds(nowMilliseconds: now).map { $0 - now } ?? 0
        }
        return max(0, min(asked, RetrySchedule.retryAfterMaxMilliseconds))
    }
}
