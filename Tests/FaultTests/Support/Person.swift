// Somebody with a replica file and the command.

import Foundation
import SyncProtocol
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

struct Person: Sendable {
    let name: String
    let file: String

    /// Enrols a new file.
    init(_ name: String, in folder: URL, server: String, code: String) async throws {
        self.init(name, file: folder.appendingPathComponent("\(name).db").path)
        try await json("enroll", server, code, "--label", name)
    }

    init(_ name: String, file: String) {
        self.name = name
        self.file = file
    }

    func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> Finished {
        try await TestSupport.run("replica", ["--db", file, "--json"] + arguments, environment: environment)
    }

    func start(_ arguments: [String], environment: [String: String] = [:]) throws -> RunningProgram {
        try RunningProgram("replica", ["--db", file] + arguments, environment: environment)
    }

    /// The command's JSON document; another exit code is an error.
    @discardableResult
    func json(_ arguments: String..., codes: Set<Int32> = [0]) async throws -> JSONValue {
        let finished = try await run(arguments)
        guard codes.contains(finished.code) else {
            throw UnexpectedResult("\(name): \(arguments): exit \(finished.code): \(finished.output) \(finished.errors)")
        }
        return try JSONValue(parsing: finished.output)
    }

    /// What `add` made.
    func add(_ arguments: String...) async throws -> String {
        let finished = try await run(["add"] + arguments)
        guard finished.code == 0, let id = try JSONValue(parsing: finished.output)["id"]?.stringValue else {
            throw UnexpectedResult("\(name): add \(arguments): exit \(finished.code): \(finished.output) \(finished.errors)")
        }
        return id
    }

    /// The sqlite3 shell in the file, as people use it.
    func shell(_ sql: String) async throws -> Finished {
        try await RunningProgram(path: "/usr/bin/env", ["sqlite3", "-cmd", ".timeout 20000", file, sql]).finish()
    }

    /// Starts `sync` and kills it after a while, if it is still running then. Whether it was.
    func syncKilled(afterMilliseconds: Int) async throws -> Bool {
        let sync = try start(["sync"])
        _ = try await sync.wait(seconds: Double(afterMilliseconds) / 1000) { !$0.isRunning }
        let isKilled = sync.isRunning
        sync.signal(SIGKILL)
        return await sync.finish().code == -SIGKILL && isKilled
    }

    /// Syncs until nothing is pending; throws when that needs more rounds than it should.
    func syncUntilQuiet(rounds: Int = 8) async throws {
        var last = ""
        for _ in 0..<rounds {
            let finished = try await run(["sync"])
            last = "exit \(finished.code): \(finished.output) \(finished.errors)"
            if [0, 1].contains(finished.code), try await json("pending")["total"] == 0 { return }
        }
        throw UnexpectedResult("\(name) does not come to rest: \(last)")
    }

    func isIdentical() async throws -> Bool { try await json("digest", "--server", codes: [0, 1])["identical"]?.boolValue ?? false }

    func isSound() async throws -> Bool {
        let checked = try await shell("PRAGMA integrity_check")
        return checked.code == 0 && checked.output == "ok\n"
    }

    func pending() async throws -> Int64 { try await json("pending")["total"]?.integerValue ?? -1 }
    func problems() async throws -> Int64 { try await json("problems")["total"]?.integerValue ?? -1 }

    /// Names of live clients, and how many have each.
    func clientNames() async throws -> [String: Int64] {
        let found = try await json("sql", "SELECT name, count(*) AS n FROM client WHERE deleted_at IS NULL GROUP BY name")
        var names: [String: Int64] = [:]
        for row in found["data"]?.arrayValue ?? [] { names[row["name"]?.stringValue ?? ""] = row["n"]?.integerValue }
        return names
    }

    /// How many live clients have exactly this name.
    func count(ofClient name: String) async throws -> Int64 {
        let found = try await json("sql", "SELECT count(*) AS n FROM client WHERE deleted_at IS NULL AND name = '\(name)'")
        return found["data"]?.arrayValue?.first?["n"]?.integerValue ?? -1
    }
}
