// The tool that people have: the real `sqlite3` shell, in a process of its own.

import Foundation

@testable import Replica

struct SQLiteShell {
    let path: String

    struct Ended: Sendable {
        var code: Int32
        var output: String
        var errors: String
    }

    /// Runs a script, waiting for locks; the shell stops at the first error.
    func run(_ script: String) async throws -> Ended {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["sqlite3", "-batch", "-bail", "-cmd", ".timeout 20000", path]
        let (input, output, errors) = (Pipe(), Pipe(), Pipe())
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
        try process.run()
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                do {
                    try input.fileHandleForWriting.write(contentsOf: Data(script.utf8))
                    try input.fileHandleForWriting.close()
                    let said = try output.fileHandleForReading.readToEnd() ?? Data()
                    let complained = try errors.fileHandleForReading.readToEnd() ?? Data()
                    process.waitUntilExit()
                    continuation.resume(
                        returning: Ended(
                            code: process.terminationStatus, output: String(decoding: said, as: UTF8.self),
                            errors: String(decoding: complained, as: UTF8.self)))
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        }
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

extension Site {
    var shell: SQLiteShell { SQLiteShell(path: replica.path) }
}
