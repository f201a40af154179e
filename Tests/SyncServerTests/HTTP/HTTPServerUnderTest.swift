// Test support: a server on a free loopback port with a worker made of a closure, stopped whatever happens.
import Foundation

@testable import SyncServer

/// Answers by calling a closure; the closure is shared by all workers of the server.
final class ClosureWorker: HTTPWorker {
    typealias Handler = @Sendable (HTTPRequest, HTTPAttempt) -> HTTPReply
    private let handler: Handler

    init(_ handler: @escaping Handler) { self.handler = handler }

    func handle(_ request: HTTPRequest, attempt: HTTPAttempt) -> HTTPReply { handler(request, attempt) }
}

/// Collects what the server logs.
final class HTTPLogRecorder: @unchecked Sendable {  // `events` is only touched under `condition`.
    private let condition = NSCondition()
    private var events: [HTTPLogEvent] = []

    func record(_ event: HTTPLogEvent) {
        condition.lock()
        events.append(event)
        condition.broadcast()
        condition.unlock()
    }

    var exchanges: [HTTPExchangeRecord] {
        condition.withLock {
            events.compactMap { if case .exchange(let record) = $0 { record } else { nil } }
        }
    }

    var faults: [HTTPFault] {
        condition.withLock {
            events.compactMap { if case .fault(let fault) = $0 { fault } else { nil } }
        }
    }

    /// Waits until the log holds an exchange that fits.
    func exchange(where fits: (HTTPExchangeRecord) -> Bool) -> HTTPExchangeRecord? {
        let limit = Date(timeIntervalSinceNow: 10)
        condition.lock()
        defer { condition.unlock() }
        while true {
            for case .exchange(let record) in events where fits(record) { return record }
            if !condition.wait(until: limit) { return nil }
        }
    }
}

/// A number that threads change and wait for.
final class AwaitableCounter: @unchecked Sendable {  // `value` is only touched under `condition`.
    private let condition = NSCondition()
    private var value = 0

    var current: Int { condition.withLock { value } }

    @discardableResult
    func add(_ amount: Int = 1) -> Int {
        condition.lock()
        defer { condition.unlock() }
        value += amount
        condition.broadcast()
        return value
    }

    /// False when the number was not reached in ten seconds.
    func wait(for target: Int) -> Bool {
        let limit = Date(timeIntervalSinceNow: 10)
        condition.lock()
        defer { condition.unlock() }
        while value < target {
            if !condition.wait(until: limit) { return value >= target }
        }
        return true
    }
}

struct HTTPServerUnderTest: Sendable {
    let server: HTTPServer
    let port: Int
    let log: HTTPLogRecorder

    func client() throws -> LoopbackClient { try LoopbackClient(port: port) }

    func reaches(_ isReached: (HTTPStatistics) -> Bool) -> Bool {
        server.waitForStatistics(timeoutSeconds: 10, isReached)
    }
}

/// Starts a server, runs the test's body on a thread of its own, and stops the server.
func withHTTPServer(
    configure: @Sendable (inout HTTPServerConfiguration) -> Void = { _ in },
    handler: @escaping ClosureWorker.Handler = { request, _ in .respond(.text(200, "\(request.method) \(request.path)"))
    },
    run body: @Sendable (HTTPServerUnderTest) throws -> Void
) async throws {
    try await onOwnThread {
        var configuration = HTTPServerConfiguration()
        configuration.listen = "127.0.0.1:0"
        configuration.workers = 2
        configure(&configuration)
        let log = HTTPLogRecorder()
        let server = HTTPServer(configuration: configuration, log: log.record, makeWorker: { _ in ClosureWorker(handler) })
        let address = try server.start()
        defer { server.stop() }
        try body(HTTPServerUnderTest(server: server, port: address.port, log: log))
    }
}
