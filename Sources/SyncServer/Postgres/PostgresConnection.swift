// One session with Postgres, owned by one thread: a worker opens it, runs statements and transactions on it, and resets it after a loss.

import CPostgres
import Foundation

/// Not Sendable: a `PGconn` may be used by one thread at a time, and results point into its answers.
/// Every call blocks its thread, so it must not be made on the Swift cooperative pool.
final class PostgresConnection {
    let configuration: PostgresConfiguration
    /// May be handed to other threads.
    let cancellation = PostgresCancellation()

    var handle: OpaquePointer?
    var prepared: PreparedStatementCache
    /// Names that the server still holds and this session no longer uses; freed at the end of the next trip.
    var deallocations: [String] = []
    private let noticeSink: NoticeSink

    /// Opens a session; a host that does not answer costs `connectTimeoutSeconds`.
    init(_ configuration: PostgresConfiguration) throws(PostgresError) {
        self.configuration = configuration
        prepared = PreparedStatementCache(capacity: configuration.preparedStatementsMax)
        noticeSink = NoticeSink(configuration.onNotice)
        try connect()
    }

    deinit { close() }

    // MARK: Statements

    @discardableResult
    func run(_ statement: PostgresStatement) throws(PostgresError) -> PostgresResult {
        let results = try execute([statement], operation: "run", mayCommit: isOutsideTransaction)
        return results[0]
    }

    @discardableResult
    func run(_ sql: String, _ parameters: PostgresValue...) throws(PostgresError) -> PostgresResult {
        try run(PostgresStatement(sql, parameters))
    }

    /// All statements in one round trip, results in order. The first that fails ends the batch and throws with its index; outside a
    /// transaction the batch is atomic. The connection stays usable. Any size in both directions: it reads while it writes.
    @discardableResult
    func batch(_ statements: [PostgresStatement]) throws(PostgresError) -> [PostgresResult] {
        try execute(statements, operation: "batch", mayCommit: isOutsideTransaction)
    }

    /// Several statements separated by semicolons, without parameters; results are dropped. Without a BEGIN of its own it is atomic.
    func script(_ sql: String) throws(PostgresError) {
        let handle = try usableHandle(operation: "script")
        if sql.utf8.contains(0) {
            throw PostgresError(sqlState: "22021", message: "the SQL text contains U+0000", operation: "script")
        }
        let mayCommit = isOutsideTransaction
        var failure: PostgresError?
        if PQsendQuery(handle, sql) == 0 { failure = .connectionLost(handle, operation: "script") }
        receiving: while failure == nil || PQstatus(handle) == CONNECTION_OK {
            guard waitForResult(handle) else { break }
            guard let result = PQgetResult(handle) else { break }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
                break
            case PGRES_COPY_IN:
                // Refusing ends the COPY with an error from the server.
                PQputCopyEnd(handle, "COPY is not supported here")
            case PGRES_COPY_OUT, PGRES_COPY_BOTH:
                // Nothing but closing ends a COPY towards us.
                close()
                throw PostgresError(
                    sqlState: "0A000", message: "COPY is not supported here", operation: "script", isConnectionLost: true)
            default:
                failure = failure ?? PostgresError(result: result, operation: "script", statement: nil)
            }
        }
        if PQstatus(handle) != CONNECTION_OK {
            var lost = failure ?? .connectionLost(handle, operation: "script")
            lost = PostgresError(
                sqlState: lost.sqlState, message: lost.message, operation: "script", isConnectionLost: true,
                isOutcomeUnknown: mayCommit)
            throw lost
        }
        if let failure { throw failure }
    }

    // MARK: State

    /// The session answers to the last thing known about it; a peer that vanished silently shows at the next statement.
    var isHealthy: Bool {
        guard let handle else { return false }
        return PQstatus(handle) == CONNECTION_OK
    }

    var isOutsideTransaction: Bool {
        guard let handle else { return false }
        return PQtransactionStatus(handle) == PQTRANS_IDLE
    }

    var serverVersion: Int { handle.map { Int(PQserverVersion($0)) } ?? 0 }
    var backendProcessIdentifier: Int32 { handle.map { PQbackendPID($0) } ?? 0 }

    /// Drops the session, whatever state it is in, and opens a new one. Nothing of the old one survives (LISTEN, SET, prepared statements).
    func reset() throws(PostgresError) {
        close()
        try connect()
    }

    /// May be called more than once; statements then fail with 08003.
    func close() {
        guard let handle else { return }
        cancellation.attach(nil)
        PQfinish(handle)
        self.handle = nil
        _ = prepared.removeAll()
        deallocations.removeAll()
    }

    // MARK: Notifications

    /// For `poll`: readable when the server has said something.
    var socket: Int32 { handle.map { PQsocket($0) } ?? -1 }

    /// Takes in what has arrived, without waiting, and returns the notifications among it. Throws when the connection is lost.
    func receiveNotifications() throws(PostgresError) -> [(channel: String, payload: String)] {
        let handle = try usableHandle(operation: "listen")
        let isAlive = PQconsumeInput(handle) != 0
        var notifications: [(channel: String, payload: String)] = []
        while let notification = PQnotifies(handle) {
            notifications.append(
                (String(cString: notification.pointee.relname), String(cString: notification.pointee.extra)))
            PQfreemem(notification)
        }
        if !isAlive && notifications.isEmpty { throw PostgresError.connectionLost(handle, operation: "listen") }
        return notifications
    }

    // MARK: Opening

    func usableHandle(operation: String) throws(PostgresError) -> OpaquePointer {
        guard let handle else {
            throw PostgresError(
                sqlState: "08003", message: "the connection is closed", operation: operation, isConnectionLost: true)
        }
        guard PQstatus(handle) == CONNECTION_OK else {
            throw PostgresError.connectionLost(handle, operation: operation)
        }
        return handle
    }

    private func connect() throws(PostgresError) {
        // Before `dbname`: defaults that the URL may override. After it: what must hold.
        let options: [(String, String)] = [
            ("application_name", configuration.applicationName),
            ("connect_timeout", String(configuration.connectTimeoutSeconds)),
            // A peer that vanished without a word is noticed in about a minute instead of two hours.
            ("keepalives_idle", "30"), ("keepalives_interval", "10"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "60000"),
            ("dbname", configuration.url),
            ("client_encoding", "UTF8"),
        ]
        var keywords: [UnsafeMutablePointer<CChar>?] = options.map { strdup($0.0) } + [nil]
        var values: [UnsafeMutablePointer<CChar>?] = options.map { strdup($0.1) } + [nil]
        defer {
            for pointer in keywords + values { free(pointer) }
            keywords = []
            values = []
        }
        let opened = keywords.withUnsafeBufferPointer { keywords in
            values.withUnsafeBufferPointer { values in
                keywords.withMemoryRebound(to: UnsafePointer<CChar>?.self) { keywords in
                    values.withMemoryRebound(to: UnsafePointer<CChar>?.self) { values in
                        PQconnectdbParams(keywords.baseAddress, values.baseAddress, 1)
                    }
                }
            }
        }
        guard let opened else {
            throw PostgresError(sqlState: "53200", message: "out of memory", operation: "connect", isConnectionLost: true)
        }
        guard PQstatus(opened) == CONNECTION_OK else {
            let message = PostgresConnection.safeConnectMessage(opened)
            PQfinish(opened)
            throw PostgresError(sqlState: "08001", message: message, operation: "connect", isConnectionLost: true)
        }
        PQsetnonblocking(opened, 1)
        PQsetNoticeReceiver(opened, noticeReceiver, Unmanaged.passUnretained(noticeSink).toOpaque())
        handle = opened
        cancellation.attach(opened)
        guard configuration.usesPreparedStatements else { return }
        do {
            _ = try execute([configuration.timeoutStatement(isLocal: false)], operation: "connect", mayCommit: false)
        } catch {
            close()
            throw error
        }
    }

    /// libpq lists every host it tried, one a line; all of them help. It never prints passwords.
    private static func safeConnectMessage(_ handle: OpaquePointer) -> String {
        guard let text = PQerrorMessage(handle) else { return "could not connect" }
        let lines = String(cString: text).split(separator: "\n").map { line in
            String(line.drop { $0 == " " || $0 == "\t" })
        }
        return lines.isEmpty ? "could not connect" : lines.joined(separator: "; ")
    }

    /// Sends what is left and waits until a result can be taken without blocking; false when the connection is lost.
    private func waitForResult(_ handle: OpaquePointer) -> Bool {
        while true {
            let flushed = PQflush(handle)
            if PQisBusy(handle) == 0 && flushed != 1 { return true }
            if PQstatus(handle) != CONNECTION_OK { return false }
            PostgresConnection.waitForSocket(PQsocket(handle), alsoWritable: flushed == 1)
            if PQconsumeInput(handle) == 0 && PQisBusy(handle) != 0 { return false }
        }
    }

    static func waitForSocket(_ socket: Int32, alsoWritable: Bool) {
        guard socket >= 0 else { return }
        var descriptor = pollfd(fd: socket, events: Int16(POLLIN) | (alsoWritable ? Int16(POLLOUT) : 0), revents: 0)
        while poll(&descriptor, 1, -1) < 0 && errno == EINTR {}
    }
}

/// Keeps the notice callback alive at one address for as long as its connection.
private final class NoticeSink {
    let onNotice: (@Sendable (String) -> Void)?
    init(_ onNotice: (@Sendable (String) -> Void)?) { self.onNotice = onNotice }
}

private let noticeReceiver: PQnoticeReceiver = { context, result in
    guard let context, let result else { return }
    guard let onNotice = Unmanaged<NoticeSink>.fromOpaque(context).takeUnretainedValue().onNotice else { return }
    func field(_ letter: Unicode.Scalar) -> String {
        PQresultErrorField(result, Int32(letter.value)).map { String(cString: $0) } ?? ""
    }
    onNotice("\(field("V")) [\(field("C"))]: \(field("M"))")
}
