// Mirrors HTTP/Server/HTTPEventLoop+Requests.swift: parked requests, pokes and their races.
import CLinux
import Foundation
import Testing

@testable import SyncServer

/// Parks first attempts on the topic named by the path, and answers others with the attempt's name.
private let parking: ClosureWorker.Handler = { request, attempt in
    attempt == .first
        ? .park(topic: request.path, deadlineMilliseconds: Int(request.queryValue("ms") ?? "") ?? 60_000)
        : .respond(.text(200, "\(attempt)"))
}

@Suite struct HTTPServerParkingTests {
    @Test func parkedRequest_isWoken_byAPokeOfItsTopic() async throws {
        try await withHTTPServer(
            handler: parking,
            run: { under in
                let mine = try under.client()
                try mine.get("/a")
                let others = try under.client()
                try others.get("/b")
                #expect(under.reaches { $0.parkedRequests == 2 && $0.requestsInFlight == 0 })
                under.server.poke(topic: "/a")
                #expect(try mine.response().text == "woken")
                #expect(under.reaches { $0.parkedRequests == 1 })
                under.server.pokeAll()
                #expect(try others.response().text == "woken")
                #expect(under.reaches { $0.parkedRequests == 0 })
            })
    }

    @Test func parkedRequest_getsItsDeadline_whenNobodyPokes() async throws {
        try await withHTTPServer(
            handler: parking,
            run: { under in
                let client = try under.client()
                for milliseconds in [50, 0, -5] {
                    try client.get("/a?ms=\(milliseconds)")
                    #expect(try client.response().text == "deadline")
                }
                #expect(under.reaches { $0.parkedRequests == 0 })
            })
    }

    @Test func firstDeadline_stands_whenTheRequestParksAgain() async throws {
        let attempts = AwaitableCounter()
        try await withHTTPServer(
            handler: { request, attempt in
                attempts.add()
                return attempt == .deadline
                    ? .respond(.text(200, "deadline"))
                    : .park(topic: "t", deadlineMilliseconds: attempt == .first ? 300 : .max)
            },
            run: { under in
                let client = try under.client()
                try client.get("/")
                #expect(under.reaches { $0.parkedRequests == 1 })
                under.server.poke(topic: "t")
                #expect(attempts.wait(for: 2))
                #expect(try client.response().text == "deadline")
            })
    }

    @Test func parkingAtTheDeadline_isAnInternalError() async throws {
        try await withHTTPServer(
            handler: { _, _ in .park(topic: "t", deadlineMilliseconds: 0) },
            run: { under in
                let client = try under.client()
                try client.get("/")
                #expect(try client.response().status == 500)
                #expect(under.log.faults.map(\.code) == ["parked_after_deadline"])
            })
    }

    @Test func poke_isNotLost_whenItComesBeforeTheRequestIsParked() async throws {
        let looked = DispatchSemaphore(value: 0)
        let poked = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            handler: { _, attempt in
                guard attempt == .first else { return .respond(.text(200, "\(attempt)")) }
                // The worker has looked and found nothing; the poke comes now, before it can say so.
                looked.signal()
                poked.wait()
                return .park(topic: "t", deadlineMilliseconds: 60_000)
            },
            run: { under in
                for all in [false, true] {
                    let client = try under.client()
                    try client.get("/")
                    looked.wait()
                    if all { under.server.pokeAll() } else { under.server.poke(topic: "t") }
                    poked.signal()
                    #expect(try client.response().text == "woken")
                }
            })
    }

    /// A counter stands for the database. Readers park until it passes what they know; the writer adds and pokes as
    /// soon as all have caught up, while they are on their way to parking. Were one wake-up lost, there is no next poke
    /// to make up for it: the reader would sit until its deadline and answer 408.
    @Test func noWakeUpIsLost_whenPokesAndParkingRace() async throws {
        let (readers, rounds) = (4, 500)
        let stored = AwaitableCounter()
        try await withHTTPServer(
            configure: { $0.workers = 4 },
            handler: { request, attempt in
                let known = Int(request.queryValue("known") ?? "") ?? 0
                let current = stored.current
                if current > known { return .respond(.text(200, "\(current)")) }
                // Let the writer in between looking and parking.
                if known % 2 == 0 { sched_yield() }
                return attempt == .deadline ? .respond(.empty(408)) : .park(topic: "feed", deadlineMilliseconds: 5000)
            },
            run: { under in
                let caughtUp = AwaitableCounter()
                let failed = AwaitableCounter()
                for _ in 0..<readers {
                    Thread.detachNewThread {
                        do {
                            let client = try under.client()
                            for known in 0..<rounds {
                                try client.get("/?known=\(known)")
                                if try client.response().text != "\(known + 1)" { failed.add() }
                                caughtUp.add()
                            }
                        } catch { failed.add() }
                    }
                }
                for round in 1...rounds where failed.current == 0 {
                    stored.add()
                    under.server.poke(topic: "feed")
                    #expect(caughtUp.wait(for: round * readers))
                }
                #expect(failed.current == 0)
            })
    }

    @Test func parkedRequest_isDropped_whenTheClientGoes() async throws {
        try await withHTTPServer(
            handler: parking,
            run: { under in
                let client = try under.client()
                try client.get("/a")
                #expect(under.reaches { $0.parkedRequests == 1 })
                client.close()
                #expect(under.reaches { $0.parkedRequests == 0 && $0.openConnections == 0 && $0.requestsAbandoned == 1 })
                #expect(under.log.exchange { $0.path == "/a" }?.status == HTTPExchangeRecord.clientGone)
                // The topic has nobody left; the server goes on.
                under.server.poke(topic: "/a")
                let next = try under.client()
                try next.get("/b?ms=0")
                #expect(try next.response().text == "deadline")
            })
    }

    @Test func result_isDiscarded_whenTheClientWentDuringHandling() async throws {
        let gate = DispatchSemaphore(value: 0)
        try await withHTTPServer(
            handler: { request, _ in
                if request.path == "/slow" { gate.wait() }
                return .respond(.text(200, request.path))
            },
            run: { under in
                let gone = try under.client()
                try gone.get("/slow")
                #expect(under.reaches { $0.requestsInFlight == 1 })
                // Parking decides at once; a request with a worker is only known to be unwanted when sending fails, or on
                // reset.
                gone.close()
                gate.signal()
                #expect(under.reaches { $0.requestsInFlight == 0 && $0.openConnections == 0 })
                let next = try under.client()
                try next.get("/next")
                #expect(try next.response().text == "/next")
            })
    }

    @Test func parking_isRefused_overItsLimit() async throws {
        try await withHTTPServer(
            configure: { $0.parkedRequests = 1 }, handler: parking,
            run: { under in
                let first = try under.client()
                try first.get("/a")
                #expect(under.reaches { $0.parkedRequests == 1 })
                let second = try under.client()
                try second.get("/a")
                let response = try second.response()
                #expect(response.status == 503)
                #expect(response.header("retry-after") == "1")
                #expect(response.text.contains(#""code":"too_many_waiters""#))
                // The connection is as good as before.
                try second.get("/b?ms=0")
                #expect(try second.response().text == "deadline")
            })
    }

    @Test(.enabled(if: clinux_raise_descriptor_limit() >= 6000, "needs two descriptors a connection"))
    func thousandsOfParkedRequests_areWoken_byOnePoke() async throws {
        let count = 2000
        try await withHTTPServer(
            configure: { $0.workers = 4 }, handler: parking,
            run: { under in
                var clients: [LoopbackClient] = []
                for _ in 0..<count {
                    let client = try under.client()
                    try client.get("/topic")
                    clients.append(client)
                }
                #expect(under.reaches { $0.parkedRequests == count })
                under.server.poke(topic: "/topic")
                var woken = 0
                for client in clients where try client.response().text == "woken" { woken += 1 }
                #expect(woken == count)
                #expect(under.server.statistics.refusals.isEmpty)
            })
    }
}
