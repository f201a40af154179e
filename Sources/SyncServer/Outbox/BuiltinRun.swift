// One claimed batch of a built-in consumer: for each entry one transaction with what it changes and the end of its delivery, so that
// either both happened or neither did.
//
//   lock head ─► is the lease still ours? ─► react ─► decide, write ─► delete the delivery ─► commit

import Foundation
import SyncProtocol

struct BuiltinRun {
    let batch: ClaimedBatch
    let builtin: BuiltinConsumer
    let context: SyncContext
    let connections: OutboxConnections
    let schedule: RetrySchedule
    let isStopping: () -> Bool
    let step: (OutboxStep) -> Void

    /// Failures in a row after which the rest of the batch waits.
    private static let failuresMax = 3

    /// What it wanted to change was refused.
    private struct Refused: Error {
        let violations: [Violation]

        var words: String {
            violations.prefix(3).map { "\($0.entity).\($0.field ?? ""): \($0.code), \($0.message)" }.joined(separator: "; ")
        }
    }

    private enum Handled {
        case done(didWrite: Bool)
        /// Another dispatcher has it, or the consumer was paused, moved or removed.
        case notOurs
    }

    func run() -> DeliveryRun.Report {
        var report = DeliveryRun.Report()
        var random = SystemRandomNumberGenerator()
        var held: Set<Identifier> = []
        var failuresInARow = 0
        var isOver = false
        for item in batch.items {
            if isOver || isStopping() || context.now() >= batch.leaseUntil || held.contains(item.record) {
                report.untried.append(item.position)
                continue
            }
            let requestID = context.identifiers.next(milliseconds: context.now()).text
            let startedAt = context.now()
            let began = DispatchTime.now().uptimeNanoseconds
            func settled(_ result: AttemptResult, _ verdict: DeliveryVerdict) -> SettledDelivery {
                SettledDelivery(
                    position: item.position, attempts: item.attempts + 1, verdict: verdict, result: result, atMilliseconds: startedAt,
                    durationMilliseconds: Int64((DispatchTime.now().uptimeNanoseconds - began) / 1_000_000), requestID: requestID,
                    eventRequestID: item.event?.requestID)
            }
            do {
                let outcome = try connections.use(for: batch.tenant) { connection in
                    try connection.transaction(.readWrite, tenant: batch.tenant, requestID: requestID) { connection in
                        try handle(item, on: connection) { settled(.delivered(status: nil), .delivered) }
                    }
                }
                step(.committed)
                switch outcome {
                case .done(let didWrite):
                    if didWrite { context.announce(batch.tenant) }
                    report.settled.append(settled(.delivered(status: nil), .delivered))
                    failuresInARow = 0
                case .notOurs: report.untried.append(item.position)
                }
            } catch {
                let result = AttemptResult.failed(.handler, (error as? Refused)?.words ?? "\(error)")
                var verdict = DeliveryVerdict.after(
                    result, attempts: item.attempts + 1, attemptsMax: batch.consumer.attemptsMax, nowMilliseconds: context.now(),
                    schedule: schedule, using: &random)
                if error is Looping { verdict = .dead }
                report.settled.append(settled(result, verdict))
                failuresInARow += 1
                if case .retry = verdict {
                    held.insert(item.record)
                    isOver = batch.consumer.orderedBy == .tenant
                }
                isOver = isOver || failuresInARow >= BuiltinRun.failuresMax
            }
        }
        report.failures =
            report.settled.isEmpty
            ? batch.failures : report.settled.contains { $0.verdict == .delivered } ? 0 : batch.failures + 1
        return report
    }

    /// Sets led to sets for too long.
    private struct Looping: Error, CustomStringConvertible {
        let kind: String
        var description: String { "\(BuiltinConsumer.depthMax) sets led to this one; the loop was stopped at \(kind)" }
    }

    /// Throws ``Refused``, ``Looping``, ``PostgresError`` or whatever the entry could not be read for; then nothing was written.
    private func handle(
        _ item: ClaimedBatch.Item, on connection: PostgresConnection, _ settled: () -> SettledDelivery
    ) throws -> Handled {
        // The head first, as all who write lock it; then the consumer, then its delivery.
        guard let head = TenantHead(try connection.run(TenantHead.lock(batch.tenant))) else { return .notOurs }
        let deliveries = DeliveryStore(tenant: batch.tenant, connection: connection)
        guard try deliveries.isHeld(item.position, of: batch) else { return .notOurs }
        step(.taken)
        guard let event = item.event else { throw ErrorReply(.internal, item.problem ?? "there is no event") }
        let changes = try changes(for: event, head, on: connection)
        if !changes.isEmpty {
            guard event.depth < BuiltinConsumer.depthMax else { throw Looping(kind: event.kind) }
            let write = ServerWrite(context: context, tenant: batch.tenant, connection: connection)
            let decided = try write.decide(changes, author: .system, knowledge: nil, depth: Int(event.depth) + 1, from: head)
            guard decided.decisions[0].outcome.status != .rejected else {
                throw Refused(violations: decided.decisions[0].outcome.violations)
            }
            try write.store(decided)
        }
        step(.written)
        try deliveries.settle(batch, [settled()], untried: [], failures: 0, blockedUntil: 0, nowMilliseconds: context.now())
        step(.settling)
        return .done(didWrite: !changes.isEmpty)
    }

    private func changes(for event: OutboxEvent, _ head: TenantHead, on connection: PostgresConnection) throws -> [Change] {
        // Of a new epoch every consumer is told, whatever it is for.
        guard builtin.kinds.isEmpty || EventFilter(stored: builtin.kinds).wants(event.kind) else { return [] }
        let workspace = Workspace(schema: context.schema)
        var store = RecordStore(
            tables: context.tables, tenant: batch.tenant, epoch: head.position.epoch, bytesMax: context.workLimits.loadedBytes)
        for _ in 0..<ChangePipeline.passesMax {
            let changes = builtin.react(event, workspace)
            let missing = workspace.takeMissing()
            if missing.isEmpty { return changes }
            try store.load(missing, into: workspace, on: connection)
        }
        throw ErrorReply(.internal, "\(builtin.name) asked for more and more records")
    }
}
