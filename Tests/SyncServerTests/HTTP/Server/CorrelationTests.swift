// Every answer names the request that it is to, and nothing that could be more than a name.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct CorrelationTests {
    private func withNaming(_ run: @escaping @Sendable (HTTPServerUnderTest) throws -> Void) async throws {
        try await withHTTPServer(
            configure: { $0.amend = { Correlation.name($0, in: &$1) } },
            handler: { request, _ in .respond(.text(request.path == "/none" ? 404 : 200, "body")) }, run: run)
    }

    @Test func answers_nameTheirRequests_refusalsIncluded() async throws {
        try await withNaming { under in
            let client = try under.client()
            try client.get("/", headers: "Tideline-Correlation-Id: one\r\n")
            #expect(try client.response().header("tideline-correlation-id") == "one")
            try client.get("/")
            #expect(try client.response().header("tideline-correlation-id") == nil, "the next on the connection has no name")
            try client.get("/none", headers: "tideline-correlation-id: a.B_c-3\r\n")
            let missing = try client.response()
            #expect(missing.status == 404 && missing.header("tideline-correlation-id") == "a.B_c-3")
            // Both at once: each answer has its own.
            try client.send(
                "GET / HTTP/1.1\r\nHost: a\r\nTideline-Correlation-Id: x\r\n\r\n"
                    + "GET / HTTP/1.1\r\nHost: a\r\nTideline-Correlation-Id: y\r\n\r\n")
            #expect(try client.response().header("tideline-correlation-id") == "x")
            #expect(try client.response().header("tideline-correlation-id") == "y")
            // Refused before it was complete.
            try client.send("POST / HTTP/1.1\r\nHost: a\r\nTideline-Correlation-Id: large\r\nContent-Length: 99999999999\r\n\r\n")
            let refused = try client.response()
            #expect(refused.status == 413 && refused.header("tideline-correlation-id") == "large")
        }
    }

    @Test(arguments: ["a b", "a;b", "<script>", "a\u{E9}", "a,b", String(repeating: "a", count: 129), ""])
    func whatIsNoName_isNotSaidAgain(_ name: String) async throws {
        #expect(!Correlation.isWellFormed(name))
        try await withNaming { under in
            let client = try under.client()
            try client.get("/", headers: "Tideline-Correlation-Id: \(name)\r\n")
            #expect(try client.response().header("tideline-correlation-id") == nil)
        }
    }

    @Test func twoNames_areNone() async throws {
        try await withNaming { under in
            let client = try under.client()
            try client.get("/", headers: "Tideline-Correlation-Id: a\r\nTideline-Correlation-Id: a\r\n")
            #expect(try client.response().header("tideline-correlation-id") == nil)
        }
    }

    @Test func longestName_isSaidAgain() {
        #expect(Correlation.isWellFormed(String(repeating: "z", count: 128)))
        #expect(Correlation.isWellFormed("0aZ9-._"))
    }
}
