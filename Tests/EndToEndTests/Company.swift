// A company with a server process of its own and replicas worked by the command line.

import Foundation
import SyncProtocol
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

struct UnexpectedResult: Error, CustomStringConvertible {
    var description: String
}

actor Company {
    let folder: URL
    private(set) var port = 0
    private var server: RunningProgram?
    private(set) var tenant = ""
    private(set) var ownerCode = ""

    init() throws { folder = try Programs.temporaryFolder() }

    var dataFolder: String { folder.appendingPathComponent("server").path }
    var address: String { "http://127.0.0.1:\(port)" }

    /// Starts the server and makes the tenant.
    func found() async throws {
        try await start()
        let created = try await admin("tenant", "create", "Harbor Works", "--owner", "Olivia Reyes <olivia@example.com>")
        tenant = created["tenant"]?.stringValue ?? ""
        ownerCode = created["code"]?.stringValue ?? ""
    }

    /// Again on the port that the replicas know.
    func start() async throws {
        let wanted = port == 0 ? try LoopbackPort.chosen() : port
        let program = try RunningProgram(
            "sync-server", ["serve", "--data-dir", dataFolder, "--listen", "127.0.0.1:\(wanted)"])
        server = program
        let isListening = try await program.wait(seconds: 180) {
            $0.output.contains("listening on http://") || $0.errors.contains("listening on http://")
        }
        let text = program.output + program.errors
        guard isListening, let range = text.range(of: "listening on http://127.0.0.1:"),
            let found = Int(text[range.upperBound...].prefix(while: \.isNumber))
        else { throw UnexpectedResult(description: "the server did not start: \(text.suffix(2000))") }
        port = found
    }

    func killServer() async {
        server?.signal(SIGKILL)
        _ = await server?.finish()
        server = nil
    }

    /// Exit code after SIGTERM.
    @discardableResult
    func stop() async -> Int32 {
        server?.signal(SIGTERM)
        let finished = await server?.finish()
        server = nil
        return finished?.code ?? 0
    }

    /// Process ids of the server's own Postgres.
    func postmaster() throws -> Int32? {
        let text = try String(contentsOfFile: dataFolder + "/postgres/postmaster.pid", encoding: .utf8)
        return text.split(separator: "\n").first.flatMap { Int32($0) }
    }

    func admin(_ arguments: String...) async throws -> JSONValue {
        let finished = try await run("sync-server", ["--json"] + arguments + ["--data-dir", dataFolder])
        guard finished.code == 0 else { throw UnexpectedResult(description: "\(arguments): \(finished.code) \(finished.errors)") }
        return try JSONValue(parsing: finished.output)
    }

    func code(for name: String, role: String = "manager") async throws -> String {
        let added = try await admin("member", "add", "--tenant", tenant, "--name", name, "--email", "\(name)@example.com", "--role", role)
        return added["code"]?.stringValue ?? ""
    }

    func enrolled(_ name: String, code: String) async throws -> Worker {
        let worker = Worker(file: folder.appendingPathComponent("\(name).db").path)
        _ = try await worker.json("enroll", address, code, "--label", name)
        return worker
    }

    /// Stops everything and removes the folder.
    func close() async {
        await stop()
        try? FileManager.default.removeItem(at: folder)
    }
}

/// Somebody with a replica file and the command.
struct Worker: Sendable {
    let file: String

    func run(_ arguments: String...) async throws -> Finished { try await TestSupport.run("replica", ["--db", file] + arguments) }

    /// The command's JSON document; any exit code but 0 (and, for syncs, 1) is an error.
    @discardableResult
    func json(_ arguments: String..., codes: Set<Int32> = [0]) async throws -> JSONValue {
        let finished = try await TestSupport.run("replica", ["--db", file, "--json"] + arguments)
        guard codes.contains(finished.code) else {
            throw UnexpectedResult(description: "\(arguments): exit \(finished.code): \(finished.output) \(finished.errors)")
        }
        return try JSONValue(parsing: finished.output)
    }

    func field(_ entity: String, _ id: String, _ name: String) async throws -> JSONValue {
        try await json("show", entity, id)[name] ?? .null
    }

    /// Equal to the server, by counts and hashes.
    func isIdentical() async throws -> Bool { try await json("digest", "--server", codes: [0, 1])["identical"]?.boolValue ?? false }

    func integrity() async throws -> String {
        let finished = try await TestSupport.run("replica", ["--db", file, "--json", "sql", "PRAGMA integrity_check"])
        return finished.output
    }
}

/// Founds a company, runs the body, and cleans up whatever happens.
func withCompany(_ body: (Company) async throws -> Void) async throws {
    await Companies.shared.enter()
    let result: Result<Void, any Error>
    do {
        let company = try Company()
        do {
            try await company.found()
            try await body(company)
            await company.close()
        } catch {
            await company.close()
            throw error
        }
        result = .success(())
    } catch {
        result = .failure(error)
    }
    await Companies.shared.leave()
    try result.get()
}

/// Every company has a server and a Postgres cluster of its own: more at a time than this only wait for each other.
private actor Companies {
    static let shared = Companies()
    private var free = 3
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func enter() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    /// Hands the place on to whoever has waited longest.
    func leave() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
