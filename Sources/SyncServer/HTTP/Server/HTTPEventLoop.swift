// Server layer: the one thread that owns every connection. It waits in epoll, moves bytes, and passes requests on; it
// never runs a worker's code and never blocks on one. A turn: events, mail, deadlines, left-over work, jobs to the
// workers.
import Foundation

final class HTTPEventLoop {
    /// What the loop shares with other threads, and the descriptors it takes over.
    struct Parts: Sendable {
        let configuration: HTTPServerConfiguration
        let poll: EventPoll
        let signal: WakeSignal
        let listener: ListeningSocket
        let mailbox: HTTPLoopMailbox
        let queue: HTTPWorkQueue
        let board: HTTPStatisticsBoard
        let log: @Sendable (HTTPLogEvent) -> Void
    }

    // Tags of registrations that are no connection; generations start at 1, so no connection has them.
    static let listenerTag: UInt64 = 0
    static let signalTag: UInt64 = 1
    /// Accepts, reads and bytes written for one connection before the others get their turn.
    private static let acceptsPerTurn = 64
    private static let readsPerTurn = 8
    private static let bytesWrittenPerTurn = 2 * 1024 * 1024
    private static let readBytes = 64 * 1024
    /// How long accepting rests when the kernel has no descriptors or memory for a connection.
    private static let acceptPauseNanoseconds: Int64 = 100_000_000

    let parts: Parts
    var configuration: HTTPServerConfiguration { parts.configuration }
    /// By descriptor number.
    var connections: [HTTPConnection?] = []
    var deadlines = HTTPDeadlineQueue()
    var parking = HTTPParkingTable()
    var pokes = HTTPPokeHistory()
    var statistics = HTTPStatistics()
    var jobs: [HTTPJob] = []
    /// First attempts that are with a worker or wait for one, in all and by lane.
    var firstAttempts = 0
    var firstAttemptsOfLane: [String: Int] = [:]
    /// Parked requests by lane.
    var parkedOfLane: [String: Int] = [:]
    /// Bodies of requests that are complete.
    let bodies = HTTPMemory()
    /// What connections receive and send.
    private var bytesOfConnections = 0
    /// Less than this is not worth refusing anybody for.
    private static let heldBytesNoticed = 4 * 1024
    var writer = HTTPResponseWriter()
    var now = HTTPClock.nanoseconds()
    private(set) var isDraining = false

    private var isStopping = false
    private var isListening = true
    private var acceptResumesAt: Int64?
    private var exhaustionReportableAt: Int64 = .min
    private var reserve = ReserveDescriptor()
    private var overCapConnections = 0
    private var lastGeneration: UInt32 = 0
    /// Connections that had more to do than one turn allows.
    private var unfinished: [HTTPConnection] = []
    private let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: HTTPEventLoop.readBytes, alignment: 16)
    private let requestIDPrefix = String(UInt32.random(in: .min ... .max), radix: 16)
    private var lastRequestNumber = 0

    init(parts: Parts) { self.parts = parts }

    deinit { readBuffer.deallocate() }

    /// Runs until it is told to stop, then closes every connection.
    func run() {
        var batch = EventPoll.Batch()
        while !isStopping {
            parts.poll.wait(into: &batch, timeoutMilliseconds: timeoutMilliseconds())
            now = HTTPClock.nanoseconds()
            var hasMail = false
            for index in 0..<batch.count {
                let (tag, ready) = batch.event(index)
                switch tag {
                case Self.listenerTag: acceptConnections()
                case Self.signalTag: hasMail = true
                default: handle(tag: tag, ready: ready)
                }
            }
            if hasMail { readMail() }
            expireDeadlines()
            resumeUnfinished()
            if !jobs.isEmpty {
                parts.queue.add(jobs)
                jobs.removeAll(keepingCapacity: true)
            }
            statistics.heldBytes = bytesOfConnections + bodies.held
            parts.board.publish(statistics)
        }
        for connection in connections.compactMap({ $0 }) { close(connection) }
        stopListening()
        reserve.release()
        parts.board.publish(statistics)
    }

    private func timeoutMilliseconds() -> Int32 {
        if !unfinished.isEmpty { return 0 }
        guard let next = [deadlines.earliest, acceptResumesAt].compactMap({ $0 }).min() else { return -1 }
        // Rounded up: waking before the deadline would only mean waiting again.
        return Int32(clamping: (max(0, next - HTTPClock.nanoseconds()) + 999_999) / 1_000_000)
    }

    // MARK: Accepting

    /// True when more connections may be waiting.
    @discardableResult
    private func acceptConnections() -> Bool {
        guard isListening, acceptResumesAt == nil else { return false }
        for _ in 0..<Self.acceptsPerTurn {
            switch parts.listener.accept() {
            case .connection(let socket, let peerAddress): open(socket, peerAddress)
            case .none: return false
            case .descriptorsExhausted:
                refused("descriptors_exhausted")
                reportExhaustion()
                guard reserve.dropOne(from: parts.listener) else {
                    pauseAccepting()
                    return false
                }
            case .failed(let error):
                fault("accept_failed", error.description)
                pauseAccepting()
                return false
            }
        }
        return true
    }

    /// Once a second at most: whoever uses up the descriptors should not fill the log as well.
    private func reportExhaustion() {
        guard now >= exhaustionReportableAt else { return }
        exhaustionReportableAt = now + 1_000_000_000
        fault("descriptors_exhausted", "The process has no descriptor left for a connection.")
    }

    private func open(_ socket: StreamSocket, _ peerAddress: String) {
        statistics.acceptedConnections += 1
        let isOverCap = statistics.openConnections - overCapConnections >= configuration.connections
        if isOverCap, overCapConnections >= configuration.refusedConnections {
            refused("too_many_connections")
            return socket.close()
        }
        socket.disableDelay()
        lastGeneration = lastGeneration == .max ? 1 : lastGeneration + 1
        let connection = HTTPConnection(
            socket: socket, generation: lastGeneration, peerAddress: peerAddress, isOverCap: isOverCap,
            configuration: configuration)
        do throws(SocketError) {
            try parts.poll.add(
                socket.descriptor, [.readable, .writable, .peerClosed, .onChange],
                tag: UInt64(lastGeneration) << 32 | UInt64(UInt32(bitPattern: socket.descriptor)))
        } catch {
            fault("connection_not_registered", error.description)
            return socket.close()
        }
        if connection.slot >= connections.count {
            connections += Array(repeating: nil, count: connection.slot + 1 - connections.count)
        }
        connections[connection.slot] = connection
        statistics.openConnections += 1
        if isOverCap {
            overCapConnections += 1
            perform(
                .refuse(HTTPRefusal(503, "too_many_connections", "The server has as many connections as it may.")),
                connection)
        } else {
            perform(.receive(.idle, restarts: true), connection)
        }
    }

    /// The listener is watched by level, so it has to be ignored while nothing can be accepted.
    private func pauseAccepting() {
        setListenerInterest([])
        acceptResumesAt = now + Self.acceptPauseNanoseconds
    }

    private func resumeAccepting() {
        acceptResumesAt = nil
        if isListening { setListenerInterest(.readable) }
    }

    private func setListenerInterest(_ interest: EventPoll.Interest) {
        do throws(SocketError) {
            try parts.poll.change(parts.listener.descriptor, interest, tag: Self.listenerTag)
        } catch {
            fault("accept_failed", error.description)
        }
    }

    private func stopListening() {
        guard isListening else { return }
        isListening = false
        acceptResumesAt = nil
        parts.listener.close()
    }

    // MARK: Moving bytes

    private func handle(tag: UInt64, ready: EventPoll.Interest) {
        let slot = Int(UInt32(truncatingIfNeeded: tag))
        // An event of this batch may belong to a connection that was closed, and its number reused, earlier in it.
        guard slot < connections.count, let connection = connections[slot],
            connection.generation == UInt32(truncatingIfNeeded: tag >> 32)
        else { return }
        if ready.contains(.failed) || ready.contains(.hangUp) { return close(connection) }
        if ready.contains(.readable) { connection.isReadable = true }
        if ready.contains(.writable) { connection.isWritable = true }
        if ready.contains(.peerClosed) {
            connection.isReadable = true
            connection.peerHasFinished = true
            // Nobody is left to read what the request is waiting for.
            if connection.parkedTopic != nil { return close(connection) }
        }
        advance(connection)
    }

    private func advance(_ connection: HTTPConnection) {
        switch connection.state.phase {
        case .receiving:
            if !connection.state.output.isEmpty { flush(connection) }
            receive(connection)
        case .handling: break
        case .sending: flush(connection)
        case .lingering: discardInput(connection)
        }
    }

    private func receive(_ connection: HTTPConnection) {
        for _ in 0..<Self.readsPerTurn {
            guard connection.isReadable, connection.state.phase == .receiving, isOpen(connection) else { return }
            switch connection.socket.receive(into: readBuffer) {
            case .moved(let count):
                statistics.bytesReceived += count
                // Less than was asked for: the kernel has no more. The end of the stream would come without an event,
                // though, if it was reported together with these bytes.
                if count < readBuffer.count, !connection.peerHasFinished { connection.isReadable = false }
                if connection.requestStartedAt == nil { connection.requestStartedAt = now }
                perform(connection.state.received(UnsafeRawBufferPointer(rebasing: readBuffer[..<count])), connection)
                noteHeldBytes(connection)
                if bytesOfConnections + bodies.held > configuration.memoryBytes { releaseMemory() }
            case .wouldBlock: connection.isReadable = false
            case .endOfStream, .failed: return close(connection)
            }
        }
        if connection.isReadable, connection.state.phase == .receiving, isOpen(connection) {
            unfinished.append(connection)
        }
    }

    private func discardInput(_ connection: HTTPConnection) {
        for _ in 0..<Self.readsPerTurn {
            guard connection.isReadable else { return }
            switch connection.socket.receive(into: readBuffer) {
            case .moved(let count): statistics.bytesReceived += count
            case .wouldBlock: connection.isReadable = false
            case .endOfStream, .failed: return close(connection)
            }
        }
        if connection.isReadable { unfinished.append(connection) }
    }

    private func flush(_ connection: HTTPConnection) {
        var moved = 0
        while connection.isWritable, !connection.state.output.isEmpty {
            switch connection.state.output.withUnsent(connection.socket.send) {
            case .moved(let count):
                connection.state.output.markSent(count)
                moved += count
            case .wouldBlock: connection.isWritable = false
            case .endOfStream, .failed: return close(connection)
            }
            if moved >= Self.bytesWrittenPerTurn, !connection.state.output.isEmpty {
                unfinished.append(connection)
                break
            }
        }
        statistics.bytesSent += moved
        noteHeldBytes(connection)
        guard connection.state.phase == .sending else { return }
        connection.answerBytesSent += moved
        if connection.state.output.isEmpty {
            finishAnswer(connection)
            perform(connection.state.finishedSending(), connection)
            // An event may have come while nothing was to be read; it does not come again.
            if connection.isReadable, connection.state.phase == .receiving, isOpen(connection) {
                unfinished.append(connection)
            }
        } else if moved > 0 || connection.timer != .write {
            setTimer(.write, connection)
        }
    }

    private func resumeUnfinished() {
        guard !unfinished.isEmpty else { return }
        let waiting = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for connection in waiting where isOpen(connection) { advance(connection) }
    }

    // MARK: Memory

    private func noteHeldBytes(_ connection: HTTPConnection) {
        guard isOpen(connection) else { return }
        let held = connection.state.heldBytes
        if connection.heldBytes < Self.heldBytesNoticed { connection.heldSince = now }
        bytesOfConnections += held - connection.heldBytes
        connection.heldBytes = held
    }

    /// Ends those who have kept bytes for the longest time until the rest may be held. A sender that is not slow has
    /// been here for a moment only, however many slow ones there are.
    private func releaseMemory() {
        while bytesOfConnections + bodies.held > configuration.memoryBytes {
            var oldest: HTTPConnection?
            for case let connection? in connections
            where connection.heldBytes >= Self.heldBytesNoticed
                && connection.heldSince < oldest?.heldSince ?? .max
                && (connection.state.phase == .receiving || connection.state.phase == .sending)
            { oldest = connection }
            guard let oldest else { return }
            if oldest.state.phase == .receiving {
                refuse(
                    HTTPRefusal(503, "overloaded", "The server holds as many bytes of requests as it may."), oldest,
                    mayKeepConnection: false)
            } else {
                refused("response_read_slowly")
                close(oldest)
            }
            noteHeldBytes(oldest)
        }
    }

    // MARK: Instructions

    func perform(_ instruction: HTTPConnectionState.Instruction, _ connection: HTTPConnection) {
        switch instruction {
        case .receive(let timer, let restarts):
            if restarts || connection.timer != timer { setTimer(timer, connection) }
            if !connection.state.output.isEmpty { flush(connection) }
        case .dispatch(let request):
            begin(request, connection)
        case .refuse(let refusal):
            refuse(refusal, connection, mayKeepConnection: false)
        case .send:
            flush(connection)
        case .linger:
            connection.socket.finishSending()
            setTimer(.linger, connection)
            connection.isReadable = true
            discardInput(connection)
        case .close:
            close(connection)
        }
    }

    private func setTimer(_ timer: HTTPConnectionState.Timer, _ connection: HTTPConnection) {
        connection.timer = timer
        let seconds =
            switch timer {
            case .idle: configuration.idleTimeoutSeconds
            case .head: configuration.headerTimeoutSeconds
            case .body: configuration.bodyTimeoutSeconds
            case .write: configuration.writeTimeoutSeconds
            case .linger: configuration.lingerSeconds
            }
        deadlines.schedule(connection.slot, at: now + Int64(seconds * 1_000_000_000))
    }

    private func expireDeadlines() {
        if let resumes = acceptResumesAt, resumes <= now { resumeAccepting() }
        while let slot = deadlines.popExpired(now: now) {
            guard let connection = connections[slot] else { continue }
            if connection.parkedTopic != nil {
                resume(connection, as: .deadline)
            } else {
                perform(connection.state.timedOut(), connection)
            }
        }
    }

    func close(_ connection: HTTPConnection) {
        guard isOpen(connection) else { return }
        abandonAnswer(connection)
        connections[connection.slot] = nil
        bytesOfConnections -= connection.heldBytes
        connection.heldBytes = 0
        deadlines.cancel(connection.slot)
        statistics.openConnections -= 1
        if connection.isOverCap { overCapConnections -= 1 }
        connection.socket.close()
    }

    func isOpen(_ connection: HTTPConnection) -> Bool { connections[connection.slot] === connection }

    // MARK: Mail

    private func readMail() {
        let mail = parts.mailbox.take()
        // Pokes before results: a request that parks now has seen the poke count at its dispatch, not this one.
        if mail.pokesAll {
            pokes.pokeAll()
            for slot in parking.takeAll() { wake(slot) }
        }
        for topic in mail.topics {
            pokes.poke(topic)
            for slot in parking.takeAll(on: topic) { wake(slot) }
        }
        for result in mail.results { finish(result) }
        if mail.drains { drain() }
        if mail.stops { isStopping = true }
    }

    private func drain() {
        guard !isDraining else { return }
        // Handshakes the kernel has finished would be reset with the listener.
        while acceptConnections() {}
        stopListening()
        isDraining = true
        for slot in parking.takeAll() {
            if let connection = connections[slot] { resume(connection, as: .deadline) }
        }
        for connection in connections.compactMap({ $0 }) where connection.state.isIdle {
            // A request may have come whose event is not read yet.
            connection.isReadable = true
            receive(connection)
            if isOpen(connection), connection.state.isIdle { close(connection) }
        }
    }

    // MARK: Reporting

    func nextRequestID() -> String {
        lastRequestNumber += 1
        return "\(requestIDPrefix)-\(String(lastRequestNumber, radix: 16))"
    }

    func refused(_ code: String) { statistics.refusals[code, default: 0] += 1 }

    func fault(_ code: String, _ message: String, requestID: String? = nil) {
        parts.log(.fault(HTTPFault(code: code, message: message, requestID: requestID)))
    }
}
