// The corpus of hostile requests against the parser, and a part of it against a server on a socket.

import Foundation
import TestSupport
import Testing

@testable import SyncServer

@Suite struct HTTPRequestCorpusTests {
    /// What a parser makes of bytes that come in pieces; a cut is a place where a piece ends.
    private static func read(_ bytes: [UInt8], cuts: [Int] = []) -> (verdict: HostileRequest.Verdict, isIdle: Bool) {
        var parser = HTTPRequestParser(limits: HTTPMessageLimits())
        var requests: [String] = []
        var start = 0
        for end in cuts + [bytes.count] where end > start {
            parser.append(bytes[start..<end])
            start = end
            stepping: while true {
                switch parser.next() {
                case .needMore: break stepping
                case .request(let request):
                    requests.append("\(request.method) \(request.path) \(String(decoding: request.body, as: UTF8.self))")
                case .refusal(let refusal): return (.refused(refusal.status, refusal.code), false)
                }
            }
        }
        return (.requests(requests), parser.progress == .idle)
    }

    @Test func everyRequest_hasItsOneReading() {
        for one in HostileRequest.all + HostileRequest.mutations {
            let found = Self.read(one.bytes)
            #expect(found.verdict == one.verdict, "\(one.name)")
            if case .requests = one.verdict { #expect(found.isIdle, "\(one.name): something is left over") }
        }
    }

    @Test func everyRequest_hasTheSameReading_whereverItIsCut() {
        for one in HostileRequest.all where one.bytes.count < 600 {
            for cut in 1..<max(2, one.bytes.count) where Self.read(one.bytes, cuts: [cut]).verdict != one.verdict {
                Issue.record("\(one.name), cut at \(cut)")
            }
            if Self.read(one.bytes, cuts: Array(1..<max(2, one.bytes.count))).verdict != one.verdict {
                Issue.record("\(one.name), byte by byte")
            }
        }
    }

    /// Damaged in a few places a request is read or refused, never both ways and never with a crash.
    @Test func damagedRequests_haveOneReading() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let seeds = (HostileRequest.all + HostileRequest.mutations.filter { _ in Int.random(in: 0..<10, using: &random) == 0 }).map(\.bytes)
        let spice: [[UInt8]] = [
            "\r\n", "\n", "\r", " ", "\t", ":", ";", ",", "0", "\u{0}", "chunked", "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n", "HTTP/1.1", "%00",
        ]
        .map { Array($0.utf8) }
        for round in 0..<6_000 {
            var bytes = seeds[Int.random(in: seeds.indices, using: &random)]
            if bytes.count > 2_000 { continue }
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: if place < bytes.count { bytes[place] = UInt8.random(in: .min ... .max, using: &random) }
                case 1: bytes.insert(contentsOf: spice[Int.random(in: spice.indices, using: &random)], at: place)
                case 2: if place < bytes.count { bytes.remove(at: place) }
                default: bytes += seeds[Int.random(in: seeds.indices, using: &random)].prefix(200)
                }
            }
            let whole = Self.read(bytes)
            let cuts = (0..<3).map { _ in Int.random(in: 0...bytes.count, using: &random) }.sorted()
            let cut = Self.read(bytes, cuts: cuts)
            if whole != cut { Issue.record("seed \(seed), round \(round), cuts \(cuts)") }
        }
    }

    // MARK: On a socket

    /// What comes behind a refused request is never worked on, and the connection ends.
    @Test func refusedRequest_endsItsConnection_andNothingBehindItIsWorkedOn() async throws {
        let seen = Locked<[String]>([])
        try await withHTTPServer(
            configure: { $0.lingerSeconds = 0.5 },
            handler: { request, _ in
                seen.with { $0.append(request.path) }
                return .respond(.text(200, request.path))
            },
            run: { under in
                // Of the mutations every ninth, which is each place with bytes of every kind.
                let sample = stride(from: 0, to: HostileRequest.mutations.count, by: 9).map { HostileRequest.mutations[$0] }
                for one in HostileRequest.all + sample {
                    guard case .refused(let status, let code) = one.verdict else { continue }
                    let client = try under.client()
                    try client.send(one.bytes + Array("\r\n\r\n\(HostileRequest.prize)".utf8))
                    let answer = try client.response()
                    #expect(answer.status == status, "\(one.name)")
                    #expect(answer.text.contains("\"code\":\"\(code)\""), "\(one.name): \(answer.text)")
                    #expect(answer.header("connection") == "close", "\(one.name)")
                    client.finishSending()
                    #expect(try client.isAtEnd(), "\(one.name)")
                }
            })
        #expect(seen.with { $0 } == [])
    }

    @Test func acceptedRequests_areAnsweredOneByOne() async throws {
        try await withHTTPServer(
            handler: { request, _ in
                .respond(.text(200, "\(request.method) \(request.path) \(String(decoding: request.body, as: UTF8.self))"))
            },
            run: { under in
                for one in HostileRequest.all {
                    guard case .requests(let requests) = one.verdict else { continue }
                    let client = try under.client()
                    try client.send(one.bytes)
                    for request in requests {
                        let isHead = request.hasPrefix("HEAD")
                        let answer = try client.response(toHead: isHead)
                        #expect(answer.status == 200, "\(one.name)")
                        if !isHead { #expect(answer.text == request, "\(one.name)") }
                    }
                    client.finishSending()
                    #expect(try client.isAtEnd(), "\(one.name)")
                }
            })
    }
}
