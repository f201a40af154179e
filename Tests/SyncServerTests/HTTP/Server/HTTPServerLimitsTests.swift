// Mirrors HTTP/Server/HTTPServerConfiguration.swift: what happens at each limit, and when the server drains.
import Foundation
import Testing

@testable import SyncServer

@Suite struct HTTPServerLimitsTests {
    @Test func slowHeaders_areRefused_afterTheTimeout() async throws {
        try await withHTTPServer(
            configure: { $0.headerTimeoutSeconds = 0.2 },
            run: { under in
                let client = try under.client()
                try client.send("GET / HTTP/1.1\r\nHost: te")
                let response = try client.response()
                #expect(response.status == 408)
                #expect(response.header("connection") == "close")
                #expect(try client.isAtEnd())
            })
    }

    @Test func slowBody_isRefused() async throws {
        try await withHTTPServer(
            configure: { $0.bodyTimeoutSeconds = 0.2 },
            run: { under in
                let client = try under.client()
                try client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc")
                #expect(try client.response().status == 408)
                #expect(try client.isAtEnd())
            })
    }

    /// What depends on who asks, such as whether a page may read the answer, is known as far as the head had come.
    @Test func refusalWhileReceiving_isAmended_onceItsTargetIsKnown() async throws {
        let rules = try #require(CrossOrigin(["https://app.example"]))
        try await withHTTPServer(
            configure: {
                $0.headerTimeoutSeconds = 0.2
                $0.bodyTimeoutSeconds = 0.2
                $0.amend = { rules.open(&$1, to: $0) }
            },
            run: { under in
                let head = "POST /v1/client HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example\r\n"
                let huge = "Content-Length: 99999999999\r\n\r\n"
                for (text, status, isReadable) in [
                    (head + huge, 413, true), (head + "Content-Length: 10\r\n\r\nabc", 408, true), (head, 408, true),
                    (head + "X-Long: \(String(repeating: "x", count: 70_000))\r\n\r\n", 431, true),
                    (head.replacing("app.example", with: "other.example") + huge, 413, false),
                    ("POST /v1/client HTTP/1.1\r\nHost: test\r\n", 408, false),
                    ("POST  /v1/client HTTP/1.1\r\nOrigin: https://app.example\r\n\r\n", 400, false),
                ] {
                    let client = try under.client()
                    try client.send(text)
                    let response = try client.response()
                    #expect(response.status == status, "\(text.prefix(100))")
                    #expect((response.header("access-control-allow-origin") != nil) == isReadable, "\(text.prefix(100))")
                    #expect(try client.isAtEnd())
                }
            })
    }

    @Test func idleConnection_isClosed_withoutAWord() async throws {
        try await withHTTPServer(
            configure: { $0.idleTimeoutSeconds = 0.2 },
            run: { under in
                let fresh = try under.client()
                let used = try under.client()
                try used.get("/")
                #expect(try used.response().status == 200)
                #expect(try fresh.isAtEnd())
                #expect(try used.isAtEnd())
            })
    }

    @Test func connection_isRefused_overTheCap_andAcceptedBelowIt() async throws {
        try await withHTTPServer(
            configure: { $0.connections = 3 },
            run: { under in
                var clients: [LoopbackClient] = []
                for _ in 0..<3 {
                    let client = try under.client()
                    try client.get("/")
                    #expect(try client.response().status == 200)
                    clients.append(client)
                }
                let refused = try under.client()
                try refused.get("/")
                let response = try refused.response()
                #expect(response.status == 503)
                #expect(response.header("retry-after") == "1")
                #expect(try refused.isAtEnd())
                refused.close()
                clients.removeLast().close()
                #expect(under.reaches { $0.openConnections == 2 })
                let later = try under.client()
                try later.get("/")
                #expect(try later.response().status == 200)
                #expect(under.server.statistics.refusals == ["too_many_connections": 1])
            })
    }

    @Test func request_isRefused_whenTooManyWaitForAWorker() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            configure: {
                $0.workers = 1
                $0.queuedRequests = 2
            },
            handler: { _, _ in
                gate.wait()
                return .respond(.text(200, "done"))
            },
            run: { under in
                var waiting: [LoopbackClient] = []
                for count in 1...3 {
                    let client = try under.client()
                    try client.get("/")
                    waiting.append(client)
                    #expect(under.reaches { $0.requestsInFlight == count })
                }
                let refused = try under.client()
                try refused.get("/")
                let response = try refused.response()
                #expect(response.status == 503)
                #expect(response.header("retry-after") == "1")
                #expect(response.text.contains(#""code":"overloaded""#))
                for _ in waiting { gate.signal() }
                for client in waiting { #expect(try client.response().text == "done") }
            })
    }

    @Test func headersAndLine_areRefused_overTheirLimits() async throws {
        try await withHTTPServer { under in
            let long = try under.client()
            try long.get("/" + String(repeating: "a", count: 8200))
            #expect(try long.response().status == 414)
            let wide = try under.client()
            try wide.get("/", headers: "X: \(String(repeating: "a", count: 33_000))\r\n")
            #expect(try wide.response().status == 431)
            let many = try under.client()
            try many.get("/", headers: (0..<100).map { "X-\($0): 1\r\n" }.joined())
            #expect(try many.response().status == 431)
        }
    }

    @Test func connection_isClosed_afterItsLastRequest() async throws {
        try await withHTTPServer(
            configure: { $0.requestsPerConnection = 3 },
            run: { under in
                let client = try under.client()
                for number in 1...3 {
                    try client.get("/")
                    #expect(try client.response().header("connection") == (number == 3 ? "close" : nil))
                }
                #expect(try client.isAtEnd())
            })
    }

    @Test func lingeringConnection_isClosed_whenThePeerStays() async throws {
        try await withHTTPServer(
            configure: { $0.lingerSeconds = 0.2 },
            run: { under in
                let client = try under.client()
                try client.send("nonsense\r\n\r\n")
                #expect(try client.response().status == 400)
                #expect(try client.isAtEnd())
                #expect(under.reaches { $0.openConnections == 0 })
            })
    }

    @Test func nothingIsRead_whileARequestIsHandled() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            handler: { request, _ in
                if request.path == "/slow" { gate.wait() }
                return .respond(.text(200, "\(request.body.count)"))
            },
            run: { under in
                let client = try under.client()
                try client.get("/slow")
                #expect(under.reaches { $0.requestsInFlight == 1 })
                let before = under.server.statistics.bytesReceived
                try client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n")
                try client.send([UInt8](repeating: 0, count: 100_000))
                // Another connection's exchange proves that the loop has turned since.
                let other = try under.client()
                try other.get("/quick")
                _ = try other.response()
                #expect(under.reaches { $0.bytesReceived > before })
                #expect(under.server.statistics.bytesReceived < before + 1000)
                gate.signal()
                #expect(try client.response().text == "0")
                #expect(try client.response().text == "100000")
            })
    }

    @Test func drain_finishesWhatIsUnderWay_andClosesTheRest() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            handler: { request, attempt in
                switch (request.path, attempt) {
                case ("/slow", _):
                    gate.wait()
                    return .respond(.text(200, "slow"))
                case ("/parked", .first): return .park(topic: "t", deadlineMilliseconds: 60_000)
                default: return .respond(.text(200, "\(attempt)"))
                }
            },
            run: { under in
                let idle = try under.client()
                try idle.get("/")
                _ = try idle.response()
                let slow = try under.client()
                try slow.get("/slow")
                #expect(under.reaches { $0.requestsInFlight == 1 })
                let parked = try under.client()
                try parked.get("/parked")
                #expect(under.reaches { $0.parkedRequests == 1 })

                let drained = AwaitableCounter()
                Thread.detachNewThread { if under.server.drain(timeoutSeconds: 10) { drained.add() } }
                #expect(try idle.isAtEnd())
                let last = try parked.response()
                #expect(last.text == "deadline")
                #expect(last.header("connection") == "close")
                #expect(throws: LoopbackFailure.self) { try under.client() }
                #expect(drained.current == 0)
                gate.signal()
                #expect(try slow.response().header("connection") == "close")
                for client in [idle, slow, parked] { client.close() }
                #expect(drained.wait(for: 1))
            })
    }

    @Test func drain_givesUp_whenARequestTakesTooLong() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            handler: { _, _ in
                gate.wait()
                return .respond(.empty(204))
            },
            run: { under in
                let client = try under.client()
                try client.get("/")
                #expect(under.reaches { $0.requestsInFlight == 1 })
                #expect(!under.server.drain(timeoutSeconds: 0.05))
                gate.signal()
                #expect(try client.response().status == 204)
            })
    }
}
