// Says NOTIFY: after a commit, from a connection of its own, because inside the transaction it serialises every writer.
// Pokes that say the same are one poke, and while one statement is on its way the next gathers.

import Foundation

/// @unchecked Sendable: mutable state is guarded by the condition; the connection lives and dies on the notifier's thread.
final class PostgresNotifier: @unchecked Sendable {
    private struct Poke: Hashable {
        let channel: String
        let payload: String
    }

    /// Bounds of Postgres: names of 63 bytes, payloads below 8,000.
    static let channelBytesMax = 63
    static let payloadBytesMax = 7_999
    /// More different pokes than this wait only when the database is away; whoever waits for one looks now and then anyway.
    static let pendingMax = 100_000

    private let configuration: PostgresConfiguration
    private let onError: @Sendable (PostgresError) -> Void
    private let condition = NSCondition()
    private var pending: [Poke] = []
    private var known: Set<Poke> = []
    private var thread: DedicatedThread?
    private var isStopped = false
    private var isConnecting = false
    private var hasEnded = false
    private var statements = 0
    private var dropped = 0

    /// `onError` comes on the notifier's thread for each failed or lost connection.
    init(_ configuration: PostgresConfiguration, onError: @escaping @Sendable (PostgresError) -> Void = { _ in }) {
        self.configuration = configuration
        self.onError = onError
    }

    /// Returns at once; later calls do nothing.
    func start() {
        condition.lock()
        defer { condition.unlock() }
        guard thread == nil, !isStopped else { return }
        thread = DedicatedThread("tideline.notifier") { [self] in send() }
    }

    /// Never blocks and may be called before `start`. False if it was not taken: outside the bounds above, or after `stop`.
    @discardableResult
    func notify(_ channel: String, _ payload: String = "") -> Bool {
        let isValid =
            !channel.isEmpty && channel.utf8.count <= PostgresNotifier.channelBytesMax
            && payload.utf8.count <= PostgresNotifier.payloadBytesMax && !channel.utf8.contains(0)
            && !payload.utf8.contains(0)
        guard isValid else { return false }
        let poke = Poke(channel: channel, payload: payload)
        condition.lock()
        defer { condition.unlock() }
        guard !isStopped else { return false }
        if known.contains(poke) { return true }
        guard pending.count < PostgresNotifier.pendingMax else {
            dropped += 1
            return false
        }
        known.insert(poke)
        pending.append(poke)
        condition.broadcast()
        return true
    }

    /// Sends what is pending if the database is there, then ends; waits 2 s at most. May be called more than once.
    func stop() {
        condition.lock()
        isStopped = true
        condition.broadcast()
        guard let thread, !thread.isCurrent else { return condition.unlock() }
        let limit = Date(timeIntervalSinceNow: 2)
        while !hasEnded && !isConnecting {
            if !condition.wait(until: limit) { break }
        }
        condition.unlock()
    }

    /// Statements sent, and pokes dropped at the bound, for metrics.
    var counts: (statements: Int, dropped: Int) {
        condition.lock()
        defer { condition.unlock() }
        return (statements, dropped)
    }

    // MARK: On the notifier's thread

    private func send() {
        var backoff = RetryBackoff()
        var connection: PostgresConnection?
        while let pokes = nextPokes() {
            do throws(PostgresError) {
                let session: PostgresConnection
                if let connection { session = connection } else { session = try connect() }
                connection = session
                _ = try session.run(
                    PostgresStatement(
                        "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS poke(channel, payload)",
                        [.textArray(pokes.map(\.channel)), .textArray(pokes.map(\.payload))]))
                backoff.reset()
                condition.lock()
                statements += 1
                condition.unlock()
            } catch {
                connection?.close()
                connection = nil
                onError(error)
                if !putBack(pokes, pauseSeconds: backoff.nextSeconds()) { break }
            }
        }
        connection?.close()
        condition.lock()
        hasEnded = true
        condition.broadcast()
        condition.unlock()
    }

    private func connect() throws(PostgresError) -> PostgresConnection {
        condition.lock()
        isConnecting = true
        condition.broadcast()
        condition.unlock()
        defer {
            condition.lock()
            isConnecting = false
            condition.unlock()
        }
        return try PostgresConnection(configuration)
    }

    /// Waits for something to send; nil when stopped and nothing is left.
    private func nextPokes() -> [Poke]? {
        condition.lock()
        defer { condition.unlock() }
        while pending.isEmpty && !isStopped { condition.wait() }
        if pending.isEmpty { return nil }
        let pokes = pending
        pending.removeAll()
        known.removeAll()
        return pokes
    }

    /// Keeps what could not be sent and pauses; false when stopped meanwhile. Sending one twice does no harm.
    private func putBack(_ pokes: [Poke], pauseSeconds: Double) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        let newer = pending.filter { !pokes.contains($0) }
        pending = pokes + newer
        known = Set(pending)
        let limit = Date(timeIntervalSinceNow: pauseSeconds)
        while !isStopped {
            if !condition.wait(until: limit) { return true }
        }
        return false
    }
}
