// Test support: nginx or HAProxy in front of a server, on a loopback port, with the configuration that docs/operations.md recommends.

import Foundation
import TestSupport

/// @unchecked Sendable: the process is only told to start and to end.
final class ReverseProxy: @unchecked Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case nginx, haproxy

        /// Daemons are not on everybody's PATH.
        var program: String? {
            Programs.path(of: rawValue) ?? ["/usr/sbin", "/usr/local/sbin"].map { "\($0)/\(rawValue)" }.first { access($0, X_OK) == 0 }
        }
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let port: Int
    private let process = Process()
    private let folder: URL

    /// - Parameter certificate: PEM files; nil: without TLS, so that a test can send what no TLS client would.
    init(_ kind: Kind, server: Int, certificate: (chain: String, key: String, both: String)? = nil) throws {
        guard let program = kind.program else {
            throw Failure(description: "\(kind.rawValue) is not installed; scripts/requirements installs it")
        }
        folder = try Programs.temporaryFolder()
        port = try LoopbackPort.chosen()
        let recipe = try ReverseProxy.recipe(kind)
        let text =
            kind == .nginx ? nginx(recipe, server, certificate.map { ($0.chain, $0.key) }) : haproxy(recipe, server, certificate?.both)
        let file = folder.appendingPathComponent("proxy.conf").path
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        // Ended by the kernel when the test's own thread ends, however that is.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments =
            ["--pdeathsig=KILL", program] + (kind == .nginx ? ["-p", folder.path, "-e", "error.log", "-c", file] : ["-db", "-f", file])
        process.environment = ["PATH": "/usr/bin:/bin"]
        process.standardInput = FileHandle.nullDevice
        let log = folder.appendingPathComponent("output.log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        process.standardOutput = try FileHandle(forWritingTo: log)
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        let limit = Date(timeIntervalSinceNow: 20)
        while (try? LoopbackClient(port: port)) == nil {
            guard process.isRunning, Date() < limit else {
                let words = ["output.log", "error.log"].map {
                    (try? String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8)) ?? ""
                }
                throw Failure(description: "\(kind.rawValue) did not start: \(words.joined(separator: "\n"))")
            }
            usleep(2_000)
        }
    }

    deinit {
        end()
        try? FileManager.default.removeItem(at: folder)
    }

    /// Ends the proxy. Returns what it has logged: the request lines as it has read them.
    func finish() throws -> String {
        end()
        return try ["requests.log", "output.log"].map { name in
            let file = folder.appendingPathComponent(name)
            return FileManager.default.fileExists(atPath: file.path) ? String(decoding: try Data(contentsOf: file), as: UTF8.self) : ""
        }.joined(separator: "\n")
    }

    func client() throws -> LoopbackClient { try LoopbackClient(port: port) }

    /// Not asked to: what a thread of the test runner starts has inherited that requests to end are not heard.
    private func end() {
        guard process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    // MARK: Configuration

    /// The block of the documentation, exactly as it stands there.
    static func recipe(_ kind: Kind) throws -> String {
        let document = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../docs/operations.md")
        let text = try String(contentsOf: document, encoding: .utf8)
        let parts = text.components(separatedBy: "```\(kind.rawValue)\n")
        guard parts.count == 2, let block = parts[1].components(separatedBy: "```").first else {
            throw Failure(description: "docs/operations.md has no block for \(kind.rawValue)")
        }
        return block
    }

    /// Replaces what differs from machine to machine; every piece must be there.
    private func adapt(_ recipe: String, _ pieces: [(String, String)]) -> String {
        pieces.reduce(recipe) { text, piece in
            precondition(text.contains(piece.0), "the recipe has no \(piece.0)")
            return text.replacing(piece.0, with: piece.1)
        }
    }

    private func nginx(_ recipe: String, _ server: Int, _ certificate: (chain: String, key: String)?) -> String {
        var pieces = [("server 127.0.0.1:8080;", "server 127.0.0.1:\(server);")]
        if let certificate {
            pieces += [
                ("listen 443 ssl;", "listen 127.0.0.1:\(port) ssl;"), ("/etc/ssl/sync.crt", certificate.chain),
                ("/etc/ssl/sync.key", certificate.key),
            ]
        } else {
            pieces += [
                ("listen 443 ssl;", "listen 127.0.0.1:\(port);"), ("ssl_certificate /etc/ssl/sync.crt;", ""),
                ("ssl_certificate_key /etc/ssl/sync.key;", ""),
            ]
        }
        let user = geteuid() == 0 ? "user root;" : ""
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \($0);" }.joined(separator: " ")
        return """
            daemon off; master_process off; pid nginx.pid; \(user)
            events { worker_connections 256; }
            http { log_format request '"$request" $status'; access_log requests.log request; \(folders)
            \(adapt(recipe, pieces))
            }
            """
    }

    private func haproxy(_ recipe: String, _ server: Int, _ certificate: String?) -> String {
        let bind = "bind 127.0.0.1:\(port)" + (certificate.map { " ssl crt \($0)" } ?? "")
        return
            "global\n    maxconn 256\n    nbthread 1\n    log stdout format raw local0\ndefaults\n    mode http\n    log global\n    option httplog\n"
            + adapt(
                recipe, [("bind :443 ssl crt /etc/ssl/sync.pem", bind), ("server one 127.0.0.1:8080", "server one 127.0.0.1:\(server)")])
    }
}
