// Mirrors HTTP/Message/HTTPResponseWriter.swift, HTTPResponse.swift, HTTPHeaders.swift and HTTPRefusal.swift.
import Testing

@testable import SyncServer

@Suite struct HTTPResponseWriterTests {
    private func written(
        _ response: HTTPResponse, isHead: Bool = false, keeps: Bool = true, minorVersion: Int = 1, id: String = "r1"
    ) -> (text: String, count: Int) {
        var writer = HTTPResponseWriter()
        var output = HTTPOutput()
        let context = HTTPResponseWriter.Context(
            isHead: isHead, keepsConnection: keeps, minorVersion: minorVersion, requestID: id)
        let count = writer.write(response, context, secondsSince1970: 784_111_777, to: &output)
        let bytes = output.withUnsent { Array($0) + Array($1) }
        return (String(decoding: bytes, as: UTF8.self), count)
    }

    @Test func response_isWrittenWithFraming() {
        let (text, count) = written(.json(200, Array("{}".utf8)))
        #expect(
            text == "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n"
                + "Content-Type: application/json\r\nX-Request-Id: r1\r\n\r\n{}")
        #expect(count == text.utf8.count)
    }

    @Test func response_hasLengthButNoBody_whenHead() {
        let (text, count) = written(.text(200, "hello"), isHead: true)
        #expect(text.contains("Content-Length: 5\r\n"))
        #expect(text.hasSuffix("\r\n\r\n"))
        #expect(count == text.utf8.count)
    }

    @Test(arguments: [204, 304])
    func response_hasNeitherLengthNorBody_whenStatusForbidsThem(status: Int) {
        let (text, _) = written(HTTPResponse(status: status, body: [1, 2, 3]))
        #expect(!text.contains("Content-Length"))
        #expect(text.hasSuffix("\r\n\r\n"))
    }

    @Test func response_ignoresFramingOfTheWorker() {
        let headers = HTTPHeaders([
            ("content-length", "99"), ("Transfer-Encoding", "chunked"), ("CONNECTION", "x"), ("date", "never"),
            ("X-Request-ID", "mine"), ("ETag", "\"1\""),
        ])
        let (text, _) = written(HTTPResponse(status: 200, headers: headers, body: []))
        #expect(!text.contains("Content-Length: 99") && !text.contains("content-length") && !text.contains("chunked"))
        #expect(!text.contains("never") && !text.contains("r1"))
        #expect(text.contains("X-Request-ID: mine\r\nETag: \"1\"\r\n"))
    }

    @Test(arguments: [(1, true, nil), (1, false, "close"), (0, true, "keep-alive"), (0, false, "close")])
    func response_saysWhatHappensToTheConnection(minorVersion: Int, keeps: Bool, expected: String?) {
        let (text, _) = written(.empty(200), keeps: keeps, minorVersion: minorVersion)
        #expect(text.contains("Connection") == (expected != nil))
        if let expected { #expect(text.contains("Connection: \(expected)\r\n")) }
    }

    @Test func output_isSentInPieces_withoutLosingItsPlace() {
        var writer = HTTPResponseWriter()
        var output = HTTPOutput()
        let body = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let context = HTTPResponseWriter.Context(isHead: false, keepsConnection: true, minorVersion: 1, requestID: "")
        output.append(HTTPResponseWriter.continueLine)
        let count =
            HTTPResponseWriter.continueLine.count
            + writer.write(HTTPResponse(status: 200, body: body), context, secondsSince1970: 0, to: &output)
        var sent: [UInt8] = []
        var step = 1
        while !output.isEmpty {
            let taken = output.withUnsent { first, second in Array((Array(first) + Array(second)).prefix(step)) }
            sent += taken
            output.markSent(taken.count)
            step = step * 2 % 20_011 + 1
        }
        #expect(sent.count == count)
        #expect(Array(sent.suffix(body.count)) == body)
    }

    @Test(arguments: [("X-A", "a\r\nSet-Cookie: b"), ("X-A", "a\nb"), ("X A", "b"), ("", "b"), ("X-A", "a\u{0}")])
    func response_isNotWellFormed_whenAHeaderCouldForgeOne(name: String, value: String) {
        #expect(!HTTPResponse(status: 200, headers: HTTPHeaders([(name, value)])).isWellFormed)
    }

    @Test func response_isWellFormed_onlyWithAFinalStatus() {
        #expect([99, 100, 101, 199, 600, -1].allSatisfy { !HTTPResponse(status: $0).isWellFormed })
        #expect([200, 404, 599].allSatisfy { HTTPResponse(status: $0).isWellFormed })
    }

    @Test func headers_compareNamesWithoutCase() {
        var headers = HTTPHeaders([("A", "1"), ("b", "2"), ("a", "3")])
        #expect(headers["a"] == "1")
        #expect(headers.values("A") == ["1", "3"])
        headers.set("a", "4")
        #expect(headers.fields.map(\.value) == ["2", "4"])
        #expect(!headers.contains("c"))
    }

    @Test func problem_escapesWhatItQuotes() {
        let refusal = HTTPRefusal(400, "bad", "say \"no\" \\ \u{01}")
        let response = HTTPProblem(refusal: refusal, requestID: "r").standardResponse()
        #expect(response.headers["content-type"] == "application/problem+json")
        #expect(
            String(decoding: response.body, as: UTF8.self)
                == #"{"error":{"code":"bad","message":"say \"no\" \\ \u0001","request_id":"r"}}"#)
    }

    @Test(arguments: [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
    ])
    func date_hasTheOneFormat(seconds: Int, text: String) {
        #expect(HTTPDate.text(secondsSince1970: seconds) == text)
    }
}
