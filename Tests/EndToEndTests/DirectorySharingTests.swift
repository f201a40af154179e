// Several programs on one data directory at the same moment: a server waits for commands, commands use a server that is starting,
// and a second server is refused at once.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite(.serialized) struct DirectorySharingTests {
    private static let environment = ["TIDELINE_UNSAFE_NO_FSYNC": "1"]

    private func serve(_ directory: String) throws -> RunningProgram {
        try RunningProgram("sync-server", ["serve", "--data-dir", directory, "--listen", "127.0.0.1:0"], environment: Self.environment)
    }

    private func create(_ name: String, _ directory: String) throws -> RunningProgram {
        try RunningProgram(
            "sync-server", ["--json", "tenant", "create", name, "--owner", "Olivia <o@example.com>", "--data-dir", directory],
            environment: Self.environment)
    }

    private func isListening(_ server: RunningProgram) async throws -> Bool {
        try await server.wait(seconds: 120) { ($0.output + $0.errors).contains("listening on http://") }
    }

    /// As the README has it pasted: the command while the server is only starting, or before, or a moment later.
    @Test func serverAndCommands_startedAtOnce_allSucceed() async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        for round in 0..<4 {
            // A new directory in the first two rounds, one that was used before in the others.
            let directory = folder.appendingPathComponent("data\(min(round, 1))").path
            let isServerFirst = round.isMultiple(of: 2)
            let early = isServerFirst ? try serve(directory) : nil
            let commands = [try create("One", directory), try create("Two", directory)]
            let server = try early ?? serve(directory)
            for command in commands {
                let finished = await command.finish()
                #expect(finished.code == 0, "round \(round): \(finished.errors)")
                #expect(try JSONValue(parsing: finished.output)["code"]?.stringValue != nil)
            }
            #expect(try await isListening(server), "round \(round): \(server.errors)")
            // Beside the running server, as always.
            let late = await (try create("Three", directory)).finish()
            #expect(late.code == 0, "\(late.errors)")
            let second = try serve(directory)
            let refused = await second.finish()
            #expect(refused.code != 0 && refused.errors.contains("is in use by process \(server.pid)"), "\(refused.errors)")
            server.signal(SIGTERM)
            #expect(await server.finish().code == 0)
        }
    }

    @Test func directoryOfAKilledServer_isTakenOver_byACommandAndByAServer() async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let directory = folder.appendingPathComponent("data").path
        let first = try serve(directory)
        #expect(try await isListening(first))
        first.signal(SIGKILL)
        _ = await first.finish()
        let command = await (try create("One", directory)).finish()
        #expect(command.code == 0, "\(command.errors)")
        let second = try serve(directory)
        #expect(try await isListening(second), "\(second.errors)")
        second.signal(SIGTERM)
        #expect(await second.finish().code == 0)
    }
}
