// A server under slow and large requests keeps to its memory, and to its life.

import Foundation
import SyncProtocol
import Testing

@testable import SyncServer

@Suite(.serialized) struct MemoryTests {
    private static func residentBytes(_ pid: Int32) throws -> Int { try bytes("VmRSS", of: pid) }
    /// The most that a process has held so far.
    private static func peakBytes(_ pid: Int32) throws -> Int { try bytes("VmHWM", of: pid) }

    private static func bytes(_ what: String, of pid: Int32) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try required(text.split(separator: "\n").first { $0.hasPrefix("\(what):") })
        return try required(Int(line.filter(\.isNumber))) * 1024
    }

    /// 200 senders that never finish, with far more between them than the server may hold.
    @Test func slowLargeBodies_stayWithinTheirMemory_andOthersAreAnswered() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let server = try ServerProcess(["--database-url", url], environment: ["TIDELINE_REQUEST_MEMORY_MB": "32"])
            let replica = try HostileTenant("Harbor", server, url).replica
            let authorization = "Authorization: Bearer \(replica.token)\r\n"
            let before = try Self.residentBytes(server.pid)
            var peak = before
            let piece = [UInt8](repeating: 0x20, count: 2 << 20)
            var slow: [LoopbackClient] = []
            for number in 0..<200 {
                let client = try server.client()
                let framing = number.isMultiple(of: 2) ? "Content-Length: 4000000\r\n" : "Transfer-Encoding: chunked\r\n"
                try client.send("POST /v1/sync/push HTTP/1.1\r\nHost: a\r\n\(authorization)\(framing)\r\n")
                if !number.isMultiple(of: 2) { try client.send("400000\r\n") }
                // Refused senders may meet a closed connection; that is the point.
                try? client.send(piece)
                slow.append(client)
                if number.isMultiple(of: 20) {
                    peak = max(peak, try Self.residentBytes(server.pid))
                    let body = replica.pushBody(counter: Int64(number / 20 + 1), client: HostileTenant.client(number), name: "Harbor")
                    #expect(try server.post("/v1/sync/push", body, token: replica.token).status == 200, "while \(number) are slow")
                }
            }
            peak = max(peak, try Self.residentBytes(server.pid))
            // Three times the memory for requests: what is held, its buffers growing, and what the allocator keeps. Unbounded it is 400 MB.
            #expect(peak - before < 3 * (32 << 20), "grew by \((peak - before) >> 20) MiB")
            let page = try server.get("/metrics").text
            #expect(page.contains("tideline_http_refusals_total{reason=\"overloaded\"}"))
            slow = []
            #expect(try server.get("/healthz").status == 200)
        }
    }

    /// A tenant with records of 60 kB, entries of 200 kB and outcomes of 256 KiB, hundreds of each: no request reads more of them than a
    /// page, whatever it asks for.
    @Test func largeRecordsEntriesAndOutcomes_areReadInParts() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let server = try ServerProcess(["--database-url", url])
            let replica = try HostileTenant("Harbor", server, url).replica
            let changes = (0..<400).map { Change("client", HostileTenant.client($0), .create(fields: ["name": .string("Harbor")])) }
            #expect(try server.post("/v1/sync/push", replica.pushBody(counter: 1, changes), token: replica.token).status == 200)
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            try connection.run(
                "INSERT INTO tideline.consumer (tenant, name, epoch, position, kind, kinds) VALUES ($1::uuid, 'reader', 0, 0, 'pull', '{client.created}')",
                .identifier(replica.tenant))
            let hash = String(repeating: "a", count: 64)
            try connection.run("UPDATE public.client SET notes = repeat('x', 60000)")
            try connection.run(
                """
                UPDATE tideline.feed SET changes = jsonb_build_object('notes', jsonb_build_object('old', repeat('x', 100000), \
                'new', repeat('y', 100000)))
                """)
            try connection.run(
                """
                INSERT INTO tideline.change_set (tenant, replica, counter, hash, status, outcome, received_at) \
                SELECT $1::uuid, $2::uuid, n, $3, 'noop', '{"status":"noop","x":"' || repeat('x', 262000) || '"}', 0 \
                FROM generate_series(2, 501) n
                """, .identifier(replica.tenant), .identifier(replica.replica), .text(hash))
            try connection.run(
                "UPDATE tideline.replica SET acknowledged = 501 WHERE id = $1::uuid", .identifier(replica.replica))
            let pull = replica.pull(cursor: nil, outcomesAfter: 501)
            func again(_ counters: ClosedRange<Int64>) -> [UInt8] {
                let sets = counters.map { OfferedSet(counter: $0, hash: hash, sealed: nil) }
                return PushRequest(schemaVersion: Schema.currentVersion, cursor: nil, sets: sets).bytes(replica: replica.replica)
            }
            let before = try Self.peakBytes(server.pid)
            let ids = (0..<100).map { HostileTenant.client($0).text }.joined(separator: ",")
            for (target, hasMore) in [
                ("/v1/sync/records?entity=client&ids=\(ids)", Bool?.none), ("/v1/client?limit=200", true), ("/v1/activity?limit=200", true),
                ("/v1/consumers/reader/events?limit=1000", true), ("/v1/sync/activity?limit=1000&after=0", true), ("/v1/sync/digest", nil),
                (pull + "&limit=5000", true),
            ] {
                let answer = try server.get(target, token: replica.token)
                #expect(answer.status == 200, "\(target)")
                #expect(answer.body.count < 17 << 20, "\(target): \(answer.body.count)")
                if let hasMore { #expect(try JSONValue(parsing: answer.body)["has_more"]?.boolValue == hasMore, "\(target)") }
            }
            // Half of them, and half of those, are few enough in the end.
            #expect(try server.post("/v1/sync/push", again(2...501), token: replica.token).status == 413)
            #expect(try server.post("/v1/sync/push", again(2...101), token: replica.token).status == 200)
            // Read whole, these are hundreds of megabytes, each several times in memory.
            let grown = try Self.peakBytes(server.pid) - before
            #expect(grown < 200 << 20, "grew by \(grown >> 20) MiB")
        }
    }

    /// JSON that is deep, broad or long, at every endpoint that reads some.
    @Test func largeAndDeepJSON_isRefused_andTheServerLives() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let server = try ServerProcess(["--database-url", url])
            let replica = try HostileTenant("Harbor", server, url).replica
            let texts: [(name: String, text: String)] = [
                ("arrays", String(repeating: "[", count: 1_000_000)),
                ("closed arrays", String(repeating: "[", count: 500_000) + String(repeating: "]", count: 500_000)),
                ("objects", String(repeating: "{\"a\":", count: 200_000)),
                ("a number", "[" + String(repeating: "9", count: 1_000_000) + "]"),
                ("a fraction", "{\"a\":0." + String(repeating: "1", count: 900_000) + "}"),
                ("a string", "{\"a\":\"" + String(repeating: "a", count: 1_000_000) + "\"}"),
                ("an open string", "\"" + String(repeating: "\\u0041", count: 150_000)),
                ("many keys", "{" + (0..<60_000).map { "\"\($0)\":0" }.joined(separator: ",") + "}"),
                ("many elements", "[" + String(repeating: "0,", count: 400_000) + "0]"),
                (
                    "many sets",
                    "{\"protocol\":1,\"schema\":1,\"cursor\":null,\"sets\":[" + String(repeating: "{},", count: 300_000) + "{}]}"
                ),
                ("blanks", String(repeating: " ", count: 1_000_000)), ("nothing", ""), ("bytes", "\u{FFFD}\u{FFFE}"),
            ]
            for (name, text) in texts {
                for path in ["/v1/enroll", "/v1/sync/push", "/v1/sync/fork", "/v1/client", "/v1/consumers"] {
                    let answer = try server.post(path, Array(text.utf8), token: replica.token)
                    #expect(
                        (400..<500).contains(answer.status) || (answer.status == 503 && path == "/v1/enroll"),
                        "\(name) at \(path): \(answer.status) \(answer.text.prefix(200))")
                }
            }
            #expect(server.isRunning)
            #expect(try server.get("/readyz").status == 200)
        }
    }
}
