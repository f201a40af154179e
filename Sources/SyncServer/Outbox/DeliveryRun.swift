// One claimed batch: attempts one after another in order, and what is to be written about them. No database here.

import Foundation
import SyncProtocol

struct DeliveryRun {
    let batch: ClaimedBatch
    let sender: any WebhookSender
    let schedule: RetrySchedule
    let limits: WebhookLimits
    let now: @Sendable () -> Int64
    let newRequestID: () -> String
    let isStopping: () -> Bool
    let step: (OutboxStep) -> Void

    struct Report {
        var settled: [SettledDelivery] = []
        var untried: [Int64] = []
        var failures: Int64 = 0
        var blockedUntil: Int64 = 0
    }

    /// Failures in a row after which an endpoint is taken for down, not single events for bad.
    private static let failuresMax = 3
    /// Beyond an attempt's own time: for writing it down before the lease ends, and for clocks that differ.
    static let leaseMarginMilliseconds: Int64 = 10_000
    private static let blockMaxMilliseconds: Int64 = 300_000

    func run() -> Report {
        var report = Report()
        var random = SystemRandomNumberGenerator()
        var held: Set<Identifier> = []
        var failuresInARow = 0
        var isOver = false
        for item in batch.items {
            let isLate = now() + Int64(limits.attemptSeconds * 1000) + DeliveryRun.leaseMarginMilliseconds > batch.leaseUntil
            if isOver || isLate || isStopping() || held.contains(item.record) {
                report.untried.append(item.position)
                continue
            }
            let (result, startedAt, duration, requestID) = attempt(item)
            let verdict = DeliveryVerdict.after(
                result, attempts: item.attempts + 1, attemptsMax: batch.consumer.attemptsMax, nowMilliseconds: now(), schedule: schedule,
                using: &random)
            report.settled.append(
                SettledDelivery(
                    position: item.position, attempts: item.attempts + 1, verdict: verdict, result: result, atMilliseconds: startedAt,
                    durationMilliseconds: duration, requestID: requestID, eventRequestID: item.event?.requestID))
            failuresInARow = verdict == .delivered ? 0 : failuresInARow + 1
            switch verdict {
            case .delivered: break
            case .dead: isOver = failuresInARow >= DeliveryRun.failuresMax
            case .gone: isOver = true
            case .retry(let at):
                held.insert(item.record)
                isOver = batch.consumer.orderedBy == .tenant || failuresInARow >= DeliveryRun.failuresMax
                if case .refused(_, .some) = result {
                    // It asked to be left alone: all of the consumer waits.
                    report.blockedUntil = max(report.blockedUntil, at)
                    isOver = true
                }
            }
        }
        guard !report.settled.isEmpty else {
            report.failures = batch.failures
            return report
        }
        report.failures = report.settled.contains { $0.verdict == .delivered } ? 0 : batch.failures + 1
        if report.failures > 0, batch.consumer.orderedBy == .record {
            // Other records would find the same endpoint as dead.
            let wait = min(schedule.step(afterAttempts: report.failures), DeliveryRun.blockMaxMilliseconds)
            report.blockedUntil = max(report.blockedUntil, now() + wait)
        }
        return report
    }

    private func attempt(_ item: ClaimedBatch.Item) -> (AttemptResult, startedAt: Int64, duration: Int64, requestID: String) {
        let requestID = newRequestID()
        let startedAt = now()
        guard let event = item.event, let url = batch.consumer.url else {
            return (.failed(.event, item.problem ?? "there is no event"), startedAt, 0, requestID)
        }
        let request = WebhookRequest(event, to: url, secrets: batch.secrets, atMilliseconds: startedAt, requestID: requestID)
        step(.sending)
        let began = DispatchTime.now().uptimeNanoseconds
        let result = sender.send(request)
        let duration = Int64((DispatchTime.now().uptimeNanoseconds - began) / 1_000_000)
        step(.answered)
        return (result, startedAt, duration, requestID)
    }
}
