import Foundation
import Testing

@testable import SyncServer

@Suite struct PostgresListenerTests {
    @Test func listener_hearsItsChannels_andNoOthers() throws {
        let odd = PostgresTesting.uniqueName("Odd \"Channel\"")
        let plain = PostgresTesting.uniqueName("plain")
        let heard = Recorder<[String]>()
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: [odd, plain]) { heard.record([$0, $1]) }
        listener.start()
        defer { listener.stop() }
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        let connection = try PostgresTesting.connection()
        for (channel, payload) in [("\(plain)_not", "no"), (odd, "it's ü"), (plain, "")] {
            try connection.run("SELECT pg_notify($1, $2)", .text(channel), .text(payload))
        }
        #expect(heard.wait { $0.count >= 2 })
        #expect(heard.values == [[odd, "it's ü"], [plain, ""]])
    }

    @Test func listener_comesBack_whenItsBackendIsKilled() throws {
        let channel = PostgresTesting.uniqueName("survivor")
        let heard = Recorder<String>()
        let reconnects = Recorder<Int32?>()
        let errors = Recorder<PostgresError>()
        let connection = try PostgresTesting.connection()
        let listener = PostgresListener(
            try PostgresTesting.configuration(), channels: [channel], onReconnect: { reconnects.record(nil) },
            onError: { errors.record($0) },
            onNotification: { heard.record($1) })
        listener.start()
        defer { listener.stop() }
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        let process = try #require(listener.backendProcessIdentifier)
        try connection.run("SELECT pg_terminate_backend($1, 5000)", .integer(Int64(process)))
        #expect(reconnects.wait { $0.count == 2 })
        #expect(errors.values.first?.isConnectionLost == true)
        try connection.run("SELECT pg_notify($1, 'still here')", .text(channel))
        #expect(heard.wait { $0 == ["still here"] })
    }

    @Test func stop_isPrompt_whileIdleConnectingOrWaiting() throws {
        let clock = ContinuousClock()
        let idle = PostgresListener(try PostgresTesting.configuration(), channels: ["idle"]) { _, _ in }
        idle.start()
        #expect(idle.waitUntilListening(timeoutSeconds: 10))
        #expect(clock.measure { idle.stop() } < .seconds(1))
        idle.stop()
        #expect(!idle.waitUntilListening(timeoutSeconds: 0))

        let errors = Recorder<PostgresError>()
        let refused = PostgresListener(
            PostgresConfiguration(url: "postgresql://x@127.0.0.1:1/x"), channels: ["x"],
            onError: { errors.record($0) }, onNotification: { _, _ in })
        refused.start()
        #expect(errors.wait { $0.count >= 2 })
        #expect(clock.measure { refused.stop() } < .seconds(1))

        // A peer that accepts and then says nothing.
        let silent = try SilentServer()
        let configuration = PostgresConfiguration(
            url: "postgresql://x@127.0.0.1:\(silent.port)/x?sslmode=disable&gssencmode=disable", connectTimeoutSeconds: 2)
        let stuck = PostgresListener(configuration, channels: ["x"]) { _, _ in }
        stuck.start()
        silent.acceptOne()
        #expect(clock.measure { stuck.stop() } < .seconds(1))
    }

    @Test func stop_beforeStart_keepsItFromStarting() throws {
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: ["never"]) { _, _ in }
        listener.stop()
        listener.start()
        #expect(!listener.waitUntilListening(timeoutSeconds: 0))
    }

    @Test func stop_mayBeCalledFromACallback() throws {
        let channel = PostgresTesting.uniqueName("inner")
        let stopped = Recorder<Bool>()
        let holder = Recorder<PostgresListener>()
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: [channel]) { _, _ in
            holder.values.first?.stop()
            stopped.record(true)
        }
        holder.record(listener)
        listener.start()
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        try PostgresTesting.connection().run("SELECT pg_notify($1, 'a'), pg_notify($1, 'b')", .text(channel))
        #expect(stopped.wait { $0 == [true] })
        listener.stop()
        #expect(stopped.values == [true])
    }
}

/// Accepts a connection on loopback and never answers.
private final class SilentServer {
    private let descriptor: Int32
    private var accepted: Int32 = -1
    let port: UInt16

    init() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.descriptor = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && listen(descriptor, 4) == 0
                    && getsockname(descriptor, address, &length) == 0
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        try #require(bound)
    }

    deinit {
        close(accepted)
        close(descriptor)
    }

    func acceptOne() { accepted = accept(descriptor, nil, nil) }
}
