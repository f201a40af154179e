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
    /// - Parameter retryAfter: The field's value: seconds, or a date, which is left alone: clocks differ.
    static func result(status: Int, retryAfter: String?) -> AttemptResult {
        if (200...299).contains(status) { return .delivered(status: status) }
        var wait: Int64?
        if status == 429 || status == 503, let text = retryAfter, let seconds = Int64(text), seconds >= 0 {
            wait = min(seconds, RetrySchedule.retryAfterMaxMilliseconds / 1000) * 1000
        }
        return .refused(status: status, retryAfterMilliseconds: wait)
    }
}
