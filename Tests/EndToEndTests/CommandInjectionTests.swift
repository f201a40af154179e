// Texts that would be statements, paths or formats to some program, as names and values of both commands: kept as they are or refused
// in words, here and at the other end; and nothing else changes.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct CommandInjectionTests {
    private static let texts = [
        "'; DROP TABLE client; --", "\" OR \"\"=\"", "x' UNION SELECT sql FROM sqlite_master --", "$$; DROP SCHEMA tideline CASCADE; $$",
        "100% _off_ \\' \\\\ ", "{\"a\",NULL}", "ʼ＇’ OR ’1’=’1", "$(id)`id`", "%s%n", "=1+1",
    ]

    @Test func bothCommands_keepTextsAsTheyAre() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let before = try await olivia.json("sql", "SELECT group_concat(name || coalesce(sql, '')) AS shape FROM sqlite_master")
            for (number, text) in Self.texts.enumerated() {
                // Names of entities, fields, records, transitions: refused, with an exit code that says so.
                let calls = [
                    ["list", text], ["show", "client", text], ["do", text, "deal", text], ["list", "client", "--sort", text],
                    ["add", "client", "name=x", "\(text)=x"], ["list", "client", "--where", text], ["history", "client", text],
                    ["schema", text],
                ]
                // Each text in some places, each place with some texts: a process takes its time.
                for (place, call) in calls.enumerated() where (place + number).isMultiple(of: 4) {
                    let finished = try await run("replica", ["--db", olivia.file] + call)
                    #expect((1...5).contains(finished.code), "\(call): \(finished.code) \(finished.output)")
                }
                try await olivia.json("add", "client", "name=\(text)", "notes=\(text)")
                #expect(try await olivia.json("list", "client", "--where", "name = \(text)", codes: [0, 2])["total"] != 2)
            }
            let file = company.folder.appendingPathComponent("import.csv")
            let quoted = Self.texts.map { "\"\($0.replacing("\"", with: "\"\""))\",\"imported\"" }
            try (["name,notes"] + quoted).joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
            try await olivia.json("import", "client", file.path)
            for header in Self.texts.prefix(4) {
                try "name,\"\(header.replacing("\"", with: "\"\""))\"\nx,y".write(to: file, atomically: true, encoding: .utf8)
                let finished = try await olivia.run("import", "client", file.path)
                #expect((1...5).contains(finished.code), "\(header): \(finished.code) \(finished.output)")
            }
            #expect(try await olivia.json("sql", "SELECT group_concat(name || coalesce(sql, '')) AS shape FROM sqlite_master") == before)
            #expect(try await olivia.json("sync")["rejected"] ?? 0 == 0)

            // And another replica has every one of them, twice.
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            try await marcus.json("sync")
            let names = try await marcus.json("list", "client", "--limit", "100")["data"]?.arrayValue ?? []
            let expected = Self.texts.map { $0.trimmingCharacters(in: .whitespaces) }.flatMap { [$0, $0] }.sorted()
            #expect(names.compactMap { $0["name"]?.stringValue }.sorted() == expected)
            #expect(try await marcus.isIdentical())

            // The server's commands.
            for (number, text) in Self.texts.enumerated() {
                let data = await company.dataFolder
                let tenant = await company.tenant
                let calls = [
                    ["tenant", "create", text, "--owner", "\(text.replacing("<", with: "")) <owner@example.com>"],
                    ["member", "add", "--tenant", tenant, "--name", text, "--email", text, "--role", "manager"],
                    ["member", "add", "--tenant", text, "--name", text, "--email", "a@example.com", "--role", text],
                    ["replica", "list", "--tenant", text], ["replica", "revoke", text, "--tenant", tenant],
                    ["consumer", "add", text, "--tenant", tenant], ["consumer", "show", text, "--tenant", tenant],
                    ["token", "revoke", text],
                ]
                for (place, call) in calls.enumerated() where (place + number).isMultiple(of: 4) {
                    let finished = try await run("sync-server", ["--json"] + call + ["--data-dir", data])
                    #expect((0...2).contains(finished.code), "\(call): \(finished.code) \(finished.output) \(finished.errors)")
                    if call[0] != "tenant" { #expect(finished.code != 0, "\(call)") }
                }
            }
            try await marcus.json("sync")
            #expect(try await marcus.isIdentical())
        }
    }
}
