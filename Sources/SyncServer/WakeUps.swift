// Wakes long polls: at once in this process, by NOTIFY in others, and by looking now and then in case one got lost.

import Foundation
import SyncProtocol

/// @unchecked Sendable: `server` and `positions` are only touched under the lock; the rest never changes.
final class WakeUps: @unchecked Sendable {
    private static let channel = "tideline"
    /// Seconds between looks at all heads.
    private static let lookSeconds = 5.0
    /// Commits of one moment become visible in any order; looking back this far misses none.
    private static let overlapMilliseconds: Int64 = 15_000

    private let database: Database
    private let log: @Sendable (LogEntry) -> Void
    /// Tells this process's own notifications from others'.
    private let mark = String(UInt64.random(in: 0 ... .max), radix: 16)
    private let notifier: PostgresNotifier
    private let lock = NSLock()
    private var server: HTTPServer?
    private var dispatcher: Dispatcher?
    private var positions: [Identifier: Int64] = [:]
    private var listener: PostgresListener?
    private var look: RepeatingTask?

    init(database: Database, log: @escaping @Sendable (LogEntry) -> Void) {
        self.database = database
        self.log = log
        notifier = PostgresNotifier(database.configuration.postgres(database.url, name: "tideline notify")) { error in
            log(.init(.warning, "notify_failed", ["error": .string(error.description)]))
        }
    }

    static func topic(_ tenant: Identifier) -> String { tenant.text }

    /// After a commit that moved the tenant's head. Never blocks.
    func announce(_ tenant: Identifier) {
        let (server, dispatcher) = lock.withLock { (self.server, self.dispatcher) }
        server?.poke(topic: WakeUps.topic(tenant))
        dispatcher?.hint()
        notifier.notify(WakeUps.channel, "\(tenant.text) \(mark)")
    }

    func start(waking server: HTTPServer, _ dispatcher: Dispatcher) {
        lock.withLock {
            self.server = server
            self.dispatcher = dispatcher
        }
        notifier.start()
        let listener = PostgresListener(
            database.configuration.postgres(database.listenURL, name: "tideline listen"), channels: [WakeUps.channel],
            // What was said meanwhile is unknown, so everyone looks.
            onReconnect: {
                server.pokeAll()
                dispatcher.hint()
            },
            onError: { [log] error in log(.init(.warning, "listen_failed", ["error": .string(error.description)])) },
            onNotification: { [mark] _, payload in
                let parts = payload.split(separator: " ")
                if parts.count > 1, parts[1] == mark { return }
                if let tenant = parts.first.flatMap({ Identifier($0) }) { server.poke(topic: WakeUps.topic(tenant)) }
                dispatcher.hint()
            })
        self.listener = listener
        listener.start()
        look = RepeatingTask("tideline.look", everySeconds: WakeUps.lookSeconds, database: database, log: log) { [self] connection in
            try lookAtHeads(connection, server)
        }
    }

    func stop() {
        look?.stop()
        listener?.stop()
        notifier.stop()
    }

    /// One query; wakes those whose head moved since the last look. The first one cannot tell: everybody who waits by then looks.
    private func lookAtHeads(_ connection: PostgresConnection, _ server: HTTPServer) throws {
        let since = lock.withLock { positions.isEmpty ? 0 : WallClock.milliseconds() - WakeUps.overlapMilliseconds }
        let changed = try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) { connection in
            let result = try connection.run("SELECT tenant, position FROM tideline.heads_changed($1)", .integer(since))
            return result.rows.compactMap { row -> (Identifier, Int64)? in
                guard let tenant = result.identifier(row, 0), let position = result.integer(row, 1) else { return nil }
                return (tenant, position)
            }
        }
        let (moved, isFirst) = lock.withLock {
            let isFirst = positions.isEmpty
            let moved = changed.filter { tenant, position in positions.updateValue(position, forKey: tenant) != position }
            return (moved, isFirst)
        }
        if isFirst { return server.pokeAll() }
        for (tenant, _) in moved { server.poke(topic: WakeUps.topic(tenant)) }
    }
}
