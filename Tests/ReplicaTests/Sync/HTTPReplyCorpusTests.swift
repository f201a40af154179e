// Answers that clients are known to read in more than one way, each with the one reading of this reader. What it takes for a whole
// answer is one, and what follows a doubtful one is never read as the answer to the next request.

import Dispatch
import Foundation
import TestSupport
import Testing

@testable import Replica

@Suite struct HTTPReplyCorpusTests {
    enum Reading: Equatable, Sendable {
        case reply(Int, String, keeps: Bool)
        /// Nothing that may be believed.
        case malformed
        /// It ended too early; nobody knows whether the request was worked on.
        case dropped
    }

    private static func read(_ bytes: [UInt8], pieces: (Int) -> Int = { _ in .max / 2 }) -> Reading {
        withoutActuallyEscaping(pieces) { pieces in
            var place = 0
            var reader = HTTPReplyReader(headDeadline: .distantFuture) { buffer in
                guard place < bytes.count else { return .end }
                let end = min(bytes.count, place + max(1, pieces(place)))
                buffer.append(contentsOf: bytes[place..<end])
                place = end
                return .more
            }
            do {
                let reply = try reader.read()
                return .reply(reply.status, String(decoding: reply.body, as: UTF8.self), keeps: reply.keepsConnection)
            } catch let failure as TransportFailure {
                if case .malformed = failure { return .malformed }
                return .dropped
            } catch {
                return .dropped
            }
        }
    }

    private static func ok(_ headers: String, _ body: String = "") -> String { "HTTP/1.1 200 OK\r\n\(headers)\r\n\(body)" }

    private static func chunked(_ body: String) -> String { ok("Transfer-Encoding: chunked\r\n", body) }

    static let cases: [(name: String, text: String, reading: Reading)] = [
        // Status lines
        ("plain", ok("Content-Length: 2\r\n", "ok"), .reply(200, "ok", keeps: true)),
        ("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", .reply(200, "", keeps: true)),
        ("empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", .reply(200, "", keeps: true)),
        ("reason above ASCII", "HTTP/1.1 200 Ünüblich\r\nContent-Length: 0\r\n\r\n", .reply(200, "", keeps: true)),
        ("later minor version", "HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n", .reply(200, "", keeps: true)),
        ("status of two digits", "HTTP/1.1 20 OK\r\n\r\n", .malformed), ("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", .malformed),
        ("status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", .malformed), ("status in hexadecimal", "HTTP/1.1 0xC8 OK\r\n\r\n", .malformed),
        ("status 099", "HTTP/1.1 099 OK\r\n\r\n", .malformed), ("status 600", "HTTP/1.1 600 OK\r\n\r\n", .malformed),
        ("two blanks", "HTTP/1.1  200 OK\r\n\r\n", .malformed), ("tab", "HTTP/1.1\t200 OK\r\n\r\n", .malformed),
        ("lower case", "http/1.1 200 OK\r\n\r\n", .malformed), ("two digits of minor", "HTTP/1.10 200 OK\r\n\r\n", .malformed),
        ("HTTP/2", "HTTP/2 200\r\n\r\n", .malformed), ("HTTP/0.9", "<html>hello</html>\r\n\r\n", .malformed),
        ("ICY", "ICY 200 OK\r\n\r\n", .malformed),
        ("empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .malformed),
        ("LF only", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", .dropped),
        ("mixed line ends", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", .malformed),
        ("CR inside", "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nok", .malformed),
        ("NUL inside", ok("X: \u{0}\r\nContent-Length: 2\r\n", "ok"), .malformed),
        // Headers
        ("blank before the colon", ok("Content-Length : 2\r\n", "ok"), .malformed),
        ("folded", ok("X: a\r\n Content-Length: 2\r\n", "ok"), .malformed),
        ("folded length", ok("Content-Length:\r\n 2\r\n", "ok"), .malformed),
        ("no name", ok(": x\r\nContent-Length: 2\r\n", "ok"), .malformed),
        ("no colon", ok("nonsense\r\n", ""), .malformed), ("bad name", ok("Content Length: 2\r\n", "ok"), .malformed),
        ("value above ASCII", ok("X: é\r\nContent-Length: 2\r\n", "ok"), .reply(200, "ok", keeps: true)),
        ("combining mark behind the colon", ok("X:\u{301}y\r\nContent-Length: 2\r\n", "ok"), .reply(200, "ok", keeps: true)),
        // Lengths
        ("equal lengths", ok("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), .reply(200, "ok", keeps: true)),
        ("unequal lengths", ok("Content-Length: 2\r\nContent-Length: 3\r\n", "okk"), .malformed),
        ("list of lengths", ok("Content-Length: 2, 2\r\n", "ok"), .malformed),
        ("length with plus", ok("Content-Length: +2\r\n", "ok"), .malformed),
        ("length with minus", ok("Content-Length: -2\r\n", "ok"), .malformed),
        ("length in hexadecimal", ok("Content-Length: 0x2\r\n", "ok"), .malformed),
        ("length a", ok("Content-Length: a\r\n", "0123456789"), .malformed),
        ("length with underscore", ok("Content-Length: 0_2\r\n", "ok"), .malformed),
        ("length empty", ok("Content-Length:\r\n", "ok"), .malformed),
        ("length full-width", ok("Content-Length: ２\r\n", "ok"), .malformed),
        ("length of 2^64 + 2", ok("Content-Length: 18446744073709551618\r\n", "ok"), .malformed),
        ("length over the limit", ok("Content-Length: 268435457\r\n", "ok"), .malformed),
        ("length too long", ok("Content-Length: 3\r\n", "ok"), .dropped),
        ("length too short", ok("Content-Length: 1\r\n", "ok"), .reply(200, "o", keeps: false)),
        ("no length", ok("", "ok"), .reply(200, "ok", keeps: false)),
        // Codings
        ("chunks", chunked("2\r\nok\r\n0\r\n\r\n"), .reply(200, "ok", keeps: true)),
        ("chunks in capitals", ok("TRANSFER-ENCODING: CHUNKED\r\n", "2\r\nok\r\n0\r\n\r\n"), .reply(200, "ok", keeps: true)),
        (
            "chunks and a length", ok("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
            .reply(200, "ok", keeps: false)
        ),
        ("coding twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("coding listed twice", ok("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), .malformed),
        ("gzip, chunked", ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), .malformed),
        ("identity", ok("Transfer-Encoding: identity\r\n", "ok"), .malformed),
        ("coding empty", ok("Transfer-Encoding:\r\n", "ok"), .malformed),
        ("coding with no-break space", ok("Transfer-Encoding: \u{A0}chunked\r\n", "0\r\n\r\n"), .malformed),
        ("chunk size with 0x", chunked("0x2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk size with plus", chunked("+2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk size with minus", chunked("-2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk size empty", chunked("\r\n0\r\n\r\n"), .malformed),
        ("chunk size with underscore", chunked("0_2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk size with blank", chunked(" 2\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk size of 2^64 + 2", chunked("10000000000000002\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk over the limit", chunked("10000001\r\n"), .malformed), ("chunk too short", chunked("1\r\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk too long", chunked("9\r\nok\r\n0\r\n\r\n"), .dropped), ("chunk line with LF", chunked("2\nok\r\n0\r\n\r\n"), .malformed),
        ("chunk data with LF", chunked("2\r\nok\n0\r\n\r\n"), .malformed),
        ("last chunk missing", chunked("2\r\nok\r\n"), .dropped), ("end missing", chunked("2\r\nok\r\n0\r\n"), .dropped),
        ("extension", chunked("2;a=b\r\nok\r\n0;c\r\n\r\n"), .reply(200, "ok", keeps: true)),
        ("trailer", chunked("2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"), .reply(200, "ok", keeps: true)),
        ("something behind the end", chunked("0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), .reply(200, "", keeps: false)),
        // Answers without a body, and interim ones
        ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", .reply(204, "", keeps: false)),
        ("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", .reply(304, "", keeps: true)),
        (
            "interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok("Content-Length: 2\r\n", "ok"),
            .reply(200, "ok", keeps: true)
        ),
        ("interim without end", String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 100), .malformed),
        ("switching", "HTTP/1.1 101 Switching Protocols\r\n\r\nbytes", .reply(101, "", keeps: false)),
        ("two answers", ok("Content-Length: 2\r\n", "ok") + ok("Content-Length: 2\r\n", "no"), .reply(200, "ok", keeps: false)),
        ("close", ok("Connection: x, Close\r\nContent-Length: 2\r\n", "ok"), .reply(200, "ok", keeps: false)),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", .reply(200, "ok", keeps: false)),
        ("head too large", "HTTP/1.1 200 OK\r\nX: \(String(repeating: "x", count: 70_000))\r\n\r\n", .malformed),
        ("nothing", "", .dropped), ("half a head", "HTTP/1.1 200 OK\r\nContent-", .dropped),
    ]

    @Test func everyAnswer_hasItsOneReading_howeverItArrives() {
        for one in Self.cases {
            let bytes = Array(one.text.utf8)
            #expect(Self.read(bytes) == one.reading, "\(one.name)")
            #expect(Self.read(bytes) { _ in 1 } == Self.settled(one.reading, bytes), "\(one.name), byte by byte")
        }
    }

    /// What comes behind an answer is seen only if it has come by then.
    private static func settled(_ reading: Reading, _ bytes: [UInt8]) -> Reading {
        guard case .reply(let status, let body, keeps: false) = reading else { return reading }
        return read(bytes) { _ in 1 } == .reply(status, body, keeps: true) ? .reply(status, body, keeps: true) : reading
    }

    @Test func damagedAnswers_neverTrap_andNeverGrowBeyondWhatCame() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let seeds = Self.cases.map { Array($0.text.utf8) }.filter { $0.count < 1_000 && !$0.isEmpty }
        for round in 0..<5_000 {
            var bytes = seeds[Int.random(in: seeds.indices, using: &random)]
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: bytes.indices, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = UInt8.random(in: .min ... .max, using: &random)
                case 1: bytes.insert(contentsOf: seeds[Int.random(in: seeds.indices, using: &random)].prefix(40), at: place)
                default: if bytes.count > 1 { bytes.remove(at: place) }
                }
            }
            if case .reply(_, let body, _) = Self.read(bytes), body.utf8.count > bytes.count * 3 {
                Issue.record("seed \(seed), round \(round)")
            }
            let stride = Int.random(in: 1...9, using: &random)
            switch (Self.read(bytes), Self.read(bytes) { _ in stride }) {
            case (.reply(let a, let x, _), .reply(let b, let y, _)): #expect(a == b && x == y, "seed \(seed), round \(round)")
            case (let one, let other): #expect(one == other, "seed \(seed), round \(round)")
            }
        }
    }

    /// However an answer says how long it is: up to the limit it is read, one byte more is refused before it is kept.
    @Test func bodyOfAnAnswer_hasItsBytes_andNoMore() throws {
        let most = 100_000
        func read(_ head: String, _ body: [UInt8]) -> (status: Int?, most: Int) {
            let bytes = Array(head.utf8) + body
            var place = 0
            var held = 0
            var reader = HTTPReplyReader(headDeadline: .distantFuture, bodyBytesMax: most) { buffer in
                guard place < bytes.count else { return .end }
                let end = min(bytes.count, place + 8_192)
                buffer.append(contentsOf: bytes[place..<end])
                place = end
                held = max(held, buffer.count)
                return .more
            }
            do { return (try reader.read().status, held) } catch TransportFailure.malformed { return (nil, held) } catch {
                return (-1, held)
            }
        }
        func text(_ count: Int) -> [UInt8] { [UInt8](repeating: 0x20, count: count) }
        func chunks(_ count: Int) -> [UInt8] {
            var body: [UInt8] = []
            var left = count
            while left > 0 {
                let size = min(left, 7_000)
                body += Array("\(String(size, radix: 16))\r\n".utf8) + text(size) + [13, 10]
                left -= size
            }
            return body + Array("0\r\n\r\n".utf8)
        }
        for (count, status) in [(most, 200), (most + 1, Int?.none), (3 * most, nil)] {
            let length = read("HTTP/1.1 200 OK\r\nContent-Length: \(count)\r\n\r\n", text(count))
            let coded = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(count))
            let open = read("HTTP/1.1 200 OK\r\n\r\n", text(count))
            for (one, how) in [(length, "length"), (coded, "chunks"), (open, "to its end")] {
                #expect(one.status == status, "\(count) bytes by \(how)")
                #expect(one.most <= most + 80_000, "\(one.most) bytes held of \(count) by \(how)")
            }
        }
        // The real one, by what an answer says of itself.
        let real = HTTPReplyReader.bodyBytesMax
        #expect(Self.read(Array(Self.ok("Content-Length: \(real + 1)\r\n").utf8)) == .malformed)
        #expect(Self.read(Array(Self.ok("Content-Length: \(real)\r\n").utf8)) == .dropped)
        #expect(Self.read(Array(Self.chunked("\(String(real + 1, radix: 16))\r\n").utf8)) == .malformed)
    }
}
