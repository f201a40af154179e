// Pages of other origins: nothing without configuration; with it every answer is for the origins named, refusals included.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct CrossOriginTests {
    private static func request(_ method: String, _ path: String, _ headers: [(name: String, value: String)]) -> HTTPRequest {
        HTTPRequest(
            method: method, target: path, path: path, pathSegments: path.split(separator: "/").map(String.init), query: [],
            headers: HTTPHeaders(headers), body: [], keepsConnection: true, minorVersion: 1, byteCount: 0, requestID: "r",
            peerAddress: "127.0.0.1")
    }

    private static func answered(_ rules: CrossOrigin, _ method: String, _ path: String, origin: String?, asking: String? = nil)
        -> HTTPResponse
    {
        var headers: [(name: String, value: String)] = []
        if let origin { headers.append(("origin", origin)) }
        if let asking { headers.append(("access-control-request-method", asking)) }
        let request = request(method, path, headers)
        var response = rules.preflight(request) ?? HTTPResponse(status: 405)
        rules.open(&response, to: request)
        return response
    }

    @Test func origins_areTakenAsBrowsersSendThem() throws {
        let rules = try #require(CrossOrigin(["HTTPS://App.Example:443", "http://127.0.0.1:5173"]))
        #expect(rules.origins == ["https://app.example", "http://127.0.0.1:5173"] && !rules.isOpen)
        #expect(CrossOrigin(["*"])?.isOpen == true)
    }

    @Test(arguments: [
        "app.example", "https://", "https://app.example/", "https://app.example/x", "ftp://app.example", "https://u@a.example", "",
    ])
    func origins_thatNoBrowserSends_areRefused(_ text: String) throws {
        #expect(CrossOrigin([text]) == nil)
        var arguments = Arguments(["--cors-origin", "x" + text])
        #expect(throws: UsageError.self) { try Configuration(&arguments, environment: [:]) }
    }

    @Test func settings_comeFromFlagsAndTheEnvironmentTogether() throws {
        var arguments = Arguments(["--cors-origin", "https://a.example", "--cors-origin=https://b.example"])
        let configuration = try Configuration(&arguments, environment: ["TIDELINE_CORS_ORIGINS": "https://c.example, https://d.example"])
        #expect(configuration.crossOrigin?.origins.count == 4)
        var none = Arguments([])
        #expect(try Configuration(&none, environment: ["TIDELINE_CORS_ORIGINS": ""]).crossOrigin == nil)
    }

    @Test func preflight_isAnswered_forOriginsThatMay_underTheAPI() throws {
        let rules = try #require(CrossOrigin(["https://app.example"]))
        let good = Self.answered(rules, "OPTIONS", "/v1/client", origin: "https://app.example", asking: "PATCH")
        #expect(good.status == 204 && good.headers["Access-Control-Allow-Origin"] == "https://app.example")
        #expect(good.headers["Access-Control-Allow-Methods"]?.contains("PATCH") == true)
        #expect(good.headers["Access-Control-Allow-Headers"]?.contains("Authorization") == true)
        #expect(good.headers["Vary"] == "Origin" && good.headers["Access-Control-Allow-Credentials"] == nil)
        for (path, origin, asking) in [
            ("/v1/client", "https://other.example", "PATCH"), ("/v1/client", "https://app.example.evil.example", "GET"),
            ("/v1/client", "null", "GET"), ("/metrics", "https://app.example", "GET"),
        ] {
            let refused = Self.answered(rules, "OPTIONS", path, origin: origin, asking: asking)
            #expect(refused.status == 405 && refused.headers["Access-Control-Allow-Origin"] == nil, "\(path) \(origin)")
        }
        // No question of a browser, so it goes its usual way.
        #expect(Self.answered(rules, "OPTIONS", "/v1/client", origin: "https://app.example").status == 405)
        let open = try #require(CrossOrigin(["*"]))
        #expect(
            Self.answered(open, "OPTIONS", "/v1/client", origin: "null", asking: "GET").headers["Access-Control-Allow-Origin"] == "null")
    }

    @Test func answers_areReadable_refusalsIncluded_andNotGivenToOthers() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let made = try ServerProcess.json(
                ["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--database-url", url])
            let token = try required(
                ServerProcess.json([
                    "token", "create", "--tenant", try required(made["tenant"]?.stringValue), "--member",
                    try required(made["member"]?.stringValue), "--database-url", url,
                ])["token"]?.stringValue)
            func ask(_ server: ServerProcess, _ method: String, _ target: String, _ headers: String) throws -> WireResponse {
                let client = try server.client()
                try client.get(target, method: method, headers: headers)
                return try client.response(toHead: method == "HEAD")
            }
            let server = try ServerProcess(
                ["--database-url", url, "--webhook-threads", "0"], environment: ["TIDELINE_CORS_ORIGINS": "https://app.example"])
            let origin = "Origin: https://app.example\r\n"
            let authorization = "Authorization: Bearer \(token)\r\n"
            // As a browser does: it asks, then sends.
            let asked = try ask(
                server, "OPTIONS", "/v1/client",
                origin + "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n")
            #expect(asked.status == 204 && asked.body.isEmpty && asked.header("access-control-max-age") == "7200")
            for (target, more, status) in [
                ("/v1/client", authorization, 200), ("/v1/client", "", 401), ("/v1/client?limit=0", authorization, 400),
                ("/v1/nothing", authorization, 404), ("/v1/openapi.json", "", 200),
            ] {
                let reply = try ask(server, "GET", target, origin + more)
                #expect(reply.status == status && reply.header("access-control-allow-origin") == "https://app.example", "\(target)")
                #expect(reply.header("access-control-expose-headers")?.contains("ETag") == true)
                let other = try ask(server, "GET", target, "Origin: https://other.example\r\n" + more)
                #expect(other.status == status && other.header("access-control-allow-origin") == nil)
                #expect(other.header("vary")?.hasSuffix("Origin") == true)
                #expect(try ask(server, "GET", target, more).header("access-control-allow-origin") == nil)
            }
            #expect(try ask(server, "GET", "/metrics", origin).header("access-control-allow-origin") == nil)
            let usual = try ServerProcess(["--database-url", url, "--webhook-threads", "0"])
            let silent = try ask(usual, "GET", "/v1/client", origin + authorization)
            #expect(
                silent.status == 200 && silent.header("access-control-allow-origin") == nil
                    && silent.header("vary")?.contains("Origin") != true)
            #expect(try ask(usual, "OPTIONS", "/v1/client", origin + "Access-Control-Request-Method: GET\r\n").status == 405)
        }
    }
}
