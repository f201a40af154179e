// The tool that people have: the real `sqlite3` shell, in a process of its own.

import Foundation
import TestSupport

@testable import Replica

#if canImport(Glibc)
    import Glibc
#endif

struct SQLiteShell {
    let path: String

    struct Ended: Sendable {
        var code: Int32
        var output: String
        var errors: String
    }

    /// Runs a script, waiting for locks; the shell stops at the first error.
    func run(_ script: String) async throws -> Ended {
        // Through files and an argument: a pipe would stay open in whatever program another test starts meanwhile, and two shells
        // that hold each other's would wait for ever.
        let finished = try await RunningProgram(
            path: "/usr/bin/env", ["sqlite3", "-batch", "-bail", "-cmd", ".timeout 20000", path, script]
        ).finish()
        return Ended(code: finished.code, output: finished.output, errors: finished.errors)
    }

    struct Refused: Error, CustomStringConvertible { var description: String }

    /// Runs a script that must succeed.
    @discardableResult
    func execute(_ script: String) async throws -> String {
        let ended = try await run(script)
        guard ended.code == 0 else { throw Refused(description: ended.errors) }
        return ended.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// What the shell complained about; empty when it did not.
    func refusal(_ script: String) async throws -> String {
        let ended = try await run(script)
        return ended.code == 0 ? "" : ended.errors
    }
}

/// A shell that stays: it is given statements one after another, as by somebody who types.
// @unchecked Sendable: the process is only told to start, end and report, and the pipes are used by one test in turn.
final class RunningShell: @unchecked Sendable {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var said = ""

    init(path: String) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["sqlite3", "-batch", "-bail", "-cmd", ".timeout 30000", path]
        // Programs that other tests start must not hold these ends open.
        for handle in [input, output].flatMap({ [$0.fileHandleForReading, $0.fileHandleForWriting] }) {
            _ = fcntl(handle.fileDescriptor, F_SETFD, FD_CLOEXEC)
        }
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
    }

    /// Returns when the shell is about to run the statements, or has begun to.
    func begin(_ statements: String) throws {
        let mark = "mark \(UUID().uuidString)"
        try input.fileHandleForWriting.write(contentsOf: Data("SELECT '\(mark)';\n\(statements)\n".utf8))
        try wait(for: mark)
    }

    /// Blocks until the shell has said so.
    func wait(for words: String) throws {
        while !said.contains(words) {
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else { throw SQLiteShell.Refused(description: "the shell ended after: \(said)") }
            said += String(decoding: more, as: UTF8.self)
        }
    }

    /// Exit code after everything that was typed.
    func end() async throws -> Int32 {
        // By a word and not by closing the pipe: a program that another test starts meanwhile may hold it open.
        try input.fileHandleForWriting.write(contentsOf: Data(".exit\n".utf8))
        return await withCheckedContinuation { continuation in
            DispatchQueue.global().async { [process] in
                process.waitUntilExit()
                continuation.resume(returning: process.terminationStatus)
            }
        }
    }
}

extension Site {
    var shell: SQLiteShell { SQLiteShell(path: replica.path) }
}
