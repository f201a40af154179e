// A `sync-server` process on a database of the test's choice: started, stopped, killed and started again on the same port.

import Foundation
import SyncProtocol
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// @unchecked Sendable: the program is only touched under the lock.
final class Server: @unchecked Sendable {
    let options: [String]
    private let lock = NSLock()
    private var program: RunningProgram?
    private var environment: [String: String]
    private var boundPort = 0

    /// - Parameter options: Of `serve`, the database among them.
    init(_ options: [String], environment: [String: String] = [:]) {
        self.options = options
        self.environment = environment
    }

    static func started(_ options: [String], environment: [String: String] = [:]) async throws -> Server {
        let server = Server(options, environment: environment)
        try await server.start()
        return server
    }

    deinit { program?.signal(SIGKILL) }

    var port: Int { lock.withLock { boundPort } }
    var address: String { "http://127.0.0.1:\(port)" }
    var isRunning: Bool { lock.withLock { program?.isRunning ?? false } }
    var log: String { lock.withLock { program?.errors ?? "" } }

    func signal(_ signal: Int32) { lock.withLock { program }?.signal(signal) }

    /// By SIGSTOP, from outside or at a step.
    var isStopped: Bool {
        lock.withLock { self.program }?.isStopped ?? false
    }

    /// Log lines with this message.
    func lines(_ message: String) -> [JSONValue] {
        log.split(separator: "\n").compactMap { try? JSONValue(parsing: String($0)) }.filter { $0["message"]?.stringValue == message }
    }

    /// - Parameter environment: For this run only, over the server's own.
    func start(_ more: [String: String] = [:]) async throws {
        // While its database comes and goes a server may end before it listens; whoever supervises it starts it again.
        for _ in 0..<4 {
            do { return try await startOnce(more) } catch is UnexpectedResult { continue }
        }
        try await startOnce(more)
    }

    /// Throws when it ends before it listens.
    func startOnce(_ more: [String: String] = [:]) async throws {
        let known = port
        let wanted = known == 0 ? try LoopbackPort.chosen() : known
        let program = try RunningProgram(
            "sync-server", ["serve", "--listen", "127.0.0.1:\(wanted)"] + options, environment: environment.merging(more) { $1 })
        lock.withLock { self.program = program }
        let isListening = try await program.wait(seconds: 120) { $0.output.contains("listening on http://") }
        let text = program.output
        guard isListening, let range = text.range(of: "listening on http://127.0.0.1:"),
            let found = Int(text[range.upperBound...].prefix(while: \.isNumber))
        else {
            program.signal(SIGKILL)
            throw UnexpectedResult("the server did not start: \(program.errors.suffix(2000))")
        }
        lock.withLock { boundPort = found }
    }

    /// Sends a signal and waits for the end. The exit code; negative: the signal that ended it.
    @discardableResult
    func end(_ signal: Int32) async -> Int32 {
        guard let program = lock.withLock({ self.program }) else { return 0 }
        program.signal(signal)
        return await program.finish().code
    }

    /// Waits until it ends by itself.
    func waitForEnd() async -> Int32 {
        guard let program = lock.withLock({ self.program }) else { return 0 }
        return await program.finish().code
    }

    func get(_ target: String, token: String? = nil) async throws -> LoopbackHTTP.Reply {
        try await LoopbackHTTP.exchange(port: port, "GET", target, token: token)
    }
}

/// A tenant, with what a test needs to let people join.
struct Tenant: Sendable {
    let id: String
    let ownerCode: String
    private let database: [String]

    /// - Parameter database: Options that name it, as of `serve`.
    static func made(_ database: [String]) async throws -> Tenant {
        let made = try await admin(["tenant", "create", "Harbor Works", "--owner", "Olivia Reyes <olivia@example.com>"], database)
        return Tenant(id: made["tenant"]?.stringValue ?? "", ownerCode: made["code"]?.stringValue ?? "", database: database)
    }

    func code(for name: String, role: String = "manager") async throws -> String {
        let added = try await Self.admin(
            ["member", "add", "--tenant", id, "--name", name, "--email", "\(name)@example.com", "--role", role], database)
        return added["code"]?.stringValue ?? ""
    }

    /// A command of `sync-server` about this tenant.
    @discardableResult
    func admin(_ arguments: String...) async throws -> JSONValue {
        try await Self.admin(arguments + ["--tenant", id], database)
    }

    static func admin(_ arguments: [String], _ database: [String]) async throws -> JSONValue {
        let finished = try await run("sync-server", ["--json"] + arguments + database)
        guard finished.code == 0 else { throw UnexpectedResult("\(arguments): \(finished.code) \(finished.output) \(finished.errors)") }
        return try JSONValue(parsing: finished.output)
    }
}
