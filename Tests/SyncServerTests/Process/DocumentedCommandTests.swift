// The commands and scripts in docs/api.md and docs/events.md run as they are written, against a real server.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct DocumentedCommandTests {
    /// The fenced blocks, each with its language on the first line.
    private static func blocks(_ document: String) throws -> [String] {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { root.deleteLastPathComponent() }
        let text = try String(contentsOf: root.appendingPathComponent("docs/\(document)"), encoding: .utf8)
        return text.components(separatedBy: "```").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
    }

    /// The lines of the fenced blocks that begin with a word, each with the lines that go on with it.
    private static func commands(_ document: String, _ word: String) throws -> [String] {
        try blocks(document).flatMap { block in
            block.replacing("\\\n", with: " ").split(separator: "\n").map(String.init).filter { $0.hasPrefix(word) }
        }
    }

    private static func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String, errors: String) {
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = [
            "PATH": "/usr/bin:/bin:\(try ServerProcess.binary.deletingLastPathComponent().path)", "TIDELINE_UNSAFE_NO_FSYNC": "1",
        ]
        (process.standardOutput, process.standardError) = (output, errors)
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let words = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text, words)
    }

    /// A tenant with a token of its owner, and a server that delivers nothing.
    private struct Place {
        let server: ServerProcess
        let url: String
        let tenant: String
        let token: String

        init() throws {
            url = try ServerProcess.migratedDatabase()
            let database = ["--database-url", url]
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>"] + database)
            tenant = try required(made["tenant"]?.stringValue)
            let words = ["--tenant", tenant, "--member", try required(made["member"]?.stringValue)]
            token = try required(ServerProcess.json(["token", "create"] + words + database)["token"]?.stringValue)
            server = try ServerProcess(database + ["--webhook-threads", "0"])
        }

        func create(_ fields: JSONValue) throws -> JSONValue {
            let made = try server.post("/v1/client", fields.canonicalBytes(), token: token)
            guard made.status == 201 else { throw ServerProcess.Failure(description: made.text) }
            return try JSONValue(parsing: made.body)
        }
    }

    @Test func apiCommands_runAsWritten() async throws {
        let commands = try Self.commands("api.md", "curl ")
        #expect(commands.count >= 12)
        try await onOwnThread {
            let place = try Place()
            let (server, token) = (place.server, place.token)
            for number in 0..<25 { _ = try place.create(["name": .string("Client \(number)")]) }
            let client = try place.create(["name": "Harbor Hotel"])
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
                let result = try Self.run("/bin/bash", ["-c", setting + command])
                // The entity tag of the example is somebody else's.
                let expected = command.contains("If-Match") ? ["412"] : ["200", "201"]
                #expect(result.status == 0 && expected.contains(result.output), "\(command): \(result.output) \(result.errors)")
            }
        }
    }

    /// What is written for a server of one's own: where it is, and whose.
    @Test func eventsCommands_runAsWritten() async throws {
        let (administration, requests) = (try Self.commands("events.md", "sync-server "), try Self.commands("events.md", "curl "))
        #expect(administration.count == 4 && requests.count == 3)
        try await onOwnThread {
            let place = try Place()
            _ = try place.create(["name": "Harbor Hotel"])
            func bash(_ command: String) throws -> (status: Int32, output: String, errors: String) {
                let here = command.replacing("--tenant ID", with: "--tenant \(place.tenant)")
                    .replacing("--data-dir ./data", with: "--database-url '\(place.url)'")
                    .replacing("http://127.0.0.1:8080", with: "http://127.0.0.1:\(place.server.port)")
                return try Self.run("/bin/bash", ["-c", "TOKEN=\(place.token)\n\(here)"])
            }
            for command in administration {
                let result = try bash(command)
                #expect(result.status == 0, "\(command): \(result.output) \(result.errors)")
                if command.contains(" list ") {
                    for name in ["billing", "warehouse", "offboarding"] { #expect(result.output.contains(name), "\(result.output)") }
                }
            }
            // The same consumer again, over HTTP.
            _ = try ServerProcess.json(["consumer", "remove", "billing", "--tenant", place.tenant, "--database-url", place.url])
            func ask(_ command: String) throws -> JSONValue {
                let result = try bash(command)
                #expect(result.status == 0, "\(command): \(result.errors)")
                return try JSONValue(parsing: result.output)
            }
            let added = try ask(requests[0])
            #expect(added["secret"]?.stringValue?.hasPrefix("whsec_") == true && added["kinds"] == ["deal.won", "client.*"], "\(added)")
            let events = try ask(requests[1])
            let types = (events["data"]?.arrayValue ?? []).compactMap { $0["type"]?.stringValue }
            #expect(types.contains("client.created"), "\(events)")
            // The example acknowledges somebody else's event; with the answer's own place it is right.
            #expect(try ask(requests[2])["error"]?["code"]?.stringValue == "conflict")
            let (position, print) = (try required(events["position"]?.integerValue), try required(events["fingerprint"]?.stringValue))
            let acknowledged = try ask(
                requests[2].replacing("\"position\":42", with: "\"position\":\(position)").replacing("9f86d081884c7d65", with: print))
            #expect(acknowledged["position"]?.integerValue == position, "\(acknowledged)")
            #expect(try ask(requests[1].replacing("wait=30000", with: "wait=0"))["data"] == [])
        }
    }

    @Test func signatureByHand_isTheOneThatIsSent() async throws {
        let block = try required(try Self.blocks("events.md").first { $0.contains("openssl dgst") })
        let secret = try required(WebhookSecret("whsec_" + Data((0..<32).map { UInt8($0) }).base64EncodedString()))
        let body = Array(#"{"id":"evt_1","data":{"name":"Élan $HOME `x` \\n"}}"#.utf8)
        let header = WebhookSignature.header(id: "evt_1", timestampSeconds: 1_700_000_000, body: body, secrets: [secret])
        try await onOwnThread {
            let script = block.drop { $0 != "\n" }
            let setting = "secret=\(secret.text) id=evt_1 timestamp=1700000000 body=$1\n"
            let result = try Self.run("/bin/bash", ["-c", setting + script, "bash", String(decoding: body, as: UTF8.self)])
            #expect("v1,\(result.output.trimmingCharacters(in: .whitespacesAndNewlines))" == header, "\(result.errors)")
        }
    }

    /// The scripts for browsers, all of them one after another as a page would have them, with what they leave behind looked at.
    @Test(.enabled(if: Programs.path(of: "node") != nil, "needs node")) func browserScripts_runAsWritten() async throws {
        let scripts = try Self.blocks("api.md").filter { $0.hasPrefix("js\n") }.map { String($0.dropFirst(3)) }
        #expect(scripts.count == 3)
        try await onOwnThread {
            let place = try Place()
            var last: JSONValue = .null
            for number in 0..<230 {
                let name = "Client \(1000 + number)"
                last = try place.create(["name": .string(name), "tags": number < 205 ? ["vip"] : []])
            }
            let id = try required(last["data"]?["id"]?.stringValue)
            let asked = """
                const same = (is, wanted) => { if (JSON.stringify(is) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(is)} is not ${JSON.stringify(wanted)}`); };
                same([rows.length, rows[0].name, pages], [20, "Client 1040", 12]);
                const read = await fetch(`${server}/v1/client/\(id)`, { headers: { Authorization: `Bearer ${token}` } });
                const first = await patch("client", "\(id)", read.headers.get("ETag"), { phone: "+15550100" });
                same([first.record.phone, first.isStale], ["+15550100", undefined]);
                same(await patch("client", "\(id)", read.headers.get("ETag"), { phone: "+15550101" }), { isStale: true });
                same((await patch("client", "\(id)", first.etag, { phone: "+15550102" })).record.phone, "+15550102");
                let refusal = "";
                try { await patch("client", "\(id)", first.etag + "x", { name: "" }); } catch (error) { refusal = error.message; }
                if (!refusal) throw new Error("nothing was refused");
                """
            let file = FileManager.default.temporaryDirectory.appendingPathComponent("tideline-\(UUID().uuidString).mjs")
            defer { try? FileManager.default.removeItem(at: file) }
            let text = (["const token = \"\(place.token)\";"] + scripts + [asked]).joined(separator: "\n")
                .replacing("http://127.0.0.1:8080", with: "http://127.0.0.1:\(place.server.port)")
            try text.write(to: file, atomically: true, encoding: .utf8)
            let result = try Self.run(try required(Programs.path(of: "node")), [file.path])
            #expect(result.status == 0, "\(result.errors)")
            let names = result.output.split(separator: "\n").map(String.init)
            #expect(names == (0..<205).map { "Client \(1000 + $0)" }, "two pages, each client once")
        }
    }
}
