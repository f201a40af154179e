// Mirrors HTTP/Server/HTTPServer.swift with HTTPEventLoop: requests and connections over real loopback sockets.
import Foundation
import Testing

@testable import SyncServer

@Suite struct HTTPServerTests {
    @Test func server_answersManyRequests_onOneConnection() async throws {
        try await withHTTPServer { under in
            let client = try under.client()
            for number in 0..<50 {
                try client.get("/n/\(number)")
                let response = try client.response()
                #expect(response.status == 200)
                #expect(response.text == "GET /n/\(number)")
                #expect(response.header("connection") == nil)
                #expect(response.header("date") != nil)
            }
            #expect(under.server.statistics.acceptedConnections == 1)
        }
    }

    @Test func server_answersPipelinedRequests_inOrderAndOneAtATime() async throws {
        let running = AwaitableCounter()
        try await withHTTPServer(
            handler: { request, _ in
                let atOnce = running.add()
                defer { running.add(-1) }
                return .respond(.text(200, "\(request.path) \(atOnce)"))
            },
            run: { under in
                let client = try under.client()
                try client.send((0..<300).map { "GET /\($0) HTTP/1.1\r\nHost: test\r\n\r\n" }.joined())
                for number in 0..<300 { #expect(try client.response().text == "/\(number) 1") }
            })
    }

    @Test func server_readsChunkedBody_inPieces() async throws {
        try await withHTTPServer(
            handler: { request, _ in .respond(.typed(200, "text/plain", request.body)) },
            run: { under in
                let client = try under.client()
                try client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
                var expected: [UInt8] = []
                for size in [1, 1000, 65_536, 300_000] {
                    let chunk = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
                    try client.send(Array("\(String(size, radix: 16))\r\n".utf8) + chunk + Array("\r\n".utf8))
                    expected += chunk
                }
                try client.send("0\r\nTrailer: x\r\n\r\n")
                #expect(try client.response().body == expected)
                try client.get("/again")
                #expect(try client.response().status == 200)
            })
    }

    @Test func server_readsLargeBody_byLength() async throws {
        try await withHTTPServer(
            handler: { request, _ in
                .respond(.text(200, "\(request.body.count) \(request.body.last ?? 0)"))
            },
            run: { under in
                let client = try under.client()
                let body = [UInt8](repeating: 7, count: 5_000_000)
                try client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: \(body.count)\r\n\r\n")
                try client.send(body)
                #expect(try client.response().text == "5000000 7")
            })
    }

    @Test func server_sendsContinue_whenAsked() async throws {
        try await withHTTPServer(
            handler: { request, _ in .respond(.typed(200, "text/plain", request.body)) },
            run: { under in
                let client = try under.client()
                try client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
                #expect(try client.response().status == 100)
                try client.send("hi")
                #expect(try client.response().text == "hi")
            })
    }

    @Test func server_refusesLargeBody_withoutContinueAndBeforeReadingIt() async throws {
        try await withHTTPServer(
            configure: { $0.message.bodyBytes = 1000 },
            run: { under in
                let asking = try under.client()
                try asking.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
                #expect(try asking.response().status == 413)

                // This one sends without asking; it must still be able to read why it was refused.
                let pushing = try under.client()
                try pushing.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n")
                try pushing.send([UInt8](repeating: 0, count: 3_000_000))
                let response = try pushing.response()
                #expect(response.status == 413)
                #expect(response.header("connection") == "close")
                #expect(try pushing.isAtEnd())
                #expect(under.reaches { $0.refusals["body_too_large"] == 2 })
            })
    }

    @Test func head_getsTheLengthOfTheBody_withoutIt() async throws {
        try await withHTTPServer(
            handler: { _, _ in .respond(.text(200, "12345")) },
            run: { under in
                let client = try under.client()
                try client.get("/", method: "HEAD")
                let head = try client.response(toHead: true)
                #expect(head.header("content-length") == "5")
                try client.get("/")
                #expect(try client.response().text == "12345")
            })
    }

    @Test func options_reachesTheWorker_withAnAsterisk() async throws {
        try await withHTTPServer { under in
            let client = try under.client()
            try client.get("*", method: "OPTIONS")
            #expect(try client.response().text == "OPTIONS *")
        }
    }

    @Test func connection_isClosed_whenTheClientAsks() async throws {
        // Lingering would hide a server that only closes when it stops waiting for the client to.
        try await withHTTPServer(
            configure: { $0.lingerSeconds = 60 },
            run: { under in
                let modern = try under.client()
                try modern.get("/", headers: "Connection: close\r\n")
                #expect(try modern.response().header("connection") == "close")
                #expect(try modern.isAtEnd())
                let old = try under.client()
                try old.send("GET / HTTP/1.0\r\n\r\n")
                #expect(try old.response().header("connection") == "close")
                #expect(try old.isAtEnd())
            })
    }

    @Test func response_isSent_whenTheClientHasFinishedSending() async throws {
        try await withHTTPServer { under in
            let client = try under.client()
            try client.get("/half")
            client.finishSending()
            #expect(try client.response().text == "GET /half")
            #expect(try client.isAtEnd())
        }
    }

    @Test func largeResponse_arrivesWhole_inPartialWrites() async throws {
        // Words that name their own place, so that nothing can be lost or swapped unseen.
        let body = [UInt8](unsafeUninitializedCapacity: 20_000_000) { bytes, count in
            bytes.withMemoryRebound(to: UInt32.self) { words in
                for index in words.indices { words[index] = UInt32(index) }
            }
            count = bytes.count
        }
        try await withHTTPServer(
            handler: { _, _ in .respond(.typed(200, "application/octet-stream", body)) },
            run: { under in
                // Far more than the kernel's buffers hold, so the server's writes are partial.
                let client = try under.client()
                try client.get("/1")
                try client.get("/2", method: "HEAD")
                let received = try client.response().body
                let isWhole = received.count == body.count && memcmp(received, body, body.count) == 0
                #expect(isWhole, "\(received.count) of \(body.count) bytes")
                #expect(try client.response(toHead: true).header("content-length") == String(body.count))
            })
    }

    @Test func connection_isClosed_whenTheClientTakesNothing() async throws {
        let body = [UInt8](repeating: 1, count: 30_000_000)
        try await withHTTPServer(
            configure: { $0.writeTimeoutSeconds = 0.2 },
            handler: { _, _ in .respond(.typed(200, "application/octet-stream", body)) },
            run: { under in
                let client = try LoopbackClient(port: under.port, receiveBufferBytes: 4096)
                try client.get("/")
                let record = under.log.exchange { $0.status == HTTPExchangeRecord.clientGone }
                #expect(record?.path == "/")
                #expect(under.reaches { $0.openConnections == 0 && $0.requestsAbandoned == 1 })
                client.close()
            })
    }

    @Test func requestID_isTheClients_orMade() async throws {
        try await withHTTPServer(
            handler: { request, _ in .respond(.text(200, request.requestID)) },
            run: { under in
                let client = try under.client()
                try client.get("/", headers: "X-Request-Id: mine-1\r\n")
                let first = try client.response()
                #expect(first.text == "mine-1")
                #expect(first.header("x-request-id") == "mine-1")
                try client.get("/")
                try client.get("/")
                let (second, third) = (try client.response().text, try client.response().text)
                #expect(!second.isEmpty && second != third)
            })
    }

    @Test func problem_hasTheOneShape() async throws {
        try await withHTTPServer { under in
            let client = try under.client()
            try client.send("GET / HTTP/1.1\r\nX-Request-Id: abc\r\n\r\n")
            let response = try client.response()
            #expect(response.status == 400)
            #expect(response.header("content-type") == "application/problem+json")
            #expect(
                response.text
                    == #"{"error":{"code":"bad_host","message":"The request has no Host.","request_id":"abc"}}"#)
            #expect(try client.isAtEnd())
        }
    }

    @Test func problem_isRenderedByTheCallback_whenThereIsOne() async throws {
        try await withHTTPServer(
            configure: { $0.renderProblem = { .text(200, "\($0.refusal.code)!") } },
            run: { under in
                let client = try under.client()
                try client.send("GET / HTTP/1.1\r\n\r\n")
                let response = try client.response()
                #expect(response.status == 400)
                #expect(response.text == "bad_host!")
            })
    }

    @Test func response_becomesAnInternalError_whenItCannotBeSent() async throws {
        try await withHTTPServer(
            handler: { request, _ in
                request.path == "/header"
                    ? .respond(HTTPResponse(status: 200, headers: HTTPHeaders([("X", "a\r\nY: b")])))
                    : .respond(HTTPResponse(status: 42))
            },
            run: { under in
                let client = try under.client()
                for path in ["/header", "/status"] {
                    try client.get(path)
                    let response = try client.response()
                    #expect(response.status == 500)
                    #expect(response.header("y") == nil)
                }
                #expect(under.log.faults.map(\.code) == ["malformed_response", "malformed_response"])
            })
    }

    @Test func log_recordsTheExchange_withoutTheQuery() async throws {
        try await withHTTPServer { under in
            let client = try under.client()
            let request = "GET /a%20b?secret=1 HTTP/1.1\r\nHost: test\r\nX-Request-Id: log-1\r\n\r\n"
            try client.send(request)
            _ = try client.response()
            let record = try #require(under.log.exchange { $0.requestID == "log-1" })
            #expect(record.method == "GET")
            #expect(record.path == "/a b")
            #expect(record.status == 200)
            #expect(record.bytesIn == request.utf8.count)
            #expect(record.bytesOut > 100)
            #expect(record.durationMicroseconds > 0)
            #expect(record.peerAddress == "127.0.0.1")
        }
    }

    @Test func server_listensOnIPv6() async throws {
        try await onOwnThread {
            var configuration = HTTPServerConfiguration()
            configuration.listen = "[::1]:0"
            let server = HTTPServer(
                configuration: configuration, log: { _ in },
                makeWorker: { _ in
                    ClosureWorker { _, _ in .respond(.empty(204)) }
                })
            do throws(HTTPServerError) {
                let address = try server.start()
                #expect(address.host == "::1")
                #expect(address.port > 0)
            } catch {
                // A machine without IPv6 must say so in the documented way.
                #expect(error.code == .cannotListen)
            }
            server.stop()
        }
    }

    @Test func start_fails_asDocumented() async throws {
        try await withHTTPServer { under in
            func failure(_ listen: String, worker: @escaping @Sendable (Int) throws -> any HTTPWorker)
                -> HTTPServerError?
            {
                var configuration = HTTPServerConfiguration()
                configuration.listen = listen
                let server = HTTPServer(configuration: configuration, log: { _ in }, makeWorker: worker)
                defer { server.stop() }
                return #expect(throws: HTTPServerError.self) { try server.start() }
            }
            let fine: @Sendable (Int) throws -> any HTTPWorker = { _ in ClosureWorker { _, _ in .respond(.empty(204)) }
            }
            #expect(failure("nowhere", worker: fine)?.code == .invalidAddress)
            let taken = failure("127.0.0.1:\(under.port)", worker: fine)
            #expect(taken?.code == .cannotListen)
            #expect(taken?.operation == "bind")
            let broken = failure("127.0.0.1:0") { index in
                if index == 2 { throw LoopbackFailure(description: "no database") }
                return try fine(index)
            }
            #expect(broken?.code == .workerFailed)
            #expect(broken?.message == "no database")
            let again = #expect(throws: HTTPServerError.self) { try under.server.start() }
            #expect(again?.code == .alreadyStarted)
        }
    }

    @Test func stop_mayBeRepeated_andComeBeforeStart() async throws {
        try await withHTTPServer { under in
            under.server.stop()
            under.server.stop()
            under.server.poke(topic: "x")
            #expect(under.server.drain(timeoutSeconds: 0))
            let unused = HTTPServer(
                configuration: HTTPServerConfiguration(), log: { _ in },
                makeWorker: { _ in
                    ClosureWorker { _, _ in .respond(.empty(204)) }
                })
            unused.stop()
        }
    }

    @Test func workers_areMadeAndUsed_onTheirOwnThreads() async throws {
        try await onOwnThread {
            final class ThreadBound: HTTPWorker {
                let thread = pthread_self()
                func handle(_ request: HTTPRequest, attempt: HTTPAttempt) -> HTTPReply {
                    .respond(.text(200, "\(pthread_self() == thread)"))
                }
            }
            var configuration = HTTPServerConfiguration()
            configuration.listen = "127.0.0.1:0"
            let server = HTTPServer(configuration: configuration, log: { _ in }, makeWorker: { _ in ThreadBound() })
            let port = try server.start().port
            defer { server.stop() }
            let client = try LoopbackClient(port: port)
            for _ in 0..<20 {
                try client.get("/")
                #expect(try client.response().text == "true")
            }
        }
    }
}
