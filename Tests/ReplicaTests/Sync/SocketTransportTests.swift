// The socket transport against a server that is scripted byte by byte.

#if canImport(Glibc)
    import Foundation
    import Glibc
    import SyncProtocol
    import TestSupport
    import Testing

    @testable import Replica

    @Suite struct SocketTransportTests {
        private func transport(_ port: Int, timeoutMilliseconds: Int = 120_000, prefix: String = "") throws -> SocketTransport {
            let url = try #require(URL(string: "http://127.0.0.1:\(port)\(prefix)"))
            return try #require(SocketTransport(server: url, timeoutMilliseconds: timeoutMilliseconds))
        }

        /// For tests in which the transport must give up. Long enough for a busy machine to answer the request after.
        private static let shortMilliseconds = 3_000

        private func until(_ condition: @Sendable () -> Bool) async throws {
            let deadline = Date().addingTimeInterval(120)
            while !condition(), Date() < deadline { try await Task.sleep(nanoseconds: 2_000_000) }
            #expect(condition())
        }

        private func failure(_ body: () async throws -> [UInt8]) async -> TransportFailure? {
            do {
                _ = try await body()
                return nil
            } catch {
                return error as? TransportFailure
            }
        }

        private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

        // MARK: Whole answers

        @Test func requests_shareOneConnection_andSayWhatTheServerNeeds() async throws {
            let listener = try ScriptedListener([
                [.readRequest, .reply("{\"a\":1}"), .readRequest, .reply("second"), .readRequest, .reply("", status: "200 OK")]
            ])
            let transport = try transport(listener.port, prefix: "/base/")
            #expect(text(try await transport.push(Array("body".utf8), token: "secret")) == "{\"a\":1}")
            #expect(
                text(try await transport.pull(PullRequest(cursor: "a+b&c", outcomesAfter: 0, schemaVersion: 1), token: "secret"))
                    == "second")
            #expect(try await transport.digest(token: "secret").isEmpty)
            #expect(listener.connectionCount == 1)
            let heads = listener.requests
            #expect(heads[0].hasPrefix("POST /base/v1/sync/push HTTP/1.1\r\n"))
            #expect(heads[0].contains("Authorization: Bearer secret\r\n") && heads[0].contains("Content-Length: 4\r\n"))
            #expect(heads[0].contains("Host: 127.0.0.1:\(listener.port)\r\n"))
            #expect(heads[1].hasPrefix("GET /base/v1/sync/pull?") && heads[1].contains("cursor=a%2Bb%26c"))
            #expect(!heads[1].contains("Content-Length"))
        }

        @Test func chunkedAnswer_isPutTogether_howeverItArrives() async throws {
            let large = String(repeating: "x", count: 300_000)
            let chunks = "3\r\nabc\r\n\(String(large.utf8.count, radix: 16, uppercase: true));extension=1\r\n\(large)\r\n1\r\n!\r\n"
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
            let whole = Array((head + chunks + "0\r\nTrailer: yes\r\n\r\n").utf8)
            let byteByByte = Array((head + "2\r\nhi\r\n0\r\n\r\n").utf8).map { ServerStep.send([$0]) }
            let listener = try ScriptedListener([
                [.readRequest, .send(whole), .readRequest] + byteByByte + [.readRequest, .reply("after")]
            ])
            let transport = try transport(listener.port)
            #expect(text(try await transport.digest(token: "t")) == "abc" + large + "!")
            #expect(text(try await transport.digest(token: "t")) == "hi")
            #expect(text(try await transport.digest(token: "t")) == "after")
            #expect(listener.connectionCount == 1)
        }

        @Test func interimAnswers_andAnswersWithoutABody_areUnderstood() async throws {
            let listener = try ScriptedListener([
                [
                    .readRequest, .text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), .reply("final"),
                    .readRequest, .text("HTTP/1.1 204 No Content\r\n\r\n"), .readRequest, .reply("next"),
                ]
            ])
            let transport = try transport(listener.port)
            #expect(text(try await transport.digest(token: "t")) == "final")
            #expect(try await transport.digest(token: "t").isEmpty)
            #expect(text(try await transport.digest(token: "t")) == "next")
            #expect(listener.connectionCount == 1)
        }

        @Test func answerWithoutALength_endsWithItsConnection() async throws {
            let old = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"
            let listener = try ScriptedListener([
                [.readRequest, .text("HTTP/1.1 200 OK\r\n\r\nto the "), .text("end"), .close],
                [.readRequest, .text(old), .holdUntilClosed],
                [.readRequest, .reply("x", headers: "Connection: keep-alive, Close\r\n"), .holdUntilClosed], [.readRequest, .reply("y")],
            ])
            let transport = try transport(listener.port)
            for expected in ["to the end", "old", "x", "y"] { #expect(text(try await transport.digest(token: "t")) == expected) }
            #expect(listener.connectionCount == 4)
        }

        @Test func errorAnswer_keepsItsCode_orNamesTheStatusOfAProxy() async throws {
            let refusal = #"{"error":{"code":"unauthorized","message":"no","request_id":"r1"}}"#
            let listener = try ScriptedListener([
                [
                    .readRequest, .reply(refusal, status: "401 Unauthorized"), .readRequest, .reply("<html>", status: "502 Bad Gateway"),
                    .readRequest, .reply("fine"),
                ]
            ])
            let transport = try transport(listener.port)
            guard case .reply(let reply, 401)? = await failure({ try await transport.digest(token: "t") }) else {
                Issue.record("no 401")
                return
            }
            #expect(reply.code == "unauthorized" && reply.requestID == "r1")
            guard case .reply(let proxy, 502)? = await failure({ try await transport.digest(token: "t") }) else {
                Issue.record("no 502")
                return
            }
            #expect(proxy.message.contains("502"))
            #expect(text(try await transport.digest(token: "t")) == "fine")
            #expect(listener.connectionCount == 1, "an error with a whole body keeps the connection")
        }

        // MARK: Connections that end

        @Test(arguments: [ServerStep.close, .reset]) func idleConnection_thatTheServerEnded_isReplaced(ending: ServerStep) async throws {
            let listener = try ScriptedListener([[.readRequest, .reply("one"), ending], [.readRequest, .reply("two")]])
            let transport = try transport(listener.port)
            #expect(text(try await transport.digest(token: "t")) == "one")
            try await until { listener.finishedCount == 1 }
            #expect(text(try await transport.digest(token: "t")) == "two")
        }

        @Test func connectionThatEnds_asTheRequestArrives_isTriedOnceMore_aFreshOneIsNot() async throws {
            let listener = try ScriptedListener([
                [.readRequest, .reply("one"), .readRequest, .close], [.readRequest, .close], [.readRequest, .reply("three")],
            ])
            let transport = try transport(listener.port)
            #expect(text(try await transport.digest(token: "t")) == "one")
            guard case .dropped? = await failure({ try await transport.digest(token: "t") }) else {
                Issue.record("not dropped")
                return
            }
            #expect(listener.connectionCount == 2)
            #expect(text(try await transport.digest(token: "t")) == "three")
        }

        @Test func wordsNobodyAskedFor_areNeverTheNextAnswer() async throws {
            let stray = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
            let listener = try ScriptedListener([
                // In the same segment as the answer, and later on an idle connection.
                [.readRequest, .text("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none" + stray), .holdUntilClosed],
                [.readRequest, .reply("two"), .text(stray), .close],
                [.readRequest, .reply("three")],
            ])
            let transport = try transport(listener.port)
            #expect(text(try await transport.digest(token: "t")) == "one")
            #expect(text(try await transport.digest(token: "t")) == "two")
            try await until { listener.finishedCount == 2 }
            #expect(text(try await transport.digest(token: "t")) == "three")
        }

        @Test func answerToAnotherRequest_isTakenForNone_whateverItSays() async throws {
            let stranger = "\(Correlation.header): 0b5c1c52-0000-4000-8000-000000000001\r\n"
            let fork = #"{"error":{"code":"fork","counter":1,"message":"another copy"}}"#
            let listener = try ScriptedListener([
                [.readRequest, .answer("one"), .readRequest, .reply("two", headers: stranger), .holdUntilClosed],
                [.readRequest, .reply(fork, status: "409 Conflict", headers: stranger), .holdUntilClosed],
                [.readRequest, .reply("", status: "204 No Content", headers: stranger), .holdUntilClosed],
                // It names itself, and then another.
                [.readRequest, .reply("three", headers: "\(Correlation.header): a\r\n" + stranger), .holdUntilClosed],
                [.readRequest, .answer("four"), .readRequest, .answer("five")],
            ])
            let transport = try transport(listener.port)
            #expect(text(try await transport.push([1], token: "t")) == "one")
            for _ in 0..<4 {
                let failure = await failure { try await transport.push([1], token: "t") }
                guard case .malformed(let message)? = failure, message.contains("another request") else {
                    Issue.record("\(String(describing: failure))")
                    return
                }
                #expect(failure?.isUnanswered == true && failure?.isRetryable == true)
            }
            // Each on a connection of its own: nobody knows what comes next on the one before.
            #expect(text(try await transport.push([1], token: "t")) == "four")
            #expect(text(try await transport.digest(token: "t")) == "five")
            #expect(listener.connectionCount == 5)
            let ids = listener.requests.compactMap(ScriptedListener.correlation)
            #expect(Set(ids).count == 7 && ids.allSatisfy(Correlation.isWellFormed))
        }

        @Test(arguments: [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
        ]) func truncatedAnswer_isUnanswered_notSuccess(sent: String) async throws {
            for ending in [ServerStep.close, .reset] {
                let listener = try ScriptedListener([[.readRequest, .text(sent), ending]])
                let transport = try transport(listener.port)
                let failure = await failure { try await transport.push([1], token: "t") }
                guard case .dropped? = failure else {
                    Issue.record("\(String(describing: failure))")
                    return
                }
                #expect(failure?.isUnanswered == true)
            }
        }

        @Test func bodyWithoutALength_thatBreaks_isNotAWholeAnswer() async throws {
            // The reset must not overtake the bytes: the client shows that it has read them by being silent, so it comes last.
            let listener = try ScriptedListener([[.readRequest, .text("HTTP/1.1 200 OK\r\n\r\nhalf"), .reset]])
            let transport = try transport(listener.port)
            guard case .dropped? = await failure({ try await transport.digest(token: "t") }) else {
                Issue.record("not dropped")
                return
            }
        }

        // MARK: Answers that make no sense

        @Test(arguments: [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n", "HTTP/1.1 999 No\r\n\r\n", "\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcde",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n7fffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ]) func nonsense_isMalformed(sent: String) async throws {
            let listener = try ScriptedListener([[.readRequest, .text(sent), .holdUntilClosed]])
            let transport = try transport(listener.port)
            let failure = await failure { try await transport.digest(token: "t") }
            guard case .malformed? = failure else {
                Issue.record("\(String(describing: failure))")
                return
            }
            // The connection is given up, or the script would not end.
            try await until { listener.finishedCount == 1 }
        }

        @Test func endlessHead_chunkLineAndTrailers_areGivenUp() async throws {
            let filling = String(repeating: "a", count: 200_000)
            let trailers = String(repeating: "T: x\r\n", count: 5_000)
            for sent in [
                "HTTP/1.1 200 OK\r\nX: \(filling)", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;\(filling)",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\(trailers)",
            ] {
                let listener = try ScriptedListener([[.readRequest, .text(sent), .holdUntilClosed]])
                let transport = try transport(listener.port)
                guard case .malformed? = await failure({ try await transport.digest(token: "t") }) else {
                    Issue.record("not malformed: \(sent.prefix(80))")
                    continue
                }
            }
        }

        @Test func randomBytes_areAnErrorOrAnAnswer_neverAHang() async throws {
            var random = SeededRandom.fresh()
            print("seed \(random.seed)")
            let pieces = [
                "HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 No\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "\r\n",
                "3\r\nabc\r\n",
                "0\r\n\r\n", "Connection: close\r\n", "ffffffff\r\n", "{}", "\u{0}", "HTTP/1.1 100 Continue\r\n\r\n",
            ]
            for _ in 0..<60 {
                var sent: [UInt8] = []
                for _ in 0..<Int.random(in: 0...8, using: &random) {
                    sent +=
                        Int.random(in: 0...4, using: &random) == 0
                        ? (0..<9).map { _ in UInt8.random(in: 0...255, using: &random) }
                        : Array((pieces.randomElement(using: &random) ?? "").utf8)
                }
                let listener = try ScriptedListener([[.readRequest, .send(sent), .close]])
                let transport = try transport(listener.port)
                _ = await failure { try await transport.push([1, 2, 3], token: "t") }
            }
        }

        // MARK: Waiting

        @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
        func silence_isATimeOut_andTheNextRequestGetsAConnectionOfItsOwn(sent: String) async throws {
            let listener = try ScriptedListener([[.readRequest, .text(sent), .holdUntilClosed], [.readRequest, .reply("again")]])
            let transport = try transport(listener.port, timeoutMilliseconds: Self.shortMilliseconds)
            #expect(await failure { try await transport.digest(token: "t") } == .timeout)
            #expect(text(try await transport.digest(token: "t")) == "again")
        }

        @Test func refusedConnection_andUnknownHost_areUnreachable() async throws {
            let port = try ScriptedListener.closedPort()
            let refused = await failure { try await transport(port).digest(token: "t") }
            guard case .unreachable(let reason)? = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            #expect(reason.contains("127.0.0.1") && reason.contains("\(port)"))
            let url = try #require(URL(string: "http://no-such-host.invalid"))
            let unknown = try #require(SocketTransport(server: url))
            guard case .unreachable(let words)? = await failure({ try await unknown.digest(token: "t") }) else {
                Issue.record("an unknown host was reached")
                return
            }
            #expect(words.contains("no-such-host.invalid"))
            #expect(SocketTransport(server: try #require(URL(string: "https://127.0.0.1"))) == nil)
        }

        @Test func connecting_givesUp_whenNobodyAnswers() async throws {
            let (listener, fillers) = try ScriptedListener.unresponsive()
            defer { for filler in fillers { close(filler) } }
            let transport = try transport(listener.port, timeoutMilliseconds: Self.shortMilliseconds)
            let failure = await failure { try await transport.digest(token: "t") }
            guard case .unreachable? = failure else {
                Issue.record("\(String(describing: failure))")
                return
            }
        }

        @Test func cancelling_endsTheWaitForAnAnswer_atOnce() async throws {
            // Longer than the test's own time limit: only cancelling can end it.
            for sent in ["", "HTTP/1.1 200 OK\r\n\r\npart of a body without a length"] {
                let listener = try ScriptedListener([[.readRequest, .text(sent), .holdUntilClosed], [.readRequest, .reply("again")]])
                let transport = try transport(listener.port, timeoutMilliseconds: 3_600_000)
                let waiting = Task { try await transport.digest(token: "t") }
                try await until { listener.requests.count == 1 }
                waiting.cancel()
                #expect(await failure { try await waiting.value } == .cancelled)
                #expect(text(try await transport.digest(token: "t")) == "again")
            }
        }

        @Test func cancelling_beforeItsTurn_sendsNothing() async throws {
            let listener = try ScriptedListener([[.readRequest, .reply("one")]])
            let transport = try transport(listener.port)
            let cancelled = Task { () async throws -> [UInt8] in
                withUnsafeCurrentTask { $0?.cancel() }
                return try await transport.digest(token: "t")
            }
            #expect(await failure { try await cancelled.value } == .cancelled)
            #expect(text(try await transport.digest(token: "t")) == "one")
            #expect(listener.requests.count == 1)
        }

        /// A thread looks and cancels, and the fillers are made right before the request: when other tests keep all tasks waiting,
        /// the connecting would otherwise be over before anybody cancels it.
        @Test func cancelling_endsConnecting() async throws {
            let connecting = Locked<(port: Int, besides: Int)?>(nil)
            let waiting = Task { () -> TransportFailure? in
                let (listener, fillers) = try ScriptedListener.unresponsive()
                defer { for filler in fillers { close(filler) } }
                let transport = try transport(listener.port, timeoutMilliseconds: 600_000)
                connecting.with { $0 = (listener.port, fillers.count) }
                return await failure { try await transport.digest(token: "t") }
            }
            Thread.detachNewThread {
                for _ in 0..<10_000 {
                    if let (port, besides) = connecting.with({ $0 }), Self.isConnecting(to: port, besides: besides) { break }
                    usleep(2_000)
                }
                waiting.cancel()
            }
            #expect(try await waiting.value == .cancelled)
        }

        /// Whether more sockets than the fillers wait for the port (state 02 is SYN_SENT).
        private static func isConnecting(to port: Int, besides: Int) -> Bool {
            let table = String(decoding: FileHandle(forReadingAtPath: "/proc/net/tcp")?.readDataToEndOfFile() ?? Data(), as: UTF8.self)
            let hexadecimal = String(port, radix: 16, uppercase: true)
            let address = "0100007F:" + String(repeating: "0", count: 4 - hexadecimal.count) + hexadecimal
            let open = table.split(separator: "\n").filter { line in
                let fields = line.split(separator: " ")
                return fields.count > 3 && fields[2] == address && ["01", "02"].contains(fields[3])
            }
            return open.count > besides
        }
    }
#endif
