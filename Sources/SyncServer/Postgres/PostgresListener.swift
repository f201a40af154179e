// Hears NOTIFY: a connection and a thread of its own, so that no worker's session is tied up. A poke says "look now"; whoever hears it reads the database.

import Foundation

/// @unchecked Sendable: mutable state is guarded by the lock; the connection lives and dies on the listener's thread.
final class PostgresListener: @unchecked Sendable {
    private let configuration: PostgresConfiguration
    private let channels: [String]
    private let onNotification: @Sendable (_ channel: String, _ payload: String) -> Void
    private let onReconnect: @Sendable () -> Void
    private let onError: @Sendable (PostgresError) -> Void

    private let wakePipe = WakePipe()
    private let condition = NSCondition()
    private var thread: DedicatedThread?
    private var isStopped = false
    private var isConnecting = false
    private var hasEnded = false
    private var listeningProcess: Int32?

    /// Callbacks come on the listener's thread and should be short. `onReconnect` comes each time LISTEN takes effect, the first time
    /// included: what was notified before is unknown, so look. `onError` comes for each failed or lost connection.
    init(
        _ configuration: PostgresConfiguration, channels: [String],
        onReconnect: @escaping @Sendable () -> Void = {},
        onError: @escaping @Sendable (PostgresError) -> Void = { _ in },
        onNotification: @escaping @Sendable (_ channel: String, _ payload: String) -> Void
    ) {
        var configuration = configuration
        // One LISTEN in a lifetime needs no plan, and no limit applies to waiting.
        configuration.statementTimeoutMilliseconds = 10_000
        self.configuration = configuration
        self.channels = channels
        self.onNotification = onNotification
        self.onReconnect = onReconnect
        self.onError = onError
    }

    /// Returns at once; connects in the background, for as long as it takes. Later calls do nothing.
    func start() {
        condition.lock()
        defer { condition.unlock() }
        guard thread == nil, !isStopped else { return }
        thread = DedicatedThread("tideline.listener") { [self] in listen() }
    }

    /// No callback begins after this has returned (unless it is called from one). May be called more than once.
    func stop() {
        condition.lock()
        isStopped = true
        condition.broadcast()
        let thread = thread
        wakePipe.wake()
        guard let thread, !thread.isCurrent else { return condition.unlock() }
        // A connect to a host that does not answer cannot be interrupted; the thread ends by itself and calls nobody any more.
        while listeningProcess != nil || (!isConnecting && !hasEnded) { condition.wait() }
        condition.unlock()
    }

    /// The backend that serves the listener, while LISTEN is in effect.
    var backendProcessIdentifier: Int32? {
        condition.lock()
        defer { condition.unlock() }
        return listeningProcess
    }

    /// Blocks until LISTEN is in effect; false if the time ran out or the listener was stopped.
    func waitUntilListening(timeoutSeconds: Double) -> Bool {
        let limit = Date(timeIntervalSinceNow: timeoutSeconds)
        condition.lock()
        defer { condition.unlock() }
        while listeningProcess == nil && !isStopped {
            if !condition.wait(until: limit) { break }
        }
        return listeningProcess != nil && !isStopped
    }

    // MARK: On the listener's thread

    private func listen() {
        var backoff = RetryBackoff()
        while !stopped {
            do throws(PostgresError) {
                let connection = try connect()
                defer { connection.close() }
                if stopped { break }
                set { listeningProcess = connection.backendProcessIdentifier }
                defer { set { listeningProcess = nil } }
                backoff.reset()
                onReconnect()
                try deliver(from: connection)
            } catch {
                if stopped { break }
                onError(error)
                wakePipe.wait(timeoutSeconds: backoff.nextSeconds())
            }
        }
        set { hasEnded = true }
    }

    private func connect() throws(PostgresError) -> PostgresConnection {
        set { isConnecting = true }
        defer { set { isConnecting = false } }
        let connection = try PostgresConnection(configuration)
        try connection.batch(channels.map { PostgresStatement("LISTEN \(PostgresIdentifier.quoted($0))") })
        return connection
    }

    private func deliver(from connection: PostgresConnection) throws(PostgresError) {
        while !stopped {
            for (channel, payload) in try connection.receiveNotifications() {
                if stopped { return }
                onNotification(channel, payload)
            }
            wakePipe.wait(forReadable: connection.socket, timeoutSeconds: nil)
        }
    }

    private var stopped: Bool {
        condition.lock()
        defer { condition.unlock() }
        return isStopped
    }

    private func set(_ change: () -> Void) {
        condition.lock()
        change()
        condition.broadcast()
        condition.unlock()
    }
}
