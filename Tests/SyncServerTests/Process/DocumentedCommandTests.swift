// The commands in docs/api.md run as they are written, against a real server.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct DocumentedCommandTests {
    /// The lines of the fenced blocks without a language that begin with a word.
    private static func commands(_ document: String, _ word: String) throws -> [String] {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { root.deleteLastPathComponent() }
        let text = try String(contentsOf: root.appendingPathComponent("docs/\(document)"), encoding: .utf8)
        let blocks = text.components(separatedBy: "```").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        return blocks.flatMap { $0.split(separator: "\n").map(String.init).filter { $0.hasPrefix(word) } }
    }

    @Test func apiCommands_runAsWritten() async throws {
        let commands = try Self.commands("api.md", "curl ")
        #expect(commands.count >= 12)
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
            let words = ["--tenant", try required(made["tenant"]?.stringValue), "--member", try required(made["member"]?.stringValue)]
            let token = try required(ServerProcess.json(["token", "create"] + words + database)["token"]?.stringValue)
            let server = try ServerProcess(database + ["--webhook-threads", "0"])
            func create(_ name: String) throws -> WireResponse {
                try server.post("/v1/client", (["name": .string(name)] as JSONValue).canonicalBytes(), token: token)
            }
            for number in 0..<25 { #expect(try create("Client \(number)").status == 201) }
            let client = try JSONValue(parsing: create("Harbor Hotel").body)
            let page = try JSONValue(parsing: server.get("/v1/client?limit=20&sort=-name", token: token).body)
            // What the page of the documentation sets, and what its reader has at hand.
            let setting = """
                API=http://127.0.0.1:\(server.port) TOKEN=\(token)
                auth="Authorization: Bearer $TOKEN"
                json="Content-Type: application/json"
                ID=\(try required(client["data"]?["id"]?.stringValue)) CURSOR=\(try required(page["next_cursor"]?.stringValue))
                curl() { command curl -sS -o /dev/null -w '%{http_code}' "$@"; }

                """
            for command in commands {
                let process = Process()
                let (output, errors) = (Pipe(), Pipe())
                process.executableURL = URL(fileURLWithPath: "/bin/bash")
                process.arguments = ["-c", setting + command]
                process.environment = ["PATH": "/usr/bin:/bin"]
                (process.standardOutput, process.standardError) = (output, errors)
                try process.run()
                let status = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                let words = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                // The entity tag of the example is somebody else's.
                let expected = command.contains("If-Match") ? ["412"] : ["200", "201"]
                #expect(process.terminationStatus == 0 && expected.contains(status), "\(command): \(status) \(words)")
            }
        }
    }
}
