// Mirrors HTTP/Sockets: listening, the reserve descriptor, epoll and its wake signal, on real descriptors.
import Foundation
import Testing

@testable import SyncServer

@Suite struct SocketsTests {
    @Test func listeningSocket_accepts_andReportsPeer() async throws {
        try await onOwnThread {
            let listener = try ListeningSocket.open(ListenAddress(host: "127.0.0.1", port: 0), backlog: 8)
            defer { listener.close() }
            #expect(listener.address.host == "127.0.0.1")
            #expect(listener.address.port > 0)
            guard case .none = listener.accept() else { throw LoopbackFailure(description: "accepted nothing") }
            let client = try LoopbackClient(port: listener.address.port)
            defer { client.close() }
            guard case .connection(let socket, let peer) = listener.accept() else {
                throw LoopbackFailure(description: "the connection is not there")
            }
            #expect(peer == "127.0.0.1")
            socket.close()
            #expect(try client.isAtEnd())
        }
    }

    @Test func listeningSocket_fails_whenPortIsTaken() async throws {
        try await onOwnThread {
            let listener = try ListeningSocket.open(ListenAddress(host: "127.0.0.1", port: 0), backlog: 8)
            defer { listener.close() }
            let taken = ListenAddress(host: "127.0.0.1", port: UInt16(listener.address.port))
            let error = #expect(throws: SocketError.self) { try ListeningSocket.open(taken, backlog: 8) }
            #expect(error?.operation == "bind")
            #expect(error?.errorNumber == EADDRINUSE)
            #expect(error?.isRetryable == true)
        }
    }

    @Test func reserveDescriptor_dropsOneConnection_andIsThereAgain() async throws {
        try await onOwnThread {
            let listener = try ListeningSocket.open(ListenAddress(host: "127.0.0.1", port: 0), backlog: 8)
            defer { listener.close() }
            var reserve = ReserveDescriptor()
            defer { reserve.release() }
            for _ in 0..<2 {
                let client = try LoopbackClient(port: listener.address.port)
                let dropped = reserve.dropOne(from: listener)
                #expect(dropped)
                #expect(try client.isAtEnd())
                client.close()
            }
        }
    }

    @Test func eventPoll_reportsSignalOncePerRaise_whenWatchedOnChange() async throws {
        try await onOwnThread {
            let poll = try EventPoll.open()
            defer { poll.close() }
            let signal = try WakeSignal.open()
            defer { signal.close() }
            try poll.add(signal.descriptor, [.readable, .onChange], tag: 7)
            var batch = EventPoll.Batch()
            poll.wait(into: &batch, timeoutMilliseconds: 0)
            #expect(batch.count == 0)
            for _ in 0..<3 {
                signal.raise()
                poll.wait(into: &batch, timeoutMilliseconds: 10_000)
                #expect(batch.count == 1)
                #expect(batch.event(0).tag == 7)
                poll.wait(into: &batch, timeoutMilliseconds: 0)
                #expect(batch.count == 0)
            }
        }
    }

    @Test func streamSocket_reportsPeerGone_insteadOfSignal() async throws {
        try await onOwnThread {
            let listener = try ListeningSocket.open(ListenAddress(host: "127.0.0.1", port: 0), backlog: 8)
            defer { listener.close() }
            let client = try LoopbackClient(port: listener.address.port)
            guard case .connection(let socket, _) = listener.accept() else {
                throw LoopbackFailure(description: "the connection is not there")
            }
            defer { socket.close() }
            client.close()
            let bytes = [UInt8](repeating: 0, count: 1024)
            let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
            // The first send may still be taken; the peer's reset makes a later one fail. A SIGPIPE would end the
            // process.
            var last = StreamSocket.Transfer.moved(0)
            for _ in 0..<1000 {
                last = bytes.withUnsafeBytes { socket.send($0, nothing) }
                if case .failed = last { break }
            }
            #expect(last == .failed(EPIPE) || last == .failed(ECONNRESET))
        }
    }
}
