// Mirrors HTTP/Server/HTTPEventLoop.swift: what one crowd of clients cannot take from the others — workers, places, memory.
import Foundation
import TestSupport
import Testing

@testable import SyncServer

@Suite struct HTTPServerFairnessTests {
    /// The first segment of the path says for whom.
    private static let lane: @Sendable (HTTPRequest) -> HTTPLane = {
        HTTPLane(key: $0.pathSegments.first ?? "", isWrite: $0.method == "POST")
    }

    @Test func quietLane_isAnswered_whileANoisyOneHoldsEveryWorkerItMay() async throws {
        let gate = DispatchSemaphore(value: 0)
        let busy = AwaitableCounter()
        try await withHTTPServer(
            configure: {
                $0.workers = 3
                $0.lane = Self.lane
            },
            handler: { request, _ in
                if request.pathSegments.first == "noisy" {
                    busy.add()
                    gate.wait()
                }
                return .respond(.text(200, request.path))
            },
            run: { under in
                let noisy = try (0..<30).map { _ in try under.client() }
                for client in noisy { try client.get("/noisy/x") }
                #expect(under.reaches { $0.requestsInFlight == 30 })
                #expect(busy.wait(for: 2))
                let quiet = try under.client()
                for number in 0..<50 {
                    try quiet.get("/quiet/\(number)")
                    #expect(try quiet.response().text == "/quiet/\(number)")
                }
                #expect(busy.current == 2, "the third worker was never given to the noisy lane")
                for _ in noisy { gate.signal() }
                for client in noisy { #expect(try client.response().status == 200) }
            })
    }

    /// Requests that came before anybody knew whom they are for leave the lane that they waited in.
    @Test func requestsOfAStranger_moveToTheirLane_onceItIsKnown() async throws {
        final class Learner: HTTPWorker {
            static let known = Locked<String?>(nil)
            let gate: DispatchSemaphore
            let busy: AwaitableCounter

            init(_ gate: DispatchSemaphore, _ busy: AwaitableCounter) { (self.gate, self.busy) = (gate, busy) }

            func belongsElsewhere(_ request: HTTPRequest, lane: HTTPLane) -> Bool {
                guard request.method == "POST" else { return false }
                Learner.known.with { $0 = "tenant" }
                return lane.key != "tenant"
            }

            func handle(_ request: HTTPRequest, attempt _: HTTPAttempt) -> HTTPReply {
                if request.method == "POST" {
                    busy.add()
                    gate.wait()
                }
                return .respond(.text(200, "done"))
            }
        }
        let (gate, busy) = (DispatchSemaphore(value: 0), AwaitableCounter())
        try await onOwnThread {
            var configuration = HTTPServerConfiguration()
            configuration.listen = "127.0.0.1:0"
            configuration.workers = 4
            configuration.lane = { request in
                let isWrite = request.method == "POST"
                return HTTPLane(key: isWrite ? Learner.known.with { $0 } ?? "strangers" : "strangers", isWrite: isWrite)
            }
            let server = HTTPServer(configuration: configuration, log: { _ in }, makeWorker: { _ in Learner(gate, busy) })
            let port = try server.start().port
            defer { server.stop() }
            let writers = try (0..<20).map { _ in try LoopbackClient(port: port) }
            for client in writers { try client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") }
            #expect(busy.wait(for: 2))
            let stranger = try LoopbackClient(port: port)
            for _ in 0..<50 {
                try stranger.get("/")
                #expect(try stranger.response().status == 200)
            }
            #expect(busy.current == 2)
            for _ in writers { gate.signal() }
            for client in writers { #expect(try client.response().status == 200) }
        }
    }

    @Test func crowdedLane_isRefused_andOthersAreNot() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            configure: {
                $0.workers = 2
                $0.queuedRequests = 6
                $0.queuedRequestsPerLane = 3
                $0.lane = Self.lane
            },
            handler: { request, _ in
                if request.pathSegments.first != "quiet" { gate.wait() }
                return .respond(.text(200, "done"))
            },
            run: { under in
                var waiting: [LoopbackClient] = []
                func send(_ target: String) throws -> LoopbackClient {
                    let client = try under.client()
                    try client.get(target)
                    return client
                }
                for count in 1...5 {
                    waiting.append(try send("/a/x"))
                    #expect(under.reaches { $0.requestsInFlight == count })
                }
                #expect(try send("/a/x").response().status == 503, "a lane has five: two with workers' places, three queued")
                // The rest of the queue is for others, and behind its end each of them still has one.
                for count in 6...8 {
                    waiting.append(try send("/b/x"))
                    #expect(under.reaches { $0.requestsInFlight == count })
                }
                #expect(try send("/b/x").response().status == 503)
                waiting.append(try send("/c/x"))
                #expect(under.reaches { $0.requestsInFlight == 9 })
                for _ in waiting { gate.signal() }
                for client in waiting { #expect(try client.response().text == "done") }
            })
    }

    @Test func lastWaitersPlaces_areKept_forLanesWithFew() async throws {
        try await withHTTPServer(
            configure: {
                $0.parkedRequests = 6
                $0.parkedRequestsReserve = 2
                $0.lane = Self.lane
            },
            handler: { _, attempt in
                attempt == .first ? .park(topic: "t", deadlineMilliseconds: 60_000) : .respond(.text(200, "woken"))
            },
            run: { under in
                var waiting: [LoopbackClient] = []
                for count in 1...4 {
                    waiting.append(try under.client())
                    try waiting[count - 1].get("/noisy/x")
                    #expect(under.reaches { $0.parkedRequests == count })
                }
                let fifth = try under.client()
                try fifth.get("/noisy/x")
                #expect(try fifth.response().text.contains("too_many_waiters"))
                for count in 5...6 {
                    waiting.append(try under.client())
                    try waiting[count - 1].get("/quiet/x")
                    #expect(under.reaches { $0.parkedRequests == count })
                }
                let seventh = try under.client()
                try seventh.get("/quiet/x")
                #expect(try seventh.response().status == 503)
                under.server.poke(topic: "t")
                for client in waiting { #expect(try client.response().text == "woken") }
                // The places are free again, for the noisy lane too.
                try fifth.get("/noisy/x")
                #expect(under.reaches { $0.parkedRequests == 1 })
                under.server.poke(topic: "t")
                #expect(try fifth.response().text == "woken")
            })
    }

    // MARK: Memory

    /// Bodies end on workers' threads; the loop hears of it with its next turn, which a request brings.
    private static func holdsNothing(_ under: HTTPServerUnderTest) throws -> Bool {
        for _ in 0..<1000 {
            let client = try under.client()
            try client.get("/turn")
            _ = try client.response()
            if under.server.statistics.heldBytes < 4096 { return true }
        }
        return false
    }

    private static func slowPost(_ under: HTTPServerUnderTest, bytes: Int) throws -> LoopbackClient {
        let client = try under.client()
        try client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: \(bytes + 1)\r\n\r\n")
        try client.send([UInt8](repeating: 0x61, count: bytes))
        return client
    }

    @Test func slowBodies_areRefusedOldestFirst_whenMemoryIsFull() async throws {
        let limit = 1 << 20
        try await withHTTPServer(
            configure: { $0.memoryBytes = limit },
            handler: { request, _ in .respond(.text(200, "\(request.body.count)")) },
            run: { under in
                var slow: [LoopbackClient] = []
                for number in 1...4 {
                    slow.append(try Self.slowPost(under, bytes: 200_000))
                    #expect(under.reaches { $0.heldBytes >= number * 200_000 })
                }
                // Fits only if the oldest go; and it is not slow, so it stays.
                let fast = try under.client()
                try fast.send("POST /fast HTTP/1.1\r\nHost: test\r\nContent-Length: 600000\r\n\r\n")
                try fast.send([UInt8](repeating: 0x62, count: 600_000))
                #expect(try fast.response().text == "600000")
                for client in slow.prefix(2) {
                    let refused = try client.response()
                    #expect(refused.status == 503 && refused.header("retry-after") != nil)
                    #expect(refused.text.contains(#""code":"overloaded""#))
                    #expect(try client.isAtEnd())
                }
                #expect(under.server.statistics.refusals["overloaded"] == 2)
                // The youngest may still finish.
                try slow[3].send("a")
                #expect(try slow[3].response().text == "200001")
                slow = []
                #expect(try Self.holdsNothing(under))
            })
    }

    @Test func slowReaders_areClosed_whenMemoryIsFull() async throws {
        try await withHTTPServer(
            configure: { $0.memoryBytes = 24 << 20 },
            handler: { request, _ in
                .respond(.typed(200, "text/plain", [UInt8](repeating: 0x61, count: request.path == "/big" ? 8 << 20 : 10)))
            },
            run: { under in
                // Nothing is read, so all but what the kernel takes is held.
                let first = try LoopbackClient(port: under.port, receiveBufferBytes: 4096)
                try first.get("/big")
                #expect(under.reaches { $0.heldBytes >= 8 << 20 })
                var others: [LoopbackClient] = []
                for _ in 0..<2 {
                    others.append(try LoopbackClient(port: under.port, receiveBufferBytes: 4096))
                    try others[others.count - 1].get("/big")
                }
                #expect(under.reaches { $0.heldBytes >= 24 << 20 })
                let fresh = try Self.slowPost(under, bytes: 100_000)
                #expect(under.reaches { $0.refusals["response_read_slowly"] == 1 })
                #expect(under.reaches { $0.heldBytes < 24 << 20 })
                try fresh.send("a")
                #expect(try fresh.response().status == 200)
                #expect(throws: LoopbackFailure.self) {
                    let response = try first.response()
                    if response.body.count == 8 << 20 { Issue.record("the oldest reader got everything") }
                }
                for client in others { #expect(try client.response().body.count == 8 << 20) }
            })
    }

    @Test func bodiesOfClientsThatLeft_countUntilTheirWorkersAreDone() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            configure: {
                $0.workers = 1
                $0.memoryBytes = 1 << 20
            },
            handler: { request, _ in
                if request.path == "/gate" { gate.wait() }
                return .respond(.text(200, "\(request.body.count)"))
            },
            run: { under in
                let holder = try under.client()
                try holder.get("/gate")
                #expect(under.reaches { $0.requestsInFlight == 1 })
                for count in 1...3 {
                    let client = try under.client()
                    try client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n")
                    try client.send([UInt8](repeating: 0x61, count: 300_000))
                    #expect(under.reaches { $0.requestsInFlight == 1 + count })
                    client.close()
                }
                #expect(under.reaches { $0.heldBytes >= 900_000 })
                let next = try under.client()
                try next.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n")
                try next.send([UInt8](repeating: 0x61, count: 300_000))
                #expect(try next.response().status == 503)
                gate.signal()
                #expect(try holder.response().status == 200)
                #expect(try Self.holdsNothing(under))
            })
    }
}
