// Mirrors HTTP/Message/HTTPRequestParser.swift with HTTPRequestHead, HTTPLine and HTTPChunkedDecoder.
import Testing

@testable import SyncServer

/// Everything a parser made of some bytes, as text that can be compared.
private func transcript(_ bytes: [UInt8], limits: HTTPMessageLimits = HTTPMessageLimits(), pieces: (Int) -> Int)
    -> [String]
{
    var parser = HTTPRequestParser(limits: limits)
    var lines: [String] = []
    var index = 0
    while index < bytes.count {
        let end = min(bytes.count, index + max(1, pieces(index)))
        parser.append(bytes[index..<end])
        index = end
        stepping: while true {
            switch parser.next() {
            case .needMore: break stepping
            case .request(let request): lines.append(describe(request))
            case .refusal(let refusal): return lines + ["\(refusal.status) \(refusal.code)"]
            }
        }
    }
    return lines + ["\(parser.progress)"]
}

private func describe(_ request: HTTPRequest) -> String {
    let query = request.query.map { "\($0.name)=\($0.value)" }
    let headers = request.headers.fields.map { "\($0.name)=\($0.value)" }
    return [
        request.method, request.target, request.path, "\(request.pathSegments)", "\(query)", "\(headers)",
        String(decoding: request.body, as: UTF8.self), "\(request.keepsConnection)", "\(request.minorVersion)",
        "\(request.byteCount)", request.requestID,
    ].joined(separator: "|")
}

private func whole(_ text: String, limits: HTTPMessageLimits = HTTPMessageLimits()) -> [String] {
    transcript(Array(text.utf8), limits: limits) { _ in .max / 2 }
}

/// The only request in the text, or nil.
private func onlyRequest(_ text: String) -> HTTPRequest? {
    var parser = HTTPRequestParser(limits: HTTPMessageLimits())
    parser.append(Array(text.utf8))
    if case .request(let request) = parser.next() { return request }
    return nil
}

/// Requests that must be refused, with what they must be refused with.
struct RefusedRequest: CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    let expected: String
    var limits = HTTPMessageLimits()

    init(_ name: String, _ text: String, _ expected: String, limits: HTTPMessageLimits = HTTPMessageLimits()) {
        self.init(name, bytes: Array(text.utf8), expected, limits: limits)
    }

    init(_ name: String, bytes: [UInt8], _ expected: String, limits: HTTPMessageLimits = HTTPMessageLimits()) {
        (self.name, self.bytes, self.expected, self.limits) = (name, bytes, expected, limits)
    }

    var testDescription: String { name }

    private static func post(_ headers: String, _ body: String = "") -> String {
        "POST / HTTP/1.1\r\nHost: a\r\n\(headers)\r\n\(body)"
    }
    private static func chunked(_ body: String) -> String { post("Transfer-Encoding: chunked\r\n", body) }
    private static func get(_ target: String) -> String { "GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n" }
    private static func header(_ bytes: [UInt8]) -> [UInt8] {
        Array("GET / HTTP/1.1\r\nHost: a\r\n".utf8) + bytes + Array("\r\n\r\n".utf8)
    }
    private static let small: HTTPMessageLimits = {
        var limits = HTTPMessageLimits()
        limits.requestLineBytes = 40
        limits.headerBytes = 60
        limits.headerCount = 3
        limits.bodyBytes = 10
        limits.chunkExtensionBytes = 12
        return limits
    }()

    static let all: [RefusedRequest] = [
        // Lines
        .init("bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400 bad_line_ending"),
        .init("bare LF after a header", "GET / HTTP/1.1\r\nHost: a\n\r\n", "400 bad_line_ending"),
        .init("bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400 bad_line_ending"),
        .init("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400 bad_line_ending"),
        .init("bare CR in the request line", "GET /\r HTTP/1.1\r\n\r\n", "400 bad_line_ending"),
        .init("two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        // Request line
        .init("no version", "GET /\r\n\r\n", "400 bad_request_line"),
        .init("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("space at the start", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("tab for space", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("method with a bad byte", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("long version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400 bad_request_line"),
        .init("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 unsupported_version"),
        .init("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 unsupported_version"),
        .init("HTTP/0.9 by name", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", "505 unsupported_version"),
        .init("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "501 unsupported_method"),
        .init("TLS", bytes: [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3, 13, 10], "400 bad_request_line"),
        // Target
        .init("fragment", get("/a#b"), "400 bad_target"),
        .init("control byte in target", get("/a\u{01}"), "400 bad_target"),
        .init("byte above ASCII in target", get("/é"), "400 bad_target"),
        .init("broken percent", get("/a%2"), "400 bad_target"),
        .init("percent without digits", get("/a%zz"), "400 bad_target"),
        .init("broken percent in query", get("/?a=%"), "400 bad_target"),
        .init("NUL in path", get("/a%00b"), "400 bad_target"),
        .init("NUL in query", get("/?a=%00"), "400 bad_target"),
        .init("path not UTF-8", get("/%ff"), "400 bad_target"),
        .init("query not UTF-8", get("/?%c3=1"), "400 bad_target"),
        .init("overlong UTF-8", get("/%c0%af"), "400 bad_target"),
        .init("asterisk with GET", get("*"), "400 bad_target"),
        .init("relative target", get("a/b"), "400 bad_target"),
        .init("other scheme", get("ftp://a/"), "400 bad_target"),
        .init("user information", get("http://u@a/"), "400 bad_target"),
        .init("no authority", get("http:///x"), "400 bad_target"),
        .init("authority that is not the Host", get("http://b/x"), "400 bad_host"),
        .init("port that is not the Host's", get("http://a:81/x"), "400 bad_host"),
        // Headers
        .init("no Host", "GET / HTTP/1.1\r\n\r\n", "400 bad_host"),
        .init("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400 bad_host"),
        .init("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400 bad_host"),
        .init("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 bad_host"),
        .init("Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 bad_host"),
        .init("Host with bad port", "GET / HTTP/1.1\r\nHost: a:8o\r\n\r\n", "400 bad_host"),
        .init("Host with two values", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 bad_host"),
        .init("folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "400 bad_header"),
        .init("blank before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 bad_header"),
        .init("space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 bad_header"),
        .init("no colon", "GET / HTTP/1.1\r\nHost a\r\n\r\n", "400 bad_header"),
        .init("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "400 bad_header"),
        .init("name with a bad byte", "GET / HTTP/1.1\r\nHost: a\r\nX@: x\r\n\r\n", "400 bad_header"),
        .init("name above ASCII", "GET / HTTP/1.1\r\nHost: a\r\né: x\r\n\r\n", "400 bad_header"),
        .init("NUL in value", bytes: header(Array("X: a".utf8) + [0]), "400 bad_header"),
        .init("DEL in value", bytes: header(Array("X: a".utf8) + [0x7F]), "400 bad_header"),
        .init("value not UTF-8", bytes: header(Array("X: a".utf8) + [0xFF]), "400 bad_header"),
        .init("unknown expectation", post("Expect: 200-maybe\r\n"), "417 expectation_failed"),
        // Length of the body
        .init("Content-Length with plus", post("Content-Length: +10\r\n"), "400 bad_content_length"),
        .init("Content-Length with minus", post("Content-Length: -1\r\n"), "400 bad_content_length"),
        .init("Content-Length in hex", post("Content-Length: 0x10\r\n"), "400 bad_content_length"),
        .init("Content-Length empty", post("Content-Length:\r\n"), "400 bad_content_length"),
        .init("Content-Length with blank inside", post("Content-Length: 1 0\r\n"), "400 bad_content_length"),
        .init("Content-Length list", post("Content-Length: 5, 5\r\n"), "400 bad_content_length"),
        .init("two Content-Lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n"), "400 bad_content_length"),
        .init("Content-Length over the limit", post("Content-Length: 8388609\r\n"), "413 body_too_large"),
        .init(
            "Content-Length beyond 64 bits", post("Content-Length: 99999999999999999999999\r\n"), "413 body_too_large"),
        .init(
            "both lengths", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "400 ambiguous_length"),
        .init(
            "both lengths, other order", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            "400 ambiguous_length"),
        .init("unknown coding", post("Transfer-Encoding: gzip\r\n"), "501 unsupported_transfer_encoding"),
        .init(
            "coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n"), "501 unsupported_transfer_encoding"),
        .init("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n"), "400 bad_transfer_encoding"),
        .init("chunked not last", post("Transfer-Encoding: chunked, gzip\r\n"), "400 bad_transfer_encoding"),
        .init("empty coding", post("Transfer-Encoding:\r\n"), "400 bad_transfer_encoding"),
        .init(
            "two Transfer-Encodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            "400 bad_transfer_encoding"),
        .init("coding with vertical tab", post("Transfer-Encoding: \u{0B}chunked\r\n"), "400 bad_header"),
        .init(
            "Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400 bad_transfer_encoding"),
        // Chunks
        .init("chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), "400 bad_chunk"),
        .init("chunk size with plus", chunked("+5\r\nhello\r\n0\r\n\r\n"), "400 bad_chunk"),
        .init("chunk size with minus", chunked("-5\r\nhello\r\n0\r\n\r\n"), "400 bad_chunk"),
        .init("chunk size empty", chunked("\r\n"), "400 bad_chunk"),
        .init("chunk size after blank", chunked(" 5\r\nhello\r\n"), "400 bad_chunk"),
        .init("chunk size before blank", chunked("5 \r\nhello\r\n"), "400 bad_chunk"),
        .init("chunk size of 17 digits", chunked("00000000000000005\r\nhello\r\n"), "400 bad_chunk"),
        .init("chunk size beyond 60 bits", chunked("ffffffffffffffff\r\n"), "413 body_too_large"),
        .init("chunk size with bare LF", chunked("5\nhello\r\n"), "400 bad_line_ending"),
        .init("chunk longer than its size", chunked("5\r\nhello!\r\n"), "400 bad_chunk"),
        .init("chunk shorter than its size", chunked("5\r\nhell\r\n0\r\n\r\n"), "400 bad_chunk"),
        .init("chunk ended by bare LF", chunked("5\r\nhello\n0\r\n\r\n"), "400 bad_chunk"),
        .init("extension without semicolon", chunked("5 x=y\r\nhello\r\n"), "400 bad_chunk"),
        .init("extension with bare CR", chunked("5;a\rb\r\nhello\r\n"), "400 bad_line_ending"),
        .init("trailer without colon", chunked("0\r\nabc\r\n\r\n"), "400 bad_header"),
        .init("folded trailer", chunked("0\r\nA: b\r\n c\r\n\r\n"), "400 bad_header"),
        // Limits
        .init(
            "request line over the limit", get("/" + String(repeating: "a", count: 40)), "414 request_line_too_long",
            limits: small),
        .init(
            "request line without end", "GET /" + String(repeating: "a", count: 60), "414 request_line_too_long",
            limits: small),
        .init(
            "headers over the limit", "GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 60))\r\n\r\n",
            "431 headers_too_large", limits: small),
        .init(
            "header without end", "GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 90))",
            "431 headers_too_large", limits: small),
        .init(
            "many small headers", "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", "431 too_many_headers",
            limits: small),
        .init(
            "chunks over the body limit", chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "413 body_too_large",
            limits: small),
        .init(
            "extensions over their limit", chunked("1;aaaaa\r\nx\r\n1;aaaaaaa\r\nx\r\n0\r\n\r\n"), "400 bad_chunk",
            limits: small),
        .init(
            "extension without end", chunked("1;" + String(repeating: "a", count: 60)), "400 bad_chunk", limits: small),
        .init(
            "many trailers", chunked("0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n"), "431 too_many_headers",
            limits: small),
        .init(
            "trailers over the limit", chunked("0\r\nA: \(String(repeating: "x", count: 70))\r\n\r\n"),
            "431 headers_too_large", limits: small),
    ]
}

@Suite struct HTTPRequestParserTests {
    @Test(arguments: RefusedRequest.all)
    func parser_refuses_whateverThePackets(refused: RefusedRequest) {
        let atOnce = transcript(refused.bytes, limits: refused.limits) { _ in .max / 2 }
        #expect(atOnce == [refused.expected])
        #expect(transcript(refused.bytes, limits: refused.limits) { _ in 1 } == atOnce)
        #expect(transcript(refused.bytes, limits: refused.limits) { 1 + $0 % 7 } == atOnce)
    }

    static let accepted: [(text: String, requests: Int)] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET http://A:80/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET HTTPS://a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 1),
        ("GET / HTTP/1.0\r\n\r\n", 1),
        ("GET /a%20b/c%2Fd?q=%C3%A9+x&flag&=v&a=1&a=2 HTTP/1.1\r\nHost: a\r\nX-Text: \u{e9}\t!\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello", 1),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A;n=\"v\"\r\n world, ok\r\n0\r\nT: x\r\n\r\n",
            1
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1),
        (
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                + "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
            4
        ),
    ]

    @Test(arguments: accepted)
    func parser_givesTheSameRequests_whateverThePackets(text: String, requests: Int) {
        let atOnce = whole(text)
        #expect(atOnce.count == requests + 1)
        #expect(atOnce.last == "idle")
        #expect(transcript(Array(text.utf8)) { _ in 1 } == atOnce)
        for stride in 2...9 { #expect(transcript(Array(text.utf8)) { 1 + $0 % stride } == atOnce) }
    }

    @Test func request_holdsEverything_whenComplete() throws {
        let text =
            "PATCH /v1/a%2Fb/%C3%A9?x=1+2&y=%2B&z HTTP/1.1\r\nHost: a\r\nX-Tag:  one \r\nx-tag: two\r\n"
            + "X-Request-Id: abc-1.2_3\r\nContent-Length: 2\r\n\r\nhi"
        let request = try #require(onlyRequest(text))
        #expect(request.method == "PATCH")
        #expect(request.path == "/v1/a/b/é")
        #expect(request.pathSegments == ["v1", "a/b", "é"])
        #expect(request.queryValue("x") == "1 2")
        #expect(request.queryValue("y") == "+")
        #expect(request.queryValue("z") == "")
        #expect(request.queryValue("q") == nil)
        #expect(request.headers["X-TAG"] == "one")
        #expect(request.headers.values("x-Tag") == ["one", "two"])
        #expect(request.body == Array("hi".utf8))
        #expect(request.requestID == "abc-1.2_3")
        #expect(request.byteCount == text.utf8.count)
        #expect(request.keepsConnection)
    }

    @Test(arguments: [
        ("/", []), ("/v1", ["v1"]), ("/v1/", ["v1", ""]), ("//", ["", ""]), ("/a/../b", ["a", "..", "b"]),
    ])
    func pathSegments_areSplitBeforeDecoding(target: String, segments: [String]) throws {
        #expect(try #require(onlyRequest("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")).pathSegments == segments)
    }

    @Test(arguments: [
        ("HTTP/1.1", "", true), ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: x, Close\r\n", false), ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true), ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ])
    func request_keepsConnection_asVersionAndHeaderSay(version: String, header: String, keeps: Bool) throws {
        #expect(try #require(onlyRequest("GET / \(version)\r\nHost: a\r\n\(header)\r\n")).keepsConnection == keeps)
    }

    @Test(arguments: ["", "a b", "a/b", String(repeating: "x", count: 129), "é"])
    func requestID_isLeftToTheServer_whenNotWellFormed(id: String) throws {
        #expect(try #require(onlyRequest("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: \(id)\r\n\r\n")).requestID == "")
    }

    @Test func continue_isDueOnce_whenTheBodyHasNotCome() {
        var parser = HTTPRequestParser(limits: HTTPMessageLimits())
        parser.append(Array("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n".utf8))
        guard case .needMore = parser.next() else { return #expect(Bool(false), "the head is not complete") }
        let early = parser.takeContinue()
        #expect(!early)
        parser.append(Array("\r\n".utf8))
        guard case .needMore = parser.next() else { return #expect(Bool(false), "the body is missing") }
        #expect(parser.progress == .body)
        let (once, twice) = (parser.takeContinue(), parser.takeContinue())
        #expect(once && !twice)
    }

    @Test func parser_doesNotGoOn_afterARefusal() {
        var parser = HTTPRequestParser(limits: HTTPMessageLimits())
        parser.append(Array("GET / HTTP/1.1\r\n\r\n".utf8))
        guard case .refusal(let first) = parser.next() else { return #expect(Bool(false), "no Host") }
        parser.append(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        guard case .refusal(let second) = parser.next() else { return #expect(Bool(false), "parsed on") }
        #expect(first == second)
    }

    /// Damage at random places must end in a request, a refusal, or waiting: never in a trap, never depending on
    /// packets.
    @Test(arguments: 0..<40)
    func parser_survives_whenBytesAreDamaged(seed: Int) {
        var random = SplitMix(state: UInt64(seed))
        for (text, _) in Self.accepted {
            var bytes = Array(text.utf8)
            for _ in 0..<(1 + Int(random.next() % 4)) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            let atOnce = transcript(bytes) { _ in .max / 2 }
            #expect(transcript(bytes) { _ in 1 } == atOnce, "seed \(seed), bytes \(bytes)")
        }
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
