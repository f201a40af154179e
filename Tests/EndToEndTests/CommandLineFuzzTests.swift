// Anything typed at the command: it answers in words and with a documented exit code, never with a signal, and the file stays whole.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import replica_cli

@Suite struct CommandLineFuzzTests {
    /// Makes calls that are right, nearly right, and nothing at all.
    private struct Typist {
        var random: SeededRandom
        let folder: String
        let entities = [
            "client", "contact", "site", "deal", "client_contact", "custom_field", "member", "tenant", "replica", "deal_contact", "nothing",
            "",
        ]
        let fields = [
            "name", "title", "tags", "amount", "client", "custom.x", "custom.", "billing_address.city", "expected_close", "stage", "status",
            "id", "custom",
            "owner", "created_at", "deleted", "pending", "kinds", "latitude_e6", "closed_at", "_extra", "position", "subject", "a.b.c", "",
        ]
        let values = [
            "", "x", "Pier 9", "null", "today", "+999999d", "-1000000w", "99999999999999999999", "-9223372036854775808",
            "9223372036854775807", "1,250.50", "€",
            "0x10", "1e309", "yes", "a,b;c", "{\"a\":1}", "[", "\u{0}x", "2026-02-30", "9999-12-31", "+7975y", "a=b", "=", "'", "\"",
            "%s%n", "../../etc",
            "東京", "👩‍🔧", "\u{1B}[2J", "\u{202E}", "e\u{301}\u{301}", "won", "vip", "lead", "1.7976931348623157e308", "٣", "-", "--", "\n",
            "\r\n", "\t",
        ]

        mutating func pick<T>(_ items: [T]) -> T { items[Int(random.next() % UInt64(items.count))] }
        mutating func chance(_ parts: UInt64) -> Bool { random.next() % parts == 0 }

        /// Arguments end at NUL in every system.
        mutating func garbage(_ most: Int) -> String {
            var scalars = String.UnicodeScalarView()
            for _ in 0..<Int(random.next() % UInt64(most + 1)) {
                let wide = chance(3)
                let value = UInt32(truncatingIfNeeded: 1 + random.next() % (wide ? 0x1_FFFF : 0x7E))
                scalars.append(Unicode.Scalar(value) ?? " ")
            }
            return String(scalars)
        }

        mutating func value() -> String { (chance(4) ? garbage(30) : pick(values)).replacing("\u{0}", with: "") }
        mutating func assignment() -> String { pick(fields) + pick(["=", "+=", "-=", "==", ""]) + value() }
        mutating func condition() -> String {
            pick(fields) + pick(["=", " = ", "<", " >= ", "!=", "~", " contains ", " is ", " "]) + value()
        }
        mutating func record() -> String {
            chance(3) ? value() : pick(["Pier 9", "Pier", "0190", "ffff", "olivia@example.com", "Refit", "1"])
        }

        mutating func statement() -> String {
            let pieces = [
                "SELECT", "*", "FROM", "client", "site", "WHERE", "name", "=", "'x'", "(", ")", ",", "DELETE", "UPDATE", "SET",
                "INSERT INTO", "DROP TABLE",
                "PRAGMA", "journal_mode", "wal", "query_only=0", "ATTACH", "'\(folder)/other.db'", "AS", "x", ";", "--", "/*", "NULL", "1",
                "VACUUM", "INTO",
                "_tideline_pending", "json_each", "UNION ALL", "GROUP BY", "ORDER BY", "LIMIT", "BEGIN", "COMMIT", "ROLLBACK",
                "writable_schema=1", "CREATE TABLE",
                "sqlite_master", "zeroblob(10)", "randomblob(5)", "?1", ":a", "1e308*10", "x'00ff'", "load_extension('x')", "char(0)",
            ]
            return (0..<(1 + Int(random.next() % 9))).map { _ in pick(pieces) }.joined(separator: " ")
        }

        /// A file to import.
        mutating func file() throws -> String {
            let isCSV = chance(2)
            let path = "\(folder)/import-\(random.next()).\(isCSV ? "csv" : "jsonl")"
            var bytes: [UInt8] = []
            for _ in 0..<(random.next() % 8) {
                if isCSV {
                    bytes += Array(
                        (0..<3).map { _ in chance(3) ? "\"\(value())\"" : pick(["name", "id", "tags", "custom.x", value()]) }.joined(
                            separator: ","
                        ).utf8)
                } else {
                    let json = [
                        "{\"name\":\"Client\"}", "{\"id\":5,\"name\":\"x\"}", "{\"id\":\"0190\"}", "{\"name\":null,\"tags\":[1]}", "[]",
                        "{", "{\"custom\":{\"x\":{}}}",
                        "{\"name\":{\"add\":[]},\"tags\":{\"add\":5}}", "{\"amount\":1e99}", "{\"name\":\"a\",\"name\":\"b\"}",
                        "{\"deleted_at\":5}",
                    ]
                    bytes += Array(pick(json).utf8)
                }
                bytes += pick([[0x0A], [0x0D, 0x0A], [], [0xFF, 0x0A], [0xEF, 0xBB, 0xBF, 0x0A], [0x00, 0x0A]])
            }
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            return path
        }

        mutating func call() throws -> [String] {
            var words: [String]
            switch pick(
                [
                    "list", "show", "add", "set", "do", "remove", "restore", "problem", "import", "export", "sql", "look", "schema", "help",
                    "complete", "report", "other", "garbage",
                ])
            {
            case "list":
                words = ["list", pick(entities)]
                for _ in 0..<(random.next() % 3) { words += ["--where", condition()] }
                if chance(3) { words += ["--sort", pick(["", "-"]) + pick(fields)] }
                if chance(3) { words += ["--columns", pick(fields) + "," + pick(fields)] }
                if chance(4) { words += ["--limit", value()] }
                if chance(4) { words += ["--cursor", value()] }
                if chance(4) { words.append("--deleted") }
            case "show": words = ["show", pick(entities), record()]
            case "add": words = ["add", pick(entities)] + (0..<(random.next() % 4)).map { _ in assignment() }
            case "set": words = ["set", pick(entities), record()] + (0..<(random.next() % 4)).map { _ in assignment() }
            case "do": words = ["do", pick(["hold", "win", "lose", "qualify", "reopen", "x"]), pick(entities), record(), assignment()]
            case "remove": words = ["remove", pick(entities), record()]
            case "restore": words = ["restore", pick(entities), record()]
            case "problem": words = [pick(["problems", "retry", "edit", "discard", "pending"]), value(), assignment()]
            case "import": words = ["import", pick(entities), chance(5) ? value() : try file()]
            case "export": words = ["export", pick(entities), "--format", pick(["csv", "jsonl", "xml"])]
            case "sql":
                words = ["sql", statement()]
                if chance(2) { words.append("--write") }
                if chance(4) { words += ["--summary", value()] }
            case "look":
                words = pick([
                    ["history", pick(entities), record()], ["undo", value()], ["undo"], ["doctor", "--offline"], ["doctor", value()],
                    ["log", "--entity", pick(entities), "--id", record()], ["log", "--kind", value(), "--since", value()],
                    ["log", "--limit", value(), "--cursor", value(), "--level", value()], ["log", "--actor", record()],
                ])
            case "schema": words = ["schema", pick(entities)]
            case "help": words = ["help", pick(["list", "where", "values", "--man", value()])]
            case "complete":
                words =
                    ["__complete", pick(["bash", "zsh", "fish", "csh"]), "--"] + [
                        pick(["set", "add", "list", "do", "edit"]), pick(entities), record(), assignment(),
                    ]
            case "report":
                words =
                    ["report", pick(["pipeline", "closed_deals", "client_overview", value()])]
                    + (0..<(random.next() % 3)).map { _ in pick(["as_of", "from", "until", pick(fields)]) + "=" + value() }
                if chance(3) { words += ["--limit", value()] }
            case "other": words = [pick(["status", "digest", "pending", "problems", "completions", "sync"]), value()]
            default: words = (0..<(1 + random.next() % 4)).map { _ in garbage(12) }
            }
            if chance(4) { words.insert("--json", at: chance(2) ? 0 : words.count) }
            if chance(12) { words.append(pick(["--", "--where", "--json", "-x", "--db=", "--nothing=1", "--help"])) }
            if chance(15), words.count > 1 { words.remove(at: Int(random.next() % UInt64(words.count))) }
            return words.map { $0.replacing("\u{0}", with: "") }
        }

        /// Calls that leave this machine or never end are not for guessing.
        func isAllowed(_ words: [String]) -> Bool {
            !words.contains("--watch") && !words.contains("enroll") && !words.contains { $0.hasPrefix("--db") && $0 != "--db=" }
        }
    }

    @Test func anything_getsWordsAndADocumentedExitCode() async throws {
        var typist = Typist(random: SeededRandom.fresh(), folder: try Programs.temporaryFolder().path)
        defer { try? FileManager.default.removeItem(atPath: typist.folder) }
        print("seed \(typist.random.seed)")
        try await withCompany { company in
            let worker = try await company.enrolled("olivia", code: await company.ownerCode)
            try await worker.json("sync")
            try await worker.json("add", "client", "name=Pier 9", "tags=vip")
            try await worker.json("add", "deal", "title=Refit", "client=Pier 9", "amount=5", "owner=olivia@example.com")
            var codes: [Int32: Int] = [:]
            for _ in 0..<200 {
                let words = try typist.call()
                guard typist.isAllowed(words) else { continue }
                let finished = try await run(
                    "replica", words,
                    environment: [
                        "TIDELINE_DB": worker.file, "HOME": typist.folder, "XDG_DATA_HOME": typist.folder,
                        "COLUMNS": "\(20 + typist.random.next() % 100)",
                    ])
                codes[finished.code, default: 0] += 1
                #expect((0...5).contains(finished.code), "\(words): \(finished.code) \(finished.errors.suffix(2000))")
                let isSilent = finished.output.isEmpty && finished.errors.isEmpty
                #expect(finished.code == 0 || words.contains("__complete") || !isSilent, "\(words): \(finished.code) without a word")
                #expect(!finished.errors.contains("Fatal error"), "\(words)")
                if words.prefix(while: { $0 != "--" }).contains("--json"), !words.contains("__complete") {
                    #expect(throws: Never.self, "\(words): \(finished.output)") { try JSONValue(parsing: finished.output) }
                }
            }
            // Bytes that are no text are refused before anything is done with them, whatever file is named.
            let before = try await worker.json("pending")
            for words in Self.brokenWords { try await Self.isRefused(words, worker.file) }
            #expect(try await worker.json("pending") == before, "nothing that nobody typed was stored")
            #expect(codes[0] ?? 0 > 8 && codes[1] ?? 0 > 8 && codes[2] ?? 0 > 8, "all kinds of answers were met: \(codes)")
            #expect(try await worker.integrity().contains("\"ok\""))
            #expect(try await worker.run("status").code == 0)
            // What was let in is what the server takes: nothing typed here jams the next sync.
            try await worker.json("sync", codes: [0, 1])
            #expect(try await worker.json("pending")["total"] == 0)
            #expect(try await worker.isIdentical())
        }
    }

    @Test func bytesThatAreNoText_areAnErrorInWords() async throws {
        let folder = try Programs.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: folder) }
        for words in Self.brokenWords { try await Self.isRefused(words, folder.appendingPathComponent("r.db").path) }
    }

    /// As bash is told them: text, and bytes in it that are none.
    private static let brokenWords = [
        "list $'\\xff'", "$'\\xff\\xfe'", "add client name=$'bad\\xff'", "add client name=x notes=$'\\xc3\\x28'", "help $'\\xf0\\x9f'",
        "add $'cli\\xedent' name=x", "--json add client name=$'bad\\xff'",
    ]

    private static func isRefused(_ words: String, _ file: String) async throws {
        let replica = Programs.folder.appendingPathComponent("replica").path
        let finished = try await RunningProgram(path: "/bin/bash", ["-c", "exec \"$0\" --db \"$1\" \(words)", replica, file]).finish()
        #expect(finished.code == 2, "\(words): \(finished.code) \(finished.errors)")
        let told = words.hasPrefix("--json") ? try JSONValue(parsing: finished.output)["error"]?["message"]?.stringValue : finished.errors
        #expect(told?.contains("is not valid UTF-8: ") == true, "\(words): \(told ?? "")")
    }
}
