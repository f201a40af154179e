// Delivers webhooks, and runs built-in consumers: finds consumers with something to do, claims a few of their deliveries, sends
// them, writes down what became of them. Works beside other dispatchers, in this process and others, on the same database.
//
//   hint or poll ─► planner: due consumers ─► turns ─► sender threads: claim │ HTTP │ settle ─► queue again
//
// A transaction is open in claim and settle only. Whoever dies in between leaves a lease that ends by itself; its events are
// then sent again under the same ids.

import Foundation
import SyncProtocol

struct OutboxSettings: Sendable {
    /// Attempts under way at a time, over all consumers; 0: this process delivers nothing. One tenant has at most half of them
    /// and one more.
    var threads = 32
    var connections = 4
    var pollSeconds = 1.0
    var leaseSeconds = 90.0
    /// A batch that is delivered within this time is followed by one of up to twice the size.
    var quickSeconds = 0.5
    var schedule = RetrySchedule()
    var limits = WebhookLimits()
    var addressGuard = AddressGuard()

    static let threadsRange = 0...256

    var connectionsMax: Int { max(1, connections) }
}

/// @unchecked Sendable: everything mutable is only touched under the condition.
final class Dispatcher: @unchecked Sendable {
    private struct Key: Hashable {
        let tenant: Identifier
        let name: String
    }

    private struct Job {
        let key: Key
        var isFailing: Bool
    }

    /// Consumers whose batch sizes are remembered; more, and all begin small again.
    private static let batchSizesMax = 10_000

    /// Hints of one moment are one look.
    private static let spacingSeconds = 0.02
    private static let dueMax: Int64 = 500
    private static let settleTriesMax = 5

    private let context: SyncContext
    private let sender: any WebhookSender
    private let settings: OutboxSettings
    private let connections: OutboxConnections
    private let connect: @Sendable () throws -> PostgresConnection
    private let metrics: Metrics
    private let step: @Sendable (OutboxStep) -> Void
    private let withheld: [String]

    private let wakePipe = WakePipe()
    private let condition = NSCondition()
    private var turns: SenderTurns<Key>
    private var queued: Set<Key> = []
    /// Deliveries to take at a time, of consumers whose endpoints are quick.
    private var batchSizes: [Key: Int] = [:]
    private var isStopped = false
    private var threads: [DedicatedThread] = []

    init(
        context: SyncContext, sender: any WebhookSender, settings: OutboxSettings, metrics: Metrics = Metrics(),
        connect: @escaping @Sendable () throws -> PostgresConnection, step: @escaping @Sendable (OutboxStep) -> Void = { _ in }
    ) {
        self.context = context
        self.sender = sender
        self.settings = settings
        self.metrics = metrics
        self.connect = connect
        self.step = step
        turns = SenderTurns(threads: settings.threads)
        connections = OutboxConnections(countMax: settings.connectionsMax, metrics: metrics, connect: connect)
        withheld = context.schema.entities.filter { $0.access == .secret }.map(\.name)
    }

    /// Later calls do nothing.
    func start() {
        condition.lock()
        defer { condition.unlock() }
        guard threads.isEmpty, !isStopped, settings.threads > 0 else { return }
        threads = [DedicatedThread("tideline.outbox") { [self] in plan() }]
        for index in 0..<settings.threads {
            threads.append(DedicatedThread("tideline.send.\(index)") { [self] in sendInTurn() })
        }
    }

    /// There may be news. Never blocks.
    func hint() { wakePipe.wake() }

    /// Begins nothing new; what is under way is finished and written down. `waitUntilStopped` waits for that.
    func beginStopping() {
        condition.lock()
        isStopped = true
        condition.broadcast()
        condition.unlock()
        wakePipe.wake()
    }

    /// False when something was still under way after the time; its lease ends by itself.
    @discardableResult
    func waitUntilStopped(timeoutSeconds: Double) -> Bool {
        let limit = Date(timeIntervalSinceNow: timeoutSeconds)
        let all = condition.withLock { threads }
        let hasEnded = all.allSatisfy { $0.join(timeoutSeconds: max(0, limit.timeIntervalSinceNow)) }
        if hasEnded { connections.close() }
        return hasEnded
    }

    func stop() {
        beginStopping()
        waitUntilStopped(timeoutSeconds: settings.limits.attemptSeconds + 10)
    }

    private var stopped: Bool { condition.withLock { isStopped } }

    // MARK: Planning

    private func plan() {
        var session: PostgresConnection?
        var backoff = RetryBackoff()
        while !stopped {
            do {
                let open: PostgresConnection
                if let session, session.isHealthy { open = session } else { open = try connect() }
                session = open
                for job in try due(open) { enqueue(job) }
                backoff.reset()
                Thread.sleep(forTimeInterval: Dispatcher.spacingSeconds)
                wakePipe.wait(timeoutSeconds: settings.pollSeconds)
            } catch {
                session = nil
                context.log(.init(.warning, "outbox_failed", ["error": .string("\(error)")]))
                wakePipe.wait(timeoutSeconds: backoff.nextSeconds())
            }
        }
        session?.close()
    }

    private func due(_ connection: PostgresConnection) throws -> [Job] {
        try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) { connection in
            let result = try connection.run(
                "SELECT tenant, name, failures FROM tideline.outbox_due($1, $2, $3)", .integer(context.now()),
                .integer(DeliveryStore.openMax), .integer(Dispatcher.dueMax))
            return result.rows.compactMap { row in
                guard let tenant = result.identifier(row, 0), let name = result.text(row, 1) else { return nil }
                return Job(key: Key(tenant: tenant, name: name), isFailing: (result.integer(row, 2) ?? 0) > 0)
            }
        }
    }

    private func enqueue(_ job: Job) {
        condition.lock()
        if !isStopped, queued.insert(job.key).inserted {
            turns.append(job.key, of: job.key.tenant, isFailing: job.isFailing)
            condition.signal()
        }
        condition.unlock()
    }

    private func take() -> Job? {
        condition.lock()
        defer { condition.unlock() }
        while !isStopped {
            if let (key, _, isFailing) = turns.take() {
                queued.remove(key)
                return Job(key: key, isFailing: isFailing)
            }
            condition.wait()
        }
        return nil
    }

    private func finish(_ job: Job) {
        condition.lock()
        turns.finished(job.key.tenant, isFailing: job.isFailing)
        // What waited for the tenant's share, or for that of failing endpoints, may be taken now.
        condition.broadcast()
        condition.unlock()
    }

    // MARK: Sending

    private func sendInTurn() {
        while let job = take() {
            metrics.outboxThreadBegan()
            defer {
                metrics.outboxThreadEnded()
                finish(job)
            }
            do {
                try send(job)
            } catch {
                context.log(
                    .init(
                        .warning, "outbox_failed",
                        ["tenant": .string(job.key.tenant.text), "consumer": .string(job.key.name), "error": .string("\(error)")]))
            }
        }
    }

    private func send(_ job: Job) throws {
        step(.found)
        let size = condition.withLock { batchSizes[job.key] } ?? DeliveryStore.batchFirst
        let lease = context.identifiers.next(milliseconds: context.now())
        let claimed = try connections.use(for: job.key.tenant) { connection in
            try connection.transaction(.readWrite, tenant: job.key.tenant) { connection in
                let batch = try DeliveryStore(tenant: job.key.tenant, connection: connection).claim(
                    job.key.name, lease: lease, leaseMilliseconds: Int64(settings.leaseSeconds * 1000), nowMilliseconds: context.now(),
                    limit: size, withheld: withheld, handlers: context.builtins.map(\.name))
                step(.claiming)
                return batch
            }
        }
        guard let batch = claimed else { return }
        step(.claimed)
        if batch.leavesMore { enqueue(Job(key: job.key, isFailing: batch.failures > 0)) }
        guard !batch.items.isEmpty else { return }
        let began = DispatchTime.now().uptimeNanoseconds
        let report = run(batch)
        let isQuick =
            report.settled.count == batch.items.count && report.settled.allSatisfy { $0.verdict == .delivered }
            && Double(DispatchTime.now().uptimeNanoseconds - began) / 1_000_000_000 < settings.quickSeconds
        // Before anybody can take the next batch.
        condition.withLock {
            if batchSizes.count >= Dispatcher.batchSizesMax { batchSizes = [:] }
            batchSizes[job.key] = isQuick ? min(DeliveryStore.batchMax, size * 2) : nil
        }
        noteAttempts(report, of: batch)
        let isFull = try settle(report, of: batch)
        noteEnds(report, of: batch, isFull: isFull)
        step(.settled)
        enqueue(Job(key: job.key, isFailing: report.failures > 0))
    }

    private func run(_ batch: ClaimedBatch) -> DeliveryRun.Report {
        if let handler = batch.consumer.handler, let builtin = context.builtins.first(where: { $0.name == handler }) {
            return BuiltinRun(
                batch: batch, builtin: builtin, context: context, connections: connections, schedule: settings.schedule,
                isStopping: { [self] in stopped }, step: step
            ).run()
        }
        return DeliveryRun(
            batch: batch, sender: sender, schedule: settings.schedule, limits: settings.limits, now: context.now,
            newRequestID: { [context] in context.identifiers.next(milliseconds: context.now()).text }, isStopping: { [self] in stopped },
            step: step
        ).run()
    }

    /// Tried again while the lease lasts: what is not written down is delivered again. True: the consumer was disabled because it has as
    /// many dead letters as are kept.
    private func settle(_ report: DeliveryRun.Report, of batch: ClaimedBatch) throws -> Bool {
        var backoff = RetryBackoff()
        var attempt = 1
        while true {
            do {
                return try connections.use(for: batch.tenant) { connection in
                    try connection.transaction(.readWrite, tenant: batch.tenant) { connection in
                        let isFull = try DeliveryStore(tenant: batch.tenant, connection: connection).settle(
                            batch, report.settled, untried: report.untried, failures: report.failures, blockedUntil: report.blockedUntil,
                            nowMilliseconds: context.now())
                        step(.settling)
                        return isFull
                    }
                }
            } catch let error as PostgresError where error.isRetryable && attempt < Dispatcher.settleTriesMax {
                Thread.sleep(forTimeInterval: backoff.nextSeconds())
                attempt += 1
            }
        }
    }

    /// What happened, whatever becomes of it.
    private func noteAttempts(_ report: DeliveryRun.Report, of batch: ClaimedBatch) {
        for one in report.settled {
            metrics.countDelivery(one.result.word, isDead: one.verdict == .dead)
            if case .retry = one.verdict { log("delivery_failed", .warning, one, of: batch) }
        }
    }

    /// What holds from now on: said once it is committed, because until then it may come otherwise.
    private func noteEnds(_ report: DeliveryRun.Report, of batch: ClaimedBatch, isFull: Bool) {
        for one in report.settled {
            switch one.verdict {
            case .dead: log("delivery_dead", .error, one, of: batch)
            case .gone: log("consumer_disabled", .warning, one, of: batch)
            case .delivered, .retry: break
            }
        }
        guard isFull else { return }
        context.log(
            .init(
                .error, "consumer_disabled",
                [
                    "tenant": .string(batch.tenant.text), "consumer": .string(batch.consumer.name), "result": "dead_letters",
                    "error": .string(DeadLetters.fullReason),
                ]))
    }

    private func log(_ message: String, _ level: LogEntry.Level, _ one: SettledDelivery, of batch: ClaimedBatch) {
        context.log(
            .init(
                level, message, requestID: one.requestID,
                [
                    "event_request_id": one.eventRequestID.map { .string($0) } ?? .null,
                    "tenant": .string(batch.tenant.text), "consumer": .string(batch.consumer.name),
                    "position": .integer(one.position), "attempt": .integer(one.attempts), "result": .string(one.result.word),
                    "status": one.result.status.map { .integer(Int64($0)) } ?? .null,
                    "error": .string(one.result.message ?? ""), "duration_ms": .integer(one.durationMilliseconds),
                ]))
    }
}
