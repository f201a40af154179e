// The running server, assembled in one place: database, context, HTTP workers, wake-ups between processes, timers.
//
//   commit ─► announce ─► HTTP topic (this process)
//                    └──► NOTIFY ─► listeners of other processes ─► their HTTP topics

import Foundation
import SyncProtocol

/// @unchecked Sendable: everything is set in `init` or before threads start; the parts guard themselves.
final class Application: @unchecked Sendable {
    private let database: Database
    private let log: @Sendable (LogEntry) -> Void
    private let wakeUps: WakeUps
    private let server: HTTPServer
    private let timers: Timers
    private let dispatcher: Dispatcher
    private let forwarder: EgressForwarder

    /// Opens the database, migrates it and prepares the server; nothing listens yet.
    init(_ configuration: Configuration, schema: Schema = .tideline, log: @escaping @Sendable (LogEntry) -> Void) throws {
        let resolver = HostResolver(addressGuard: configuration.outbox.addressGuard)
        let forwarder = try EgressForwarder(resolver: resolver)
        forwarder.takeOverEnvironment()
        let database = try Database(configuration, mayShare: false, log: log)
        do {
            let report = try Application.whenReachable(log) { try database.migrate(schema) }
            if report.didRun { log(.init(.info, "migrated", ["schema": .integer(report.schemaVersion)])) }
            // Not by the way that migrations go: a pooler in between may still be starting when the database is there.
            let seal = try Application.whenReachable(log) {
                let connection = try database.connect(name: "tideline start")
                defer { connection.close() }
                return try CursorSeal.load(from: connection)
            }

            let wakeUps = WakeUps(database: database, log: log)
            let metrics = Metrics()
            let pushKill = StepKill<PushStep>(configuration.pushKill)
            let context = SyncContext(
                tables: EntityTables(schema), cursorSeal: seal, now: WallClock.milliseconds,
                announce: { wakeUps.announce($0) }, log: log, metrics: metrics, pushStep: { pushKill?.reach($0) },
                step: database.step, storageQuota: configuration.storageQuota)
            var http = HTTPServerConfiguration()
            http.listen = configuration.listen
            http.workers = configuration.workers
            http.memoryBytes = configuration.requestMemoryBytes
            let limit = EnrollmentLimit()
            let lanes = RequestLanes()
            http.lane = { lanes.lane(of: $0) }
            let crossOrigin = configuration.crossOrigin
            http.amend = { request, response in
                Correlation.name(request, in: &response)
                crossOrigin?.open(&response, to: request)
            }
            let documents = SchemaDocuments(schema)
            let entities = Set(schema.entities.map(\.name))
            let statistics = ServerStatistics()
            server = HTTPServer(
                configuration: http, log: { Application.note($0, metrics, entities, log) },
                makeWorker: { _ in
                    RequestWorker(
                        context: context, database: database, enrollmentLimit: limit, documents: documents, lanes: lanes,
                        crossOrigin: crossOrigin, statistics: { statistics.current })
                })
            statistics.observe(server)
            let senders = WebhookSenders(
                plain: PlainWebhookSender(resolver: resolver, limits: configuration.outbox.limits),
                secure: SecureWebhookSender(resolver: resolver, limits: configuration.outbox.limits))
            let kill = StepKill<OutboxStep>(configuration.outboxKill)
            dispatcher = Dispatcher(
                context: context, sender: senders, settings: configuration.outbox, metrics: metrics,
                connect: { try database.connect(name: "tideline outbox") }, step: { kill?.reach($0) })
            self.forwarder = forwarder
            timers = Timers(database: database, context: context, log: log)
            self.database = database
            self.log = log
            self.wakeUps = wakeUps
        } catch {
            database.stop()
            throw error
        }
    }

    /// A database that is still starting or failing over is waited for, up to half a minute.
    private static func whenReachable<R>(_ log: (LogEntry) -> Void, _ body: () throws -> R) throws -> R {
        var backoff = RetryBackoff(firstSeconds: 0.2, maximumSeconds: 3)
        let limit = Date(timeIntervalSinceNow: 30)
        while true {
            do {
                return try body()
            } catch let error as PostgresError where error.isRetryable && Date() < limit {
                log(.init(.warning, "database_unreachable", ["error": .string(error.message)]))
                Thread.sleep(forTimeInterval: backoff.nextSeconds())
            }
        }
    }

    /// Listens and serves; returns the address it is bound to.
    func start() throws -> BoundAddress {
        let address: BoundAddress
        do {
            address = try server.start()
        } catch {
            database.stop()
            throw error
        }
        wakeUps.start(waking: server, dispatcher)
        timers.start()
        forwarder.start()
        dispatcher.start()
        log(
            .init(
                .info, "serving",
                ["address": .string(address.description), "process": .integer(Int64(getpid())), "version": .string(Configuration.version)]))
        return address
    }

    /// Stops accepting, answers those who wait, lets requests finish, then stops everything else.
    func stop() {
        log(.init(.info, "draining"))
        dispatcher.beginStopping()
        let isDrained = server.drain(timeoutSeconds: database.configuration.drainSeconds)
        server.stop()
        dispatcher.waitUntilStopped(timeoutSeconds: database.configuration.drainSeconds)
        forwarder.stop()
        timers.stop()
        wakeUps.stop()
        database.stop()
        log(.init(.info, "stopped", ["drained": .bool(isDrained)]))
    }

    private static func note(_ event: HTTPLogEvent, _ metrics: Metrics, _ entities: Set<String>, _ log: (LogEntry) -> Void) {
        switch event {
        case .exchange(let one):
            metrics.countExchange(
                route: MetricRoute.label(path: one.path, entities: entities), method: MetricRoute.method(one.method), status: one.status,
                seconds: Double(one.durationMicroseconds) / 1_000_000)
            // Probes of a balancer and of Prometheus would be most of the log.
            if one.status == 200, ["/healthz", "/readyz", "/metrics"].contains(one.path) { return }
            log(
                .init(
                    one.status >= 500 ? .error : .info, "request", requestID: one.requestID,
                    [
                        "method": .string(one.method), "path": .string(one.path), "status": .integer(Int64(one.status)),
                        "duration_us": .integer(Int64(one.durationMicroseconds)), "bytes_in": .integer(Int64(one.bytesIn)),
                        "bytes_out": .integer(Int64(one.bytesOut)), "peer": .string(one.peerAddress),
                    ]))
        case .fault(let fault):
            log(.init(.error, fault.code, requestID: fault.requestID, ["error": .string(fault.message)]))
        }
    }
}

/// The server's statistics for its own workers, which are made before there is a server. @unchecked Sendable: under the lock.
private final class ServerStatistics: @unchecked Sendable {
    private let lock = NSLock()
    private weak var server: HTTPServer?

    func observe(_ server: HTTPServer) { lock.withLock { self.server = server } }

    var current: HTTPStatistics { lock.withLock { server }?.statistics ?? HTTPStatistics() }
}
