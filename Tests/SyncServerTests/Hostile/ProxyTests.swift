// The server behind nginx and behind HAProxy, configured as the documentation says. Two parsers in a row must agree on where a request
// ends; where they might not, one of them refuses.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ProxyTests {
    /// All that comes back on one connection, as far as it comes soon.
    private func answers(_ client: LoopbackClient, atMost count: Int) -> [WireResponse] {
        var all: [WireResponse] = []
        while all.count < count, let answer = try? client.response() { all.append(answer) }
        return all
    }

    @Test(arguments: ReverseProxy.Kind.allCases)
    func hostileRequests_areRefused_orAreOneRequestToBoth(kind: ReverseProxy.Kind) async throws {
        try await onOwnThread {
            let server = try ServerProcess(["--database-url", try ServerProcess.migratedDatabase()])
            let proxy = try ReverseProxy(kind, server: server.port)
            let bytes = Set((UInt8(0)...0x20).map(Int.init) + [0x22, 0x2C, 0x2D, 0x3A, 0x3B, 0x5F, 0x7F, 0x80, 0x85, 0xA0, 0xFF])
            let mutations = HostileRequest.mutations.filter { bytes.contains(Int($0.name.split(separator: " ")[1]) ?? -1) }
            var (passed, stopped) = (0, 0)
            for (number, one) in (HostileRequest.all + mutations).enumerated() {
                let client = try LoopbackClient(port: proxy.port, patienceMilliseconds: 250)
                // What comes behind is answered if both agree that the request before it has ended.
                try? client.send(
                    one.bytes
                        + Array(
                            "GET /behind/\(number) HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: behind-\(number)\r\n\r\n".utf8)
                )
                let expected: Int? = if case .requests(let requests) = one.verdict { requests.count } else { nil }
                let found = answers(client, atMost: (expected ?? 2) + 2)
                if let expected { #expect(found.count <= expected + 1, "\(one.name): \(found.map(\.status))") }
                if let last = found.last?.header("x-request-id"), last.hasPrefix("behind-") {
                    #expect(last == "behind-\(number)", "\(one.name)")
                }
                if found.contains(where: { $0.header("x-request-id") != nil }) { passed += 1 } else { stopped += 1 }
                client.close()

                // The connections that the proxy keeps to the server are not out of step: everybody gets their own answer.
                let other = try proxy.client()
                try other.get("/own/\(number)", headers: "X-Request-Id: own-\(number)\r\n")
                let own = try other.response()
                #expect(own.status == 404 && own.header("x-request-id") == "own-\(number)", "after \(one.name): \(own.status) \(own.text)")
            }
            #expect(server.isRunning)
            #expect(passed > 50 && stopped > 50, "\(passed) came through, \(stopped) did not")
            // A proxy may be more lenient and take a doubtful line for the end of a request; what follows is a request then, to both. What
            // the server has seen and the proxy has not was smuggled.
            let proxied = try proxy.finish()
            let paths = try server.lines.compactMap { $0["path"]?.stringValue }
            for path in Set(paths) where path.hasPrefix("/smuggled") || path.hasPrefix("/behind/") {
                let known = proxied.components(separatedBy: " \(path) ").count - 1
                #expect(paths.filter { $0 == path }.count <= known, "\(path) came past \(kind)")
            }
            #expect(Set(paths.filter { $0.hasPrefix("/behind/") }).count > 50, "the server has seen what is behind")
        }
    }

    @Test(arguments: ReverseProxy.Kind.allCases)
    func metrics_areHidden_howeverTheyAreWritten(kind: ReverseProxy.Kind) async throws {
        try await onOwnThread {
            let server = try ServerProcess(["--database-url", try ServerProcess.migratedDatabase()])
            let proxy = try ReverseProxy(kind, server: server.port)
            #expect(try server.get("/metrics").text.contains("tideline_"))
            let targets = [
                "/metrics", "/metrics?", "/metrics?x=1", "/metrics/", "//metrics", "/./metrics", "/x/../metrics", "/%6detrics",
                "/%6Detrics", "/metric%73", "/%2fmetrics", "/%2e/metrics", "/metrics%2f", "/metrics;x=1", "/METRICS", "/metrics%20",
                "/metrics%23", "/metrics%3f", "http://a/metrics", "http://a/%6detrics", "/metrics%00", "/metrics%09", "/%256detrics",
                "/x/%2e%2e/metrics", "*",
            ]
            for target in targets {
                for method in ["GET", "HEAD"] {
                    let client = try proxy.client()
                    try client.send("\(method) \(target) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    let answer = try client.response(toHead: method == "HEAD")
                    #expect(answer.status >= 400, "\(method) \(target)")
                    #expect(!answer.text.contains("tideline_"), "\(method) \(target)")
                }
            }
        }
    }

    @Test(arguments: ReverseProxy.Kind.allCases)
    func syncWorks_behindTheProxy(kind: ReverseProxy.Kind) async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let server = try ServerProcess(["--database-url", url])
            let proxy = try ReverseProxy(kind, server: server.port)
            let replica = try HostileTenant("Harbor", server, url).replica
            let authorization = "Authorization: Bearer \(replica.token)\r\n"
            let client = try proxy.client()
            let page = try PullPage(
                parsing: try {
                    try client.get(replica.pull(cursor: nil), headers: authorization)
                    return try client.response().body
                }())
            // A body that the client sends in chunks, as some do.
            let body = replica.pushBody(counter: 1, client: HostileTenant.client(1), name: String(repeating: "Harbor ", count: 20))
            try client.send("POST /v1/sync/push HTTP/1.1\r\nHost: a\r\n\(authorization)Transfer-Encoding: chunked\r\n\r\n")
            for start in stride(from: 0, to: body.count, by: 100) {
                let piece = Array(body[start..<min(body.count, start + 100)])
                try client.send(Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + [13, 10])
            }
            try client.send("0\r\n\r\n")
            #expect(try client.response().status == 200)
            try client.get(replica.pull(cursor: page.next), headers: authorization + "Accept-Encoding: gzip\r\n")
            let zipped = try client.wholeResponse()
            #expect(zipped.head.lowercased().contains("content-encoding: gzip"), "\(zipped.head)")
            #expect(zipped.body.starts(with: [0x1F, 0x8B]) || zipped.body.contains(0x8B))
            // Four MiB of nothing that the server wants, refused by it and not by the proxy.
            let large = [UInt8](repeating: 0x20, count: (4 << 20) + 1)
            let sender = try proxy.client()
            try sender.send("POST /v1/sync/push HTTP/1.1\r\nHost: a\r\n\(authorization)Content-Length: \(large.count)\r\n\r\n")
            try sender.send(large)
            #expect(try sender.response().text.contains("payload_too_large"))
        }
    }

    @Test(
        .enabled(if: Programs.path(of: "openssl") != nil && Programs.path(of: "curl") != nil, "needs openssl and curl"),
        arguments: ReverseProxy.Kind.allCases)
    func recipe_endsTLS_asItStands(kind: ReverseProxy.Kind) async throws {
        try await onOwnThread {
            let folder = try Programs.temporaryFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
            func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
                let process = Process()
                let output = Pipe()
                process.executableURL = URL(fileURLWithPath: try required(Programs.path(of: program)))
                process.arguments = arguments
                process.environment = ["PATH": "/usr/bin:/bin", "HOME": folder.path]
                process.standardOutput = output
                process.standardError = FileHandle.nullDevice
                try process.run()
                let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                return (process.terminationStatus, text)
            }
            let made = try run(
                "openssl",
                [
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost", "-keyout", path("key.pem"), "-out", path("chain.pem"),
                ])
            #expect(made.status == 0)
            try (try String(contentsOfFile: path("chain.pem"), encoding: .utf8) + String(contentsOfFile: path("key.pem"), encoding: .utf8))
                .write(toFile: path("both.pem"), atomically: true, encoding: .utf8)
            let server = try ServerProcess(["--database-url", try ServerProcess.migratedDatabase()])
            let proxy = try ReverseProxy(kind, server: server.port, certificate: (path("chain.pem"), path("key.pem"), path("both.pem")))
            let address = "https://localhost:\(proxy.port)"
            let answer = try run(
                "curl",
                ["--silent", "--noproxy", "*", "--max-time", "10", "--compressed", "--cacert", path("chain.pem"), "\(address)/v1/schema"])
            #expect(answer.status == 0)
            #expect(try JSONValue(parsing: answer.output) == Schema.tideline.json)
            #expect(
                try run("curl", ["--silent", "--noproxy", "*", "--max-time", "10", "\(address)/healthz"]).status != 0,
                "nobody vouches for the certificate")
        }
    }
}
