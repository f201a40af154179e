// HTTPS for real: TLS by the system's OpenSSL, the way out through the forwarder, trust by the system's store.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

// One after another: together they would keep a small machine from everything else.
@Suite(.serialized) struct SecureWebhookTests {
    private static let loopback = AddressGuard(allowed: [NetworkRange("127.0.0.1")].compactMap { $0 })

    // MARK: The forwarder

    private func connect(_ forwarder: EgressForwarder, _ target: String, secret: String = "secret") throws -> WireResponse {
        let client = try LoopbackClient(port: forwarder.port)
        try client.send(
            "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\nProxy-Authorization: Basic \(Data("tideline:\(secret)".utf8).base64EncodedString())\r\n\r\n"
        )
        return try client.response()
    }

    @Test func forwarder_connectsToTheAddressItChecked_lookingUpOnce() async throws {
        try await onOwnThread {
            let receiver = try WebhookReceiver()
            let lookUps = Locked(0)
            let (first, second) = (try required(HostResolver.literal("127.0.0.1")), try required(HostResolver.literal("127.0.0.2")))
            // A name that changes its mind as soon as it was checked.
            let resolver = HostResolver(
                addressGuard: Self.loopback,
                lookUp: { _ in
                    lookUps.with {
                        $0 += 1
                        return $0 == 1 ? [first] : [second]
                    }
                })
            let forwarder = try EgressForwarder(resolver: resolver, secret: "secret")
            forwarder.start()
            defer { forwarder.stop() }
            let client = try LoopbackClient(port: forwarder.port)
            let token = Data("tideline:secret".utf8).base64EncodedString()
            try client.send("CONNECT rebinding.example:\(receiver.port) HTTP/1.1\r\nProxy-Authorization: Basic \(token)\r\n\r\n")
            #expect(try client.response().status == 200)
            try client.send("POST /through HTTP/1.1\r\nContent-Length: 2\r\n\r\nok")
            #expect(try client.response().status == 204)
            #expect(receiver.deliveries.map(\.target) == ["/through"] && lookUps.with { $0 } == 1)
            #expect(try connect(forwarder, "rebinding.example:\(receiver.port)").status == 403, "the next look-up is checked again")
        }
    }

    @Test func forwarder_refuses_whatIsNotItsOwn() async throws {
        try await onOwnThread {
            let receiver = try WebhookReceiver()
            let forwarder = try EgressForwarder(resolver: HostResolver(addressGuard: Self.loopback), secret: "secret")
            forwarder.start()
            defer { forwarder.stop() }
            #expect(try connect(forwarder, "127.0.0.1:\(receiver.port)", secret: "guess").status == 407)
            #expect(try connect(forwarder, "127.0.0.2:\(receiver.port)").status == 403)
            #expect(try connect(forwarder, "169.254.169.254:80").status == 403)
            #expect(try connect(forwarder, "nowhere").status == 405)
            receiver.stop()
            #expect(try connect(forwarder, "127.0.0.1:\(receiver.port)").status == 502)
            let plain = try LoopbackClient(port: forwarder.port)
            try plain.send("GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try plain.response().status == 407)
            #expect(receiver.requestCount == 0)
        }
    }

    // MARK: The whole way

    @Test func untrustedCertificate_isNeverGivenAnEvent() async throws {
        try await onOwnThread {
            let authority = try TestAuthority()
            let endpoint = try SecureEndpoint(authority)
            let shown = try deliver(to: endpoint, wrapper: []) { $0["dead"]?.integerValue == 1 }
            #expect(shown["attempts"]?[0]?["result"] == "tls")
            #expect(endpoint.received.isEmpty)
        }
    }

    @Test(.enabled(if: TestAuthority.canReplaceTrustStore, "needs a mount namespace of its own"))
    func trustedCertificate_getsTheEventSigned() async throws {
        try await onOwnThread {
            let authority = try TestAuthority()
            let endpoint = try SecureEndpoint(authority)
            let shown = try deliver(to: endpoint, wrapper: try authority.trusting()) { $0["last_success_at"]?.stringValue != nil }
            #expect(shown["attempts"]?[0]?["result"] == "delivered" && shown["attempts"]?[0]?["status"] == 204)
            let text = endpoint.received
            let lower = text.lowercased()
            #expect(text.hasPrefix("POST /hook?key=1 HTTP/1.1\r\n"))
            for name in ["webhook-id: evt_", "webhook-timestamp: ", "webhook-signature: v1,", "content-type: application/cloudevents+json"]
            {
                #expect(lower.contains(name), "\(name)")
            }
            #expect(text.contains(#""type":"client.created""#))
        }
    }

    /// A server process with one webhook on the endpoint and one event for it; the consumer as shown once `isReached` holds.
    private func deliver(
        to endpoint: SecureEndpoint, wrapper: [String], until isReached: (JSONValue) -> Bool
    ) throws -> JSONValue {
        let url = try ServerProcess.migratedDatabase()
        let database = ["--database-url", url]
        let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
        let tenant = try required(made["tenant"]?.stringValue)
        let server = try ServerProcess(
            database + ["--webhook-allow", "127.0.0.1"],
            // Whatever proxy the operator's shell has is not the way out of webhooks.
            environment: ["TIDELINE_WEBHOOK_RETRY_SECONDS": "0.01", "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"], wrapper: wrapper)
        let replica = try server.enroll(try required(made["code"]?.stringValue))
        _ = try ServerProcess.json(
            [
                "consumer", "add", "--tenant", tenant, "hook", "--url", "https://localhost:\(endpoint.port)/hook?key=1", "--kinds",
                "client.created", "--max-attempts", "2",
            ] + database)
        let client = Identifier.version7(milliseconds: 1, random: (1, 2))
        _ = try server.post("/v1/sync/push", replica.pushBody(counter: 1, client: client, name: "x"), token: replica.token)
        let limit = Date(timeIntervalSinceNow: 30)
        while true {
            let shown = try ServerProcess.json(["consumer", "show", "--tenant", tenant, "hook"] + database)
            if isReached(shown) || Date() > limit { return shown }
        }
    }
}

/// A certificate authority of this test's own.
struct TestAuthority: Sendable {
    let folder: URL

    private static let store = "/etc/ssl/certs/ca-certificates.crt"

    /// Whether this machine lets a process see another trust store than everybody else.
    static let canReplaceTrustStore: Bool = {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = unshare + ["mount --bind /dev/null \(store)"]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()

    private static var unshare: [String] { ["unshare", "--mount"] + (geteuid() == 0 ? [] : ["--map-root-user"]) + ["sh", "-c"] }

    init() throws {
        folder = try Programs.temporaryFolder()
        try run(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test"])
        try run(["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost"])
        try Data("subjectAltName=DNS:localhost".utf8).write(to: folder.appendingPathComponent("names"))
        try run(
            [
                "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "leaf.pem", "-days", "2",
                "-extfile", "names",
            ])
    }

    /// In front of a command: runs it where this authority is trusted too.
    func trusting() throws -> [String] {
        let bundle = folder.appendingPathComponent("bundle.pem")
        var bytes = (try? Data(contentsOf: URL(fileURLWithPath: Self.store))) ?? Data()
        bytes += try Data(contentsOf: folder.appendingPathComponent("ca.pem"))
        try bytes.write(to: bundle)
        return ["/usr/bin/env"] + Self.unshare + ["mount --bind \(bundle.path) \(Self.store) && exec \"$0\" \"$@\""]
    }

    private func run(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.currentDirectoryURL = folder
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw ServerProcess.Failure(description: "openssl \(arguments[0])") }
    }
}

/// `openssl s_server` as a receiver: every request is answered 204. @unchecked Sendable: the text is only touched under the lock.
final class SecureEndpoint: @unchecked Sendable {
    let port: Int
    private let process = Process()
    private let input = Pipe()
    private let lock = NSLock()
    private var text = ""

    init(_ authority: TestAuthority) throws {
        let output = Pipe()
        port = try LoopbackPort.chosen()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl", "s_server", "-quiet", "-accept", "127.0.0.1:\(port)", "-cert", "leaf.pem", "-key", "leaf.key"]
        process.currentDirectoryURL = authority.folder
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let (writer, reader) = (input.fileHandleForWriting, output.fileHandleForReading)
        Thread.detachNewThread { [weak self] in
            while true {
                let data = reader.availableData
                guard !data.isEmpty, let self else { return }
                let isWhole = lock.withLock {
                    text += String(decoding: data, as: UTF8.self)
                    return text.hasSuffix("}")
                }
                if isWhole { try? writer.write(contentsOf: Data("HTTP/1.1 204 No Content\r\n\r\n".utf8)) }
            }
        }
        // Listening as soon as it takes a connection.
        let limit = Date(timeIntervalSinceNow: 10)
        while (try? LoopbackClient(port: port)) == nil {
            guard Date() < limit else { throw ServerProcess.Failure(description: "openssl s_server did not start") }
            usleep(10_000)
        }
    }

    deinit {
        // It does not heed SIGTERM while it waits for a connection.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    var received: String { lock.withLock { text } }
}
