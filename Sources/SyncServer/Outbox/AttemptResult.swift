// What one attempt at a delivery came to, and what becomes of the delivery then. Pure.

/// One try, as it is logged and counted.
enum AttemptResult: Sendable, Equatable {
    enum Failure: String, Sendable, CaseIterable {
        case timeout, connect, dns, tls, network
        /// The endpoint answered with something that is not HTTP.
        case protocolError = "protocol"
        /// The address is one that webhooks may not reach.
        case address = "address_not_allowed"
        /// The entry could not be made into an event.
        case event
        /// A built-in consumer could not do what it has to.
        case handler
    }

    /// Any 2xx; nil: there is no endpoint, the server did it itself.
    case delivered(status: Int?)
    /// Any other status; redirects are not followed.
    case refused(status: Int, retryAfter: RetryAfter?)
    case failed(Failure, String)

    var isDelivered: Bool {
        if case .delivered = self { return true }
        return false
    }

    var status: Int? {
        switch self {
        case .delivered(let status): return status
        case .refused(let status, _): return status
        case .failed: return nil
        }
    }

    /// One word for metrics and the log.
    var word: String {
        switch self {
        case .delivered: "delivered"
        case .refused: "refused"
        case .failed(let failure, _): failure.rawValue
        }
    }

    /// For people; never anything the endpoint wrote.
    var message: String? {
        switch self {
        case .delivered: nil
        case .refused(let status, _): "the endpoint answered \(status)"
        case .failed(_, let message): message
        }
    }
}

/// What becomes of a delivery after an attempt.
enum DeliveryVerdict: Sendable, Equatable {
    case delivered
    case retry(atMilliseconds: Int64)
    case dead
    /// The endpoint is gone: the consumer is disabled, and the delivery waits for it to be resumed.
    case gone

    /// - Parameter attempts: Attempts made, this one included.
    static func after(
        _ result: AttemptResult, attempts: Int64, attemptsMax: Int64, nowMilliseconds: Int64, schedule: RetrySchedule,
        using random: inout some RandomNumberGenerator
    ) -> DeliveryVerdict {
        switch result {
        case .delivered: return .delivered
        case .refused(410, _): return .gone
        case .refused(_, let asked):
            if attempts >= attemptsMax { return .dead }
            let wait = schedule.wait(afterAttempts: attempts, using: &random)
            return .retry(atMilliseconds: nowMilliseconds + max(wait, asked?.wait(nowMilliseconds: nowMilliseconds) ?? 0))
        case .failed:
            if attempts >= attemptsMax { return .dead }
            return .retry(atMilliseconds: nowMilliseconds + schedule.wait(afterAttempts: attempts, using: &random))
        }
    }
}
