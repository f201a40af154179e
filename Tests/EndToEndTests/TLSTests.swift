// The replica over TLS, ended by a real terminator in front of the real server, with a certificate authority of the test's own.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite(
    .enabled(
        if: TLSTerminator.isAvailable,
        "needs openssl, python3 with its ssl module, and the right to mount a list of authorities for one process (unshare)"))
struct TLSTests {
    @Test func replica_worksOverTLS_whenItTrustsTheAuthority_andOnlyThen() async throws {
        try await withCompany { company in
            let terminator = try await TLSTerminator(in: company.folder, forwardingTo: await company.port)
            defer { terminator.stop() }
            let address = "https://localhost:\(terminator.port)"
            let file = company.folder.appendingPathComponent("tls.db").path
            let code = await company.ownerCode
            let worker = Worker(file: file)
            func trusting(_ arguments: String...) async throws -> Finished {
                try await terminator.runTrusting("replica", ["--db", file, "--json"] + arguments)
            }

            // A certificate nobody vouches for is no connection, and does not use the code up.
            let untrusted = try await run("replica", ["--db", file, "enroll", address, code])
            #expect(untrusted.code == 3, "\(untrusted.output) \(untrusted.errors)")
            // So is one that was made out for another name.
            let renamed = try await trusting("enroll", "https://127.0.0.2:\(terminator.port)", code)
            #expect(renamed.code == 3 && renamed.output.contains("127.0.0.2"), "\(renamed.output) \(renamed.errors)")
            // And plain HTTP at a TLS port.
            let plain = try await run("replica", ["--db", file, "enroll", "http://localhost:\(terminator.port)", code])
            #expect(plain.code == 3, "\(plain.output) \(plain.errors)")

            let enrolled = try await trusting("enroll", address, code)
            #expect(enrolled.code == 0, "\(enrolled.output) \(enrolled.errors)")
            for name in ["Harbor", "Pier 9"] { try await worker.json("add", "client", "name=\(name)") }
            // A server that cannot prove itself has not seen the changes: they wait, and none is given up as undeliverable.
            for _ in 0..<2 {
                let distrusted = try await worker.run("sync")
                #expect(distrusted.code == 3 && distrusted.errors.contains("your work is safe"), "\(distrusted.errors)")
            }
            #expect(try await worker.json("pending")["total"] == 2)
            #expect(try await worker.json("problems")["total"] == 0)
            let synced = try await trusting("sync")
            #expect(synced.code == 0, "\(synced.output) \(synced.errors)")
            #expect(try JSONValue(parsing: synced.output)["accepted"] == 2)
            let compared = try await trusting("digest", "--server")
            #expect(try JSONValue(parsing: compared.output)["identical"] == true)
        }
    }
}

/// Ends TLS on a port of its own and passes the bytes on.
final class TLSTerminator: Sendable {
    let port: Int
    /// The certificate of the authority, PEM.
    let authority: String
    private let process: RunningProgram

    static let isAvailable: Bool = {
        guard let python = Programs.path(of: "python3"), Programs.path(of: "openssl") != nil, let unshare = Programs.path(of: "unshare")
        else { return false }
        let commands = [
            [python, "-c", "import ssl, socket, threading"], [unshare] + unshareOptions + ["mount", "--bind", authorities, authorities],
        ]
        return commands.allSatisfy { command in
            let process = Process()
            process.executableURL = URL(fileURLWithPath: command[0])
            process.arguments = Array(command.dropFirst())
            process.standardError = FileHandle.nullDevice
            guard (try? process.run()) != nil else { return false }
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
    }()

    /// Foundation on Linux trusts exactly what this file lists; no variable or option names another.
    private static let authorities = "/etc/ssl/certs/ca-certificates.crt"

    private static var unshareOptions: [String] { geteuid() == 0 ? ["--mount"] : ["--mount", "--map-root-user"] }

    /// Runs a program of this build for which, and for which alone, the machine trusts the test's authority.
    func runTrusting(_ name: String, _ arguments: [String]) async throws -> Finished {
        let script = #"mount --bind "$1" "$2" && shift 2 && exec "$@""#
        let command =
            Self.unshareOptions + [
                "sh", "-c", script, "sh", authority, Self.authorities, Programs.folder.appendingPathComponent(name).path,
            ]
        return try await RunningProgram(path: Programs.path(of: "unshare") ?? "unshare", command + arguments).finish()
    }

    init(in folder: URL, forwardingTo target: Int) async throws {
        func file(_ name: String) -> String { folder.appendingPathComponent(name).path }
        try "subjectAltName=DNS:localhost,IP:127.0.0.1\n".write(toFile: file("names"), atomically: true, encoding: .utf8)
        let commands = [
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test authority", "-addext",
                "basicConstraints=critical,CA:TRUE", "-keyout", file("ca.key"), "-out", file("ca.pem"),
            ],
            ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", file("tls.key"), "-out", file("tls.csr")],
            [
                "x509", "-req", "-days", "2", "-in", file("tls.csr"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial",
                "-extfile", file("names"), "-out", file("tls.pem"),
            ],
        ]
        for command in commands {
            let finished = try await RunningProgram(path: Programs.path(of: "openssl") ?? "openssl", command).finish()
            guard finished.code == 0 else { throw UnexpectedResult(description: "openssl: \(finished.errors)") }
        }
        authority = file("ca.pem")
        let arguments = ["-u", "-c", Self.program, file("tls.pem"), file("tls.key"), "\(target)"]
        process = try RunningProgram(path: Programs.path(of: "python3") ?? "python3", arguments)
        guard try await process.wait(until: { $0.output.contains("\n") }),
            let port = Int(process.output.trimmingCharacters(in: .whitespacesAndNewlines))
        else { throw UnexpectedResult(description: "no TLS: \(process.errors)") }
        self.port = port
    }

    func stop() { process.signal(15) }

    private static let program = """
        import socket, ssl, sys, threading
        certificate, key, target = sys.argv[1], sys.argv[2], int(sys.argv[3])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1])

        def relay(source, sink):
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                pass
            finally:
                for one in (source, sink):
                    try: one.shutdown(socket.SHUT_RDWR)
                    except OSError: pass

        def serve(connection):
            try:
                inner = context.wrap_socket(connection, server_side=True)
                outer = socket.create_connection(("127.0.0.1", target))
            except OSError:
                connection.close()
                return
            threading.Thread(target=relay, args=(outer, inner), daemon=True).start()
            relay(inner, outer)

        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
        """
}
