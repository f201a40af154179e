// What a webhook's endpoint may answer, down to nonsense: each answer is a success or a failure, and none is waited for beyond its time.

import TestSupport
import Testing

@testable import SyncServer

@Suite struct WebhookAnswerTests {
    /// The head as far as it counts; nil while it is not whole.
    private func head(_ text: String) throws -> (status: Int, retryAfter: String?, contentLength: Int?)? {
        var buffer = Array(text.utf8)
        return try AnswerHead(taking: &buffer).map { ($0.status, $0.retryAfter, $0.contentLength) }
    }

    @Test(arguments: [
        "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 2OO OK\r\n\r\n",
        "HTTP/1.1 ２ OK\r\n\r\n", "HTTP/1.1 000 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "200 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n", "\r\n", "\n", "SSH-2.0-x\r\n\r\n",
        "\u{0}\u{0}\r\n\r\n", "HTTP/1.1 200\tOK\r\n\r\n",
    ])
    func answer_isAFailure_whenItIsNotHTTP(text: String) {
        #expect(throws: AttemptFailure.self) { try head(text) }
    }

    @Test func answer_isRead_asFarAsItCounts() throws {
        let answers: [(String, Int, String?, Int?)] = [
            ("HTTP/1.1 204\r\n\r\n", 204, nil, 0), ("HTTP/1.1 200 OK\r\nRetry-After: 5\r\nContent-Length: 3\r\n\r\nabc", 200, "5", 3),
            ("HTTP/1.1 503 x\r\nRETRY-AFTER:  Thu, 26 Nov 2026 04:00:00 GMT \r\n\r\n", 503, "Thu, 26 Nov 2026 04:00:00 GMT", nil),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 200, nil, nil),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 200, nil, nil),
            ("HTTP/1.1 200 OK\r\nno colon\r\n: none\r\n\r\n", 200, nil, nil), ("HTTP/1.0 200 OK\nRetry-After: 1\n\n", 200, "1", nil),
        ]
        for (text, status, retryAfter, length) in answers {
            let found = try #require(try head(text))
            #expect(found == (status, retryAfter, length), "\(text)")
        }
    }

    @Test func answer_isIncomplete_atEveryCut() throws {
        let text = Array("HTTP/1.1 200 OK\r\nRetry-After: 5\r\n\r\n".utf8)
        for length in 0..<text.count {
            var buffer = Array(text[..<length])
            #expect(try AnswerHead(taking: &buffer) == nil, "cut at \(length)")
        }
    }

    @Test func damagedAnswers_neverTrap() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let sample = Array("HTTP/1.1 200 OK\r\nRetry-After: 5\r\nContent-Length: 3\r\n\r\nabc".utf8)
        for _ in 0..<5_000 {
            var bytes = sample
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            var buffer = bytes
            if let head = try? AnswerHead(taking: &buffer) {
                #expect((100...599).contains(head.status) && buffer.count < bytes.count && (head.contentLength ?? 0) >= 0, "seed \(seed)")
            }
        }
    }
}
