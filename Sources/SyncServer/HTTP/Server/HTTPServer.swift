// Server layer: the façade. Starts and stops the threads, and lets other parts of the process reach the event loop.
//
//   client ◄─► sockets ◄─► event loop ── jobs ──► work queue ──► workers (one thread, one database connection each)
//                              ▲                                     │
//                              └──────── mailbox ◄── results ────────┘◄── poke, drain, stop (any thread)
import CLinux
import Foundation

/// An HTTP/1.1 server. Life: `start`, then perhaps `drain`, then `stop`; it cannot be started again. `start`, `drain`
/// and `stop` block the caller and must not be called by a worker; everything else may be called from any thread.
final class HTTPServer: @unchecked Sendable {  // The only mutable state, `phase`, is touched under `lock`.
    private enum Phase {
        case new
        case starting
        case running(Running)
        case stopped
    }

    private struct Running {
        let parts: HTTPEventLoop.Parts
        let workers: HTTPWorkerPool
        let loop: HTTPThreads
    }

    private let configuration: HTTPServerConfiguration
    private let log: @Sendable (HTTPLogEvent) -> Void
    private let makeWorker: @Sendable (Int) throws -> any HTTPWorker
    private let board = HTTPStatisticsBoard()
    private let lock = NSLock()
    private var phase = Phase.new

    /// - Parameters:
    ///   - log: called on the event loop's thread; it must not block.
    ///   - makeWorker: called once on each worker thread, with 0, 1, ….
    init(
        configuration: HTTPServerConfiguration, log: @escaping @Sendable (HTTPLogEvent) -> Void,
        makeWorker: @escaping @Sendable (Int) throws -> any HTTPWorker
    ) {
        precondition(configuration.workers > 0, "a server needs a worker")
        self.configuration = configuration
        self.log = log
        self.makeWorker = makeWorker
    }

    /// Listens, makes the workers, and serves. Returns once connections are accepted.
    @discardableResult
    func start() throws(HTTPServerError) -> BoundAddress {
        let isNew = lock.withLock {
            guard case .new = phase else { return false }
            phase = .starting
            return true
        }
        guard isNew else {
            throw HTTPServerError(.alreadyStarted, "The server was started before.", operation: "start")
        }
        do throws(HTTPServerError) {
            let running = try launch()
            lock.withLock { phase = .running(running) }
            return running.parts.listener.address
        } catch {
            lock.withLock { phase = .stopped }
            throw error
        }
    }

    private func launch() throws(HTTPServerError) -> Running {
        guard let address = ListenAddress(parsing: configuration.listen) else {
            throw HTTPServerError(.invalidAddress, "\"\(configuration.listen)\" is not HOST:PORT.", operation: "parse")
        }
        // The usual soft limit of 1,024 descriptors is far below the connection cap.
        _ = clinux_raise_descriptor_limit()
        let parts = try makeParts(listenOn: address)
        let workers = HTTPWorkerPool(queue: parts.queue)
        do {
            try workers.start(count: configuration.workers, mailbox: parts.mailbox, makeWorker: makeWorker)
        } catch {
            parts.mailbox.close()
            parts.poll.close()
            parts.listener.close()
            throw HTTPServerError(.workerFailed, String(describing: error), operation: "makeWorker", isRetryable: true)
        }
        let loop = HTTPThreads()
        // Made on its thread, because it belongs to it.
        loop.start("http-loop") { HTTPEventLoop(parts: parts).run() }
        return Running(parts: parts, workers: workers, loop: loop)
    }

    private func makeParts(listenOn address: ListenAddress) throws(HTTPServerError) -> HTTPEventLoop.Parts {
        let listener: ListeningSocket
        do throws(SocketError) {
            listener = try ListeningSocket.open(address, backlog: configuration.backlog)
        } catch {
            throw HTTPServerError(.cannotListen, error)
        }
        var opened: (poll: EventPoll?, signal: WakeSignal?) = (nil, nil)
        do throws(SocketError) {
            let poll = try EventPoll.open()
            opened.poll = poll
            let signal = try WakeSignal.open()
            opened.signal = signal
            try poll.add(signal.descriptor, [.readable, .onChange], tag: HTTPEventLoop.signalTag)
            try poll.add(listener.descriptor, .readable, tag: HTTPEventLoop.listenerTag)
            return HTTPEventLoop.Parts(
                configuration: configuration, poll: poll, signal: signal, listener: listener,
                mailbox: HTTPLoopMailbox(signal: signal),
                queue: HTTPWorkQueue(
                    share: HTTPLaneShare(ofWorkers: configuration.workers, isAlone: configuration.lane == nil),
                    observe: configuration.observeQueue),
                board: board, log: log)
        } catch {
            opened.poll?.close()
            opened.signal?.close()
            listener.close()
            throw HTTPServerError(.cannotPoll, error)
        }
    }

    /// Wakes every request parked on the topic, and every one that parks on it after having looked before this call.
    /// Pokes that come while one is on its way are one poke. Before `start` and after `stop`: nothing.
    func poke(topic: String) { running?.parts.mailbox.postPoke(topic) }

    /// `poke` for every topic; for when it is not known what was missed.
    func pokeAll() { running?.parts.mailbox.postPokeAll() }

    /// Stops accepting, answers parked requests through `.deadline`, lets requests under way finish, and closes each
    /// connection after its response. False when something was still open after the time. `stop` is still to be called.
    @discardableResult
    func drain(timeoutSeconds: Double) -> Bool {
        guard let running else { return true }
        running.parts.mailbox.postDrain()
        return board.wait(timeoutSeconds: timeoutSeconds) { $0.openConnections == 0 && $0.requestsInFlight == 0 }
    }

    /// Closes every connection and ends the threads. Waits for workers to finish the request they have. May be
    /// repeated.
    func stop() {
        let ended: Running? = lock.withLock {
            guard case .running(let running) = phase else { return nil }
            phase = .stopped
            return running
        }
        guard let ended else { return }
        ended.parts.mailbox.postStop()
        ended.parts.queue.close()
        ended.loop.waitForAll()
        ended.workers.waitUntilStopped()
        ended.parts.mailbox.close()
        ended.parts.poll.close()
    }

    /// As of the event loop's last turn.
    var statistics: HTTPStatistics { board.statistics }

    /// Blocks until the statistics are as wanted. False when they were not within the time.
    func waitForStatistics(timeoutSeconds: Double, _ isReached: (HTTPStatistics) -> Bool) -> Bool {
        board.wait(timeoutSeconds: timeoutSeconds, until: isReached)
    }

    private var running: Running? {
        lock.withLock {
            if case .running(let running) = phase { return running }
            return nil
        }
    }
}
